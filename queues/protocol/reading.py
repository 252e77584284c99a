"""Reading from sockets: without a new large buffer for each read, and not for ever from the dead.

asyncio offers the kernel a fresh buffer of 256 KiB for every read, and allocating one that large
costs more than the read itself. What a protocol reads into is its own only until
``buffer_updated`` returns, so all connections of a thread share one buffer.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

_SIZE = 256 * 2**10
_local = threading.local()
#: When a host that says nothing any more is given up: seconds until it is asked, seconds between
#: questions, and how many stay without an answer. Not every platform has them.
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def notice_dead_host(connection: Any) -> None:
    """Let a TCP connection end some time after the other host has died; None has none."""
    if connection is None or connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class ReadingProtocol(asyncio.BufferedProtocol):
    """A protocol with ``data_received``. Make it in the thread of its loop."""

    def __init__(self) -> None:
        if not hasattr(_local, "buffer"):
            _local.buffer = memoryview(bytearray(_SIZE))
        self._buffer: memoryview = _local.buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        self.data_received(bytes(self._buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        raise NotImplementedError
