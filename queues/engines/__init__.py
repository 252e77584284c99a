"""The engine of this process: at most one, started on the event loop that serves requests.

It is kept in a plain module-level name: Django's and asgiref's per-task storage would give each
request a switch of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from queues.core.errors import NotRunning
from queues.core.limits import Limits

from .base import Engine
from .intake import IntakeLimits
from .journal import JournalMode
from .memory import MemoryEngine

T = TypeVar("T")

#: Seconds that a thread waits for the event loop.
ANSWER_TIME = 10.0

_running: Engine | None = None


def running_engine() -> Engine | None:
    """The engine of this process, or None."""
    return _running


def start_engine(
    limits: Limits | None = None,
    journal: JournalMode | None = None,
    intake: IntakeLimits | None = None,
) -> Engine:
    """Start the engine of this process, on the running event loop.

    With a journal it begins with what that has kept; this takes as long as it takes, and raises
    StoreRefused where the database cannot be used.
    """
    engine = MemoryEngine(limits, journal=journal, intake=intake)
    install(engine)
    return engine


def install(engine: Engine | None) -> None:
    """Make ``engine`` that of this process; None if there is to be none."""
    global _running  # noqa: PLW0603 -- one per process is the point
    _running = engine


def get_engine() -> Engine:
    """The engine of this process. Raises NotRunning where no ASGI server has started one."""
    if _running is None:
        raise NotRunning("No switch runs in this process: it needs an ASGI server.")
    return _running


def ask(operation: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
    """The result of one of the engine's coroutines, for synchronous code in another thread.

    Raises what the operation raises; NotRunning; TimeoutError if the event loop is stuck.
    """
    engine = get_engine()
    return engine.submit(operation(engine)).result(timeout=ANSWER_TIME)
