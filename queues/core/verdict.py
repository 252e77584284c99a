"""Verdicts: why a message, a queue or a session is where it is, and what to do about it.

Several things may be true at once. They are found in the order of what matters most to whoever
asks: the first makes the verdict, the others follow in ``also``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Literal

from .messages import Message, State, ready_since

if TYPE_CHECKING:
    from .events import Event, Trace
    from .queue import Queue
    from .sessions import Consumers, Session
    from .switch import Switch
    from .waits_for import WaitsFor

ServiceStatus = Literal["running", "never_started", "stopped", "crashed_or_deadlocked"]
Level = Literal["ok", "warning", "stuck"]

#: Seconds after which something ordinary is worth a look.
SLOW = 10.0
#: Hand-overs that came to nothing after which that is what matters.
MANY_RETURNS = 2
#: Names that a sentence has room for.
MOST_NAMES = 3
#: Names and ids in one piece of evidence.
MOST_EVIDENCE = 10
#: Messages of a deadlock that a sentence tells, and that the evidence does.
MOST_STEPS = 6
MOST_IN_CIRCLE = 50

#: How a session ended or left a queue, for people.
_LEFT = {
    "lease_expired": "its lease ended without a sign of life",
    "disconnected": "its connection ended",
    "logout": "it logged out",
    "ended": "an operator ended its session",
    "unsubscribed": "it unsubscribed",
}
#: Why a message was dropped, for people.
_DROPPED = {
    "operator": "somebody deleted it",
    "max_dead": "it was dead, and its queue keeps only so many of the dead",
    "caller_gone": "nobody waited for the reply any more",
}
#: How a hand-over came to nothing, for people.
_RETURNED = {
    **_LEFT,
    "nack": "it gave the message back",
    "ack_timeout": "it took longer than the ack timeout",
    "operator": "an operator took the message from it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something else that is true, by its code and one plain sentence."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An explanation: a stable code, one plain sentence, what to do next, and the evidence.

    ``level`` says how urgent it is. Times in the evidence are seconds since the epoch.
    """

    code: str
    level: Level
    sentence: str
    next_step: str
    evidence: dict[str, Any] = field(default_factory=dict)
    also: list[Finding] = field(default_factory=list)


def duration(seconds: float) -> str:
    """``seconds`` for people: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, unit, below, smaller in (
        (60, "min", 3_600, (1, "s")),
        (3_600, "h", 86_400, (60, "min")),
        (86_400, "d", None, (3_600, "h")),
    ):
        if below is None or whole < below:
            rest = whole % size // smaller[0]
            return f"{whole // size} {unit}" + (f" {rest} {smaller[1]}" if rest else "")
    raise AssertionError


def overdue(session: Session, now: float) -> bool:
    """Whether a consumer has let the time pass at which its next Transfer was expected."""
    return not session.open and now > session.next_transfer_by


def service_status(consumers: Consumers | None, now: float) -> ServiceStatus:
    """How the service behind a queue is doing, judged by its consumers."""
    if consumers is None or not consumers.ever:
        return "never_started"
    if consumers.sessions:
        silent = all(overdue(session, now) for session in consumers.sessions.values())
        return "crashed_or_deadlocked" if silent else "running"
    assert consumers.left is not None
    crashed = consumers.left.reason in ("lease_expired", "disconnected")
    return "crashed_or_deadlocked" if crashed else "stopped"


def _verdict(findings: Iterator[Verdict]) -> Verdict:
    """The first of the findings, with the others in short."""
    first, *others = findings
    also = [*first.also, *(Finding(code=o.code, sentence=o.sentence) for o in others)]
    return replace(first, also=also) if also else first


def _names(names: list[str]) -> str:
    """Some of the names, of which there is one at least, and how many more there are."""
    *shown, last = names[:MOST_NAMES]
    if len(names) > MOST_NAMES:
        shown, last = names[:MOST_NAMES], f"{len(names) - MOST_NAMES} more"
    return f"{', '.join(shown)} and {last}" if shown else last


def _slow(since: float, now: float) -> Level:
    return "warning" if now - since > SLOW else "ok"


def counted(number: int, what: str) -> str:
    """So many of something: 1 message, 2,000 messages."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


