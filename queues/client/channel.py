"""One stream connection of a client: bytes by asyncio, a WebSocket by ``websockets``, frames by
``queues.protocol.frames``."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import ssl
from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec
from msgspec import UNSET, Struct
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from queues.core.errors import InvalidRequest, SwitchError
from queues.core.messages import Delivery
from queues.protocol import frames
from queues.protocol.frames import (
    BATCH_BYTES,
    MAX_FRAME,
    MAX_WEBSOCKET_FRAME,
    MSGPACK,
    ClientSide,
    FromSwitch,
    LengthPrefixed,
    TooLarge,
    length_prefixed,
)
from queues.protocol.reading import ReadingProtocol, notice_dead_host

from . import requests
from .errors import BadAnswer, OutcomeUnknown, Unreachable, refusal
from .transport import Operation

T = TypeVar("T")

logger = logging.getLogger("queues.client")

#: Gets a refusal.
Refused = Callable[[SwitchError], None]

#: Seconds that the switch may take to answer, beside what the operation waits for.
ANSWER_TIMEOUT = 15.0
CONNECT_TIMEOUT = 5.0
#: Seconds for what has not left to leave when the connection is closed.
CLOSE_TIMEOUT = 2.0
#: Seconds between two looks for answers that are overdue.
LOOK = 1.0
#: Operations that are told without an answer before the switch is asked whether it heard them,
TOLD_AT_ONCE = 64
#: and the seconds after which it is asked about fewer.
ASK_AFTER = 0.05
#: Why the switch closes a connection that it has done nothing for.
NOT_LET_IN = ("too_many_connections", "rate_limited")
#: Larger than any frame that the switch sends.
MAX_RECEIVED = 2**28


class _Pending(Struct):
    """An operation that waits for its answer."""

    future: asyncio.Future[Any]
    answer: Any
    deadline: float


class NoWebSocket(Exception):
    """The web server answered the WebSocket's handshake with another ``status`` than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"The handshake was answered with status {status}.")
        self.status = status


