"""Clients that are up to no good: the switch goes on serving the others, and gives back all that
they took.

How long the slowest percent of the others' calls took is printed (pytest -s), and what it was
before: figures for a reader, since on a busy machine anything may be slow.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from queues.client import AsyncClient
from queues.protocol.frames import MAX_FRAME, MSGPACK, length_prefixed

from . import flooding
from .conftest import ROOT, SERVERS, Server
from .state import State, until_back
from .wire import UPGRADE, Wire

HEAD = b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


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
    assert "Traceback" not in server.log


class Others:
    """A service and its callers that have nothing to do with the test: ``others.py``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def took(self) -> list[float]:
        """Seconds that each call since the last question took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(30):
            said = await self._process.stdout.readline()
        assert said, "a call has failed"
        took: list[float] = json.loads(said)
        return took

    async def slowest(self) -> str:
        """Milliseconds that the slowest percent took, at least."""
        took = sorted(await self.took())
        return f"p99 {took[int(len(took) * 0.99)] * 1e3:.1f} ms of {len(took)}" if took else "none"


@asynccontextmanager
async def served(server: Server) -> AsyncIterator[Others]:
    """Calls go on and are answered while the block runs, and there were some."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.acceptance.others", str(server.port), server.tcp_url, server.unix_url),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    others = Others(process)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"[]\n"
        yield others
        # Those who wait have been answered, and more.
        more = len(await others.took())
        async with asyncio.timeout(30):
            while more < 3:
                more += len(await others.took())
                await asyncio.sleep(0.01)
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def undisturbed(server: Server, others: Others) -> State:
    """Calls without anybody else, for comparison; the state then."""
    await asyncio.sleep(1)
    print(f"\n{server.kind}: undisturbed {await others.slowest()}")
    return await State.of(server)


def raw_tcp(server: Server) -> int:
    return int(server.tcp_url.rpartition(":")[2])


async def test_requests_and_frames_that_never_end(any_server: Server) -> None:
    """Head by head, body by body, byte by byte."""
    port = any_server.port
    async with served(any_server) as others:
        before = await undisturbed(any_server, others)
        slow: list[Wire] = []
        for number in range(600):
            if number % 3 == 0:  # a head that never ends
                wire = await Wire.open(port)
                wire.writer.write(HEAD)
            elif number % 3 == 1:  # a body that never ends
                wire = await Wire.open(port)
                wire.writer.write(HEAD + b'Content-Length: 100000\r\n\r\n{"client": "')
            else:  # a frame that never ends
                wire = await Wire.open(raw_tcp(any_server))
                wire.writer.write((100_000).to_bytes(4, "big") + b"\x81")
            slow.append(wire)
        print(f"{any_server.kind}: while 600 come {await others.slowest()}")
        for _ in range(5):
            for number, wire in enumerate(slow):
                with suppress(OSError):
                    wire.writer.write(b"x")
                if number % 5 == 0:
                    await asyncio.sleep(0.002)
        print(f"{any_server.kind}: with 600 slow ones {await others.slowest()}")
        assert (await State.of(any_server)).sessions == before.sessions
        for wire in slow:
            wire.writer.transport.abort()
        await until_back(any_server, before)


async def test_what_is_too_large_is_refused(any_server: Server) -> None:
    port = any_server.port
    async with served(any_server) as others:
        before = await undisturbed(any_server, others)
        for head in (
            b"X-Large: " + b"x" * 2**20,
            b"\r\n".join(b"X-%d: x" % number for number in range(50_000)),
        ):
            wire = await Wire.open(port)
            with suppress(OSError):
                wire.writer.write(HEAD + head + b"\r\n\r\n")
                await wire.writer.drain()
            said = b""
            with suppress(OSError):
                said = await asyncio.wait_for(wire.reader.read(), 20)
            assert not said or said.split()[1][:1] == b"4", said[:200]
            wire.close()
        wire = await Wire.open(port)
        large = b'{"payload": "' + b"x" * (9 * 2**20) + b'"}'
        wire.send("POST", "call/echo", large, {"Content-Type": "application/json"})
        with suppress(OSError):
            await wire.writer.drain()
        answer = await asyncio.wait_for(wire.answer(), 20)
        assert (answer.status, answer.json["code"]) == (413, "payload_too_large")
        wire.close()
        wire = await Wire.open(raw_tcp(any_server))
        wire.writer.write((MAX_FRAME + 1).to_bytes(4, "big") + bytes(1_000))
        wire.writer.transport.abort()
        wire = await Wire.open(raw_tcp(any_server))
        wire.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(wire.reader.read(), 20) == b""
        wire.close()
        print(f"{any_server.kind}: with what is too large {await others.slowest()}")
        await until_back(any_server, before)