# -- messages ---------------------------------------------------------------------------------


def explain_message(switch: Switch, message: Message, waits: WaitsFor, now: float) -> Verdict:
    """Why a message that the switch still has is where it is. Changes nothing."""
    return _verdict(_of_message(switch, message, waits, now))


def _of_message(
    switch: Switch, message: Message, waits: WaitsFor, now: float, *, follow: bool = True
) -> Iterator[Verdict]:
    """What is true of a message; ``follow`` the calls made for it to where they end."""
    if message.state is State.DEAD:
        yield _dead(message, now)
        return
    queue = switch.queues[message.queue]
    gone = switch.caller_of(message) == "gone"
    if message.state is State.DELAYED:
        yield _delayed(message, now)
    elif message.state is State.READY:
        if switch.store_down_since is not None and message.position > switch.safe:
            yield _store_down(switch.store_down_since, now)
        if queue.paused_at is not None:
            yield _paused(queue, now)
        if waits.locked(message):
            yield _deadlock(message, waits, now)
        if gone:
            yield _caller_gone(message, now)
        consumers = switch.consumers.get(message.queue)
        yield _ready(message, queue, consumers, waits, now)
    else:
        assert message.hold is not None
        if waits.locked(message):
            yield _deadlock(message, waits, now)
        elif follow and len(chain := waits.chain(message)) > 1:
            yield _waiting_on_call(switch, chain, waits, now)
        if gone:
            yield _caller_gone(message, now)
        if overdue(message.hold.session, now):
            yield _held_silent(message, now)
        elif message.returns is None or len(message.returns) < MANY_RETURNS:
            yield _held(message, queue, waits, now)
    limit = queue.policy.max_deliveries
    if (
        message.delivery_count
        and limit is not None
        and message.delivery_count >= limit - (message.state is not State.HELD)
    ):
        yield _about_to_die(message, limit, now)
    if message.returns is not None:
        yield _redelivered(message, now)
    if gone and message.state is State.DELAYED:
        yield _caller_gone(message, now)


def _dead(message: Message, now: float) -> Verdict:
    death = message.death
    assert death is not None
    times = counted(message.delivery_count, "time")
    causes = {
        "max_deliveries": f"it was handed out {times} and never acked",
        "rejected": "a consumer rejected it",
        "expired": _too_late(handed_out=message.delivery_count > 0),
    }
    expired = death.cause == "expired"
    return Verdict(
        code="expired" if expired else "dead",
        level="warning",
        sentence=f"The message gave up {duration(now - death.at)} ago: {causes[death.cause]}.",
        next_step=f"Mend the cause, then replay it: POST queues/{message.queue}/replay.",
        evidence={
            "cause": death.cause,
            "at": death.at,
            "sent_at": message.sent_at,
            "expires_at": message.expires_at,
            "delivery_count": message.delivery_count,
            **_holders(message),
        },
    )


def _too_late(*, handed_out: bool) -> str:
    how = "while nobody had it" if handed_out else "before anyone took it"
    return f"its time to live ended {how}"


def _holders(message: Message) -> dict[str, Any]:
    """Who had the message before, the last first, and how each hand-over ended."""
    returns = [] if message.returns is None else list(reversed(message.returns))
    return {"last_holders": [f"{r.client} ({r.cause})" for r in returns]} if returns else {}


def _delayed(message: Message, now: float) -> Verdict:
    assert message.due_at is not None
    return Verdict(
        code="delayed",
        level="ok",
        sentence=f"The message becomes ready in {duration(message.due_at - now)}, "
        f"as its {'sender' if not message.delivery_count else 'last holder'} asked.",
        next_step="Wait.",
        evidence={
            "due_at": message.due_at,
            "sent_at": message.sent_at,
            "delivery_count": message.delivery_count,
        },
    )


