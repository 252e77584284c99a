"""What a verdict costs with 100,000 messages and 1,000 sessions: in-process, and time is told.

Each state is one that makes some verdict expensive, and an empty switch is the control. Every
question is asked in turns with the others; CPU time is measured, since that is what the event loop
gives for it. The garbage collector is off meanwhile: a full collection would fall on any of them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle
from statistics import median

from queues.core.limits import Limits
from queues.core.messages import PARENT, Draft
from queues.core.queue import Policy
from queues.core.switch import Switch

from .harness import Meter, Noise, Options, judged, progress, table

MESSAGES = 100_000
SESSIONS = 1_000
#: Seconds that one verdict may take.
BOUND = 0.005
#: Times that each question is asked in a round.
REPEATS = 10
LIMITS = Limits(total_bytes=2**40)
LONG = 1e9

Question = Callable[[], object]
#: What is asked about the whole switch, and has no bound.
WHOLE = ("the whole diagnostics", "the graph of waits")


class Bed:
    """A switch in some state, and the questions that are asked about it."""

    def __init__(self) -> None:
        self.switch = Switch(first_id=1, now=0.0, limits=LIMITS)
        self.now = 1.0
        self.questions: dict[str, Question] = {}

    def serve(self, token: str, *queues: str) -> None:
        """A session that consumes some queues, which are made where they are not there."""
        self.switch.login(token, token, LONG, now=self.now)
        for name in queues:
            self.switch.create_queue(name, Policy(max_length=LIMITS.queue_length), now=self.now)
            self.switch.subscribe(name, token=token, now=self.now)

    def send(self, name: str, count: int, *, first: str = "x", **fields: float) -> list[int]:
        """Messages of 100 bytes; their ids."""
        draft = Draft(first.ljust(100), headers={"h": "v"}, **fields)  # type: ignore[arg-type]
        return [self.switch.send(name, draft, now=self.now).id for _ in range(count)]

    def take(self, token: str, count: int = 1) -> list[int]:
        """Let a session hold messages; their ids."""
        ids: list[int] = []
        while len(ids) < count:
            limit = min(1_000, count - len(ids))
            wait = self.switch.transfer(token=token, limit=limit, now=self.now)
            ids += [m.id for m in self.switch.collect(wait, now=self.now).messages]
        return ids

    def call(self, name: str, parent: int | None = None, token: str | None = None) -> int:
        """A call that waits for long; the id of its request."""
        headers = None if parent is None else {PARENT: str(parent)}
        return self.switch.call(
            name, Draft("x", headers=headers), timeout=LONG, now=self.now, token=token
        ).call.request

    def ask_message(self, what: str, *ids: int) -> None:
        """Ask about messages, one after the other."""
        self._ask(f"message {what}", self._explain, ids)

    def _explain(self, id: int) -> object:
        return self.switch.explain(id, now=self.now)

    def ask_queue(self, what: str, name: str) -> None:
        """Ask about a queue, as its page does."""
        self.questions[f"queue {what}"] = lambda: self.switch.explain_queue(name, now=self.now)

    def ask_session(self, what: str, token: str) -> None:
        """Ask about a session, as its page does."""
        id = self.switch.sessions[token].id
        self.questions[f"session {what}"] = lambda: self.switch.explain_session(id, now=self.now)

    def ask_timeout(self, what: str, name: str) -> None:
        """Call, and let the time pass: the answer carries the verdict."""

        def ask() -> object:
            wait = self.switch.call(
                name, Draft("x"), timeout=1e-3, now=self.now, wait_for_server=True
            )
            self.now += 1e-3
            self.switch.advance(self.now)
            assert wait.verdict is not None
            self.switch.woken.clear()
            return wait.verdict

        self.questions[f"call times out {what}"] = ask

    def ask_all(self) -> None:
        """Ask about the whole switch."""
        self.questions[WHOLE[0]] = lambda: self.switch.diagnostics(now=self.now)
        self.questions[WHOLE[1]] = lambda: self.switch.waits_for(now=self.now)

    def _ask(self, what: str, ask: Callable[[int], object], ids: tuple[int, ...]) -> None:
        turn = cycle(ids)
        self.questions[what] = lambda: ask(next(turn))


# -- the states -----------------------------------------------------------------------------------


def empty() -> Bed:
    """The control: one message, one session."""
    bed = Bed()
    bed.serve("server", "work")
    bed.ask_timeout("", "work")
    held, ready = bed.send("work", 2)
    bed.take("server")
    bed.now += 60
    bed.ask_message("ready", ready)
    bed.ask_message("held", held)
    bed.ask_queue("", "work")
    bed.ask_session("", "server")
    bed.ask_all()
    return bed


def one_queue() -> Bed:
    """All servers serve one queue, with messages in every state, also where others came back."""
    bed = Bed()
    names = [f"server.{i}" for i in range(SESSIONS)]
    for name in names:
        bed.serve(name, "work")
    policy = {"max_deliveries": 50, "max_dead": MESSAGES, "on_expire": "dead"}
    bed.switch.change_queue("work", policy, now=bed.now)
    delayed = bed.send("work", MESSAGES // 100, delay=LONG)
    dead = bed.send("work", MESSAGES // 100, ttl=1.0)
    bed.now += 2.0
    bed.switch.advance(bed.now)
    ready = bed.send("work", MESSAGES - len(delayed) - len(dead))
    held = [id for name in names for id in bed.take(name, 6)]
    back = held[: len(held) * 4 // 5]
    bed.switch.requeue("work", back, now=bed.now)
    gone = ready[20_000:100_000:10]
    for id in gone:
        bed.switch.drop_message("work", id, now=bed.now)
    bed.now += 60.0
    gone_now = set(gone)
    waiting = [id for id in ready[10_000:] if id not in gone_now]
    bed.ask_message("ready, at the end", waiting[-1])
    bed.ask_message("ready, in the middle", waiting[len(waiting) // 2])
    bed.ask_message("ready, came back", *back[-10:])
    bed.ask_message("held", *held[-10:])
    bed.ask_message("delayed", delayed[0])
    bed.ask_message("dead", dead[0])
    bed.ask_message("dropped", gone[-1])
    bed.ask_queue("with all servers", "work")
    bed.ask_session("of many", *names[-1:])
    bed.ask_timeout("at the end", "work")
    bed.ask_all()
    return bed


def hoarder() -> Bed:
    """One session holds half of all messages, and makes a call for each of them."""
    bed = Bed()
    for i in range(SESSIONS - 1):
        bed.serve(f"idle.{i}", f"service.{i}")
    bed.serve("hoarder", "work")
    ids = bed.send("work", MESSAGES // 2)
    bed.take("hoarder", len(ids))
    calls = [bed.call(f"service.{i % 500}", id, "hoarder") for i, id in enumerate(ids)]
    bed.now += 60.0
    bed.ask_message("of a hoarder", *ids[:10], *ids[-10:])
    bed.ask_message("called by a hoarder", *calls[-10:])
    bed.ask_queue("of a hoarder", "work")
    bed.ask_session("hoarder", "hoarder")
    bed.ask_timeout("behind a hoarder", "work")
    bed.ask_all()
    return bed


def wide() -> Bed:
    """Half of all messages are calls made for one request."""
    bed = Bed()
    for i in range(SESSIONS):
        bed.serve(f"server.{i}", f"service.{i}")
    bed.send("service.0", MESSAGES // 2)
    (request,) = bed.take("server.0")
    calls = [bed.call(f"service.{1 + i % 900}", request) for i in range(MESSAGES // 2)]
    bed.now += 60.0
    bed.ask_message("with many calls", request)
    bed.ask_message("one of many calls", *calls[-10:])
    bed.ask_queue("with many calls", "service.0")
    bed.ask_session("with many calls", "server.0")
    bed.ask_timeout("behind many calls", "service.0")
    bed.ask_all()
    return bed


def circle(count: int) -> Bed:
    """Each service calls the next one, and the last one the first: a deadlock of all."""
    bed = Bed()
    names = [f"service.{i}" for i in range(count)]
    for name in names:
        bed.serve(name, name)
    for i in range(SESSIONS - count):
        bed.serve(f"idle.{i}", "elsewhere")
    requests = []
    for name in names:
        bed.send(name, 1)
        requests += bed.take(name)
    calls = [
        bed.call(after, request, name)
        for name, after, request in zip(names, names[1:] + names[:1], requests, strict=True)
    ]
    for name in names:
        bed.send(name, MESSAGES // count - 2)
    last = bed.send(names[-1], 1)
    bed.now += 60.0
    bed.ask_message("in a circle, held", *requests[:3], *requests[-3:])
    bed.ask_message("in a circle, ready", *calls[:3], *calls[-3:])
    bed.ask_message("behind a circle", *last)
    bed.ask_queue("in a circle", names[count // 2])
    bed.ask_session("in a circle", names[count // 2])
    bed.ask_timeout("behind a circle", names[count // 2])
    bed.ask_all()
    return bed


def selves() -> Bed:
    """All servers of one service call it themselves: a deadlock where anybody could free all."""
    return _deadlock("itself", SESSIONS, 1, 1)


def nets() -> Bed:
    """Servers of a hundred services each, all of which wait for calls to one of them."""
    return _deadlock("of many services", SESSIONS, SESSIONS, 100)


def hoarders() -> Bed:
    """Ten servers of the same services hold all that there is, each with a call to one of them."""
    return _deadlock("of hoarders", 10, SESSIONS, SESSIONS, MESSAGES // 20)


def _deadlock(what: str, servers: int, services: int, each: int, hold: int = 1) -> Bed:
    bed = Bed()
    names = [f"service.{i}" for i in range(services)]
    tokens = [f"server.{i}" for i in range(servers)]
    for i, token in enumerate(tokens):
        bed.serve(token, *(names[(i * services // servers + j) % services] for j in range(each)))
    for i in range(SESSIONS - servers):
        bed.serve(f"idle.{i}", "elsewhere")
    requests = []
    for i, token in enumerate(tokens):
        for j in range(hold):
            bed.send(names[(i * services // servers + j) % services], 1)
        requests += [(token, id) for id in bed.take(token, hold)]
    calls = [
        bed.call(names[(i * 7) % services], request, token)
        for i, (token, request) in enumerate(requests)
    ]
    last = bed.send(names[-1], max(1, MESSAGES - 2 * len(requests)))
    bed.now += 60.0
    bed.ask_message(f"held, deadlock {what}", requests[0][1], requests[-1][1])
    bed.ask_message(f"ready, deadlock {what}", calls[0], calls[-1])
    bed.ask_message(f"behind a deadlock {what}", last[-1])
    bed.ask_queue(f"deadlock {what}", names[0])
    bed.ask_session(f"deadlock {what}", tokens[0])
    bed.ask_timeout(f"behind a deadlock {what}", names[0])
    bed.ask_all()
    return bed


BEDS: dict[str, Callable[[], Bed]] = {
    "empty": empty,
    "one queue": one_queue,
    "one session holds half": hoarder,
    "half are calls of one request": wide,
    "deadlock of 200 services": partial(circle, 200),
    "deadlock of 1,000 services": partial(circle, SESSIONS),
    "deadlock within a service": selves,
    "deadlock of 1,000 services, servers of 100 each": nets,
    "deadlock of ten servers that hold half": hoarders,
}


def run(options: Options) -> None:
    """Measure and print the tables."""
    noise = Noise()
    worst = 0.0
    for title, make in BEDS.items():
        if title != "empty" and not options.wants(title):
            continue
        progress(f"verdicts: making {title}")
        bed = make()
        taken: dict[str, list[float]] = {what: [] for what in bed.questions}
        gc.collect()
        gc.disable()
        for number in range(options.rounds):
            progress(f"verdicts, round {number + 1}: {title}")
            meter = Meter()
            for _ in range(REPEATS):
                for what, ask in bed.questions.items():
                    began = time.process_time()
                    ask()
                    taken[what].append(time.process_time() - began)
            noise.add(number, meter.read())
        gc.enable()
        progress("")
        rows = []
        for what, times in taken.items():
            verdict = what not in WHOLE
            worst = max(worst, *times) if verdict else worst
            text = f"{max(times) * 1e3:.2f}"
            shown = judged(text, good=max(times) <= BOUND) if verdict else text
            rows.append([what, f"{median(times) * 1e3:.2f}", shown])
        messages, sessions = len(bed.switch.messages), len(bed.switch.sessions)
        table(
            f"{title}: {messages:,} messages, {sessions:,} sessions, ms of CPU",
            ["", "median", f"worst (at most {BOUND * 1e3:g} for a verdict)"],
            rows,
        )
        del bed
    print(f"\nworst verdict of all: {judged(f'{worst * 1e3:.2f} ms', good=worst <= BOUND)}")
    noise.show({})
