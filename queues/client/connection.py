"""One HTTP/1.1 connection: asyncio streams for the bytes, h11 for their meaning."""

from __future__ import annotations

import asyncio
import contextlib
import select
import ssl
from dataclasses import dataclass

import h11

_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response, read whole."""

    status: int
    body: bytes


class Connection:
    """One request at a time. After an error or a cancelled request it is not ``usable``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    @classmethod
    async def open(cls, host: str, port: int, tls: ssl.SSLContext | None) -> Connection:
        """Connect. Raises OSError."""
        return cls(*await asyncio.open_connection(host, port, ssl=tls))

    @property
    def usable(self) -> bool:
        """Whether another request can be written, as far as can be known."""
        return self._http.our_state is h11.IDLE and not self._closed_by_peer()

    async def request(
        self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> Answer:
        """Write a request and read its answer.

        Raises OSError or EOFError where the connection broke or made no sense.
        """
        http = self._http
        try:
            data = http.send(h11.Request(method=method, target=target, headers=headers))
            assert data is not None
            if body:
                data += http.send(h11.Data(data=body)) or b""
            data += http.send(h11.EndOfMessage()) or b""
            self._writer.write(data)
            await self._writer.drain()
            answer = await self._answer()
            if http.our_state is h11.DONE and http.their_state is h11.DONE:
                http.start_next_cycle()
        except h11.RemoteProtocolError as error:
            raise EOFError(str(error)) from error
        finally:
            if http.our_state is not h11.IDLE:
                self.abort()
        return answer

    async def _answer(self) -> Answer:
        status = 0
        pieces: list[bytes] = []
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return Answer(status, pieces[0] if len(pieces) == 1 else b"".join(pieces))
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError("The connection was closed before the answer.")

    def _closed_by_peer(self) -> bool:
        """Whether the peer has closed the connection, even if the event loop has not seen it yet.

        Nothing is due on an idle connection, so anything to read is its end; except under TLS,
        which has messages of its own.
        """
        if self._reader.at_eof() or self._writer.is_closing():
            return True
        if self._writer.get_extra_info("sslcontext") is not None:
            return False
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close and wait until it is closed."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