def _paused(queue: Queue, now: float) -> Verdict:
    assert queue.paused_at is not None
    return Verdict(
        code="paused",
        level="warning",
        sentence=f"An operator paused {queue.name} {duration(now - queue.paused_at)} ago: "
        "it takes messages and hands none out.",
        next_step=f"Resume the queue: POST queues/{queue.name}/resume.",
        evidence={"queue": queue.name, "since": queue.paused_at, "ready": queue.ready},
    )


def _store_down(since: float, now: float) -> Verdict:
    return Verdict(
        code="store_down",
        level="stuck",
        sentence=f"The database has not taken what must survive for {duration(now - since)}: what "
        "is new waits until it does, and more is refused.",
        next_step="See the log of the switch for what the database says, and mend that; the switch "
        "goes on by itself.",
        evidence={"since": since},
    )


def _deadlock(message: Message, waits: WaitsFor, now: float) -> Verdict:
    """The circle that a locked message waits in, or for; all that do are told the same."""
    circle = waits.circle(message)
    first = circle[0].id
    told = waits.told.get(first)
    if told is None:
        told = waits.told[first] = _circle(circle, now)
    return told


def _circle(circle: list[Message], now: float) -> Verdict:
    names = list(dict.fromkeys(m.queue for m in circle))
    since = max(m.hold.since if m.hold is not None else ready_since(m) for m in circle)
    steps = [_step(m, n) for m, n in islice(pairwise([*circle, circle[0]]), MOST_STEPS)]
    if len(circle) > MOST_STEPS:
        steps.append(f"and so on, over {counted(len(circle), 'message')}")
    who = f"{_names(names)} wait for each other" if len(names) > 1 else f"{names[0]} calls itself"
    return Verdict(
        code="deadlock",
        level="stuck",
        sentence=f"Deadlock: {who}: {'; '.join(steps)}. Nobody can go on, "
        f"since {duration(now - since)}.",
        next_step="Break the circle: a handler must not wait for a service that waits for it, "
        "or needs more servers. Dropping one of the messages frees the others now; "
        "otherwise the first timeout does.",
        evidence={"since": since, "circle": [_place(m) for m in circle[:MOST_IN_CIRCLE]]},
    )


def _step(message: Message, after: Message) -> str:
    if message.hold is not None:
        return (
            f"{message.hold.session.client} holds message {message.id} of {message.queue} and "
            f"waits for the reply to message {after.id}, which was sent to {after.queue} for it"
        )
    assert after.hold is not None
    return (
        f"message {message.id} waits until {after.hold.session.client} has finished "
        f"message {after.id}"
    )


def _place(message: Message) -> dict[str, Any]:
    """Where a message is, as evidence."""
    return {
        "message": message.id,
        "queue": message.queue,
        "state": message.state,
        "holder": None if message.hold is None else message.hold.session.client,
    }


def _waiting_on_call(switch: Switch, chain: list[Message], waits: WaitsFor, now: float) -> Verdict:
    first, called, last = chain[0], chain[1], chain[-1]
    assert first.hold is not None
    end = _verdict(_of_message(switch, last, waits, now, follow=False))
    way = _way(chain)
    return Verdict(
        code="waiting_on_call",
        level=end.level,
        sentence=f"{first.hold.session.client} has held the message for "
        f"{duration(now - first.hold.since)} and waits for its own call to {called.queue}, made "
        f"{duration(now - called.sent_at)} ago"
        + (f" ({way})" if len(chain) > 2 else "")
        + f". At the end of that: {end.sentence}",
        next_step=end.next_step,
        evidence={
            "holder": first.hold.session.client,
            "since": first.hold.since,
            "chain": [_place(m) for m in chain],
            "end": end.code,
            "end_evidence": end.evidence,
        },
    )


def _way(chain: list[Message]) -> str:
    return " → ".join(dict.fromkeys(m.queue for m in chain))


