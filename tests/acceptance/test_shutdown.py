"""SIGTERM: every complete request is answered, and the process is gone soon."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import SERVERS, Server
from .wire import Wire

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(params=SERVERS)
def any_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, request.param)
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("disturbed", [False, True])
async def test_every_waiting_request_is_answered(any_server: Server, disturbed: bool) -> None:
    """``disturbed`` adds a half-sent request and a WebSocket just opened."""
    port = any_server.port
    first = await Wire.open(port)
    token = (await first.ask("POST", "login", {"client": "many"}))["session"]
    await first.ask("PUT", "queues/q")
    await first.ask("PUT", "subscriptions/q", token=token)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    polls = []
    for _ in range(200):
        wire = await Wire.open(port)
        wire.send("POST", "transfer", b'{"timeout": 100}', headers)
        polls.append(wire)
    while (await first.ask("GET", "queues/q"))["waiting"] < len(polls):
        await asyncio.sleep(0.01)
    others = []
    if disturbed:
        half = await Wire.open(port)
        half.writer.write(
            b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        )
        others.append(half)
        half = await Wire.open(port)
        half.send("POST", "login", b"{", {"Content-Length": "100"})
        others.append(half)
        socket = await Wire.open(port)
        socket.send("GET", "/ws/v1", headers=UPGRADE)
        others.append(socket)
        await asyncio.gather(*(wire.writer.drain() for wire in others))
        await first.ask("GET", "queues/q")  # what was sent before has arrived
    start = time.monotonic()
    any_server.process.send_signal(signal.SIGTERM)
    for wire in polls:
        answer = await asyncio.wait_for(wire.answer(), 5)
        assert (answer.status, answer.json["code"]) == (503, "shutting_down")
    await asyncio.to_thread(any_server.process.wait, 5)
    assert time.monotonic() - start < 2
    for wire in (first, *polls, *others):
        wire.close()
    assert "Traceback" not in any_server.log
