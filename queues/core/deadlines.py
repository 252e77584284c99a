"""What is due when: one heap for every deadline of the switch."""

from __future__ import annotations

import heapq
import math
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


Key = tuple[Due, Any]


class Deadlines:
    """A priority queue of keys by time, in which a key can be moved or cancelled.

    ``set`` and ``cancel`` are O(log n) amortised: superseded heap entries stay until they surface
    or outnumber the live ones, and moving a key to a later time touches only a dict.
    """

    def __init__(self) -> None:
        self._when: dict[Key, float] = {}
        self._armed: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []

    def __len__(self) -> int:
        return len(self._when)

    @property
    def earliest(self) -> float:
        """Nothing is due before; infinite if there is nothing."""
        return self._heap[0][0] if self._heap else math.inf

    def set(self, key: Key, when: float) -> None:
        """Make ``key`` due at ``when``, instead of any earlier setting."""
        self._when[key] = when
        armed = self._armed.get(key)
        if armed is None or when < armed:
            self._armed[key] = when
            heapq.heappush(self._heap, (when, key))
            self._compact_if_stale()

    def cancel(self, key: Key) -> None:
        """Forget ``key``; no error when it is not set."""
        if self._when.pop(key, None) is not None:
            del self._armed[key]
            self._compact_if_stale()

    def next(self) -> float | None:
        """The time of the earliest deadline, or None. It may be too early, never too late."""
        heap = self._heap
        while heap and self._armed.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now: float) -> Key | None:
        """Take out one key that is due at ``now``, earliest first, or None."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            armed, key = heapq.heappop(heap)
            if self._armed.get(key) != armed:
                continue
            when = self._when[key]
            if when == armed:
                del self._when[key], self._armed[key]
                return key
            # It was moved to a later time: what is due before that comes first.
            self._armed[key] = when
            heapq.heappush(heap, (when, key))
        return None

    def _compact_if_stale(self) -> None:
        if len(self._heap) <= 2 * len(self._when) + 64:
            return
        self._armed = dict(self._when)
        self._heap = [(when, key) for key, when in self._when.items()]
        heapq.heapify(self._heap)
