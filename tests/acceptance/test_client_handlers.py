"""Calls that are made by what serves a request: who is whose parent, and what a circle leads to."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from queues.client import AsyncClient, CallTimeout, Client, Delivery
from queues.client.http import HttpTransport
from queues.core.answers import CallTree
from queues.core.messages import PARENT
from queues.core.verdict import Verdict

from .conftest import Server

TRACE = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=t61rcWkgMzE",
}
#: Longer than any test waits: the outermost call gives up first.
PATIENT = 100.0

Connect = Callable[[str], AsyncClient]


@pytest.fixture(params=["http", "websocket", "unix", "tcp"])
def connect(request: pytest.FixtureRequest, server: Server) -> Connect:
    """Makes a client of a given name, over each transport."""

    def make(name: str) -> AsyncClient:
        if request.param == "http":
            return AsyncClient(transport=HttpTransport(server.url), name=name)
        url = server.urls[["websocket", "unix", "tcp"].index(request.param)]
        return AsyncClient(url, name=name)

    return make


@asynccontextmanager
async def served(client: AsyncClient, *services: tuple[str, Any]) -> AsyncIterator[None]:
    """Services that run, one request at a time, while the block does."""
    tasks = [asyncio.create_task(client.serve(name, work, grace=0)) for name, work in services]
    try:
        for name, _ in services:
            async with asyncio.timeout(20):
                while not [queue for queue in await client.list(name) if queue.consumers]:
                    await asyncio.sleep(0.01)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def flat(tree: CallTree | None) -> list[str]:
    """The queues of a tree that is a chain."""
    names = []
    while tree is not None:
        names.append(tree.queue)
        tree = tree.calls[0] if tree.calls else None
    return names


async def test_a_call_says_what_it_is_made_for_and_its_reply_says_nothing(
    connect: Connect, request: pytest.FixtureRequest
):
    suffix = request.node.callspec.id
    outer, inner = f"outer.{suffix}", f"inner.{suffix}"
    asked: list[Delivery] = []

    async def pass_on(message: Delivery) -> str:
        asked.append(message)
        answer = await client.call(inner, message.payload, headers={"own": "x"})
        assert answer.headers == {}
        return answer.payload

    async def answer(message: Delivery) -> str:
        asked.append(message)
        return message.payload.upper()

    async with connect("caller") as client, connect("server") as server:
        async with served(server, (outer, pass_on), (inner, answer)):
            reply = await client.call(outer, "hello", headers=TRACE)
        assert (reply.payload, reply.headers) == ("HELLO", {})
        first, second = asked
        assert first.headers == TRACE
        assert second.headers == {"own": "x", PARENT: str(first.id), **TRACE}
        for id in (first.id, second.id):
            assert flat((await client.explain(id)).tree) == [outer, inner]


def assert_circle(verdict: Verdict | None, *names: str) -> None:
    assert verdict is not None
    assert (verdict.code, verdict.level) == ("deadlock", "stuck")
    assert {step["queue"] for step in verdict.evidence["circle"]} == set(names)
    assert all(name in verdict.sentence for name in names)


async def test_a_circle_of_two_services_is_a_deadlock(
    connect: Connect, request: pytest.FixtureRequest
):
    suffix = request.node.callspec.id
    ping, pong = f"ping.{suffix}", f"pong.{suffix}"

    def calling(client: AsyncClient, other: str) -> Callable[[Delivery], Any]:
        async def work(message: Delivery) -> str:
            return (await client.call(other, "", timeout=PATIENT)).payload

        return work

    async with (
        connect("pinger") as pinger,
        connect("ponger") as ponger,
        connect("caller") as caller,
        served(pinger, (ping, calling(pinger, pong))),
        served(ponger, (pong, calling(ponger, ping))),
    ):
        with pytest.raises(CallTimeout) as caught:
            await caller.call(ping, "", timeout=3)
        assert_circle(caught.value.verdict, ping, pong)
        assert "Deadlock" in str(caught.value)
        assert {step["holder"] for step in caught.value.verdict.evidence["circle"]} == {
            "pinger",
            "ponger",
            None,
        }


@contextmanager
def thread(work: Callable[..., Any], *args: Any) -> Iterator[None]:
    """A thread that has ended when the block has."""
    running = threading.Thread(target=work, args=args)
    running.start()
    yield
    running.join(30)
    assert not running.is_alive()


@pytest.mark.parametrize("kind", range(3), ids=["websocket", "unix", "tcp"])
def test_so_it_is_with_blocking_functions(server: Server, kind: int):
    url = server.urls[kind]
    ping, pong = f"blocking.ping.{kind}", f"blocking.pong.{kind}"
    services = Client(url, name="services")
    # Another object than the one that serves.
    other = Client(url, name="other")

    def calling(name: str) -> Callable[[Delivery], str]:
        return lambda message: other.call(name, "", timeout=PATIENT, wait_for_server=True).payload

    with (
        Client(url, name="caller") as caller,
        thread(services.serve, ping, calling(pong)),
        thread(services.serve, pong, calling(ping)),
        services,
        other,
    ):
        with pytest.raises(CallTimeout) as caught:
            caller.call(ping, "", timeout=3, wait_for_server=True)
        assert_circle(caught.value.verdict, ping, pong)
