"""Finished, read-only views of a switch for people: nothing here changes state."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from .answers import (
    Caller,
    CallTree,
    Diagnostics,
    Holding,
    MessageInfo,
    MessageList,
    QueueInfo,
    QueueKind,
    QueueList,
    QueueReport,
    ServiceInfo,
    SessionInfo,
    SessionTally,
    StuckCall,
    Tally,
    Usage,
)
from .limits import MAX_BATCH_BYTES
from .messages import Message, State, parent_of
from .sessions import Session
from .undo import MOST_KEPT
from .verdict import explain_message, explain_queue, explain_session, overdue, service_status
from .waits_for import MOST_VISITED_IN_ALL, WaitsFor

if TYPE_CHECKING:
    from .queue import Queue
    from .switch import Switch

#: Characters of a payload that a list shows.
CUT = 1_000
MAX_SERVICES = 100
MAX_SESSIONS = 100
MAX_MESSAGES = 20
MAX_NAMES = 100
MAX_SERVERS = 20
#: Messages, and bytes of them, that a search looks at for one page.
MAX_SEARCHED = 20_000
MAX_SEARCHED_BYTES = 4 * 2**20
#: Calls that are told because something is wrong with them.
MAX_STUCK = 20
#: Calls, or held messages, that are looked at because they have been there longest.
MAX_LOOKED_AT = 100
#: Depth and size of a tree of calls.
MAX_DEPTH = 10
MAX_CALLS = 200

_ATTENTION = ("crashed_or_deadlocked", "never_started", "stopped", "running")


def queue_info(switch: Switch, queue: Queue, waits: WaitsFor, now: float) -> QueueInfo:
    """A queue at ``now``."""
    consumers = switch.consumers.get(queue.name)
    head = queue.head()
    return QueueInfo(
        name=queue.name,
        kind="persistent" if queue.owner is None else "transient",
        owner=None if queue.owner is None else queue.owner.client,
        status=service_status(consumers, now),
        verdict=explain_queue(switch, queue, waits, now),
        paused=queue.paused_at is not None,
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
        refused=queue.refused,
        created_at=queue.created_at,
        policy=queue.policy,
    )


def queue_report(switch: Switch, queue: Queue, now: float) -> QueueReport:
    """A queue at ``now`` with its servers."""
    waits = WaitsFor(switch, now)
    consumers = switch.consumers.get(queue.name)
    servers = consumers.sessions.values() if consumers else ()
    return QueueReport(
        queue=queue_info(switch, queue, waits, now),
        servers=[session_info(switch, s, waits, now) for s in islice(servers, MAX_SERVERS)],
        timing=None if switch.meter is None else switch.meter.timing(queue, now),
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
        due_at=message.due_at if message.state is State.DELAYED else None,
        cause=message.death.cause if message.death else None,
    )


def session_info(switch: Switch, session: Session, waits: WaitsFor, now: float) -> SessionInfo:
    """A session at ``now``, without its token."""
    holding = [
        Holding(id=m.id, queue=m.queue, since=m.hold.since)
        for m in islice(session.held.values(), MAX_MESSAGES)
        if m.hold is not None
    ]
    some = islice(session.held.values(), MAX_LOOKED_AT) if switch.children else ()
    called = (r for m in some for r in waits.calls_of(m))
    return SessionInfo(
        id=session.id,
        client=session.client,
        lease=session.lease,
        verdict=explain_session(switch, session, waits, now),
        since=session.since,
        last_seen=now if session.open else session.last_seen,
        transferring=len(session.waits),
        overdue=bool(session.subscriptions) and overdue(session, now),
        subscriptions=list(session.subscriptions)[:MAX_NAMES],
        held=len(session.held),
        holding=holding,
        calls=[
            Holding(id=r.id, queue=r.queue, since=r.sent_at) for r in islice(called, MAX_MESSAGES)
        ],
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
    waits = WaitsFor(switch, now, visits=MOST_VISITED_IN_ALL)
    return QueueList(
        queues=[queue_info(switch, switch.queues[n], waits, now) for n in page],
        next=page[-1] if len(names) > limit else None,
    )


def page_of_messages(
    queue: Queue,
    state: State | None,
    after: int,
    limit: int,
    caller_of: Callable[[Message], Caller],
    search: str | None = None,
) -> MessageList:
    """Messages of a queue with a larger id than ``after``, the oldest first.

    They are fewer than ``limit`` where they have many bytes beside their payloads, which are cut.
    ``search`` asks for those that have this text in the payload, the correlation id, a header, the
    key or the names of sender and holder. It stops when it has looked at MAX_SEARCHED messages or
    MAX_SEARCHED_BYTES of them.
    """
    page: list[Message] = []
    room = MAX_BATCH_BYTES
    unseen = MAX_SEARCHED_BYTES
    last = after
    stopped = False
    for looked_at, message in enumerate(_in_order(queue, state, after)):
        if search is not None:
            if looked_at == MAX_SEARCHED or (unseen < 0 and looked_at):
                stopped = True
                break
            unseen -= message.size
            if not _has(message, search):
                last = message.id
                continue
        room -= message.size - len(message.payload)
        if len(page) == limit or (room < 0 and page):
            break
        page.append(message)
        last = message.id
    else:
        return MessageList(messages=[message_info(m, caller_of(m)) for m in page], next=None)
    found = [message_info(m, caller_of(m)) for m in page]
    return MessageList(messages=found, next=last, stopped=stopped)


def _in_order(queue: Queue, state: State | None, after: int) -> Iterator[Message]:
    """Messages in one state, or in any, by id."""

    def sorted_part(part: Mapping[int, Message]) -> Iterator[Message]:
        ids = sorted(part)
        return (part[id] for id in islice(ids, bisect_right(ids, after), None))

    parts: list[Iterable[Message]] = []
    if state is None or state is State.READY:
        parts.append(queue.ready_after(after))
    if state is None or state is State.DELAYED:
        parts.append(sorted_part(queue.delayed))
    if state is None or state is State.HELD:
        parts.append(sorted_part(queue.held))
    if state is None or state is State.DEAD:
        parts.append(sorted_part(queue.dead))
    return heapq.merge(*parts, key=lambda m: m.id)


def _has(message: Message, text: str) -> bool:
    if text in message.payload or text == str(message.id):
        return True
    names = [message.correlation_id, message.key, message.sender]
    if message.hold is not None:
        names.append(message.hold.session.client)
    if any(name is not None and text in name for name in names):
        return True
    headers = message.headers
    return headers is not None and any(text in k or text in v for k, v in headers.items())


def tally(switch: Switch, messages: Iterable[Message], *, kept: bool) -> Tally:
    """What an action on ``messages`` would touch; ``kept`` says whether their queue is one whose
    removals are kept for an undo."""
    found = Tally(messages=0, callers=0, bytes=0, undoable=kept, forgets=0)
    for message in messages:
        found.messages += 1
        found.bytes += message.size
        if message.reply_to is not None and switch.caller_of(message) == "waiting":
            found.callers += 1
    limit = switch.limits.undo_bytes
    if not kept or found.bytes > limit:
        found.undoable = False
        return found
    over = switch.undo_bytes + found.bytes - limit
    too_many = len(switch.undoable) + 1 - MOST_KEPT
    for removed in switch.undoable.values():
        if over <= 0 and found.forgets >= too_many:
            break
        over -= removed.size
        found.forgets += 1
    return found


def session_tally(switch: Switch, session: Session) -> SessionTally:
    """What the end of a session would touch."""
    held = (m for m in session.held.values() if m.queue not in session.owned)
    owned = (m for name in session.owned for m in switch.queues[name].messages())
    return SessionTally(
        held=tally(switch, held, kept=False),
        owned=tally(switch, owned, kept=False),
    )


def diagnostics(switch: Switch, now: float) -> Diagnostics:
    """The whole switch, what needs attention first."""

    def urgency(queue: Queue) -> tuple[int, int, str]:
        status = service_status(switch.consumers.get(queue.name), now)
        idle = 0 if queue.length or status == "running" else 1
        return (idle, _ATTENTION.index(status), queue.name)

    persistent = [queue for queue in switch.queues.values() if queue.owner is None]
    shown = heapq.nsmallest(MAX_SERVICES, persistent, key=urgency)
    waits = WaitsFor(switch, now, visits=MOST_VISITED_IN_ALL)
    services = []
    for queue in shown:
        consumers = switch.consumers.get(queue.name)
        names = {s.client for s in consumers.sessions.values()} if consumers else set()
        page = page_of_messages(queue, None, 0, MAX_MESSAGES, switch.caller_of)
        services.append(
            ServiceInfo(
                queue=queue_info(switch, queue, waits, now),
                consumers=sorted(names)[:20],
                messages=page.messages,
                timing=None if switch.meter is None else switch.meter.timing(queue, now),
            )
        )
    sessions = heapq.nsmallest(
        MAX_SESSIONS,
        switch.sessions.values(),
        key=lambda s: (not (s.subscriptions and overdue(s, now)), s.since),
    )
    return Diagnostics(
        now=now,
        started_at=switch.started_at,
        services=services,
        services_left_out=len(persistent) - len(shown),
        reply_queues=len(switch.queues) - len(persistent),
        calls=sum(1 for call in switch.calls.values() if call.waits),
        stuck=stuck_calls(switch, waits, now),
        sessions=[session_info(switch, session, waits, now) for session in sessions],
        sessions_left_out=len(switch.sessions) - len(sessions),
        usage=usage(switch),
    )


def usage(switch: Switch) -> list[Usage]:
    """The limits of the switch and what of them is in use."""
    limits = switch.limits
    return [
        Usage(name="queues", used=len(switch.queues), limit=limits.queues),
        Usage(name="sessions", used=len(switch.sessions), limit=limits.sessions),
        Usage(name="total_bytes", used=switch.bytes, limit=limits.total_bytes),
        Usage(name="messages", used=len(switch.messages), limit=limits.messages),
        Usage(name="undo_bytes", used=switch.undo_bytes, limit=limits.undo_bytes),
        Usage(name="trace_events", used=len(switch.trace), limit=limits.trace_events),
        Usage(name="trace_bytes", used=switch.trace.bytes, limit=limits.trace_bytes),
    ]


def stuck_calls(switch: Switch, waits: WaitsFor, now: float) -> list[StuckCall]:
    """Calls that something is wrong with, the longest waiting first."""
    waiting = (c for c in switch.calls.values() if c.waits and c.request in switch.messages)
    found = []
    for call in islice(waiting, MAX_LOOKED_AT):
        message = switch.messages[call.request]
        verdict = explain_message(switch, message, waits, now)
        if verdict.level == "ok":
            continue
        found.append(
            StuckCall(
                id=message.id,
                queue=call.queue,
                caller=call.caller,
                since=message.sent_at,
                verdict=verdict,
            )
        )
        if len(found) == MAX_STUCK:
            break
    return found


def call_tree(switch: Switch, id: int) -> CallTree | None:
    """The calls that a request belongs to, from the first on; None if there are no others.

    Of those that have ended only the trace knows. What callers say about parents need not be true:
    a request is shown once, below the first that claims it.
    """
    trace, messages = switch.trace, switch.messages

    def parent(id: int) -> int | None:
        if (message := messages.get(id)) is not None:
            return parent_of(message.headers)
        origin = trace.origin(id)
        return None if origin is None else origin.parent

    path = [id]
    while len(path) <= MAX_DEPTH and (above := parent(path[-1])) is not None and above not in path:
        path.append(above)
    root = path[-1]
    sent = trace.origin(root) or (None if root in messages else trace.sent(root))
    if len(path) > 1 and root not in messages and sent is None:
        path.pop()  # there never was such a request, or it is forgotten
        root = path[-1]
        sent = trace.origin(root)

    on_path = dict(zip(path[1:], path, strict=False))
    calls: dict[int, list[int]] = {root: []}
    level = [root]
    for _ in range(MAX_DEPTH):
        below = []
        for each in level:
            found = {*_first(trace.made_for(each)), *_first(switch.children.get(each, ()))}
            if each in on_path:
                found.add(on_path[each])
            for call in sorted(found):
                if call not in calls and (len(calls) < MAX_CALLS or call in path):
                    calls[call] = []
                    calls[each].append(call)
                    below.append(call)
        level = below
    if len(calls) == 1:
        return None

    def tree(id: int) -> CallTree:
        message = messages.get(id)
        below = [tree(call) for call in calls[id]]
        if message is None:
            origin = sent if id == root else trace.origin(id)
            return CallTree(
                id=id,
                queue="" if origin is None else origin.queue,
                sent_at=None if origin is None else origin.at,
                caller=None if origin is None else origin.client,
                state=None,
                holder=None,
                waiting=False,
                calls=below,
            )
        call = None if message.reply_to is None else switch.calls.get(message.reply_to)
        return CallTree(
            id=id,
            queue=message.queue,
            sent_at=message.sent_at,
            caller=message.sender,
            state=message.state,
            holder=None if message.hold is None else message.hold.session.client,
            waiting=call is not None and bool(call.waits),
            calls=below,
        )

    return tree(root)


def _first(calls: Iterable[int]) -> Iterable[int]:
    """As many of the calls as a tree has room for."""
    return islice(calls, MAX_CALLS)
