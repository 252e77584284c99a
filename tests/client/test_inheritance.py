"""Calls that are made while a request is served say for which one."""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from queues.client import AsyncClient, Client, Delivery, Send
from queues.client.inheritance import MAX_BYTES, with_inherited, work_on
from queues.core.messages import PARENT, headers_size
from queues.testing import in_process_client, running_switch

from .fakes import FakeTransport, brings, delivery, skips_time

TRACE = {"traceparent": "00-4bf9-00f0-01", "tracestate": "vendor=1"}


def inherits(own: dict[str, str], **fields: Any) -> dict[str, str]:
    """What becomes of the headers of a call made for request 7."""

    def work() -> dict[str, str]:
        work_on(delivery(7, **fields))
        return with_inherited(own)

    return contextvars.copy_context().run(work)


def test_outside_of_a_handler_headers_are_as_given():
    headers = {"a": "b"}
    assert with_inherited(headers) is headers


def test_a_call_names_its_parent_and_passes_the_trace_on():
    assert inherits({}) == {PARENT: "7"}
    assert inherits({"a": "b"}) == {"a": "b", PARENT: "7"}
    assert inherits({}, headers={**TRACE, "other": "x", PARENT: "3"}) == {PARENT: "7", **TRACE}
    assert inherits({"a": "b"}, headers=TRACE) == {"a": "b", PARENT: "7", **TRACE}


@pytest.mark.parametrize("own", [{PARENT: "5"}, {PARENT: ""}])
def test_the_callers_own_parent_wins(own: dict[str, str]):
    assert inherits(own, headers=TRACE) == {**own, **TRACE}


@pytest.mark.parametrize("name", TRACE)
def test_a_trace_of_the_callers_own_is_not_mixed_with_another(name: str):
    own = {name: "own"}
    assert inherits(own, headers=TRACE) == {**own, PARENT: "7"}


@pytest.mark.parametrize(
    ("count", "added"),
    [
        (61, {PARENT, *TRACE}),
        (62, {PARENT, "traceparent"}),
        (63, {PARENT}),
        (64, set()),
        (65, set()),
    ],
)
def test_what_has_no_room_is_left_out(count: int, added: set[str]):
    own = {str(n): "" for n in range(count)}
    assert set(inherits(own, headers=TRACE)) - set(own) == added


@pytest.mark.parametrize(
    ("room", "added"),
    [
        (headers_size({PARENT: "7", **TRACE}), {PARENT, *TRACE}),
        (headers_size({PARENT: "7", **TRACE}) - 1, {PARENT, "traceparent"}),
        (headers_size({PARENT: "7"}), {PARENT}),
        (headers_size({PARENT: "7"}) - 1, set()),
        (-1, set()),
    ],
)
def test_what_would_be_too_large_is_left_out(room: int, added: set[str]):
    own = {"ä": "x" * (MAX_BYTES - room - 2)}
    assert set(inherits(own, headers=TRACE)) - set(own) == added


def test_a_trace_that_leaves_no_room_for_the_parent_is_cut():
    long = {"traceparent": "00", "tracestate": "x" * (MAX_BYTES - 23)}
    assert headers_size(long) == MAX_BYTES
    assert inherits({}, headers=long) == {PARENT: "7", "traceparent": "00"}


@pytest.mark.parametrize("value", ["\ud800", 5, None])
def test_what_cannot_be_sent_is_for_others_to_refuse(value: Any):
    assert inherits({"a": value}) == {"a": value, PARENT: "7"}


# -- who inherits ---------------------------------------------------------------------------------


def headers_of(transport: FakeTransport, name: str) -> list[dict[str, str]]:
    return [form.headers for form in transport.forms(name)]


async def served(function: Callable[[Delivery], Any], **fields: Any) -> None:
    """Let a function serve request 7, and wait until it is answered."""
    transport = FakeTransport()
    transport.on("transfer", brings(delivery(7, **fields)))
    async with AsyncClient(name="server", transport=transport) as server:
        serving = asyncio.create_task(server.serve("q", function))
        async with asyncio.timeout(60):
            while len(transport.forms("transfer")) < 2:
                await asyncio.sleep(0.001)
        serving.cancel()
        await asyncio.wait([serving])
    (reply,) = transport.forms("transfer")[1].replies
    assert (reply.error, reply.headers) == (None, {}), "a reply passes nothing on"