def _caller_gone(message: Message, now: float) -> Verdict:
    return Verdict(
        code="caller_gone",
        level="warning",
        sentence="Nobody waits for the reply to this message any more: "
        f"its caller, {message.sender or 'a client without a session'}, sent it "
        f"{duration(now - message.sent_at)} ago and is gone.",
        next_step="Drop it if the work is not worth doing: DELETE "
        f"queues/{message.queue}/messages/{message.id}.",
        evidence={
            "caller": message.sender,
            "sent_at": message.sent_at,
            "expires_at": message.expires_at,
            "reply_to": message.reply_to,
        },
    )


def _held_evidence(message: Message) -> dict[str, Any]:
    hold = message.hold
    assert hold is not None
    return {
        "holder": hold.session.client,
        "since": hold.since,
        "last_seen": hold.session.last_seen,
        "delivery_count": message.delivery_count,
    }


def _held_silent(message: Message, now: float) -> Verdict:
    hold = message.hold
    assert hold is not None
    session = hold.session
    return Verdict(
        code="held_silent",
        level="stuck",
        sentence=f"{session.client} has held the message for {duration(now - hold.since)} and has "
        f"been silent for {duration(now - session.last_seen)}; it should have asked for more "
        f"{duration(now - session.next_transfer_by)} ago.",
        next_step=f"See what {session.client} is doing; it may have crashed or be deadlocked. "
        "When its session ends, the message goes to another.",
        evidence=_held_evidence(message),
    )


def _held(message: Message, queue: Queue, waits: WaitsFor, now: float) -> Verdict:
    hold = message.hold
    assert hold is not None
    client = hold.session.client
    alive = (
        "it is connected"
        if hold.session.open
        else f"it was last heard of {duration(now - hold.session.last_seen)} ago"
    )
    calls = "" if waits.calls_of(message) else ", and waits for no call that the switch knows of"
    return Verdict(
        code="held",
        level=_slow(hold.since, now),
        sentence=f"{client} has been working on the message for {duration(now - hold.since)}; "
        f"{alive}{calls}.",
        next_step=f"Wait for {client}, or see what it is doing.",
        evidence={**_held_evidence(message), "ack_timeout": queue.policy.ack_timeout},
    )


def _about_to_die(message: Message, limit: int, now: float) -> Verdict:
    return Verdict(
        code="about_to_die",
        level="warning",
        sentence=f"The message has been handed out {message.delivery_count} of at most "
        f"{counted(limit, 'time')}: if {'this' if message.state is State.HELD else 'the next'} "
        "hand-over comes to nothing, it is dead.",
        next_step="See why its holders fail.",
        evidence={
            "delivery_count": message.delivery_count,
            "max_deliveries": limit,
            **_holders(message),
        },
    )


def _redelivered(message: Message, now: float) -> Verdict:
    assert message.returns is not None
    last = message.returns[-1]
    times = counted(message.delivery_count, "time")
    evidence = {
        "delivery_count": message.delivery_count,
        "last_returned_at": last.at,
        **_holders(message),
    }
    held = ""
    if message.hold is not None:
        held = f"; {message.hold.session.client} has it now"
        evidence |= _held_evidence(message)
    return Verdict(
        code="redelivered",
        level="warning",
        sentence=f"The message has been handed out {times} and came back, last from "
        f"{last.client} {duration(now - last.at)} ago: {_RETURNED[last.cause]}{held}.",
        next_step="See why its holders fail; a max_deliveries sets such messages aside.",
        evidence=evidence,
    )


