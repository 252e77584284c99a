"""What the switch changes in uvicorn, if that is its server."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets import websockets_sansio_impl

#: Messages of one WebSocket that may wait for the application before nothing more is read.
MOST_WAITING = 4


def adapt() -> None:
    """Change it for this process: ``websockets-sansio`` stops reading only when enough waits.

    Its own stops after every message and goes on when the application takes it: two changes of what
    the system is to look at, for each message.
    """
    protocol: Any = websockets_sansio_impl.WebSocketsSansIOProtocol
    receive_and_stop = protocol.send_receive_event_to_app

    def receive(self: Any) -> None:
        if self.read_paused or self.queue.qsize() >= MOST_WAITING - 1:
            receive_and_stop(self)
        else:
            # It takes reading for stopped.
            self.read_paused = True
            receive_and_stop(self)
            self.read_paused = False

    protocol.send_receive_event_to_app = receive
