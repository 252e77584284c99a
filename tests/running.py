"""A switch on an event loop in a thread of its own, as synchronous code finds it in a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from queues.core.limits import Limits
from queues.engines import ask, install
from queues.engines.base import Engine
from queues.engines.memory import MemoryEngine

T = TypeVar("T")

#: Runs one of the engine's coroutines.
Do = Callable[[Callable[[Engine], Coroutine[Any, Any, T]]], T]


@contextmanager
def running_switch(limits: Limits | None = None) -> Iterator[Do[Any]]:
    """The engine of this process while the block runs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Engine:
        return MemoryEngine(limits)

    engine = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    install(engine)
    try:
        yield ask
    finally:
        install(None)
        loop.call_soon_threadsafe(engine.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
