"""What the switch changes in uvicorn: when its WebSockets stop reading."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from queues import uvicorn
from queues.uvicorn import LARGE, MOST_WAITING


class Transport:
    reading = True
    stops = 0

    def pause_reading(self) -> None:
        self.reading = False
        self.stops += 1

    def resume_reading(self) -> None:
        self.reading = True


@pytest.fixture(autouse=True)
def _adapted(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "send_receive_event_to_app"
    own: Callable[..., None] = getattr(WebSocketsSansIOProtocol, name)
    monkeypatch.setattr(WebSocketsSansIOProtocol, name, own)
    uvicorn.adapt()


def connection() -> WebSocketsSansIOProtocol:
    async def application(scope: object, receive: object, send: object) -> None:
        pass

    config = Config(application)
    config.load()
    protocol = WebSocketsSansIOProtocol(config, ServerState(), {})
    protocol.transport = Transport()  # type: ignore[assignment]
    return protocol


def comes(protocol: WebSocketsSansIOProtocol, message: bytes) -> Transport:
    # Of older versions, and of newer ones.
    if hasattr(protocol, "bytes"):
        protocol.bytes = message
    else:
        protocol.frames = [message]
    protocol.send_receive_event_to_app()
    transport: object = protocol.transport
    assert isinstance(transport, Transport)
    return transport


async def test_it_goes_on_reading_while_few_messages_wait() -> None:
    protocol = connection()
    for _ in range(3 * MOST_WAITING):
        assert comes(protocol, b"x").reading
        assert await protocol.receive() == {"type": "websocket.receive", "bytes": b"x"}
    assert comes(protocol, b"x").stops == 0


async def test_it_stops_reading_when_many_wait_until_none_does() -> None:
    protocol = connection()
    for number in range(1, MOST_WAITING + 3):
        assert comes(protocol, b"x").reading == (number < MOST_WAITING)
    transport = comes(protocol, b"last")
    assert transport.stops == 1
    for _ in range(MOST_WAITING + 2):
        await protocol.receive()
        assert not transport.reading
    assert await protocol.receive() == {"type": "websocket.receive", "bytes": b"last"}
    assert transport.reading


async def test_it_stops_reading_when_one_large_message_waits() -> None:
    protocol = connection()
    assert comes(protocol, b"x" * (LARGE - 1)).reading
    transport = comes(protocol, b"x" * LARGE)
    assert not transport.reading
    await protocol.receive()
    assert not transport.reading
    await protocol.receive()
    assert transport.reading
