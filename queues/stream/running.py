"""Coroutines of the engine, begun where they are made instead of in a task of their own.

Most operations end at once; a task for each would double the cost of a frame, and let operations
of one connection overtake each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from queues.core.errors import InternalError, SwitchError

logger = logging.getLogger("queues.stream")

#: Gets what was asked for, and its value or the refusal.
Then = Callable[[Any, Any, SwitchError | None], None]


class Running:
    """A coroutine that waits; for futures of its loop only, as the engine's do."""

    __slots__ = ("_coroutine", "_future", "_then", "_what")

    def __init__(
        self,
        coroutine: Coroutine[Any, None, Any],
        future: asyncio.Future[Any],
        then: Then,
        what: Any,
    ) -> None:
        self._coroutine = coroutine
        self._then = then
        self._what = what
        self._future = future
        future.add_done_callback(self._go_on)

    def _go_on(self, _: object) -> None:
        future = step(self._coroutine, self._then, self._what)
        if future is not None:
            self._future = future
            future.add_done_callback(self._go_on)

    def cancel(self) -> None:
        """Let it clean up; ``then`` is not called."""
        self._then = _ignore
        self._future.cancel()


def step(coroutine: Coroutine[Any, None, Any], then: Then, what: Any) -> asyncio.Future[Any] | None:
    """Run a coroutine until it ends, and tell ``then``; or waits, for the future returned."""
    try:
        future: asyncio.Future[Any] | None = coroutine.send(None)
    except StopIteration as stop:
        then(what, stop.value, None)
    except SwitchError as error:
        then(what, None, error)
    except asyncio.CancelledError:
        pass
    except Exception:
        logger.exception("An operation failed.")
        then(what, None, InternalError("The switch failed to do it; its log says why."))
    else:
        return future
    return None


def _ignore(what: Any, value: Any, error: SwitchError | None) -> None:
    pass
