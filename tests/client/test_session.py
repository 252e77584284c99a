import asyncio
import math

import pytest

from queues.client.errors import OutcomeUnknown, Unreachable
from queues.client.session import REPEAT_FOR, Session
from queues.client.transport import Operation
from queues.core.answers import Diagnostics, SendResult, TouchResult
from queues.core.errors import (
    NoServer,
    PolicyDiffers,
    QueueNotFound,
    ShuttingDown,
    TooManySessions,
    UnknownSession,
)
from queues.core.messages import Response
from queues.protocol import operations as forms

from .fakes import FakeTransport, brings, delivery, queue_info, skips_time

AWAY = Unreachable("Away.")
CUT_OFF = OutcomeUnknown("Cut off.")
UNKNOWN = UnknownSession("Who?")


def sending(*, key: str | None = None) -> Operation[SendResult]:
    return Operation(
        name="send",
        answer=SendResult,
        queue="q",
        form=forms.Send(payload="hello", key=key),
        login=True,
        repeatable=key is not None,
        keyed=key is not None,
    )


LOOK = Operation(name="diagnostics", answer=Diagnostics)


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def session(transport: FakeTransport) -> Session:
    return Session(transport, "tester", 30.0)


@skips_time
async def test_it_logs_in_once_and_when_needed(transport, session):
    await session.perform(LOOK)
    assert transport.names == ["diagnostics"]
    await asyncio.gather(*(session.perform(sending()) for _ in range(3)))
    assert transport.names.count("login") == 1
    assert transport.forms("login") == [forms.Login(client="tester", lease=30.0)]
    await session.perform(LOOK)
    assert {token for _, token in transport.done[2:]} == {"token-1"}
    await session.close()
    assert transport.names[-1] == "logout"


@skips_time
async def test_a_session_that_never_logged_in_has_nothing_to_log_out(transport, session):
    await session.perform(LOOK)
    await session.close()
    assert "logout" not in transport.names


@skips_time
async def test_a_logout_does_not_wait_for_a_switch_that_is_away(transport, session):
    await session.login()
    transport.on("logout", lambda _: asyncio.sleep(math.inf))
    await session.close(timeout=2.0)
    with pytest.raises(RuntimeError, match="closed"):
        await session.login()

    another = Session(transport, "tester", 30.0)
    await another.login()
    transport.on("logout", AWAY)
    await another.close()


@skips_time
async def test_what_logs_in_while_it_is_closed_logs_out_again(transport, session):
    answer = asyncio.Event()

    async def late(operation):
        await answer.wait()
        return transport._usual(operation)

    transport.on("login", late)
    login = asyncio.create_task(session.login())
    await asyncio.sleep(1)
    await session.close()
    answer.set()
    with pytest.raises(RuntimeError, match="closed"):
        await login
    assert transport.names == ["login", "logout"]
    assert transport.done[-1][1] == "token-1"


# -- a switch that forgot ------------------------------------------------------------------------


@skips_time
async def test_it_restores_what_it_had_when_the_switch_forgot_it(transport, session):
    policy = forms.PolicyChange(ttl=5.0)
    await session.create("q", policy)
    await session.create("gone", None)
    session.destroyed("gone")
    await session.subscribe("q")
    await session.subscribe("other")
    await session.unsubscribe("other")
    transport.done.clear()

    transport.on("send", UNKNOWN)
    assert (await session.perform(sending())).id == 1
    assert transport.names == ["send", "login", "create_queue", "subscribe", "send"]
    assert transport.forms("create_queue") == [forms.CreateQueue(policy=policy)]
    assert {token for _, token in transport.done[2:]} == {"token-2"}
    await session.close()


@skips_time
async def test_many_that_find_the_session_gone_log_in_once(transport, session):
    await session.login()
    transport.on("send", *[UNKNOWN] * 5)
    await asyncio.gather(*(session.perform(sending()) for _ in range(5)))
    assert transport.names.count("login") == 2
    await session.close()


@skips_time
async def test_a_switch_that_forgets_at_once_is_not_asked_for_ever(transport, session):
    transport.on("send", *[UNKNOWN] * 20)
    with pytest.raises(UnknownSession):
        await session.perform(sending())
    await session.close()


@skips_time
async def test_who_may_wait_pauses_while_the_switch_forgets_at_once(transport, session):
    now = asyncio.get_running_loop().time
    started = now()
    transport.on("send", *[UNKNOWN] * 20)
    assert (await session.perform(sending(), wait=math.inf)).id == 1
    assert now() - started > 5
    await session.close()


@skips_time
async def test_a_queue_that_has_another_policy_now_is_left_as_it_is(transport, session):
    await session.create("q", forms.PolicyChange(ttl=5.0))
    transport.on("create_queue", PolicyDiffers("Other."))
    transport.on("send", UNKNOWN)
    assert (await session.perform(sending())).id == 1
    await session.close()


