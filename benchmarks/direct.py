"""A floor for RPC: client and service on one TCP connection, and no broker in between."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Awaitable, Callable

HEAD = struct.Struct("!II")


class Echo(asyncio.Protocol):
    """Frames of length, correlation id and payload: back they go, or to the one who waits."""

    def __init__(self, waiting: dict[int, asyncio.Future[bytes]] | None) -> None:
        self._waiting = waiting
        self._buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Take the frames that are complete."""
        buffer = self._buffer + data if self._buffer else data
        start = 0
        while len(buffer) - start >= HEAD.size:
            length, number = HEAD.unpack_from(buffer, start)
            end = start + HEAD.size + length
            if end > len(buffer):
                break
            if self._waiting is not None:
                self._waiting.pop(number).set_result(buffer[start + HEAD.size : end])
            start = end
        if self._waiting is None and start:
            assert self.transport is not None
            self.transport.write(buffer[:start])
        self._buffer = buffer[start:]


async def listen(port: int) -> asyncio.Server:
    """The service."""
    return await asyncio.get_running_loop().create_server(lambda: Echo(None), "127.0.0.1", port)


async def connect(port: int) -> Callable[[bytes], Awaitable[bytes]]:
    """The client: a function that calls the service."""
    loop = asyncio.get_running_loop()
    waiting: dict[int, asyncio.Future[bytes]] = {}
    transport, _ = await loop.create_connection(lambda: Echo(waiting), "127.0.0.1", port)
    numbers = itertools.count()

    async def call(payload: bytes) -> bytes:
        number = next(numbers)
        future = waiting[number] = loop.create_future()
        transport.write(HEAD.pack(len(payload), number) + payload)
        return await future

    return call
