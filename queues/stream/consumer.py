"""The WebSocket: a Channels consumer that carries frames between the server and a Peer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from channels.consumer import AsyncConsumer

from queues.core.errors import SwitchError
from queues.engines import get_engine
from queues.engines.base import Engine
from queues.protocol.frames import JSON, MAX_WEBSOCKET_FRAME, MSGPACK, Codec, last_words
from queues.sites import header, is_foreign

from .peer import Peer

#: How a closed connection says why, for clients that see no frames.
CLOSE_CODES = {
    # Not 1001, going away: Daphne sends 1000 and those from 3000 on, no others.
    "shutting_down": 4000,
    "superseded": 4001,
    "slow_consumer": 4002,
    "unknown_session": 4003,
    "too_many_connections": 4004,
    "rate_limited": 4005,
}
#: Seconds that the last words to a client may take.
CLOSE_TIME = 1.0
#: What servers raise when the connection is gone: the former by the book, Daphne the latter.
GONE = (OSError, RuntimeError)


class StreamConsumer(AsyncConsumer):
    """One client on a WebSocket.

    It reads the server's messages itself: Channels' own dispatch makes a task for each, and looks
    after database connections, in a thread, which there are none of here.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection, from its handshake to its end."""
        await receive()
        codec = _codec(scope["subprotocols"])
        if codec is None or is_foreign(scope):
            await send({"type": "websocket.close"})
            return
        try:
            engine = get_engine()
            engine.check()
        except SwitchError:
            await send({"type": "websocket.close"})
            return
        subprotocol = codec.subprotocol if scope["subprotocols"] else None
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        client = scope.get("client")
        source = client[0] if client else ""
        try:
            engine.intake.connect(source, engine.now())
        except SwitchError as error:
            # In frames, since a refused handshake says no more than a number.
            with contextlib.suppress(*GONE):
                await _send_frame(last_words(codec, error), codec, send)
            await _close(error, send)
            return
        try:
            await self._serve(scope, receive, send, engine, codec, source)
        finally:
            engine.intake.leave()

    async def _serve(
        self, scope: Any, receive: Any, send: Any, engine: Engine, codec: Codec, source: str
    ) -> None:
        main = asyncio.current_task()
        assert main is not None
        awake = _Bell()
        caught_up = _Bell()
        patience: asyncio.TimerHandle | None = None

        def wake() -> None:
            nonlocal patience
            awake.ring()
            if peer.closed is not None and patience is None:
                # One that does not read may block the last words too.
                loop = asyncio.get_running_loop()
                patience = loop.call_later(CLOSE_TIME, sender.cancel)

        # Daphne sends no larger messages than it reads.
        peer = Peer(engine, codec, wake, caught_up.ring, MAX_WEBSOCKET_FRAME, source)
        sender = asyncio.create_task(_send(peer, codec, awake, send))

        def sent(_: object) -> None:
            if peer.closed is not None:
                # There is nothing left to receive.
                main.cancel()

        sender.add_done_callback(sent)
        try:
            if token := _bearer(scope):
                peer.login_by_token(token)
            while (message := await receive())["type"] == "websocket.receive":
                data = message.get("bytes")
                peer.receive(message["text"] if data is None else data)
                while peer.is_behind:
                    await caught_up.wait()
            peer.finish()
            while peer.closed is None:
                await caught_up.wait()
        except asyncio.CancelledError:
            if not sender.done():
                raise
            main.uncancel()
            if not sender.cancelled():
                # Not while receive() waits: granian's close would wait for it.
                await _close(sender.result(), send)
        finally:
            peer.lost()
            sender.cancel()
            if patience is not None:
                # It would keep all this until then.
                patience.cancel()


class _Bell:
    """Wakes the one task that waits for it.

    An ``asyncio.Event`` looks for the running loop at each wait, which under Python 3.11 asks the
    system for the number of the process.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung = self._loop.create_future()

    def ring(self) -> None:
        """Wake it, or let its next wait be none."""
        if not self._rung.done():
            self._rung.set_result(None)

    async def wait(self) -> None:
        """Wait until it has been rung since the last wait."""
        await self._rung
        self._rung = self._loop.create_future()


async def _send(peer: Peer, codec: Codec, awake: _Bell, send: Any) -> SwitchError | None:
    """Send what the peer has to say, whenever it has; why the connection is to be closed then."""
    closed = None
    while closed is None:
        await awake.wait()
        closed = peer.closed  # of what is taken now: more is said if it closes while we send
        for frame in peer.data_to_send():
            try:
                await _send_frame(frame, codec, send)
            except GONE:
                return None
    return closed


async def _send_frame(frame: bytes, codec: Codec, send: Any) -> None:
    if codec.text:
        await send({"type": "websocket.send", "text": frame.decode()})
    else:
        await send({"type": "websocket.send", "bytes": frame})


async def _close(why: SwitchError | None, send: Any) -> None:
    """Close a connection that is still there."""
    if why is not None:
        code = CLOSE_CODES[why.code]
        with contextlib.suppress(*GONE):
            async with asyncio.timeout(CLOSE_TIME):
                await send({"type": "websocket.close", "code": code, "reason": why.code})


def _codec(offered: list[str]) -> Codec | None:
    """The first subprotocol offered that is known; JSON for a client that offers none."""
    if not offered:
        return JSON
    known = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}
    return next((known[name] for name in offered if name in known), None)


def _bearer(scope: Any) -> str | None:
    scheme, _, token = (header(scope, b"authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
