"""The client on a stream against a real switch, when it is interrupted, stopped and closed."""

import asyncio
import gc
import time
from contextlib import suppress
from typing import Any

import pytest

from queues.client import AsyncClient, Delivery, HandlerError, RemoteError, Unreachable
from queues.core.errors import NoServer, SwitchError

from .conftest import Server

KINDS = ["websocket", "unix", "tcp"]
kinds = pytest.mark.parametrize("kind", KINDS)


def address(server: Server, kind: str) -> str:
    return server.urls[KINDS.index(kind)]


async def sessions(server: Server, name: str) -> int:
    async with AsyncClient(server.url, name="looks") as client:
        return [each.client for each in (await client.diagnostics()).sessions].count(name)


@kinds
@pytest.mark.parametrize("turns", [*range(0, 20, 2), 30, 60])
async def test_a_login_may_be_cancelled_at_any_point(
    server: Server, kind: str, turns: int, caplog: pytest.LogCaptureFixture
):
    async with AsyncClient(address(server, kind)) as client:
        login = asyncio.create_task(client.login())
        for _ in range(turns):
            await asyncio.sleep(0)
        login.cancel()
        with suppress(asyncio.CancelledError):
            await login
        await client.create("cancelled")
    gc.collect()
    assert "never retrieved" not in caplog.text


@kinds
@pytest.mark.parametrize("turns", [1, 3, 5, 10, 20, 50])
async def test_a_client_may_be_closed_at_any_point(server: Server, kind: str, turns: int):
    name = f"closed {kind} {turns}"
    client = AsyncClient(address(server, kind), name=name)
    before = asyncio.all_tasks()
    task = asyncio.create_task(client.create("closed"))
    for _ in range(turns):
        await asyncio.sleep(0)
    await client.close()
    with suppress(RuntimeError, SwitchError):
        await task
    assert asyncio.all_tasks() == before
    async with asyncio.timeout(20):
        while await sessions(server, name):
            await asyncio.sleep(0.01)


async def test_stopping_a_busy_server_fails_no_call(server: Server):
    outcomes: dict[str, int] = {}
    stopping = False

    def work(message: Delivery) -> str:
        time.sleep(0.002)
        return "done"

    async with AsyncClient(server.unix_url) as callee, AsyncClient(server.unix_url) as client:

        async def caller() -> None:
            while not stopping:
                try:
                    outcome = (await client.call("busy", "", wait_for_server=True)).payload
                except RemoteError as error:
                    outcome = str(error)
                outcomes[outcome] = outcomes.get(outcome, 0) + 1

        callers = [asyncio.create_task(caller()) for _ in range(64)]
        for _ in range(10):
            answered = outcomes.get("done", 0)
            serving = asyncio.create_task(callee.serve("busy", work, concurrency=16, grace=1))
            async with asyncio.timeout(30):
                while outcomes.get("done", 0) < answered + 50:
                    await asyncio.sleep(0.001)
            serving.cancel()
            await asyncio.wait([serving])
        serving = asyncio.create_task(callee.serve("busy", work, concurrency=16))
        stopping = True
        await asyncio.gather(*callers)
        serving.cancel()
        await asyncio.wait([serving])
    assert set(outcomes) == {"done"}


async def test_what_a_stopping_server_does_not_begin_goes_to_another(server: Server):
    release = asyncio.Event()
    begun: list[str] = []

    async def first(message: Delivery) -> str:
        begun.append(message.payload)
        await release.wait()
        return "first"

    async def second(message: Delivery) -> str:
        return "second"

    async with AsyncClient(server.unix_url) as client, AsyncClient(server.unix_url) as callee:
        stopping = asyncio.create_task(callee.serve("handed", first, concurrency=2, grace=60))
        one = asyncio.create_task(client.call("handed", "1", wait_for_server=True))
        async with asyncio.timeout(30):
            while not begun:
                await asyncio.sleep(0.001)
        stopping.cancel()
        # Of these, some may have been on their way when it stopped.
        others = [asyncio.create_task(client.call("handed", str(n))) for n in range(2, 6)]
        serving = asyncio.create_task(callee.serve("handed", second))
        async with asyncio.timeout(30):
            assert {(await other).payload for other in others} == {"second"}
        release.set()
        assert (await one).payload == "first"
        serving.cancel()
        await asyncio.wait([stopping, serving])
    assert begun == ["1"]


@kinds
async def test_a_handler_may_raise_anything_again_and_again(server: Server, kind: str):
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    odd: list[Any] = [HandlerError(404, "x"), HandlerError("x", None), Unspeakable()]  # type: ignore

    async def fail(message: Delivery) -> str:
        raise odd[int(message.payload)]

    queue = f"odd.{kind}"
    async with AsyncClient(address(server, kind)) as client:
        serving = asyncio.create_task(client.serve(queue, fail))
        codes = []
        for n in range(len(odd)):
            with pytest.raises(RemoteError) as caught:
                await client.call(queue, str(n), wait_for_server=True, timeout=20)
            codes.append(caught.value.error.code)
        assert codes == ["404", "x", "unspeakable"]
        serving.cancel()
        await asyncio.wait([serving])


async def test_many_large_ones_both_ways_at_once(server: Server):
    """What has not left waits in the client, and the switch hears that it reads."""
    large = "x" * 700_000

    async def answer(message: Delivery) -> str:
        return large

    async with AsyncClient(server.unix_url) as callee, AsyncClient(server.unix_url) as client:
        serving = asyncio.create_task(callee.serve("large", answer, concurrency=8))
        await client.create("sink")
        await client.call("large", "", wait_for_server=True)
        calls = [client.call("large", "") for _ in range(8)]
        sends = [client.send("sink", large + str(n)) for n in range(20)]
        replies = await asyncio.gather(*calls, *sends)
        assert all(reply.payload == large for reply in replies[:8])  # type: ignore[union-attr]
        assert (await client.inspect("sink")).ready == 20
        await client.destroy("sink")
        serving.cancel()
        await asyncio.wait([serving])


async def test_a_name_that_is_none_is_refused_by_the_switch(server: Server):
    async with AsyncClient(server.unix_url) as client:
        for name in ("", "..", "a/b", "ü"):
            with pytest.raises(SwitchError) as caught:
                await client.create(name)
            assert caught.value.code == "invalid_name"
        with pytest.raises(NoServer):
            await client.call("nobody.there", "")


async def test_a_switch_that_goes_while_nothing_is_asked(fresh_server: Server):
    async with AsyncClient(fresh_server.unix_url) as client:
        await client.login()
        await asyncio.to_thread(fresh_server.kill)
        with pytest.raises(Unreachable):
            await client.create("q")
        await asyncio.to_thread(fresh_server.start)
        await client.create("q")
