"""The trace: what happened last, bounded in events and in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass
from itertools import islice
from typing import Literal

EventKind = Literal[
    "login",
    "logout",
    "lease_expired",
    "queue_created",
    "queue_changed",
    "queue_destroyed",
    "purged",
    "subscribed",
    "unsubscribed",
    "sent",
    "delivered",
    "acked",
    "released",
    "replied",
    "died",
    "dropped",
    "replayed",
    "call_timeout",
    "caller_gone",
    "disconnected",
    "resumed",
    "slow_consumer",
    "ended",
    "paused",
    "unpaused",
    "moved",
    "restored",
]

#: What one event takes beside its text: object, numbers and ring slot, rounded up.
EVENT_OVERHEAD = 200
#: Characters of a payload that a "sent" event shows,
SUMMARY_LENGTH = 80
#: and those that it keeps, so that it can be seen whether there were more.
KEPT_LENGTH = SUMMARY_LENGTH + 1


@dataclass(slots=True)
class Event:
    """One thing that happened. ``at`` is in seconds since the epoch.

    ``client`` is who did it: the sender, the receiver, the session. ``detail`` says what the
    kind leaves open: a cause, a count, the beginning of a payload.
    """

    number: int
    at: float
    kind: EventKind
    queue: str | None = None
    message: int | None = None
    client: str | None = None
    detail: str | None = None
    parent: int | None = None
    """The request that a sent message was made for."""


@dataclass(slots=True, kw_only=True)
class TraceReport:
    """Events after a given one, oldest first; ``next`` continues, ``dropped`` counts the gap."""

    events: list[Event]
    next: int
    dropped: int


@dataclass(slots=True, kw_only=True)
class TracePage:
    """Events before a given one, the newest first; ``next`` continues, None at the end.

    ``kept`` events are remembered now, ``dropped`` have been forgotten since the start.
    """

    events: list[Event]
    next: int | None
    kept: int
    dropped: int


def summary(payload: str) -> str:
    """The beginning of a payload, in one short piece."""
    return payload if len(payload) <= SUMMARY_LENGTH else payload[: SUMMARY_LENGTH - 1] + "…"


class Trace:
    """A ring of events. Numbers grow by one and go on growing over a restart.

    What has happened is kept as plain tuples, since writing is frequent and reading rare.
    """

    def __init__(self, *, first: int, max_events: int, max_bytes: int) -> None:
        self._first = first
        self._next = first
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._ring: deque[_Entry] = deque()
        self.bytes = 0
        self.on_event: Callable[[], None] | None = None
        """What is called after the next event."""

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def dropped(self) -> int:
        """How many events have been forgotten to stay within the bounds."""
        return self._next - self._first - len(self._ring)

    @property
    def last(self) -> int:
        """Number of the newest event (or the one before the first)."""
        return self._next - 1

    def add(
        self,
        at: float,
        kind: EventKind,
        queue: str | None = None,
        message: int | None = None,
        client: str | None = None,
        detail: str | None = None,
        parent: int | None = None,
    ) -> None:
        """Append an event and drop as many of the oldest as the bounds ask for."""
        size = EVENT_OVERHEAD
        if queue is not None:
            size += len(queue)  # names are ASCII
        if client is not None:
            size += len(client) if client.isascii() else len(client.encode())
        if detail is not None:
            size += len(detail) if detail.isascii() else len(detail.encode())
        ring = self._ring
        ring.append((size, at, kind, queue, message, client, detail, parent))
        self._next += 1
        self.bytes += size
        while self.bytes > self._max_bytes or len(ring) > self._max_events:
            self.bytes -= ring.popleft()[0]
        if self.on_event is not None:
            self.on_event()

    def after(self, number: int, limit: int) -> TraceReport:
        """At most ``limit`` events with a larger number than ``number``."""
        first = self._next - len(self._ring)
        skip = max(0, number + 1 - first)
        entries = islice(self._ring, skip, skip + limit)
        events = [_event(first + skip + i, entry) for i, entry in enumerate(entries)]
        dropped = max(0, first - max(number + 1, self._first)) if number > 0 else 0
        return TraceReport(
            events=events,
            next=events[-1].number if events else max(number, self.last),
            dropped=dropped,
        )

    def before(self, number: int | None, limit: int) -> TracePage:
        """At most ``limit`` events with a smaller number than ``number``, or the newest."""
        end = self._next if number is None else max(self._first, min(number, self._next))
        back = self._next - end
        entries = islice(reversed(self._ring), back, back + limit)
        events = [_event(end - at, entry) for at, entry in enumerate(entries, 1)]
        return TracePage(
            events=events,
            next=events[-1].number if back + len(events) < len(self._ring) else None,
            kept=len(self._ring),
            dropped=self.dropped,
        )

    def of_message(self, message: int) -> list[Event]:
        """All events of one message, oldest first. O(events kept)."""
        numbered = enumerate(self._ring, self._next - len(self._ring))
        return [_event(number, entry) for number, entry in numbered if entry[4] == message]

    def since(self, number: int, *kinds: EventKind) -> list[Event]:
        """Events of some kinds with a larger number than ``number``, oldest first."""
        first = self._next - len(self._ring)
        skip = max(0, number + 1 - first)
        entries = enumerate(islice(self._ring, skip, None), first + skip)
        return [_event(n, entry) for n, entry in entries if entry[2] in kinds]

    def parents(self) -> dict[int, int]:
        """The requests that sent messages were made for, as their senders said. O(events kept)."""
        return {e[4]: e[7] for e in self._ring if e[7] is not None and e[4] is not None}

    def sent(self, messages: Container[int]) -> dict[int, Event]:
        """How some messages were sent, by id. O(events kept)."""
        numbered = enumerate(self._ring, self._next - len(self._ring))
        return {
            entry[4]: _event(number, entry)
            for number, entry in numbered
            if entry[4] is not None and entry[4] in messages and entry[2] == "sent"
        }


_Entry = tuple[int, float, EventKind, str | None, int | None, str | None, str | None, int | None]


def _event(number: int, entry: _Entry) -> Event:
    _, at, kind, queue, message, client, detail, parent = entry
    if kind == "sent" and detail is not None:
        detail = summary(detail)
    return Event(number, at, kind, queue, message, client, detail, parent)
