"""The trace stays within its bounds whatever passes, and everybody can see what it had to drop."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from queues.client import Client
from queues.client.errors import SwitchError
from queues.core.events import SUMMARY_LENGTH
from queues.core.limits import Limits
from queues.protocol.operations import Send

from .conftest import ROOT, Server, until

LIMITS = Limits()
TEN_MEGABYTES = "x" * 10_000_000


def get(server: Server, path: str) -> str:
    with urllib.request.urlopen(server.url + path) as answer:
        return str(answer.read().decode())


def plain(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def flood(client: Client, count: int = LIMITS.trace_events + 1_000) -> None:
    """So many events that the first ones have to go."""
    for _ in range(count // 1_000):
        client.send_many("flood", [Send(payload="x" * 200)] * 1_000)
        client.purge("flood")


@pytest.mark.parametrize("kind", ["url", "unix_url", "tcp_url"])
def test_ten_megabytes_are_refused_and_leave_nothing(server: Server, kind: str) -> None:
    name = kind.replace("_", ".")
    with Client(getattr(server, kind)) as client:
        client.create(name)
        with pytest.raises(SwitchError) as refusal:
            client.send(name, TEN_MEGABYTES)
        assert refusal.value.code == "payload_too_large"
        # The connection goes on.
        assert client.inspect(name).sent == 0
        events = client.trace(limit=1_000).events
    assert [event for event in events if event.queue == name and event.kind == "sent"] == []


def test_of_the_largest_payload_the_trace_keeps_the_beginning(server: Server) -> None:
    largest = "y" * LIMITS.payload_bytes
    with Client(server.url) as client:
        client.create("large")
        used = {usage.name: usage.used for usage in client.diagnostics().usage}
        id = client.send("large", largest).id
        (event,) = [e for e in client.explain(id).events if e.kind == "sent"]
        after = {usage.name: usage.used for usage in client.diagnostics().usage}
        assert event.detail == "y" * (SUMMARY_LENGTH - 1) + "…"
        assert after["trace_bytes"] - used["trace_bytes"] < 1_000
        (listed,) = client.browse("large").messages
        assert (len(listed.payload), listed.payload_cut) == (1_000, True)
        assert client.explain(id).message is not None


def test_what_was_dropped_is_counted_wherever_the_trace_is_shown(
    server: Server, tmp_path: Path
) -> None:
    with Client(server.url) as client:
        client.create("flood")
        first = client.trace(limit=1).events[0].number
        assert client.trace(after=first, limit=1).dropped == 0

        output = tmp_path / "tail"
        with output.open("wb") as log:
            tail = subprocess.Popen(
                [sys.executable, "-m", "queues.cli", "tail", "--follow", "--url", server.url],
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        try:
            until(lambda: b"flood" in output.read_bytes(), "the tail shows what there was")
            tail.send_signal(signal.SIGSTOP)
            flood(client)
            tail.send_signal(signal.SIGCONT)
            until(lambda: b" lost in between" in output.read_bytes(), "the tail tells of the gap")
        finally:
            tail.kill()
            tail.wait()

        dropped = client.trace(after=first, limit=1).dropped
        assert dropped > 1_000
        used = {usage.name: (usage.used, usage.limit) for usage in client.diagnostics().usage}
        for name in ("trace_events", "trace_bytes"):
            assert 0 < used[name][0] <= used[name][1], name
        assert client.health().trace_dropped >= dropped
    metrics = get(server, "/metrics")
    counted = re.search(r"^switch_trace_dropped_total (\S+)$", metrics, re.MULTILINE)
    assert counted is not None
    assert float(counted[1]) >= dropped
    assert re.search(r"[\d,]+ older ones had to be dropped", plain(get(server, "/trace/")))
    assert re.search(r"Events forgotten [1-9][\d,]{3}", plain(get(server, "/health/")))