class Channel(ReadingProtocol):
    """A connection to the switch that carries operations, answers and deliveries.

    ``delivered`` gets what is pushed. ``lost`` is done when the connection is gone. Operations that
    are asked for in one turn of the loop leave together; while the network is slower than they
    come, they wait here.
    """

    #: Largest operation that fits.
    largest = MAX_FRAME

    def __init__(self, url: str, delivered: Callable[[Delivery], None]) -> None:
        super().__init__()
        self.url = url
        self.session: str | None = None
        """Token of the session that this connection is that of."""
        self._delivered = delivered
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._side = ClientSide(MSGPACK, self.largest)
        self._refs = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._unsent: dict[int, bytes] = {}
        """By ref the operations that have not left, as bytes, oldest first."""
        self._paused = False
        """Whether they wait until what has left is further on its way."""
        self._told: dict[int, Refused] = {}
        """What gets the refusal of each operation that was told, oldest first."""
        self._asking: asyncio.TimerHandle | None = None
        self._asked_up_to: int | None = None
        """The ref of the question that waits for its answer."""
        self._asked_until = 0.0
        self._transport: asyncio.Transport
        self._flushing = False
        self._looking: asyncio.TimerHandle | None = None
        self._leaving = False
        """Whether nothing can be asked for any more."""
        self._closing: SwitchError | None = None
        """What the switch said before it closed the connection."""

    # -- operations ---------------------------------------------------------------------------

    async def ask(self, operation: Operation[T]) -> T:
        """Do one operation. See Transport."""
        if self._leaving:
            raise self._gone()
        ref = next(self._refs)
        self._unsent[ref] = self._side.write(requests.frame(operation, ref))
        future: asyncio.Future[T] = self._loop.create_future()
        self._pending[ref] = _Pending(
            future, operation.answer, self._loop.time() + operation.wait + ANSWER_TIMEOUT
        )
        self._send_soon()
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK, self._look)
        try:
            return await future
        except asyncio.CancelledError:
            if (
                self._pending.pop(ref, None) is not None
                # What has not left is not asked for at all.
                and self._unsent.pop(ref, None) is None
            ):
                self._side.request(requests.cancel(ref))
                self._send_soon()
            raise

    def _send_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self._leaving:
            self._send()

    def _send(self, *, all: bool = False) -> None:
        """Write what has not left, as much as is wanted now or ``all``.

        Before it, and at any time, what the side has by itself: the switch cuts off a client whose
        pong is late.
        """
        side, unsent = self._side, self._unsent
        while True:
            if unsent and (all or not self._paused):
                size, refs = 0, []
                for ref, item in unsent.items():
                    side.request_written(item)
                    refs.append(ref)
                    size += len(item)
                    if size >= BATCH_BYTES:
                        break
                self._write(side.data_to_send())
                if len(refs) == len(unsent):
                    unsent.clear()
                else:
                    for ref in refs:
                        del unsent[ref]
            elif side.has_output:
                self._write(side.data_to_send())
            else:
                break

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = False
        self._send_soon()

    def _look(self) -> None:
        """Give up the connection if an answer is overdue: the switch hangs, or the network."""
        self._looking = None
        now = self._loop.time()
        asked = self._asked_up_to is not None
        if (asked and self._asked_until <= now) or any(
            pending.deadline <= now for pending in self._pending.values()
        ):
            self._end("did not answer in time")
        elif asked or self._pending:
            self._looking = self._loop.call_later(LOOK, self._look)

    def tell(self, operation: Operation[Any], refused: Refused) -> None:
        """Ask for an operation whose answer matters only if it is refused.

        ``refused`` gets the refusal; Unreachable when the connection is gone; or OutcomeUnknown
        when it breaks before it was known that there was none.
        """
        if self._leaving:
            refused(self._gone())
            return
        ref = next(self._refs)
        self._unsent[ref] = self._side.write(requests.frame(operation, ref, quiet=True))
        self._told[ref] = refused
        self._send_soon()
        if self._asked_up_to is None:
            if len(self._told) >= TOLD_AT_ONCE:
                self._ask_up_to_here()
            elif self._asking is None:
                self._asking = self._loop.call_later(ASK_AFTER, self._ask_up_to_here)

    def _ask_up_to_here(self) -> None:
        """Ask for an answer that comes after the refusals of all that was told before."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        ref = self._asked_up_to = next(self._refs)
        self._asked_until = self._loop.time() + ANSWER_TIMEOUT
        self._unsent[ref] = self._side.write(frames.Ping(ref=ref))
        self._send_soon()
        if self._looking is None:
            self._looking = self._loop.call_later(LOOK, self._look)

    def heard_all(self) -> None:
        """Everything that was told has been done: something after it was answered."""
        self._told.clear()

    def _was_heard(self) -> None:
        """What was told before the last question and not refused has been done."""
        last, self._asked_up_to = self._asked_up_to, None
        assert last is not None
        told = self._told
        for ref in list(told):
            if ref > last:
                break
            del told[ref]
        if told:
            self._asking = self._loop.call_later(ASK_AFTER, self._ask_up_to_here)

    # -- what comes ---------------------------------------------------------------------------

    def _receive(self, frame: bytes) -> None:
        try:
            items = self._side.receive(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            logger.error("%s sent a frame that cannot be read: %s", self.url, error)
            self._end("sent what cannot be read")
            return
        for item in items:
            if item.ref is not None:
                self._answered(item.ref, item)
            elif item.deliver is not UNSET:
                self._delivered(item.deliver)
            elif item.closing is not UNSET:
                self._closing = refusal(item.closing)
        if self._side.has_output:
            self._send_soon()

    def _answered(self, ref: int, item: FromSwitch) -> None:
        if ref == self._asked_up_to:
            self._was_heard()
            return
        pending = self._pending.pop(ref, None)
        if pending is None:
            refused = self._told.pop(ref, None)
            if refused is not None and item.error is not UNSET:
                refused(refusal(item.error))
            return
        if pending.future.done():
            return
        if item.ok is UNSET:
            fields = item.error if item.error is not UNSET else {"code": BadAnswer.code}
            pending.future.set_exception(refusal(fields))
            return
        if pending.answer is type(None):
            pending.future.set_result(None)
            return
        try:
            value = self._side.codec.read_answer(item.ok, pending.answer)
        except msgspec.DecodeError as error:
            detail = f"{self.url} answered in a form not known here: {error}."
            pending.future.set_exception(BadAnswer(detail))
        else:
            pending.future.set_result(value)

    # -- the connection -----------------------------------------------------------------------

    async def open(self) -> None:
        """Connect. Raises OSError, NoWebSocket."""
        raise NotImplementedError

    def _write(self, written: list[bytes]) -> None:
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # A stream transport, though uvloop's does not say so.
        self._transport = cast(asyncio.Transport, transport)
        notice_dead_host(self._transport.get_extra_info("socket"))

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end("broke the connection")

    def _gone(self) -> Unreachable:
        why = "" if self._closing is None else f": {self._closing.detail}"
        return Unreachable(f"The connection to {self.url} is gone{why or '.'}")

    def _end(self, what: str) -> None:
        """Fail everything that waits; nothing comes any more."""
        if self.lost.done():
            return
        self.lost.set_result(None)
        self._leaving = True
        if self._looking is not None:
            self._looking.cancel()
        pending, self._pending = self._pending, {}
        closing = self._closing
        if closing is not None and closing.code != "shutting_down":
            what = f"closed the connection: {closing.detail}"
        unsent, self._unsent = self._unsent, {}
        for ref, each in pending.items():
            if each.future.done():
                continue
            error: SwitchError
            if ref in unsent or (closing is not None and closing.code in NOT_LET_IN):
                error = Unreachable(f"{self.url} {what}.")
            else:
                error = OutcomeUnknown(f"{self.url} {what}; it may have done what it was asked.")
            each.future.set_exception(error)
        if self._asking is not None:
            self._asking.cancel()
        told, self._told = self._told, {}
        for refused in told.values():
            refused(OutcomeUnknown(f"{self.url} {what}; it may have done what it was asked."))
        self._transport.abort()

    def abort(self) -> None:
        """Close the connection at once, whatever waits."""
        self._end("was given up")

    async def close(self) -> None:
        """Close the connection; what was asked for and has not left leaves before, if it can."""
        if not self._leaving:
            self._leaving = True
            self._send(all=True)
            self._say_goodbye()
            self._transport.close()
        try:
            # Not so the future itself: being cancelled would end it.
            await asyncio.wait([self.lost], timeout=CLOSE_TIMEOUT)
        finally:
            self._end("was closed")

    def _say_goodbye(self) -> None:
        """Write the last thing."""


class SocketChannel(Channel):
    """A connection over a plain socket, Unix (``path``) or TCP (``host`` and ``port``)."""

    def __init__(
        self,
        url: str,
        delivered: Callable[[Delivery], None],
        *,
        path: str | None = None,
        host: str = "",
        port: int = 0,
    ) -> None:
        super().__init__(url, delivered)
        self._path = path
        self._host = host
        self._port = port
        self._framing = LengthPrefixed(MAX_RECEIVED)

    async def open(self) -> None:
        """See Channel."""
        if self._path is not None:
            await self._loop.create_unix_connection(lambda: self, self._path)
        else:
            await self._loop.create_connection(lambda: self, self._host, self._port)

    def _write(self, written: list[bytes]) -> None:
        if written:
            self._transport.write(length_prefixed(written))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        try:
            received = self._framing.receive(data)
        except InvalidRequest:
            self._end("does not speak the stream protocol")
            return
        for frame in received:
            if isinstance(frame, TooLarge):
                self._end("sent a frame that is too large")
                return
            self._receive(frame)


class WebSocketChannel(Channel):
    """A connection over a WebSocket at ``url``, ``ws://`` or ``wss://``."""

    largest = MAX_WEBSOCKET_FRAME - 64

    def __init__(
        self, url: str, delivered: Callable[[Delivery], None], tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(url, delivered)
        uri = parse_uri(url)
        self._address = (uri.host, uri.port)
        self._tls = tls
        self._websocket = ClientProtocol(
            uri, subprotocols=[Subprotocol(MSGPACK.subprotocol)], max_size=MAX_RECEIVED
        )
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._parts: list[bytes] = []

    async def open(self) -> None:
        """See Channel."""
        host, port = self._address
        await self._loop.create_connection(
            lambda: self,
            host,
            port,
            ssl=self._tls,
            server_hostname=host if self._tls is not None else None,
        )
        self._websocket.send_request(self._websocket.connect())
        self._pass_on()
        try:
            await self._opened
        except BaseException:
            self._end("was not connected")
            raise

    def _pass_on(self) -> None:
        for data in self._websocket.data_to_send():
            if data:
                self._transport.write(data)
            else:
                self._transport.close()

    def _write(self, written: list[bytes]) -> None:
        for frame in written:
            self._websocket.send_binary(frame)
        self._transport.write(b"".join(self._websocket.data_to_send()))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        websocket = self._websocket
        websocket.receive_data(data)
        for event in websocket.events_received():
            if isinstance(event, Frame):
                self._take(event)
            elif isinstance(event, Response) and not self._opened.done():
                failure = websocket.handshake_exc
                if failure is None:
                    self._opened.set_result(None)
                elif isinstance(failure, InvalidStatus):
                    self._opened.set_exception(NoWebSocket(event.status_code))
                else:
                    self._opened.set_exception(NoWebSocket(0))
        self._pass_on()
        if websocket.close_rcvd is not None or websocket.parser_exc is not None:
            # Nothing more is read at the other end, whenever TCP may end.
            self._end("closed the connection")

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY and frame.fin:
            self._receive(bytes(frame.data))
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self._parts.append(bytes(frame.data))
            if frame.fin:
                whole, self._parts = b"".join(self._parts), []
                self._receive(whole)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        if not self._opened.done():
            self._opened.set_exception(error or ConnectionResetError("No handshake."))
            self._opened.exception()  # perhaps nobody waits for it any more
        super().connection_lost(error)

    def _say_goodbye(self) -> None:
        """See Channel."""
        with contextlib.suppress(WebSocketException):  # the handshake may not be over
            self._websocket.send_close(1000)
        self._pass_on()
