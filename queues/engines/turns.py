"""Turns: what many clients want is begun in small rounds, so that one client, or one of very many,
does not keep the others waiting, nor probes and pages.

Pure but for ``soon``, which runs something once the loop has looked after everything else, and
``rest``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Turns:
    """At most ``most`` pieces of work are begun in one round; what finds none left waits in a line,
    and comes first in the next. ``soon`` is the loop's ``call_soon``.
    """

    def __init__(self, most: int, soon: Callable[[Callable[[], None]], object]) -> None:
        self.left = most
        """Pieces of work that may still be begun in this round."""
        self.round = 0
        """Counts the rounds."""
        self.rest: Callable[[], None] | None = None
        """Called between two rounds while somebody waits."""
        self._most = most
        self._soon = soon
        self._line: deque[Callable[[], None]] = deque()
        self._scheduled = False

    @property
    def others_wait(self) -> bool:
        """Whether somebody is in the line."""
        return bool(self._line)

    def spend(self, count: int) -> None:
        """Something of the weight ``count`` has been begun; it may be more than was left."""
        self.left -= count
        if not self._scheduled:
            self._schedule()

    def line_up(self, go: Callable[[], None]) -> None:
        """Call ``go`` when its turn comes, in a later round."""
        self._line.append(go)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        self._soon(self._next)

    def _next(self) -> None:
        self._scheduled = False
        self.round += 1
        self.left = self._most
        line = self._line
        if line and self.rest is not None:
            self.rest()
        # Those who line up again come after those who have waited, but not in this round.
        for _ in range(len(line)):
            if self.left <= 0:
                break
            line.popleft()()
        if (line or self.left < self._most) and not self._scheduled:
            self._schedule()
