"""The clocks: the real one never goes back, the fake one moves when told."""

from __future__ import annotations

import asyncio
import time

import pytest

from queues.engines.clock import SystemClock
from queues.testing import FakeClock


def test_a_step_of_the_system_clock_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert before <= clock.now() < before + 60


async def test_the_system_clock_calls_back() -> None:
    clock = SystemClock()
    called = asyncio.Event()
    clock.call_at(clock.now() - 1, called.set)
    await asyncio.wait_for(called.wait(), 10)


async def test_a_cancelled_timer_stays_silent() -> None:
    clock = SystemClock()
    calls: list[int] = []
    clock.call_at(clock.now(), lambda: calls.append(1)).cancel()
    done = asyncio.Event()
    clock.call_at(clock.now() + 0.01, done.set)
    await done.wait()
    assert calls == []


def test_the_fake_clock_makes_each_callback_at_its_time() -> None:
    clock = FakeClock(100.0)
    seen: list[tuple[str, float]] = []
    clock.call_at(103.0, lambda: seen.append(("b", clock.now())))
    clock.call_at(101.0, lambda: seen.append(("a", clock.now())))
    clock.call_at(102.0, lambda: seen.append(("never", clock.now()))).cancel()
    clock.advance(2.5)
    assert seen == [("a", 101.0)]
    clock.advance(10)
    assert seen == [("a", 101.0), ("b", 103.0)]
    assert clock.now() == 112.5