def _ready(
    message: Message,
    queue: Queue,
    consumers: Consumers | None,
    waits: WaitsFor,
    now: float,
) -> Verdict:
    verdict = without_server(queue.name, consumers, message.sent_at, now)
    if verdict is not None:
        return verdict
    assert consumers is not None
    waited = duration(now - message.sent_at)
    busy = queue.held
    ahead = queue.ahead_of(message)
    evidence: dict[str, Any] = {
        "sent_at": message.sent_at,
        "ahead": ahead,
        "held": len(busy),
        "servers": len(consumers.sessions),
        "delivery_count": message.delivery_count,
    }
    behind = f"behind {counted(ahead, 'message')}" if ahead else "as the next one"
    also: list[Finding] = []
    # In the order of their hand-over: the first is held longest.
    oldest = next(iter(busy.values()), None)
    if oldest is None or oldest.hold is None:
        holding = "its servers hold none of it, and have not asked for more yet"
    else:
        holders = list(dict.fromkeys(m.hold.session.client for m in _some(busy) if m.hold))
        evidence["holders"] = holders
        evidence["oldest_held_since"] = oldest.hold.since
        evidence["oldest_held"] = oldest.id
        held_for = duration(now - oldest.hold.since)
        holding = (
            f"{counted(len(busy), 'message')} {_are(len(busy))} held by {_names(holders)}"
            + (", the oldest" if len(busy) > 1 else "")
            + f" for {held_for}"
        )
        if len(chain := waits.chain(oldest)) > 1:
            also.append(
                Finding(
                    code="waiting_on_call",
                    sentence=f"Message {oldest.id}, held longest, waits for a call: {_way(chain)}.",
                )
            )
    return Verdict(
        code="queued",
        level=_slow(message.sent_at, now),
        sentence=f"The message has waited for {waited} in {queue.name}, {behind}; {holding}.",
        next_step="Wait, or start another server.",
        evidence=evidence,
        also=also,
    )


def _some(messages: dict[int, Message]) -> list[Message]:
    return list(islice(messages.values(), MOST_EVIDENCE))


def without_server(
    name: str, consumers: Consumers | None, since: float | None, now: float
) -> Verdict | None:
    """Why nobody takes what has waited since ``since``, or would come now; None if somebody may."""
    status = service_status(consumers, now)
    so_far = "" if since is None else f"The message has waited for {duration(now - since)}; "
    evidence: dict[str, Any] = {"queue": name} if since is None else {"queue": name, "since": since}
    if status == "never_started":
        return Verdict(
            code="never_started",
            level="stuck",
            sentence=_capital(f"{so_far}no server has ever subscribed to {name}."),
            next_step=f"Start a server for {name}.",
            evidence=evidence,
        )
    assert consumers is not None
    if not consumers.sessions:
        left = consumers.left
        assert left is not None
        return Verdict(
            code="server_left",
            level="stuck",
            sentence=f"{so_far}{name} has no server any more: the last one, {left.client}, left "
            f"{duration(now - left.at)} ago: {_LEFT[left.reason]}. Servers have subscribed "
            f"{counted(consumers.ever, 'time')} so far.",
            next_step=f"Start a server for {name} again.",
            evidence={
                **evidence,
                "client": left.client,
                "left_at": left.at,
                "reason": left.reason,
                "servers_ever": consumers.ever,
            },
        )
    if status == "crashed_or_deadlocked":
        names = sorted({session.client for session in consumers.sessions.values()})
        last_seen = max(session.last_seen for session in consumers.sessions.values())
        return Verdict(
            code="servers_silent",
            level="stuck",
            sentence=_capital(
                f"{so_far}every server of {name} is silent: it should have asked for more by now. "
                f"The last sign of life was {duration(now - last_seen)} ago."
            ),
            next_step=f"See what {_names(names)} {_are(len(names))} doing; "
            f"{'it' if len(names) == 1 else 'they'} may have crashed or be deadlocked.",
            evidence={**evidence, "servers": names[:MOST_EVIDENCE], "last_seen": last_seen},
        )
    return None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# -- messages that have ended -----------------------------------------------------------------


def _cleared(last: Event, trace: Trace) -> Event | None:
    """The purge or the destruction of its queue that took a message away after its last event."""
    place = last.queue
    if last.kind == "moved" and last.detail is not None:
        place = last.detail.removeprefix("to ")
    found: Event | None = None
    restored = False
    for event in trace.since(last.number, "purged", "queue_destroyed", "restored"):
        if event.queue != place:
            continue
        if event.kind == "restored":
            # If it was among what came back, something else must have taken it since.
            restored = True
        elif (found is None or restored) and _clears(event, last):
            found, restored = event, False
    return found


