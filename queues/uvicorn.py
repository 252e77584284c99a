"""What the switch changes in uvicorn, if that is its server."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets import websockets_sansio_impl

#: Messages of one WebSocket that may wait for the application before nothing more is read,
MOST_WAITING = 4
#: and the bytes of one that is enough alone.
LARGE = 2**16


def adapt() -> None:
    """Change it for this process: ``websockets-sansio`` stops reading only when enough waits.

    Its own stops after every message and goes on when the application takes it: two changes of what
    the system is to look at, for each message.
    """
    protocol: Any = websockets_sansio_impl.WebSocketsSansIOProtocol
    receive_and_stop = protocol.send_receive_event_to_app

    def receive(self: Any) -> None:
        # Up to 0.49 the message is one piece.
        parts = [self.bytes] if hasattr(self, "bytes") else self.frames
        if (
            self.read_paused
            or sum(map(len, parts)) >= LARGE
            or self.queue.qsize() >= MOST_WAITING - 1
        ):
            receive_and_stop(self)
        else:
            # It takes reading for stopped.
            self.read_paused = True
            receive_and_stop(self)
            self.read_paused = False

    protocol.send_receive_event_to_app = receive
