from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from msgspec.structs import replace

from queues.core.answers import HealthSample
from queues.pages import health
from tests.running import Do

from .showing import live, plain, send, text


def test_the_process_and_its_limits(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    send(do, "foo", payload="x" * 2048)
    shown = text(client, "/health/")
    assert re.search(r"Loop lag \d[\d.]*.ms On time", shown)
    assert re.search(r"Memory \d[\d.]* MB", shown)
    assert "Messages take 2.0 KB of it" in shown
    assert re.search(r"Descriptors \d+ of [\d,]+", shown)
    assert re.search(r"Threads \d+", shown)
    assert "Events forgotten 0" in shown
    assert "Total bytes 2.0 KB of 1.0 GB" in shown
    assert "Nothing measured yet" in shown


def sample(at: float, sent: int, lag: float) -> HealthSample:
    return HealthSample(at=at, sent=sent, delivered=0, finished=0, memory=10 * 2**20, loop_lag=lag)


def test_the_last_minutes(client: Client, do: Do[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    report = do(lambda e: e.health())
    now = report.now
    history = [sample(now - 10, 0, 0.001), sample(now - 5, 100, 0.3), sample(now, 600, 0.002)]
    later = replace(
        report,
        history=history,
        loop_lag=0.3,
        memory=None,
        descriptors=None,
        started_at=now - 1_000,
        cpu=10.0,
    )
    monkeypatch.setattr(health, "ask", lambda _: later)
    markup = live(client, "/health/")
    shown = plain(markup)
    assert "Sent a second 100 Sent a second: 100 now, lowest 20, highest 100" in shown
    assert "Loop lag 300 ms Late" in shown
    assert "At most 100 in the last 10 s" in shown
    assert "Memory unknown" in shown
    assert "Descriptors unknown" in shown
    assert "CPU 10 s, 1.0%" in shown
    assert markup.count("<svg") == 4
