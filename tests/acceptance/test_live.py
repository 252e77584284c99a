"""The stream of events that pages follow, under every server that runs the switch."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from queues.pages.live import BEAT, MOST_STREAMS

from .conftest import SERVERS, Server
from .wire import Wire


@pytest.fixture(params=SERVERS)
def any_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, request.param)
    server.start()
    yield server
    server.kill()


class Pages:
    """Connections to one server; all are closed in the end."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wires: list[Wire] = []

    async def __aenter__(self) -> Pages:
        return self

    async def __aexit__(self, *_: object) -> None:
        for wire in self._wires:
            wire.close()

    async def open(self) -> Wire:
        wire = await Wire.open(self._port)
        self._wires.append(wire)
        return wire

    async def follow(self) -> Wire:
        """A page that follows the switch."""
        wire = await self.open()
        wire.writer.write(b"GET /live/?after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return wire


async def line(wire: Wire, start: str) -> str:
    """The next line that starts so; what is between belongs to the chunks of HTTP."""
    async with asyncio.timeout(2 * BEAT):
        while read := await wire.reader.readline():
            text = read.decode().strip()
            if text.lower().startswith(start):
                return text
    raise EOFError(start)


async def test_events_until_the_switch_stops(any_server: Server) -> None:
    async with Pages(any_server.port) as pages:
        await (await pages.open()).ask("PUT", "queues/first")
        page = await pages.follow()
        assert (await line(page, "http/1.1")).split()[1] == "200"
        assert (await line(page, "content-type")).endswith("text/event-stream")
        assert await line(page, "event") == "event: changed"
        assert await line(page, "event") == "event: beat"

        # A new connection: a server may close one that was idle for as long as a beat takes.
        control = await pages.open()
        began = time.monotonic()
        await control.ask("PUT", "queues/second")
        assert await line(page, "event") == "event: changed"
        assert time.monotonic() - began < 1
        number = json.loads((await line(page, "data"))[len("data: ") :])["number"]
        assert number == (await control.ask("GET", "trace"))["next"]

        any_server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        with pytest.raises(EOFError):
            await line(page, "event: none")
        await asyncio.to_thread(any_server.process.wait, 5)
        assert time.monotonic() - began < 2
        assert "Traceback" not in any_server.log


async def test_streams_are_bounded_and_make_room_when_they_end(any_server: Server) -> None:
    threads = any_server.worker.num_threads()
    async with Pages(any_server.port) as pages:
        streams = [await pages.follow() for _ in range(MOST_STREAMS)]
        for page in streams:
            assert (await line(page, "http/1.1")).split()[1] == "200"
        answer = await (await pages.follow()).answer()
        assert (answer.status, answer.json["code"]) == (503, "too_many_pages")
        assert any_server.worker.num_threads() <= threads + 2
        for page in streams:
            page.close()
        status = "503"
        async with asyncio.timeout(10):
            while status == "503":
                page = await pages.follow()
                status = (await line(page, "http/1.1")).split()[1]
        assert status == "200"
        assert "Traceback" not in any_server.log
