"""Finished, read-only views of a switch for people: nothing here changes state."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

from .answers import (
    Caller,
    Diagnostics,
    MessageInfo,
    MessageList,
    QueueInfo,
    QueueKind,
    QueueList,
    ServiceInfo,
    SessionInfo,
    Usage,
)
from .limits import MAX_BATCH_BYTES
from .messages import Message, State
from .sessions import Consumers, Session
from .verdict import overdue, service_status

if TYPE_CHECKING:
    from .queue import Queue
    from .switch import Switch

#: Characters of a payload that a list shows.
CUT = 1_000
MAX_SERVICES = 100
MAX_SESSIONS = 100
MAX_MESSAGES = 20
MAX_NAMES = 100

_ATTENTION = ("crashed_or_deadlocked", "never_started", "stopped", "running")


def queue_info(queue: Queue, consumers: Consumers | None, now: float) -> QueueInfo:
    """A queue at ``now``."""
    head = queue.head()
    return QueueInfo(
        name=queue.name,
        kind="persistent" if queue.owner is None else "transient",
        owner=None if queue.owner is None else queue.owner.client,
        status=service_status(consumers, now),
        ready=queue.ready,
        delayed=len(queue.delayed),
        held=len(queue.held),
        dead=len(queue.dead),
        consumers=len(consumers.sessions) if consumers else 0,
        waiting=sum(not wait.done for wait in consumers.waits) if consumers else 0,
        oldest_at=head.sent_at if head else None,
        bytes=queue.bytes,
        sent=queue.sent,
        delivered=queue.delivered,
        acked=queue.acked,
        created_at=queue.created_at,
        policy=queue.policy,
    )


def message_info(message: Message, caller: Caller, cut: int | None = CUT) -> MessageInfo:
    """A message, its payload cut to ``cut`` characters."""
    since = message.sent_at
    if message.hold is not None:
        since = message.hold.since
    elif message.death is not None:
        since = message.death.at
    long = cut is not None and len(message.payload) > cut
    return MessageInfo(
        id=message.id,
        queue=message.queue,
        state=message.state,
        since=since,
        payload=message.payload[:cut] if long else message.payload,
        payload_cut=long,
        size=message.size,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        headers=message.headers or {},
        key=message.key,
        error=message.error,
        sender=message.sender,
        sent_at=message.sent_at,
        expires_at=message.expires_at,
        delivery_count=message.delivery_count,
        holder=message.hold.session.client if message.hold else None,
        caller=caller,
        due_at=message.due_at,
        cause=message.death.cause if message.death else None,
    )


def session_info(session: Session, now: float) -> SessionInfo:
    """A session at ``now``, without its token."""
    return SessionInfo(
        client=session.client,
        lease=session.lease,
        since=session.since,
        last_seen=now if session.open else session.last_seen,
        transferring=len(session.waits),
        overdue=bool(session.subscriptions) and overdue(session, now),
        subscriptions=list(session.subscriptions)[:MAX_NAMES],
        held=len(session.held),
        owned=list(session.owned)[:MAX_NAMES],
    )


def page_of_queues(
    switch: Switch,
    prefix: str,
    alive: bool | None,
    kind: QueueKind | None,
    after: str,
    limit: int,
    now: float,
) -> QueueList:
    """Queues whose name starts with ``prefix`` and comes after ``after``.

    ``alive`` asks for those that have (or have not) a consumer, ``kind`` for the persistent or
    the transient ones.
    """

    def wanted(name: str) -> bool:
        if not name.startswith(prefix) or name <= after:
            return False
        if kind is not None and (switch.queues[name].owner is None) != (kind == "persistent"):
            return False
        consumers = switch.consumers.get(name)
        return alive is None or alive == bool(consumers and consumers.sessions)

    names = heapq.nsmallest(limit + 1, filter(wanted, switch.queues))
    page = names[:limit]
    return QueueList(
        queues=[queue_info(switch.queues[n], switch.consumers.get(n), now) for n in page],
        next=page[-1] if len(names) > limit else None,
    )


def page_of_messages(
    queue: Queue,
    state: State | None,
    after: int,
    limit: int,
    caller_of: Callable[[Message], Caller],
) -> MessageList:
    """Messages of a queue with a larger id than ``after``, the oldest first.

    They are fewer than ``limit`` where they have many bytes beside their payloads, which are cut.
    """
    wanted = (m for m in queue.messages(state) if m.id > after)
    found = heapq.nsmallest(limit + 1, wanted, key=lambda m: m.id)
    page: list[Message] = []
    room = MAX_BATCH_BYTES
    for message in found[:limit]:
        room -= message.size - len(message.payload)
        if room < 0 and page:
            break
        page.append(message)
    return MessageList(
        messages=[message_info(m, caller_of(m)) for m in page],
        next=page[-1].id if len(found) > len(page) else None,
    )


def diagnostics(switch: Switch, now: float) -> Diagnostics:
    """The whole switch, what needs attention first."""

    def urgency(queue: Queue) -> tuple[int, int, str]:
        status = service_status(switch.consumers.get(queue.name), now)
        idle = 0 if queue.length or status == "running" else 1
        return (idle, _ATTENTION.index(status), queue.name)

    persistent = [queue for queue in switch.queues.values() if queue.owner is None]
    shown = heapq.nsmallest(MAX_SERVICES, persistent, key=urgency)
    services = []
    for queue in shown:
        consumers = switch.consumers.get(queue.name)
        names = {s.client for s in consumers.sessions.values()} if consumers else set()
        page = page_of_messages(queue, None, 0, MAX_MESSAGES, switch.caller_of)
        services.append(
            ServiceInfo(
                queue=queue_info(queue, consumers, now),
                consumers=sorted(names)[:20],
                messages=page.messages,
            )
        )
    sessions = heapq.nsmallest(
        MAX_SESSIONS,
        switch.sessions.values(),
        key=lambda s: (not (s.subscriptions and overdue(s, now)), s.since),
    )
    limits = switch.limits
    return Diagnostics(
        now=now,
        started_at=switch.started_at,
        services=services,
        services_left_out=len(persistent) - len(shown),
        reply_queues=len(switch.queues) - len(persistent),
        calls=sum(1 for call in switch.calls.values() if call.waits),
        sessions=[session_info(session, now) for session in sessions],
        sessions_left_out=len(switch.sessions) - len(sessions),
        usage=[
            Usage(name="queues", used=len(switch.queues), limit=limits.queues),
            Usage(name="sessions", used=len(switch.sessions), limit=limits.sessions),
            Usage(name="total_bytes", used=switch.bytes, limit=limits.total_bytes),
            Usage(name="trace_events", used=len(switch.trace), limit=limits.trace_events),
            Usage(name="trace_bytes", used=switch.trace.bytes, limit=limits.trace_bytes),
        ],
    )