def _clears(event: Event, last: Event) -> bool:
    """Whether a purge or a destruction takes a message whose last event is ``last``."""
    if event.kind == "queue_destroyed":
        return True
    states = {"delivered": ["held"], "died": ["dead"]}.get(last.kind, ["ready", "delayed"])
    purged = (event.detail or "").split()
    return "0" not in purged and any(state in purged for state in states)


def explain_ended(events: list[Event], trace: Trace, now: float) -> Verdict:
    """What became of a message that the switch no longer has, from its events in ``trace``."""
    events = [event for event in events if event.kind not in ("call_timeout", "caller_gone")]
    if not events:
        return Verdict(
            code="forgotten",
            level="ok",
            sentence="The message is gone, and the trace no longer shows it.",
            next_step="Nothing is left to do.",
        )
    last = events[-1]
    ago = duration(now - last.at)
    evidence = {"at": last.at, "client": last.client, "detail": last.detail}
    expired = last.kind == "dropped" and last.detail == "expired"
    handed_out = any(event.kind == "delivered" for event in events)
    kind = "expired" if expired else last.kind
    sentences = {
        "acked": f"{last.client} acknowledged the message {ago} ago.",
        "replied": f"{last.client} answered the message {ago} ago.",
        "dropped": f"The message was dropped {ago} ago: {_DROPPED.get(last.detail or '', '')}.",
        "expired": f"The message was dropped {ago} ago: {_too_late(handed_out=handed_out)}.",
    }
    if kind in sentences:
        return Verdict(
            code=kind,
            level="warning" if expired else "ok",
            sentence=sentences[kind],
            next_step="Send it again if it still matters, with a longer ttl or more servers."
            if expired
            else "Nothing is left to do.",
            evidence=evidence,
        )
    cleared = _cleared(last, trace)
    if cleared is not None:
        verb = "purged" if cleared.kind == "purged" else "destroyed"
        return Verdict(
            code=verb,
            level="warning",
            sentence=f"The queue {cleared.queue} was {verb} {duration(now - cleared.at)} ago, "
            "and the message with it.",
            next_step="Send it again if it still matters.",
            evidence={"at": cleared.at, "queue": cleared.queue, "client": cleared.client},
        )
    return Verdict(
        code="forgotten",
        level="ok",
        sentence=f"The message is gone, and the trace no longer shows how; "
        f"its last known event is “{last.kind}”, {ago} ago.",
        next_step="Nothing is left to do.",
        evidence=evidence,
    )


# -- queues -----------------------------------------------------------------------------------


def explain_queue(switch: Switch, queue: Queue, waits: WaitsFor, now: float) -> Verdict:
    """How the service behind a queue is doing. Changes nothing."""
    return _verdict(_of_queue(switch, queue, waits, now))


def _of_queue(switch: Switch, queue: Queue, waits: WaitsFor, now: float) -> Iterator[Verdict]:
    if switch.store_down_since is not None and queue.owner is None:
        yield _store_down(switch.store_down_since, now)
    if queue.paused_at is not None:
        yield _paused(queue, now)
    if queue.length >= queue.policy.max_length:
        yield queue_full(queue, now)
    consumers = switch.consumers.get(queue.name)
    first = queue.head() or next(iter(queue.held.values()), None)
    if first is not None:
        for verdict in _of_message(switch, first, waits, now):
            if verdict.code not in ("store_down", "paused"):  # they come first in any case
                yield verdict
    elif service_status(consumers, now) == "running":
        yield _plain(queue, "idle", "Its servers wait for messages.", "Nothing is to be done.")
    elif consumers is None or not consumers.ever:
        yield _plain(
            queue, "unused", "No server has ever subscribed.", "Start a server when it is needed."
        )
    else:
        yield _plain(
            queue,
            "no_server",
            "Its servers are gone or silent, and nothing waits for them.",
            "Start a server when it is needed.",
        )
    if queue.dead:
        oldest = next(iter(queue.dead.values()))
        assert oldest.death is not None
        yield Verdict(
            code="dead_messages",
            level="warning",
            sentence=f"{counted(len(queue.dead), 'dead message')} {_are(len(queue.dead))} kept in "
            f"{queue.name}, the first of them for {duration(now - oldest.death.at)}.",
            next_step=f"Mend the cause, then replay them: POST queues/{queue.name}/replay.",
            evidence={"dead": len(queue.dead), "oldest": oldest.id},
        )


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _plain(queue: Queue, code: str, sentence: str, next_step: str) -> Verdict:
    return Verdict(
        code=code,
        level="ok",
        sentence=sentence,
        next_step=next_step,
        evidence={"queue": queue.name, "delayed": len(queue.delayed)},
    )


