"""The switch in numbers, for a monitoring system. Counting them changes nothing.

With many queues that takes too long for one piece, so it goes step by step; each queue is counted
at one instant. Only persistent queues are told apart, and of them those that most was sent to.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from .answers import Timing, Usage
from .snapshot import usage
from .verdict import Level, explain_queue
from .waits_for import WaitsFor

if TYPE_CHECKING:
    from .queue import Queue
    from .switch import Switch

#: Queues that are told apart.
MOST_QUEUES = 1_000
#: Queues that one step looks at to find these,
LOOKED_AT = 500
#: and of these that one step counts and explains.
EXPLAINED = 25


@dataclass(slots=True, kw_only=True)
class QueueNumbers:
    """One queue: its messages by state, what became of them since it was made, its verdict's level,
    and how long they took lately."""

    name: str
    ready: int
    delayed: int
    held: int
    dead: int
    bytes: int
    consumers: int
    oldest_at: float | None
    """When the oldest ready message was sent."""
    sent: int
    delivered: int
    finished: int
    refused: int
    level: Level
    timing: Timing | None
    at: float
    """When it was counted."""


@dataclass(slots=True, kw_only=True)
class Sum:
    """Queues that are not told apart."""

    queues: int = 0
    ready: int = 0
    delayed: int = 0
    held: int = 0
    dead: int = 0
    bytes: int = 0
    consumers: int = 0
    oldest_at: float | None = None


@dataclass(slots=True, kw_only=True)
class Metrics:
    """The switch in numbers. The counts of messages grow since the start; loop lags are seconds."""

    now: float
    started_at: float
    sent: int
    delivered: int
    finished: int
    sessions: int
    calls: int
    """Calls whose caller waits now."""
    trace_dropped: int
    store_down: bool
    """Whether the database does not take what must survive."""
    usage: list[Usage]
    queues: list[QueueNumbers] = field(default_factory=list)
    """By name."""
    left_out: Sum = field(default_factory=Sum)
    """The persistent queues beyond those."""
    transient: Sum = field(default_factory=Sum)
    loop_lag: float = 0.0
    worst_loop_lag: float = 0.0


class Counting:
    """A count in progress: ``step`` until it says that there is no more to do."""

    def __init__(self, switch: Switch, *, now: float) -> None:
        switch.advance(now)
        self._switch = switch
        self.result = Metrics(
            now=now,
            started_at=switch.started_at,
            sent=switch.sent,
            delivered=switch.delivered,
            finished=switch.finished,
            sessions=len(switch.sessions),
            calls=sum(1 for call in switch.calls.values() if call.waits),
            trace_dropped=switch.trace.dropped,
            store_down=switch.store_down_since is not None,
            usage=usage(switch),
        )
        self._unseen: Iterator[Queue] = iter(list(switch.queues.values()))
        self._busiest: list[tuple[int, str, Queue]] = []
        self._chosen: Iterator[Queue] | None = None

    def step(self, *, now: float) -> bool:
        """Count some more queues. Returns whether any may be left."""
        self._switch.advance(now)
        if self._chosen is None:
            some = list(islice(self._unseen, LOOKED_AT))
            for queue in some:
                self._look_at(queue)
            if len(some) < LOOKED_AT:
                chosen = sorted(self._busiest, key=lambda entry: entry[1])
                self._chosen = iter([queue for _, _, queue in chosen])
            return True
        some = list(islice(self._chosen, EXPLAINED))
        # What it finds out holds for this instant only.
        waits = WaitsFor(self._switch, now)
        for queue in some:
            if self._switch.queues.get(queue.name) is queue:
                self.result.queues.append(self._numbers(queue, waits, now))
        return len(some) == EXPLAINED

    def _look_at(self, queue: Queue) -> None:
        if queue.owner is not None:
            self._add(queue, self.result.transient)
            return
        entry = (queue.sent, queue.name, queue)
        if len(self._busiest) < MOST_QUEUES:
            heapq.heappush(self._busiest, entry)
        else:
            self._add(heapq.heappushpop(self._busiest, entry)[2], self.result.left_out)

    def _add(self, queue: Queue, to: Sum) -> None:
        to.queues += 1
        to.ready += queue.ready
        to.delayed += len(queue.delayed)
        to.held += len(queue.held)
        to.dead += len(queue.dead)
        to.bytes += queue.bytes
        to.consumers += self._consumers(queue)
        head = queue.head()
        if head is not None and (to.oldest_at is None or head.sent_at < to.oldest_at):
            to.oldest_at = head.sent_at

    def _numbers(self, queue: Queue, waits: WaitsFor, now: float) -> QueueNumbers:
        switch = self._switch
        head = queue.head()
        return QueueNumbers(
            name=queue.name,
            ready=queue.ready,
            delayed=len(queue.delayed),
            held=len(queue.held),
            dead=len(queue.dead),
            bytes=queue.bytes,
            consumers=self._consumers(queue),
            oldest_at=None if head is None else head.sent_at,
            sent=queue.sent,
            delivered=queue.delivered,
            finished=queue.acked,
            refused=queue.refused,
            level=explain_queue(switch, queue, waits, now).level,
            timing=None if switch.meter is None else switch.meter.timing(queue, now),
            at=now,
        )

    def _consumers(self, queue: Queue) -> int:
        consumers = self._switch.consumers.get(queue.name)
        return 0 if consumers is None else len(consumers.sessions)
