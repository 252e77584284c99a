"""One client that writes as many operations as it can and reads no answer, for five seconds or
until it is cut off. Says how many frames were taken.

    python -m tests.acceptance.flooding websocket PORT
    python -m tests.acceptance.flooding unix PATH
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from queues.protocol.frames import MSGPACK, length_prefixed

#: Operations in a frame.
OPERATIONS = 300
SECONDS = 5

LOGIN = MSGPACK.encode([{"op": "login", "ref": 0, "client": "flood"}])
FRAME = MSGPACK.encode(
    [
        {"op": "touch", "ref": 1},
        {"op": "send", "ref": 2, "queue": "nowhere", "payload": "x" * 100},
        {"op": "send", "queue": "nowhere", "payload": "no answer is asked for"},
    ]
    * (OPERATIONS // 3)
)
UPGRADE = (
    b"GET /ws/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: switch.v1.msgpack\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def masked(payload: bytes) -> bytes:
    """A WebSocket message, masked with zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x82" + length + bytes(4) + payload


async def flood(kind: str, place: str) -> int:
    """How many frames were taken."""
    if kind == "websocket":
        reader, writer = await asyncio.open_connection("127.0.0.1", int(place), limit=4096)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(masked(LOGIN))
        frame = masked(FRAME)
    else:
        _, writer = await asyncio.open_unix_connection(place, limit=1)
        writer.write(length_prefixed([LOGIN]))
        frame = length_prefixed([FRAME])
    taken = 0
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(SECONDS):
            while True:
                writer.write(frame)
                await writer.drain()
                taken += 1
    writer.transport.abort()
    return taken


if __name__ == "__main__":
    print(asyncio.run(flood(*sys.argv[1:])))
