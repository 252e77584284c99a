"""The time that a switch lives by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something that can be called off."""

    def cancel(self) -> None:
        """Do not call back any more."""


class Clock(Protocol):
    """Tells the time, in seconds since the epoch, and calls back at a time."""

    def now(self) -> float:
        """The time; it never goes back."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` on the event loop at ``when`` or soon after."""


class SystemClock:
    """The wall time read once plus the monotonic time since, so that a step of the system clock
    shows only after a restart."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self._offset + time.monotonic()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back on the running event loop."""
        return asyncio.get_running_loop().call_later(max(0.0, when - self.now()), callback)
