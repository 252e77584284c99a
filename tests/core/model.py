"""A naive model of the switch: plain lists, and a scan for every question.

It is written from the promises in docs/protocol.md, not from the code, and it is slow on purpose.
Operations have the names and arguments of the real switch; answers are plain dicts of the same
fields; refusals are ``Refused`` with the code. Numbers are predicted: one sequence, one step each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import structs

from queues.core.limits import Limits
from queues.core.messages import Draft, Reply
from queues.core.queue import Policy

#: What a remembered key counts for, beside its own bytes.
KEY_BYTES = 32
NAME_LETTERS = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@+~=-")

# What happens first of the things that are due at one instant.
WAIT_ENDS, EXPIRY, DELAY_ENDS, ACK_TIMEOUT, LEASE_ENDS, KEY_FORGOTTEN, UNDO_ENDS = range(7)

#: Seconds for which a message may wait for a server that pulls, and is about to ask for it.
PATIENCE = 1.0
#: Seconds after which something ordinary is worth a look.
SLOW = 10.0
#: How far up and down a tree of calls is shown.
DEPTH = 10
#: Messages in a chain that is told.
LONGEST_CHAIN = 20

LEVELS = {
    "stuck": "deadlock never_started server_left servers_silent held_silent queue_full",
    "warning": "paused caller_gone about_to_die redelivered dead expired",
}
"""Verdicts by how urgent they are; that of others depends on the time, or they are ok."""


class Refused(Exception):
    """The model refuses; ``code`` is what the switch has to say too."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(eq=False)
class Message:
    id: int
    queue: str
    draft: Draft
    sender: str | None
    sent_at: float
    expires_at: float | None
    state: str = "ready"
    count: int = 0
    holder: Session | None = None
    delivery: int = 0
    held_since: float = 0.0
    last: bool = False
    """Whether its caller went while it was held."""
    ack_due: float | None = None
    due_at: float | None = None
    cause: str | None = None
    was: str = ""
    """The state that it was removed in."""
    died_at: float = 0.0
    death: int = 0
    """Which death of all this was."""
    returns: list[float] = field(default_factory=list)
    """When each hand-over came to nothing."""

    def has(self, text: str) -> bool:
        """Whether a search for a text finds it."""
        texts = [self.draft.payload, self.draft.correlation_id, self.draft.key, self.sender]
        texts += [self.holder.client if self.holder else None]
        texts += [*(self.draft.headers or {}), *(self.draft.headers or {}).values()]
        return text == str(self.id) or any(text in each for each in texts if each)


@dataclass
class Origin:
    """How a message was sent."""

    queue: str
    sender: str | None
    at: float
    parent: int | None


@dataclass(eq=False)
class Queue:
    name: str
    policy: Policy
    owner: Session | None
    created_at: float
    sent: int = 0
    delivered: int = 0
    acked: int = 0
    refused: int = 0
    paused: bool = False


@dataclass(eq=False)
class Removed:
    id: int
    action: str
    queue: str
    policy: Policy
    paused: bool
    messages: list[Message]
    at: float
    until: float


@dataclass(eq=False)
class Session:
    id: int
    token: str
    client: str
    lease: float
    lease_ends: float
    expected_by: float
    subscriptions: dict[str, int] = field(default_factory=dict)
    """The names of the queues, with the credit of each."""
    ended: bool = False


@dataclass(eq=False)
class Wait:
    number: int
    ends_at: float
    done: bool = False


@dataclass(eq=False)
class Transfer(Wait):
    session: Session = None  # type: ignore[assignment]
    after: int | None = None
    limit: int = 1
    superseded: bool = False
    acks: dict[str, list[int]] | None = None
    replies: list[dict[str, Any]] = field(default_factory=list)
    resent: list[tuple[int, Message]] = field(default_factory=list)
    batch: list[tuple[int, Message]] = field(default_factory=list)
    joined: dict[str, int] = field(default_factory=dict)
    """When it began to wait for each queue, as the count of such beginnings."""


@dataclass(eq=False)
class Stream(Wait):
    session: Session = None  # type: ignore[assignment]
    room: int = 0
    superseded: bool = False
    again: list[tuple[int, Message]] = field(default_factory=list)
    """What is to be pushed again before anything new."""
    batch: list[tuple[int, Message]] = field(default_factory=list)
    joined: dict[str, int] = field(default_factory=dict)
    """As that of a Transfer."""


@dataclass(eq=False)
class Call:
    request: int
    queue: str
    address: str
    response: dict[str, Any] | None = None
    response_bytes: int = 0
    parent: int | None = None
    asked_at: float = 0.0
    """When the last of those who wait began to."""


@dataclass(eq=False)
class CallWait(Wait):
    call: Call = None  # type: ignore[assignment]
    response: dict[str, Any] | None = None
    verdict: list[str] | None = None


@dataclass(eq=False)
class Key:
    queue: str
    text: str
    id: int
    payload: str
    forget_at: float
    call: Call | None = None


def size(text: str | None) -> int:
    return len(text.encode()) if text else 0


def headers_size(draft: Draft) -> int:
    return sum(size(k) + size(v) for k, v in (draft.headers or {}).items())


def draft_size(draft: Draft) -> int:
    texts = [draft.payload, draft.correlation_id, draft.reply_to, draft.key]
    if draft.error:
        texts += [draft.error.code, draft.error.detail]
    return headers_size(draft) + sum(size(text) for text in texts)


def parent(headers: dict[str, str] | None) -> int | None:
    """The request that a message is made for, if its header says a number."""
    text = (headers or {}).get("switch-parent", "")
    return int(text) if text and set(text) <= set("0123456789") and len(text) < 20 else None


