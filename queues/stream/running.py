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

#: Gets the value, or the refusal.
Outcome = Callable[[Any, SwitchError | None], None]


class Running:
    """One coroutine that waits for futures of its loop only, as the engine's do."""

    __slots__ = ("_coroutine", "_future", "_then")

    def __init__(self, coroutine: Coroutine[Any, None, Any], then: Outcome) -> None:
        self._coroutine = coroutine
        self._then = then
        self._future: asyncio.Future[Any] | None = None

    def step(self, _: object = None) -> bool:
        """Run it until it waits; True when it has ended, and ``then`` has been called."""
        try:
            future: Any = self._coroutine.send(None)
        except StopIteration as stop:
            self._then(stop.value, None)
        except SwitchError as error:
            self._then(None, error)
        except asyncio.CancelledError:
            pass
        except Exception:
            logger.exception("An operation failed.")
            self._then(None, InternalError("The switch failed to do it; its log says why."))
        else:
            self._future = future
            future.add_done_callback(self.step)
            return False
        return True

    def cancel(self) -> None:
        """Let it clean up; ``then`` is not called."""
        self._then = _ignore
        if self._future is not None:
            self._future.cancel()


def _ignore(value: Any, error: SwitchError | None) -> None:
    pass
