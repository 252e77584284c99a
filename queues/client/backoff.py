"""How long to wait before trying again."""

from __future__ import annotations

import random

FIRST = 0.05
LONGEST = 1.0


class Backoff:
    """Pauses in seconds that double up to one second, each shortened by chance.

    The chance keeps the clients of a switch that restarts from coming back all at once.
    """

    def __init__(self) -> None:
        self._next = FIRST

    def next(self) -> float:
        """The pause before the next attempt."""
        pause = self._next * random.uniform(0.5, 1.0)  # noqa: S311
        self._next = min(self._next * 2, LONGEST)
        return pause