class Model:
    def __init__(self, *, first_id: int, limits: Limits, batch_bytes: int, most_kept: int) -> None:
        self.limits = limits
        self.most_kept = most_kept
        self.batch_bytes = batch_bytes
        self.next_number = self.instance = first_id
        self.counter = 0
        self.queues: dict[str, Queue] = {}
        self.messages: list[Message] = []
        self.sessions: list[Session] = []
        self.transfers: list[Transfer] = []
        self.streams: list[Stream] = []
        """Those that are open."""
        self.calls: list[Call] = []
        self.call_waits: list[CallWait] = []
        self.trace_waits: list[Wait] = []
        self.keys: list[Key] = []
        self.left: dict[str, tuple[str, str] | None] = {}
        """Names that had a subscriber, and which client left last and how."""
        self.woken: list[Wait] = []
        self.events: list[tuple[Any, ...]] = []
        self.fates: dict[int, str] = {}
        """How each message ended."""
        self.undoable: list[Removed] = []
        self.origins: dict[int, Origin] = {}
        """Of everything ever sent."""

    # -- questions ------------------------------------------------------------------------------

    def of(self, name: str, state: str | None = None) -> list[Message]:
        """The messages of a queue by id."""
        found = [m for m in self.messages if m.queue == name and state in (None, m.state)]
        return sorted(found, key=lambda m: m.id)

    def dead(self, name: str) -> list[Message]:
        return sorted(self.of(name, "dead"), key=lambda m: m.death)

    def length(self, name: str) -> int:
        return sum(m.state != "dead" for m in self.of(name))

    def held_by(self, session: Session) -> list[Message]:
        """What a session holds by delivery number."""
        found = [m for m in self.messages if m.holder is session]
        return sorted(found, key=lambda m: m.delivery)

    def bytes(self) -> int:
        total = sum(draft_size(m.draft) for m in self.messages)
        for key in self.keys:
            total += self.key_bytes(key)
        return total

    def key_bytes(self, key: Key) -> int:
        return size(key.text) + KEY_BYTES + (key.call.response_bytes if key.call else 0)

    def by_id(self, id: int) -> Message | None:
        return next((m for m in self.messages if m.id == id), None)

    def subscribers(self, name: str) -> list[Session]:
        return [s for s in self.sessions if name in s.subscriptions]

    def owned(self, session: Session) -> list[str]:
        return [q.name for q in self.queues.values() if q.owner is session]

    def open_of(self, session: Session) -> list[Transfer]:
        return [t for t in self.transfers if t.session is session]

    def stream_of(self, session: Session) -> Stream | None:
        return next((s for s in self.streams if s.session is session), None)

    def connected(self, session: Session) -> bool:
        """Its lease does not run."""
        return bool(self.open_of(session) or self.stream_of(session))

    def may_be_pushed(self, stream: Stream, name: str) -> bool:
        """Whether a stream has room, and credit for one more message of the queue."""
        held = [m for m in self.held_by(stream.session) if m.queue == name]
        return stream.room > 0 and len(held) < stream.session.subscriptions[name]

    def undo_bytes(self) -> int:
        return sum(draft_size(m.draft) for removed in self.undoable for m in removed.messages)

    def children(self) -> dict[int, set[int]]:
        """The requests that somebody waits for, by what they were made for."""
        found: dict[int, set[int]] = {}
        for wait in self.call_waits:
            if not wait.done and wait.call.parent is not None:
                found.setdefault(wait.call.parent, set()).add(wait.call.request)
        return found

    def remembered(self, call: Call) -> Key | None:
        return next((k for k in self.keys if k.call is call), None)

    def call_at(self, address: str | None) -> Call | None:
        """The call with that reply address, while somebody waits or its key is remembered."""
        for call in self.calls:
            if call.address == address:
                waiting = any(w.call is call and not w.done for w in self.call_waits)
                if waiting or self.remembered(call):
                    return call
        return None

    def overdue(self, session: Session, now: float) -> bool:
        return not self.connected(session) and now > session.expected_by

    def status(self, name: str, now: float) -> str:
        if name not in self.left:
            return "never_started"
        if sessions := self.subscribers(name):
            silent = all(self.overdue(s, now) for s in sessions)
            return "crashed_or_deadlocked" if silent else "running"
        left = self.left[name]
        crashed = left and left[1] in ("lease_expired", "disconnected")
        return "crashed_or_deadlocked" if crashed else "stopped"

    def holds(self, number: int, message: Message) -> bool:
        return message.state == "held" and message.delivery == number

    # -- time -----------------------------------------------------------------------------------

    def deadlines(self) -> list[tuple[float, int, Any]]:
        """Everything that will happen by itself: when, what kind, and to whom."""
        found: list[tuple[float, int, Any]] = []
        for wait in [*self.transfers, *self.call_waits, *self.trace_waits]:
            if not wait.done:
                found.append((wait.ends_at, WAIT_ENDS, wait.number))
        for m in self.messages:
            if m.expires_at is not None and m.state in ("ready", "delayed"):
                found.append((m.expires_at, EXPIRY, m.id))
            if m.state == "delayed":
                assert m.due_at is not None
                found.append((m.due_at, DELAY_ENDS, m.id))
            if m.state == "held" and m.ack_due is not None:
                found.append((m.ack_due, ACK_TIMEOUT, m.id))
        for s in self.sessions:
            if not self.connected(s):
                found.append((s.lease_ends, LEASE_ENDS, s.token))
        for k in self.keys:
            found.append((k.forget_at, KEY_FORGOTTEN, (k.queue, k.text)))
        for r in self.undoable:
            found.append((r.until, UNDO_ENDS, r.id))
        return sorted(found)

    def advance(self, now: float) -> None:
        while (deadlines := self.deadlines()) and deadlines[0][0] <= now:
            _, kind, what = deadlines[0]
            if kind == WAIT_ENDS:
                self.end_wait(what, now)
            elif kind == LEASE_ENDS:
                (session,) = (s for s in self.sessions if s.token == what)
                self.end(session, now, "lease_expired")
            elif kind == KEY_FORGOTTEN:
                self.keys = [k for k in self.keys if (k.queue, k.text) != what]
            elif kind == UNDO_ENDS:
                self.undoable = [r for r in self.undoable if r.id != what]
            else:
                message = self.by_id(what)
                assert message is not None
                if kind == EXPIRY:
                    self.expire(message, now)
                elif kind == DELAY_ENDS:
                    self.make_ready(message, now)
                else:
                    self.give_back(message, now, "ack_timeout")

    def end_wait(self, number: int, now: float) -> None:
        waits: list[Wait] = [*self.transfers, *self.call_waits, *self.trace_waits]
        (wait,) = (w for w in waits if w.number == number)
        if isinstance(wait, CallWait):
            wait.verdict = self.verdict(wait.call.request, now)
            self.say("call_timeout", wait.call.queue, wait.call.request)
        self.wake(wait)

    def wake(self, wait: Wait) -> None:
        if not wait.done:
            wait.done = True
            self.woken.append(wait)

    def say(
        self,
        kind: str,
        queue: str | None = None,
        message: int | None = None,
        client: str | None = None,
        detail: str | None = None,
        parent: int | None = None,
    ) -> None:
        self.events.append((kind, queue, message, client, detail, parent))
        for wait in self.trace_waits:
            self.wake(wait)

    def number(self) -> int:
        self.next_number += 1
        return self.next_number - 1

    def count(self) -> int:
        self.counter += 1
        return self.counter

    # -- sessions -------------------------------------------------------------------------------

    def login(self, token: str, client: str, lease: float, *, now: float) -> dict[str, Any]:
        self.advance(now)
        if len(self.sessions) >= self.limits.sessions:
            raise Refused("too_many_sessions")
        session = Session(self.number(), token, client, lease, now + lease, now + lease)
        self.sessions.append(session)
        self.say("login", client=client)
        return {"session": token, "client": client, "lease": lease, "instance": self.instance}

    def logout(self, token: str | None, *, now: float) -> None:
        self.end(self.session(token, now), now, "logout")

    def session(self, token: str | None, now: float) -> Session:
        self.advance(now)
        if token is None:
            raise Refused("session_required")
        for session in self.sessions:
            if session.token == token:
                session.lease_ends = now + session.lease
                return session
        raise Refused("unknown_session")

    def sender(self, token: str | None, now: float) -> str | None:
        if token is not None:
            return self.session(token, now).client
        self.advance(now)
        return None

    def end(self, session: Session, now: float, reason: str) -> None:
        self.sessions.remove(session)
        session.ended = True
        for name in session.subscriptions:
            self.left[name] = (session.client, reason)
        for transfer in self.open_of(session):
            self.wake(transfer)
            self.transfers.remove(transfer)
        if stream := self.stream_of(session):
            self.wake(stream)
            self.streams.remove(stream)
        for name in session.subscriptions:
            self.forget_consumers(name)
        for message in sorted(self.held_by(session), key=lambda m: m.id):
            self.give_back(message, now, reason)
        for name in self.owned(session):
            self.destroy(name, session.client, now)
        self.say(reason, client=session.client)

    def touch(
        self, token: str | None, ids: Iterable[int] = (), *, now: float
    ) -> dict[str, list[int]]:
        session = self.session(token, now)
        session.expected_by = now + session.lease
        answer: dict[str, list[int]] = {"touched": [], "unknown": [], "not_held": []}
        for id in ids:
            message = self.by_id(id)
            if message is None:
                answer["unknown"].append(id)
            elif message.holder is not session:
                answer["not_held"].append(id)
            else:
                self.start_ack_timeout(message, now)
                answer["touched"].append(id)
        return answer

    # -- streams --------------------------------------------------------------------------------

    def open_stream(
        self, token: str, client: str, lease: float, *, room: int, now: float
    ) -> tuple[dict[str, Any], Stream]:
        answer = self.login(token, client, lease, now=now)
        return answer, self.connect(self.sessions[-1], room)

    def resume_stream(
        self, token: str | None, *, after: int | None, room: int, now: float
    ) -> tuple[dict[str, Any], Stream]:
        session = self.session(token, now)
        if older := self.stream_of(session):
            older.superseded = True
            self.wake(older)
            self.streams.remove(older)
        stream = self.connect(session, room)
        if after is not None:
            held = [(m.delivery, m) for m in self.held_by(session)]
            stream.again = [entry for entry in held if entry[0] > after]
        # What is pushed again here is no longer on its way in an answer.
        for transfer in self.open_of(session):
            transfer.batch = [entry for entry in transfer.batch if entry not in stream.again]
        self.say("resumed", client=session.client)
        self.push_all(stream, now)
        answer = {
            "session": session.token,
            "client": session.client,
            "lease": session.lease,
            "instance": self.instance,
        }
        return answer, stream

    def connect(self, session: Session, room: int) -> Stream:
        stream = Stream(self.count(), float("inf"), session=session, room=room)
        self.streams.append(stream)
        return stream

    def close_stream(self, stream: Stream, *, now: float, slow: bool = False) -> None:
        self.advance(now)
        if stream.done:
            return
        stream.done = True
        self.streams.remove(stream)
        session = stream.session
        if slow:
            self.say("slow_consumer", client=session.client)
        if session.lease == 0:
            self.end(session, now, "disconnected")
        else:
            session.lease_ends = session.expected_by = now + session.lease
            self.say("disconnected", client=session.client)

    def grant(self, stream: Stream, room: int, *, now: float) -> None:
        self.advance(now)
        had_none = stream.room <= 0
        stream.room = room
        if had_none and not stream.done:
            self.push_all(stream, now)

    def take(self, stream: Stream) -> list[dict[str, Any]]:
        taken = [self.delivery(m) for number, m in stream.batch if self.holds(number, m)]
        stream.batch = []
        return taken

    def push_all(self, stream: Stream, now: float) -> None:
        """Everything again, then everything new, oldest first; then wait for more."""
        while stream.again and stream.room > 0:
            entry = stream.again.pop(0)
            if self.holds(*entry):
                self.put(stream, *entry)
        if stream.again:
            return
        mine = stream.session.subscriptions
        while ready := [
            m
            for m in self.messages
            if m.state == "ready"
            and m.queue in mine
            and not self.queues[m.queue].paused
            and self.may_be_pushed(stream, m.queue)
        ]:
            self.push(min(ready, key=lambda m: m.id), stream, now)
        for name in mine:
            self.join(stream, name)

    def push(self, message: Message, stream: Stream, now: float) -> None:
        assert not stream.done
        assert not stream.again
        assert self.may_be_pushed(stream, message.queue)
        self.hold(message, stream.session, now)
        self.put(stream, message.delivery, message)

    def put(self, stream: Stream, number: int, message: Message) -> None:
        stream.room -= draft_size(message.draft)
        if not stream.batch:
            self.woken.append(stream)
        stream.batch.append((number, message))

    def join(self, stream: Stream, name: str) -> None:
        """Wait for a queue behind all others; who waits already keeps the place."""
        if self.may_be_pushed(stream, name):
            stream.joined.setdefault(name, self.count())

    def holds_less(self, session: Session, name: str, now: float) -> None:
        """There may be credit again."""
        stream = self.stream_of(session)
        if stream and not stream.again and name in session.subscriptions:
            self.join(stream, name)
            if name in self.queues:
                self.offer(name, now)

    # -- queues ---------------------------------------------------------------------------------

    def create_queue(
        self, name: str, policy: Policy | None = None, *, now: float, token: str | None = None
    ) -> dict[str, Any]:
        client = self.sender(token, now)
        if name in self.queues:
            if policy is not None and policy != self.queues[name].policy:
                raise Refused("policy_differs")
            return {"name": name, "created": False}
        self.create(name, policy or self.default_policy(), None, client, now)
        return {"name": name, "created": True}

    def create_fresh_queue(
        self, policy: Policy | None = None, *, token: str | None, now: float
    ) -> dict[str, Any]:
        session = self.session(token, now)
        name = self.unused_name("fresh")
        self.create(name, policy or self.default_policy(), session, session.client, now)
        return {"name": name, "created": True}

    def create(
        self, name: str, policy: Policy, owner: Session | None, client: str | None, now: float
    ) -> None:
        if not 1 <= len(name) <= 255 or not set(name) <= NAME_LETTERS or name in (".", ".."):
            raise Refused("invalid_name")
        if policy.max_length > self.limits.queue_length:
            raise Refused("invalid_request")
        if self.call_at(name):
            raise Refused("name_taken")
        if len(self.queues) >= self.limits.queues:
            raise Refused("too_many_queues")
        self.queues[name] = Queue(name, policy, owner, now)
        self.say("queue_created", name, client=client)

    def default_policy(self) -> Policy:
        return Policy(max_length=min(100_000, self.limits.queue_length))

    def unused_name(self, prefix: str) -> str:
        while True:
            name = f"{prefix}.{self.number()}"
            if name not in self.queues and name not in self.left and not self.call_at(name):
                return name

    def queue(self, name: str) -> Queue:
        if name not in self.queues:
            raise Refused("queue_not_found")
        return self.queues[name]

    def own_queue(self, name: str, token: str | None) -> Queue:
        queue = self.queue(name)
        if queue.owner is not None and queue.owner.token != token:
            raise Refused("not_owner")
        return queue

    def change_queue(
        self, name: str, changes: dict[str, Any], *, now: float, token: str | None = None
    ) -> dict[str, Any]:
        client = self.sender(token, now)
        queue = self.own_queue(name, token)
        policy = replace(queue.policy, **changes)
        if policy.max_length > self.limits.queue_length:
            raise Refused("invalid_request")
        queue.policy = policy
        self.bury_few(name)
        self.say("queue_changed", name, client=client)
        return self.info(name, now)

    def destroy_queue(
        self, name: str, *, now: float, token: str | None = None, undo_for: float = 0.0
    ) -> dict[str, Any] | None:
        client = self.sender(token, now)
        queue = self.own_queue(name, token)
        messages = self.of(name)
        self.destroy(name, client, now)
        return self.keep("destroyed", queue, messages, undo_for, now)

    def keep(
        self, action: str, queue: Queue, messages: list[Message], seconds: float, now: float
    ) -> dict[str, Any] | None:
        """Keep what was removed as long as that has room."""
        size = sum(draft_size(m.draft) for m in messages)
        worth_it = action == "destroyed" or messages
        if seconds == 0 or queue.owner or not worth_it or size > self.limits.undo_bytes:
            return None
        while (
            len(self.undoable) >= self.most_kept
            or self.undo_bytes() + size > self.limits.undo_bytes
        ):
            del self.undoable[0]
        id, until = self.number(), now + seconds
        self.undoable.append(
            Removed(id, action, queue.name, queue.policy, queue.paused, messages, now, until)
        )
        return self.list_undo(now=now)[-1]

    def list_undo(self, *, now: float) -> list[dict[str, Any]]:
        self.advance(now)
        return [
            {
                "id": r.id,
                "action": r.action,
                "queue": r.queue,
                "messages": len(r.messages),
                "at": r.at,
                "until": r.until,
            }
            for r in self.undoable
        ]

    def reorder(self, id: int, order: list[int]) -> None:
        """Let what was removed come back in this order."""
        for removed in self.undoable:
            if removed.id == id:
                removed.messages.sort(key=lambda m: order.index(m.id))

    def undo(self, id: int, *, now: float) -> dict[str, Any]:
        self.advance(now)
        (removed,) = [r for r in self.undoable if r.id == id] or [None]
        if removed is None:
            raise Refused("undo_not_found")
        name, messages = removed.queue, removed.messages
        if self.bytes() + sum(draft_size(m.draft) for m in messages) > self.limits.total_bytes:
            raise Refused("switch_full")
        policy = self.queues[name].policy if name in self.queues else removed.policy
        alive = [m for m in messages if m.cause is None]
        if self.length(name) + len(alive) > policy.max_length:
            raise Refused("queue_full")
        created = name not in self.queues
        if created:
            self.create(name, removed.policy, None, None, now)
            self.queues[name].paused = removed.paused
        self.undoable.remove(removed)
        self.say("restored", name, detail=f"{len(messages)} {removed.action}")
        for message in messages:
            del self.fates[message.id]
            self.messages.append(message)
            delayed = message.due_at is not None and message.due_at > now
            if message.cause is not None:
                message.state = "dead"
            elif delayed and message.was == "delayed":
                message.state = "delayed"
            else:
                message.state = "ready"
                message.due_at = now
        for message in alive:
            if message.expires_at is not None and message.expires_at <= now:
                self.expire(message, now)
        self.bury_few(name)
        self.offer(name, now)
        return {"queue": name, "restored": len(messages), "created": created}

    def destroy(self, name: str, client: str | None, now: float) -> None:
        messages = self.of(name)
        holders = self.holders(messages)
        for message in messages:
            self.remove(message, "destroyed")
        self.keys = [k for k in self.keys if k.queue != name]
        del self.queues[name]
        for holder in holders:
            self.holds_less(holder, name, now)
        self.forget_consumers(name)
        self.say(
            "queue_destroyed",
            name,
            client=client,
            detail=f"{len(messages):,} message" + "s" * (len(messages) != 1),
        )

    def purge_queue(
        self,
        name: str,
        state: str | None = None,
        *,
        now: float,
        token: str | None = None,
        undo_for: float = 0.0,
    ) -> dict[str, Any]:
        client = self.sender(token, now)
        queue = self.own_queue(name, token)
        states = ["ready", "delayed"] if state is None else [state]
        doomed = [m for m in self.of(name) if m.state in states]
        holders = self.holders(doomed)
        for message in doomed:
            self.remove(message, "purged")
        detail = f"{len(doomed)} {' and '.join(states)}"
        self.say("purged", name, client=client, detail=detail)
        for holder in holders:
            self.holds_less(holder, name, now)
        return {
            "purged": len(doomed),
            "undo": self.keep("purged", queue, doomed, undo_for, now),
        }

    def holders(self, messages: list[Message]) -> list[Session]:
        """Who holds some of them, who has held one longest first."""
        held = sorted((m for m in messages if m.holder), key=lambda m: m.delivery)
        return list(dict.fromkeys(m.holder for m in held if m.holder))

    def replay_dead(
        self,
        name: str,
        ids: Iterable[int] | None = None,
        *,
        now: float,
        token: str | None = None,
    ) -> dict[str, Any]:
        client = self.sender(token, now)
        policy = self.own_queue(name, token).policy
        dead = [m.id for m in self.of(name, "dead")]
        chosen = sorted(dead if ids is None else set(ids))
        answer = {"replayed": 0, "not_dead": 0, "no_room": 0}
        for id in chosen:
            if id not in dead:
                answer["not_dead"] += 1
            elif self.length(name) >= policy.max_length:
                answer["no_room"] += 1
            else:
                message = self.by_id(id)
                assert message is not None
                self.revive(message, now)
                self.say("replayed", name, id, client)
                answer["replayed"] += 1
        self.offer(name, now)
        return answer

    def revive(self, message: Message, now: float) -> None:
        message.state = "ready"
        message.count = 0
        message.returns = []
        message.expires_at = None
        message.due_at = now
        message.cause = None

    def pause_queue(
        self, name: str, *, now: float, token: str | None = None, paused: bool = True
    ) -> dict[str, Any]:
        client = self.sender(token, now)
        queue = self.own_queue(name, token)
        if queue.paused is not paused:
            queue.paused = paused
            self.say("paused" if paused else "unpaused", name, client=client)
            self.offer(name, now)
        return self.info(name, now)

    def resume_queue(self, name: str, *, now: float, token: str | None = None) -> dict[str, Any]:
        return self.pause_queue(name, now=now, token=token, paused=False)

    def requeue(
        self,
        name: str,
        ids: Iterable[int] | None = None,
        *,
        now: float,
        token: str | None = None,
    ) -> dict[str, Any]:
        self.sender(token, now)
        self.own_queue(name, token)
        held = [m.id for m in self.of(name, "held")]
        chosen = sorted(held if ids is None else set(ids))
        answer = {"requeued": 0, "not_held": 0}
        for id in chosen:
            if id in held:
                message = self.by_id(id)
                assert message is not None
                self.give_back(message, now, "operator")
                answer["requeued"] += 1
            else:
                answer["not_held"] += 1
        return answer

    def move_messages(
        self,
        name: str,
        target: str,
        *,
        now: float,
        ids: Iterable[int] | None = None,
        state: str | None = None,
        token: str | None = None,
    ) -> dict[str, Any]:
        client = self.sender(token, now)
        self.own_queue(name, token)
        policy = self.queue(target).policy
        if name == target:
            raise Refused("invalid_request")
        states = ["ready", "delayed"] if state is None else [state]
        chosen = [m.id for m in self.of(name) if m.state in states] if ids is None else set(ids)
        answer = {"moved": 0, "not_movable": 0, "no_room": 0}
        for id in sorted(chosen):
            message = self.by_id(id)
            if message is None or message.queue != name or message.state == "held":
                answer["not_movable"] += 1
            elif self.length(target) >= policy.max_length:
                answer["no_room"] += 1
            else:
                message.queue = target
                if message.state == "dead":
                    self.revive(message, now)
                self.say("moved", name, id, client, f"to {target}")
                answer["moved"] += 1
        self.offer(target, now)
        return answer

    def end_session(self, id: int, *, now: float) -> None:
        self.advance(now)
        for session in self.sessions:
            if session.id == id:
                self.end(session, now, "ended")
                return
        raise Refused("session_not_found")

    def inspect_queue(self, name: str, *, now: float) -> dict[str, Any]:
        self.advance(now)
        self.queue(name)
        return self.info(name, now)

    def info(self, name: str, now: float) -> dict[str, Any]:
        queue = self.queues[name]
        ready = self.of(name, "ready")
        waiting = [w for w in self.line(name) if not w.done]
        return {
            "name": name,
            "kind": "transient" if queue.owner else "persistent",
            "owner": queue.owner.client if queue.owner else None,
            "status": self.status(name, now),
            "verdict": self.queue_verdict(name, now),
            "paused": queue.paused,
            "ready": len(ready),
            "delayed": len(self.of(name, "delayed")),
            "held": len(self.of(name, "held")),
            "dead": len(self.of(name, "dead")),
            "consumers": len(self.subscribers(name)),
            "waiting": len(waiting),
            "oldest_at": ready[0].sent_at if ready else None,
            "bytes": sum(draft_size(m.draft) for m in self.of(name)),
            "sent": queue.sent,
            "delivered": queue.delivered,
            "acked": queue.acked,
            "refused": queue.refused,
            "created_at": queue.created_at,
            "policy": queue.policy,
        }

    # -- sending --------------------------------------------------------------------------------

    def send(
        self, name: str, draft: Draft, *, now: float, token: str | None = None
    ) -> dict[str, Any]:
        sender = self.sender(token, now)
        if call := self.call_at(name):
            if call.response is not None:
                raise Refused("queue_not_found")
            return {"id": self.respond(call, draft, sender, now), "created": True}
        self.queue(name)
        if key := self.known_key(name, draft):
            if key.call is not None:
                raise Refused("key_reused")
            return {"id": key.id, "created": False}
        return {"id": self.enqueue(name, draft, sender, now).id, "created": True}

    def known_key(self, name: str, draft: Draft) -> Key | None:
        for key in self.keys:
            if key.queue == name and key.text == draft.key:
                if key.payload != draft.payload:
                    raise Refused("key_reused")
                return key
        return None

    def check_room(self, draft: Draft, more: int = 0) -> None:
        self.check_size(draft)
        if self.bytes() + draft_size(draft) + more > self.limits.total_bytes:
            raise Refused("switch_full")

    def check_size(self, draft: Draft) -> None:
        if size(draft.payload) > self.limits.payload_bytes:
            raise Refused("payload_too_large")
        if headers_size(draft) > self.limits.header_bytes:
            raise Refused("payload_too_large")

    def enqueue(
        self, name: str, draft: Draft, sender: str | None, now: float, freed: int = 0
    ) -> Message:
        queue = self.queues[name]
        if self.length(name) >= queue.policy.max_length:
            queue.refused += 1
            raise Refused("queue_full")
        key_bytes = 0 if draft.key is None else size(draft.key) + KEY_BYTES
        self.check_room(draft, key_bytes - freed)
        ttls = [ttl for ttl in (draft.ttl, queue.policy.ttl) if ttl is not None]
        expires_at = now + min(ttls) if ttls else None
        message = Message(self.number(), name, draft, sender, now, expires_at)
        self.messages.append(message)
        queue.sent += 1
        if draft.key is not None:
            forget_at = now + self.limits.key_window
            self.keys.append(Key(name, draft.key, message.id, draft.payload, forget_at))
        self.origins[message.id] = Origin(name, sender, now, parent(draft.headers))
        self.say("sent", name, message.id, sender, draft.payload, parent(draft.headers))
        if draft.delay > 0:
            message.state = "delayed"
            message.due_at = now + draft.delay
        self.offer(name, now)
        return message

    # -- subscribing and receiving --------------------------------------------------------------

    def subscribe(
        self, name: str, *, token: str | None, now: float, credit: int | None = None
    ) -> None:
        session = self.session(token, now)
        self.own_queue(name, token)
        stream = self.stream_of(session)
        if name not in session.subscriptions:
            if len(session.subscriptions) >= self.limits.subscriptions:
                raise Refused("too_many_subscriptions")
            session.subscriptions[name] = credit or 0
            self.left.setdefault(name, None)
            self.say("subscribed", name, client=session.client)
            for transfer in self.open_of(session):
                transfer.joined[name] = self.count()
            self.offer(name, now)
        elif credit is not None:
            session.subscriptions[name] = credit
        if stream:
            held = [m for m in self.held_by(session) if m.queue == name]
            if len(held) >= session.subscriptions[name]:
                stream.joined.pop(name, None)
            self.holds_less(session, name, now)

    def unsubscribe(self, name: str, *, token: str | None, now: float) -> None:
        session = self.session(token, now)
        if name in session.subscriptions:
            del session.subscriptions[name]
            self.left[name] = (session.client, "unsubscribed")
            for wait in self.line(name):
                if wait.session is session:
                    del wait.joined[name]
            self.forget_consumers(name)
            self.say("unsubscribed", name, client=session.client)

    def forget_consumers(self, name: str) -> None:
        """With neither queue nor subscriber nothing is known about who served the name."""
        if name not in self.queues and not self.subscribers(name):
            self.left.pop(name, None)

    def transfer(
        self,
        *,
        token: str | None,
        now: float,
        after: int | None = None,
        timeout: float = 0.0,
        limit: int = 1,
        acks: Iterable[int] = (),
        replies: Iterable[Reply] = (),
    ) -> Transfer:
        session = self.session(token, now)
        transfer = Transfer(self.count(), now + timeout, session=session, after=after, limit=limit)
        if acks := list(acks):
            transfer.acks, _ = self.settle(session, acks, now)
        for reply in replies:
            transfer.replies.append(self.reply_outcome(session, reply, now))
        if after is not None:
            for earlier in self.open_of(session):
                if earlier.after is not None:
                    earlier.superseded = True
                    earlier.batch = []
                    earlier.resent = []
                    self.wake(earlier)
            self.resend(transfer, after)
        self.transfers.append(transfer)
        self.fill(transfer, now)
        refused = bool(transfer.acks and transfer.acks["not_held"])
        refused = refused or any(outcome["code"] for outcome in transfer.replies)
        if transfer.resent or transfer.batch or refused or timeout <= 0:
            transfer.done = True
        for name in session.subscriptions:
            transfer.joined[name] = self.count()
        return transfer

    def resend(self, transfer: Transfer, after: int) -> None:
        again = [m for m in self.held_by(transfer.session) if m.delivery > after]
        used = 0
        for message in again[: transfer.limit]:
            used += draft_size(message.draft)
            if used > self.batch_bytes and transfer.resent:
                break
            transfer.resent.append((message.delivery, message))
        if len(transfer.resent) < len(again):
            transfer.limit = len(transfer.resent)
        # What is re-sent here is no longer on its way in another answer.
        for other in self.open_of(transfer.session):
            other.batch = [entry for entry in other.batch if entry not in transfer.resent]

    def fill(self, transfer: Transfer, now: float) -> None:
        while True:
            taken = transfer.resent + transfer.batch
            ready = [
                m
                for m in self.messages
                if m.state == "ready"
                and m.queue in transfer.session.subscriptions
                and not self.queues[m.queue].paused
            ]
            if len(taken) >= transfer.limit or not ready:
                return
            message = min(ready, key=lambda m: m.id)
            used = sum(draft_size(m.draft) for _, m in taken)
            if taken and used + draft_size(message.draft) > self.batch_bytes:
                return
            self.hand_over(message, transfer, now)

    def hand_over(self, message: Message, transfer: Transfer, now: float) -> None:
        self.hold(message, transfer.session, now)
        transfer.batch.append((message.delivery, message))

    def hold(self, message: Message, session: Session, now: float) -> None:
        assert message.state == "ready"
        message.state = "held"
        message.holder = session
        message.delivery = self.number()
        message.held_since = now
        message.last = False
        message.count += 1
        message.ack_due = None
        self.queues[message.queue].delivered += 1
        self.start_ack_timeout(message, now)
        self.say("delivered", message.queue, message.id, session.client)

    def start_ack_timeout(self, message: Message, now: float) -> None:
        timeout = self.queues[message.queue].policy.ack_timeout
        message.ack_due = None if timeout is None else now + timeout

    def line(self, name: str) -> list[Transfer | Stream]:
        """Who waits for the queue, the longest waiting first."""
        waits: list[Transfer | Stream] = [*self.transfers, *self.streams]
        return sorted((w for w in waits if name in w.joined), key=lambda w: w.joined[name])

    def offer(self, name: str, now: float) -> None:
        """Ready messages go to those who wait, one each, in turns.

        A stream keeps its place until its turn, also without room or credit; then it is passed.
        """
        while not self.queues[name].paused:
            ready = self.of(name, "ready")
            waiting = [w for w in self.line(name) if not w.done]
            if not ready or not waiting:
                return
            first = waiting[0]
            if isinstance(first, Transfer):
                self.hand_over(ready[0], first, now)
                self.wake(first)
            else:
                del first.joined[name]
                if self.may_be_pushed(first, name):
                    self.push(ready[0], first, now)
                    self.join(first, name)

    def collect(self, transfer: Transfer, *, now: float) -> dict[str, Any]:
        self.advance(now)
        if transfer.session.ended:
            raise Refused("unknown_session")
        if transfer.batch:
            self.fill(transfer, now)
        self.close(transfer, now)
        given = [e for e in transfer.resent + transfer.batch if self.holds(*e)]
        return {
            "messages": [self.delivery(message) for _, message in given],
            "next": max((number for number, _ in given), default=transfer.after or 0),
            "superseded": transfer.superseded,
            "acks": transfer.acks,
            "replies": transfer.replies,
        }

    def abandon(self, transfer: Transfer, *, now: float) -> None:
        self.advance(now)
        if transfer.session.ended:
            return
        self.close(transfer, now)
        for entry in transfer.batch:
            if self.holds(*entry):
                message = entry[1]
                message.count -= 1
                self.queues[message.queue].delivered -= 1
                self.give_back(message, now, "poll_lost")

    def close(self, transfer: Transfer, now: float) -> None:
        self.transfers.remove(transfer)
        self.wake(transfer)
        session = transfer.session
        session.lease_ends = session.expected_by = now + session.lease

    def delivery(self, m: Message) -> dict[str, Any]:
        return {
            "id": m.id,
            "delivery": m.delivery,
            "queue": m.queue,
            "payload": m.draft.payload,
            "correlation_id": m.draft.correlation_id,
            "reply_to": m.draft.reply_to,
            "headers": m.draft.headers or {},
            "key": m.draft.key,
            "sender": m.sender,
            "sent_at": m.sent_at,
            "expires_at": m.expires_at,
            "delivery_count": m.count,
            "error": m.draft.error,
        }

    # -- acknowledging --------------------------------------------------------------------------

    def ack(self, ids: Iterable[int], *, token: str | None, now: float) -> dict[str, Any]:
        session = self.session(token, now)
        answer, foreign = self.settle(session, ids, now)
        if foreign and not answer["acked"]:
            raise Refused("not_holder")
        return answer

    def settle(
        self, session: Session, ids: Iterable[int], now: float
    ) -> tuple[dict[str, list[int]], bool]:
        answer: dict[str, list[int]] = {"acked": [], "unknown": [], "not_held": []}
        foreign = False
        for id in ids:
            message = self.by_id(id)
            if message is None:
                answer["unknown"].append(id)
            elif message.holder is not session:
                answer["not_held"].append(id)
                foreign = foreign or message.holder is not None
            else:
                answer["acked"].append(id)
                self.finish(message, "acked", now)
        return answer, foreign

    def finish(self, message: Message, kind: str, now: float) -> None:
        holder = message.holder
        assert holder is not None
        self.queues[message.queue].acked += 1
        self.say(kind, message.queue, message.id, holder.client)
        self.remove(message, kind)
        self.holds_less(holder, message.queue, now)

    def nack(
        self,
        ids: Iterable[int],
        *,
        token: str | None,
        now: float,
        delay: float = 0.0,
        requeue: bool = True,
    ) -> dict[str, Any]:
        session = self.session(token, now)
        answer: dict[str, list[int]] = {"released": [], "unknown": [], "not_held": []}
        foreign = False
        for id in ids:
            message = self.by_id(id)
            if message is None:
                answer["unknown"].append(id)
            elif message.holder is not session:
                answer["not_held"].append(id)
                foreign = foreign or message.holder is not None
            else:
                answer["released"].append(id)
                if requeue:
                    self.give_back(message, now, "nack", delay)
                else:
                    self.die(message, "rejected", now)
                    self.holds_less(session, message.queue, now)
        if foreign and not answer["released"]:
            raise Refused("not_holder")
        return answer

    def reply(self, reply: Reply, *, token: str | None, now: float) -> dict[str, Any]:
        return self.answer(self.session(token, now), reply, now)

    def reply_outcome(self, session: Session, reply: Reply, now: float) -> dict[str, Any]:
        outcome = {"request": reply.id, "id": None, "state": None, "code": None}
        try:
            outcome.update(self.answer(session, reply, now))
        except Refused as refused:
            outcome["code"] = refused.code
        return outcome

    def answer(self, session: Session, reply: Reply, now: float) -> dict[str, Any]:
        message = self.by_id(reply.id)
        if message is None:
            return {"id": None, "state": "unknown"}
        if message.holder is not session:
            raise Refused("not_holder")
        request = message.draft
        if request.reply_to is None:
            self.finish(message, "acked", now)
            return {"id": None, "state": "no_reply_to"}
        correlation = request.correlation_id
        draft = Draft(
            payload=reply.payload,
            correlation_id=str(message.id) if correlation is None else correlation,
            headers=reply.headers,
            error=reply.error,
        )
        id: int | None = None
        call = self.call_at(request.reply_to)
        if call is not None and call.response is None:
            id = self.respond(call, draft, session.client, now, draft_size(request))
        elif call is None and request.reply_to in self.queues:
            freed = draft_size(request)
            id = self.enqueue(request.reply_to, draft, session.client, now, freed).id
        self.finish(message, "replied", now)
        return {"id": id, "state": "caller_gone" if id is None else None}

    def give_back(self, message: Message, now: float, cause: str, delay: float = 0.0) -> None:
        holder = message.holder
        assert holder is not None
        limit = self.queues[message.queue].policy.max_deliveries
        self.say("released", message.queue, message.id, holder.client, cause)
        message.holder = None
        if cause != "poll_lost":
            message.returns.append(now)
        if message.last:
            self.withdraw(message)
        elif message.expires_at is not None and message.expires_at <= now:
            self.expire(message, now)
        elif limit is not None and message.count >= limit and cause != "operator":
            self.die(message, "max_deliveries", now)
        elif delay > 0:
            message.state = "delayed"
            message.due_at = now + delay
        else:
            self.make_ready(message, now)
        self.holds_less(holder, message.queue, now)

    def make_ready(self, message: Message, now: float) -> None:
        if message.expires_at is not None and message.expires_at <= now:
            self.expire(message, now)
            return
        message.state = "ready"
        self.offer(message.queue, now)

    def expire(self, message: Message, now: float) -> None:
        assert message.expires_at is not None
        assert message.expires_at <= now
        if self.queues[message.queue].policy.on_expire == "dead":
            self.die(message, "expired", now)
        else:
            self.say("dropped", message.queue, message.id, detail="expired")
            self.remove(message, "expired")

    def die(self, message: Message, cause: str, now: float) -> None:
        message.state = "dead"
        message.holder = None
        message.due_at = None
        message.cause = cause
        message.died_at = now
        message.death = self.count()
        self.say("died", message.queue, message.id, detail=cause)
        self.bury_few(message.queue)

    def bury_few(self, name: str) -> None:
        """Keep only as many dead messages as the policy says, those that died last."""
        while len(dead := self.dead(name)) > self.queues[name].policy.max_dead:
            self.say("dropped", name, dead[0].id, detail="max_dead")
            self.remove(dead[0], "dropped")

    def drop_message(self, name: str, id: int, *, now: float, token: str | None = None) -> None:
        client = self.sender(token, now)
        self.queue(name)
        message = self.by_id(id)
        if message is None or message.queue != name:
            raise Refused("message_not_found")
        self.say("dropped", name, id, client, "operator")
        holder = message.holder
        self.remove(message, "dropped")
        if holder:
            self.holds_less(holder, name, now)

    def remove(self, message: Message, fate: str) -> None:
        self.fates[message.id] = fate
        message.was = message.state
        message.state = "gone"
        message.holder = None
        self.messages.remove(message)

    # -- calls ----------------------------------------------------------------------------------

    def call(
        self,
        name: str,
        draft: Draft,
        *,
        timeout: float,
        now: float,
        wait_for_server: bool = False,
        token: str | None = None,
    ) -> CallWait:
        sender = self.sender(token, now)
        if name in self.queues and (key := self.known_key(name, draft)):
            if key.call is None:
                raise Refused("key_reused")
            lost = self.fates.get(key.id) in ("dropped", "expired", "purged")
            if key.call.response is not None or not lost:
                return self.wait_for(key.call, timeout, now)
            self.keys.remove(key)
        if not wait_for_server:
            if not self.subscribers(name):
                raise Refused("no_server")
            self.queue(name)
        address = self.unused_name("call")
        draft = structs.replace(draft, reply_to=address, ttl=timeout)
        if name not in self.queues:
            self.check_room(draft, 0 if draft.key is None else size(draft.key) + KEY_BYTES)
            self.create(name, self.default_policy(), None, sender, now)
        message = self.enqueue(name, draft, sender, now)
        call = Call(message.id, name, address, parent=parent(draft.headers))
        self.calls.append(call)
        for key in self.keys:
            if key.id == message.id:
                key.call = call
        return self.wait_for(call, timeout, now)

    def wait_for(self, call: Call, timeout: float, now: float) -> CallWait:
        wait = CallWait(self.count(), now + timeout, call=call, response=call.response)
        call.asked_at = now
        wait.done = call.response is not None
        self.call_waits.append(wait)
        return wait

    def leave_call(self, wait: CallWait, *, now: float) -> None:
        self.advance(now)
        self.call_waits.remove(wait)
        if wait.done:
            return
        self.say("caller_gone", wait.call.queue, wait.call.request)
        message = self.by_id(wait.call.request)
        if message is None or self.call_at(wait.call.address) is not None:
            return
        if message.state == "dead" or message.expires_at is None:
            return
        if message.state == "held":
            message.last = True
        else:
            self.withdraw(message)

    def withdraw(self, message: Message) -> None:
        self.say("dropped", message.queue, message.id, detail="caller_gone")
        self.remove(message, "dropped")

    def respond(
        self, call: Call, draft: Draft, sender: str | None, now: float, freed: int = 0
    ) -> int:
        correlation = draft.correlation_id
        if correlation is None:
            correlation = str(call.request)
        # What is kept of the answer; it has neither a key nor a reply address.
        draft = Draft(draft.payload, correlation, headers=draft.headers, error=draft.error)
        self.check_size(draft)
        if self.remembered(call):
            self.check_room(draft, -freed)
        call.response = {
            "id": self.number(),
            "request": call.request,
            "payload": draft.payload,
            "correlation_id": correlation,
            "headers": draft.headers or {},
            "sender": sender,
            "sent_at": now,
            "error": draft.error,
        }
        call.response_bytes = draft_size(draft)
        self.origins[call.response["id"]] = Origin(call.address, sender, now, None)
        self.say("sent", call.address, call.response["id"], sender, draft.payload)
        for wait in self.call_waits:
            if wait.call is call and not wait.done:
                wait.response = call.response
                self.wake(wait)
        id: int = call.response["id"]
        return id

    # -- looking --------------------------------------------------------------------------------

    def watch(self, *, timeout: float, now: float) -> Wait:
        """Wait for the next event."""
        self.advance(now)
        wait = Wait(self.count(), now + timeout, done=timeout <= 0)
        self.trace_waits.append(wait)
        return wait

    def leave_trace(self, wait: Wait, *, now: float) -> None:
        self.advance(now)
        self.trace_waits.remove(wait)

    # -- explaining -----------------------------------------------------------------------------

    def calls_of(self, message: Message) -> list[Message]:
        """The requests that the handler of a held message waits for."""
        made = {
            w.call.request
            for w in self.call_waits
            if not w.done and w.call.parent == message.id and w.call.asked_at >= message.held_since
        }
        held = message.state == "held"
        return [m for m in self.messages if held and m.id in made]

    def ready_since(self, message: Message) -> float:
        since = message.sent_at if message.due_at is None else message.due_at
        return max([since, *message.returns])

    def locked(self, now: float) -> set[int]:
        """Every message that can never go on by itself, found by striking out those that can."""
        left = [m for m in self.messages if m.state in ("ready", "held")]
        while True:
            stay = [m for m in left if self.is_stuck(m, left, now)]
            if len(stay) == len(left):
                return {m.id for m in left}
            left = stay

    def is_stuck(self, message: Message, stuck: list[Message], now: float) -> bool:
        """Whether a message cannot go on if those of ``stuck`` do not."""
        if message.state == "held":
            return any(call in stuck for call in self.calls_of(message))
        name = message.queue
        servers = self.subscribers(name)
        if self.queues[name].paused or not servers:
            return False
        young = now - self.ready_since(message) < PATIENCE
        for server in servers:
            if young and not (self.stream_of(server) and server.subscriptions[name]):
                return False
            held = self.held_by(server)
            here = [m for m in held if m.queue == name]
            if self.stream_of(server) and len(here) < server.subscriptions[name]:
                return False
            if not held or not all(m in stuck for m in held):
                return False
        return True

    def in_front(self, name: str) -> Message | None:
        """What has to be finished before the next message of a queue is taken."""
        servers = self.subscribers(name)
        found: list[Message] = []
        for server in servers:
            held = self.held_by(server)
            here = [m for m in held if m.queue == name]
            if self.stream_of(server) and len(here) < server.subscriptions[name]:
                return None
            if not held or not all(self.calls_of(m) for m in held):
                return None
            found += held
        return None if self.queues[name].paused else min(found, key=lambda m: m.id, default=None)

    def chain(self, message: Message) -> list[Message]:
        """From a held message along the oldest calls to where that ends."""
        chain: list[Message] = []
        after: Message | None = message
        while after and after not in chain and len(chain) < LONGEST_CHAIN:
            chain.append(after)
            if after.state == "ready":
                after = self.in_front(after.queue)
            else:
                after = min(self.calls_of(after), key=lambda m: m.id, default=None)
        return chain

    def circle(self, message: Message, now: float) -> list[Message]:
        """The circle that a locked message waits in or for, the smallest id first."""
        locked = self.locked(now)
        path: list[Message] = []
        while message not in path:
            path.append(message)
            if message.state == "held":
                waits_for = [m for m in self.calls_of(message) if m.id in locked]
            else:
                waits_for = [m for s in self.subscribers(message.queue) for m in self.held_by(s)]
            message = min(waits_for, key=lambda m: m.id)
        circle = path[path.index(message) :]
        first = circle.index(min(circle, key=lambda m: m.id))
        return circle[first:] + circle[:first]

    def place(self, m: Message) -> dict[str, Any]:
        holder = m.holder.client if m.holder else None
        return {"message": m.id, "queue": m.queue, "state": m.state, "holder": holder}

    def tree(self, id: int) -> dict[str, Any] | None:
        """The calls that a request belongs to, from the first on."""

        def above(id: int) -> int | None:
            return self.origins[id].parent if id in self.origins else None

        path = [id]
        while len(path) <= DEPTH and (up := above(path[-1])) is not None and up not in path:
            path.append(up)
        if path[-1] not in self.origins:
            path.pop()
        seen = {path[-1]}
        found = self.branch(path[-1])
        level = [found]
        for _ in range(DEPTH):
            below = []
            for each in level:
                for call in sorted(self.origins.keys() - seen):
                    if above(call) == each["id"]:
                        seen.add(call)
                        each["calls"].append(self.branch(call))
                below += each["calls"]
            level = below
        return found if found["calls"] else None

    def branch(self, id: int) -> dict[str, Any]:
        origin, message = self.origins[id], self.by_id(id)
        call = self.call_at(message.draft.reply_to) if message else None
        return {
            "id": id,
            "queue": message.queue if message else origin.queue,
            "sent_at": origin.at,
            "caller": origin.sender,
            "state": message.state if message else None,
            "holder": message.holder.client if message and message.holder else None,
            "waiting": any(w.call is call and not w.done for w in self.call_waits),
            "calls": [],
        }

    def waits(self, now: float) -> set[tuple[str, str, int, float, bool]]:
        """Who waits for whom: callers for services, and these for their servers."""
        locked = self.locked(now)
        edges = set()
        names = set()
        for wait in self.call_waits:
            message = self.by_id(wait.call.request)
            if wait.done or message is None:
                continue
            made_for = None if wait.call.parent is None else self.by_id(wait.call.parent)
            if made_for and made_for.holder:
                source = f"session {made_for.holder.id}"
            else:
                source = f"caller {message.sender or 'a caller without a session'}"
            target = f"queue {message.queue}"
            edges.add((source, target, message.id, message.sent_at, message.id in locked))
            names.add(message.queue)
        for name in names:
            for m in self.of(name, "held"):
                assert m.holder is not None
                server = f"session {m.holder.id}"
                edges.add((f"queue {name}", server, m.id, m.held_since, m.id in locked))
        return edges

    def caller(self, message: Message) -> str:
        """Whether somebody waits for the reply."""
        address = message.draft.reply_to
        if address is None:
            return "none"
        if call := self.call_at(address):
            waiting = any(w.call is call and not w.done for w in self.call_waits)
        else:
            waiting = address in self.queues
        return "waiting" if waiting else "gone"

    def verdict(self, id: int, now: float) -> list[str]:
        """The codes of all that is true of a message, what matters most first."""
        message = self.by_id(id)
        if message is not None:
            return self.findings(message, now)
        if id not in self.fates:
            raise Refused("message_not_found")
        return [self.fates[id]]

    def findings(self, message: Message, now: float) -> list[str]:
        if message.state == "dead":
            return ["expired" if message.cause == "expired" else "dead"]
        queue = self.queues[message.queue]
        found: list[str] = []
        rest: list[str] = []
        limit = queue.policy.max_deliveries
        left = None if limit is None else limit - message.count
        if message.count and left is not None and left <= (0 if message.state == "held" else 1):
            rest.append("about_to_die")
        if message.returns:
            rest.append("redelivered")
        gone = ["caller_gone"] if self.caller(message) == "gone" else []
        if message.state == "delayed":
            return ["delayed", *rest, *gone]
        locked = message.id in self.locked(now)
        if message.state == "ready":
            found += ["paused"] if queue.paused else []
            found += ["deadlock"] if locked else []
            service = self.service_verdict(message.queue, now)
            held = sorted(self.of(message.queue, "held"), key=lambda m: m.delivery)
            found += [*gone, service]
            if found == ["queued"] and held and self.calls_of(held[0]):
                found.append("waiting_on_call")
            return found + rest
        assert message.holder is not None
        if locked:
            found.append("deadlock")
        elif self.calls_of(message):
            found.append("waiting_on_call")
        found += gone
        if self.overdue(message.holder, now):
            found.append("held_silent")
        elif len(message.returns) < 2:
            found.append("held")
        return found + rest

    def chain_end(self, message: Message, now: float) -> tuple[Message, str]:
        """Where a chain of calls ends, and how that is."""
        last = self.chain(message)[-1]
        return last, next(c for c in self.findings(last, now) if c != "waiting_on_call")

    def level(self, message: Message, code: str, now: float) -> str:
        """How urgent it is what a code says of a message."""
        if code == "waiting_on_call":
            return self.level(*self.chain_end(message, now), now)
        if code in ("queued", "held"):
            return self.slow(message.sent_at if code == "queued" else message.held_since, now)
        return next((level for level, codes in LEVELS.items() if code in codes.split()), "ok")

    def slow(self, since: float, now: float) -> str:
        return "warning" if now - since > SLOW else "ok"

    def evidence(self, message: Message, code: str, now: float) -> dict[str, Any]:
        """Some of what a code says of a message is based on."""
        holder, name = message.holder, message.queue
        if code == "deadlock":
            return {"circle": [self.place(m) for m in self.circle(message, now)]}
        if code == "waiting_on_call":
            chain = [self.place(m) for m in self.chain(message)]
            return {"chain": chain, "end": self.chain_end(message, now)[1]}
        if code in ("held", "held_silent") and holder:
            return {"holder": holder.client, "since": message.held_since}
        if code == "queued":
            ahead = sum(m.id < message.id for m in self.of(name, "ready"))
            held, servers = len(self.of(name, "held")), len(self.subscribers(name))
            return {"ahead": ahead, "held": held, "servers": servers, "sent_at": message.sent_at}
        if code == "server_left" and (left := self.left[name]):
            return {"client": left[0], "reason": left[1], "since": message.sent_at}
        if code == "servers_silent":
            return {"servers": sorted({s.client for s in self.subscribers(name)})}
        if code in ("dead", "expired"):
            return {"cause": message.cause, "at": message.died_at}
        if code == "caller_gone":
            return {"caller": message.sender, "reply_to": message.draft.reply_to}
        if code == "about_to_die":
            limit = self.queues[name].policy.max_deliveries
            return {"delivery_count": message.count, "max_deliveries": limit}
        if code == "redelivered":
            return {"last_returned_at": message.returns[-1]}
        return {"due_at": message.due_at} if code == "delayed" else {}

    def queue_level(self, name: str, now: float) -> str:
        code = self.queue_verdict(name, now)[0]
        held = sorted(self.of(name, "held"), key=lambda m: m.delivery)
        first = self.of(name, "ready") or held
        if code == "paused":
            return "warning"
        if code == "queue_full":
            return "stuck"
        return self.level(first[0], code, now) if first else "ok"

    def session_level(self, id: int, now: float) -> str:
        code = self.session_verdict(id, now)[0]
        (session,) = (s for s in self.sessions if s.id == id)
        held = self.held_by(session)
        if code == "silent":
            return "stuck" if held else "warning"
        if code == "waiting_on_call":
            return self.level(next(m for m in held if self.calls_of(m)), code, now)
        if code == "working":
            return self.slow(held[0].held_since, now)
        return "stuck" if code == "deadlock" else "ok"

    def service_verdict(self, name: str, now: float) -> str:
        """Why nobody takes a ready message."""
        status = self.status(name, now)
        if status == "never_started":
            return "never_started"
        if not self.subscribers(name):
            return "server_left"
        return "queued" if status == "running" else "servers_silent"

    def queue_verdict(self, name: str, now: float) -> list[str]:
        queue = self.queues[name]
        found = ["paused"] if queue.paused else []
        found += ["queue_full"] if self.length(name) >= queue.policy.max_length else []
        held = sorted(self.of(name, "held"), key=lambda m: m.delivery)
        status = self.status(name, now)
        if first := self.of(name, "ready") or held:
            more = self.findings(first[0], now)
            if found:
                # What another verdict says beside itself is left out.
                more = [code for code in more if code != "waiting_on_call" or "queued" not in more]
            found += [code for code in more if code != "paused"]
        elif status == "running":
            found.append("idle")
        else:
            found.append("unused" if status == "never_started" else "no_server")
        return found + (["dead_messages"] if self.dead(name) else [])

    def session_verdict(self, id: int, now: float) -> list[str]:
        (session,) = [s for s in self.sessions if s.id == id] or [None]
        if session is None:
            raise Refused("session_not_found")
        held = self.held_by(session)[:10]
        found: list[str] = []
        if {m.id for m in held} & self.locked(now):
            found.append("deadlock")
        elif any(self.calls_of(m) for m in held):
            found.append("waiting_on_call")
        if (held or session.subscriptions) and self.overdue(session, now):
            found.append("silent")
        elif held:
            found.append("working")
        elif not self.connected(session):
            found.append("between_requests")
        else:
            found.append("listening" if session.subscriptions else "connected")
        return found
