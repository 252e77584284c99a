"""What is due when: one heap for every deadline of the switch."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection
from enum import IntEnum
from typing import Any


class Due(IntEnum):
    """What happens at a deadline. Of things due at the same instant the smaller happens first.

    A wait ends before its message expires, so that the verdict in its answer still sees it.
    """

    WAIT_ENDS = 0
    EXPIRY = 1
    DELAY_ENDS = 2
    ACK_TIMEOUT = 3
    LEASE_ENDS = 4
    KEY_FORGOTTEN = 5
    UNDO_ENDS = 6


Key = tuple[Due, Any]
_WAIT_ENDS = Due.WAIT_ENDS

#: Entries without a use that a heap may have in any case.
_SLACK = 256


class Deadlines:
    """A priority queue of keys by time, in which a key can be moved or cancelled.

    Every key has an entry in the heap at its time or before; one at an earlier time is put back
    when it surfaces. So moving a key to a later time touches only a dict, and ``set`` and
    ``cancel`` are O(log n) amortised: entries without a use stay until they surface or outnumber
    the keys.

    The end of a wait is never moved, and counts until it comes or the number of the wait leaves
    ``waits``: there is nothing else to cancel. A wait that is answered in time costs no look-up of
    a key of its own, whose memory is cold where thousands wait.
    """

    def __init__(self, waits: Collection[int]) -> None:
        self._when: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._waits = waits

    def __len__(self) -> int:
        return len(self._when) + len(self._waits)

    @property
    def earliest(self) -> float:
        """Nothing is due before; infinite if there is nothing."""
        return self._heap[0][0] if self._heap else math.inf

    def set(self, key: Key, when: float) -> None:
        """Make ``key`` due at ``when``, instead of any earlier setting."""
        before = self._when.get(key)
        self._when[key] = when
        if before is None or when < before:
            self._push(when, key)

    def set_end(self, number: int, when: float) -> None:
        """End the wait of that number, which is in ``waits``, at ``when``."""
        self._push(when, (_WAIT_ENDS, number))

    def cancel(self, key: Key) -> None:
        """Forget ``key``; no error when it is not set."""
        self._when.pop(key, None)
        if len(self._heap) > 2 * len(self) + _SLACK:
            self._compact()

    def next(self) -> float | None:
        """The time of the earliest deadline, or None. It may be too early, never too late."""
        heap, when = self._heap, self._when
        while heap:
            at, key = heap[0]
            if key[1] in self._waits if key[0] is _WAIT_ENDS else when.get(key, -math.inf) >= at:
                return at
            heapq.heappop(heap)
        return None

    def pop(self, now: float) -> tuple[float, Key] | None:
        """Take out one key that is due at ``now``, earliest first, and its time; or None."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            entry = heapq.heappop(heap)
            at, key = entry
            if key[0] is _WAIT_ENDS:
                if key[1] in self._waits:
                    return entry
                continue
            when = self._when.get(key)
            if when == at:
                del self._when[key]
                return entry
            if when is not None and when > at:
                # It was moved to a later time: what is due before that comes first.
                heapq.heappush(heap, (when, key))
        return None

    def _push(self, when: float, key: Key) -> None:
        heapq.heappush(self._heap, (when, key))
        if len(self._heap) > 2 * (len(self._when) + len(self._waits)) + _SLACK:
            self._compact()

    def _compact(self) -> None:
        """Leave out the entries without a use."""
        waits = self._waits
        ends = [e for e in self._heap if e[1][0] is _WAIT_ENDS and e[1][1] in waits]
        self._heap = [(when, key) for key, when in self._when.items()] + ends
        heapq.heapify(self._heap)