@skips_time
async def test_a_session_that_ends_while_it_is_restored_is_begun_anew(transport, session):
    await session.subscribe("q")
    transport.on("send", UNKNOWN)
    transport.on("subscribe", UNKNOWN)
    assert (await session.perform(sending())).id == 1
    assert transport.names.count("login") == 3
    assert transport.names[-3:] == ["login", "subscribe", "send"]
    await session.close()


@skips_time
async def test_a_subscription_that_cannot_be_restored_is_told_to_who_receives(transport, session):
    await session.subscribe("q")
    transport.on("transfer", UNKNOWN)
    transport.on("subscribe", QueueNotFound("There is no queue 'q'."))
    with pytest.raises(QueueNotFound, match="'q'"):
        await session.transfer()
    # Told once; and it does not wait for the poll to end.
    assert transport.forms("transfer")[-1].timeout == 0
    assert (await session.transfer()).messages == []
    await session.close()


@skips_time
async def test_a_transient_queue_ends_with_its_session(transport, session):
    created = await session.create_fresh(None)
    await session.subscribe(created.name)
    transport.on("transfer", UNKNOWN)
    transport.on("subscribe", QueueNotFound("There is none."))
    with pytest.raises(QueueNotFound, match=r"transient queue fresh\.1 ended with its session"):
        await session.transfer()
    await session.close()


@skips_time
async def test_a_new_session_counts_deliveries_from_nothing(transport, session):
    transport.on("transfer", brings(delivery(7)), UNKNOWN)
    await session.transfer()
    await session.transfer()
    assert [form.after for form in transport.forms("transfer")] == [0, 8, 0]
    await session.close()


# -- a switch that is away ------------------------------------------------------------------------


@skips_time
async def test_it_fails_at_once_unless_asked_to_wait(transport, session):
    transport.on("login", AWAY)
    with pytest.raises(Unreachable):
        await session.perform(sending())
    assert transport.names == ["login"]


@skips_time
async def test_it_waits_when_asked_to(transport, session):
    for gone in (AWAY, CUT_OFF, ShuttingDown("Stopping."), TooManySessions("Full.")):
        transport.on("login", gone)
    transport.on("send", AWAY)
    assert (await session.perform(sending(), wait=60)).id == 1
    await session.close()


@skips_time
async def test_it_waits_no_longer_than_asked(transport, session):
    now = asyncio.get_running_loop().time
    transport.on("diagnostics", *[AWAY] * 100)
    started = now()
    with pytest.raises(Unreachable):
        await session.perform(LOOK, wait=10)
    assert 8 < now() - started <= 10.1


@skips_time
async def test_refusals_are_not_repeated(transport, session):
    transport.on("send", NoServer("Nobody."))
    with pytest.raises(NoServer):
        await session.perform(sending(), wait=60)
    assert transport.names == ["login", "send"]
    await session.close()


# -- requests that were cut off -------------------------------------------------------------------


@skips_time
async def test_what_must_not_happen_twice_is_not_repeated(transport, session):
    transport.on("send", CUT_OFF)
    with pytest.raises(OutcomeUnknown):
        await session.perform(sending(), wait=60)
    assert transport.names.count("send") == 1
    await session.close()


@skips_time
async def test_with_a_key_it_is_repeated_with_that_key(transport, session):
    transport.on("send", CUT_OFF, AWAY, AWAY)
    assert (await session.perform(sending(key="k"))).id == 1
    assert [form.key for form in transport.forms("send")] == ["k"] * 4
    await session.close()


@skips_time
async def test_a_key_is_worth_nothing_to_a_switch_that_was_restarted(transport, session):
    def restarted(operation) -> None:
        transport.instance = 2
        raise UNKNOWN

    transport.on("send", CUT_OFF, AWAY, restarted)
    with pytest.raises(OutcomeUnknown):
        await session.perform(sending(key="k"))
    assert transport.names.count("send") == 3, "the third was refused"
    await session.close()


@skips_time
async def test_a_key_is_good_in_a_new_session_of_the_same_switch(transport, session):
    transport.on("send", CUT_OFF, UNKNOWN)
    await session.perform(sending(key="k"))
    assert transport.names.count("send") == 3
    assert transport.names.count("login") == 2
    await session.close()


@skips_time
async def test_so_it_is_if_another_operation_found_the_restart_out(transport, session):
    async def meanwhile(operation) -> None:
        transport.instance = 2
        transport.on("touch", UNKNOWN)
        await session.touch()
        raise CUT_OFF

    transport.on("send", meanwhile)
    with pytest.raises(OutcomeUnknown):
        await session.perform(sending(key="k"))
    assert transport.names.count("send") == 1
    assert transport.names.count("login") == 2
    await session.close()


