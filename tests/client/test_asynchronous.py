import asyncio
import math
import os
import socket
import sys
from collections.abc import Callable

import pytest

from queues.client import AsyncClient, Error, Send
from queues.client.asynchronous import default_name
from queues.client.errors import OutcomeUnknown, Unreachable
from queues.core.answers import MessageList, QueueList, SendOutcome, TouchResult
from queues.core.errors import InvalidRequest, UnknownSession
from queues.core.messages import Delivery, State
from queues.protocol import operations as forms
from queues.testing import in_process_client, running_switch

from .fakes import FakeTransport, brings, delivery, queue_info, skips_time


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def client(transport: FakeTransport) -> AsyncClient:
    return AsyncClient(name="tester", transport=transport)


def form_of(transport: FakeTransport, name: str):
    (form,) = transport.forms(name)
    return form


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        ("/usr/bin/tool", "tool"),
        ("/x/package/__main__.py", "package"),
        ("-c", "python"),
        ("", "python"),
        ("\udcff", "?"),
    ],
)
def test_the_default_name_says_who_and_where(monkeypatch, program, shown):
    monkeypatch.setattr(sys, "argv", [program])
    assert default_name() == f"{shown}[{os.getpid()}]@{socket.gethostname()}"


@skips_time
async def test_leaving_the_block_logs_out_and_closes(client, transport):
    async with client:
        assert (await client.login()).session == "token-1"
    assert transport.names[-1] == "logout"
    assert transport.closed
    with pytest.raises(RuntimeError, match="closed"):
        await client.send("q", "hello")


@skips_time
async def test_what_each_method_asks_for(client, transport):
    transport.on("send_many", [SendOutcome(id=1, created=True)])
    transport.on("browse", MessageList(messages=[], next=None))
    async with client:
        await client.create("q", ttl=5.0, on_expire="dead")
        await client.change("q", max_length=7)
        await client.purge("q", "dead")
        await client.replay("q", [1, 2])
        await client.browse("q", "held", search="tea", after=3, limit=4)
        await client.pause("q")
        await client.resume("q")
        await client.requeue("q", [1, 2])
        await client.move("q", "other", [3])
        await client.send("q", "p", headers={"a": "b"}, reply_to="r", correlation_id="c", delay=1)
        await client.send_many("q", [Send(payload="p", key="k")])
        await client.ack(1, 2)
        await client.nack(3, delay=1.0, requeue=False)
        await client.reply(4, "p", error=Error(code="bad"))
        await client.touch(5)
        await client.drop("q", 6)
        await client.explain(7)
        await client.session(8)
        await client.end_session(9)
        await client.destroy("q")
    policy = forms.PolicyChange(ttl=5.0, on_expire="dead")
    assert form_of(transport, "create_queue") == forms.CreateQueue(policy=policy)
    policy = forms.PolicyChange(max_length=7)
    assert form_of(transport, "change_queue") == forms.ChangeQueue(policy=policy)
    assert form_of(transport, "purge_queue") == forms.Purge(state=State.DEAD)
    assert form_of(transport, "replay_dead") == forms.Replay(ids=[1, 2])
    assert form_of(transport, "browse") == forms.MessagePage(
        state=State.HELD, search="tea", after=3, limit=4
    )
    assert form_of(transport, "requeue") == forms.Requeue(ids=[1, 2])
    assert form_of(transport, "move_messages") == forms.Move(to="other", ids=[3])
    assert {"pause_queue", "resume_queue"} <= set(transport.names)
    assert form_of(transport, "send") == forms.Send(
        payload="p", headers={"a": "b"}, reply_to="r", correlation_id="c", delay=1
    )
    assert form_of(transport, "send_many") == [forms.Send(payload="p", key="k")]
    assert form_of(transport, "ack") == forms.Ack(ids=[1, 2])
    assert form_of(transport, "nack") == forms.Nack(ids=[3], delay=1.0, requeue=False)
    assert form_of(transport, "reply") == forms.ReplyBody(payload="p", error=Error(code="bad"))
    assert form_of(transport, "touch") == forms.Touch(ids=[5])
    assert [op.id for op, _ in transport.done if op.id in range(6, 10)] == [6, 7, 8, 9]


@skips_time
async def test_messages_are_moved_all_by_state_or_some_by_id(client, transport):
    async with client:
        await client.move("q", "other")
        await client.move("q", "other", state="dead")
        with pytest.raises(ValueError, match="exclude"):
            await client.move("q", "other", [1], state="dead")
    assert transport.forms("move_messages") == [
        forms.Move(to="other"),
        forms.Move(to="other", state=State.DEAD),
    ]


