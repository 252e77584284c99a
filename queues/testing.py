"""For tests of programs that use the switch: a switch and clients in this process, and a clock
that waits.

::

    clock = FakeClock()
    async with running_switch(clock), in_process_client() as client:
        await client.create("orders", ttl=60)
        await client.send("orders", "tea")
        clock.advance(61)
        assert (await client.inspect("orders")).ready == 0

The client speaks the whole protocol to the views, without a socket. Django must be set up.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from queues.api.handler import ApiHandler
from queues.client import AsyncClient
from queues.client.connection import Answer
from queues.client.http import HttpTransport
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


def in_process_client(**options: Any) -> AsyncClient:
    """A client of the switch in this process. Takes the options of AsyncClient."""
    return AsyncClient(transport=InProcessTransport(), **options)


class InProcessTransport(HttpTransport):
    """HTTP without a network: each request goes straight to the protocol's handler."""

    def __init__(self) -> None:
        super().__init__("http://localhost")
        self._handler = ApiHandler("queues.api.urls")

    async def exchange(
        self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> Answer:
        """Call the handler as an ASGI server would."""
        path, _, query = target.partition("?")
        incoming: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        incoming.put_nowait({"type": "http.request", "body": body})
        status = 0
        content = b""

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status, content
            status = message.get("status", status)
            content += message.get("body", b"")

        scope = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "query_string": query.encode(),
            "scheme": "http",
            "headers": [(name.lower(), value) for name, value in headers],
        }
        await self._handler(scope, incoming.get, send)
        return Answer(status, content)
