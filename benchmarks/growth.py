"""What a send, a delivery and an ack cost as the switch fills: in-process, and time is told.

For each curve the states of different size take turns; a cost that does not grow has a ratio of 1.
The garbage collector is off meanwhile, since a full collection looks at all states and would fall
on the step of one; how long such a collection takes is printed.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from queues.core.limits import Limits
from queues.core.messages import Draft
from queues.core.queue import Policy
from queues.core.switch import Switch
from queues.core.waits import Stream, TransferWait

from .harness import Meter, Noise, Options, judged, progress, table

DRAFT = Draft(payload="x" * 100)
STEPS = ("send", "deliver", "ack")
#: Messages of one measurement.
COUNT = 4_000
#: The trace is full after that many: from then on each new event drops an old one.
WARM_UP = 8_000
#: Largest cost by smallest, in the median round.
BOUND = 1.25
ROOM = 2**40
LIMITS = Limits(total_bytes=2**40)
FULL = Policy(max_length=LIMITS.queue_length)


@dataclass
class Times:
    """CPU seconds of each step, and how many waits a send woke, at least and at most."""

    seconds: list[float] = field(default_factory=lambda: [0.0] * len(STEPS))
    woken: set[int] = field(default_factory=set)


class Bed:
    """A switch in some state, with queues that messages pass through one at a time."""

    def __init__(self, *names: str) -> None:
        self.switch = Switch(first_id=1, now=0.0, limits=LIMITS)
        self.now = 0.0
        self.names = names
        for name in names:
            self.switch.create_queue(name, FULL, now=self.now)
            self.consumer(name)

    def consumer(self, name: str) -> None:
        """A session that consumes one queue, both of that name."""
        self.switch.login(name, name, 1e9, now=self.now)
        self.switch.subscribe(name, token=name, now=self.now)

    def cycle(self, count: int) -> Times:
        """Let messages pass, and take the time of each step."""
        switch, times, clock = self.switch, Times(), time.process_time
        send, deliver, ack = times.seconds
        for i in range(count):
            self.now += 1e-4
            name = self.names[i % len(self.names)]
            began = clock()
            switch.send(name, DRAFT, now=self.now)
            sent = clock()
            times.woken.add(len(switch.woken))
            switch.woken.clear()
            ready = clock()
            token, id = self.take(name)
            taken = clock()
            switch.ack([id], token=token, now=self.now)
            acked = clock()
            send += sent - began
            deliver += taken - ready
            ack += acked - taken
            self.again(token)
        times.seconds = [send, deliver, ack]
        return times

    def take(self, name: str) -> tuple[str, int]:
        """Deliver a message; answers who has it, and its id."""
        wait = self.switch.transfer(token=name, now=self.now)
        (message,) = self.switch.collect(wait, now=self.now).messages
        return name, message.id

    def again(self, token: str) -> None:
        """Restore the state; not part of any step."""


class WaitingBed(Bed):
    """Every message goes to the one of many waiting Transfers or streams that waited longest."""

    def __init__(self, count: int, *, stream: bool) -> None:
        super().__init__()
        self.names = ("shared",)
        self.switch.create_queue("shared", FULL, now=0.0)
        self._line: list[TransferWait | Stream] = []
        self._stream = stream
        for i in range(count):
            self._line.append(idle(self.switch, f"waiter.{i}", "shared", stream=stream))
        self._next = 0

    def take(self, name: str) -> tuple[str, int]:
        """What the one whose turn it is was handed."""
        wait = self._line[self._next]
        if isinstance(wait, Stream):
            (message,) = self.switch.take(wait)
        else:
            (message,) = self.switch.collect(wait, now=self.now).messages
        return wait.session.token, message.id

    def again(self, token: str) -> None:
        """Wait again, at the end of the line; a stream never left it."""
        if not self._stream:
            self._line[self._next] = self.switch.transfer(token=token, timeout=1e9, now=self.now)
        self._next = (self._next + 1) % len(self._line)


def idle(switch: Switch, token: str, queue: str, *, stream: bool) -> TransferWait | Stream:
    """A session that waits for messages of a queue."""
    if stream:
        _, opened = switch.open_stream(token, token, 0.0, room=ROOM, now=0.0)
        switch.subscribe(queue, token=token, now=0.0, credit=100)
        return opened
    switch.login(token, token, 1e9, now=0.0)
    switch.subscribe(queue, token=token, now=0.0)
    return switch.transfer(token=token, timeout=1e9, now=0.0)


# -- the curves -----------------------------------------------------------------------------------


def queued(count: int) -> Bed:
    """A queue that holds messages already: the one delivered was sent long ago."""
    bed = Bed("q")
    for _ in range(count):
        bed.switch.send("q", DRAFT, now=0.0)
    return bed


def queues(count: int) -> Bed:
    """Many queues, each with a consumer; messages pass through ten of them."""
    bed = Bed(*(f"q.{i}" for i in range(10)))
    for i in range(10, count):
        bed.switch.create_queue(f"q.{i}", FULL, now=0.0)
        bed.switch.send(f"q.{i}", DRAFT, now=0.0)
    return bed


def elsewhere(count: int, *, stream: bool) -> Bed:
    """Many who wait for other queues."""
    bed = Bed("q")
    for i in range(count):
        bed.switch.create_queue(f"other.{i}", FULL, now=0.0)
        idle(bed.switch, f"waiter.{i}", f"other.{i}", stream=stream)
    return bed


@dataclass(frozen=True)
class Curve:
    """States that differ in one size."""

    title: str
    make: Callable[[int], Bed]
    sizes: Sequence[int]
    woken: int = 0
    """How many waits each send is to wake."""


WAITERS = (1, 1_000, 5_000)
CURVES = [
    Curve("messages queued", queued, (1_000, 100_000, 1_000_000)),
    Curve("queues", queues, (10, 1_000, 50_000)),
    Curve("Transfers waiting for other queues", lambda n: elsewhere(n, stream=False), WAITERS),
    Curve("streams waiting for other queues", lambda n: elsewhere(n, stream=True), WAITERS),
    Curve("Transfers waiting for this queue", lambda n: WaitingBed(n, stream=False), WAITERS, 1),
    Curve("streams waiting for this queue", lambda n: WaitingBed(n, stream=True), WAITERS, 1),
]


def run(options: Options) -> None:
    """Measure and print the tables."""
    noise = Noise()
    for curve in CURVES:
        sizes = [size for size in curve.sizes if size <= 100_000 or not options.quick]
        progress(f"growth: making {curve.title}")
        beds = {size: curve.make(size) for size in sizes}
        for bed in beds.values():
            bed.cycle(WARM_UP)
        began = time.process_time()
        gc.collect()
        collection = time.process_time() - began
        gc.disable()
        rounds: list[dict[int, Times]] = []
        for number in range(options.rounds):
            progress(f"growth, round {number + 1}: {curve.title}")
            meter = Meter()
            rounds.append({size: bed.cycle(COUNT) for size, bed in beds.items()})
            noise.add(number, meter.read())
        progress("")
        gc.enable()
        _print(curve, sizes, rounds)
        print(f"  a full garbage collection with all of these: {collection * 1e3:.0f} ms")
        beds.clear()
    noise.show({})


def _print(curve: Curve, sizes: list[int], rounds: list[dict[int, Times]]) -> None:
    overhead = _clock_cost()

    def cost(times: Times, step: int) -> float:
        return times.seconds[step] / COUNT - overhead

    rows = []
    for size in sizes:
        figures = [f"{median(cost(r[size], i) for r in rounds) * 1e6:.2f}" for i in range(3)]
        woken = set[int]().union(*(r[size].woken for r in rounds))
        good = woken == {curve.woken}
        rows.append([f"{size:,}", *figures, judged(" ".join(map(str, sorted(woken))), good=good)])
    ratios = []
    for i in range(len(STEPS)):
        costs = [[cost(times[size], i) for size in sizes] for times in rounds]
        ratio = median(max(each) / min(each) for each in costs)
        ratios.append(judged(f"{ratio:.2f}", good=ratio <= BOUND))
    rows.append([f"largest by smallest (at most {BOUND})", *ratios, ""])
    table(curve.title, ["", *(f"{step} µs" for step in STEPS), "woken by a send"], rows)


def _clock_cost() -> float:
    """Seconds that one reading of the clock adds to a step."""
    clock = time.process_time
    began = clock()
    for _ in range(10_000):
        clock()
    return (clock() - began) / 10_000
