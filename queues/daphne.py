"""What the switch changes in Daphne, if that is its server."""

from __future__ import annotations

from functools import partial
from inspect import signature
from typing import Any

from daphne import http_protocol  # type: ignore[import-untyped]
from daphne.ws_protocol import (  # type: ignore[import-untyped]
    WebSocketFactory,
    WebSocketProtocol,
)
from twisted.web import http

#: Bytes (or characters) that may wait for the application on one WebSocket, and what each message
#: counts for beside its own.
MOST_WAITING = 2**20
OVERHEAD = 500


def adapt() -> None:
    """Change it for this process."""
    WebSocketFactory.protocol = PatientWebSocket
    http.HTTPChannel = PatientChannel  # type: ignore[misc]
    _leave_forms_alone()


class PatientWebSocket(WebSocketProtocol):  # type: ignore[misc]
    """Reads no more from a client while the application has enough to do for it.

    Daphne's own reads whatever comes: 200 MB in a second, from one that does not stop.
    """

    def applicationCreateWorked(self, application_queue: Any) -> None:  # noqa: N802
        """See WebSocketProtocol: the application is there, and receives from this queue."""
        put, get = application_queue._put, application_queue._get
        waiting, pauses = 0, False

        def put_and_pause(message: dict[str, Any]) -> None:
            nonlocal waiting, pauses
            put(message)
            waiting += _size(message)
            if waiting > MOST_WAITING:
                pauses = True
                self.transport.pauseProducing()

        def get_and_resume() -> Any:
            nonlocal waiting, pauses
            message = get()
            waiting -= _size(message)
            if pauses and waiting <= MOST_WAITING // 2:
                pauses = False
                self.transport.resumeProducing()
            return message

        # What a class derived from Queue may define; Daphne makes the queue itself.
        application_queue._put, application_queue._get = put_and_pause, get_and_resume
        super().applicationCreateWorked(application_queue)


class PatientChannel(http.HTTPChannel):
    """Begins no request while the client has not read enough of the answers before.

    Twisted's own stops reading then, but goes on with the requests that it has: some kilobytes of
    them may ask for a gigabyte.
    """

    _kept = b""
    """Requests that wait for that."""

    def requestDone(self, request: http.Request) -> None:  # noqa: N802
        """See HTTPChannel: a request has been answered."""
        waits = self._waitingForTransport
        if waits:
            self._kept, self._dataBuffer = b"".join(self._dataBuffer), []
        super().requestDone(request)  # type: ignore[no-untyped-call]
        if waits and self.persistent:
            self._networkProducer.pauseProducing()  # type: ignore[misc]

    def resumeProducing(self) -> None:  # noqa: N802
        """See HTTPChannel: the client has read enough."""
        super().resumeProducing()  # type: ignore[no-untyped-call]
        if self._kept and not self._handlingRequest:
            kept, self._kept = self._kept, b""
            self.dataReceived(kept)  # type: ignore[no-untyped-call]


def _size(message: dict[str, Any]) -> int:
    return len(message.get("bytes") or message.get("text") or "") + OVERHEAD


def _leave_forms_alone() -> None:
    """Let requests not parse Content-Types and forms, which the application does itself.

    With the email package that was a sixth of the time of a small request, and a large form was
    copied several times.
    """
    # Of older Twisted it cannot be had.
    if "parsePOSTFormSubmission" in signature(http.Request).parameters:
        quick = partial(http_protocol.WebRequest, parsePOSTFormSubmission=False)
        http_protocol.WebRequest = quick
