"""A raw connection of the stream transport, which does nothing by itself: frames of MessagePack."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

#: Bytes that asyncio takes in before anybody reads.
BUFFER = 64 * 2**10


class Wire:
    """One connection to ``unix:///path``, ``tcp://host:port`` or ``ws://host:port``."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, websocket: bool
    ) -> None:
        self._reader = reader
        self.writer = writer
        self._websocket = websocket
        self._refs = itertools.count(1)

    @classmethod
    async def open(cls, url: str) -> Wire:
        """Connect."""
        parts = urlsplit(url)
        if parts.scheme == "unix":
            ends = await asyncio.open_unix_connection(str(Path(parts.path)), limit=BUFFER)
        else:
            ends = await asyncio.open_connection(parts.hostname, parts.port, limit=BUFFER)
        wire = cls(*ends, websocket=parts.scheme == "ws")
        if wire._websocket:
            await wire._upgrade(parts.netloc)
        return wire

    async def _upgrade(self, host: str) -> None:
        self.writer.write(
            f"GET /ws/v1 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: switch.v1.msgpack\r\n\r\n".encode()
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in head.partition(b"\r\n")[0], head

    def say(self, op: str, **fields: Any) -> None:
        """Send an operation."""
        frame = msgspec.msgpack.encode({"op": op, **fields})
        if not self._websocket:
            self.writer.write(len(frame).to_bytes(4, "big") + frame)
            return
        # A mask of zeros leaves the frame as it is.
        length = len(frame)
        if length < 126:
            head = bytes((0x82, 0x80 | length))
        elif length < 2**16:
            head = bytes((0x82, 0xFE)) + length.to_bytes(2, "big")
        else:
            head = bytes((0x82, 0xFF)) + length.to_bytes(8, "big")
        self.writer.write(head + b"\0\0\0\0" + frame)

    async def ask(self, op: str, **fields: Any) -> Any:
        """Send an operation and read until its answer comes; raises AssertionError if refused."""
        ref = next(self._refs)
        self.say(op, ref=ref, **fields)
        await self.writer.drain()
        while True:
            for item in await self.read():
                if item.get("ref") == ref:
                    assert "error" not in item, (op, item["error"])
                    return item["ok"]

    async def read(self) -> list[Any]:
        """The items of the next frame. What the switch asks for is answered."""
        items = msgspec.msgpack.decode(await self._frame())
        items = items if isinstance(items, list) else [items]
        for item in items:
            assert "closing" not in item, item
            if "ping" in item:
                self.say("pong", n=item["ping"])
        return items

    async def _frame(self) -> bytes:
        read = self._reader.readexactly
        if not self._websocket:
            return await read(int.from_bytes(await read(4), "big"))
        while True:
            first, length = await read(2)
            if length >= 126:
                length = int.from_bytes(await read(2 if length == 126 else 8), "big")
            data = await read(length)
            assert first & 0x80, "a message in pieces"
            if first & 0x0F == 2:
                return data
            assert first & 0x0F == 9, (first, data)  # a ping; what waits for pongs is patient
