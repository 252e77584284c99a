"""Clients that come, go and die: at the end the switch is as it was at the start.

Half a minute by default. SWITCH_SOAK_SECONDS=600 takes ten minutes, a third of them for each server
(``make soak``).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from queues.client import AsyncClient, Delivery
from queues.core.errors import SwitchError
from queues.protocol.frames import MSGPACK, length_prefixed

from .conftest import KIND, SERVERS, Server
from .state import State, until_back
from .wire import Wire

LONG = "SWITCH_SOAK_SECONDS" in os.environ
KINDS = SERVERS if LONG else [KIND]
SECONDS = float(os.environ.get("SWITCH_SOAK_SECONDS", "24")) / len(KINDS)
SEED = int(os.environ.get("SWITCH_SOAK_SEED", "1"))
#: Clients at a time.
CLIENTS = 24
#: Bytes by which memory may grow: the rest is what allocators keep.
GROWTH = 12 * 2**20


class Soak:
    """Clients of all kinds against one switch."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.random = random.Random(SEED)
        self.done: Counter[str] = Counter()
        self.number = 0

    async def run(self, seconds: float) -> None:
        """So many clients at a time, one after the other, for a time."""
        ends = time.monotonic() + seconds
        kinds: list[Callable[[], Awaitable[None]]] = [
            self.orderly,
            self.caller,
            self.vanishing_poll,
            self.dying_consumer,
            self.half_a_frame,
            self.half_a_request,
            self.queue_of_its_own,
            self.looker,
            self.websocket_cut,
        ]

        async def one_after_the_other() -> None:
            while time.monotonic() < ends:
                kind = self.random.choice(kinds)
                await asyncio.wait_for(kind(), 30)
                self.done[kind.__name__] += 1

        async def echo(message: Delivery) -> str:
            return message.payload

        async with AsyncClient(self.server.tcp_url, name="echo") as callee:
            serving = asyncio.create_task(callee.serve("soak.echo", echo, concurrency=32))
            await asyncio.gather(*(one_after_the_other() for _ in range(CLIENTS)))
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving

    async def _session(self, lease: float) -> tuple[Wire, str]:
        wire = await Wire.open(self.server.port)
        login = {"client": f"soak {self.number}", "lease": lease}
        self.number += 1
        return wire, (await wire.ask("POST", "login", login))["session"]

    async def orderly(self) -> None:
        """By HTTP, from login to logout."""
        wire, token = await self._session(30)
        queue = (await wire.ask("POST", "queues", {}, token))["name"]
        await wire.ask("PUT", f"subscriptions/{queue}", token=token)
        await wire.ask("POST", f"queues/{queue}/messages", {"payload": "x" * 1_000, "key": "k"})
        got = await wire.ask("POST", "transfer", {"timeout": 5}, token)
        await wire.ask("POST", "ack", {"ids": [m["id"] for m in got["messages"]]}, token)
        await wire.ask("POST", "logout", token=token)
        wire.close()

    async def caller(self) -> None:
        """A few calls on a stream, each answered."""
        url = self.random.choice(self.server.urls)
        async with AsyncClient(url, name="caller") as client:
            for number in range(5):
                reply = await client.call("soak.echo", f"{number}", wait_for_server=True)
                assert reply.payload == f"{number}"

    async def vanishing_poll(self) -> None:
        """Gone in the middle of a Transfer; its lease ends."""
        wire, token = await self._session(1)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        wire.send("POST", "transfer", b'{"timeout": 60}', headers)
        await asyncio.sleep(self.random.random() / 20)
        wire.writer.transport.abort()

    async def dying_consumer(self) -> None:
        """Gone with a message in its hands, which somebody else gets, and its queue."""
        url = self.random.choice(self.server.urls[1:])
        client = AsyncClient(url, name="dying")
        queue = (await client.create()).name
        await client.subscribe(queue)
        await client.send(queue, "precious")
        assert await client.receive(timeout=10) is not None
        await client.close()

    async def half_a_frame(self) -> None:
        """Logged in, then gone in the middle of a frame."""
        reader, writer = await asyncio.open_unix_connection(str(self.server.unix_path))
        login = MSGPACK.encode({"op": "login", "ref": 1, "client": "half"})
        writer.write(length_prefixed([login]))
        await reader.readexactly(4)
        writer.write((1_000_000).to_bytes(4, "big") + bytes(50_000))
        await asyncio.sleep(self.random.random() / 20)
        writer.transport.abort()

    async def half_a_request(self) -> None:
        """Gone before its body is complete."""
        wire = await Wire.open(self.server.port)
        headers = {"Content-Length": "100000", "Content-Type": "application/json"}
        wire.send("POST", "queues/soak.echo/messages", b'{"payload": "', headers)
        await asyncio.sleep(self.random.random() / 20)
        wire.writer.transport.abort()

    async def queue_of_its_own(self) -> None:
        """A persistent queue, filled and destroyed."""
        wire = await Wire.open(self.server.port)
        name = f"soak.{self.number}"
        self.number += 1
        await wire.ask("PUT", f"queues/{name}")
        batch = [{"payload": "y" * 500, "delay": 30.0 * (n % 2)} for n in range(20)]
        await wire.ask("POST", f"queues/{name}/messages", batch)
        await wire.ask("DELETE", f"queues/{name}")
        wire.close()

    async def looker(self) -> None:
        """An operator's pages and questions."""
        wire = await Wire.open(self.server.port)
        await wire.ask("GET", "diagnostics")
        await wire.ask("GET", "trace?limit=1000")
        wire.close()

    async def websocket_cut(self) -> None:
        """A call given up because the caller is gone."""
        async with AsyncClient(self.server.url, name="cut") as client:
            with suppress(TimeoutError, SwitchError):
                async with asyncio.timeout(0.05):
                    await client.call("soak.nobody", "x", wait_for_server=True, timeout=0.04)


async def forget_nobody(server: Server) -> None:
    """Purge what waits for a server that never comes."""
    wire = await Wire.open(server.port)
    await wire.ask("POST", "queues/soak.nobody/purge", {})
    wire.close()
    await wire.writer.wait_closed()


@pytest.mark.timeout(0 if LONG else 180)
@pytest.mark.parametrize("kind", KINDS)
async def test_the_switch_ends_as_it_began(tmp_path: Path, kind: str) -> None:
    print(f"{kind}: seed {SEED}, {SECONDS:g} seconds")
    server = Server(tmp_path, kind)
    server.start()
    try:
        soak = Soak(server)
        # Allocators, thread pools and the trace grow to their size first.
        await soak.run(max(5.0, SECONDS / 4))
        await asyncio.sleep(3)  # Daphne looks after what has ended every second
        await forget_nobody(server)
        before = await State.of(server)
        before = await until_back(server, State(before.descriptors, 9, before.tasks, 0, 2, 0))
        await soak.run(SECONDS * 3 / 4)
        await forget_nobody(server)
        after = await until_back(server, before)
        print(f"before {before}\nafter  {after}\n{dict(soak.done)}")
        assert after.memory - before.memory < GROWTH
        assert all(soak.done.values())
        assert len(soak.done) == 9
    finally:
        server.stop()
    assert "Traceback" not in server.log
