"""What a list of events tells: who did what to whom, step by step.

The parties are clients and queues, a lifeline each. Every event is a step from one lifeline to
another, or a note on one. The reply to a call is drawn from the server to the caller, although
the trace has two events for it: the response that was sent, and the request that it finished.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from queues.core.events import Event, EventKind, summary

from .names import short_names
from .svg import plain

#: Steps of one story; of more, the last ones are told.
MOST_STEPS = 200
#: Lifelines of one story. The least busy beyond are told as one of clients and one of queues.
MOST_LIFELINES = 20
#: The last steps, whose lifelines come first.
RECENT = 14
#: Seconds between two steps that are worth saying.
LONG = 1.0
#: What the private reply address of a call begins with.
CALL_PREFIX = "call."

NO_SESSION = "no session"
UNKNOWN_CALLER = "a caller"
NOBODY_WAITS = "nobody waits for it"

WORDS: dict[EventKind, str] = {
    "login": "logged in",
    "logout": "logged out",
    "lease_expired": "lease ran out",
    "queue_created": "created",
    "queue_changed": "policy changed",
    "queue_destroyed": "destroyed",
    "purged": "purged",
    "subscribed": "subscribed",
    "unsubscribed": "unsubscribed",
    "sent": "sent",
    "delivered": "handed over",
    "acked": "acked",
    "released": "given back",
    "replied": "answered",
    "died": "gave up",
    "dropped": "dropped",
    "replayed": "replayed",
    "call_timeout": "call timed out",
    "caller_gone": "caller left",
    "disconnected": "connection ended",
    "resumed": "connected again",
    "slow_consumer": "cut off, too slow",
    "ended": "session ended",
    "paused": "paused",
    "unpaused": "resumed",
    "moved": "moved",
    "restored": "restored",
}
"""What each kind of event is called in a picture."""

_FINISHES = ("acked", "replied", "released", "dropped", "died", "moved")


@dataclass(frozen=True, slots=True)
class Lifeline:
    """A party. ``folded`` counts the parties that it stands for, if more than itself."""

    kind: Literal["client", "queue"]
    name: str
    folded: int = 0

    @property
    def label(self) -> str:
        """Its name for people."""
        if self.folded:
            return f"{self.folded} other {self.kind}s"
        return plain(self.name)


@dataclass(frozen=True, slots=True)
class Step:
    """One event: from ``source`` to ``target``, or on ``source`` alone where that is None."""

    event: Event
    source: int
    target: int | None
    text: str
    """The payload or the cause."""
    message: str | None
    """The short name of the message."""
    gap: float | None
    """Seconds since the step before, if that is long."""

    @property
    def word(self) -> str:
        """What happened."""
        return WORDS.get(self.event.kind, self.event.kind)


@dataclass(frozen=True, slots=True)
class Hold:
    """A session has a message, from one step to another; to the end and on if ``last`` is None."""

    lifeline: int
    first: int
    last: int | None


@dataclass(frozen=True, slots=True)
class Story:
    """Steps in their order, and the lifelines from left to right."""

    lifelines: list[Lifeline]
    steps: list[Step]
    holds: list[Hold]
    left_out: int
    """Events before these that are not told."""

    def said(self, step: Step) -> str:
        """A step in one sentence, in full."""
        event = step.event
        words = [clock(event.at), step.word]
        if event.message is not None:
            words.insert(1, str(event.message))
        names = [self.lifelines[step.source].label]
        if step.target is not None:
            names.append(self.lifelines[step.target].label)
        said = f"{' '.join(words)}: {' → '.join(names)}"
        return f"{said}: {step.text}" if step.text else said


def clock(at: float) -> str:
    """The time of day in UTC, to the millisecond."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S.%f}"[:-3]