@pytest.mark.parametrize(
    ("method", "arguments", "operation"),
    [
        ("requeue", ("q",), "requeue"),
        ("move", ("q", "other"), "move_messages"),
        ("end_session", (5,), "end_session"),
    ],
)
@skips_time
async def test_what_may_not_happen_twice_is_not_repeated(
    client, transport, method, arguments, operation
):
    transport.on(operation, OutcomeUnknown("Cut off."))
    async with client:
        with pytest.raises(OutcomeUnknown):
            await getattr(client, method)(*arguments)
    assert transport.names.count(operation) == 1


@pytest.mark.parametrize(
    ("method", "operation"), [("pause", "pause_queue"), ("resume", "resume_queue")]
)
@skips_time
async def test_what_may_happen_twice_is_repeated(client, transport, method, operation):
    transport.on(operation, OutcomeUnknown("Cut off."))
    async with client:
        await getattr(client, method)("q")
    assert transport.names.count(operation) == 2


@skips_time
async def test_without_a_policy_any_will_do(client, transport):
    async with client:
        await client.create("q")
        await client.create()
    assert form_of(transport, "create_queue") == forms.CreateQueue(policy=None)
    assert form_of(transport, "create_fresh_queue") == forms.CreateQueue(policy=None)


@skips_time
async def test_a_list_is_read_page_by_page(client, transport):
    transport.on("list_queues", QueueList(queues=[queue_info("a")], next="a"))
    transport.on("list_queues", QueueList(queues=[queue_info("b")], next=None))
    async with client:
        queues = await client.list("p", alive=True, kind="persistent")
    assert [queue.name for queue in queues] == ["a", "b"]
    assert [form.after for form in transport.forms("list_queues")] == ["", "a"]
    assert {(form.prefix, form.alive, form.kind) for form in transport.forms("list_queues")} == {
        ("p", True, "persistent")
    }


@skips_time
async def test_looking_needs_no_session(client, transport):
    async with client:
        await client.diagnostics()
        await client.trace(timeout=5)
        await client.inspect("q")
        await client.waits_for()
        await client.health()
        await client.session(1)
    assert "login" not in transport.names
    assert transport.done[1][0].wait == 5


# -- calls ----------------------------------------------------------------------------------------


@skips_time
async def test_a_call_is_one_request(client, transport):
    async with client:
        await client.login()
        transport.done.clear()
        await client.call("q", "hello", timeout=7, wait_for_server=True, headers={"a": "b"})
        assert transport.names == ["call"]
    operation = transport.done[0][0]
    assert operation.wait == 7
    assert operation.form == forms.Call(
        payload="hello", timeout=7, wait_for_server=True, headers={"a": "b"}
    )


@skips_time
async def test_a_call_that_was_cut_off_is_joined_again_by_its_key(client, transport):
    async def late(operation):
        await asyncio.sleep(12)
        raise OutcomeUnknown("Cut off.")

    transport.on("call", late)
    async with client:
        await client.call("q", "hello", timeout=30, key="k")
    first, second = transport.forms("call")
    assert first.timeout == 30
    assert 17 <= second.timeout <= 18
    assert first.key == second.key == "k"


@skips_time
async def test_a_call_with_a_key_is_tried_until_its_time_is_up(client, transport):
    now = asyncio.get_running_loop().time
    started = now()
    transport.on("call", OutcomeUnknown("Cut off."), *[Unreachable("Away.")] * 200)
    async with client:
        with pytest.raises(OutcomeUnknown):
            await client.call("q", "hello", timeout=20, key="k")
    assert 18 < now() - started <= 21


@pytest.mark.parametrize("timeout", [math.inf, math.nan, 0, -1, 301])
@skips_time
async def test_a_call_needs_a_timeout_that_the_switch_can_keep(client, transport, timeout):
    async with client:
        with pytest.raises(InvalidRequest, match="timeout"):
            await client.call("q", "hello", timeout=timeout)
    assert "call" not in transport.names


@skips_time
async def test_messages_are_not_given_back_twice(client, transport):
    transport.on("nack", OutcomeUnknown("Cut off."))
    async with client:
        with pytest.raises(OutcomeUnknown):
            await client.nack(1)
    assert transport.names.count("nack") == 1


