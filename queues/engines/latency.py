"""How long the messages of each service wait and are worked on, in memory of a fixed size.

Times are gathered in short lists and folded into t-digests by the hundred, since that costs a
twentieth of folding each. A digest covers a window of some minutes and is shown together with the
one before, so that what was long ago is forgotten.
"""

from __future__ import annotations

import math
import re

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

    __slots__ = ("_before", "_now", "_since")

    def __init__(self, now: float) -> None:
        self._now = TDigest(max_centroids=CENTROIDS)
        self._before = TDigest(max_centroids=CENTROIDS)
        self._since = now

    def add(self, seconds: list[float], now: float) -> None:
        """Remember some."""
        age = now - self._since
        if age > WINDOW:
            # After two windows without a word what was before is too old as well.
            self._before = self._now if age < 2 * WINDOW else TDigest(max_centroids=CENTROIDS)
            self._now = TDigest(max_centroids=CENTROIDS)
            self._since = now
        self._now.batch_update(seconds)

    def quantiles(self, now: float) -> Quantiles:
        """What is known at ``now``."""
        self.add([], now)
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

    def __init__(self, queue: Queue, now: float) -> None:
        self.batch: list[tuple[float, float]] = []
        """Seconds in the queue and in hand of the last messages, to be folded."""
        self.pickups: list[float] = []
        self._queued = Times(now)
        self._handled = Times(now)
        self._picked_up = Times(now)
        self._methods: dict[str, Method] = {}
        # From the first message on: the one that is being told has been counted already.
        self._sent = Rate(0, queue.created_at)
        self._finished = Rate(0, queue.created_at)

    def fold(self, now: float) -> None:
        """Move the last times into the digests."""
        batch, self.batch = self.batch, []
        self._queued.add([queued for queued, _ in batch], now)
        self._handled.add([handled for _, handled in batch], now)
        pickups, self.pickups = self.pickups, []
        self._picked_up.add(pickups, now)

    def method(self, payload: str, seconds: float, now: float) -> None:
        """Remember the time of a request whose payload may be JSON-RPC."""
        found = _METHOD.search(payload, 0, _METHOD_WITHIN)
        if found is None:
            return
        name = found[1]
        method = self._methods.get(name)
        if method is None:
            if len(self._methods) >= MOST_METHODS:
                name = OTHER_METHODS
            method = self._methods.setdefault(name, Method(now))
        method.total += 1
        method.batch.append(seconds)
        if len(method.batch) >= BATCH:
            method.fold(now)

    def timing(self, queue: Queue, now: float) -> Timing:
        """What is known at ``now``."""
        self.fold(now)
        most = sorted(self._methods.items(), key=lambda item: -item[1].total)
        return Timing(
            queued=self._queued.quantiles(now),
            handled=self._handled.quantiles(now),
            picked_up=self._picked_up.quantiles(now),
            sent_rate=self._sent.at(queue.sent, now),
            finished_rate=self._finished.at(queue.acked, now),
            methods=[
                MethodTiming(method=name, handled=method.quantiles(now), total=method.total)
                for name, method in most[:SHOWN_METHODS]
            ],
        )


class Method:
    """The times of the requests with one method."""

    def __init__(self, now: float) -> None:
        self.total = 0
        self.batch: list[float] = []
        self._handled = Times(now)

    def fold(self, now: float) -> None:
        """Move the last times into the digest."""
        batch, self.batch = self.batch, []
        self._handled.add(batch, now)

    def quantiles(self, now: float) -> Quantiles:
        """What is known at ``now``."""
        self.fold(now)
        return self._handled.quantiles(now)


class LatencyMeter:
    """Measures every persistent queue. See ``queues.core.meter.Meter``.

    A message counts when it is finished, with its last hand-over: what failed before is told by
    its verdict.
    """

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}

    def finished(self, queue: Queue, message: Message, held_since: float, now: float) -> None:
        """A message has been acked or replied to."""
        service = self._services.get(queue.name)
        if service is None:
            if queue.owner is not None:
                self._picked_up(message, held_since, now)
                return
            service = self._services[queue.name] = Service(queue, now)
        ready_since = message.due_at or message.sent_at
        if message.returns is not None:
            ready_since = max(ready_since, message.returns[-1].at)
        batch = service.batch
        batch.append((held_since - ready_since, now - held_since))
        if len(batch) >= BATCH:
            service.fold(now)
        if message.payload[:1] == "{":
            service.method(message.payload, now - held_since, now)

    def _picked_up(self, reply: Message, held_since: float, now: float) -> None:
        if reply.answers is not None and (service := self._services.get(reply.answers)):
            service.pickups.append(held_since - reply.sent_at)
            if len(service.pickups) >= BATCH:
                service.fold(now)

    def forget(self, queue: Queue) -> None:
        """The queue has been destroyed."""
        self._services.pop(queue.name, None)

    def timing(self, queue: Queue, now: float) -> Timing | None:
        """What is known of a queue's service; None if nothing has been finished."""
        service = self._services.get(queue.name)
        return None if service is None else service.timing(queue, now)
