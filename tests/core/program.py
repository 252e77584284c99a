"""Programs: random sequences of operations on a switch whose changes are written now and then.

A step is a name of an operation and three numbers, which choose what it is done to. So each
sequence is a program, and hypothesis explains a failure by one that does nothing but what it takes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import hypothesis.strategies as st
from msgspec.structs import replace

from queues.core.changes import Changes, KeptKey
from queues.core.errors import SwitchError
from queues.core.limits import Limits
from queues.core.messages import Draft, Failure, Message, Reply, State
from queues.core.queue import Policy, Queue
from queues.core.switch import Switch
from queues.core.waits import CallWait, TransferWait

Step = tuple[str, int, int, int]

NAMES = ("a", "b", "c")
POLICIES = (
    Policy(),
    Policy(max_deliveries=2, max_dead=2),
    Policy(ttl=6.0, on_expire="dead", max_dead=1),
    Policy(ack_timeout=3.0),
    Policy(max_length=3),
)
LIMITS = Limits(key_window=20.0, payload_bytes=1_000)
LEASE = 15.0


class Tables(Protocol):
    """Where batches go, and where a new switch comes from."""

    def rows(self, changes: Changes) -> Any:
        """What a batch is about to write."""

    def write(self, rows: Any) -> None: ...

    def load(self, switch: Switch) -> None: ...

    def alive(self) -> dict[int, str]:
        """The queues of the messages that are there and not dead."""


@dataclass
class NaiveRows:
    queues: dict[str, tuple[Policy, float, float | None] | None]
    removed: set[int]
    messages: list[Message]
    keys: dict[tuple[str, str], KeptKey | None]


@dataclass
class NaiveTables:
    """Tables as dicts of copies."""

    queues: dict[str, tuple[Policy, float, float | None]] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    keys: dict[tuple[str, str], KeptKey] = field(default_factory=dict)

    def rows(self, changes: Changes) -> NaiveRows:
        assert not changes.added.keys() & changes.changed.keys()
        messages = (*changes.added.values(), *changes.changed.values())
        return NaiveRows(
            {
                name: queue and (queue.policy, queue.created_at, queue.paused_at)
                for name, queue in changes.queues.items()
            },
            changes.removed,
            [replace(message, hold=None, position=0) for message in messages],
            {name: kept and replace(kept) for name, kept in changes.keys.items()},
        )

    def write(self, rows: NaiveRows) -> None:
        put(self.queues, rows.queues)
        for id in rows.removed:
            del self.messages[id]
        for message in rows.messages:
            self.messages[message.id] = message
        put(self.keys, rows.keys)

    def load(self, switch: Switch) -> None:
        for name, (policy, created_at, paused_at) in self.queues.items():
            switch.load_queue(name, policy, created_at, paused_at)
        alive = [m for m in self.messages.values() if m.death is None]
        dead = [m for m in self.messages.values() if m.death is not None]
        assert {m.queue for m in self.messages.values()} <= switch.queues.keys()
        for message in sorted(alive, key=lambda m: m.id):
            state = State.DELAYED if message.state is State.DELAYED else State.READY
            due_at = message.due_at if state is State.DELAYED else None
            switch.load_message(replace(message, state=state, due_at=due_at))
        for message in sorted(dead, key=lambda m: m.death.number if m.death else 0):
            switch.load_message(replace(message))
        for (queue_name, key), kept in self.keys.items():
            assert queue_name in switch.queues, "a key of a queue that is gone"
            switch.load_key(queue_name, key, replace(kept))

    def alive(self) -> dict[int, str]:
        return {m.id: m.queue for m in self.messages.values() if m.death is None}


def put(table: dict[Any, Any], rows: dict[Any, Any]) -> None:
    for key, row in rows.items():
        if row is None:
            table.pop(key, None)
        else:
            table[key] = row


def kept_of(switch: Switch, now: float) -> dict[str, Any]:
    """All of a switch that must survive, as it is after a restart: what is held is ready, and so
    is what has been delayed until now, before anything is due."""
    return {
        name: {
            "policy": queue.policy,
            "created_at": queue.created_at,
            "paused_at": queue.paused_at,
            "ready": sorted(m.id for m in queue.messages() if state_of(m, now) is State.READY),
            "dead": list(queue.dead),
            "messages": {m.id: message_of(m, now) for m in queue.messages()},
            "bytes": queue.bytes,
            "keys": {key: key_of(record) for key, record in queue.keys.items()},
        }
        for name, queue in switch.queues.items()
        if queue.owner is None
    }


def state_of(m: Message, now: float) -> State:
    overdue = m.state is State.DELAYED and m.due_at is not None and m.due_at <= now
    return State.READY if m.state is State.HELD or overdue else m.state


def message_of(m: Message, now: float) -> tuple[Any, ...]:
    state = state_of(m, now)
    return (
        m.queue,
        m.payload,
        m.correlation_id,
        m.reply_to,
        m.headers,
        m.key,
        m.error,
        m.sender,
        m.sent_at,
        m.expires_at,
        m.size,
        state,
        m.due_at if state is State.DELAYED else None,
        m.death and (m.death.cause, m.death.at, m.death.number),
    )


def key_of(record: Any) -> tuple[Any, ...]:
    call = record.call
    made_for = call and (
        call.request,
        call.queue,
        call.reply_to,
        call.key,
        call.response,
        call.lost,
    )
    return record.id, record.digest, record.size, record.until, made_for


def bytes_of(queue: Queue) -> int:
    return queue.bytes + sum(record.size for record in queue.keys.values())


@dataclass
class Taken:
    """A batch, and the switch when it was taken."""

    rows: Any
    position: int
    at: float
    kept: dict[str, Any]
    counts: dict[int, tuple[int, bool]]
    bytes: int


class Program:
    """A switch that steps are applied to. With ``gated`` nothing is handed over before it is
    written, as in commit mode."""

    def __init__(self, tables: Tables, *, gated: bool) -> None:
        self.tables = tables
        self.gated = gated
        self.now = 1_000.0
        self.logins = 0
        self.replied: dict[int, int] = {}
        """Requests of persistent queues, by their response in a queue."""
        self.boot(1)
        for name in NAMES[:2]:
            self.switch.create_queue(name, now=self.now)
        for n in range(2):
            self.login(0, n, 0)
        self.write(0, 0, 0)

    def boot(self, first_id: int) -> None:
        self.switch = Switch(first_id=first_id, now=self.now, limits=LIMITS)
        self.tables.load(self.switch)
        self.switch.changes = Changes()
        if self.gated:
            self.switch.safe = 0
        self.batch: Taken | None = None
        self.open: list[TransferWait] = []
        self.calls: list[CallWait] = []

    def run(self, steps: list[Step]) -> None:
        for name, a, b, c in steps:
            # That a refusal changed nothing shows at the next write.
            with suppress(SwitchError):
                getattr(self, name)(a, b, c)
            self.switch.woken.clear()
            if self.gated:
                self.check_gate()
        self.write(0, 0, 0)
        self.crash(0, 0, 0)
        self.check_deadlines()

    # -- what must hold -----------------------------------------------------------------------

    def take(self, a: int, b: int, c: int) -> None:
        """A batch begins."""
        if self.batch is None:
            switch = self.switch
            switch.advance(self.now)
            changes = switch.changes
            assert changes is not None
            switch.changes = Changes(changes.position)
            self.batch = Taken(
                self.tables.rows(changes),
                changes.position,
                self.now,
                kept_of(switch, self.now),
                {m.id: (m.delivery_count, m.state is State.HELD) for m in switch.messages.values()},
                sum(bytes_of(queue) for queue in switch.queues.values() if queue.owner is None),
            )

    def write(self, a: int, b: int, c: int) -> None:
        """A batch ends; a new switch that is loaded from what there is then equals this one as it
        was when the batch began."""
        self.take(a, b, c)
        batch, self.batch = self.batch, None
        assert batch is not None
        self.tables.write(batch.rows)
        self.saved, self.saved_at = batch.kept, batch.at
        fresh = Switch(first_id=self.switch.next_id, now=self.now, limits=LIMITS)
        self.tables.load(fresh)
        assert kept_of(fresh, batch.at) == batch.kept
        for id, message in fresh.messages.items():
            count, held = batch.counts[id]
            assert count - message.delivery_count in ((0, 1) if held else (0,))
        assert fresh.bytes == batch.bytes
        assert fresh.calls.keys() == {
            record.call.reply_to
            for queue in fresh.queues.values()
            for record in queue.keys.values()
            if record.call is not None
        }
        if self.gated:
            self.switch.have_saved(batch.position, now=self.now)

    def crash(self, a: int, b: int, c: int) -> None:
        """The switch dies, and what it has not written is gone."""
        self.boot(self.switch.next_id + 100)
        assert kept_of(self.switch, self.saved_at) == self.saved

    def check_gate(self) -> None:
        """Nobody has what a crash could take back, nor a reply whose request could come again."""
        written = self.tables.alive()
        for queue in self.switch.queues.values():
            for id in queue.held:
                assert queue.owner is not None or written.get(id) == queue.name
                assert self.replied.get(id) not in written

    def check_deadlines(self) -> None:
        """Whatever was due in time is due after a restart."""
        switch = self.switch
        expiring = [
            m.id for m in switch.messages.values() if m.expires_at is not None and not m.death
        ]
        switch.advance(self.now + 1_000)
        for queue in switch.queues.values():
            assert not queue.delayed
            assert not queue.keys
            assert not set(expiring) & {m.id for m in queue.ready_after(0)}

    # -- operations ---------------------------------------------------------------------------

    def name(self, a: int) -> str:
        """The name of a queue, persistent or not, that is mostly there."""
        names = ["c", *self.switch.queues]
        return names[a % len(names)]

    def token(self, a: int) -> str:
        if not self.switch.sessions:
            self.login(0, 0, 0)
        tokens = list(self.switch.sessions)
        return tokens[a % len(tokens)]

    def held(self, a: int) -> tuple[str, list[int]]:
        """A session, and what it holds: something, if any does."""
        holding = [session for session in self.switch.sessions.values() if session.held]
        if not holding:
            return self.token(a), []
        session = holding[a % len(holding)]
        return session.token, [m.id for m in session.held.values()]

    def nothing(self, a: int, b: int, c: int) -> None:
        pass

    def login(self, a: int, b: int, c: int) -> None:
        self.logins += 1
        token = f"token {self.logins}"
        self.switch.login(token, f"client {self.logins}", LEASE, now=self.now)
        for name in [q.name for q in self.switch.queues.values() if q.owner is None][: 1 + b % 2]:
            self.switch.subscribe(name, token=token, now=self.now)
        self.fresh(-1, 0, 0)

    def logout(self, a: int, b: int, c: int) -> None:
        self.switch.logout(self.token(a), now=self.now)

    def wait(self, a: int, b: int, c: int) -> None:
        self.now += (0.0, 1.0, 4.0, 8.0)[a % 4]
        self.switch.advance(self.now)

    def create(self, a: int, b: int, c: int) -> None:
        policy = POLICIES[b % len(POLICIES)] if c % 2 else None
        self.switch.create_queue(NAMES[a % 3], policy, now=self.now)

    def fresh(self, a: int, b: int, c: int) -> None:
        created = self.switch.create_fresh_queue(token=self.token(a), now=self.now)
        self.switch.subscribe(created.name, token=self.token(a), now=self.now)

    def change(self, a: int, b: int, c: int) -> None:
        changes: dict[str, object] = [
            {"ttl": 5.0, "on_expire": "dead"},
            {"max_dead": 1},
            {"max_deliveries": 1},
            {"max_length": 4},
        ][b % 4]
        self.switch.change_queue(self.name(a), changes, token=self.token(c), now=self.now)

    def destroy(self, a: int, b: int, c: int) -> None:
        self.switch.destroy_queue(
            self.name(a), token=self.token(b), now=self.now, undo_for=9.0 * (c % 2)
        )

    def purge(self, a: int, b: int, c: int) -> None:
        state = [None, *State][b % 5]
        self.switch.purge_queue(self.name(a), state, now=self.now, undo_for=9.0 * (c % 2))

    def undo(self, a: int, b: int, c: int) -> None:
        ids = list(self.switch.undoable) or [0]
        self.switch.undo(ids[a % len(ids)], now=self.now)

    def pause(self, a: int, b: int, c: int) -> None:
        if b % 2:
            self.switch.pause_queue(self.name(a), now=self.now)
        else:
            self.switch.resume_queue(self.name(a), now=self.now)

    def draft(self, b: int, c: int) -> Draft:
        return Draft(
            f"payload {b % 2}",
            reply_to=self.name(-1 - c % 3) if b % 3 else None,
            key=f"key {c % 2}" if c % 3 == 0 else None,
            ttl=5.0 if c % 4 == 1 else None,
            delay=2.0 if c % 5 == 2 else 0.0,
            headers={"n": str(c)} if c % 2 else None,
            correlation_id=f"correlation {c}" if b % 5 == 3 else None,
        )

    def send(self, a: int, b: int, c: int) -> None:
        name = self.name(a)
        if b % 7 == 6 and self.switch.calls:
            name = next(iter(self.switch.calls))
        self.switch.send(name, self.draft(b, c), token=self.token(c), now=self.now)

    def call(self, a: int, b: int, c: int) -> None:
        draft = replace(self.draft(b, c), reply_to=None, ttl=None, delay=0.0)
        self.calls.append(
            self.switch.call(
                self.name(a), draft, timeout=7.0, wait_for_server=b % 2 == 0, now=self.now
            )
        )

    def leave(self, a: int, b: int, c: int) -> None:
        for wait in self.calls:
            self.switch.leave_call(wait, now=self.now)
        self.calls.clear()

    def subscribe(self, a: int, b: int, c: int) -> None:
        self.switch.subscribe(self.name(a), token=self.token(b), now=self.now)

    def poll(self, a: int, b: int, c: int) -> None:
        """A Transfer that is answered, or whose answer nobody gets, or that stays open."""
        wait = self.switch.transfer(
            token=self.token(a), now=self.now, timeout=9.0 * (c % 2), limit=1 + b % 3
        )
        if not wait.done:
            self.open.append(wait)
        elif b % 4 == 3:
            self.switch.abandon(wait, now=self.now)
        else:
            self.switch.collect(wait, now=self.now)

    def end_poll(self, a: int, b: int, c: int) -> None:
        if self.open:
            wait = self.open.pop()
            if a % 2:
                self.switch.collect(wait, now=self.now)
            else:
                self.switch.abandon(wait, now=self.now)

    def ack(self, a: int, b: int, c: int) -> None:
        token, ids = self.held(a)
        self.switch.ack(ids[: 1 + b % 2], token=token, now=self.now)

    def nack(self, a: int, b: int, c: int) -> None:
        token, ids = self.held(a)
        self.switch.nack(
            ids[: 1 + b % 2],
            token=token,
            now=self.now,
            delay=2.0 if c % 3 == 1 else 0.0,
            requeue=c % 3 != 2,
        )

    def reply(self, a: int, b: int, c: int) -> None:
        token, ids = self.held(a)
        for id in ids[:1]:
            error = Failure("no", "It failed.") if c % 3 == 2 else None
            request = self.switch.messages[id]
            kept = self.switch.queues[request.queue].owner is None
            reply = Reply(id, "reply", {"r": "1"} if c % 2 else None, error)
            result = self.switch.reply(reply, token=token, now=self.now)
            if kept and result.id is not None:
                self.replied[result.id] = id

    def requeue(self, a: int, b: int, c: int) -> None:
        self.switch.requeue(self.name(a), now=self.now)

    def move(self, a: int, b: int, c: int) -> None:
        state = [None, State.READY, State.DELAYED, State.DEAD][c % 4]
        source = self.switch.queues.get(self.name(a))
        owner = source.owner.token if source and source.owner else None
        self.switch.move_messages(
            self.name(a), self.name(b), state=state, token=owner, now=self.now
        )

    def replay(self, a: int, b: int, c: int) -> None:
        self.switch.replay_dead(self.name(a), now=self.now)

    def drop(self, a: int, b: int, c: int) -> None:
        ids = list(self.switch.messages)
        if ids:
            message = self.switch.messages[ids[a % len(ids)]]
            self.switch.drop_message(message.queue, message.id, now=self.now)

    def end_session(self, a: int, b: int, c: int) -> None:
        for session in list(self.switch.sessions.values())[a % 2 : a % 2 + 1]:
            self.switch.end_session(session.id, now=self.now)


#: What happens more often is named more often. The first is the simplest.
OPERATIONS = (
    "nothing",
    *("send",) * 6,
    *("poll",) * 4,
    *("write",) * 3,
    *("take",) * 2,
    *("ack", "nack", "reply", "call", "wait", "login", "subscribe") * 2,
    *("logout", "create", "fresh", "change", "destroy", "purge", "undo", "pause", "leave"),
    *("end_poll", "requeue", "move", "replay", "drop", "end_session", "crash"),
)

_number = st.integers(0, 15)
steps = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), _number, _number, _number), min_size=40, max_size=80
)
