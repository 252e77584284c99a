"""The trace: what happened last, bounded in events and in bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Literal, NamedTuple

from msgspec import Struct

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

#: Bytes of memory that an event takes at most: the entry, its numbers and its place in the ring,
EVENT_OVERHEAD = 224
#: what comes with each text,
TEXT_OVERHEAD = 64
#: with each character of one that is not ASCII, as four bytes and again in UTF-8,
WIDE = 8
#: and with a request that was made for another one, which can be looked up.
CALL_OVERHEAD = 256
#: Characters of a payload that a "sent" event shows,
SUMMARY_LENGTH = 80
#: and those that it keeps, so that it can be seen whether there were more.
KEPT_LENGTH = SUMMARY_LENGTH + 1


class Event(Struct):
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


class TraceReport(Struct, kw_only=True):
    """Events after a given one, oldest first; ``next`` continues, ``dropped`` counts the gap."""

    events: list[Event]
    next: int
    dropped: int


class TracePage(Struct, kw_only=True):
    """Events before a given one, the newest first; ``next`` continues, None at the end.

    ``kept`` events are remembered now, ``dropped`` have been forgotten since the start.
    """

    events: list[Event]
    next: int | None
    kept: int
    dropped: int


class Origin(NamedTuple):
    """When a message was sent, where to, by whom, and for which request."""

    at: float
    queue: str
    client: str | None
    parent: int | None


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
        self._made: dict[int, _Entry] = {}
        """How requests were sent that were made for others."""
        self._made_for: dict[int, list[int]] = {}
        """These requests, the oldest first, by what they were made for."""
        self.bytes = 0
        """Memory that the events take, at most; what they share counts for each."""
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
            size += TEXT_OVERHEAD + len(queue)  # names are ASCII
        if client is not None:
            size += TEXT_OVERHEAD + len(client) * (1 if client.isascii() else WIDE)
        if detail is not None:
            size += TEXT_OVERHEAD + len(detail) * (1 if detail.isascii() else WIDE)
        if parent is not None:
            size += CALL_OVERHEAD
        ring = self._ring
        entry = (size, at, kind, queue, message, client, detail, parent)
        ring.append(entry)
        if parent is not None and message is not None:
            self._made[message] = entry
            self._made_for.setdefault(parent, []).append(message)
        self._next += 1
        self.bytes += size
        while self.bytes > self._max_bytes or len(ring) > self._max_events:
            oldest = ring.popleft()
            self.bytes -= oldest[0]
            if oldest[7] is not None:
                self._forget_call(oldest[4], oldest[7])
        if self.on_event is not None:
            self.on_event()

    def _forget_call(self, message: int | None, parent: int) -> None:
        if message is not None:
            del self._made[message]
            calls = self._made_for[parent]
            del calls[0]
            if not calls:
                del self._made_for[parent]

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

    def made_for(self, message: int) -> list[int]:
        """The requests that were made for another one, as their senders said, oldest first."""
        return self._made_for.get(message, [])

    def origin(self, message: int) -> Origin | None:
        """How a request was sent that was made for another one; None if it was not, or is
        forgotten."""
        entry = self._made.get(message)
        return None if entry is None else _origin(entry)

    def sent(self, message: int) -> Origin | None:
        """How a message was sent, if that is remembered. O(events kept)."""
        return next((_origin(e) for e in self._ring if e[4] == message and e[2] == "sent"), None)


_Entry = tuple[int, float, EventKind, str | None, int | None, str | None, str | None, int | None]


def _origin(entry: _Entry) -> Origin:
    return Origin(at=entry[1], queue=entry[3] or "", client=entry[5], parent=entry[7])


def _event(number: int, entry: _Entry) -> Event:
    _, at, kind, queue, message, client, detail, parent = entry
    if kind == "sent" and detail is not None:
        detail = summary(detail)
    return Event(number, at, kind, queue, message, client, detail, parent)
