"""The stream against a real switch: what the client promises on it, and what the sockets do."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import websockets

from queues.client import AsyncClient, Delivery, OutcomeUnknown
from queues.core.errors import NoServer, SwitchError
from queues.protocol import frames
from queues.protocol.frames import MSGPACK, length_prefixed

from .conftest import ROOT, SERVERS, Server, until
from .proxy import proxy

KINDS = ["websocket", "unix", "tcp"]
kinds = pytest.mark.parametrize("kind", KINDS)


def address(server: Server, kind: str) -> str:
    return server.urls[KINDS.index(kind)]


async def echo(message: Delivery) -> str:
    return message.payload


@asynccontextmanager
async def serving(client: AsyncClient, queue: str, function: Any = echo) -> AsyncIterator[None]:
    task = asyncio.create_task(client.serve(queue, function, concurrency=64, grace=0))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def eventually(condition: Any, timeout: float = 20.0) -> None:
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.sleep(0.01)


# -- RPC ------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize(
    "payload", ["hello", "", "ünï\0cödé \U0001f600\r\n", "x" * 2**20, "\x01" * 2**20, "é" * 2**19]
)
async def test_any_payload_goes_there_and_back(server: Server, kind: str, payload: str):
    url = address(server, kind)
    async with AsyncClient(url) as client, AsyncClient(url) as callee, serving(callee, "any"):
        assert (await client.call("any", payload, wait_for_server=True)).payload == payload


@kinds
async def test_many_calls_share_a_connection(server: Server, kind: str):
    url = address(server, kind)
    async with AsyncClient(url) as client, serving(client, "many"):
        await client.call("many", "first", wait_for_server=True)
        words = [str(number) for number in range(500)]
        replies = await asyncio.gather(*(client.call("many", word) for word in words))
        assert [reply.payload for reply in replies] == words
        streams = [s for s in (await client.diagnostics()).sessions if s.client == client.name]
        assert len(streams) == 2, "one of the caller and one of the server"


@kinds
async def test_a_call_that_is_given_up_is_given_up_at_the_switch(server: Server, kind: str):
    url = address(server, kind)
    async with AsyncClient(url) as client:
        await client.create(f"slow.{kind}")
        task = asyncio.create_task(
            client.call(f"slow.{kind}", "x", timeout=60, wait_for_server=True)
        )

        async def arrived() -> bool:
            return (await client.inspect(f"slow.{kind}")).ready == 1

        await eventually(arrived)
        (message,) = (await client.browse(f"slow.{kind}")).messages
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async def known() -> bool:
            return (await client.explain(message.id)).verdict.code == "dropped"

        await eventually(known)
        with pytest.raises(NoServer):
            await client.call(f"slow.{kind}", "x")


@kinds
async def test_messages_are_received_and_acked(server: Server, kind: str):
    name = f"jobs.{kind}"
    async with AsyncClient(address(server, kind)) as client:
        await client.create(name)
        for number in range(25):
            await client.send(name, str(number))
        await client.subscribe(name)
        found = []
        async for message in client.transfer(limit=10, timeout=0.2):
            found.append(message.payload)
            await client.ack(message.id)
        assert found == [str(number) for number in range(25)]
        assert (await client.inspect(name)).held == 0


# -- connections that break -----------------------------------------------------------------------


async def test_a_killed_consumer_gives_back_at_once(server: Server):
    code = (
        "import asyncio, sys\nfrom queues.client import AsyncClient\n"
        "async def main():\n"
        "    client = AsyncClient(sys.argv[1])\n"
        "    await client.create('killed'); await client.subscribe('killed')\n"
        "    for _ in range(3): print((await client.receive(limit=3)).payload, flush=True)\n"
        "    await asyncio.sleep(60)\nasyncio.run(main())"
    )
    async with AsyncClient(server.url) as client:
        await client.create("killed")
        for number in range(3):
            await client.send("killed", str(number))
        process = subprocess.Popen(  # noqa: ASYNC220 -- it only starts
            [sys.executable, "-c", code, server.unix_url], cwd=ROOT, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            for _ in range(3):
                await asyncio.to_thread(process.stdout.readline)
        finally:
            process.kill()
            process.communicate()
        await client.subscribe("killed")
        begun = time.monotonic()
        found = [await client.receive(limit=3, timeout=10) for _ in range(3)]
        assert [message.payload for message in found if message] == ["0", "1", "2"]
        assert [message.delivery_count for message in found if message] == [2, 2, 2]
        assert time.monotonic() - begun < 5


async def test_a_cut_send_with_a_key_is_repeated_in_a_new_session(server: Server):
    async with proxy(server.port) as between, AsyncClient(between.url) as client:
        await client.create("cut.sends")
        await client.login()
        between.lose = True
        with pytest.raises(OutcomeUnknown):
            await client.send("cut.sends", "once")
        assert (await client.inspect("cut.sends")).ready == 1
        await client.login()
        between.lose = True
        sent = await client.send("cut.sends", "with a key", key="k")
        assert between.lost == 2
        assert not sent.created, "the first attempt had arrived"
        assert (await client.inspect("cut.sends")).ready == 2


async def test_a_cut_call_with_a_key_is_joined_again(server: Server):
    handled = []

    async def count(message: Delivery) -> str:
        handled.append(message.payload)
        return message.payload

    async with (
        AsyncClient(server.url) as callee,
        serving(callee, "cut.calls", count),
        proxy(server.port) as between,
        AsyncClient(between.url) as client,
    ):
        await client.call("cut.calls", "warm", wait_for_server=True)
        between.lose = True
        reply = await client.call("cut.calls", "with a key", key="k")
        assert reply.payload == "with a key"
        assert between.lost == 1
    assert handled == ["warm", "with a key"]


async def test_a_server_with_a_lease_goes_on_after_a_cut(server: Server):
    handled = []
    async with (
        proxy(server.port) as between,
        AsyncClient(between.url, lease=30) as callee,
        AsyncClient(server.url) as client,
    ):

        async def lossy(message: Delivery) -> str:
            handled.append((message.payload, message.delivery_count))
            between.lose = message.payload == "cut"
            return message.payload

        async with serving(callee, "cut.replies", lossy):
            for word in ("a", "cut", "b", "cut", "c"):
                reply = await client.call("cut.replies", word, wait_for_server=True, timeout=20)
                assert reply.payload == word
    assert handled == [("a", 1), ("cut", 1), ("b", 1), ("cut", 1), ("c", 1)]


# -- a switch that is killed ----------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["websocket", "unix"])
async def test_a_switch_killed_again_and_again_under_load(fresh_server: Server, kind: str):
    """64 callers, 4 servers. SWITCH_RESTARTS=20 for the long version."""
    url = address(fresh_server, kind)
    outcomes: dict[str, int] = {}
    stopping = False
    late: list[float] = []

    async def caller(client: AsyncClient) -> None:
        while not stopping:
            begun = time.monotonic()
            try:
                await client.call("load", "x", timeout=5, wait_for_server=True)
                code = "ok"
            except SwitchError as error:
                code = error.code
                await asyncio.sleep(0.02)
            outcomes[code] = outcomes.get(code, 0) + 1
            if time.monotonic() - begun > 6:
                late.append(time.monotonic() - begun)

    process = psutil.Process()
    async with (
        AsyncClient(url) as first,
        AsyncClient(url) as second,
        serving(first, "load"),
        serving(first, "load"),
        serving(second, "load"),
        serving(second, "load"),
    ):
        callers = [
            asyncio.create_task(caller(client)) for client in (first, second) for _ in range(32)
        ]
        back = []
        size = None
        for _ in range(int(os.environ.get("SWITCH_RESTARTS", "5"))):
            seen = outcomes.get("ok", 0)

            async def working(seen: int = seen) -> bool:
                return outcomes.get("ok", 0) > seen + 200

            await eventually(working)
            await asyncio.sleep(0)
            if size is None:
                size = (process.num_fds(), len(asyncio.all_tasks()))
            await asyncio.to_thread(fresh_server.kill)
            await asyncio.to_thread(fresh_server.start)
            begun = time.monotonic()
            seen = outcomes.get("ok", 0)

            async def one(seen: int = seen) -> bool:
                return outcomes.get("ok", 0) > seen

            await eventually(one)
            back.append(time.monotonic() - begun)
        stopping = True
        await asyncio.gather(*callers)
        assert size is not None
        assert process.num_fds() <= size[0] + 2
        assert len(asyncio.all_tasks()) <= size[1]
    print(f"{kind}: {outcomes}, back after at most {max(back):.2f} s")
    assert late == []
    assert max(back) < 2
    assert set(outcomes) <= {"ok", "outcome_unknown", "unreachable", "timeout", "no_server"}


# -- the sockets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
async def test_the_sockets_are_served_from_the_start(tmp_path: Path, kind: str):
    """Also where nobody ever asks by HTTP."""
    server = Server(tmp_path, kind)
    server.start(wait=False)
    try:
        async with AsyncClient(server.unix_url, wait=20) as client:
            assert await client.list() == []
    finally:
        server.kill()


async def test_a_unix_socket_is_for_its_owner(fresh_server: Server):
    assert stat.S_IMODE(fresh_server.unix_path.stat().st_mode) == 0o600
    fresh_server.stop()
    assert not fresh_server.unix_path.exists()


async def test_what_a_killed_switch_leaves_is_replaced(fresh_server: Server):
    fresh_server.kill()
    assert fresh_server.unix_path.exists()
    fresh_server.start()
    async with AsyncClient(fresh_server.unix_url, wait=10) as client:
        await client.login()


def test_a_socket_that_is_served_is_not_taken_away(server: Server, tmp_path: Path):
    second = Server(tmp_path)
    second._env["SWITCH_LISTEN"] = server.unix_url
    second.start()
    try:
        until(lambda: "is not served" in second.log, "it says so")
    finally:
        second.stop()
    assert server.unix_path.exists()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.unix_path))


def test_what_is_no_frame_closes_the_connection(server: Server):
    with socket.create_connection(("127.0.0.1", int(server.tcp_url.rpartition(":")[2]))) as wire:
        wire.settimeout(10)
        wire.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.recv(100) == b""


# -- the WebSocket --------------------------------------------------------------------------------


def ws(server: Server) -> str:
    return f"ws://127.0.0.1:{server.port}/ws/v1"


@pytest.mark.parametrize("subprotocols", [None, ["switch.v1.json"], ["other", "switch.v1.json"]])
async def test_json_in_text(server: Server, subprotocols: Any):
    async with websockets.connect(ws(server), subprotocols=subprotocols) as socket:
        await socket.send('{"op": "ping", "ref": 1}')
        assert json.loads(await socket.recv()) == {"ref": 1, "ok": None}


async def test_msgpack_in_binary(server: Server):
    async with websockets.connect(ws(server), subprotocols=["switch.v1.msgpack"]) as socket:  # type: ignore
        await socket.send(MSGPACK.encode([frames.Ping(ref=1), frames.Ping(ref=2)]))
        frame = await socket.recv()
        assert isinstance(frame, bytes)
        assert [item["ref"] for item in MSGPACK.read_anything(frame)] == [1, 2]


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/ws/v2", {}),
        ("/", {}),
        ("/ws/v1", {"subprotocols": ["unknown"]}),
        ("/ws/v1", {"origin": "http://evil.example"}),
        ("/ws/v1", {"additional_headers": {"Sec-Fetch-Site": "cross-site"}}),
    ],
)
async def test_what_is_refused_at_the_handshake(server: Server, path: str, options: Any):
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(f"ws://127.0.0.1:{server.port}{path}", **options)
    assert caught.value.response.status_code == 403


async def test_a_foreign_host_is_refused(server: Server):
    # As after DNS rebinding: the page's own name, our address.
    with pytest.raises(websockets.InvalidStatus):
        await websockets.connect(
            f"ws://evil.example:{server.port}/ws/v1",
            host="127.0.0.1",
            port=server.port,
            origin=f"http://evil.example:{server.port}",  # type: ignore
        )


async def test_a_token_will_do_instead_of_a_login(server: Server):
    async with AsyncClient(server.url, lease=30) as client:
        session = (await client.login()).session
        headers = {"Authorization": f"Bearer {session}"}
        async with websockets.connect(ws(server), additional_headers=headers) as socket:
            await socket.send('{"op": "touch", "ref": 1}')
            assert "touched" in json.loads(await socket.recv())["ok"]


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_connection_closes_with_the_code_of_its_reason(tmp_path: Path, kind: str):
    server = Server(tmp_path, kind)
    server.start()
    try:
        async with websockets.connect(ws(server)) as old, websockets.connect(ws(server)) as new:
            await old.send('{"op": "login", "ref": 1, "client": "c", "lease": 30}')
            session = json.loads(await old.recv())["ok"]["session"]
            await new.send(json.dumps({"op": "resume", "ref": 1, "session": session}))
            assert json.loads(await old.recv())["closing"]["code"] == "superseded"
            await old.wait_closed()
            assert old.close_code == 4001
            assert json.loads(await new.recv())["ok"]["session"] == session
    finally:
        server.kill()


# -- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_stop_says_so_on_every_stream(tmp_path: Path, kind: str):
    server = Server(tmp_path, kind)
    server.start()
    try:
        idle = [await websockets.connect(ws(server)) for _ in range(50)]
        asking = await websockets.connect(ws(server))
        await asking.send(
            '[{"op":"login","ref":1,"client":"c"},'
            '{"op":"call","ref":2,"queue":"q","payload":"","wait_for_server":true}]'
        )
        await asking.recv()
        reader, writer = await asyncio.open_unix_connection(str(server.unix_path))
        writer.write(length_prefixed([MSGPACK.encode(frames.Ping(ref=1))]) + b"\0\0\0")
        await reader.readexactly(5)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        answer, closing = json.loads(await asking.recv())
        assert answer["error"]["code"] == "shutting_down"
        assert closing["closing"]["code"] == "shutting_down"
        for each in idle:
            assert json.loads(await each.recv())["closing"]["code"] == "shutting_down"
        assert b"shutting_down" in await reader.read()
        writer.close()
        for each in (*idle, asking):
            await each.close()
        await asyncio.to_thread(server.process.wait, 10)
        assert time.monotonic() - begun < 4
        assert not server.unix_path.exists()
        assert "Traceback" not in server.log
    finally:
        server.kill()


# -- a client that does not read ------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["unix", "websocket"])
async def test_one_that_reads_nothing_costs_little_and_is_cut_off(fresh_server: Server, kind: str):
    """1,000 answers of a megabyte; SWITCH_FULL=1 for 10,000."""
    count = 10_000 if os.environ.get("SWITCH_FULL") else 1_000
    process = fresh_server.worker
    async with AsyncClient(fresh_server.unix_url) as client:
        await client.create("big")
        sent = await client.send("big", "x" * 1_000_000)
        before = process.memory_info().rss
        ops = [frames.Explain(ref=ref, id=sent.id) for ref in range(count)]
        if kind == "unix":
            _, writer = await asyncio.open_unix_connection(str(fresh_server.unix_path), limit=1)
            writer.write(length_prefixed([MSGPACK.encode([frames.Login(client="stuck"), *ops])]))
        else:
            options: Any = {"subprotocols": ["switch.v1.msgpack"], "max_queue": 1, "max_size": None}
            stuck = await websockets.connect(ws(fresh_server), **options)
            await stuck.send(MSGPACK.encode([frames.Login(client="stuck"), *ops]))
        most = before

        async def cut_off() -> bool:
            nonlocal most
            most = max(most, process.memory_info().rss)
            page = await client.trace(limit=1000)
            return any(event.kind == "slow_consumer" for event in page.events)

        await eventually(cut_off, timeout=60)
        print(f"{kind}: grew by {(most - before) / 2**20:.0f} MiB")
        assert most - before < 64 * 2**20
        if kind == "unix":
            writer.close()
        else:
            stuck.transport.abort()