@skips_time
async def test_an_async_function_and_the_tasks_it_starts():
    transport = FakeTransport()

    async with AsyncClient(name="caller", transport=transport) as client:

        async def function(request: Delivery) -> str:
            await client.call("a", "")
            await asyncio.gather(*(client.call("b", "", headers={"x": str(n)}) for n in (1, 2)))
            await asyncio.create_task(client.send("c", "", reply_to="r"))
            await client.send_many("d", [Send(payload="", reply_to="r"), Send(payload="")])
            await client.send("e", "")
            await client.reply(9, "")
            return ""

        await served(function, headers=TRACE)
        await client.call("f", "")
        await client.send("g", "", reply_to="r")

    inherited = {PARENT: "7", **TRACE}
    assert headers_of(transport, "call") == [
        inherited,
        {"x": "1", **inherited},
        {"x": "2", **inherited},
        {},
    ]
    assert headers_of(transport, "send") == [inherited, {}, {}]
    (batch,) = transport.forms("send_many")
    assert [draft.headers for draft in batch] == [inherited, {}]
    assert headers_of(transport, "reply") == [{}]


async def test_a_blocking_function_with_either_client():
    transport = FakeTransport()
    loop = asyncio.get_running_loop()
    async with AsyncClient(name="caller", transport=transport) as client:

        def function(request: Delivery) -> None:
            asyncio.run_coroutine_threadsafe(client.call("a", ""), loop).result(10)

        await served(function)
    assert headers_of(transport, "call") == [{PARENT: "7"}]

    transport = FakeTransport()
    with Client(name="blocking") as blocking:
        # What it would connect with first is not wanted here.
        blocking._client = AsyncClient(name="blocking", transport=transport)
        await served(lambda request: blocking.call("a", "").payload)
        blocking.call("b", "")
    assert headers_of(transport, "call") == [{PARENT: "7"}, {}]


@skips_time
async def test_each_request_is_the_parent_of_its_own_calls():
    transport, callers = FakeTransport(), FakeTransport()
    transport.on(
        "transfer", brings(*(delivery(id, str(id)) for id in (1, 2, 3))), brings(delivery(4, "4"))
    )
    async with (
        AsyncClient(name="caller", transport=callers) as client,
        AsyncClient(name="server", transport=transport) as server,
    ):

        async def function(request: Delivery) -> str:
            await asyncio.sleep(5 - request.id)
            return (await client.call("a", request.payload)).payload

        serving = asyncio.create_task(server.serve("q", function, concurrency=4))
        async with asyncio.timeout(60):
            while len(callers.forms("call")) < 4:
                await asyncio.sleep(0.1)
        serving.cancel()
        await asyncio.wait([serving])
    parents = {form.payload: form.headers[PARENT] for form in callers.forms("call")}
    assert parents == {id: id for id in "1234"}


async def test_the_tree_of_calls_through_three_services():
    async with running_switch(), in_process_client(name="c") as client:

        async def passes_on(request: Delivery) -> str:
            to, _, rest = request.payload.partition(" ")
            return "end" if not to else (await client.call(to, rest)).payload

        serving = [asyncio.create_task(client.serve(name, passes_on)) for name in "xyz"]
        while sum(queue.consumers for queue in await client.list()) < 3:
            await asyncio.sleep(0)
        answer = await client.call("x", "y z", headers=TRACE)
        assert (answer.payload, answer.headers) == ("end", {})
        tree = (await client.explain(answer.request)).tree
        names = []
        while tree is not None:
            names.append(tree.queue)
            tree = tree.calls[0] if tree.calls else None
        assert names == ["x", "y", "z"]
        for task in serving:
            task.cancel()
        await asyncio.wait(serving)
