"""Where a switch tells how long messages wait and are worked on; it does not measure itself."""

from __future__ import annotations

from typing import Protocol

from .answers import Timing
from .messages import Message
from .queue import Queue


class Meter(Protocol):
    """Measures services. ``finished`` is called for every message, so it must be quick."""

    def finished(self, queue: Queue, message: Message, held_since: float, now: float) -> None:
        """A message has been acked or replied to."""

    def forget(self, queue: Queue) -> None:
        """The queue has been destroyed."""

    def timing(self, queue: Queue, now: float) -> Timing | None:
        """What is known of a queue's service; None if it is not measured."""