@skips_time
async def test_what_never_happens_twice_is_repeated_in_a_new_session(transport, session):
    transport.on("touch", CUT_OFF, UNKNOWN)
    await session.touch([1])
    assert transport.names.count("login") == 2
    await session.close()


@skips_time
async def test_a_key_still_unsent_is_sent_in_a_new_session(transport, session):
    transport.on("send", UNKNOWN)
    assert (await session.perform(sending(key="k"))).id == 1
    await session.close()


@skips_time
async def test_a_transient_queue_is_not_created_twice(transport, session):
    transport.on("create_fresh_queue", CUT_OFF)
    with pytest.raises(OutcomeUnknown):
        await session.create_fresh(None)
    assert transport.names.count("create_fresh_queue") == 1
    await session.close()


@skips_time
async def test_what_changes_while_it_restores_does_no_harm(transport, session):
    for name in "abc":
        await session.create(name, None)
        await session.subscribe(name)

    def change(operation) -> None:
        session.destroyed("b")
        session.destroyed("a")
        session._created["d"] = None

    async def unsubscribe(operation) -> None:
        transport.done.append(transport.done[-1])
        session._subscriptions.pop("a")
        session._subscriptions.pop("b")
        raise QueueNotFound("Gone.")

    transport.done.clear()
    transport.on("touch", UNKNOWN)
    transport.on("create_queue", change)
    transport.on("subscribe", unsubscribe)
    await session.touch()
    created = [op.queue for op, _ in transport.done if op.name == "create_queue"]
    assert created == ["a", "c"]
    assert list(session._subscriptions) == ["c"]
    assert session._lost == {}
    await session.close()


@skips_time
async def test_what_stays_unknown_is_called_so(transport, session):
    now = asyncio.get_running_loop().time
    transport.on("send", CUT_OFF, *[AWAY] * 100)
    started = now()
    with pytest.raises(OutcomeUnknown):
        await session.perform(sending(key="k"))
    assert REPEAT_FOR * 0.6 < now() - started < REPEAT_FOR + 0.1
    await session.close()


@skips_time
async def test_a_call_that_the_switch_stops_under_may_have_been_served(transport, session):
    call = Operation(name="call", answer=Response, queue="q", form=None, repeatable=False)
    transport.on("call", ShuttingDown("Stopping."))
    with pytest.raises(OutcomeUnknown):
        await session.perform(call, wait=60)
    assert transport.names == ["call"]


@skips_time
async def test_each_attempt_has_a_form_of_its_own(transport, session):
    transport.on("send", AWAY, AWAY)
    given = sending()
    passed = []

    def renew(operation: Operation[SendResult], seconds: float) -> Operation[SendResult]:
        assert operation is given
        passed.append(seconds)
        return sending(key=str(len(passed)))

    await session.perform(given, wait=60, renew=renew)
    assert [form.key for form in transport.forms("send")] == ["1", "2", "3"]
    assert 0 <= passed[0] < passed[1] < passed[2]
    await session.close()


# -- keeping --------------------------------------------------------------------------------------


@skips_time
async def test_it_touches_what_is_in_hand_three_times_in_a_lease(transport, session):
    await session.login()
    transport.done.clear()
    session.in_hand.add(5)
    await asyncio.sleep(31)
    assert transport.forms("touch") == [forms.Touch(ids=[5])] * 3
    session.in_hand.clear()
    await asyncio.sleep(100)
    assert len(transport.forms("touch")) == 3, "with nothing in hand it need not seem alive"
    await session.close()


@skips_time
async def test_it_touches_in_time_for_the_shortest_ack_timeout(transport, session):
    await session.login()
    transport.done.clear()
    transport.on("inspect_queue", queue_info("q", ack_timeout=3.0))
    await session.subscribe("q")
    session.in_hand.add(5)
    await asyncio.sleep(3.1)
    assert len(transport.forms("touch")) == 3
    await session.close()


@skips_time
async def test_a_transient_queue_is_kept(transport, session):
    await session.create_fresh(None)
    await asyncio.sleep(31)
    assert len(transport.forms("touch")) == 3
    await session.close()


@skips_time
async def test_a_message_that_was_taken_back_is_not_in_hand(transport, session, caplog):
    await session.login()
    session.in_hand.update({5, 6})
    transport.on("touch", TouchResult(touched=[5], unknown=[], not_held=[6]))
    await asyncio.sleep(11)
    assert session.in_hand == {5}
    assert "Message 6 was taken back" in caplog.text
    await session.close()


@skips_time
async def test_keeping_survives_a_switch_that_is_away(transport, session):
    await session.login()
    session.in_hand.add(5)
    transport.on("touch", AWAY, UNKNOWN)
    await asyncio.sleep(31)
    assert transport.names.count("login") == 2
    assert len(transport.forms("touch")) == 5
    await session.close()