def responses(events: Sequence[Event]) -> dict[int, Event]:
    """The response that was sent for each request, by the number of the event "replied".

    The events are in the order of their numbers. A response and the end of its request are one
    operation: their events follow each other, with nothing between but the response's hand-over.
    What else the same client sent just before, at the same instant, may be taken for a response
    that nobody got.
    """
    found = {}
    for at, event in enumerate(events):
        if event.kind != "replied":
            continue
        back = at - 1
        while back >= 0 and events[back].kind == "delivered" and events[back].at == event.at:
            back -= 1
        sent = events[back]
        between = events[back + 1 : at]
        if (
            back >= 0
            and sent.kind == "sent"
            and sent.number == event.number - 1 - len(between)
            and (sent.at, sent.client) == (event.at, event.client)
            and all(each.message == sent.message for each in between)
        ):
            found[event.number] = sent
    return found


def of_call(events: Sequence[Event], message: int) -> list[Event]:
    """Those of the events that belong to one tree of calls: the request that everything was made
    for, the calls made while serving it, and all responses. ``message`` is any message of it."""
    parents = {}
    requests = {}
    for event in events:
        if event.kind == "sent" and event.message is not None and event.parent is not None:
            parents[event.message] = event.parent
    replies = responses(events)
    for event in events:
        sent = replies.get(event.number)
        if sent is not None and sent.message is not None and event.message is not None:
            requests[sent.message] = event.message

    first = requests.get(message, message)
    seen = {first}
    while first in parents and parents[first] not in seen:
        first = parents[first]
        seen.add(first)
    children: dict[int, list[int]] = {}
    for child, parent in [*parents.items(), *requests.items()]:
        children.setdefault(parent, []).append(child)
    tree = {first}
    todo = [first]
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in tree:
                tree.add(child)
                todo.append(child)
    return [event for event in events if event.message in tree]


def tell(events: Iterable[Event], around: Iterable[Event] = ()) -> Story:
    """The story of some events.

    ``around`` are other events of the same trace, in any order: they may tell who sent a request
    whose reply is in the story.
    """
    chosen = {event.number: event for event in events}
    known = [*chosen.values(), *(event for event in around if event.number not in chosen)]
    known.sort(key=lambda event: event.number)
    return _Teller(known, chosen).story()


_Key = tuple[Literal["client", "queue"], str]


class _Teller:
    """Goes through events in order and remembers who sent and who holds each message."""

    def __init__(self, known: Sequence[Event], chosen: dict[int, Event]) -> None:
        self._known = known
        self._chosen = chosen
        self._numbers = {event.number for event in known}
        self._replies = responses(known)
        self._responses = {
            sent.number: event
            for event in known
            if (sent := self._replies.get(event.number)) is not None
            and (sent.queue or "").startswith(CALL_PREFIX)
        }
        self._senders: dict[int, _Key] = {}
        self._holders: dict[int, _Key] = {}

    def story(self) -> Story:
        told: list[tuple[Event, _Key, _Key | None, str]] = []
        for event in self._known:
            ends = self._ends(event)
            if event.message is not None:
                if event.kind == "sent":
                    self._senders[event.message] = ends[0]
                elif event.kind == "delivered" and ends[1] is not None:
                    self._holders[event.message] = ends[1]
            if event.number not in self._chosen:
                continue
            answer = self._responses.get(event.number)
            if answer is None or answer.number not in self._chosen:
                told.append((event, *ends, plain(self._text(event))))
        left_out = max(0, len(told) - MOST_STEPS)
        told = told[left_out:]

        lifelines, places = _lifelines(told)
        names = short_names(each[0].message for each in told)
        steps: list[Step] = []
        for event, source, target, text in told:
            gap = event.at - steps[-1].event.at if steps else 0.0
            steps.append(
                Step(
                    event=event,
                    source=places[source],
                    target=None if target is None else places[target],
                    text=text,
                    message=None if event.message is None else names[event.message],
                    gap=gap if gap >= LONG else None,
                )
            )
        return Story(lifelines, steps, _holds(steps), left_out)

    def _text(self, event: Event) -> str:
        sent = self._replies.get(event.number)
        if sent is not None and sent.number in self._responses:
            return summary(sent.detail or "")
        if event.kind == "moved":
            return ""  # the arrow says it
        if event.kind == "replied" and sent is None and event.number - 1 in self._numbers:
            return NOBODY_WAITS
        return summary(event.detail or "").replace("_", " " if event.kind != "sent" else "_")

    def _ends(self, event: Event) -> tuple[_Key, _Key | None]:
        """From whom to whom an event goes."""
        client: _Key | None = None if event.client is None else ("client", event.client)
        queue: _Key | None = None if event.queue is None else ("queue", event.queue)
        kind = event.kind
        if kind == "sent":
            return self._sent_ends(event, client, queue)
        if kind == "delivered" and queue is not None and client is not None:
            return queue, client
        if kind == "replied" and client is not None:
            sent = self._replies.get(event.number)
            if sent is not None and sent.number in self._responses:
                return client, self._caller(event.message)
        if kind in ("call_timeout", "caller_gone") and queue is not None:
            return self._caller(event.message), queue
        if kind == "moved" and queue is not None and (event.detail or "").startswith("to "):
            return queue, ("queue", (event.detail or "").removeprefix("to "))
        if client is not None:
            return client, queue
        if queue is not None:
            return queue, None
        return ("client", NO_SESSION), None

    def _sent_ends(
        self, event: Event, client: _Key | None, queue: _Key | None
    ) -> tuple[_Key, _Key | None]:
        if client is None and event.parent is not None:
            client = self._holders.get(event.parent)
        source: _Key = client or ("client", NO_SESSION)
        answer = self._responses.get(event.number)
        if answer is not None:
            return source, self._caller(answer.message)
        if (event.queue or "").startswith(CALL_PREFIX):
            return source, ("client", UNKNOWN_CALLER)
        return source, queue

    def _caller(self, message: int | None) -> _Key:
        sender = None if message is None else self._senders.get(message)
        return sender or ("client", UNKNOWN_CALLER)