def queue_full(queue: Queue, now: float) -> Verdict:
    """Why a queue takes no more."""
    refused = ""
    if queue.refused_at is not None:
        refused = (
            f"; {counted(queue.refused, 'message')} {'was' if queue.refused == 1 else 'were'} "
            f"refused, the last {duration(now - queue.refused_at)} ago"
        )
    return Verdict(
        code="queue_full",
        level="stuck",
        sentence=f"{queue.name} is full: it holds {counted(queue.length, 'message')}, its "
        f"max_length{refused}.",
        next_step="Start more servers, let senders wait, or raise max_length: "
        f"PATCH queues/{queue.name}.",
        evidence={
            "queue": queue.name,
            "length": queue.length,
            "max_length": queue.policy.max_length,
            "refused": queue.refused,
            "last_refused_at": queue.refused_at,
        },
    )


# -- sessions ---------------------------------------------------------------------------------


def explain_session(switch: Switch, session: Session, waits: WaitsFor, now: float) -> Verdict:
    """What a session is doing. Changes nothing."""
    return _verdict(_of_session(switch, session, waits, now))


def _of_session(switch: Switch, session: Session, waits: WaitsFor, now: float) -> Iterator[Verdict]:
    # The oldest hand-over first; those beyond would tell nothing new.
    held = list(islice(session.held.values(), MOST_EVIDENCE))
    locked = next((m for m in held if waits.locked(m)), None)
    waiting = next((m for m in held if waits.calls_of(m)), None)
    evidence = {
        "client": session.client,
        "since": session.since,
        "last_seen": now if session.open else session.last_seen,
        "held": len(session.held),
        "subscriptions": len(session.subscriptions),
        "lease": session.lease,
    }
    if locked is not None:
        yield _deadlock(locked, waits, now)
    elif waiting is not None and len(chain := waits.chain(waiting)) > 1:
        yield _waiting_on_call(switch, chain, waits, now)
    if (session.subscriptions or held) and overdue(session, now):
        yield Verdict(
            code="silent",
            level="stuck" if held else "warning",
            sentence=f"{session.client} has been silent for {duration(now - session.last_seen)} "
            f"and holds {counted(len(session.held), 'message')}; it should have asked for more "
            f"{duration(now - session.next_transfer_by)} ago.",
            next_step="See what it is doing; it may have crashed or be deadlocked. "
            "Ending the session gives its messages to others.",
            evidence=evidence,
        )
    elif held:
        first = held[0].hold
        assert first is not None
        yield Verdict(
            code="working",
            level=_slow(first.since, now),
            sentence=f"{session.client} holds {counted(len(session.held), 'message')}, the oldest "
            f"for {duration(now - first.since)}.",
            next_step="Wait, or see what it is doing.",
            evidence={**evidence, "oldest_held": held[0].id, "oldest_held_since": first.since},
        )
    elif not session.open:
        yield Verdict(
            code="between_requests",
            level="ok",
            sentence=f"{session.client} was last heard of {duration(now - session.last_seen)} "
            f"ago; its lease of {duration(session.lease)} runs.",
            next_step="Nothing is to be done.",
            evidence=evidence,
        )
    elif session.subscriptions:
        yield Verdict(
            code="listening",
            level="ok",
            sentence=f"{session.client} waits for messages.",
            next_step="Nothing is to be done.",
            evidence=evidence,
        )
    else:
        yield Verdict(
            code="connected",
            level="ok",
            sentence=f"{session.client} is connected and consumes nothing.",
            next_step="Nothing is to be done.",
            evidence=evidence,
        )
