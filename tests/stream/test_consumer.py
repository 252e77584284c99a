"""One WebSocket between an ASGI server and a Peer: what is still said when it ends, and how."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queues.engines import install
from queues.engines.intake import Intake, IntakeLimits
from queues.engines.memory import MemoryEngine
from queues.protocol.frames import JSON
from queues.stream.consumer import StreamConsumer


class Connection:
    """An ASGI server with one client."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.receiving = 0
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.error: Exception | None = None
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": "/ws/v1",
            "subprotocols": [],
            "headers": [(b"host", b"localhost")],
        }
        self.task = asyncio.ensure_future(
            StreamConsumer.as_asgi()(scope, self._receive, self._send)
        )

    def say(self, text: str) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def _receive(self) -> dict[str, Any]:
        self.receiving += 1
        try:
            return await self._incoming.get()
        finally:
            self.receiving -= 1

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.close":
            assert self.receiving == 0, "granian would wait for it to end"
        if self.error is not None:
            raise self.error
        self.sent.append(message)
        await self.may_send.wait()

    async def until_sent(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.sent) < count:
                await asyncio.sleep(0)


@pytest.fixture
async def engine() -> AsyncIterator[MemoryEngine]:
    engine = MemoryEngine()
    install(engine)
    yield engine
    engine.close()
    install(None)


@pytest.fixture
async def connection(engine: MemoryEngine) -> Connection:
    connection = Connection()
    await connection.until_sent(1)
    return connection


async def test_a_stop_says_so_also_while_something_is_being_sent(
    engine: MemoryEngine, connection: Connection
) -> None:
    connection.may_send.clear()
    connection.say('{"op": "ping", "ref": 1}')
    await connection.until_sent(2)
    engine.close()
    connection.may_send.set()
    await asyncio.wait_for(connection.task, 5)
    kinds = [message["type"].partition(".")[2] for message in connection.sent]
    assert kinds == ["accept", "send", "send", "close"]
    last: Any = JSON.read_anything(connection.sent[2]["text"])
    assert last["closing"]["code"] == "shutting_down"
    assert connection.sent[3]["code"] == 4000
    assert connection.sent[3]["reason"] == "shutting_down"


@pytest.mark.parametrize("error", [OSError, RuntimeError])
async def test_a_connection_that_is_gone_ends_quietly(
    connection: Connection, error: type[Exception]
) -> None:
    connection.error = error("It is gone.")
    connection.say('{"op": "ping", "ref": 1}')
    await asyncio.sleep(0.01)
    connection.leave()
    await asyncio.wait_for(connection.task, 5)


@pytest.mark.parametrize("error", [OSError, RuntimeError])
async def test_a_stop_of_a_connection_that_is_gone_ends_quietly(
    engine: MemoryEngine, connection: Connection, error: type[Exception]
) -> None:
    connection.error = error("It is gone.")
    engine.close()
    await asyncio.wait_for(connection.task, 5)


@pytest.mark.parametrize(
    ("limits", "why", "code"),
    [
        (IntakeLimits(connections=1), "too_many_connections", 4004),
        (IntakeLimits(connection_rate=1), "rate_limited", 4005),
    ],
)
async def test_one_that_is_not_let_in_hears_why(
    engine: MemoryEngine, limits: IntakeLimits, why: str, code: int
) -> None:
    engine.intake = Intake(limits, asyncio.get_running_loop().call_soon)
    first, second = Connection(), Connection()
    await first.until_sent(1)
    await asyncio.wait_for(second.task, 5)
    kinds = [message["type"].partition(".")[2] for message in second.sent]
    assert kinds == ["accept", "send", "close"]
    last: Any = JSON.read_anything(second.sent[1]["text"])
    assert (last["closing"]["code"], last["closing"]["retry_after"]) == (why, 1)
    assert (second.sent[2]["code"], second.sent[2]["reason"]) == (code, why)
    first.leave()
    await asyncio.wait_for(first.task, 5)
    assert engine.intake.open == 0
