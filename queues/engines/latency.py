"""How long the messages of each service wait and are worked on, in memory of a fixed size.

Times are gathered in short lists and folded into t-digests by the hundred, since that costs a
twentieth of folding each. A digest covers a window of some minutes and is shown together with the
one before, so that what was long ago is forgotten.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from fastdigest import TDigest

from queues.core.answers import MethodTiming, Quantiles, Timing
from queues.core.messages import Message
from queues.core.queue import Queue

#: Times that are folded at once.
BATCH = 256
#: Seconds that one digest covers.
WINDOW = 300.0
#: Centroids of a digest: what bounds its memory, and its error (below 1 % at the 99th percentile).
CENTROIDS = 100
#: Methods told apart in one service; others go together.
MOST_METHODS = 50
OTHER_METHODS = "(others)"
#: Methods that are shown.
SHOWN_METHODS = 10
#: Characters of a payload in which its method is looked for.
_METHOD_WITHIN = 256
_METHOD = re.compile(r'"method"\s*:\s*"([^"\\]{1,100})"')
#: Seconds after which a rate has forgotten about two thirds of what was before.
RATE_TIME = 30.0


class Times:
    """Durations in seconds: those of the last one or two windows."""

    __slots__ = ("_batch", "_before", "_now", "_since")

    def __init__(self, now: float) -> None:
        self._batch: list[float] = []
        self._now = TDigest(max_centroids=CENTROIDS)
        self._before = TDigest(max_centroids=CENTROIDS)
        self._since = now

    def add(self, seconds: float, now: float) -> None:
        """Remember one."""
        self._batch.append(seconds)
        if len(self._batch) >= BATCH:
            self._fold(now)

    def _fold(self, now: float) -> None:
        age = now - self._since
        if age > WINDOW:
            # After two windows without a word what was before is too old as well.
            self._before = self._now if age < 2 * WINDOW else TDigest(max_centroids=CENTROIDS)
            self._now = TDigest(max_centroids=CENTROIDS)
            self._since = now
        self._now.batch_update(self._batch)
        self._batch.clear()

    def quantiles(self, now: float) -> Quantiles:
        """What is known at ``now``."""
        self._fold(now)
        both = self._before + self._now
        if not both.n_values:
            return Quantiles(count=0, p50=None, p95=None, p99=None)
        p50, p95, p99 = (float(both.quantile(q)) for q in (0.5, 0.95, 0.99))
        return Quantiles(count=both.n_values, p50=p50, p95=p95, p99=p99)


class Rate:
    """Events per second, of a count that only grows; what is long ago counts less and less."""

    __slots__ = ("_at", "_count", "_rate")

    def __init__(self, count: int, now: float) -> None:
        self._count = count
        self._at = now
        self._rate: float | None = None

    def at(self, count: int, now: float) -> float:
        """The rate when the count is ``count``."""
        passed = now - self._at
        if passed < 0.5:
            return self._rate or 0.0
        fresh = (count - self._count) / passed
        if self._rate is None:
            self._rate = fresh
        else:
            self._rate = fresh + (self._rate - fresh) * math.exp(-passed / RATE_TIME)
        self._count, self._at = count, now
        return self._rate


class Service:
    """The times of one queue's messages."""

    __slots__ = ("finished", "handled", "methods", "picked_up", "queued", "sent")

    def __init__(self, queue: Queue, now: float) -> None:
        self.queued = Times(now)
        self.handled = Times(now)
        self.picked_up = Times(now)
        self.methods: dict[str, tuple[Times, Counter[str]]] = {}
        # From the first message on: the one that is being told has been counted already.
        self.sent = Rate(0, queue.created_at)
        self.finished = Rate(0, queue.created_at)

    def method(self, payload: str, seconds: float, now: float) -> None:
        """Remember the time of a request whose payload may be JSON-RPC."""
        found = _METHOD.search(payload, 0, _METHOD_WITHIN)
        if found is None:
            return
        name = found[1]
        entry = self.methods.get(name)
        if entry is None:
            if len(self.methods) >= MOST_METHODS:
                name = OTHER_METHODS
            entry = self.methods.setdefault(name, (Times(now), Counter()))
        entry[0].add(seconds, now)
        entry[1]["total"] += 1


class LatencyMeter:
    """Measures every persistent queue. See ``queues.core.meter.Meter``."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}

    def _service(self, queue: Queue, now: float) -> Service:
        service = self._services.get(queue.name)
        if service is None:
            service = self._services[queue.name] = Service(queue, now)
        return service

    def handed_over(self, queue: Queue, message: Message, now: float) -> None:
        """A message that was ready has gone to a session."""
        if queue.owner is not None:
            if message.answers is not None and message.answers in self._services:
                self._services[message.answers].picked_up.add(now - message.sent_at, now)
            return
        since = message.due_at or message.sent_at
        if message.returns is not None:
            since = max(since, message.returns[-1].at)
        self._service(queue, now).queued.add(now - since, now)

    def finished(self, queue: Queue, message: Message, since: float, now: float) -> None:
        """A message has been acked or replied to that was held since ``since``."""
        if queue.owner is not None:
            return
        service = self._service(queue, now)
        service.handled.add(now - since, now)
        if message.payload[:1] == "{":
            service.method(message.payload, now - since, now)

    def forget(self, queue: Queue) -> None:
        """The queue has been destroyed."""
        self._services.pop(queue.name, None)

    def timing(self, queue: Queue, now: float) -> Timing | None:
        """What is known of a queue's service; None if nothing has been handed over."""
        service = self._services.get(queue.name)
        if service is None:
            return None
        most = sorted(service.methods.items(), key=lambda item: -item[1][1]["total"])
        return Timing(
            queued=service.queued.quantiles(now),
            handled=service.handled.quantiles(now),
            picked_up=service.picked_up.quantiles(now),
            sent_rate=service.sent.at(queue.sent, now),
            finished_rate=service.finished.at(queue.acked, now),
            methods=[
                MethodTiming(method=name, handled=times.quantiles(now), total=count["total"])
                for name, (times, count) in most[:SHOWN_METHODS]
            ],
        )
