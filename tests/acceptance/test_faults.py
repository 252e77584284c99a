"""What disks, databases and clocks do to a switch: nothing that was answered is lost, nothing
hangs, refusals have a code, and service goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import resource
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from . import postgres
from .conftest import Server
from .wire import Answer, Client, Wire

#: Seconds that anything may take: far more than it does, far less than for ever.
PATIENCE = 60.0
HOUR = 3600.0
SENDERS = 200
#: A message that no journal has room for in what it has already.
LARGE = "x" * 200_000

Fault = Callable[[], object]


class Patient(Client):
    """A client that waits long, and not for ever."""

    async def request(self, method: str, path: str, body: Any = None) -> Answer:
        async with asyncio.timeout(PATIENCE):
            return await super().request(method, path, body)

    async def send(self, queue: str, payload: str, **more: Any) -> Answer:
        return await self.request("POST", f"queues/{queue}/messages", {"payload": payload, **more})

    async def take(self, timeout: float = 0.0, limit: int = 1_000) -> list[Any]:
        answer = await self.ask("POST", "transfer", {"timeout": timeout, "limit": limit})
        messages: list[Any] = answer["messages"]
        return messages


@asynccontextmanager
async def client(server: Server) -> AsyncIterator[Patient]:
    wire = await Wire.open(server.port)
    try:
        yield Patient(wire)
    finally:
        wire.close()
        await wire.writer.wait_closed()


@contextmanager
def running(directory: Path, **settings: str) -> Iterator[Server]:
    server = Server(directory, "daphne", SWITCH_JOURNAL="commit", **settings)
    server.migrate()
    server.start()
    try:
        yield server
    finally:
        server.kill()


async def outage(server: Server, begin: Fault, end: Fault) -> None:
    """The database fails, and is there again."""
    async with client(server) as sender, client(server) as consumer, client(server) as other:
        await sender.ask("PUT", "queues/q")
        await consumer.login("consumer", "q")
        await other.login("other")
        transient = (await other.ask("POST", "queues", {}))["name"]
        await other.ask("PUT", f"subscriptions/{transient}")
        keys = (f"key {number}" for number in itertools.count())

        answered = {}
        answer = await sender.send("q", LARGE, key=(key := next(keys)))
        assert answer.status == 201

        begin()
        while answer.status == 201:
            answered[key] = answer.json["id"]
            answer = await sender.send("q", LARGE, key=(key := next(keys)))
        refused(answer)
        held = [message["id"] for message in await consumer.take()]
        assert held == list(answered.values())
        refused(await consumer.request("POST", "ack", {"ids": held}))
        waiting = asyncio.ensure_future(consumer.take(timeout=300))
        for method, path, body in (
            ("POST", "queues/q/messages", {"payload": "new", "key": "new"}),
            ("PUT", "queues/another", {}),
            ("DELETE", "queues/q", None),
            ("POST", "call/q", {"payload": "", "timeout": 30}),
            ("POST", "queues/q/purge", {}),
        ):
            refused(await sender.request(method, path, body))
        # What need not survive is served, and so is who looks.
        assert (await sender.send(transient, "transient")).status == 201
        assert [m["payload"] for m in await other.take()] == ["transient"]
        for path in ("/healthz", "/", "/queues/q/", "health", "diagnostics"):
            assert (await other.request("GET", path)).status == 200, path
        # And it says what is wrong.
        health = await other.ask("GET", "health")
        assert health["journal"] == "commit"
        assert health["started_at"] < health["store_down_since"] <= health["now"]
        assert (await other.ask("GET", "queues/q"))["verdict"]["code"] == "store_down"
        assert b"not written for" in (await other.request("GET", "/health/")).body
        assert b"\nswitch_store_down 1.0\n" in (await other.request("GET", "/metrics")).body
        # What failed stays hidden.
        assert not waiting.done()

        end()
        async with asyncio.timeout(PATIENCE):
            [message] = await waiting
        assert message["payload"] == LARGE
        answer = await sender.send("q", LARGE, key=key)
        assert (answer.status, answer.json) == (200, {"id": message["id"], "created": False})
        answered[key] = message["id"]
        await consumer.ask("POST", "ack", {"ids": held})
        last = await sender.send("q", "after", key="after")
        assert last.status == 201
        answered["after"] = last.json["id"]
        assert (await other.ask("GET", "health"))["store_down_since"] is None
        assert (await other.ask("GET", "queues/q"))["verdict"]["code"] != "store_down"
        assert b"\nswitch_store_down 0.0\n" in (await other.request("GET", "/metrics")).body
    server.kill()
    server.start()
    async with client(server) as again:
        page = await again.ask("GET", "queues/q/messages?limit=1000")
        assert [m["id"] for m in page["messages"]] == [message["id"], last.json["id"]]
        # Keys are known beyond the fault and the crash.
        for key, id in answered.items():
            answer = await again.send("q", LARGE if key != "after" else key, key=key)
            assert (answer.status, answer.json) == (200, {"id": id, "created": False})
    assert "Traceback" not in server.log


def refused(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (503, "store_unavailable"), answer


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "switch-test", str(directory)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"A FULL DISK IS NOT TESTED: {mounted.stderr.strip()}")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


async def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    filler = small_disk / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass

    with running(tmp_path, SWITCH_STATE_DIR=str(small_disk)) as server:
        await outage(server, fill, filler.unlink)


async def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    with running(tmp_path) as server:

        def limit(size: int) -> None:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, before[1]))

        before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        await outage(server, lambda: limit(1_000_000), lambda: limit(before[0]))


async def test_a_locked_database(tmp_path: Path) -> None:
    with (
        running(tmp_path) as server,
        contextlib.closing(
            sqlite3.connect(tmp_path / "db.sqlite3", isolation_level=None)
        ) as somebody,
    ):
        await outage(
            server,
            lambda: somebody.execute("BEGIN IMMEDIATE"),
            lambda: somebody.execute("ROLLBACK"),
        )


async def test_a_file_that_is_gone_and_back(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "db.sqlite3", tmp_path / "elsewhere"
    with running(tmp_path) as server:
        await outage(server, lambda: place.rename(elsewhere), lambda: elsewhere.rename(place))


async def test_a_database_server_that_is_gone_and_back(tmp_path: Path) -> None:
    if (reason := postgres.missing()) is not None:
        pytest.skip(reason)
    database = postgres.Postgres()
    try:
        database.start()
        with running(tmp_path, **database.environment) as server:
            await outage(server, database.stop, database.start)
    finally:
        database.remove()


async def test_a_slow_database(tmp_path: Path) -> None:
    """200 ms for each commit: many wait for one, and who needs none does not wait."""
    settings = "tests.acceptance.slow_settings"
    with running(tmp_path, DJANGO_SETTINGS_MODULE=settings) as server:
        async with client(server) as looking:
            await looking.ask("PUT", "queues/q")
            await looking.login("looking")
            transient = (await looking.ask("POST", "queues", {}))["name"]
            await looking.ask("PUT", f"subscriptions/{transient}")
            async with contextlib.AsyncExitStack() as stack:
                senders = [await stack.enter_async_context(client(server)) for _ in range(SENDERS)]

                async def send(sender: Patient, number: int) -> list[int]:
                    found = []
                    for turn in range(5):
                        answer = await sender.send("q", "x", key=f"{number} {turn}")
                        assert answer.status == 201, answer
                        found.append(answer.json["id"])
                    return found

                sending = [
                    asyncio.ensure_future(send(*each)) for each in zip(senders, itertools.count())
                ]
                looks = 0
                while not any(task.done() for task in sending):
                    assert (await looking.send(transient, "x")).status == 201
                    [message] = await looking.take()
                    await looking.ask("POST", "ack", {"ids": [message["id"]]})
                    await looking.ask("GET", "health")
                    looks += 1
                # Five commits at least lie behind the first sender, and no look waited for one.
                assert looks > 20
                # One commit for each send would take 200 s.
                async with asyncio.timeout(PATIENCE):
                    answered = [id for found in await asyncio.gather(*sending) for id in found]
        server.kill()
        server.start()
        async with client(server) as again:
            page = await again.ask("GET", "queues/q/messages?limit=1000")
            assert [m["id"] for m in page["messages"]] == sorted(answered)
        assert "Traceback" not in server.log


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_a_clock_that_steps(tmp_path: Path, step: float) -> None:
    wrong_by = tmp_path / "clock"
    wrong_by.write_text("0")
    settings = {
        "DJANGO_SETTINGS_MODULE": "tests.acceptance.clock_settings",
        "SWITCH_TEST_CLOCK": str(wrong_by),
    }
    with running(tmp_path, **settings) as server:
        async with client(server) as sender, client(server) as consumer:
            await sender.ask("PUT", "queues/q", {"policy": {"ack_timeout": 300}})
            await consumer.login("consumer", "q")
            held = (await sender.send("q", "held")).json["id"]
            assert [m["id"] for m in await consumer.take()] == [held]
            mortal = (await sender.send("q", "mortal", ttl=600)).json["id"]
            delayed = (await sender.send("q", "delayed", delay=600)).json["id"]
            soon = asyncio.ensure_future(sender.send("q", "soon", delay=0.5))
            wrong_by.write_text(str(step))

            # Nothing is over before its time, nor late.
            assert (await soon).status == 201
            assert [m["id"] for m in await consumer.take(timeout=10)] == [mortal]
            assert [m["payload"] for m in await consumer.take(timeout=30)] == ["soon"]
            for id, state in ((held, "held"), (mortal, "held"), (delayed, "delayed")):
                assert (await sender.ask("GET", f"messages/{id}"))["message"]["state"] == state
            assert (
                await sender.request("POST", "call/q", {"payload": "", "timeout": 0.2})
            ).status == 504
            numbers = [held, mortal, delayed, soon.result().json["id"]]
            numbers.append((await sender.send("q", "later")).json["id"])
            assert numbers == sorted(numbers)
        server.kill()
        server.start()
        async with client(server) as again:
            await again.login("again", "q")
            assert (await again.send("q", "newest")).json["id"] > max(numbers)
            # A new process takes the clock as it is then: times may be over, or far off.
            expected = ["held", "delayed", "soon", "later", "newest"]
            if step < 0:
                expected = ["held", "mortal", "later", "newest"]
            assert [m["payload"] for m in await again.take()] == expected
            assert (await again.ask("GET", "queues/q"))["delayed"] == (2 if step < 0 else 0)
        assert "Traceback" not in server.log