def _lifelines(
    told: Sequence[tuple[Event, _Key, _Key | None, str]],
) -> tuple[list[Lifeline], dict[_Key, int]]:
    """The parties, the least busy of too many folded.

    Those that messages go between come first, in the order in which the messages bring them in,
    so that most arrows go to a neighbour; and first of all those of the last steps, so that they
    are near to each other while new ones come.
    """
    order: dict[_Key, None] = {}
    busy: Counter[_Key] = Counter()
    recent = [*told[-RECENT:], *told[:-RECENT]]
    for _, source, target, _ in sorted(recent, key=lambda each: each[0].message is None):
        for key in (source, target):
            if key is not None:
                order.setdefault(key)
                busy[key] += 1
    kept = set(order)
    if len(order) > MOST_LIFELINES:
        # ``sorted`` keeps the order of those that are equally busy.
        kept = set(sorted(order, key=lambda key: -busy[key])[: MOST_LIFELINES - 2])
    folded = Counter(kind for kind, name in order if (kind, name) not in kept)
    lifelines: list[Lifeline] = []
    places: dict[_Key, int] = {}
    others: dict[str, int] = {}
    for key in order:
        kind, name = key
        if key in kept:
            places[key] = len(lifelines)
            lifelines.append(Lifeline(kind, name))
            continue
        if kind not in others:
            others[kind] = len(lifelines)
            one = folded[kind] == 1
            lifelines.append(Lifeline(kind, name, 0 if one else folded[kind]))
        places[key] = others[kind]
    return lifelines, places


def _holds(steps: Sequence[Step]) -> list[Hold]:
    """Who has which message from when to when."""
    holds: list[Hold] = []
    open: dict[int, int] = {}
    for at, step in enumerate(steps):
        message = step.event.message
        if message is None:
            continue
        if step.event.kind in (*_FINISHES, "delivered") and message in open:
            place = open.pop(message)
            holds[place] = replace(holds[place], last=at)
        if step.event.kind == "delivered" and step.target is not None:
            open[message] = len(holds)
            holds.append(Hold(step.target, at, None))
    return holds
