"""SIGTERM with a thousand connections of all kinds: every one hears of it, and the process is gone
in two seconds."""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from queues.protocol.frames import MSGPACK, length_prefixed

from .conftest import SERVERS, Server
from .wire import Wire

POLLS, CALLS, TRACES, WEBSOCKETS, SOCKETS, SILENT, PAGES = 350, 50, 50, 250, 200, 50, 50
#: Seconds.
GONE_AFTER = 2.0
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "switch.v1.json",
}


@pytest.fixture(autouse=True)
def many_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@pytest.fixture(params=SERVERS)
def any_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, request.param)
    server.start()
    yield server
    server.kill()


def masked(text: bytes) -> bytes:
    """A text message to a WebSocket, with a mask of zeros."""
    assert len(text) < 126
    return bytes((0x81, 0x80 | len(text))) + bytes(4) + text


async def open_websocket(port: int, number: int) -> Wire:
    """A session that consumes ``q`` by a WebSocket."""
    wire = await Wire.open(port)
    wire.send("GET", "/ws/v1", headers=UPGRADE)
    head = await wire.reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in head.partition(b"\r\n")[0], head
    wire.writer.write(masked(b'{"op": "login", "ref": 1, "client": "w%d"}' % number))
    wire.writer.write(masked(b'{"op": "subscribe", "ref": 2, "queue": "q"}'))
    seen = b""
    while b'"ref":2,"ok":null' not in seen:
        more = await wire.reader.read(4096)
        assert more, seen
        seen += more
    return wire


async def open_socket(server: Server, number: int) -> Wire:
    """A session that consumes ``q`` by a plain socket, one half of them by TCP."""
    if number % 2:
        wire = Wire(*await asyncio.open_unix_connection(str(server.unix_path)))
    else:
        wire = await Wire.open(int(server.tcp_url.rpartition(":")[2]))
    operations: list[Any] = [
        {"op": "login", "ref": 1, "client": f"s{number}"},
        {"op": "subscribe", "ref": 2, "queue": "q"},
        {"op": "call", "ref": 3, "queue": "nobody", "payload": "", "wait_for_server": True},
    ]
    wire.writer.write(length_prefixed([MSGPACK.encode(operations)]))
    size = int.from_bytes(await wire.reader.readexactly(4), "big")
    answers = MSGPACK.read_anything(await wire.reader.readexactly(size))
    assert [answer["ref"] for answer in answers] == [1, 2]
    return wire


def connections(health: Any) -> int:
    """Streams that are open and requests under way."""
    return int(next(usage["used"] for usage in health["usage"] if usage["name"] == "connections"))


async def frames(wire: Wire) -> list[Any]:
    """What a plain socket still brings, up to its end."""
    rest = await wire.reader.read()
    found: list[Any] = []
    while rest:
        size = int.from_bytes(rest[:4], "big")
        items = MSGPACK.read_anything(rest[4 : 4 + size])
        found += items if isinstance(items, list) else [items]
        rest = rest[4 + size :]
    return found


async def everything(wire: Wire) -> bytes:
    """What still comes. Who leaves a closing handshake unanswered is cut off after a second."""
    found = b""
    with suppress(ConnectionResetError):
        while more := await wire.reader.read(2**16):
            found += more
    return found


async def test_a_thousand_connections_hear_of_the_end(any_server: Server) -> None:
    port = any_server.port
    control = await Wire.open(port)
    token = (await control.ask("POST", "login", {"client": "many", "lease": 600}))["session"]
    for queue in ("q", "polled"):
        await control.ask("PUT", f"queues/{queue}")
    await control.ask("PUT", "subscriptions/polled", token=token)
    json = {"Content-Type": "application/json"}

    async def request(method: str, path: str, body: bytes, headers: dict[str, str]) -> Wire:
        wire = await Wire.open(port)
        wire.send(method, path, body, headers)
        return wire

    waiting = [
        await request(
            "POST", "transfer", b'{"timeout": 100}', {**json, "Authorization": f"Bearer {token}"}
        )
        for _ in range(POLLS)
    ]
    call = b'{"payload": "", "timeout": 100, "wait_for_server": true}'
    waiting += [await request("POST", "call/nobody", call, json) for _ in range(CALLS)]
    pages = [await request("GET", "/live/", b"", {}) for _ in range(PAGES)]
    for page in pages:
        assert b" 200 " in await page.reader.readline()
        await page.reader.readuntil(b"retry")
    websockets = [await open_websocket(port, number) for number in range(WEBSOCKETS)]
    sockets = [await open_socket(any_server, number) for number in range(SOCKETS)]
    silent: list[Wire] = []
    for number in range(SILENT):
        if number % 2:
            silent.append(Wire(*await asyncio.open_unix_connection(str(any_server.unix_path))))
        else:
            silent.append(await Wire.open(port))
    while (await control.ask("GET", "queues/polled"))["waiting"] < POLLS:
        await asyncio.sleep(0.01)
    while (await control.ask("GET", "queues/nobody"))["ready"] < CALLS + SOCKETS:
        await asyncio.sleep(0.01)
    # Nothing happens any more that these would be told of.
    newest, page = 0, {"events": [1]}
    while page["events"]:
        page = await control.ask("GET", f"trace?after={newest}&limit=1000")
        newest = page["next"]
    traces = [
        await request("GET", f"trace?after={newest}&timeout=100", b"", {}) for _ in range(TRACES)
    ]
    under_way = len(waiting) + len(traces) + len(websockets) + len(sockets) + SILENT // 2
    while connections(await control.ask("GET", "health")) != under_way + 1:
        await asyncio.sleep(0.01)
    await control.ask("GET", "queues/q")
    waiting += traces
    assert len(waiting) + len(pages) + len(websockets) + len(sockets) + len(silent) == 1_000

    # What a connection brings is read while the process ends, as clients do.
    answers = [asyncio.ensure_future(wire.answer()) for wire in waiting]
    ends = [asyncio.ensure_future(everything(wire)) for wire in (*pages, *websockets, *silent)]
    last = [asyncio.ensure_future(frames(wire)) for wire in sockets]
    await asyncio.sleep(0)
    start = time.monotonic()
    any_server.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(any_server.process.wait, 10)
    took = time.monotonic() - start
    said = await asyncio.wait_for(asyncio.gather(*answers), 10)
    for number, answer in enumerate(said):
        if answer.status == 200:
            # A trace that waits may hear of the calls that ended with the others.
            assert number >= POLLS + CALLS, answer
            kinds = {event["kind"] for event in answer.json["events"]}
            assert kinds - {"dropped"} == {"caller_gone"}
        else:
            assert (answer.status, answer.json["code"]) == (503, "shutting_down")
    told = await asyncio.wait_for(asyncio.gather(*ends), 10)
    for number, end in enumerate(told[PAGES : PAGES + WEBSOCKETS]):
        assert b'"closing":{"code":"shutting_down"' in end, (number, end)
    for items in await asyncio.wait_for(asyncio.gather(*last), 10):
        assert items[-1]["closing"]["code"] == "shutting_down"
    assert took < GONE_AFTER
    for wire in (control, *waiting, *pages, *websockets, *sockets, *silent):
        wire.close()
    assert "Traceback" not in any_server.log
