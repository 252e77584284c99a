"""The transport over a stream: one connection, which is that of one session.

A connection that broke is opened anew by the next operation, and the session resumed, if it has a
lease and the switch still knows it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from queues.core.answers import LoginResult
from queues.core.errors import UnknownSession
from queues.core.messages import Delivery
from queues.protocol import frames
from queues.protocol import operations as forms

from .channel import CONNECT_TIMEOUT, Channel, NoWebSocket, Refused, SocketChannel, WebSocketChannel
from .errors import OutcomeUnknown, Unreachable
from .http import HttpTransport, reason
from .transport import Operation, Transport

T = TypeVar("T")

logger = logging.getLogger("queues.client")


def transport_for(url: str) -> Transport:
    """The transport for a URL. Raises ValueError if it is none of those known.

    ``http://`` and ``https://`` are a WebSocket, or HTTP where there is none; ``unix:///path`` and
    ``tcp://host:port`` are plain sockets.
    """
    if url.startswith(("http://", "https://")):
        return WebTransport(url)
    return SocketTransport(url)


class StreamTransport:
    """What all streams have in common; ``_channel_to`` makes the connection."""

    pushes = True

    def __init__(self, url: str) -> None:
        self.url = url
        self.on_delivery: Callable[[Delivery], None] = _ignore
        """Where pushed messages go."""
        self._channel: Channel | None = None
        self._lock = asyncio.Lock()
        self._after = 0
        """The highest delivery number that has come for the session."""
        self._resumable: str | None = None
        """Token of the session that goes on after a break: it has a lease, and was not refused."""
        self._closed = False

    async def perform(self, operation: Operation[T], token: str | None) -> T:
        """Do one operation. See Transport."""
        channel = self._channel
        if (
            channel is None
            or channel.lost.done()
            or (token is not None and channel.session != token)
            or operation.name == "login"
        ):
            channel = await self._connect(operation, token)
        try:
            result = await channel.ask(operation)
        except BaseException:
            if operation.name == "login":
                # The switch may have begun a session, whose token never came.
                channel.abort()
            raise
        if operation.name == "login":
            assert isinstance(result, LoginResult)
            channel.session = result.session
            self._resumable = result.session if result.lease > 0 else None
        elif operation.name == "logout":
            channel.session = None
            channel.heard_all()
        return result

    def tell(self, operation: Operation[Any], token: str | None, refused: Refused) -> None:
        """Do an operation whose answer matters only if it is refused; see Channel.

        ``refused`` gets Unreachable when there is no connection of the session now.
        Raises FrameTooLarge.
        """
        channel = self._channel
        if channel is None or channel.session != token:
            refused(Unreachable(f"{self.url} is not connected."))
        else:
            channel.tell(operation, refused)

    async def _connect(self, operation: Operation[Any], token: str | None) -> Channel:
        """A connection for the session. Raises Unreachable, UnknownSession."""
        async with self._lock:
            channel = self._channel
            if channel is not None and not channel.lost.done():
                if operation.name == "login":
                    if channel.session is not None:
                        # A connection is that of one session.
                        await channel.close()
                elif token in (None, channel.session):
                    return channel
                elif channel.session is not None:
                    # Somebody has logged in anew meanwhile.
                    raise UnknownSession("The session has been replaced by a newer one.")
            if operation.name != "login" and token not in (None, self._resumable):
                raise UnknownSession("The session ended with its connection.")
            if channel is None or channel.lost.done():
                channel = await self._open()
            if operation.name == "login":
                self._after = 0
            elif token is not None:
                await self._resume(channel, token)
            return channel

    async def _open(self) -> Channel:
        channel = self._channel_to(self._delivered)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await channel.open()
        except OSError as error:
            raise Unreachable(f"Cannot reach {self.url}: {reason(error)}.") from error
        except NoWebSocket as error:
            if error.status in (502, 503, 504):
                # A proxy whose switch is away.
                raise Unreachable(f"Cannot reach {self.url}: {error}") from error
            raise
        if self._closed:
            channel.abort()
            raise RuntimeError("The client is closed.")
        # At once, so that ``close`` finds it.
        self._channel = channel
        return channel

    async def _resume(self, channel: Channel, token: str) -> None:
        try:
            await channel.ask(
                Operation(
                    name="resume",
                    answer=LoginResult,
                    form=forms.Resume(session=token, after=self._after),
                )
            )
        except BaseException as error:
            channel.abort()
            if isinstance(error, UnknownSession):
                self._resumable = None
            elif isinstance(error, OutcomeUnknown):
                # The operation that needs the session has not been sent.
                raise Unreachable(error.detail) from error
            raise
        channel.session = token

    def _channel_to(self, delivered: Callable[[Delivery], None]) -> Channel:
        raise NotImplementedError

    def _delivered(self, delivery: Delivery) -> None:
        self._after = max(self._after, delivery.delivery)
        self.on_delivery(delivery)

    async def disconnected(self) -> None:
        """Wait until the connection is gone."""
        if self._channel is not None:
            await asyncio.wait([self._channel.lost])

    async def close(self) -> None:
        """Close the connection, also one that is being opened."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close()


class SocketTransport(StreamTransport):
    """A plain socket: ``unix:///path`` or ``tcp://host:port``."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        parts = urlsplit(url)
        self._path: str | None = None
        self._host, self._port = parts.hostname or "", parts.port or 0
        if parts.scheme == "unix" and not parts.netloc and parts.path:
            self._path = parts.path
        elif parts.scheme != "tcp" or not self._host or not self._port or parts.path:
            raise ValueError(
                f"{url!r} is not a URL like http://127.0.0.1:8080, unix:///path/to/socket "
                "or tcp://127.0.0.1:8081."
            )

    def _channel_to(self, delivered: Callable[[Delivery], None]) -> Channel:
        return SocketChannel(self.url, delivered, path=self._path, host=self._host, port=self._port)

    def another(self) -> SocketTransport:
        """See Transport."""
        return SocketTransport(self.url)


class WebTransport(StreamTransport):
    """A WebSocket at the address of the web server; HTTP for what does not fit into a frame, and
    for everything where the server, or something before it, has no WebSocket.

    Whether it has is tried anew at every login.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._http = HttpTransport(url)
        self._use_http = False
        parts = urlsplit(url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        host = parts.netloc.rpartition("@")[2]
        self._stream_url = f"{scheme}://{host}{parts.path.rstrip('/')}/ws/v1"
        self._tls = ssl.create_default_context() if scheme == "wss" else None

    @property
    def pushes(self) -> bool:  # type: ignore[override]
        """See Transport."""
        return not self._use_http

    async def perform(self, operation: Operation[T], token: str | None) -> T:
        """See Transport."""
        if not self._use_http or operation.name == "login":
            try:
                result = await super().perform(operation, token)
            except NoWebSocket as error:
                logger.info("%s has no WebSocket (status %d); using HTTP.", self.url, error.status)
                self._use_http = True
            except frames.FrameTooLarge:
                pass
            else:
                self._use_http = False
                return result
        return await self._http.perform(operation, token)

    def _channel_to(self, delivered: Callable[[Delivery], None]) -> Channel:
        return WebSocketChannel(self._stream_url, delivered, self._tls)

    def another(self) -> WebTransport:
        """See Transport."""
        return WebTransport(self.url)

    async def close(self) -> None:
        """See Transport."""
        await super().close()
        await self._http.close()


def _ignore(delivery: Delivery) -> None:
    pass
