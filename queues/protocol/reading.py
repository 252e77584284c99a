"""Reading from sockets without a new large buffer for each read.

asyncio offers the kernel a fresh buffer of 256 KiB for every read, and allocating one that large
costs more than the read itself. What a protocol reads into is its own only until
``buffer_updated`` returns, so all connections of a thread share one buffer.
"""

from __future__ import annotations

import asyncio
import threading

_SIZE = 256 * 2**10
_local = threading.local()


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