@pytest.mark.parametrize("how", ["send", "send_many", "call"])
@skips_time
async def test_a_key_is_not_used_with_a_switch_that_forgot_it(client, transport, how):
    def restarted(operation) -> None:
        transport.instance = 2
        raise UnknownSession("Who?")

    transport.on(how, OutcomeUnknown("Cut off."), restarted)
    async with client:
        attempt = (
            client.send_many("q", [Send(payload="p", key="k")])
            if how == "send_many"
            else getattr(client, how)("q", "p", key="k")
        )
        with pytest.raises(OutcomeUnknown):
            await attempt
    assert transport.names.count(how) == 2


@skips_time
async def test_without_a_key_it_is_not_called_twice(client, transport):
    transport.on("call", OutcomeUnknown("Cut off."))
    async with client:
        with pytest.raises(OutcomeUnknown):
            await client.call("q", "hello")
    assert transport.names.count("call") == 1


@skips_time
async def test_a_short_timeout_is_kept(client, transport):
    async with client:
        await client.call("q", "hello", timeout=0.05)
    assert form_of(transport, "call").timeout == 0.05


# -- receiving ------------------------------------------------------------------------------------


@skips_time
async def test_transfer_yields_messages_until_none_comes(client, transport):
    now = asyncio.get_running_loop().time
    transport.on("transfer", brings(delivery(1), delivery(2)), brings(delivery(4)))
    started = now()
    async with client:
        await client.subscribe("q")
        ids = [message.id async for message in client.transfer(limit=2, timeout=60)]
    assert ids == [1, 2, 4]
    assert 60 <= now() - started < 61
    forms_sent = transport.forms("transfer")
    assert [form.limit for form in forms_sent] == [2] * len(forms_sent)
    assert [form.after for form in forms_sent[:3]] == [0, 3, 5]
    assert max(form.timeout for form in forms_sent) <= 30


@skips_time
async def test_leaving_an_iteration_loses_nothing(client, transport):
    transport.on("transfer", brings(delivery(1), delivery(2), delivery(3)))
    seen = []
    async with client:
        async for message in client.transfer(limit=3):
            seen.append(message.id)
            break
        async for message in client.transfer(limit=3):
            seen.append(message.id)
            if message.id == 3:
                break
    assert seen == [1, 2, 3]
    assert len(transport.forms("transfer")) == 1


@skips_time
async def test_a_message_is_touched_until_it_is_finished(client, transport):
    transport.on("transfer", brings(delivery(1), delivery(2)))
    async with client:
        iteration = client.transfer(limit=2)
        await anext(iteration)
        await asyncio.sleep(11)
        assert transport.forms("touch") == [forms.Touch(ids=[1, 2])]
        await client.ack(1)
        await asyncio.sleep(21)
        assert len(transport.forms("touch")) == 1
        # Taking one that was left alone so long needs a look whether it is there still.
        await anext(iteration)
        assert transport.forms("touch")[1:] == [forms.Touch(ids=[2])]
        await asyncio.sleep(9)
        assert transport.forms("touch")[2:] == [forms.Touch(ids=[2])]


@skips_time
async def test_what_was_taken_back_while_it_waited_is_left_out(client, transport):
    def taken_back(operation) -> TouchResult:
        return TouchResult(touched=[1], unknown=[3], not_held=[2])

    transport.on("transfer", brings(*(delivery(id) for id in (1, 2, 3, 4))))
    transport.on("touch", taken_back)
    async with client:
        iteration = client.transfer(limit=4)
        assert (await anext(iteration)).id == 1
        await asyncio.sleep(11)
        assert (await anext(iteration)).id == 4


@skips_time
async def test_what_waited_for_a_session_that_ended_is_left_out(client, transport):
    transport.on("transfer", brings(delivery(1), delivery(2)), brings(delivery(2, "again")))
    transport.on("touch", UnknownSession("Who?"))
    async with client:
        iteration = client.transfer(limit=2)
        assert (await anext(iteration)).id == 1
        await asyncio.sleep(11)
        assert transport.names.count("login") == 2
        assert (await anext(iteration)).payload == "again"


@skips_time
async def test_it_is_left_out_too_if_nothing_was_in_hand(client, transport):
    transport.on("transfer", brings(delivery(1), delivery(2)), brings(delivery(2, "again")))
    transport.on("touch", UnknownSession("Who?"))
    async with client:
        iteration = client.transfer(limit=2)
        await client.ack((await anext(iteration)).id)
        await asyncio.sleep(60)
        assert "touch" not in transport.names
        assert (await anext(iteration)).payload == "again"


