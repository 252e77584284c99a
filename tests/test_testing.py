"""What the testing module promises its users: its own example, and an RPC."""

from __future__ import annotations

import asyncio

import pytest

from queues import testing
from queues.client import CallTimeout, RemoteError
from queues.core.errors import QueueNotFound
from queues.engines import running_engine
from queues.testing import FakeClock, in_process_client, running_switch


async def test_the_example_of_the_module() -> None:
    assert testing.__doc__ is not None
    example = testing.__doc__.partition("::\n")[2].partition("The client speaks")[0]
    names = vars(testing).copy()
    indented = example.replace("\n", "\n    ")
    exec(f"async def example():\n    if True:\n    {indented}\n", names)
    await names["example"]()


async def test_an_rpc_without_a_network() -> None:
    async with running_switch(), in_process_client(name="a") as a, in_process_client(name="b") as b:
        serving = asyncio.ensure_future(b.serve("q", lambda request: request.payload.upper()))
        assert (await a.call("q", "hello", wait_for_server=True)).payload == "HELLO"
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


async def test_refusals_are_those_of_the_protocol() -> None:
    async with running_switch(), in_process_client() as client:
        with pytest.raises(QueueNotFound):
            await client.send("nowhere", "x")


async def test_time_passes_only_when_told() -> None:
    clock = FakeClock()
    async with running_switch(clock), in_process_client() as client:
        call = asyncio.ensure_future(client.call("q", "x", timeout=300, wait_for_server=True))
        while not await client.list():
            await asyncio.sleep(0)
        clock.advance(301)
        with pytest.raises(CallTimeout) as caught:
            await call
        assert caught.value.verdict is not None
        assert caught.value.verdict.code == "never_started"


async def test_a_failed_handler() -> None:
    def broken(request: object) -> str:
        raise LookupError("no such thing")

    async with running_switch(), in_process_client() as client, in_process_client() as server:
        serving = asyncio.ensure_future(server.serve("q", broken))
        with pytest.raises(RemoteError, match="lookup_error: no such thing"):
            await client.call("q", "x", wait_for_server=True)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving


async def test_afterwards_there_is_no_switch() -> None:
    async with running_switch() as engine:
        assert running_engine() is engine
    assert running_engine() is None