async def test_five_thousand_idle_connections(any_server: Server) -> None:
    async with served(any_server) as others:
        before = await undisturbed(any_server, others)
        idle: list[asyncio.StreamWriter] = []

        async def connect(number: int) -> None:
            if number % 5 == 0:
                _, writer = await asyncio.open_unix_connection(str(any_server.unix_path))
            elif number % 5 == 1:
                reader, writer = await asyncio.open_connection("127.0.0.1", raw_tcp(any_server))
                ping = {"op": "login", "ref": 1, "client": "idle"}
                writer.write(length_prefixed([MSGPACK.encode(ping)]))
                await reader.readexactly(4)
            else:
                _, writer = await asyncio.open_connection("127.0.0.1", any_server.port)
            idle.append(writer)

        for first in range(0, 5_000, 250):
            await asyncio.gather(*(connect(number) for number in range(first, first + 250)))
        print(f"{any_server.kind}: while 5,000 come {await others.slowest()}")
        await asyncio.sleep(1)
        print(f"{any_server.kind}: with 5,000 idle ones {await others.slowest()}")
        now = await State.of(any_server)
        assert now.sessions == before.sessions + 1_000
        assert now.threads <= before.threads + 1
        for writer in idle:
            writer.transport.abort()
        await until_back(any_server, before)


async def test_a_storm_of_those_who_come_and_go(any_server: Server) -> None:
    async with served(any_server) as others:
        before = await undisturbed(any_server, others)

        async def storm(number: int) -> None:
            for turn in range(100):
                if (number + turn) % 4 == 0:
                    reader, writer = await asyncio.open_connection("127.0.0.1", raw_tcp(any_server))
                    login = {"op": "login", "ref": 1, "client": "storm"}
                    subscribe = {"op": "subscribe", "ref": 2, "queue": "storm"}
                    writer.write(length_prefixed([MSGPACK.encode([login, subscribe])]))
                    await reader.readexactly(4)
                elif (number + turn) % 4 == 1:
                    _, writer = await asyncio.open_unix_connection(str(any_server.unix_path))
                elif (number + turn) % 4 == 2:
                    _, writer = await asyncio.open_connection("127.0.0.1", any_server.port)
                    writer.write(HEAD + b'Content-Length: 13\r\n\r\n{"client":"a"')
                else:
                    _, writer = await asyncio.open_connection("127.0.0.1", any_server.port)
                    writer.write(UPGRADE)
                writer.transport.abort()

        await asyncio.gather(*(storm(number) for number in range(50)))
        print(f"{any_server.kind}: in the storm {await others.slowest()}")
        await until_back(any_server, before)


async def test_requests_in_a_row_by_one_that_reads_no_answer(any_server: Server) -> None:
    async with served(any_server) as others:
        async with AsyncClient(any_server.unix_url) as client:
            await client.create("large")
            message = await client.send("large", "x" * 1_000_000)
        before = await undisturbed(any_server, others)
        stuck = await Wire.open(any_server.port)
        request = f"GET /api/v1/messages/{message.id} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        stuck.writer.write(request.encode() * 500)
        await asyncio.sleep(2)
        now = await State.of(any_server)
        print(f"{any_server.kind}: with a row of large answers {await others.slowest()}")
        print(f"{any_server.kind}: grew by {(now.memory - before.memory) / 2**20:.0f} MiB")
        assert now.memory - before.memory < 64 * 2**20
        # Once it reads, all answers come.
        for _ in range(500):
            answer = await stuck.answer()
            assert (answer.status, len(answer.body) > 1_000_000) == (200, True)
        stuck.close()
        await until_back(any_server, before)


@pytest.mark.parametrize("kind", ["websocket", "unix"])
async def test_a_flood_by_one_that_reads_no_answer(any_server: Server, kind: str) -> None:
    """As many operations as it can write, from a process of its own."""
    place = any_server.port if kind == "websocket" else any_server.unix_path
    async with served(any_server) as others:
        before = await undisturbed(any_server, others)
        flood = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.acceptance.flooding",
            kind,
            str(place),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await flood.communicate()
        operations = int(said) * flooding.OPERATIONS
        print(f"{any_server.kind}: with {operations:,} operations {await others.slowest()}")
        after = await until_back(any_server, before)
        print(f"{any_server.kind}: grew by {(after.memory - before.memory) / 2**20:.0f} MiB")
        assert operations
        assert after.memory - before.memory < 64 * 2**20
