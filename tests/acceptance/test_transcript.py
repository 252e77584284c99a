"""The transcript of docs/protocol.md, replayed line by line."""

import asyncio
import json
import re
from typing import Any

import pytest
import websockets

from queues.protocol.frames import MSGPACK, length_prefixed

from .conftest import ROOT, Server

LINES = re.findall(
    r"^([CS])([<>]) (.*)$",
    (ROOT / "docs" / "protocol.md").read_text().partition("```transcript\n")[2].partition("```")[0],
    re.MULTILINE,
)
#: These may be anything; the others have one value throughout.
ANY = {"<time>", "<text>", "<delivery>"}


class Replay:
    """What the placeholders stand for."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def fill(self, item: Any) -> Any:
        """An item to send, with the values that are known by now."""
        if isinstance(item, list):
            return [self.fill(each) for each in item]
        if isinstance(item, dict):
            return {key: self.fill(value) for key, value in item.items()}
        return self.values.get(item, item) if isinstance(item, str) else item

    def match(self, shown: Any, real: Any) -> None:
        if isinstance(shown, str) and re.fullmatch(r"<\w+>", shown):
            if shown not in ANY:
                assert self.values.setdefault(shown, real) == real
        elif isinstance(shown, dict):
            assert set(shown) == set(real)
            for key, value in shown.items():
                self.match(value, real[key])
        elif isinstance(shown, list):
            assert len(shown) == len(real)
            for one, other in zip(shown, real, strict=True):
                self.match(one, other)
        else:
            assert real == shown


class WebSocket:
    """A connection with JSON."""

    async def open(self, server: Server) -> None:
        self.socket = await websockets.connect(f"ws://127.0.0.1:{server.port}/ws/v1")

    async def send(self, item: Any) -> None:
        await self.socket.send(json.dumps(item))

    async def read(self) -> Any:
        return json.loads(await self.socket.recv())

    async def close(self) -> None:
        await self.socket.close()


class Plain:
    """A connection with MessagePack over a Unix socket."""

    async def open(self, server: Server) -> None:
        self.reader, self.writer = await asyncio.open_unix_connection(str(server.unix_path))

    async def send(self, item: Any) -> None:
        self.writer.write(length_prefixed([MSGPACK.encode(item)]))

    async def read(self) -> Any:
        size = int.from_bytes(await self.reader.readexactly(4), "big")
        return MSGPACK.read_anything(await self.reader.readexactly(size))

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@pytest.mark.parametrize("kind", [WebSocket, Plain])
async def test_the_transcript_is_what_happens(fresh_server: Server, kind: type) -> None:
    assert len(LINES) > 15
    ends = {name: kind() for name in "CS"}
    for end in ends.values():
        await end.open(fresh_server)
    replay = Replay()
    for name, direction, text in LINES:
        shown = json.loads(text)
        if direction == ">":
            await ends[name].send(replay.fill(shown))
            continue
        items: list[Any] = []
        expected = shown if isinstance(shown, list) else [shown]
        async with asyncio.timeout(10):
            while len(items) < len(expected):
                real = await ends[name].read()
                items += real if isinstance(real, list) else [real]
        replay.match(expected, items)
    for end in ends.values():
        await end.close()