@skips_time
async def test_taking_the_next_is_leaving_the_last(client, transport):
    transport.on("transfer", brings(delivery(1), delivery(2)))
    async with client:
        iteration = client.transfer(limit=2)
        await anext(iteration)
        await anext(iteration)
        await asyncio.sleep(11)
        assert transport.forms("touch") == [forms.Touch(ids=[2])]


@skips_time
async def test_one_receives_at_a_time(client, transport):
    async with client:
        first = asyncio.create_task(client.receive())
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="one at a time"):
            await client.receive()
        first.cancel()
        await asyncio.wait([first])
        assert await client.receive(timeout=0) is None


@skips_time
async def test_closing_ends_what_waits_and_logs_in_no_more(client, transport):
    async with client:
        await client.subscribe("q")
        receiving = asyncio.create_task(client.receive())
        await asyncio.sleep(1)

        async def logged_out(operation):
            transport.on("transfer", UnknownSession("Logged out."))

        transport.on("logout", logged_out)
    with pytest.raises(RuntimeError, match="closed"):
        await receiving
    assert transport.names.count("login") == 1


# -- serving --------------------------------------------------------------------------------------


async def echo(message: Delivery) -> str:
    return message.payload


async def begun(transport: FakeTransport, count: int = 1) -> None:
    while len(transport.forms("transfer")) < count:
        await asyncio.sleep(0.01)


@skips_time
async def test_serving_has_a_session_of_its_own(client, transport):
    async with client:
        await client.login()
        serving = [asyncio.create_task(client.serve(queue, echo)) for queue in ("a", "b")]
        await begun(transport, 2)
        assert transport.names.count("login") == 3
        assert {form.client for form in transport.forms("login")} == {"tester"}
        for task in serving:
            task.cancel()
        await asyncio.wait(serving)
        assert all(task.cancelled() for task in serving)
        assert transport.names.count("logout") == 2


@skips_time
async def test_closing_the_client_ends_serving(client, transport):
    async with client:
        serving = asyncio.create_task(client.serve("q", echo))
        await begun(transport)
    assert await serving is None
    assert transport.names.count("logout") == 1


@skips_time
async def test_a_server_may_start_before_the_switch(client, transport):
    transport.on("login", *[Unreachable("Away.")] * 50)
    async with client:
        serving = asyncio.create_task(client.serve("q", echo))
        await begun(transport)
        serving.cancel()
        await asyncio.wait([serving])


@skips_time
async def test_a_server_that_cannot_serve_says_why(client, transport):
    transport.on("subscribe", ValueError("Bug."))
    async with client:
        with pytest.raises(ValueError, match="Bug"):
            await client.serve("q", echo)


@skips_time
async def test_a_second_cancellation_does_not_wait_for_functions(client, transport):
    now = asyncio.get_running_loop().time

    async def endless(message: Delivery) -> str:
        await asyncio.sleep(math.inf)
        return ""

    transport.on("transfer", brings(delivery(1)))
    async with client:
        serving = asyncio.create_task(client.serve("q", endless, grace=1000, concurrency=2))
        await begun(transport, 2)
        started = now()
        serving.cancel()
        await asyncio.sleep(1)
        assert not serving.done()
        serving.cancel()
        await asyncio.wait([serving])
        assert serving.cancelled()
        assert now() - started < 10


@skips_time
async def test_two_minutes_of_work_cost_neither_the_session_nor_the_message():
    loop = asyncio.get_running_loop()

    class Clock:
        """The time of the loop that skips."""

        def now(self) -> float:
            return loop.time()

        def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
            return loop.call_at(when, callback)

    async def slow(message: Delivery) -> str:
        await asyncio.sleep(120)
        return str(message.delivery_count)

    async with (
        running_switch(Clock()),
        in_process_client(name="slow", lease=30.0) as callee,
        in_process_client(name="caller") as client,
    ):
        await client.create("q", ack_timeout=20.0)
        serving = asyncio.create_task(callee.serve("q", slow))
        started = loop.time()
        answer = await client.call("q", "x", timeout=200, wait_for_server=True)
        assert answer.payload == "1"
        assert 120 <= loop.time() - started < 130
        events = (await client.trace(limit=1000)).events
        kinds = {event.kind for event in events if event.client == "slow"}
        assert "replied" in kinds
        assert not {"lease_expired", "released"} & kinds
        serving.cancel()
        await asyncio.wait([serving])
