"""The state machine: queues, sessions and messages, and everything that may happen to them.

A message is *ready* (or *delayed*), then *held* by the one session it was handed to, then gone
when acked. What is given back, by ``nack``, by the end of the session or by the ack timeout,
is ready again in its original place. What gives up is *dead*: kept in its queue to look at.

Methods take the time as ``now`` and apply whatever fell due before they act, so the outcome
depends on the arguments alone. Waits that have ended are listed in ``woken`` for the engine,
which hands their results to whoever waits. One rule keeps waking cheap and fair: while a queue
has a ready message, no Transfer waits for that queue, and no stream that has credit and room.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Literal

from . import snapshot
from .answers import (
    AckResult,
    Caller,
    Diagnostics,
    LoginResult,
    MessageList,
    MessageReport,
    MoveResult,
    NackResult,
    PurgeResult,
    QueueCreated,
    QueueInfo,
    QueueKind,
    QueueList,
    QueueReport,
    ReplayResult,
    ReplyOutcome,
    ReplyResult,
    RequeueResult,
    RestoreResult,
    SendResult,
    SessionInfo,
    SessionTally,
    Tally,
    TouchResult,
    TransferResult,
    UndoInfo,
    WaitGraph,
)
from .calls import Call
from .changes import Changes, KeptKey
from .deadlines import Deadlines, Due
from .errors import (
    InvalidRequest,
    KeyReused,
    MessageNotFound,
    NameTaken,
    NoServer,
    NotHolder,
    NotOwner,
    PayloadTooLarge,
    PolicyDiffers,
    QueueFull,
    QueueNotFound,
    SessionNotFound,
    SessionRequired,
    StoreUnavailable,
    SwitchError,
    SwitchFull,
    TooManyQueues,
    TooManySessions,
    TooManySubscriptions,
    UndoNotFound,
    UnknownSession,
)
from .events import KEPT_LENGTH, EventKind, Trace, TracePage, TraceReport
from .limits import MAX_BATCH_BYTES, Limits
from .messages import (
    KEPT_RETURNS,
    Death,
    Delivery,
    Draft,
    Hold,
    Message,
    Outgoing,
    OutgoingReply,
    Response,
    Return,
    State,
    delivery_of,
    failure_of,
    headers_size,
    parent_of,
    utf8_size,
)
from .meter import Meter
from .queue import KEY_OVERHEAD, KeyRecord, Policy, Queue, check_name
from .sessions import NOTHING_HELD, Consumers, Departure, Session, Subscription
from .undo import MOST_KEPT, Removed
from .verdict import counted, explain_ended, explain_message, queue_full, without_server
from .waits import CallWait, Stream, TraceWait, TransferWait, Wait
from .waits_for import MOST_VISITED_IN_ALL, WaitsFor

#: Looking a member up in its enumeration takes longer than what is done with it.
_HELD = State.HELD


def _digest(payload: str) -> bytes:
    return hashlib.blake2b(payload.encode(), digest_size=16).digest()


def _key_size(draft: Outgoing) -> int:
    return 0 if draft.key is None else utf8_size(draft.key) + KEY_OVERHEAD


class Switch:
    """A message switch. Touch it from one thread only.

    ``first_id`` starts the sequence that message ids and delivery numbers come from; the caller
    sees to it that it lies above every number ever given out. ``meter`` is told how long messages
    wait and are worked on. Where nothing may leave before it is safe, messages are handed over only
    once ``have_saved`` has told of the change that brought them; responses to calls are up to the
    engine.
    """

    def __init__(
        self,
        *,
        first_id: int,
        now: float,
        limits: Limits | None = None,
        meter: Meter | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.meter = meter
        self.changes: Changes | None = None
        """What a journal has to write; None where there is no journal."""
        self.store_down_since: float | None = None
        """Since when nothing that must survive may be done, as the database does not take it."""
        self.safe: float = math.inf
        """Changes up to this one are safe; what depends on a later one is not handed over."""
        self._kept_back: deque[tuple[int, Message]] = deque()
        """What is ready when a change is safe, by that change; some of it may have gone."""
        self.started_at = now
        self.instance = first_id
        """Names the lives of the switch that remember the keys of one another."""
        """Names this life of the switch: as long as it is the same, nothing was forgotten."""
        self.queues: dict[str, Queue] = {}
        self.sessions: dict[str, Session] = {}
        self.consumers: dict[str, Consumers] = {}
        self.messages: dict[int, Message] = {}
        self.calls: dict[str, Call] = {}
        """By reply address."""
        self.children: dict[int, dict[int, float]] = {}
        """Requests that somebody waits for, by the request that they were made for, with the time
        when the last of those who wait began to."""
        self.undoable: dict[int, Removed] = {}
        """What purges and destructions removed and may still be restored, the oldest first."""
        self.undo_bytes = 0
        self.bytes = 0
        self.sent = 0
        self.delivered = 0
        self.finished = 0
        """Messages ever sent, handed over, and acked or replied to."""
        self.trace = Trace(
            first=first_id,
            max_events=self.limits.trace_events,
            max_bytes=self.limits.trace_bytes,
        )
        self._emit = self.trace.add
        self.woken: list[Wait] = []
        """Waits that are done; whoever resumes them empties the list."""
        self._waits: dict[int, Wait] = {}
        """By number, until they are answered or left; a Transfer until it is collected."""
        self._deadlines = Deadlines(self._waits)
        self._trace_waits: list[TraceWait] = []
        length = min(Policy().max_length, self.limits.queue_length)
        self._default_policy = Policy(max_length=length)
        self._next_id = first_id
        self._next_wait = 0

    # -- time ---------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``advance`` has something to do next; None if never."""
        return self._deadlines.next()

    def advance(self, now: float) -> None:
        """Apply everything that is due at ``now``."""
        if self._deadlines.earliest > now:
            return
        while (entry := self._deadlines.pop(now)) is not None:
            at, (due, what) = entry
            if due is Due.WAIT_ENDS:
                wait = self._waits[what]
                # A Transfer may have its messages, and wait to be collected.
                if not wait.done:
                    self._end_wait(wait, now)
            elif due is Due.EXPIRY:
                message = self.messages[what]
                self._expire(message, self.queues[message.queue], now)
            elif due is Due.DELAY_ENDS:
                self._end_delay(self.messages[what], now)
            elif due is Due.ACK_TIMEOUT:
                self._give_back(self.messages[what], now, "ack_timeout")
            elif due is Due.LEASE_ENDS:
                self._end_lease(self.sessions[what], at, now)
            elif due is Due.UNDO_ENDS:
                self._forget_removed(self.undoable[what])
            else:
                queue_name, text = what
                self._forget_key(self.queues[queue_name], text)

    # -- sessions -----------------------------------------------------------------------------

    def login(self, token: str, client: str, lease: float, *, now: float) -> LoginResult:
        """Start a session under a fresh, unguessable ``token``. ``lease`` is in seconds.

        Raises TooManySessions.
        """
        self.advance(now)
        if len(self.sessions) >= self.limits.sessions:
            raise TooManySessions(
                f"The switch has {counted(self.limits.sessions, 'session')}, its limit."
            )
        session = Session(self._number(), token, client, lease, now, now, now + lease)
        self.sessions[token] = session
        self._deadlines.set((Due.LEASE_ENDS, token), now + lease)
        self._emit(now, "login", client=client)
        return self._login_result(session)

    def _login_result(self, session: Session) -> LoginResult:
        return LoginResult(
            session=session.token,
            client=session.client,
            lease=session.lease,
            instance=self.instance,
        )

    def logout(self, token: str | None, *, now: float) -> None:
        """End the session now. Raises SessionRequired, UnknownSession."""
        self._end_session(self._session(token, now), now, "logout")

    def touch(self, token: str | None, ids: Iterable[int] = (), *, now: float) -> TouchResult:
        """Renew the lease, and the ack timeout of held messages.

        Raises SessionRequired, UnknownSession.
        """
        session = self._session(token, now)
        session.next_transfer_by = now + session.lease
        result = TouchResult(touched=[], unknown=[], not_held=[])
        for id in ids:
            message = self.messages.get(id)
            if message is None:
                result.unknown.append(id)
            elif message.hold is None or message.hold.session is not session:
                result.not_held.append(id)
            else:
                queue = self.queues[message.queue]
                self._arm_ack_timeout(message, message.hold, queue, now)
                result.touched.append(id)
        return result

    def _session(self, token: str | None, now: float) -> Session:
        if self._deadlines.earliest <= now:
            self.advance(now)
        if token is None:
            raise SessionRequired("This needs a session: log in and send its token.")
        session = self.sessions.get(token)
        if session is None:
            raise UnknownSession("The session is unknown or has ended: log in again.")
        session.last_seen = now
        return session

    def _sender(self, token: str | None, now: float) -> str | None:
        if token is None:
            self.advance(now)
            return None
        return self._session(token, now).client

    def _end_lease(self, session: Session, at: float, now: float) -> None:
        """A lease was to end ``at`` that time: end the session, or look again when it may end.

        A sign of life moves no deadline, since every request is one. What was due between ``at``
        and the end comes first, however late it is now. Without a lease (0) ``close_stream`` ends
        the session.
        """
        ends = (now if session.open else session.last_seen) + session.lease
        if ends > at:
            self._deadlines.set((Due.LEASE_ENDS, session.token), ends)
        elif not session.open:
            self._end_session(session, now, "lease_expired")

    def _end_session(self, session: Session, now: float, reason: EventKind) -> None:
        del self.sessions[session.token]
        session.ended = True
        if session.stream is not None:
            self._detach(session.stream)
            self.woken.append(session.stream)
            session.stream = None
        self._deadlines.cancel((Due.LEASE_ENDS, session.token))
        for name in list(session.subscriptions):
            self._leave(session, name, now, reason)
        for wait in list(session.waits):
            self._finish(wait)
        for message in sorted(session.held.values(), key=lambda m: m.id):
            self._give_back(message, now, reason)
        for name in list(session.owned):
            self._destroy(self.queues[name], now)
        self._emit(now, reason, client=session.client)

    # -- streams ------------------------------------------------------------------------------

    def open_stream(
        self, token: str, client: str, lease: float, *, room: int, now: float
    ) -> tuple[LoginResult, Stream]:
        """Start a session, as ``login`` does, that has a stream: messages are pushed to it.

        Up to about ``room`` bytes of payload are pushed until ``grant`` makes new room. With a
        lease of 0 the session ends with the stream. Raises TooManySessions.
        """
        result = self.login(token, client, lease, now=now)
        return result, self._attach(self.sessions[token], room)

    def resume_stream(
        self, token: str | None, *, after: int | None, room: int, now: float
    ) -> tuple[LoginResult, Stream]:
        """Give a session a new stream, which closes an older one.

        What the session holds under a delivery number above ``after`` is pushed again first,
        oldest first; with None nothing is. Raises SessionRequired, UnknownSession.
        """
        session = self._session(token, now)
        older = session.stream
        if older is not None:
            older.superseded = True
            self._detach(older)
            self.woken.append(older)
        stream = self._attach(session, room)
        if after is not None:
            again = sorted(number for number in session.held if number > after)
            stream.resend = deque((number, session.held[number]) for number in again)
            for wait in session.waits:
                # An answer may have it under way; only the stream gives it now.
                wait.forget(again)
        self._emit(now, "resumed", client=session.client)
        self._fill_stream(stream, now)
        return self._login_result(session), stream

    def close_stream(self, stream: Stream, *, now: float, slow: bool = False) -> None:
        """The connection is gone: the lease runs again, or the session ends where it has none.

        ``slow`` says that it was cut because the client did not read.
        """
        self.advance(now)
        if stream.done:
            return
        session = stream.session
        self._detach(stream)
        session.stream = None
        if slow:
            self._emit(now, "slow_consumer", client=session.client)
        if session.lease <= 0:
            self._end_session(session, now, "disconnected")
            return
        session.last_seen = now
        session.next_transfer_by = now + session.lease
        self._emit(now, "disconnected", client=session.client)

    def grant(self, stream: Stream, room: int, *, now: float) -> None:
        """Let about ``room`` bytes of payload be pushed from now on."""
        self.advance(now)
        blocked = stream.room <= 0
        stream.room = room
        if blocked and room > 0 and not stream.done:
            self._fill_stream(stream, now)

    def take(self, stream: Stream) -> list[Delivery]:
        """What is to be pushed now; afterwards it counts as sent."""
        batch, stream.batch = stream.batch, None
        return [delivery_of(m) for number, m in batch or () if self._holds(number, m)]

    def waiting(self) -> list[Wait]:
        """Everything that waits, streams included."""
        streams = [s.stream for s in self.sessions.values() if s.stream is not None]
        return [*self._waits.values(), *streams]

    def _attach(self, session: Session, room: int) -> Stream:
        stream = session.stream = Stream(self._wait_number(), session=session, room=room)
        session.open += 1
        return stream

    def _detach(self, stream: Stream) -> None:
        """Let a stream be pushed nothing more."""
        stream.done = True
        stream.session.open -= 1
        for name in stream.session.subscriptions:
            self.consumers[name].waits.pop(stream, None)

    def _fill_stream(self, stream: Stream, now: float) -> None:
        """Push what there is, oldest first, and wait for more where there is credit left."""
        while stream.resend and stream.room > 0:
            number, message = stream.resend.popleft()
            if self._holds(number, message):
                self._put(stream, number, message)
        if stream.resend or stream.room <= 0:
            return
        subscriptions = stream.session.subscriptions
        heads = []
        for name, subscription in subscriptions.items():
            queue = self.queues.get(name)
            if (
                subscription.held < subscription.credit
                and queue is not None
                and queue.paused_at is None
                and (head := queue.head()) is not None
            ):
                heads.append((head.id, queue, subscription))
        heapq.heapify(heads)
        while heads and stream.room > 0:
            _, queue, subscription = heads[0]
            self._push(queue, stream, subscription, now)
            head = queue.head()
            if head is None or subscription.held >= subscription.credit:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (head.id, queue, subscription))
        if stream.room > 0:
            for name, subscription in subscriptions.items():
                if subscription.held < subscription.credit:
                    self.consumers[name].waits[stream] = subscription

    def _push(self, queue: Queue, stream: Stream, subscription: Subscription, now: float) -> None:
        """Hand the oldest ready message to a stream."""
        self._put(stream, *self._hold_next(queue, stream.session, subscription, now))

    def _put(self, stream: Stream, number: int, message: Message) -> None:
        stream.room -= message.size
        if stream.batch is None:
            self.woken.append(stream)
            stream.batch = []
        stream.batch.append((number, message))

    def _rejoin(self, session: Session, queue: Queue, now: float) -> None:
        """The session holds one message of the queue less: its stream may have credit again."""
        stream = session.stream
        if stream is None or stream.room <= 0 or stream.resend:
            return
        subscription = session.subscriptions.get(queue.name)
        if subscription is None or subscription.held >= subscription.credit:
            return
        waits = self.consumers[queue.name].waits
        if stream not in waits:
            waits[stream] = subscription
            self._offer(queue, now)

    # -- queues -------------------------------------------------------------------------------

    def create_queue(
        self, name: str, policy: Policy | None = None, *, now: float, token: str | None = None
    ) -> QueueCreated:
        """Make sure that the queue exists; a new one is persistent.

        Raises InvalidName, PolicyDiffers, NameTaken, TooManyQueues, InvalidRequest.
        """
        client = self._sender(token, now)
        queue = self.queues.get(name)
        if queue is not None:
            if policy is not None and policy != queue.policy:
                raise PolicyDiffers(f"{name} exists with another policy; PATCH changes it.")
            return QueueCreated(name=name, created=False)
        self._create(name, policy or self._default_policy, None, client, now)
        return QueueCreated(name=name, created=True)

    def create_fresh_queue(
        self, policy: Policy | None = None, *, token: str | None, now: float
    ) -> QueueCreated:
        """Make a transient queue with a name never used before, owned by the session.

        Raises SessionRequired, UnknownSession, TooManyQueues, InvalidRequest.
        """
        session = self._session(token, now)
        name = self._unused_name("fresh")
        self._create(name, policy or self._default_policy, session, session.client, now)
        session.owned[name] = None
        return QueueCreated(name=name, created=True)

    def change_queue(
        self, name: str, changes: dict[str, object], *, now: float, token: str | None = None
    ) -> QueueInfo:
        """Change some fields of a queue's policy.

        A new ttl or ack timeout holds for messages sent or handed over from now on.
        Raises QueueNotFound, NotOwner, InvalidRequest.
        """
        client = self._sender(token, now)
        queue = self._queue_to_change(name, token)
        policy = replace(queue.policy, **changes)  # type: ignore[arg-type]
        self._check_policy(policy)
        queue.policy = policy
        while len(queue.dead) > policy.max_dead:
            self._drop_oldest_dead(queue, now)
        self._keep_queue(queue)
        self._emit(now, "queue_changed", name, client=client)
        return self._info(queue, now)

    def destroy_queue(
        self, name: str, *, now: float, token: str | None = None, undo_for: float = 0.0
    ) -> UndoInfo | None:
        """Drop the queue and its messages. Raises QueueNotFound, NotOwner.

        For ``undo_for`` seconds they may be restored, where that has room.
        """
        client = self._sender(token, now)
        queue = self._queue_to_change(name, token)
        messages = list(queue.messages())
        self._destroy(queue, now, client)
        return self._keep_for_undo("destroyed", queue, messages, undo_for, now)

    def purge_queue(
        self,
        name: str,
        state: State | None = None,
        *,
        now: float,
        token: str | None = None,
        undo_for: float = 0.0,
    ) -> PurgeResult:
        """Drop the messages in one state; without ``state`` those ready or delayed.

        For ``undo_for`` seconds they may be restored, where that has room.
        Raises QueueNotFound, NotOwner.
        """
        client = self._sender(token, now)
        queue = self._queue_to_change(name, token)
        states = (State.READY, State.DELAYED) if state is None else (state,)
        messages = [message for each in states for message in queue.messages(each)]
        holders: dict[Session, None] = {}
        for message in messages:
            if message.hold is not None:
                holders[message.hold.session] = None
            self._lose(message, queue)
        detail = f"{len(messages)} {' and '.join(states)}"
        self._emit(now, "purged", name, client=client, detail=detail)
        for session in holders:
            self._rejoin(session, queue, now)
        undo = self._keep_for_undo("purged", queue, messages, undo_for, now)
        return PurgeResult(purged=len(messages), undo=undo)

    def replay_dead(
        self,
        name: str,
        ids: Iterable[int] | None = None,
        *,
        now: float,
        token: str | None = None,
    ) -> ReplayResult:
        """Make dead messages ready again, oldest first, with count 0 and no expiry.

        Raises QueueNotFound, NotOwner.
        """
        client = self._sender(token, now)
        queue = self._queue_to_change(name, token)
        chosen = sorted(queue.dead if ids is None else set(ids))
        result = ReplayResult(replayed=0, not_dead=0, no_room=0)
        for id in chosen:
            message = queue.dead.get(id)
            if message is None:
                result.not_dead += 1
            elif queue.length >= queue.policy.max_length:
                result.no_room += 1
            else:
                queue.remove(message)
                self._revive(message, now)
                self._keep_message(message, queue, gate=True)
                self._make_ready(message, queue)
                self._emit(now, "replayed", name, id, client)
                result.replayed += 1
        self._offer(queue, now)
        return result

    def _revive(self, message: Message, now: float) -> None:
        """Let a dead message begin anew."""
        message.death = None
        message.delivery_count = 0
        message.returns = None
        message.expires_at = None
        message.due_at = now

    def list_queues(
        self,
        prefix: str = "",
        *,
        now: float,
        alive: bool | None = None,
        kind: QueueKind | None = None,
        after: str = "",
        limit: int = 100,
    ) -> QueueList:
        """A page of queues by name."""
        self.advance(now)
        return snapshot.page_of_queues(self, prefix, alive, kind, after, limit, now)

    def inspect_queue(self, name: str, *, now: float) -> QueueInfo:
        """A queue as it is. Raises QueueNotFound."""
        self.advance(now)
        return self._info(self._queue(name), now)

    def _queue(self, name: str) -> Queue:
        queue = self.queues.get(name)
        if queue is None:
            raise QueueNotFound(f"There is no queue {check_name(name)!r}.")
        return queue

    def _owned_queue(self, name: str, token: str | None) -> Queue:
        queue = self._queue(name)
        if queue.owner is not None and queue.owner.token != token:
            raise NotOwner(f"{name} is a transient queue of another session.")
        return queue

    def _queue_to_change(self, name: str, token: str | None) -> Queue:
        queue = self._owned_queue(name, token)
        if queue.owner is None:
            self._check_store()
        return queue

    def _check_store(self) -> None:
        if self.store_down_since is not None:
            raise StoreUnavailable("The database does not answer; nothing was done.")

    def _check_store_for(self, session: Session, ids: Iterable[int]) -> None:
        """Refuse before anything is done to held messages that must survive."""
        if self.store_down_since is None:
            return
        for id in ids:
            message = self.messages.get(id)
            if message is None or message.hold is None or message.hold.session is not session:
                continue
            if self.queues[message.queue].owner is None:
                self._check_store()

    def _keep_queue(self, queue: Queue) -> None:
        if self.changes is not None and queue.owner is None:
            self.changes.queue(queue.name, queue)

    def _keep_message(self, message: Message, queue: Queue, *, gate: bool = False) -> None:
        """The journal has to know where a message is; with ``gate`` before that is handed over."""
        if self.changes is not None and queue.owner is None:
            self.changes.change(message)
            if gate:
                message.position = self.changes.position

    def _make_ready(self, message: Message, queue: Queue) -> None:
        """Put a message among the ready ones, or aside until what brought it here is safe."""
        if message.position > self.safe:
            queue.keep_back(message)
            self._kept_back.append((message.position, message))
        else:
            queue.restore(message)

    def have_saved(self, position: float, *, now: float) -> None:
        """Changes up to ``position`` are safe: hand over what waited for that."""
        self.advance(now)
        self.safe = position
        kept_back = self._kept_back
        found: dict[str, Queue] = {}
        while kept_back and kept_back[0][0] <= position:
            _, message = kept_back.popleft()
            queue = self.queues.get(message.queue)
            # Since then it may have gone, or been moved.
            if queue is not None and message.position <= position and queue.let_go(message):
                found[queue.name] = queue
        for queue in found.values():
            self._offer(queue, now)

    def _info(self, queue: Queue, now: float) -> QueueInfo:
        return snapshot.queue_info(self, queue, WaitsFor(self, now), now)

    def _unused_name(self, prefix: str) -> str:
        """A name that nobody can have guessed and subscribed to before."""
        while True:
            name = f"{prefix}.{self._number()}"
            if name not in self.queues and name not in self.calls and name not in self.consumers:
                return name

    def _check_policy(self, policy: Policy) -> None:
        if policy.max_length > self.limits.queue_length:
            raise InvalidRequest(f"max_length may be at most {self.limits.queue_length} here.")

    def _create(
        self, name: str, policy: Policy, owner: Session | None, client: str | None, now: float
    ) -> Queue:
        check_name(name)
        self._check_policy(policy)
        if name in self.calls:
            raise NameTaken(f"{name} is the reply address of a call.")
        if len(self.queues) >= self.limits.queues:
            raise TooManyQueues(
                f"The switch has {counted(self.limits.queues, 'queue')}, its limit."
            )
        if owner is None:
            self._check_store()
        queue = self.queues[name] = Queue(name, policy, owner, now)
        self._keep_queue(queue)
        self._emit(now, "queue_created", name, client=client)
        return queue

    def _destroy(self, queue: Queue, now: float, client: str | None = None) -> None:
        dropped = 0
        holders: dict[Session, None] = {}
        for message in list(queue.messages()):
            if message.hold is not None:
                holders[message.hold.session] = None
            self._remove(message, queue)
            dropped += 1
        for session in holders:
            # A new queue of this name may come; its messages find the stream waiting.
            self._rejoin(session, queue, now)
        for key in list(queue.keys):
            self._forget_key(queue, key)
        del self.queues[queue.name]
        if self.changes is not None and queue.owner is None:
            self.changes.queue(queue.name, None)
        if self.meter is not None:
            self.meter.forget(queue)
        if queue.owner is not None:
            queue.owner.owned.pop(queue.name, None)
            client = client or queue.owner.client
        consumers = self.consumers.get(queue.name)
        if consumers is not None and not consumers.sessions:
            del self.consumers[queue.name]
        self._emit(now, "queue_destroyed", queue.name, None, client, counted(dropped, "message"))

    # -- sending ------------------------------------------------------------------------------

    def send(
        self, name: str, draft: Outgoing, *, now: float, token: str | None = None
    ) -> SendResult:
        """Put a message into a queue, or answer the call whose reply address ``name`` is.

        Raises QueueNotFound, QueueFull, SwitchFull, PayloadTooLarge, KeyReused, UnknownSession.
        """
        sender = self._sender(token, now)
        if (call := self.calls.get(name)) is not None:
            correlation_id = draft.correlation_id
            if correlation_id is None:
                correlation_id = str(call.request)
            id = self._respond(call, draft, correlation_id, sender, now)
            if id is None:
                raise QueueNotFound(f"The call that {name} belongs to has its reply already.")
            return SendResult(id=id, created=True)
        queue = self._queue(name)
        record = self._known_key(queue, draft)
        if record is not None:
            if record.call is not None:
                raise KeyReused("The key was used by a call.")
            return SendResult(id=record.id, created=False)
        message = self._enqueue(queue, draft, sender, now, reply_to=draft.reply_to, ttl=draft.ttl)
        return SendResult(id=message.id, created=True)

    def _enqueue(
        self,
        queue: Queue,
        draft: Outgoing,
        sender: str | None,
        now: float,
        *,
        reply_to: str | None,
        ttl: float | None,
        freed: int = 0,
        answers: str | None = None,
        aside: bool = False,
    ) -> Message:
        """Put a message into a queue, where ``freed`` bytes are about to become free.

        With ``aside`` the caller makes it ready.
        """
        if self.store_down_since is not None and queue.owner is None:
            self._check_store()
        policy = queue.policy
        if queue.length >= policy.max_length:
            queue.refused += 1
            queue.refused_at = now
            raise QueueFull(
                f"{queue.name} holds {counted(queue.length, 'message')}, its max_length.",
                verdict=queue_full(queue, now),
            )
        size = self._checked_size(draft, reply_to)
        key = draft.key
        self._check_room(
            (size if key is None else size + _key_size(draft)) - freed,
            # A reply takes the place of its request.
            messages=0 if freed else 1,
        )
        if policy.ttl is not None and (ttl is None or policy.ttl < ttl):
            ttl = policy.ttl
        message = Message(
            self._number(),
            queue.name,
            draft.payload,
            draft.correlation_id,
            reply_to,
            draft.headers or None,
            key,
            None if draft.error is None else failure_of(draft.error),
            sender,
            now,
            None,
            size,
        )
        if answers is not None:
            message.answers = answers
        self.messages[message.id] = message
        self.bytes += size
        queue.bytes += size
        queue.sent += 1
        self.sent += 1
        if key is not None:
            self._remember_key(queue, draft, message.id, now)
        parent = parent_of(draft.headers) if draft.headers else None
        summary = draft.payload[:KEPT_LENGTH]
        self._emit(now, "sent", queue.name, message.id, sender, summary, parent)
        if self.changes is not None and queue.owner is None:
            self.changes.add(message)
        if draft.delay > 0:
            self._delay(message, queue, now + draft.delay)
        elif aside:
            pass
        elif message.position > self.safe:
            self._make_ready(message, queue)
        else:
            queue.append(message)
            self._offer(queue, now)
        if ttl is not None:
            # Set only now: a message that is handed over at once has no expiry to wait for.
            message.expires_at = now + ttl
            if message.hold is None:
                self._deadlines.set((Due.EXPIRY, message.id), message.expires_at)
        return message

    def _checked_size(self, draft: Outgoing, reply_to: str | None) -> int:
        """The bytes that a message made from ``draft`` counts for. Raises PayloadTooLarge."""
        size = self._text_size(draft)
        if reply_to is not None:
            size += utf8_size(reply_to)
        if draft.correlation_id is not None:
            size += utf8_size(draft.correlation_id)
        if draft.key is not None:
            size += utf8_size(draft.key)
        return size

    def _text_size(self, text: Outgoing | OutgoingReply) -> int:
        """Bytes of payload, headers and error. Raises PayloadTooLarge."""
        limits = self.limits
        payload = text.payload
        size = len(payload) if payload.isascii() else len(payload.encode())
        if size > limits.payload_bytes:
            raise PayloadTooLarge(f"A payload may have at most {limits.payload_bytes} bytes.")
        if text.headers:
            headers = headers_size(text.headers)
            if headers > limits.header_bytes:
                raise PayloadTooLarge(f"Headers may have at most {limits.header_bytes} bytes.")
            size += headers
        if text.error is not None:
            size += utf8_size(text.error.code) + utf8_size(text.error.detail)
        return size

    def _check_room(self, size: int, *, messages: int) -> None:
        """Refuse what would be too much: bytes, and messages more than there are now."""
        if len(self.messages) + messages > self.limits.messages:
            raise SwitchFull(f"The switch holds {counted(len(self.messages), 'message')}.")
        if self.bytes + size > self.limits.total_bytes:
            limit = self.limits.total_bytes
            raise SwitchFull(f"The switch holds {self.bytes} bytes of {limit}.")

    def _known_key(self, queue: Queue, draft: Outgoing) -> KeyRecord | None:
        if draft.key is None or (record := queue.keys.get(draft.key)) is None:
            return None
        if record.digest != _digest(draft.payload):
            raise KeyReused("The key was used for another payload.")
        return record

    def _remember_key(self, queue: Queue, draft: Outgoing, id: int, now: float) -> None:
        assert draft.key is not None
        size = _key_size(draft)
        until = now + self.limits.key_window
        record = KeyRecord(id, _digest(draft.payload), size, None, until)
        queue.keys[draft.key] = record
        self.bytes += size
        self._deadlines.set((Due.KEY_FORGOTTEN, (queue.name, draft.key)), until)
        self._keep_key(queue, draft.key, record)

    def _keep_key(self, queue: Queue, key: str, record: KeyRecord | None) -> None:
        if self.changes is not None and queue.owner is None:
            self.changes.key(queue.name, key, record)

    def _forget_key(self, queue: Queue, key: str) -> None:
        record = queue.keys.pop(key)
        self._deadlines.cancel((Due.KEY_FORGOTTEN, (queue.name, key)))
        self.bytes -= record.size
        self._keep_key(queue, key, None)
        call = record.call
        if call is not None and (call.response is not None or not call.waits):
            self.calls.pop(call.reply_to, None)

    # -- subscribing and receiving ------------------------------------------------------------

    def subscribe(
        self, name: str, *, token: str | None, now: float, credit: int | None = None
    ) -> None:
        """Make the session a consumer of the queue; Transfers and a stream already open join in.

        ``credit`` is how many messages of the queue the session may hold before its stream is
        pushed no more, 0 if it is to be pushed none. None leaves it as it is (0 at first).
        Raises QueueNotFound, NotOwner, TooManySubscriptions, SessionRequired, UnknownSession.
        """
        session = self._session(token, now)
        queue = self._owned_queue(name, token)
        subscription = session.subscriptions.get(name)
        if subscription is None:
            if len(session.subscriptions) >= self.limits.subscriptions:
                raise TooManySubscriptions(
                    f"The session has {counted(self.limits.subscriptions, 'subscription')}."
                )
            session.subscriptions[name] = subscription = Subscription(credit or 0)
            for message in session.held.values():
                if message.queue == name:
                    assert message.hold is not None
                    message.hold.subscription = subscription
                    subscription.held += 1
            consumers = self.consumers.get(name)
            if consumers is None:
                consumers = self.consumers[name] = Consumers()
            consumers.sessions[session.token] = session
            consumers.ever += 1
            self._emit(now, "subscribed", name, client=session.client)
            for wait in session.waits:
                if not wait.done:
                    consumers.waits[wait] = subscription
            self._offer(queue, now)
        elif credit is not None:
            subscription.credit = credit
        stream = session.stream
        if stream is not None:
            if subscription.held >= subscription.credit:
                self.consumers[name].waits.pop(stream, None)
            self._rejoin(session, queue, now)

    def unsubscribe(self, name: str, *, token: str | None, now: float) -> None:
        """Stop consuming; what is held stays held. No error if there was no subscription.

        Raises SessionRequired, UnknownSession.
        """
        session = self._session(token, now)
        if name in session.subscriptions:
            self._leave(session, name, now, "unsubscribed")
            self._emit(now, "unsubscribed", name, client=session.client)
        else:
            check_name(name)

    def _leave(self, session: Session, name: str, now: float, reason: str) -> None:
        del session.subscriptions[name]
        consumers = self.consumers[name]
        del consumers.sessions[session.token]
        for wait in session.waits:
            consumers.waits.pop(wait, None)
        if session.stream is not None:
            consumers.waits.pop(session.stream, None)
        consumers.left = Departure(session.client, now, reason)
        if not consumers.sessions and name not in self.queues:
            del self.consumers[name]

    def transfer(
        self,
        *,
        token: str | None,
        now: float,
        after: int | None = None,
        timeout: float = 0.0,
        limit: int = 1,
        acks: Iterable[int] = (),
        replies: Iterable[OutgoingReply] = (),
    ) -> TransferWait:
        """Ack and reply, then hand over messages of the session's queues, or wait for them.

        The result is there when the wait is ``done``; then, or to give up waiting, ``collect``
        it, or ``abandon`` it if nobody will get the answer. ``timeout`` is in seconds.
        Raises SessionRequired, UnknownSession.
        """
        session = self._session(token, now)
        wait = TransferWait(
            self._wait_number(),
            session=session,
            after=after or 0,
            ordered=after is not None,
            limit=limit,
        )
        refused = False
        acks = list(acks)
        if acks:
            wait.acks, _ = self._settle(session, acks, now)
            refused = bool(wait.acks.not_held)
        outcomes = [self._reply_outcome(session, reply, now) for reply in replies]
        if outcomes:
            wait.replies = outcomes
            refused = refused or any(outcome.code is not None for outcome in outcomes)
        if wait.ordered:
            self._supersede(session)
            self._resend(wait)
        session.waits[wait] = None
        session.open += 1
        self._fill(wait, now)
        if wait.resent or wait.batch or refused or timeout <= 0:
            wait.done = True
            return wait
        self._waits[wait.number] = wait
        self._deadlines.set_end(wait.number, now + timeout)
        for name, subscription in session.subscriptions.items():
            self.consumers[name].waits[wait] = subscription
        return wait

    def collect(self, wait: TransferWait, *, now: float) -> TransferResult:
        """End a Transfer and take its result, whatever is there.

        Raises UnknownSession if the session ended meanwhile.
        """
        self.advance(now)
        session = wait.session
        if session.ended:
            raise UnknownSession("The session has ended: log in again.")
        if wait.batch:
            self._fill(wait, now)
        self._close(wait, now)
        given = [*wait.resent, *(wait.batch or ())]
        messages = [delivery_of(m) for number, m in given if self._holds(number, m)]
        return TransferResult(
            messages=messages,
            next=max((m.delivery for m in messages), default=wait.after),
            superseded=wait.superseded,
            acks=wait.acks,
            replies=wait.replies,
        )

    def abandon(self, wait: TransferWait, *, now: float) -> None:
        """End a Transfer that nobody will read: what it was handed was never delivered."""
        self.advance(now)
        if not wait.session.ended:
            self._close(wait, now)
            for number, message in wait.batch or ():
                if self._holds(number, message):
                    message.delivery_count -= 1
                    self.queues[message.queue].delivered -= 1
                    self._give_back(message, now, "poll_lost")

    def _close(self, wait: TransferWait, now: float) -> None:
        """Take a Transfer out of its session; from here on the lease and the next one count."""
        session = wait.session
        self._finish(wait)
        session.open -= 1
        session.last_seen = now
        session.next_transfer_by = now + session.lease
        del session.waits[wait]

    def _finish(self, wait: TransferWait) -> None:
        """Let a Transfer be handed nothing more, and wake it if it waits."""
        if self._waits.pop(wait.number, None) is None:
            return
        if wait.batch is None:  # else it has left them
            self._leave_lines(wait)
        if not wait.done:
            wait.done = True
            self.woken.append(wait)

    def _leave_lines(self, wait: TransferWait) -> None:
        for name in wait.session.subscriptions:
            self.consumers[name].waits.pop(wait, None)

    def _supersede(self, session: Session) -> None:
        for wait in list(session.waits):
            if wait.ordered and not wait.superseded:
                wait.superseded = True
                # What it was handed stays with the session: the newer Transfer re-sends it.
                wait.batch = None
                wait.resent = ()
                self._finish(wait)

    def _resend(self, wait: TransferWait) -> None:
        again = []
        for number in reversed(wait.session.held):
            if number <= wait.after:
                break
            again.append((number, wait.session.held[number]))
        if not again:
            return
        room = MAX_BATCH_BYTES
        resent: list[tuple[int, Message]] = []
        for number, message in reversed(again[-wait.limit :]):
            room -= message.size
            if room < 0 and resent:
                break
            resent.append((number, message))
        wait.resent = resent
        for other in wait.session.waits:
            # An answer may have it under way; only this one gives it now.
            other.forget(number for number, _ in resent)
        if len(resent) < len(again):
            # The rest comes with the next Transfer; nothing new may overtake it.
            wait.limit = len(resent)

    def _fill(self, wait: TransferWait, now: float) -> None:
        """Hand over ready messages of all its queues, the smallest id first, up to its limit."""
        batch = wait.batch or []
        count = len(wait.resent) + len(batch)
        if count >= wait.limit:
            return
        heads = []
        for name, subscription in wait.session.subscriptions.items():
            queue = self.queues.get(name)
            if queue is not None and queue.paused_at is None and (head := queue.head()) is not None:
                heads.append((head.id, queue, subscription))
        if not heads:
            return
        heapq.heapify(heads)
        room = MAX_BATCH_BYTES - sum(m.size for _, m in wait.resent)
        room -= sum(m.size for _, m in batch)
        while heads and count < wait.limit:
            _, queue, subscription = heads[0]
            head = queue.head()
            assert head is not None
            room -= head.size
            if room < 0 and count:
                return
            self._hand_over(queue, wait, subscription, now)
            count += 1
            head = queue.head()
            if head is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (head.id, queue, subscription))

    def _hand_over(
        self, queue: Queue, wait: TransferWait, subscription: Subscription, now: float
    ) -> None:
        if wait.batch is None:
            wait.batch = []
        wait.batch.append(self._hold_next(queue, wait.session, subscription, now))

    def _hold_next(
        self, queue: Queue, session: Session, subscription: Subscription, now: float
    ) -> tuple[int, Message]:
        """Let the session hold the oldest ready message; returns the delivery number too."""
        message = queue.pop()
        number = self._next_id
        self._next_id = number + 1
        message.state = _HELD
        message.hold = hold = Hold(session, subscription, number, now)
        message.delivery_count += 1
        queue.held[message.id] = message
        queue.delivered += 1
        self.delivered += 1
        if session.held:
            session.held[number] = message
        else:
            session.held = {number: message}
        subscription.held += 1
        if message.expires_at is not None:
            self._deadlines.cancel((Due.EXPIRY, message.id))
        if queue.policy.ack_timeout is not None:
            self._arm_ack_timeout(message, hold, queue, now)
        self._emit(now, "delivered", queue.name, message.id, session.client, None)
        return number, message

    def _offer(self, queue: Queue, now: float) -> None:
        """Hand ready messages to those who wait, one each, the longest waiting first."""
        consumers = self.consumers.get(queue.name)
        if consumers is None:
            return
        waits = consumers.waits
        while waits and queue.paused_at is None and queue.head() is not None:
            wait, subscription = waits.popitem(last=False)
            if type(wait) is Stream:
                # Without room it is out, and ``grant`` brings it back. Without credit, which a
                # Transfer of its session may have used up, ``_rejoin`` does.
                if wait.room > 0 and subscription.held < subscription.credit:
                    self._push(queue, wait, subscription, now)
                    if wait.room > 0 and subscription.held < subscription.credit:
                        waits[wait] = subscription
            elif not wait.done:
                transfer: TransferWait = wait  # type: ignore[assignment]
                self._hand_over(queue, transfer, subscription, now)
                if len(transfer.session.subscriptions) > 1:
                    self._leave_lines(transfer)
                transfer.done = True
                self.woken.append(transfer)

    def _arm_ack_timeout(self, message: Message, hold: Hold, queue: Queue, now: float) -> None:
        timeout = queue.policy.ack_timeout
        if timeout is not None:
            self._deadlines.set((Due.ACK_TIMEOUT, message.id), now + timeout)
            hold.timed = True
        elif hold.timed:
            # The policy had one when the message was handed over.
            self._deadlines.cancel((Due.ACK_TIMEOUT, message.id))
            hold.timed = False

    def _holds(self, number: int, message: Message) -> bool:
        """Whether a hand-over is still in force: not acked, given back or handed out again."""
        return message.hold is not None and message.hold.delivery == number

    # -- acknowledging ------------------------------------------------------------------------

    def ack(self, ids: Iterable[int], *, token: str | None, now: float) -> AckResult:
        """Finish held messages. An id that is unknown, or acked before, is no error.

        Raises NotHolder if nothing was done and another session holds one of them;
        SessionRequired, UnknownSession.
        """
        session = self._session(token, now)
        result, foreign = self._settle(session, list(ids), now)
        if foreign and not result.acked:
            raise NotHolder("Another session holds the message.")
        return result

    def nack(
        self,
        ids: Iterable[int],
        *,
        token: str | None,
        now: float,
        delay: float = 0.0,
        requeue: bool = True,
    ) -> NackResult:
        """Give held messages back, ready after ``delay`` seconds, or reject them as dead.

        Raises NotHolder if nothing was done and another session holds one of them;
        SessionRequired, UnknownSession.
        """
        session = self._session(token, now)
        result = NackResult(released=[], unknown=[], not_held=[])
        foreign = False
        ids = list(ids)
        self._check_store_for(session, ids)
        for id in ids:
            message = self.messages.get(id)
            if message is None:
                result.unknown.append(id)
            elif message.hold is None or message.hold.session is not session:
                result.not_held.append(id)
                foreign = foreign or message.hold is not None
            else:
                result.released.append(id)
                if requeue:
                    self._give_back(message, now, "nack", delay)
                else:
                    queue = self.queues[message.queue]
                    self._release(message)
                    self._die(message, queue, now, "rejected")
                    self._rejoin(session, queue, now)
        if foreign and not result.released:
            raise NotHolder("Another session holds the message.")
        return result

    def reply(self, reply: OutgoingReply, *, token: str | None, now: float) -> ReplyResult:
        """Send the response to a held request and ack it, as one step.

        Raises NotHolder, QueueFull, SwitchFull, PayloadTooLarge (nothing happened then);
        SessionRequired, UnknownSession.
        """
        return self._reply(self._session(token, now), reply, now)

    def _settle(self, session: Session, ids: Collection[int], now: float) -> tuple[AckResult, bool]:
        result = AckResult(acked=[], unknown=[], not_held=[])
        foreign = False
        self._check_store_for(session, ids)
        for id in ids:
            message = self.messages.get(id)
            if message is None:
                result.unknown.append(id)
            elif message.hold is None or message.hold.session is not session:
                result.not_held.append(id)
                foreign = foreign or message.hold is not None
            else:
                result.acked.append(id)
                self._finish_message(message, session, now, "acked")
        return result, foreign

    def _finish_message(
        self, message: Message, session: Session, now: float, kind: EventKind
    ) -> None:
        queue = self.queues[message.queue]
        hold = message.hold
        assert hold is not None
        if self.meter is not None:
            self.meter.finished(queue, message, hold.since, now)
        self._remove(message, queue)
        queue.acked += 1
        self.finished += 1
        self._emit(now, kind, queue.name, message.id, session.client)
        subscription = hold.subscription
        if subscription.held == subscription.credit - 1:  # else it has had credit before, or none
            self._rejoin(session, queue, now)

    def _reply(self, session: Session, reply: OutgoingReply, now: float) -> ReplyResult:
        message = self.messages.get(reply.id)
        if message is None:
            return ReplyResult(id=None, state="unknown")
        if message.hold is None or message.hold.session is not session:
            raise NotHolder("This session does not hold the message.")
        self._check_store_for(session, (reply.id,))
        if message.reply_to is None:
            self._finish_message(message, session, now, "acked")
            return ReplyResult(id=None, state="no_reply_to")
        correlation_id = (
            str(message.id) if message.correlation_id is None else message.correlation_id
        )
        id: int | None = None
        response: Message | None = None
        target: Queue | None = None
        # One step: whoever gets the response must find the request gone after a crash too.
        kept = self.changes is not None and self.queues[message.queue].owner is None
        aside = kept and self.safe != math.inf
        if (call := self.calls.get(message.reply_to)) is not None:
            id = self._respond(call, reply, correlation_id, session.client, now, message.size)
        elif (target := self.queues.get(message.reply_to)) is not None:
            draft = Draft(reply.payload, correlation_id, headers=reply.headers, error=reply.error)
            response = self._enqueue(
                target,
                draft,
                session.client,
                now,
                reply_to=None,
                ttl=None,
                freed=message.size,
                answers=message.queue,
                aside=aside,
            )
            id = response.id
        self._finish_message(message, session, now, "replied")
        if kept:
            assert self.changes is not None
            if call is not None:
                call.position = self.changes.position
            elif aside and response is not None and target is not None:
                response.position = self.changes.position
                self._make_ready(response, target)
                self._offer(target, now)
        return ReplyResult(id=id, state="caller_gone" if id is None else None)

    def _reply_outcome(self, session: Session, reply: OutgoingReply, now: float) -> ReplyOutcome:
        try:
            result = self._reply(session, reply, now)
        except SwitchError as error:
            return ReplyOutcome(request=reply.id, code=error.code, detail=error.detail)
        return ReplyOutcome(request=reply.id, id=result.id, state=result.state)

    def _release(self, message: Message) -> None:
        """Take a held message from its holder; its next state is up to the caller."""
        hold = message.hold
        assert hold is not None
        session = hold.session
        if len(session.held) > 1:
            del session.held[hold.delivery]
        else:
            session.held = NOTHING_HELD
        del self.queues[message.queue].held[message.id]
        hold.subscription.held -= 1
        if hold.timed:
            self._deadlines.cancel((Due.ACK_TIMEOUT, message.id))
        message.hold = None

    def _give_back(self, message: Message, now: float, cause: str, delay: float = 0.0) -> None:
        hold = message.hold
        assert hold is not None
        session = hold.session
        queue = self.queues[message.queue]
        self._release(message)
        self._emit(now, "released", queue.name, message.id, session.client, cause)
        if cause != "poll_lost":
            if message.returns is None:
                message.returns = deque(maxlen=KEPT_RETURNS)
            message.returns.append(Return(session.client, now, cause))
        limit = queue.policy.max_deliveries
        if hold.last:
            self._drop(message, queue, now, "caller_gone")
        elif message.expires_at is not None and message.expires_at <= now:
            self._expire(message, queue, now)
        elif limit is not None and message.delivery_count >= limit and cause != "operator":
            self._die(message, queue, now, "max_deliveries")
        else:
            if message.expires_at is not None:
                self._deadlines.set((Due.EXPIRY, message.id), message.expires_at)
            if delay > 0:
                self._delay(message, queue, now + delay)
            else:
                queue.restore(message)
                self._offer(queue, now)
            self._keep_message(message, queue)
        self._rejoin(session, queue, now)

    def _delay(self, message: Message, queue: Queue, until: float) -> None:
        message.state = State.DELAYED
        message.due_at = until
        queue.delayed[message.id] = message
        self._deadlines.set((Due.DELAY_ENDS, message.id), until)

    def _end_delay(self, message: Message, now: float) -> None:
        queue = self.queues[message.queue]
        if message.expires_at is not None and message.expires_at <= now:
            # Both fell due since the last look, and an expired message is not delivered.
            self._expire(message, queue, now)
            return
        del queue.delayed[message.id]
        self._make_ready(message, queue)
        self._offer(queue, now)

    def _expire(self, message: Message, queue: Queue, now: float) -> None:
        """End the life of a message that is ready, delayed or just released."""
        if queue.policy.on_expire == "dead":
            if message.state is not State.HELD:
                queue.remove(message)
            self._die(message, queue, now, "expired")
        else:
            self._drop(message, queue, now, "expired")

    def _die(self, message: Message, queue: Queue, now: float, cause: str) -> None:
        """Keep a message, taken out of its former state, as dead."""
        self._cancel_deadlines(message)
        message.state = State.DEAD
        message.due_at = None
        message.death = Death(cause, now, self.trace.last + 1)
        queue.dead[message.id] = message
        self._keep_message(message, queue)
        self._emit(now, "died", queue.name, message.id, detail=cause)
        if len(queue.dead) > queue.policy.max_dead:
            self._drop_oldest_dead(queue, now)

    def _drop_oldest_dead(self, queue: Queue, now: float) -> None:
        self._drop(next(iter(queue.dead.values())), queue, now, "max_dead")

    def drop_message(self, name: str, id: int, *, now: float, token: str | None = None) -> None:
        """Delete one message in whatever state it is. Raises QueueNotFound, MessageNotFound."""
        client = self._sender(token, now)
        queue = self._queue(name)
        message = self.messages.get(id)
        if message is None or message.queue != name:
            raise MessageNotFound(f"There is no message {id} in {name}.")
        if queue.owner is None:
            self._check_store()
        hold = message.hold
        self._drop(message, queue, now, "operator", client)
        if hold is not None:
            self._rejoin(hold.session, queue, now)

    def _drop(
        self, message: Message, queue: Queue, now: float, cause: str, client: str | None = None
    ) -> None:
        self._lose(message, queue)
        self._emit(now, "dropped", queue.name, message.id, client, cause)

    def _lose(self, message: Message, queue: Queue) -> None:
        """Remove a message that nobody has finished."""
        self._remove(message, queue)
        call = None if message.reply_to is None else self.calls.get(message.reply_to)
        if call is not None and call.request == message.id:
            self._lose_call(call, lost=True)

    def _lose_call(self, call: Call, *, lost: bool) -> None:
        """Whether a reply may still come has changed, and whoever repeats the key must know."""
        call.lost = lost
        if (record := self._key_record(call)) is not None:
            assert call.key is not None
            self._keep_key(self.queues[call.queue], call.key, record)

    def _remove(self, message: Message, queue: Queue) -> None:
        """Take a message out of everything that knows it."""
        if message.hold is not None:
            self._release(message)
        else:
            if message.state is not State.HELD:
                queue.remove(message)
            self._cancel_deadlines(message)
        del self.messages[message.id]
        self.bytes -= message.size
        queue.bytes -= message.size
        if self.changes is not None and queue.owner is None:
            self.changes.remove(message)

    def _cancel_deadlines(self, message: Message) -> None:
        if message.expires_at is not None:
            self._deadlines.cancel((Due.EXPIRY, message.id))
        if message.due_at is not None:
            self._deadlines.cancel((Due.DELAY_ENDS, message.id))

    # -- after a restart ----------------------------------------------------------------------

    @property
    def next_id(self) -> int:
        """The number that will be given out next."""
        return self._next_id

    def load_queue(
        self, name: str, policy: Policy, created_at: float, paused_at: float | None
    ) -> None:
        """Put back a queue that a journal kept."""
        queue = self.queues[name] = Queue(name, policy, None, created_at)
        queue.paused_at = paused_at

    def load_message(self, message: Message) -> None:
        """Put back a message that a journal kept, in the order of ids. One that was held is ready;
        what is due by now is dealt with by ``advance``."""
        queue = self.queues[message.queue]
        self.messages[message.id] = message
        self.bytes += message.size
        queue.bytes += message.size
        if message.state is State.DEAD:
            queue.dead[message.id] = message
            return
        if message.state is State.DELAYED:
            assert message.due_at is not None
            self._delay(message, queue, message.due_at)
        else:
            queue.append(message)
        if message.expires_at is not None:
            self._deadlines.set((Due.EXPIRY, message.id), message.expires_at)

    def load_key(self, queue_name: str, key: str, kept: KeptKey) -> None:
        """Put back a remembered key, with its call if it was one. Messages come before."""
        queue = self.queues[queue_name]
        call = None
        if kept.reply_to is not None:
            call = Call(kept.id, queue_name, kept.reply_to, key, response=kept.response)
            call.lost = kept.lost
            self.calls[call.reply_to] = call
        queue.keys[key] = KeyRecord(kept.id, kept.digest, kept.size, call, kept.until)
        self.bytes += kept.size
        self._deadlines.set((Due.KEY_FORGOTTEN, (queue_name, key)), kept.until)

    # -- for operators ------------------------------------------------------------------------

    def pause_queue(self, name: str, *, now: float, token: str | None = None) -> QueueInfo:
        """Hand out no message of the queue until ``resume_queue``; it takes messages as before.

        Raises QueueNotFound, NotOwner.
        """
        client = self._sender(token, now)
        queue = self._queue_to_change(name, token)
        if queue.paused_at is None:
            queue.paused_at = now
            self._keep_queue(queue)
            self._emit(now, "paused", name, client=client)
        return self._info(queue, now)

    def resume_queue(self, name: str, *, now: float, token: str | None = None) -> QueueInfo:
        """Hand out messages again. Raises QueueNotFound, NotOwner."""
        client = self._sender(token, now)
        queue = self._queue_to_change(name, token)
        if queue.paused_at is not None:
            queue.paused_at = None
            self._keep_queue(queue)
            self._emit(now, "unpaused", name, client=client)
            self._offer(queue, now)
        return self._info(queue, now)

    def requeue(
        self, name: str, ids: Iterable[int] | None = None, *, now: float, token: str | None = None
    ) -> RequeueResult:
        """Take held messages, those named or all, from their holders: they are ready again.

        Raises QueueNotFound, NotOwner.
        """
        self._sender(token, now)
        queue = self._queue_to_change(name, token)
        result = RequeueResult(requeued=0, not_held=0)
        for id in sorted(queue.held if ids is None else set(ids)):
            message = queue.held.get(id)
            if message is None:
                result.not_held += 1
            else:
                self._give_back(message, now, "operator")
                result.requeued += 1
        return result

    def move_messages(
        self,
        name: str,
        target: str,
        *,
        now: float,
        ids: Iterable[int] | None = None,
        state: State | None = None,
        token: str | None = None,
    ) -> MoveResult:
        """Put messages, those named or all in one state, into another queue, in the order of their
        ids. Dead ones are ready there, with count 0 and no expiry; held ones cannot be moved.

        Raises QueueNotFound, NotOwner, InvalidRequest.
        """
        client = self._sender(token, now)
        source = self._queue_to_change(name, token)
        queue = self._queue(target)
        if queue.owner is None:
            self._check_store()
        if queue is source:
            raise InvalidRequest("The messages are in that queue already.")
        if ids is None:
            states = (State.READY, State.DELAYED) if state is None else (state,)
            ids = [message.id for each in states for message in source.messages(each)]
        result = MoveResult(moved=0, not_movable=0, no_room=0)
        for id in sorted(set(ids)):
            message = self.messages.get(id)
            if message is None or message.queue != name or message.state is State.HELD:
                result.not_movable += 1
            elif queue.length >= queue.policy.max_length:
                result.no_room += 1
            else:
                self._move(message, source, queue, client, now)
                result.moved += 1
        self._offer(queue, now)
        return result

    def _move(
        self, message: Message, source: Queue, target: Queue, client: str | None, now: float
    ) -> None:
        source.remove(message)
        source.bytes -= message.size
        target.bytes += message.size
        message.queue = target.name
        if message.state is State.DEAD:
            self._revive(message, now)
        if self.changes is not None and (source.owner is None or target.owner is None):
            if source.owner is None and target.owner is None:
                self.changes.change(message)
            elif source.owner is None:
                self.changes.remove(message)
            else:
                self.changes.add(message)
            message.position = self.changes.position
        if message.state is State.DELAYED:
            target.delayed[message.id] = message
        else:
            self._make_ready(message, target)
        self._emit(now, "moved", source.name, message.id, client, f"to {target.name}")

    def end_session(self, id: int, *, now: float) -> None:
        """End a session by the number that names it: what it holds goes to others.

        Its client finds that it must log in again. Raises SessionNotFound.
        """
        self.advance(now)
        self._end_session(self._session_by_id(id), now, "ended")

    def _session_by_id(self, id: int) -> Session:
        for session in self.sessions.values():
            if session.id == id:
                return session
        raise SessionNotFound(f"There is no session {id}; it may have ended.")

    def _keep_for_undo(
        self,
        action: Literal["purged", "destroyed"],
        queue: Queue,
        messages: list[Message],
        seconds: float,
        now: float,
    ) -> UndoInfo | None:
        if seconds <= 0 or queue.owner is not None or (action == "purged" and not messages):
            return None
        size = sum(message.size for message in messages)
        if size > self.limits.undo_bytes:
            return None
        while len(self.undoable) >= MOST_KEPT or self.undo_bytes + size > self.limits.undo_bytes:
            self._forget_removed(next(iter(self.undoable.values())))
        removed = Removed(
            id=self._number(),
            action=action,
            queue=queue.name,
            policy=queue.policy,
            paused_at=queue.paused_at,
            messages=messages,
            size=size,
            at=now,
            until=now + seconds,
        )
        self.undoable[removed.id] = removed
        self.undo_bytes += size
        self._deadlines.set((Due.UNDO_ENDS, removed.id), removed.until)
        return removed.info()

    def _forget_removed(self, removed: Removed) -> None:
        del self.undoable[removed.id]
        self.undo_bytes -= removed.size
        self._deadlines.cancel((Due.UNDO_ENDS, removed.id))

    def tally(
        self,
        name: str,
        states: Collection[State] = tuple(State),
        *,
        now: float,
        ids: Iterable[int] | None = None,
    ) -> Tally:
        """What an action on a queue's messages in some states, those named or all, would touch.

        Raises QueueNotFound.
        """
        self.advance(now)
        queue = self._queue(name)
        messages: Iterable[Message]
        if ids is None:
            messages = (message for state in states for message in queue.messages(state))
        else:
            known = (self.messages.get(id) for id in set(ids))
            messages = (m for m in known if m and m.queue == name and m.state in states)
        return snapshot.tally(self, messages, kept=queue.owner is None)

    def tally_session(self, id: int, *, now: float) -> SessionTally:
        """What ``end_session`` would touch. Raises SessionNotFound."""
        self.advance(now)
        return snapshot.session_tally(self, self._session_by_id(id))

    def list_undo(self, *, now: float) -> list[UndoInfo]:
        """What may be restored, the oldest first."""
        self.advance(now)
        return [removed.info() for removed in self.undoable.values()]

    def undo(self, id: int, *, now: float) -> RestoreResult:
        """Restore what a purge or a destruction removed, all of it or nothing.

        Messages are in their original places, and those that were held are ready; what expired
        meanwhile expires. A queue that was paused is paused, but keys that it remembered stay
        forgotten.
        Raises UndoNotFound, QueueFull, SwitchFull, TooManyQueues, NameTaken.
        """
        self.advance(now)
        self._check_store()
        removed = self.undoable.get(id)
        if removed is None:
            raise UndoNotFound("It can no longer be undone.")
        self._check_room(removed.size, messages=len(removed.messages))
        queue = self.queues.get(removed.queue)
        alive = sum(message.state is not State.DEAD for message in removed.messages)
        length = 0 if queue is None else queue.length
        policy = removed.policy if queue is None else queue.policy
        if length + alive > policy.max_length:
            raise QueueFull(f"{removed.queue} has no room for {counted(alive, 'message')}.")
        created = queue is None
        if queue is None:
            queue = self._create(removed.queue, removed.policy, None, None, now)
            queue.paused_at = removed.paused_at
        self._forget_removed(removed)
        self._emit(now, "restored", queue.name, detail=f"{len(removed.messages)} {removed.action}")
        for message in removed.messages:
            self._bring_back(message, queue, now)
        queue.sort_dead()
        while len(queue.dead) > queue.policy.max_dead:
            self._drop_oldest_dead(queue, now)
        self._offer(queue, now)
        return RestoreResult(queue=queue.name, restored=len(removed.messages), created=created)

    def _bring_back(self, message: Message, queue: Queue, now: float) -> None:
        """Put a message that was removed into its place."""
        self.messages[message.id] = message
        self.bytes += message.size
        queue.bytes += message.size
        if self.changes is not None:
            self.changes.add(message)
        call = None if message.reply_to is None else self.calls.get(message.reply_to)
        if call is not None and call.request == message.id and call.lost:
            self._lose_call(call, lost=False)
        if message.state is State.DEAD:
            queue.dead[message.id] = message
            return
        if message.state is State.DELAYED and message.due_at is not None and message.due_at > now:
            self._delay(message, queue, message.due_at)
        else:
            message.due_at = now
            self._make_ready(message, queue)
        if message.expires_at is not None:
            self._deadlines.set((Due.EXPIRY, message.id), message.expires_at)
            if message.expires_at <= now:
                self._expire(message, queue, now)

    # -- calls --------------------------------------------------------------------------------

    def call(
        self,
        name: str,
        draft: Outgoing,
        *,
        timeout: float,
        now: float,
        wait_for_server: bool = False,
        token: str | None = None,
    ) -> CallWait:
        """Send a request that expires after ``timeout`` seconds and wait for its reply.

        The wait is ``done`` when it has the response or, at the timeout, a verdict;
        ``leave_call`` gives it up before. A repeated key joins the call it was first used for.
        Raises NoServer, KeyReused and what ``send`` raises.
        """
        sender = self._sender(token, now)
        queue = self.queues.get(name)
        if (
            queue is not None
            and draft.key is not None
            and (record := self._known_key(queue, draft)) is not None
        ):
            if record.call is None:
                raise KeyReused("The key was used by a send.")
            if record.call.response is not None or not record.call.lost:
                return self._wait_for(record.call, timeout, now)
            self._forget_key(queue, draft.key)
        consumers = self.consumers.get(name)
        if not wait_for_server and (consumers is None or not consumers.sessions):
            raise NoServer(
                f"Nobody serves {check_name(name)}.",
                verdict=without_server(name, consumers, None, now),
            )
        if not wait_for_server:
            self._queue(name)
        reply_to = self._unused_name("call")
        if queue is None:
            # Refuse before a queue is made.
            check_name(name)
            size = self._checked_size(draft, reply_to) + _key_size(draft)
            self._check_room(size, messages=1)
            queue = self._create(name, self._default_policy, None, sender, now)
        message = self._enqueue(queue, draft, sender, now, reply_to=reply_to, ttl=timeout)
        parent = parent_of(draft.headers) if draft.headers else None
        call = Call(message.id, name, reply_to, draft.key, parent, sender)
        self.calls[reply_to] = call
        if call.key is not None:
            record = queue.keys[call.key]
            record.call = call
            self._keep_key(queue, call.key, record)
        return self._wait_for(call, timeout, now)

    def leave_call(self, wait: CallWait, *, now: float) -> None:
        """Give up a caller's wait because the caller went away, or asks for it.

        No server starts work that nobody waits for: unless a key lets the caller come back, its
        request is dropped, where somebody has it when that is given back. What has died meanwhile
        stays, and so does what an operator has brought back from there.
        """
        self.advance(now)
        if self._waits.pop(wait.number, None) is None:
            return
        call = wait.call
        self._emit(now, "caller_gone", call.queue, call.request)
        self._drop_wait(wait)
        if call.reply_to not in self.calls and (message := self.messages.get(call.request)):
            self._withdraw(message, now)

    def _withdraw(self, message: Message, now: float) -> None:
        if message.state is State.DEAD or message.expires_at is None:
            return
        if message.hold is None:
            self._drop(message, self.queues[message.queue], now, "caller_gone")
        else:
            message.hold.last = True

    def _wait_for(self, call: Call, timeout: float, now: float) -> CallWait:
        wait = CallWait(self._wait_number(), call=call, timeout=timeout)
        if call.response is not None:
            wait.response = call.response
            wait.done = True
            return wait
        call.waits[wait] = None
        if call.parent is not None:
            self.children.setdefault(call.parent, {})[call.request] = now
        self._waits[wait.number] = wait
        self._deadlines.set_end(wait.number, now + timeout)
        return wait

    def _drop_wait(self, wait: CallWait) -> None:
        call = wait.call
        call.waits.pop(wait, None)
        if call.parent is not None and not call.waits:
            self._nobody_waits(call)
        if not call.waits and self._key_record(call) is None:
            self.calls.pop(call.reply_to, None)

    def _nobody_waits(self, call: Call) -> None:
        assert call.parent is not None
        calls = self.children.get(call.parent)
        if calls is not None:
            calls.pop(call.request, None)
            if not calls:
                del self.children[call.parent]

    def _key_record(self, call: Call) -> KeyRecord | None:
        """The key of a call, while it is remembered."""
        if call.key is None:
            return None
        queue = self.queues.get(call.queue)
        if queue is None:
            return None
        record = queue.keys.get(call.key)
        return record if record is not None and record.call is call else None

    def _respond(
        self,
        call: Call,
        reply: Outgoing | OutgoingReply,
        correlation_id: str,
        sender: str | None,
        now: float,
        freed: int = 0,
    ) -> int | None:
        """Give the reply to everybody who waits for the call; None if it has one already."""
        if call.response is not None:
            return None
        size = self._text_size(reply) + utf8_size(correlation_id)
        record = None if call.key is None else self._key_record(call)
        if record is not None:  # only then is it kept
            self._check_room(size - freed, messages=0)
            if self.queues[call.queue].owner is None:
                self._check_store()
        error = reply.error
        response = Response(
            self._number(),
            call.request,
            reply.payload,
            correlation_id,
            now,
            reply.headers or {},
            sender,
            None if error is None else failure_of(error),
        )
        call.response = response
        self._emit(now, "sent", call.reply_to, response.id, sender, reply.payload[:KEPT_LENGTH])
        for wait in call.waits:
            wait.response = response
            wait.done = True
            del self._waits[wait.number]
            self.woken.append(wait)
        call.waits.clear()
        if call.parent is not None:
            self._nobody_waits(call)
        if record is None:
            del self.calls[call.reply_to]
        else:
            record.size += size
            self.bytes += size
            assert call.key is not None
            queue = self.queues[call.queue]
            self._keep_key(queue, call.key, record)
            if self.changes is not None and queue.owner is None:
                call.position = self.changes.position
        return response.id

    def _end_wait(self, wait: Wait, now: float) -> None:
        wait.done = True
        self.woken.append(wait)
        if isinstance(wait, CallWait):
            call = wait.call
            del self._waits[wait.number]
            message = self.messages.get(call.request)
            if message is None:
                events = self.trace.of_message(call.request)
                wait.verdict = explain_ended(events, self.trace, now)
            else:
                wait.verdict = explain_message(self, message, WaitsFor(self, now), now)
            self._emit(now, "call_timeout", call.queue, call.request)
            self._drop_wait(wait)
        elif isinstance(wait, TraceWait):
            del self._waits[wait.number]
            self._trace_waits.remove(wait)

    # -- looking ------------------------------------------------------------------------------

    def browse(
        self,
        name: str,
        *,
        now: float,
        state: State | None = None,
        after: int = 0,
        limit: int = 100,
        search: str | None = None,
    ) -> MessageList:
        """A page of a queue's messages, payloads cut. Raises QueueNotFound."""
        self.advance(now)
        queue = self._queue(name)
        return snapshot.page_of_messages(queue, state, after, limit, self.caller_of, search)

    def explain(self, id: int, *, now: float) -> MessageReport:
        """Where a message is and why; one that has ended is taken from the trace.

        Raises MessageNotFound.
        """
        self.advance(now)
        report = self._explain(id, now)
        if report.message is None and not report.events:
            raise MessageNotFound(f"No message {id} is here, and the trace remembers none.")
        return report

    def explain_queue(self, name: str, *, now: float) -> QueueReport:
        """A queue with its servers. Raises QueueNotFound."""
        self.advance(now)
        return snapshot.queue_report(self, self._queue(name), now)

    def explain_session(self, id: int, *, now: float) -> SessionInfo:
        """A session, by the number that names it. Raises SessionNotFound."""
        self.advance(now)
        return snapshot.session_info(self, self._session_by_id(id), WaitsFor(self, now), now)

    def waits_for(self, *, now: float) -> WaitGraph:
        """Who waits for whom."""
        self.advance(now)
        return WaitsFor(self, now, visits=MOST_VISITED_IN_ALL).graph()

    def diagnostics(self, *, now: float) -> Diagnostics:
        """The whole switch at ``now``."""
        self.advance(now)
        return snapshot.diagnostics(self, now)

    def watch(self, *, after: int, limit: int, timeout: float, now: float) -> TraceWait:
        """Wait up to ``timeout`` seconds for an event after number ``after``."""
        self.advance(now)
        wait = TraceWait(self._wait_number(), after=after, limit=limit)
        if timeout <= 0 or (len(self.trace) and after < self.trace.last):
            wait.done = True
        else:
            self._waits[wait.number] = wait
            self._trace_waits.append(wait)
            self.trace.on_event = self._wake_readers
            self._deadlines.set_end(wait.number, now + timeout)
        return wait

    def leave_trace(self, wait: TraceWait, *, now: float) -> TraceReport:
        """End the wait and take the events that there are."""
        self.advance(now)
        if self._waits.pop(wait.number, None) is not None:
            self._trace_waits.remove(wait)
        return self.trace.after(wait.after, wait.limit)

    def trace_back(self, before: int | None, limit: int, *, now: float) -> TracePage:
        """At most ``limit`` events before a number, or the newest."""
        self.advance(now)
        return self.trace.before(before, limit)

    def caller_of(self, message: Message) -> Caller:
        """Whether somebody waits for the reply to ``message``."""
        if message.reply_to is None:
            return "none"
        call = self.calls.get(message.reply_to)
        waiting = bool(call.waits) if call is not None else message.reply_to in self.queues
        return "waiting" if waiting else "gone"

    def _explain(self, id: int, now: float) -> MessageReport:
        message = self.messages.get(id)
        events = self.trace.of_message(id)
        if message is not None:
            return MessageReport(
                id=id,
                message=snapshot.message_info(message, self.caller_of(message), cut=None),
                verdict=explain_message(self, message, WaitsFor(self, now), now),
                events=events,
                tree=snapshot.call_tree(self, id),
            )
        return MessageReport(
            id=id,
            message=None,
            verdict=explain_ended(events, self.trace, now),
            events=events,
            tree=snapshot.call_tree(self, id) if events else None,
        )

    # -- numbers and events -------------------------------------------------------------------

    def _number(self) -> int:
        number = self._next_id
        self._next_id = number + 1
        return number

    def _wait_number(self) -> int:
        self._next_wait += 1
        return self._next_wait

    def _wake_readers(self) -> None:
        """Somebody waited for the next event."""
        for wait in self._trace_waits:
            wait.done = True
            self.woken.append(wait)
            del self._waits[wait.number]
        self._trace_waits.clear()
        self.trace.on_event = None
