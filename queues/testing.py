"""For tests of programs that use the switch: a switch in this process and a clock that waits.

::

    async with running_switch(clock := FakeClock()) as engine:
        await engine.create_queue("orders")
        clock.advance(60)
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from queues.core.limits import Limits
from queues.engines import install
from queues.engines.clock import Clock
from queues.engines.memory import MemoryEngine


class FakeTimer:
    """A callback that a FakeClock will make."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        """Do not call back any more."""
        self.cancelled = True


class FakeClock:
    """A clock that moves only when told to. ``start`` is in seconds since the epoch."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._count = 0

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        """Call back when ``advance`` has come to ``when``."""
        timer = FakeTimer(callback)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, making every callback that falls due on the way, each at its time."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self._now = max(self._now, when)
                timer.callback()
        self._now = end


@asynccontextmanager
async def running_switch(
    clock: Clock | None = None, limits: Limits | None = None
) -> AsyncIterator[MemoryEngine]:
    """A switch on the running event loop; inside the block it is that of the process."""
    engine = MemoryEngine(limits, clock)
    install(engine)
    try:
        yield engine
    finally:
        engine.close()
        install(None)
