"""The whole core against a naive model: every operation, any order, any time.

After each step every answer, refusal, event, wake and the whole state are compared, and what the
switch promises at all times is checked on the switch itself. HYPOTHESIS_PROFILE=thorough looks
much longer.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import asdict

from queues.core import switch as switch_module
from queues.core.answers import MessageReport, UndoInfo
from queues.core.deadlines import Due
from queues.core.errors import SwitchError
from queues.core.limits import Limits
from queues.core.messages import PARENT, Draft, Failure, Reply, State
from queues.core.queue import Policy
from queues.core.sessions import NOTHING_HELD
from queues.core.switch import Switch
from queues.core.verdict import Verdict, explain_queue
from queues.core.waits import CallWait, Stream, TraceWait, TransferWait, Wait
from queues.core.waits_for import WaitsFor

from . import model as naive
from .model import Model, Refused

FIRST_ID = 1_000
BATCH_BYTES = 50
NAMES = ["a", "b", "c"]
MOST_KEPT = 3
PURGED_OR_DESTROYED = [["purged"], ["destroyed"]]
NO_NAMES = ["", ".", "..", "no/name", "n" * 256]

policies = st.builds(
    Policy,
    max_length=st.sampled_from([10, 10, 1, 2, 4]),
    ttl=st.sampled_from([None, None, None, 3.0, 12.0]),
    ack_timeout=st.sampled_from([None, None, 2.0, 6.0]),
    max_deliveries=st.sampled_from([None, None, None, 1, 2]),
    on_expire=st.sampled_from(["drop", "dead"]),
    max_dead=st.sampled_from([3, 0, 1, 2]),
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "max_length": st.sampled_from([12, 1, 3, 21]),
        "ttl": st.sampled_from([None, 4.0]),
        "ack_timeout": st.sampled_from([None, 3.0]),
        "max_deliveries": st.sampled_from([None, 1, 2]),
        "on_expire": st.sampled_from(["drop", "dead"]),
        "max_dead": st.sampled_from([0, 1, 5]),
    },
)
payloads = st.sampled_from(["x", "", "a\0é€😀", "p" * 24, "q" * 60, "too long" * 10])
headers = st.sampled_from([None, None, None, {}, {"h": "é"}, {"x": "much too long" * 3}])
no_parents = st.sampled_from(["", "x", "-1", "1.0", "٣", "9" * 19, "1"])
failures = st.sampled_from([None, None, Failure("oops", "It broke.")])
keys = st.sampled_from([None, None, "k1", "k2"])
leases = st.sampled_from([20.0, 60.0, 5.0, 2.5])
timeouts = st.sampled_from([0.0, 4.0, 4.0, 20.0])
credits = st.sampled_from([None, 0, 1, 1, 2, 3])
rooms = st.sampled_from([1_000, 1_000, 1_000, 60, 30, 1, 0])
steps = st.sampled_from([0.25, 1.0, 1.0, 2.0, 5.0, 30.0])
undo_times = st.sampled_from([0.0, 0.0, 5.0, 30.0])


def plain(answer: Any) -> Any:
    """An answer in the form in which the model gives it."""
    if isinstance(answer, UndoInfo):
        return asdict(answer)
    if not isinstance(answer, msgspec.Struct) or isinstance(answer, Wait):
        return answer
    fields = asdict(answer)
    for name, value in fields.items():
        if name == "messages":
            fields[name] = [plain(each) for each in value]
        elif name == "replies":
            fields[name] = [
                {k: v for k, v in asdict(each).items() if k != "detail"} for each in value
            ]
        elif name in ("acks", "undo") and value is not None:
            fields[name] = asdict(value)
        elif name == "verdict":
            fields[name] = codes(value)
    return fields


def codes(verdict: Verdict | None) -> list[str] | None:
    """The codes of all that a verdict tells, what matters most first."""
    if verdict is None:
        return None
    return [verdict.code, *(finding.code for finding in verdict.also)]


def outcome(operation: Callable[[], Any]) -> Any:
    """The answer, or the code of the refusal."""
    return plain(outcome_of(operation))


def outcome_of(operation: Callable[[], Any]) -> Any:
    """The same in the form in which it was given."""
    try:
        return operation()
    except Refused as refused:
        return ("refused", refused.code)
    except SwitchError as error:
        return ("refused", error.code)


class SwitchMachine(RuleBasedStateMachine):
    """The real switch and the model side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = mock.patch.multiple(
            switch_module, MAX_BATCH_BYTES=BATCH_BYTES, MOST_KEPT=MOST_KEPT
        )
        self.patch.start()
        self.now = 5_000.0
        self.agreed = False
        self.transfers: list[tuple[TransferWait, naive.Transfer]] = []
        self.streams: list[tuple[Stream, naive.Stream]] = []
        self.last_pushed: dict[Stream, int] = {}
        self.calls: list[tuple[CallWait, naive.CallWait]] = []
        self.watches: list[tuple[TraceWait, naive.Wait]] = []
        self.model_wait: dict[Wait, naive.Wait] = {}
        self.woken_for: set[tuple[Wait, str]] = set()
        self.logins = 0
        self.ended_tokens: list[str] = []
        self.finished: set[int] = set()
        self.numbers: set[int] = set()
        self.highest = FIRST_ID - 1
        self.shown: set[tuple[int, int]] = set()
        self.last_next: dict[str, int] = {}
        self.calls_made: set[str] = set()
        self.last_event = FIRST_ID - 1
        self.events_compared = 0
        self.purged_in_part = False

    @initialize(
        tight=st.booleans(),
        short_trace=st.sampled_from([False, False, False, True]),
        first=policies,
        second=policies,
        subscribed=st.sampled_from(["1a 1b 2a", "1a 2a 2b", "1a 1b 2a 2b", "1b 2a", "1a"]),
        streaming=st.sampled_from(["", "", "1", "2", "12", "21"]),
        credit=st.sampled_from([1, 2, 3]),
        sent=st.lists(st.sampled_from("aab"), max_size=4),
        polled=st.lists(st.sampled_from(["s001", "s002"]), max_size=4),
    )
    def start(
        self,
        tight: bool,
        short_trace: bool,
        first: Policy,
        second: Policy,
        subscribed: str,
        streaming: str,
        credit: int,
        sent: list[str],
        polled: list[str],
    ) -> None:
        limits = Limits(
            payload_bytes=64,
            header_bytes=32,
            queues=5,
            queue_length=20,
            sessions=3,
            subscriptions=3,
            total_bytes=220 if tight else 2_000,
            trace_events=8 if short_trace else 5_000,
            trace_bytes=2_500 if short_trace else 2**20,
            key_window=9.0,
            undo_bytes=60 if tight else 200,
        )
        self.switch = Switch(first_id=FIRST_ID, now=self.now, limits=limits)
        self.model = Model(
            first_id=FIRST_ID, limits=limits, batch_bytes=BATCH_BYTES, most_kept=MOST_KEPT
        )
        self.both("create_queue", "a", first)
        self.both("create_queue", "b", second)
        self.log_in("1", 20.0)
        self.log_in("2", 5.0)
        for client, name in subscribed.split():
            given = credit if client in streaming else None
            self.both("subscribe", name, token=f"s00{client}", credit=given)
        for client in streaming:
            self.both_stream("resume_stream", f"s00{client}", after=None, room=1_000)
        for name in sent:
            self.both("send", name, Draft(payload=name, reply_to="b"))
        for token in polled:
            self.answer(self.both_wait("transfer", token=token))

    # -- doing the same thing to both -----------------------------------------------------------

    def both(self, operation: str, *args: Any, **fields: Any) -> Any:
        """Do it to both, and demand the same answer or the same refusal."""
        self.agreed = False
        real = outcome(lambda: getattr(self.switch, operation)(*args, now=self.now, **fields))
        model = outcome(lambda: getattr(self.model, operation)(*args, now=self.now, **fields))
        assert real == model, f"{operation}: {real} is not {model}"
        self.compare()
        return real

    def both_wait(self, operation: str, *args: Any, **fields: Any) -> Any:
        """The same for an operation that answers with a wait: the pair, or None if refused."""
        self.agreed = False
        real = outcome(lambda: getattr(self.switch, operation)(*args, now=self.now, **fields))
        fields.pop("after" if operation == "watch" else "", None)
        fields.pop("limit" if operation == "watch" else "", None)
        model = outcome(lambda: getattr(self.model, operation)(*args, now=self.now, **fields))
        if not isinstance(real, Wait) or not isinstance(model, naive.Wait):
            assert real == model, f"{operation}: {real} is not {model}"
            self.compare()
            return None
        self.model_wait[real] = model
        self.compare()
        return real, model

    def both_with(self, pair: tuple[Any, Any], operation: str, *args: Any, **fields: Any) -> None:
        """The same for an operation on a wait, which has no answer."""
        self.agreed = False
        real, model = pair
        done = outcome(lambda: getattr(self.switch, operation)(real, *args, now=self.now, **fields))
        getattr(self.model, operation)(model, *args, now=self.now, **fields)
        assert done is None, f"{operation}: {done}"
        self.compare()

    def both_stream(self, operation: str, *args: Any, **fields: Any) -> Any:
        """The same for an operation that makes a stream: the pair, or None if refused."""
        self.agreed = False
        real = outcome(lambda: getattr(self.switch, operation)(*args, now=self.now, **fields))
        model = outcome(lambda: getattr(self.model, operation)(*args, now=self.now, **fields))
        if real[0] == "refused" or model[0] == "refused":
            assert real == model, f"{operation}: {real} is not {model}"
            self.compare()
            return None
        assert plain(real[0]) == model[0]
        pair = real[1], model[1]
        self.model_wait[real[1]] = model[1]
        self.streams.append(pair)
        self.compare()
        return pair

    def compare(self) -> None:
        self.compare_numbers()
        self.compare_events()
        self.compare_waits()
        self.compare_state()
        self.compare_streams()
        self.every_message_is_in_one_place()
        self.a_held_message_has_one_holder()
        self.what_is_finished_stays_gone()
        self.the_oldest_ready_message_is_first()
        self.nobody_waits_for_a_ready_message()
        self.nobody_stands_in_line_after_the_end()
        self.what_is_held_knows_what_counts_it()
        self.streams_are_pushed_what_they_can_get()
        self.what_is_to_be_pushed_is_held_by_its_session()
        self.bounds_hold()
        self.bytes_are_counted_exactly()
        self.what_was_removed_is_nowhere_else()
        self.children_are_calls_that_somebody_waits_for()
        self.deadlines_are_of_living_things()
        self.agreed = True

    def compare_numbers(self) -> None:
        """A refused request may use up a number; none is ever used twice."""
        switch, model = self.switch, self.model
        assert switch._next_id >= model.next_number
        model.next_number = switch._next_id

    def compare_events(self) -> None:
        report = self.switch.trace.after(self.last_event, 10**9)
        real = Counter(
            (e.kind, e.queue, e.message, e.client, e.detail, e.parent) for e in report.events
        )
        model = self.model.events[self.events_compared :]
        assert [e.number for e in report.events] == list(
            range(report.next - len(report.events) + 1, report.next + 1)
        )
        if report.dropped:
            assert len(report.events) + report.dropped == len(model)
            assert real <= Counter(model)
        else:
            assert real == Counter(model)
        for event in report.events:
            assert event.at == self.now
        self.last_event = report.next
        self.events_compared = len(self.model.events)
        for kind, _, message, *_ in model:
            if kind in ("acked", "replied", "dropped"):
                self.finished.add(message)

    def compare_waits(self) -> None:
        """One wake for each wait that ended, or stream that has something; and the same ended."""
        woken = self.switch.woken
        for wait in woken:
            reasons = [("end", wait.done)]
            if isinstance(wait, Stream):
                reasons.append(("batch", bool(wait.batch)))
            news = {(wait, why) for why, true in reasons if true} - self.woken_for
            assert news, "a wait was woken for nothing new"
            self.woken_for.add(min(news, key=lambda new: new[1]))
        assert Counter(self.model_wait[w] for w in woken) == Counter(self.model.woken)
        woken.clear()
        self.model.woken.clear()
        for real, model in [*self.transfers, *self.streams, *self.calls, *self.watches]:
            assert real.done == model.done
        for call, naive_call in self.calls:
            assert plain(call.response) == naive_call.response
            assert self.same_verdict(codes(call.verdict), naive_call.verdict)

    def same_verdict(self, real: object, expected: object) -> bool:
        if self.switch.trace.last - FIRST_ID >= len(self.switch.trace):
            # The trace is too short to know what became of what has ended.
            return real in (expected, ["forgotten"], ("refused", "message_not_found"))
        # A delay that ended leaves no event, so that a purge of the ready ones alone, or of the
        # delayed ones alone, may be blamed for what was there until the queue was destroyed. And
        # what an undo brought back may have gone by an earlier purge than is thought.
        if self.purged_in_part and real in PURGED_OR_DESTROYED:
            return expected in PURGED_OR_DESTROYED
        return real == expected

    def compare_state(self) -> None:
        switch, model = self.switch, self.model
        assert switch.queues.keys() == model.queues.keys()
        assert sorted(switch.messages) == sorted(m.id for m in model.messages)
        for name, queue in switch.queues.items():
            expected = model.queues[name]
            assert queue.policy == expected.policy
            assert (queue.paused_at is not None) == expected.paused
            assert queue.refused == expected.refused
            assert (queue.refused_at is not None) == (expected.refused > 0)
            assert (queue.owner.token if queue.owner else None) == (
                expected.owner.token if expected.owner else None
            )
            assert (queue.sent, queue.delivered, queue.acked) == (
                expected.sent,
                expected.delivered,
                expected.acked,
            )
            assert list(queue.dead) == [m.id for m in model.dead(name)]
            assert set(queue.keys) == {k.text for k in model.keys if k.queue == name}
            for state in State:
                ids = sorted(m.id for m in queue.messages(state))
                assert ids == [m.id for m in model.of(name, state)]
        for m in model.messages:
            self.compare_message(m)
        assert list(switch.sessions) == [s.token for s in model.sessions]
        for s in model.sessions:
            session = switch.sessions[s.token]
            assert list(session.subscriptions) == list(s.subscriptions)
            for name, subscription in session.subscriptions.items():
                assert subscription.credit == s.subscriptions[name]
                assert subscription.held == sum(m.queue == name for m in model.held_by(s))
            assert list(session.held) == [m.delivery for m in model.held_by(s)]
            assert sorted(session.owned) == sorted(model.owned(s))
            stream = model.stream_of(s)
            assert self.model_wait.get(session.stream) is stream
            assert session.open == len(model.open_of(s)) + (stream is not None)
            assert session.next_transfer_by == s.expected_by
            assert session.id == s.id
        assert switch.consumers.keys() == model.left.keys()
        for name, consumers in switch.consumers.items():
            assert sorted(consumers.sessions) == sorted(s.token for s in model.subscribers(name))
            left = consumers.left
            assert (None if left is None else (left.client, left.reason)) == model.left[name]
        for address in self.calls_made | switch.calls.keys():
            assert (address in switch.calls) == bool(model.call_at(address))
        self.calls_made |= switch.calls.keys()
        assert switch.bytes == model.bytes()
        assert [asdict(removed.info()) for removed in switch.undoable.values()] == (
            model.list_undo(now=self.now)
        )

    def compare_streams(self) -> None:
        """The same is to be pushed in the same order, and room is left for as much."""
        open_now = [w for w in self.switch.waiting() if isinstance(w, Stream)]
        assert {self.model_wait[w] for w in open_now} == set(self.model.streams)
        for real, model in self.streams:
            assert real.superseded == model.superseded
            assert [number for number, _ in real.batch or ()] == [
                number for number, _ in model.batch
            ]
            if not real.done:
                assert real.room == model.room

    def compare_message(self, m: naive.Message) -> None:
        real = self.switch.messages[m.id]
        draft = m.draft
        assert real.queue == m.queue
        assert real.payload == draft.payload
        assert real.correlation_id == draft.correlation_id
        assert real.reply_to == draft.reply_to
        assert (real.headers or {}) == (draft.headers or {})
        assert real.error == draft.error
        assert (real.sender, real.sent_at) == (m.sender, m.sent_at)
        assert (real.expires_at, real.due_at) == (m.expires_at, m.due_at)
        assert real.delivery_count == m.count
        if m.holder is None:
            assert real.hold is None
        else:
            assert real.hold is not None
            assert real.hold.session is self.switch.sessions[m.holder.token]
            assert (real.hold.delivery, real.hold.since) == (m.delivery, m.held_since)
        assert (real.death.cause if real.death else None) == m.cause
        returns = [] if real.returns is None else [r.at for r in real.returns]
        assert returns == m.returns[-5:]

    # -- what holds at all times ----------------------------------------------------------------

    def every_message_is_in_one_place(self) -> None:
        places = Counter(m.id for q in self.switch.queues.values() for m in q.messages())
        assert set(places) == set(self.switch.messages)
        assert all(count == 1 for count in places.values())
        for queue in self.switch.queues.values():
            for message in queue.messages():
                assert message.queue == queue.name
                assert (message.state is State.HELD) == (message.hold is not None)

    def a_held_message_has_one_holder(self) -> None:
        holders = Counter(m.id for s in self.switch.sessions.values() for m in s.held.values())
        assert all(count == 1 for count in holders.values())
        assert set(holders) == {
            m.id for m in self.switch.messages.values() if m.state is State.HELD
        }
        for session in self.switch.sessions.values():
            assert list(session.held) == sorted(session.held)

    def what_is_finished_stays_gone(self) -> None:
        assert not self.finished & self.switch.messages.keys()

    def the_oldest_ready_message_is_first(self) -> None:
        for queue in self.switch.queues.values():
            ready = [m.id for m in queue.messages(State.READY)]
            head = queue.head()
            assert (head.id if head else None) == min(ready, default=None)
            assert queue.ready == len(ready)

    def nobody_waits_for_a_ready_message(self) -> None:
        for name, queue in self.switch.queues.items():
            consumers = self.switch.consumers.get(name)
            if queue.ready and queue.paused_at is None and consumers is not None:
                assert all(wait.done for wait in consumers.waits)

    def nobody_stands_in_line_after_the_end(self) -> None:
        for consumers in self.switch.consumers.values():
            for wait in consumers.waits:
                if isinstance(wait, Stream):
                    assert wait.session.stream is wait
                else:
                    assert self.switch._waits.get(wait.number) is wait

    def what_is_held_knows_what_counts_it(self) -> None:
        assert not NOTHING_HELD
        for session in self.switch.sessions.values():
            for message in session.held.values():
                assert message.hold is not None
                subscription = session.subscriptions.get(message.queue)
                assert subscription in (None, message.hold.subscription)

    def streams_are_pushed_what_they_can_get(self) -> None:
        switch = self.switch
        for session in switch.sessions.values():
            stream = session.stream
            if stream is None or stream.room <= 0:
                continue
            assert not stream.done
            assert not stream.resend, "there is room to push it again"
            for name, subscription in session.subscriptions.items():
                if subscription.held < subscription.credit:
                    assert stream in switch.consumers[name].waits
                    queue = switch.queues.get(name)
                    assert queue is None or not queue.ready or queue.paused_at is not None

    def what_is_to_be_pushed_is_held_by_its_session(self) -> None:
        for session in self.switch.sessions.values():
            if session.stream is not None:
                batch = session.stream.batch or []
                batch = [n for n, m in batch if self.switch._holds(n, m)]
                assert batch == sorted(set(batch))
                assert set(batch) <= session.held.keys()

    def bounds_hold(self) -> None:
        switch, limits = self.switch, self.switch.limits
        assert len(switch.sessions) <= limits.sessions
        assert len(switch.queues) <= limits.queues
        assert switch.bytes <= limits.total_bytes
        assert len(switch.trace) <= limits.trace_events
        assert switch.trace.bytes <= limits.trace_bytes
        assert switch.undo_bytes <= limits.undo_bytes
        assert len(switch.undoable) <= MOST_KEPT
        for queue in switch.queues.values():
            assert len(queue.dead) <= queue.policy.max_dead
        for session in switch.sessions.values():
            assert len(session.subscriptions) <= limits.subscriptions

    def bytes_are_counted_exactly(self) -> None:
        switch = self.switch
        records = [r for queue in switch.queues.values() for r in queue.keys.values()]
        messages = sum(m.size for m in switch.messages.values())
        assert switch.bytes == messages + sum(r.size for r in records)
        for queue in switch.queues.values():
            assert queue.bytes == sum(m.size for m in queue.messages())

    def what_was_removed_is_nowhere_else(self) -> None:
        switch = self.switch
        kept = Counter(m.id for r in switch.undoable.values() for m in r.messages)
        assert all(count == 1 for count in kept.values())
        assert not kept.keys() & switch.messages.keys()
        sizes = [m.size for r in switch.undoable.values() for m in r.messages]
        assert switch.undo_bytes == sum(sizes)

    def children_are_calls_that_somebody_waits_for(self) -> None:
        children = {parent: set(calls) for parent, calls in self.switch.children.items()}
        assert children == self.model.children()

    def deadlines_are_of_living_things(self) -> None:
        switch, deadlines = self.switch, self.switch._deadlines
        wait_number = {model.number: real.number for real, model in self.model_wait.items()}
        expected = {
            (Due(kind), wait_number[what] if kind == naive.WAIT_ENDS else what): when
            for when, kind, what in self.model.deadlines()
        }
        ends = {
            key: when
            for when, key in deadlines._heap
            if key[0] is Due.WAIT_ENDS and key[1] in switch._waits
        }
        due = {**deadlines._when, **ends}
        for key, when in due.items():
            if key[0] is Due.LEASE_ENDS:
                # It is looked at then, and once more if the session has not been silent so long.
                session = switch.sessions[key[1]]
                assert when <= expected.pop(key, when)
                assert session.open or when <= session.last_seen + session.lease
            elif key[0] is Due.WAIT_ENDS and switch._waits[key[1]].done:
                assert key not in expected
            else:
                assert expected.pop(key, None) == when, f"{key} is due at {when}"
        assert not expected, f"{expected} will never come"
        first = switch.next_deadline()
        if due:
            assert first is not None
            assert first <= min(due.values())
        else:
            assert first is None

    # -- choosing -------------------------------------------------------------------------------

    def name(self, data: st.DataObject) -> str:
        names = [*self.switch.queues] * 4
        return data.draw(st.sampled_from([*names, *NAMES, "nowhere"]), label="name")

    def token(self, data: st.DataObject) -> str | None:
        tokens: list[str | None] = [*self.switch.sessions] * 8
        return data.draw(
            st.sampled_from([*tokens, None, "nobody", *self.ended_tokens[-1:]]), label="token"
        )

    def sender_token(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from([None, *self.switch.sessions]), label="sender")

    def ids(self, data: st.DataObject, token: str | None, most: int = 3) -> list[int]:
        """Ids of messages: mostly those that the session holds."""
        session = self.switch.sessions.get(token or "")
        held = [m.id for m in session.held.values()] if session else []
        requests = [m.id for m in session.held.values() if m.reply_to] if session else []
        others = [m.id for m in self.switch.messages.values() if m.hold] * 2
        others += [*self.switch.messages, *sorted(self.finished)[-2:], 1]
        choice = st.sampled_from(requests * 4 + held * 4 + others)
        return data.draw(st.lists(choice, min_size=1, max_size=most), label="ids")

    def draft(self, data: st.DataObject) -> Draft:
        reply_to = [None, None, *self.switch.queues, *self.switch.calls, "nowhere"]
        return Draft(
            payload=data.draw(payloads),
            correlation_id=data.draw(st.sampled_from([None, "", "c1"])),
            reply_to=data.draw(st.sampled_from(reply_to)),
            ttl=data.draw(st.sampled_from([None, None, 2.0, 6.0])),
            delay=data.draw(st.sampled_from([0.0, 0.0, 0.0, 1.0, 5.0])),
            headers=self.some_headers(data),
            key=data.draw(keys),
        )

    def some_headers(self, data: st.DataObject) -> dict[str, str] | None:
        """Sometimes they name a parent, which may be a lie."""
        if not data.draw(st.booleans(), label="parent"):
            return data.draw(headers)
        held = [str(m.id) for m in self.switch.messages.values() if m.hold] * 4
        others = [*map(str, self.switch.messages), str(self.switch._next_id + 1)]
        parents = st.sampled_from([*held, *others]) | no_parents
        return {PARENT: data.draw(parents, label="parent")}

    # -- time -----------------------------------------------------------------------------------

    @rule(step=steps, told=st.booleans())
    def time_passes(self, step: float, told: bool) -> None:
        self.now += step
        if told:
            self.both("advance")

    @rule(early=st.sampled_from([0.0, 0.0, 0.25]), told=st.booleans())
    def time_passes_to_the_next_deadline(self, early: float, told: bool) -> None:
        due = min((when for when, _, _ in self.model.deadlines()), default=self.now)
        self.now = max(self.now, due - early)
        if told:
            self.both("advance")

    @rule(data=st.data(), timed=st.booleans(), put_off=st.booleans())
    def time_stands_still(self, data: st.DataObject, timed: bool, put_off: bool) -> None:
        """A server takes a message and shows a sign of life, perhaps for the message too; then much
        falls due at once."""
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        session = self.switch.sessions[token]
        for pair in self.streams:
            if pair[0] is session.stream:
                self.close(pair)
        if session.ended:
            return
        if timed:
            self.both("change_queue", name, {"ack_timeout": session.lease * 1.25}, token=token)
        self.both("send", name, Draft(payload="x"))
        self.answer(self.both_wait("transfer", token=token))
        self.now += session.lease * 0.75
        self.both("touch", token, [m.id for m in session.held.values()] if put_off else [])
        self.both("send", name, Draft(payload="x"))
        self.now += session.lease + 40.0
        self.both("advance")

    @rule(data=st.data(), has=st.sampled_from(["a message", "subscriptions", "nothing"]))
    def falls_silent(self, data: st.DataObject, has: str) -> None:
        """A session sends now and then, but no longer asks for messages."""
        self.both("advance")
        tokens = [*self.switch.sessions]
        if not tokens:
            return
        token = data.draw(st.sampled_from(tokens), label="token")
        session = self.switch.sessions[token]
        for pair in self.streams:
            if pair[0] is session.stream:
                self.close(pair)
        for pair in [pair for pair in self.transfers if pair[0].session is session]:
            self.transfers.remove(pair)
            self.answer(pair)
        if session.ended:
            return
        if has == "a message":
            for name in [*session.subscriptions][:1]:
                self.both("send", name, Draft(payload="x"))
            self.answer(self.both_wait("transfer", token=token))
        elif has == "nothing":
            self.both("nack", [m.id for m in session.held.values()], token=token)
            for name in [*session.subscriptions]:
                self.both("unsubscribe", name, token=token)
        for _ in range(2):
            self.now += session.lease * 0.75
            self.both("send", self.name(data), Draft(payload="x"), token=token)
        self.see_verdicts()

    # -- sessions -------------------------------------------------------------------------------

    @rule(data=st.data(), client=st.sampled_from("123"), lease=leases)
    def login(self, data: st.DataObject, client: str, lease: float) -> None:
        token = self.log_in(client, lease)
        if token in self.switch.sessions:
            self.subscribe_to_some(data, token)

    def subscribe_to_some(self, data: st.DataObject, token: str) -> None:
        for name in self.switch.queues:
            if data.draw(st.booleans(), label=f"subscribe to {name}"):
                credit = data.draw(credits, label="credit")
                self.both("subscribe", name, token=token, credit=credit)

    def log_in(self, client: str, lease: float) -> str:
        self.logins += 1
        token = f"s{self.logins:03}"
        self.both("login", token, f"client {client}", lease)
        return token

    @rule(data=st.data())
    def logout(self, data: st.DataObject) -> None:
        token = self.token(data)
        self.both("logout", token)
        if token is not None:
            self.ended_tokens.append(token)

    @rule(data=st.data())
    def end_session(self, data: st.DataObject) -> None:
        ids = [session.id for session in self.switch.sessions.values()]
        self.both("end_session", data.draw(st.sampled_from([*ids, 1]), label="id"))

    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        token = self.token(data)
        self.both("touch", token, self.ids(data, token) if data.draw(st.booleans()) else ())

    # -- queues ---------------------------------------------------------------------------------

    @rule(data=st.data(), policy=st.none() | policies)
    def create(self, data: st.DataObject, policy: Policy | None) -> None:
        names = [*NAMES, *NAMES, *NO_NAMES, *self.switch.calls]
        # Somebody may guess the name of the next reply address.
        names += [f"call.{self.switch._next_id + n}" for n in range(2)]
        name = data.draw(st.sampled_from([*names, *self.switch.consumers]), label="name")
        self.both("create_queue", name, policy, token=self.sender_token(data))

    @rule(data=st.data(), policy=st.none() | policies, subscribe=st.booleans())
    def create_fresh(self, data: st.DataObject, policy: Policy | None, subscribe: bool) -> None:
        token = self.token(data)
        answer = self.both("create_fresh_queue", policy, token=token)
        if isinstance(answer, dict) and subscribe:
            self.both("subscribe", answer["name"], token=token)

    @rule(data=st.data(), guess=st.integers(0, 1))
    def guess_fresh(self, data: st.DataObject, guess: int) -> None:
        """Somebody guesses the name of the next fresh queue and listens in advance."""
        token = self.token(data)
        if len(self.switch.queues) + 1 >= self.switch.limits.queues:
            self.both("destroy_queue", next(iter(self.switch.queues)))
        name = f"fresh.{self.switch._next_id + guess}"
        self.both("create_queue", name)
        self.both("subscribe", name, token=token)
        if data.draw(st.booleans(), label="destroy"):
            self.both("destroy_queue", name)
        answer = self.both("create_fresh_queue", token=self.token(data))
        if isinstance(answer, dict):
            assert answer["name"] not in self.switch.consumers, "somebody listens already"

    @rule(data=st.data(), changes=changes)
    def change(self, data: st.DataObject, changes: dict[str, Any]) -> None:
        self.both("change_queue", self.name(data), changes, token=self.sender_token(data))

    @rule(data=st.data(), undo_for=undo_times, purged=st.booleans())
    def destroy(self, data: st.DataObject, undo_for: float, purged: bool) -> None:
        name = self.name(data)
        token = self.sender_token(data)
        if purged:
            self.both("purge_queue", name, token=token)
        self.both("destroy_queue", name, token=token, undo_for=undo_for)
        for id in sorted(self.model.fates)[-3:]:
            self.see_message(id)
        if data.draw(st.sampled_from([True, True, False]), label="create it again"):
            self.both("create_queue", name)

    @rule(data=st.data(), state=st.sampled_from([None, None, *State]), undo_for=undo_times)
    def purge(self, data: st.DataObject, state: State | None, undo_for: float) -> None:
        token = self.sender_token(data)
        answer = self.both("purge_queue", self.name(data), state, token=token, undo_for=undo_for)
        if state in (State.READY, State.DELAYED) and isinstance(answer, dict) and answer["purged"]:
            self.purged_in_part = True

    @rule(
        data=st.data(),
        state=st.sampled_from([None, None, *State, "destroy"]),
        sent=st.integers(0, 2),
        then=st.sampled_from(
            ["fill all", "nothing", "wait", "fill", "subscribe", "fill all", "purge again"]
        ),
        step=st.sampled_from([0.0, 1.0, 5.0]),
    )
    def remove_and_undo(
        self, data: st.DataObject, state: State | str | None, sent: int, then: str, step: float
    ) -> None:
        """Somebody removes messages, or a queue with them, and changes their mind."""
        self.both("advance")
        name = data.draw(st.sampled_from([*self.switch.queues, "a"]), label="name")
        for _ in range(sent):
            self.both("send", name, Draft(payload="x", ttl=data.draw(st.sampled_from([None, 0.5]))))
        if state == "destroy":
            answer = self.both("destroy_queue", name, undo_for=5.0)
        else:
            answer = self.both("purge_queue", name, state, undo_for=5.0)
            answer = answer["undo"] if isinstance(answer, dict) else None
        if not isinstance(answer, dict):
            return
        self.purged_in_part = True
        if then == "wait":
            self.wait_for_queue(name)
        elif then == "fill":
            for _ in range(3):
                self.both("send", name, Draft(payload="p" * 24))
        elif then == "fill all":
            self.fill_switch(left=0)
        elif then == "subscribe":
            self.both("create_queue", name)
            for token in self.switch.sessions:
                self.both("subscribe", name, token=token, credit=1)
        elif then == "purge again":
            self.both("purge_queue", name, undo_for=30.0)
        self.now += step
        self.undo_both(answer["id"])

    @rule(data=st.data(), ttl=st.sampled_from([None, 1.0]))
    def bury_again(self, data: st.DataObject, ttl: float | None) -> None:
        """Others have died when the dead that somebody removed come back."""
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        self.both("change_queue", name, {"max_dead": 1}, token=token)
        self.reject(token, name, ttl)
        answer = self.both("purge_queue", name, State.DEAD, token=token, undo_for=5.0)
        self.reject(token, name, ttl)
        if isinstance(answer, dict) and answer["undo"]:
            self.purged_in_part = True
            self.undo_both(answer["undo"]["id"])

    @rule(
        data=st.data(),
        sizes=st.lists(st.sampled_from([1, 20, 60]), min_size=3, max_size=5),
        destroy=st.booleans(),
    )
    def remove_often(self, data: st.DataObject, sizes: list[int], destroy: bool) -> None:
        """More is removed than may be restored."""
        name = data.draw(st.sampled_from([*self.switch.queues, "a"]), label="name")
        for size in sizes:
            self.both("create_queue", name)
            self.both("send", name, Draft(payload="x" * size))
            if destroy:
                self.both("destroy_queue", name, undo_for=30.0)
            else:
                self.both("purge_queue", name, undo_for=30.0)

    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        ids = [*self.switch.undoable] * 4 + [1]
        self.purged_in_part = True
        self.undo_both(data.draw(st.sampled_from(ids), label="id"))

    def undo_both(self, id: int) -> None:
        """Which of those that expire together dies first is left open."""
        removed = self.switch.undoable.get(id)
        if removed is not None:
            self.model.reorder(id, [m.id for m in removed.messages])
        self.both("undo", id)

    @rule(data=st.data(), resume=st.sampled_from([False, False, True]))
    def pause_or_resume(self, data: st.DataObject, resume: bool) -> None:
        operation = "resume_queue" if resume else "pause_queue"
        self.both(operation, self.name(data), token=self.sender_token(data))

    @rule(
        data=st.data(),
        sent=st.integers(1, 3),
        waiting=st.booleans(),
        step=st.sampled_from([0.0, 1.0, 3.0]),
        meanwhile=st.sampled_from(["nothing", "give back", "grant", "destroy"]),
    )
    def pause_and_resume(
        self, data: st.DataObject, sent: int, waiting: bool, step: float, meanwhile: str
    ) -> None:
        """Nobody gets a message of a queue that is paused, and all is handed out afterwards."""
        self.both("advance")
        name = data.draw(st.sampled_from([*self.switch.queues, "a"]), label="name")
        self.both("pause_queue", name)
        queue = self.switch.queues.get(name)
        if queue is None or queue.paused_at is None:
            return  # it belongs to a session
        delivered = queue.delivered
        if waiting:
            for token in self.switch.sessions:
                self.transfers.append(self.both_wait("transfer", token=token, timeout=4.0))
        for _ in range(sent):
            self.both("send", name, Draft(payload="x"))
        if meanwhile == "give back":
            self.both("requeue", name)
        elif meanwhile == "grant":
            for pair in [pair for pair in self.streams if not pair[0].done]:
                self.give_room(pair, 1_000)
        elif meanwhile == "destroy":
            answer = self.both("destroy_queue", name, undo_for=30.0)
            self.purged_in_part = True
            if isinstance(answer, dict):
                self.undo_both(answer["id"])
        self.now += step
        self.both("advance")
        assert queue.delivered == delivered, "a paused queue handed something out"
        self.both("resume_queue", name)

    @rule(data=st.data(), everything=st.booleans())
    def requeue(self, data: st.DataObject, everything: bool) -> None:
        held = [m for m in self.switch.messages.values() if m.state is State.HELD]
        name = data.draw(st.sampled_from([m.queue for m in held] * 3 + NAMES), label="name")
        ids = None
        if not everything:
            choice = [m.id for m in held] * 3 + [*self.switch.messages, 1]
            ids = data.draw(st.lists(st.sampled_from(choice), max_size=3), label="ids")
        self.both("requeue", name, ids, token=self.sender_token(data))

    @rule(
        data=st.data(),
        sent=st.integers(0, 2),
        state=st.sampled_from([None, None, "some", "some", *State]),
        how=st.sampled_from(["reject", "send", "take", "for later"]),
        then=st.sampled_from(["nothing", "purge", "destroy", "wait"]),
    )
    def move(
        self, data: st.DataObject, sent: int, state: State | str | None, how: str, then: str
    ) -> None:
        self.both("advance")
        for name in "ab":
            self.both("create_queue", name)
        source = self.name(data)
        targets = [name for name in self.switch.queues if name != source] * 3 + [self.name(data)]
        target = data.draw(st.sampled_from(targets), label="target")
        server = self.server(data)
        if how == "send":
            for _ in range(sent):
                self.both("send", source, self.draft(data))
            self.both("send", target, Draft(payload="x"))
        elif how == "for later":
            self.both("send", source, Draft(payload="x", delay=5.0))
        elif server is not None:
            token, source = server
            if how == "reject":
                self.reject(token, source, ttl=None)
                state = State.DEAD if isinstance(state, State) else state
            else:
                self.both("send", source, Draft(payload="x"))
                self.answer(self.both_wait("transfer", token=token))
        if then == "wait":
            self.both("pause_queue", source)
            self.wait_for_queue(target)
        sender = self.sender_token(data)
        if state == "some":
            here = [m.id for m in self.switch.messages.values() if m.queue == source]
            choice = st.sampled_from([*here, *here, *self.switch.messages, 1])
            ids = data.draw(st.lists(choice, max_size=3), label="ids")
            self.both("move_messages", source, target, ids=ids, token=sender)
        else:
            self.both("move_messages", source, target, state=state, token=sender)
        if then == "purge":
            self.both("purge_queue", target)
        elif then == "destroy":
            self.both("destroy_queue", target)
        for id in sorted(self.model.fates)[-3:]:
            self.see_message(id)

    def wait_for_queue(self, name: str) -> None:
        """All sessions take what there is, and wait for more."""
        for token in self.switch.sessions:
            self.both("subscribe", name, token=token, credit=3)
            self.answer(self.both_wait("transfer", token=token, limit=10))
        for token in self.switch.sessions:
            self.transfers.append(self.both_wait("transfer", token=token, timeout=4.0))

    @rule(data=st.data(), everything=st.booleans())
    def replay(self, data: st.DataObject, everything: bool) -> None:
        dead = [m for m in self.switch.messages.values() if m.state is State.DEAD]
        name = data.draw(st.sampled_from([m.queue for m in dead] * 3 + NAMES), label="name")
        ids = None
        if not everything:
            choice = [m.id for m in dead] * 3 + [*self.switch.messages, 1]
            ids = data.draw(st.lists(st.sampled_from(choice), max_size=3), label="ids")
        self.both("replay_dead", name, ids, token=self.sender_token(data))

    @rule(data=st.data(), ttl=st.sampled_from([None, 6.0]))
    def reject_and_replay(self, data: st.DataObject, ttl: float | None) -> None:
        """A consumer rejects what it has, and somebody replays that."""
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        self.reject(token, name, ttl)
        if data.draw(st.booleans(), label="replay"):
            self.both("replay_dead", name, token=token)

    def reject(self, token: str, name: str, ttl: float | None) -> None:
        """A session rejects all that it can get of a queue."""
        self.both("send", name, Draft(payload="x", ttl=ttl))
        self.answer(self.both_wait("transfer", token=token, limit=3))
        held = [m.id for m in self.switch.sessions[token].held.values() if m.queue == name]
        if held:
            self.both("nack", held, token=token, requeue=False)

    @rule(data=st.data())
    def inspect(self, data: st.DataObject) -> None:
        self.both("inspect_queue", self.name(data))

    # -- sending --------------------------------------------------------------------------------

    def saw_new_number(self, number: int) -> None:
        assert number not in self.numbers, "a number was used twice"
        assert number > self.highest, "numbers must grow"
        self.numbers.add(number)
        self.highest = number

    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        names = [*self.switch.queues] * 6 + [*self.switch.calls, "nowhere"]
        name = data.draw(st.sampled_from(names), label="name")
        answer = self.both("send", name, self.draft(data), token=self.sender_token(data))
        if isinstance(answer, dict) and answer["created"]:
            self.saw_new_number(answer["id"])

    @rule(
        data=st.data(),
        batch=st.lists(st.sampled_from(["x", "p" * 24, "q" * 60]), min_size=2, max_size=4),
        reply_to=st.sampled_from([None, "a", "b"]),
    )
    def send_many(self, data: st.DataObject, batch: list[str], reply_to: str | None) -> None:
        name = self.name(data)
        for payload in batch:
            answer = self.both("send", name, Draft(payload=payload, reply_to=reply_to))
            if isinstance(answer, dict):
                self.saw_new_number(answer["id"])

    @rule(
        data=st.data(),
        later=st.sampled_from([1.0, 5.0]),
        ttl=st.sampled_from([0.5, 2.0]),
        step=st.sampled_from([0.0, 2.0, 10.0]),
    )
    def send_for_later(self, data: st.DataObject, later: float, ttl: float, step: float) -> None:
        """Somebody waits for a message that is ready after a while, and not for long."""
        self.both("advance")
        server = self.server(data)
        if server is None or server[1] not in self.switch.queues:
            return
        pair = self.both_wait("transfer", token=server[0], timeout=20.0)
        self.transfers.append(pair)
        self.both("send", server[1], Draft(payload="x", delay=later, ttl=later + ttl))
        self.now += step
        self.both("advance")

    @rule(data=st.data(), payload=payloads, key=st.sampled_from(["k1", "k2"]))
    def send_again(self, data: st.DataObject, payload: str, key: str) -> None:
        name = self.name(data)
        for each in (payload, data.draw(st.sampled_from([payload, "other"]))):
            self.both("send", name, Draft(payload=each, key=key))

    # -- receiving ------------------------------------------------------------------------------

    @rule(data=st.data(), credit=credits)
    def subscribe(self, data: st.DataObject, credit: int | None) -> None:
        self.both("subscribe", self.name(data), token=self.token(data), credit=credit)

    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        token = self.token(data)
        session = self.switch.sessions.get(token or "")
        names = list(session.subscriptions) if session else []
        name = data.draw(st.sampled_from([*names, *names, *NAMES]), label="name")
        self.both("unsubscribe", name, token=token)

    @rule(data=st.data(), sent=st.integers(0, 2))
    def subscribe_while_waiting(self, data: st.DataObject, sent: int) -> None:
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        self.both("unsubscribe", name, token=token)
        self.transfers.append(self.both_wait("transfer", token=token, timeout=4.0))
        for _ in range(sent):
            self.both("send", name, Draft(payload="x"))
        self.both("subscribe", name, token=token)
        self.both("send", name, Draft(payload="x"))

    @rule(
        data=st.data(),
        timeout=timeouts,
        limit=st.sampled_from([1, 1, 2, 3, 10]),
        ack=st.sampled_from([False, False, True]),
        reply=st.sampled_from([False, False, True]),
    )
    def transfer(
        self, data: st.DataObject, timeout: float, limit: int, ack: bool, reply: bool
    ) -> None:
        token = self.token(data)
        session = self.switch.sessions.get(token or "")
        seen = [self.last_next.get(token or "", 0)]
        after: list[int | None] = [None, None, 0, 0, *seen, *seen]
        after += list(session.held) if session else []
        fields: dict[str, Any] = {
            "after": data.draw(st.sampled_from(after), label="after"),
            "timeout": timeout,
            "limit": limit,
        }
        if ack:
            fields["acks"] = self.ids(data, token)
        if reply:
            fields["replies"] = [
                Reply(id=id, payload=data.draw(payloads), error=data.draw(failures))
                for id in self.ids(data, token, most=2)
            ]
        pair = self.both_wait("transfer", token=token, **fields)
        if pair is not None:
            if data.draw(st.booleans(), label="answered at once") and pair[0].done:
                self.answer(pair)
            else:
                self.transfers.append(pair)

    @rule(
        data=st.data(),
        limit=st.sampled_from([1, 2, 10]),
        again=st.booleans(),
        anew=st.booleans(),
    )
    def poll(self, data: st.DataObject, limit: int, again: bool, anew: bool) -> None:
        """A Transfer as a client library makes it; its answer may get lost."""
        tokens = [*self.switch.sessions]
        if not tokens:
            return
        token = data.draw(st.sampled_from(tokens), label="token")
        for _ in range(1 + again):
            after = 0 if anew else self.last_next.get(token, 0)
            pair = self.both_wait("transfer", token=token, after=after, limit=limit)
            self.answer(pair)

    @rule(
        data=st.data(),
        batch=st.lists(st.sampled_from(["x", "p" * 24, "q" * 60]), min_size=2, max_size=4),
        limit=st.sampled_from([1, 2, 10]),
    )
    def much_is_sent_again(self, data: st.DataObject, batch: list[str], limit: int) -> None:
        """A session that holds several messages, small and large, asks for all of them anew."""
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        for payload in batch:
            self.both("send", name, Draft(payload=payload))
            self.answer(self.both_wait("transfer", token=token))
        self.both("send", name, Draft(payload="x"))
        self.answer(self.both_wait("transfer", token=token, after=0, limit=limit))

    @rule(data=st.data(), timeout=timeouts)
    def poll_together(self, data: st.DataObject, timeout: float) -> None:
        """Everybody waits."""
        for token in data.draw(st.permutations([*self.switch.sessions]), label="tokens"):
            pair = self.both_wait("transfer", token=token, timeout=timeout)
            if pair is not None:
                self.transfers.append(pair)

    @rule(
        data=st.data(),
        pause=st.sampled_from([0.0, 0.0, 1.0, 4.0]),
        after=st.sampled_from([None, 0]),
        then=st.sampled_from(["nothing", "ack", "nack", "nack for later", "touch", "lease ends"]),
    )
    def serve(self, data: st.DataObject, pause: float, after: int | None, then: str) -> None:
        """One message goes all the way to its server, which acks it, or fails in some way."""
        self.now += pause
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        if name in self.switch.queues:
            self.both("send", name, self.draft(data))
        self.answer(self.both_wait("transfer", token=token, after=after, limit=10))
        ids = [m.id for m in self.switch.sessions[token].held.values()][:1]
        if then == "ack":
            self.both("ack", ids, token=token)
        elif then in ("nack", "nack for later"):
            self.both("nack", ids, token=token, delay=0.0 if then == "nack" else 3.0)
        elif then == "touch":
            self.now += 1.0
            self.both("touch", token, ids)
        elif then == "lease ends":
            self.now += self.switch.sessions[token].lease
            self.both("advance")

    def server(self, data: st.DataObject) -> tuple[str, str] | None:
        """A session and one of its queues, if there is any."""
        sessions = self.switch.sessions.values()
        served = [(s.token, name) for s in sessions for name in s.subscriptions]
        return data.draw(st.sampled_from(served), label="server") if served else None

    def choose(self, data: st.DataObject, pairs: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        indices = list(range(len(pairs)))
        done = [index for index in indices if pairs[index][0].done]
        return pairs.pop(data.draw(st.sampled_from(done * 3 + indices), label="which"))

    @precondition(lambda self: self.transfers)
    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        self.answer(self.choose(data, self.transfers))

    def answer(self, pair: tuple[TransferWait, naive.Transfer] | None) -> None:
        """Give a Transfer its answer, unless it was refused."""
        if pair is None:
            return
        self.agreed = False
        real, model = pair
        answer = outcome(lambda: self.switch.collect(real, now=self.now))
        expected = outcome(lambda: self.model.collect(model, now=self.now))
        assert answer == expected
        self.compare()
        if isinstance(answer, dict):
            self.look_at_answer(real, answer)

    def look_at_answer(self, wait: TransferWait, answer: dict[str, Any]) -> None:
        messages = answer["messages"]
        assert len(messages) <= max(wait.limit, len(wait.resent))
        size = sum(self.switch.messages[m["id"]].size for m in messages)
        assert size <= BATCH_BYTES or len(messages) == 1
        for m in messages:
            assert m["id"] not in self.finished, "an acked message came again"
            assert m["expires_at"] is None or m["delivery_count"] >= 1
            holder = self.switch.messages[m["id"]].hold
            assert holder is not None
            assert holder.session is wait.session
            self.shown.add((m["id"], m["delivery"]))
        if answer["superseded"]:
            assert not messages
        elif wait.ordered:
            self.last_next[wait.session.token] = answer["next"]

    @precondition(lambda self: self.transfers)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        self.lose_answer(self.choose(data, self.transfers))

    @rule(
        data=st.data(),
        first=st.sampled_from([None, None, 0]),
        then=st.sampled_from([None, 0, 0, "stream"]),
        lost=st.booleans(),
    )
    def answers_cross(
        self, data: st.DataObject, first: int | None, then: int | str | None, lost: bool
    ) -> None:
        """Two Transfers of one session, or one and a stream; the older answer may be lost."""
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        earlier = self.both_wait("transfer", token=token, after=first, timeout=4.0, limit=2)
        if name in self.switch.queues:
            self.both("send", name, Draft(payload="x"))
        if then == "stream":
            self.take_from(self.both_stream("resume_stream", token, after=0, room=1_000))
        else:
            self.answer(self.both_wait("transfer", token=token, after=then, limit=10))
        if lost:
            self.lose_answer(earlier)
        else:
            self.answer(earlier)

    def lose_answer(self, pair: tuple[TransferWait, naive.Transfer]) -> None:
        """The client left before the Transfer was answered."""
        real, model = pair
        self.both("advance")
        self.agreed = False
        held = [(m.id, m.hold.delivery) for m in self.switch.messages.values() if m.hold]
        known = len(self.model.events)
        self.switch.abandon(real, now=self.now)
        self.model.abandon(model, now=self.now)
        self.compare()
        lost = {event[2] for event in self.model.events[known:] if event[4] == "poll_lost"}
        for id, number in held:
            assert id not in lost or (id, number) not in self.shown, "somebody has it already"

    # -- streams --------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        client=st.sampled_from("123"),
        lease=st.sampled_from([0.0, 0.0, 5.0, 20.0]),
        room=rooms,
    )
    def open_stream(self, data: st.DataObject, client: str, lease: float, room: int) -> None:
        pair = self.open(client, lease, room)
        if pair is not None:
            self.subscribe_to_some(data, pair[0].session.token)

    def open(self, client: str, lease: float, room: int) -> Any:
        self.logins += 1
        token = f"s{self.logins:03}"
        return self.both_stream("open_stream", token, f"client {client}", lease, room=room)

    @rule(data=st.data(), room=rooms)
    def resume_stream(self, data: st.DataObject, room: int) -> None:
        token = self.token(data)
        session = self.switch.sessions.get(token or "")
        numbers: list[int | None] = [None, 0, 0]
        if session is not None:
            numbers += [*session.held, self.last_next.get(session.token, 0)]
            if session.stream is not None:
                numbers += [self.last_pushed.get(session.stream, 0)] * 3
        after = data.draw(st.sampled_from(numbers), label="after")
        self.both_stream("resume_stream", token, after=after, room=room)

    def stream(self, data: st.DataObject) -> tuple[Stream, naive.Stream]:
        """Mostly one that is open."""
        running = [pair for pair in self.streams if not pair[0].done]
        ended = [pair for pair in self.streams if pair[0].done][-2:]
        self.streams = ended + running
        return data.draw(st.sampled_from(running * 4 + ended), label="stream")

    def running_stream(self, data: st.DataObject) -> tuple[Stream, naive.Stream]:
        """One that is open, new if there is none."""
        self.both("advance")
        running = [pair for pair in self.streams if not pair[0].done]
        if running:
            return data.draw(st.sampled_from(running), label="stream")
        for token in self.switch.sessions:
            return self.both_stream("resume_stream", token, after=None, room=1_000)
        return self.open("1", 0.0, 1_000)

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), slow=st.booleans())
    def close_stream(self, data: st.DataObject, slow: bool) -> None:
        self.close(self.stream(data), slow)

    def close(self, pair: tuple[Stream, naive.Stream], slow: bool = False) -> None:
        self.both_with(pair, "close_stream", slow=slow)
        if pair[0].session.ended:
            self.ended_tokens.append(pair[0].session.token)

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), room=rooms)
    def grant(self, data: st.DataObject, room: int) -> None:
        self.give_room(self.stream(data), room)

    def give_room(self, pair: tuple[Stream, naive.Stream], room: int) -> None:
        self.both_with(pair, "grant", room)

    @precondition(lambda self: self.streams)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        # Taking knows no time, so what is overdue is done first, as the timer of an engine does.
        self.both("advance")
        self.take_from(self.stream(data))

    def take_from(self, pair: tuple[Stream, naive.Stream]) -> None:
        self.agreed = False
        real, model = pair
        taken = [plain(delivery) for delivery in self.switch.take(real)]
        assert taken == self.model.take(model)
        self.woken_for.discard((real, "batch"))
        self.compare()
        for m in taken:
            assert m["id"] not in self.finished, "an acked message was pushed again"
            holder = self.switch.messages[m["id"]].hold
            assert holder is not None
            assert holder.session is real.session
            assert m["delivery"] > self.last_pushed.get(real, 0), "numbers of a stream must grow"
            self.last_pushed[real] = m["delivery"]
            self.shown.add((m["id"], m["delivery"]))

    @rule(
        data=st.data(),
        credit=st.sampled_from([None, 1, 1, 2, 3]),
        sent=st.integers(1, 4),
        then=st.sampled_from(
            ["ack", "nack", "reject", "later", "reply", "drop", "purge", "purge", "destroy"]
        ),
    )
    def push(self, data: st.DataObject, credit: int | None, sent: int, then: str) -> None:
        """A stream is pushed messages, and one of them ends in some way."""
        pair = self.running_stream(data)
        session = pair[0].session
        if not self.switch.queues:
            return
        token = session.token
        names = [*session.subscriptions] * 3 + [*self.switch.queues]
        name = data.draw(st.sampled_from(names), label="name")
        self.both("subscribe", name, token=token, credit=credit)
        for _ in range(sent):
            self.both("send", name, Draft(payload="x", correlation_id="", reply_to="a"))
        if data.draw(st.booleans(), label="take"):
            self.take_from(pair)
        held = [m.id for m in session.held.values() if m.queue == name]
        if not held:
            return
        id = data.draw(st.sampled_from(held), label="id")
        if then == "ack":
            self.both("ack", [id], token=token)
        elif then == "nack":
            self.both("nack", [id], token=token)
        elif then == "reject":
            self.both("nack", [id], token=token, requeue=False)
        elif then == "later":
            self.both("nack", [id], token=token, delay=2.0)
        elif then == "reply":
            self.both("reply", Reply(id=id, payload="y"), token=token)
        elif then == "drop":
            self.both("drop_message", name, id)
        elif then == "purge":
            self.both("purge_queue", name, State.HELD, token=token)
        elif then == "destroy":
            self.both("destroy_queue", name, token=token)
            self.both("create_queue", name)
            self.both("send", name, Draft(payload="x"))

    @rule(
        data=st.data(),
        pause=st.sampled_from([None, None, 0.0, 1.0, 30.0]),
        after=st.sampled_from([None, 0, 0, "seen"]),
        room=st.sampled_from([1_000, 1, 1, 0]),
        acked=st.booleans(),
    )
    def reconnect(
        self,
        data: st.DataObject,
        pause: float | None,
        after: int | str | None,
        room: int,
        acked: bool,
    ) -> None:
        """A client takes up its session on a new connection, the old one being cut or not yet."""
        pair = self.running_stream(data)
        session = pair[0].session
        names = [*session.subscriptions] or ["a"]
        name = data.draw(st.sampled_from(names), label="name")
        self.both("subscribe", name, token=session.token, credit=3)
        for _ in range(2):
            self.both("send", name, Draft(payload="x"))
        self.take_from(pair)
        if pause is not None:
            self.close(pair)
            self.both("send", name, Draft(payload="x"))
            self.now += pause
        seen = self.last_pushed.get(pair[0], 0) if after == "seen" else after
        newer = self.both_stream("resume_stream", session.token, after=seen, room=room)
        if newer is None:
            return
        if acked and session.held:
            id = data.draw(st.sampled_from([m.id for m in session.held.values()]), label="id")
            self.both("ack", [id], token=session.token)
        self.both("send", name, Draft(payload="x"))
        self.give_room(newer, 1_000)
        self.take_from(newer)

    @rule(
        data=st.data(),
        credit=st.sampled_from([1, 2, 3]),
        batch=st.lists(
            st.tuples(st.integers(0, 9), st.sampled_from(["x", "p" * 24])), min_size=2, max_size=5
        ),
        granted=st.lists(st.sampled_from([1, 2, 30, 1_000]), min_size=1, max_size=3),
        cut=st.sampled_from([False, False, True]),
    )
    def push_little_by_little(
        self,
        data: st.DataObject,
        credit: int,
        batch: list[tuple[int, str]],
        granted: list[int],
        cut: bool,
    ) -> None:
        """A client reads slowly what comes from several queues."""
        pair = self.running_stream(data)
        token = pair[0].session.token
        self.give_room(pair, 0)
        names = [*self.switch.queues][:3]
        for name in names:
            self.both("subscribe", name, token=token, credit=credit)
        for number, payload in batch if names else []:
            self.both("send", names[number % len(names)], Draft(payload=payload))
        if cut:
            self.close(pair)
        for room in granted:
            self.give_room(pair, room)
            self.take_from(pair)

    @rule(data=st.data(), sent=st.integers(1, 3))
    def push_and_pull(self, data: st.DataObject, sent: int) -> None:
        """A session that has a stream waits with a Transfer as well, for the same queue."""
        pair = self.running_stream(data)
        token = pair[0].session.token
        if not self.switch.queues:
            return
        name = data.draw(st.sampled_from([*self.switch.queues]), label="name")
        self.both("subscribe", name, token=token, credit=0)
        self.transfers.append(self.both_wait("transfer", token=token, timeout=4.0))
        self.both("subscribe", name, token=token, credit=1)
        for _ in range(sent):
            self.both("send", name, Draft(payload="x"))

    @rule(
        data=st.data(),
        sent=st.integers(0, 2),
        how=st.sampled_from(["close", "close", "logout", "unsubscribe"]),
    )
    def server_comes_and_goes(self, data: st.DataObject, sent: int, how: str) -> None:
        """A queue is served by one stream alone, and then by nobody."""
        self.both("advance")
        if not self.switch.queues:
            return
        if len(self.switch.sessions) == self.switch.limits.sessions:
            self.both("logout", next(iter(self.switch.sessions)))
        name = data.draw(st.sampled_from([*self.switch.queues, "a"]), label="name")
        for other in self.switch.sessions:
            self.both("unsubscribe", name, token=other)
        pair = self.open("1", 0.0, 1_000)
        token = pair[0].session.token
        self.both("subscribe", name, token=token, credit=1)
        for _ in range(sent):
            self.both("send", name, Draft(payload="x"))
        if how == "close":
            self.close(pair)
        elif how == "logout":
            self.both("logout", token)
        else:
            self.both("unsubscribe", name, token=token)
        self.both("inspect_queue", name)

    @rule(data=st.data(), credit=st.sampled_from([1, 2, 3]), sent=st.integers(1, 5))
    def compete(self, data: st.DataObject, credit: int, sent: int) -> None:
        """All sessions want the same queue, by a stream or by a Transfer."""
        self.both("advance")
        if not self.switch.queues:
            return
        name = data.draw(st.sampled_from([*self.switch.queues]), label="name")
        for token in data.draw(st.permutations([*self.switch.sessions]), label="tokens"):
            session = self.switch.sessions[token]
            self.both("subscribe", name, token=token, credit=credit)
            if session.stream is None:
                if data.draw(st.booleans(), label="by stream"):
                    self.both_stream("resume_stream", token, after=None, room=1_000)
                else:
                    pair = self.both_wait("transfer", token=token, timeout=4.0)
                    self.transfers.append(pair)
        for _ in range(sent):
            self.both("send", name, Draft(payload="x"))

    # -- acknowledging --------------------------------------------------------------------------

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        token = self.token(data)
        self.both("ack", self.ids(data, token), token=token)

    @rule(
        data=st.data(),
        delay=st.sampled_from([0.0, 0.0, 3.0]),
        requeue=st.sampled_from([True, True, False]),
    )
    def nack(self, data: st.DataObject, delay: float, requeue: bool) -> None:
        token = self.token(data)
        self.both("nack", self.ids(data, token), token=token, delay=delay, requeue=requeue)

    @rule(data=st.data(), how=st.sampled_from(["ack", "nack", "reply", "transfer", "touch"]))
    def meddle(self, data: st.DataObject, how: str) -> None:
        """A session finishes what another holds."""
        self.both("advance")
        pairs = [
            (session.token, message.id)
            for session in self.switch.sessions.values()
            for message in self.switch.messages.values()
            if message.hold is not None and message.hold.session is not session
        ]
        if not pairs:
            return
        token, id = data.draw(st.sampled_from(pairs), label="who and what")
        if how in ("ack", "nack"):
            self.both(how, [id], token=token)
        elif how == "reply":
            self.both("reply", Reply(id=id, payload="y"), token=token)
        elif how == "touch":
            self.both("touch", token, [id])
        else:
            self.transfers.append(self.both_wait("transfer", token=token, timeout=4.0, acks=[id]))

    @rule(data=st.data(), payload=payloads, headers=headers, error=failures)
    def reply(
        self,
        data: st.DataObject,
        payload: str,
        headers: dict[str, str] | None,
        error: Failure | None,
    ) -> None:
        token = self.token(data)
        (id,) = self.ids(data, token, most=1)
        reply = Reply(id=id, payload=payload, headers=headers, error=error)
        self.both("reply", reply, token=token)

    @rule(data=st.data(), left=st.sampled_from([0, 10]), reply_to=st.sampled_from(["a", "b"]))
    def reply_when_full(self, data: st.DataObject, left: int, reply_to: str) -> None:
        """A server answers a large request when the switch has few bytes left."""
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        self.both("send", name, Draft(payload="q" * 40, reply_to=reply_to))
        self.answer(self.both_wait("transfer", token=token, limit=10))
        self.fill_switch(left)
        held = [m.id for m in self.switch.sessions[token].held.values() if m.reply_to == reply_to]
        if held:
            self.both("reply", Reply(id=held[-1], payload="p" * 24), token=token)

    def fill_switch(self, left: int) -> None:
        """Send until only so many bytes are left, if the queues have room for that."""
        limit = self.switch.limits.total_bytes
        for filled in self.switch.queues:
            while (free := limit - self.switch.bytes - left) > 0:
                if isinstance(self.both("send", filled, Draft(payload="f" * min(free, 60))), tuple):
                    break

    @rule(data=st.data())
    def drop_message(self, data: st.DataObject) -> None:
        messages = list(self.switch.messages.values())
        choice = [(m.queue, m.id) for m in messages] * 2 + [("a", 1), ("nowhere", 1)]
        choice += [("b", m.id) for m in messages]
        name, id = data.draw(st.sampled_from(choice), label="message")
        self.both("drop_message", name, id, token=self.sender_token(data))

    # -- calls ----------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        timeout=st.sampled_from([2.0, 5.0, 5.0, 12.0]),
        wait_for_server=st.booleans(),
    )
    def call(self, data: st.DataObject, timeout: float, wait_for_server: bool) -> None:
        draft = Draft(
            payload=data.draw(payloads),
            correlation_id=data.draw(st.sampled_from([None, "", "c2"])),
            headers=self.some_headers(data),
            key=data.draw(keys),
        )
        pair = self.both_wait(
            "call",
            self.name(data),
            draft,
            timeout=timeout,
            wait_for_server=wait_for_server,
            token=self.sender_token(data),
        )
        if pair is not None:
            self.calls.append(pair)

    @rule(
        data=st.data(),
        payload=payloads,
        correlation=st.sampled_from([None, "", "c3"]),
        key=keys,
        error=failures,
        wait_for_server=st.booleans(),
        by_hand=st.sampled_from([False, False, True]),
    )
    def call_and_serve(
        self,
        data: st.DataObject,
        payload: str,
        correlation: str | None,
        key: str | None,
        error: Failure | None,
        wait_for_server: bool,
        by_hand: bool,
    ) -> None:
        """A call reaches a server, which answers; or it answers another request first.

        Or somebody sends the answer to the reply address.
        """
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        draft = Draft(payload="x", correlation_id=correlation, key=key)
        pair = self.both_wait("call", name, draft, timeout=5.0, wait_for_server=wait_for_server)
        if pair is not None:
            self.calls.append(pair)
        self.answer(self.both_wait("transfer", token=token, limit=10))
        if by_hand and pair is not None:
            answer = Draft(payload, correlation, reply_to=name, key=key, error=error)
            self.both("send", pair[0].call.reply_to, answer)
            return
        requests = [
            (session.token, m.id)
            for session in self.switch.sessions.values()
            for m in session.held.values()
            if m.reply_to in self.switch.calls
        ]
        if requests:
            token, id = data.draw(st.sampled_from(requests), label="request")
            self.both("reply", Reply(id=id, payload=payload, error=error), token=token)

    @rule(
        data=st.data(),
        key=keys,
        how=st.sampled_from(["drop", "purge", "destroy", "ack"]),
        noise=st.sampled_from([0, 4]),
        again=st.booleans(),
    )
    def call_is_lost(
        self, data: st.DataObject, key: str | None, how: str, noise: int, again: bool
    ) -> None:
        """The request of a call goes away without a reply; its caller waits on, or asks again."""
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        draft = Draft(payload="x", key=key)
        pair = self.both_wait("call", name, draft, timeout=2.0, wait_for_server=True)
        if pair is None:
            return
        self.calls.append(pair)
        request = pair[0].call.request
        if how == "drop":
            self.both("drop_message", name, request)
        elif how == "purge":
            self.both("purge_queue", name, token=token)
        elif how == "destroy":
            self.both("destroy_queue", name, token=token)
            self.both("create_queue", name)
        else:
            self.answer(self.both_wait("transfer", token=token, limit=10))
            self.both("ack", [request], token=token)
        for _ in range(noise):  # a short trace forgets what happened
            self.both("unsubscribe", name, token=token)
            self.both("subscribe", name, token=token)
        if again:
            second = self.both_wait("call", name, draft, timeout=5.0)
            if second is not None:
                self.calls.append(second)
        else:
            self.now += 2.0
            self.both("advance")

    @rule(data=st.data(), key=st.sampled_from(["k1", "k2"]), undone=st.booleans())
    def lost_call_comes_back(self, data: st.DataObject, key: str, undone: bool) -> None:
        """The request of a call is purged and perhaps restored, and its caller asks again."""
        name = data.draw(st.sampled_from([*self.switch.queues, "a"]), label="name")
        self.both("pause_queue", name)
        draft = Draft(payload="x", key=key)
        for _ in range(2):
            pair = self.both_wait("call", name, draft, timeout=5.0, wait_for_server=True)
            if pair is None:
                return
            self.calls.append(pair)
            if len(pair[0].call.waits) > 1:
                break  # it has not been lost
            answer = self.both("purge_queue", name, undo_for=5.0)
            if undone and isinstance(answer, dict) and answer["undo"]:
                self.purged_in_part = True
                self.undo_both(answer["undo"]["id"])
        self.both("resume_queue", name)

    @rule(
        data=st.data(),
        services=st.sampled_from(["ab", "aba", "aa", "abb", "abca", "abc"]),
        streams=st.sampled_from(["", "", "a", "b", "ab"]),
        credit=st.sampled_from([(1, 1_000), (2, 1)]),
        keyed=st.booleans(),
        aside=st.sampled_from(
            ["other call", "other server", "same way", "other way", "plain", "plain before"]
        ),
        step=st.sampled_from([0.0, 0.5, 1.0, 3.0, 12.0]),
        then=st.sampled_from(
            [
                "answer",
                "first leaves",
                "leave",
                "give back",
                "ask again",
                "pause",
                "move",
                "requeue",
            ]
        ),
    )
    def calls_wait_for_calls(
        self,
        data: st.DataObject,
        services: str,
        streams: str,
        credit: tuple[int, int],
        keyed: bool,
        aside: str,
        step: float,
        then: str,
    ) -> None:
        """Each server, while it serves a call, calls the next service, until one is busy; and
        something beside that may let them go on."""
        self.start_anew()
        servers: dict[str, str] = {}
        for name in dict.fromkeys(services):
            self.both("create_queue", name)
        if aside == "other server":
            token = self.log_in("3", 60.0)
            self.both("subscribe", services[0], token=token)
            self.call_for(self.served(self.call_for(None, services[0]), token), "unserved")
        for name in dict.fromkeys(services):
            token = servers[name] = self.log_in(name, 60.0)
            self.both("subscribe", name, token=token, credit=credit[0])
            if name in streams and token in self.switch.sessions:
                self.both_stream("resume_stream", token, after=None, room=credit[1])
        if aside == "plain before":
            self.both("send", services[0], Draft(payload="x"))
            self.answer(self.both_wait("transfer", token=servers[services[0]]))
        made: list[tuple[CallWait, naive.CallWait]] = []
        # The first may lie, and say that it was made for what never was.
        parent = data.draw(st.sampled_from([None, None, None, 1]), label="parent")
        for number, name in enumerate(services):
            key = f"n{number}" if keyed or then == "ask again" else None
            pair = self.call_for(parent, name, key)
            if pair is None:
                return
            made.append(pair)
            server = self.switch.sessions.get(servers[name])
            request = self.switch.messages[pair[0].call.request]
            if server is None or (number and server.held and request.hold is None):
                break
            parent = self.served(pair, server.token)
            if number == 0 and aside == "plain":
                self.both("send", name, Draft(payload="x"))
                self.answer(self.both_wait("transfer", token=server.token))
            elif number == 0 and aside in ("same way", "other way"):
                target = services[1] if aside == "same way" else "unserved"
                self.call_for(self.served(self.call_for(None, name), server.token), target)
        first, last = made[0][0].call.request, made[1 if then == "ask again" else -1]
        if aside == "other call":
            self.call_for(first, "unserved")
        self.now += step
        self.both("advance")
        self.see_verdicts()
        held = [m for m in self.switch.messages.values() if m.hold is not None]
        again = Draft(payload="x", key=last[0].call.key)
        if then == "answer" and held and held[-1].hold:
            token = held[-1].hold.session.token
            self.both("reply", Reply(id=held[-1].id, payload="y"), token=token)
        elif then in ("give back", "ask again"):
            self.both("requeue", services[0], [first])
            self.served(made[0], servers[services[0]])
            self.see_verdicts()
        elif then == "pause":
            self.both("pause_queue", services[-1])
        elif then == "move":
            self.both("move_messages", services[-1], "ab"[services[-1] == "a"])
        elif then == "requeue":
            self.both("requeue", services[0])
        if then == "ask again" or (then == "leave" and data.draw(st.booleans(), label="again")):
            pair = self.both_wait("call", last[0].call.queue, again, timeout=20.0)
            if pair is not None:
                self.calls.append(pair)
        if then in ("leave", "first leaves"):
            pair = last if then == "leave" else made[0]
            self.calls.remove(pair)
            self.both_with(pair, "leave_call")
        self.see_verdicts()

    def start_anew(self) -> None:
        """Nobody is there and nothing is to be done, but what somebody owns."""
        self.both("advance")
        for token in [*self.switch.sessions]:
            self.both("logout", token)
        for name in [*self.switch.queues]:
            self.both("destroy_queue", name)

    def call_for(
        self, parent: int | None, name: str, key: str | None = None
    ) -> tuple[CallWait, naive.CallWait] | None:
        """A call that is made while serving another."""
        header = None if parent is None else {PARENT: str(parent)}
        draft = Draft(payload="x", headers=header, key=key)
        pair: tuple[CallWait, naive.CallWait] | None = self.both_wait(
            "call", name, draft, timeout=20.0, wait_for_server=True
        )
        if pair is not None:
            self.calls.append(pair)
        return pair

    def served(self, pair: tuple[CallWait, naive.CallWait] | None, token: str) -> int | None:
        """The request of a call, if the session has it after asking once."""
        if pair is None:
            return None
        request = pair[0].call.request
        message = self.switch.messages.get(request)
        if message is not None and message.hold is None:
            self.answer(self.both_wait("transfer", token=token))
        return request if message is not None and message.hold is not None else None

    def see_verdicts(self) -> None:
        """Compare what is said about everything that there is."""
        model, now = self.model, self.now
        # First: of a deadlock that is none there is nothing to tell.
        edges = self.switch.waits_for(now=now).edges
        seen = [(e.source, e.target, e.message, e.since, e.locked) for e in edges]
        assert len(seen) == len(set(seen))
        assert set(seen) == model.waits(now)
        for m in model.messages:
            report = self.switch.explain(m.id, now=now)
            verdict, expected = report.verdict, model.verdict(m.id, now)
            real = codes(verdict)
            assert real == expected, f"{m.id}: {real} is not {expected}"
            assert verdict.level == model.level(m, verdict.code, now)
            for name, value in model.evidence(m, verdict.code, now).items():
                assert verdict.evidence[name] == value, f"{m.id}: {name} of {verdict.code}"
            self.compare_tree(m.id, report)
        for session in model.sessions:
            info = self.switch.explain_session(session.id, now=now)
            assert codes(info.verdict) == model.session_verdict(session.id, now)
            assert info.verdict.level == model.session_level(session.id, now)
            made = [model.calls_of(m) for m in model.held_by(session)]
            assert [call.id for call in info.calls] == [m.id for calls in made for m in calls]
        for name, queue in self.switch.queues.items():
            waits = WaitsFor(self.switch, now)
            verdict = explain_queue(self.switch, queue, waits, now)
            assert codes(verdict) == model.queue_verdict(name, now)
            assert verdict.level == model.queue_level(name, now)

    def compare_tree(self, id: int, report: MessageReport) -> None:
        if self.switch.trace.dropped == 0:
            tree = None if report.tree is None else msgspec.to_builtins(report.tree)
            assert tree == self.model.tree(id)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), timeout=st.sampled_from([2.0, 5.0]))
    def call_again(self, data: st.DataObject, timeout: float) -> None:
        """A caller that lost its connection asks again under the same key."""
        made = data.draw(st.sampled_from([wait.call for wait, _ in self.calls]), label="call")
        request = self.switch.messages.get(made.request)
        draft = Draft(payload=request.payload if request else "x", key=made.key)
        pair = self.both_wait("call", made.queue, draft, timeout=timeout)
        if pair is not None:
            self.calls.append(pair)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def leave_call(self, data: st.DataObject) -> None:
        self.both_with(self.choose(data, self.calls), "leave_call")

    @rule(
        data=st.data(),
        key=keys,
        was=st.sampled_from(["held", "dead", "replayed", "replayed and held"]),
        gives_back=st.booleans(),
    )
    def leave_call_late(
        self, data: st.DataObject, key: str | None, was: str, gives_back: bool
    ) -> None:
        """A caller leaves that a server has had the request of."""
        self.both("advance")
        server = self.server(data)
        if server is None:
            return
        token, name = server
        pair = self.call_for(None, name, key)
        request = self.served(pair, token)
        if pair is None or request is None:
            return
        if was != "held":
            self.both("nack", [request], token=token, requeue=False)
        if was.startswith("replayed"):
            self.both("replay_dead", name, [request])
        if was.endswith("held"):
            self.served(pair, token)
        if pair in self.calls:
            self.calls.remove(pair)
            self.both_with(pair, "leave_call")
        if gives_back:
            self.both("nack", [request], token=token)

    # -- looking --------------------------------------------------------------------------------

    @rule(timeout=timeouts)
    def watch(self, timeout: float) -> None:
        self.both("advance")
        self.watches.append(
            self.both_wait("watch", after=self.switch.trace.last, limit=10, timeout=timeout)
        )

    @precondition(lambda self: self.watches)
    @rule(data=st.data())
    def leave_trace(self, data: st.DataObject) -> None:
        real, model = self.choose(data, self.watches)
        report = self.switch.leave_trace(real, now=self.now)
        self.model.leave_trace(model, now=self.now)
        assert report.next >= real.after
        self.compare()

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        """Everything that people look at; it changes nothing."""
        self.both("advance")
        number = self.switch._next_id
        ids = [*self.switch.messages, *sorted(self.model.fates)[-3:], 1]
        id = data.draw(st.sampled_from(ids), label="id")
        before = self.dump()
        self.see_verdicts()
        self.see_message(id)
        self.search(data)
        name = self.name(data)
        page = outcome(lambda: self.switch.browse(name, now=self.now, limit=2))
        if isinstance(page, dict):
            first = [m.id for m in self.model.of(name)]
            assert [m["id"] for m in page["messages"]] == first[:2]
            assert page["next"] == (first[1] if len(first) > 2 else None)
        for alive in (None, True, False):
            listed = self.switch.list_queues(now=self.now, alive=alive)
            assert [q.name for q in listed.queues] == sorted(
                name
                for name in self.model.queues
                if alive in (None, bool(self.model.subscribers(name)))
            )
        seen = self.switch.diagnostics(now=self.now)
        used = {usage.name: usage.used for usage in seen.usage}
        assert used["queues"] == len(self.model.queues)
        assert used["sessions"] == len(self.model.sessions)
        assert used["total_bytes"] == self.model.bytes()
        assert self.switch._next_id == number
        assert self.dump() == before, "looking changed something"
        self.compare()

    def see_message(self, id: int) -> None:
        """Compare what is said about a message that may have ended."""
        report = outcome_of(lambda: self.switch.explain(id, now=self.now))
        real = codes(report.verdict) if isinstance(report, MessageReport) else report
        model = outcome(lambda: self.model.verdict(id, self.now))
        assert self.same_verdict(real, model), f"{real} is not {model}"
        if isinstance(report, MessageReport):
            self.compare_tree(id, report)

    def dump(self) -> bytes:
        """Everything that the switch is."""
        return pickle.dumps(vars(self.switch))

    def search(self, data: st.DataObject) -> None:
        """Page through what has a text in it."""
        name = data.draw(st.sampled_from([*self.switch.queues, "nowhere"]), label="name")
        text = data.draw(st.sampled_from(["x", "é", "k1", "c1", "1", "client 1", "qq", "none"]))
        state = data.draw(st.sampled_from([None, *State]))
        found: list[int] = []
        after: int | None = 0
        while after is not None:
            page = outcome(
                lambda after=after: self.switch.browse(
                    name, now=self.now, state=state, after=after, limit=2, search=text
                )
            )
            if not isinstance(page, dict):
                assert page == ("refused", "queue_not_found")
                return
            found += [m["id"] for m in page["messages"]]
            after = page["next"]
        assert found == [m.id for m in self.model.of(name, state) if m.has(text)]

    # -- the end --------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if self.agreed:
                self.end_everything()
        finally:
            self.patch.stop()

    def end_everything(self) -> None:
        """When everybody has left and every window has passed, nothing is left over."""
        for token in list(self.switch.sessions):
            self.both("logout", token)
        while self.transfers:
            self.answer(self.transfers.pop())
        for real, model in self.calls:
            self.switch.leave_call(real, now=self.now)
            self.model.leave_call(model, now=self.now)
        self.calls.clear()
        for watch, naive_watch in self.watches:
            self.switch.leave_trace(watch, now=self.now)
            self.model.leave_trace(naive_watch, now=self.now)
        self.watches.clear()
        self.compare()
        for name in list(self.switch.queues):
            self.both("destroy_queue", name)
        self.now += 10_000.0
        self.both("advance")
        switch = self.switch
        assert not switch.queues
        assert not switch.sessions
        assert not switch.consumers
        assert not switch.calls
        assert not switch.messages
        assert not switch._waits
        assert not switch._trace_waits
        assert not switch.waiting()
        assert all(stream.done for stream, _ in self.streams)
        assert len(switch._deadlines) == 0
        assert switch.next_deadline() is None
        assert switch.bytes == 0
        assert switch.undo_bytes == 0
        assert not switch.undoable
        assert not switch.children


# A failing example takes minutes to become small enough to read.
TestSwitch = pytest.mark.timeout(3_600)(SwitchMachine.TestCase)
