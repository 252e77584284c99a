"""The plain stream socket, Unix or TCP: frames, each after its length."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from queues.core.errors import InvalidRequest, PayloadTooLarge, SwitchError
from queues.engines import get_engine
from queues.engines.base import Engine
from queues.protocol.frames import (
    JSON,
    MAX_FRAME,
    Codec,
    LengthPrefixed,
    TooLarge,
    codec_of_frame,
    last_words,
    length_prefixed,
)
from queues.protocol.reading import ReadingProtocol, notice_dead_host

from .accepting import BACKLOG, Accepting, AcceptingSocket
from .peer import Peer

#: A name may stand for an address of IPv6 where there is no IPv6.
NO_SUCH_ADDRESS = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
#: Seconds for a client's first frame to be complete.
PATIENCE = 60.0
#: Seconds that a client has to read the last words to it and to close.
CLOSE_TIME = 1.0


class Listener:
    """Serves the addresses ``unix:///path`` and ``tcp://host:port``."""

    def __init__(self, addresses: Sequence[str], accepting: Accepting) -> None:
        self._accepting = accepting
        self._addresses = [parse_address(address) for address in addresses]
        self._sockets: list[AcceptingSocket] = []
        self._paths: list[Path] = []
        self._connections: set[_Connection] = set()
        self._stopped = False

    async def start(self) -> None:
        """Listen on all addresses. Raises OSError, saying which is taken."""
        for address in self._addresses:
            if isinstance(address, Path):
                listening = [_listen_unix(address)]
                self._paths.append(address)
            else:
                listening = await _listen_tcp(*address)
            self._sockets += [
                AcceptingSocket(each, self._connection, self._accepting) for each in listening
            ]
            if self._stopped:
                self.stop()
                return

    def stop(self) -> None:
        """Listen no more. Clients hear from the engine that it stops."""
        self._stopped = True
        for each in self._sockets:
            each.close()
        for connection in list(self._connections):
            connection.close_if_silent()
        for path in self._paths:
            with contextlib.suppress(OSError):
                path.unlink()
        self._sockets.clear()
        self._paths.clear()

    def _connection(self, address: Any) -> _Connection:
        # Unix sockets have none.
        source = address[0] if isinstance(address, tuple) else ""
        return _Connection(self._connections, source)


