"""Verdicts: why a message or a service is where it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .messages import Message, State

if TYPE_CHECKING:
    from .events import Event
    from .queue import Queue
    from .sessions import Consumers, Session

ServiceStatus = Literal["running", "never_started", "stopped", "crashed_or_deadlocked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An explanation: a stable code, one plain sentence, what to do next, and the evidence."""

    code: str
    sentence: str
    next_step: str
    evidence: dict[str, Any] = field(default_factory=dict)


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


def explain_message(
    message: Message, queue: Queue, consumers: Consumers | None, now: float
) -> Verdict:
    """Why a message that the switch still has is where it is. Changes nothing."""
    if message.state is State.HELD:
        return _held(message, queue, now)
    if message.state is State.DELAYED:
        assert message.due_at is not None
        return Verdict(
            code="delayed",
            sentence=f"The message becomes ready in {duration(message.due_at - now)}.",
            next_step="Wait.",
            evidence={"due_at": message.due_at},
        )
    if message.state is State.DEAD:
        return _dead(message, queue, now)
    return _ready(message, queue, consumers, now)


def _held(message: Message, queue: Queue, now: float) -> Verdict:
    hold = message.hold
    assert hold is not None
    session = hold.session
    waited = duration(now - hold.since)
    evidence = {
        "holder": session.client,
        "since": hold.since,
        "delivery_count": message.delivery_count,
        "last_seen": session.last_seen,
        "ack_timeout": queue.policy.ack_timeout,
    }
    if overdue(session, now):
        return Verdict(
            code="held_silent",
            sentence=f"{session.client} has held the message for {waited} and should have asked "
            f"for more {duration(now - session.next_transfer_by)} ago.",
            next_step=f"See what {session.client} is doing; it is crashed or deadlocked. "
            "When its session ends, the message goes to another.",
            evidence=evidence,
        )
    return Verdict(
        code="held",
        sentence=f"{session.client} has been working on the message for {waited}.",
        next_step=f"Wait for {session.client}, or look at what it waits for.",
        evidence=evidence,
    )


def _dead(message: Message, queue: Queue, now: float) -> Verdict:
    death = message.death
    assert death is not None
    causes = {
        "max_deliveries": f"it was handed out {message.delivery_count} times and never acked",
        "rejected": "a consumer rejected it",
        "expired": "its time to live ended before anyone took it",
    }
    return Verdict(
        code="dead",
        sentence=f"The message gave up {duration(now - death.at)} ago: {causes[death.cause]}.",
        next_step=f"Mend the cause, then replay it: POST queues/{queue.name}/replay.",
        evidence={
            "cause": death.cause,
            "at": death.at,
            "delivery_count": message.delivery_count,
        },
    )


def _ready(message: Message, queue: Queue, consumers: Consumers | None, now: float) -> Verdict:
    waited = duration(now - message.sent_at)
    status = service_status(consumers, now)
    evidence: dict[str, Any] = {
        "sent_at": message.sent_at,
        "ready": queue.ready,
        "held": len(queue.held),
        "delivery_count": message.delivery_count,
    }
    if status == "never_started":
        return Verdict(
            code="never_started",
            sentence=f"The message has waited for {waited}; "
            f"no server has ever subscribed to {queue.name}.",
            next_step=f"Start a server for {queue.name}.",
            evidence=evidence,
        )
    assert consumers is not None
    if not consumers.sessions:
        left = consumers.left
        assert left is not None
        return Verdict(
            code="server_left",
            sentence=f"The message has waited for {waited}; the last server of {queue.name}, "
            f"{left.client}, left {duration(now - left.at)} ago ({left.reason}).",
            next_step=f"Start a server for {queue.name} again.",
            evidence={**evidence, "client": left.client, "at": left.at, "reason": left.reason},
        )
    names = sorted({session.client for session in consumers.sessions.values()})
    evidence["consumers"] = names[:10]
    if status == "crashed_or_deadlocked":
        return Verdict(
            code="servers_silent",
            sentence=f"The message has waited for {waited}; every server of {queue.name} "
            "is past the time of its next Transfer.",
            next_step=f"See what {', '.join(names[:3])} is doing; it is crashed or deadlocked.",
            evidence=evidence,
        )
    return Verdict(
        code="queued",
        sentence=f"The message has waited for {waited} in {queue.name}, where {queue.ready} are "
        f"ready and {len(queue.held)} held; {len(consumers.sessions)} server(s) take them in turn.",
        next_step="Wait, or start another server.",
        evidence=evidence,
    )


def clears(event: Event, last: Event) -> bool:
    """Whether ``event`` took the message away whose last event before is ``last``."""
    if event.queue != last.queue:
        return False
    if event.kind == "queue_destroyed":
        return True
    state = {"delivered": "held", "died": "dead"}.get(last.kind, "ready delayed")
    purged = (event.detail or "").split()
    return event.kind == "purged" and any(each in purged for each in state.split())


def explain_ended(message: int, events: list[Event], cleared: Event | None, now: float) -> Verdict:
    """What became of a message that the switch no longer has, from the events that moved it.

    ``cleared`` is the purge or the destruction of its queue, where there was one since.
    """
    if not events:
        return Verdict(
            code="forgotten",
            sentence="The message is gone, and the trace no longer shows it.",
            next_step="Nothing is left to do.",
        )
    last = events[-1]
    ago = duration(now - last.at)
    evidence = {"at": last.at, "client": last.client, "detail": last.detail}
    sentences = {
        "acked": f"{last.client} acknowledged the message {ago} ago.",
        "replied": f"{last.client} answered the message {ago} ago.",
        "dropped": f"The message was dropped {ago} ago ({last.detail}).",
    }
    if last.kind in sentences:
        return Verdict(
            code=last.kind,
            sentence=sentences[last.kind],
            next_step="Nothing is left to do.",
            evidence=evidence,
        )
    if cleared is not None:
        verb = "purged" if cleared.kind == "purged" else "destroyed"
        return Verdict(
            code=verb,
            sentence=f"The queue {cleared.queue} was {verb} {duration(now - cleared.at)} ago, "
            "and the message with it.",
            next_step="Send it again if it still matters.",
            evidence={"at": cleared.at, "queue": cleared.queue},
        )
    return Verdict(
        code="forgotten",
        sentence=f"The message is gone, and the trace no longer shows how; "
        f"its last known event is “{last.kind}”, {ago} ago.",
        next_step="Nothing is left to do.",
        evidence=evidence,
    )
