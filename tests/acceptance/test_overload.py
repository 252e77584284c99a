"""What is too much is refused, on every transport and with a code; what keeps a switch looked after
goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import websockets

from queues.client import AsyncClient
from queues.client.errors import Unreachable
from queues.core.errors import RateLimited
from queues.protocol.frames import JSON, MSGPACK, length_prefixed

from .conftest import SERVERS, Server
from .wire import Wire

CONNECTIONS = 12


@pytest.fixture(scope="module", params=SERVERS)
def tight(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A switch that takes on little."""
    server = Server(
        tmp_path_factory.mktemp("tight"),
        request.param,
        SWITCH_INTAKE=f"connections={CONNECTIONS}, login_rate=3",
    )
    server.start()
    yield server
    server.stop()


async def raw(server: Server, kind: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if kind == "unix":
        return await asyncio.open_unix_connection(str(server.unix_path))
    return await asyncio.open_connection("127.0.0.1", int(server.tcp_url.rpartition(":")[2]))


@asynccontextmanager
async def streams(server: Server, count: int) -> Any:
    """So many streams that are open and known to be."""
    opened = []
    for _ in range(count):
        reader, writer = await raw(server, "tcp")
        writer.write(length_prefixed([MSGPACK.encode({"op": "ping", "ref": 1})]))
        size = int.from_bytes(await reader.readexactly(4), "big")
        assert MSGPACK.read_anything(await reader.readexactly(size)) == {"ref": 1, "ok": None}
        opened.append(writer)
    try:
        yield
    finally:
        for writer in opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in opened))
        wire = await Wire.open(server.port)
        async with asyncio.timeout(10):
            while True:
                wire.send("GET", "queues")
                if (await wire.answer()).status == 200:
                    break
        wire.close()


async def test_a_full_switch_lets_nobody_in_but_probes_and_pages(tight: Server) -> None:
    async with streams(tight, CONNECTIONS):
        wire = await Wire.open(tight.port)
        wire.send("GET", "queues")
        answer = await wire.answer()
        assert (answer.status, answer.json["code"]) == (503, "too_many_connections")
        assert answer.headers["retry-after"] == "1"
        wire.close()
        for kind in ("unix", "tcp"):
            reader, writer = await raw(tight, kind)
            said = await asyncio.wait_for(reader.read(), 5)
            closing = JSON.read_anything(said[4:])["closing"]
            assert (closing["code"], closing["retry_after"]) == ("too_many_connections", 1)
            writer.close()
        url = tight.url.replace("http", "ws") + "/ws/v1"
        async with websockets.connect(url) as socket:
            last = msgspec.json.decode(await socket.recv())
            assert last["closing"]["code"] == "too_many_connections"
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4004
        for address in tight.urls:
            async with AsyncClient(address) as client:
                with pytest.raises(Unreachable, match="connections are open"):
                    await client.list()
        for path in ("/healthz", "/readyz", "/metrics", "/"):
            wire = await Wire.open(tight.port)
            wire.send("GET", path)
            head = await asyncio.wait_for(wire.reader.readline(), 10)
            assert head.split()[1] == b"200", path
            wire.close()


async def go_on(writer: asyncio.StreamWriter, data: bytes) -> None:
    while True:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0.05)


async def test_who_is_not_let_in_hears_why_though_it_writes_first(tight: Server) -> None:
    """And who stays is closed all the same."""
    hello = length_prefixed([MSGPACK.encode({"op": "ping", "ref": 1})])
    async with streams(tight, CONNECTIONS):
        for kind in ("unix", "tcp"):
            reader, writer = await raw(tight, kind)
            await asyncio.wait_for(reader.readexactly(4), 5)
            for _ in range(3):
                writer.write(hello * 1_000)
                await writer.drain()
            said = await asyncio.wait_for(reader.read(), 5)
            assert JSON.read_anything(said)["closing"]["code"] == "too_many_connections"
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(go_on(writer, hello), 5)
            writer.close()


async def test_logins_are_refused_on_every_transport(tight: Server) -> None:
    """Of one address; TCP and HTTP come from the same."""
    wire = await Wire.open(tight.port)
    codes = []
    for _ in range(20):
        wire.send("POST", "login", b'{"client": "a"}', {"Content-Type": "application/json"})
        answer = await wire.answer()
        codes.append(answer.json.get("code", answer.status))
    wire.close()
    assert {201, "rate_limited"} == set(codes)
    for address in tight.urls:
        clients = [AsyncClient(address) for _ in range(8)]
        done = await asyncio.gather(*(c.login() for c in clients), return_exceptions=True)
        for client in clients:
            await client.close()
        assert any(isinstance(each, RateLimited) for each in done), done


async def test_what_is_under_way_ends_with_its_client(tight: Server) -> None:
    """Those who come, wait and go take up no room afterwards."""
    for _ in range(3):
        async with streams(tight, CONNECTIONS - 1):
            pass