class _Connection(ReadingProtocol):
    """One client on a plain socket."""

    def __init__(self, connections: set[_Connection], source: str) -> None:
        super().__init__()
        self._connections = connections
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._framing = LengthPrefixed(MAX_FRAME)
        self._peer: Peer | None = None
        self._transport: asyncio.Transport
        self._flushing = False
        self._is_over = False
        """Whether the last words have been said."""
        self._sends_no_more = False
        self._patience: asyncio.TimerHandle | None = None
        """Ends what takes too long."""
        self._kept = 0
        self._engine: Engine | None = None
        """What has let it in."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # A stream transport, though uvloop's does not say so.
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)
        self._transport.set_write_buffer_limits(high=2**26)  # the peer bounds what is unread
        notice_dead_host(transport.get_extra_info("socket"))
        engine = get_engine()
        try:
            engine.check()  # one that has stopped tells nobody any more
            engine.intake.connect(self._source, engine.now())
        except SwitchError as error:
            # It has not said yet how it speaks.
            self._part(JSON, error)
        else:
            self._engine = engine
            self._patience = self._loop.call_later(PATIENCE, self.close_if_silent)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._is_over:
            return
        assert self._engine is not None
        try:
            frames = self._framing.receive(data)
        except InvalidRequest:
            # Not ours; maybe not even meant for us.
            self._transport.close()
            return
        if self._framing.kept != self._kept:
            more, self._kept = self._framing.kept - self._kept, self._framing.kept
            try:
                self._engine.intake.receive(more)
            except SwitchError as error:
                self._part(JSON if self._peer is None else self._peer.codec, error)
                return
        for frame in frames:
            if isinstance(frame, TooLarge):
                if self._peer is not None:
                    detail = f"A frame may have at most {MAX_FRAME} bytes, not {frame.size}."
                    self._peer.refuse(PayloadTooLarge(detail))
                continue
            if self._peer is None:
                # It speaks as it is spoken to.
                self._peer = Peer(
                    self._engine,
                    codec_of_frame(frame),
                    self._wake,
                    self._transport.resume_reading,
                    source=self._source,
                )
            self._peer.receive(frame)
        if self._peer is not None and self._peer.is_behind:
            self._transport.pause_reading()

    def _wake(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        assert self._peer is not None
        # A transport that is about to report its loss need not take any more: uvloop's raises.
        if self._is_over or self._transport.is_closing():
            return
        frames = self._peer.data_to_send()
        if frames:
            self._transport.write(length_prefixed(frames))
        if self._peer.closed is not None:
            # What a slow client has not read is given up.
            if self._peer.closed.code == "slow_consumer":
                self._transport.abort()
            else:
                self._close()

    def _part(self, codec: Codec, error: SwitchError) -> None:
        """Say why this is the end."""
        self._transport.write(length_prefixed([last_words(codec, error)]))
        self._close()

    def _close(self) -> None:
        """Close when the client has read what it was sent, or does not.

        A connection that is closed with something unread is reset, and the client loses what was
        on its way to it: what it sends meanwhile is read and dropped until it closes, too.
        """
        self._is_over = True
        if self._peer is not None:
            self._peer.lost()
        if self._sends_no_more:
            self._transport.close()
        else:
            self._transport.write_eof()
            self._transport.resume_reading()
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self._loop.call_later(CLOSE_TIME, self._transport.abort)

    def close_if_silent(self) -> None:
        """Close the connection of a client that has never said anything."""
        if self._peer is None:
            self._transport.abort()

    def eof_received(self) -> bool:
        """See asyncio.Protocol. What has come before is carried out, then the connection closes."""
        self._sends_no_more = True
        if self._peer is None or self._is_over:
            return False
        self._peer.finish()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._connections.discard(self)
        if self._engine is not None:
            self._engine.intake.leave()
            self._engine.intake.receive(-self._kept)
        if self._patience is not None:
            self._patience.cancel()
        if self._peer is not None:
            self._peer.lost()


def parse_address(address: str) -> Path | tuple[str, int]:
    """Where ``unix:///path`` or ``tcp://host:port`` is. Raises ValueError."""
    parts = urlsplit(address)
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        return Path(parts.path)
    if parts.scheme == "tcp" and parts.hostname and parts.port and not parts.path:
        return parts.hostname, parts.port
    raise ValueError(f"{address!r} is neither unix:///path nor tcp://host:port.")


async def _listen_tcp(host: str, port: int) -> list[socket.socket]:
    """A socket at each address that the host has here. Raises OSError."""
    sockets: list[socket.socket] = []
    error: OSError | None = None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                sockets.append(_listen(family, kind, protocol, address))
            except OSError as refused:
                if refused.errno not in NO_SUCH_ADDRESS:
                    raise
                error = refused
        if error is not None and not sockets:
            raise error
    except OSError as refused:
        for each in sockets:
            each.close()
        raise OSError(refused.errno, f"tcp://{host}:{port}: {refused.strerror}") from refused
    return sockets


def _listen(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    # asyncio turns Nagle's algorithm off where it sees that the protocol is TCP.
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _listen_unix(path: Path) -> socket.socket:
    """A socket at ``path`` that only its owner may use; one that nobody serves is replaced."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode) and not _is_served(path):
            path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"unix://{path}: {os.strerror(error.errno or 0)}") from error
    finally:
        os.umask(before)
    return listening


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError as error:
            return error.errno not in (errno.ECONNREFUSED, errno.ENOENT)
    return True
