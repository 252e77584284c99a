"""What the switch changes in Daphne, if that is its server."""

from __future__ import annotations

from asyncio import Queue, Task
from inspect import signature
from typing import Any

from daphne import http_protocol  # type: ignore[import-untyped]
from daphne.cli import CommandLineInterface  # type: ignore[import-untyped]
from daphne.server import Server  # type: ignore[import-untyped]
from daphne.ws_protocol import (  # type: ignore[import-untyped]
    WebSocketFactory,
    WebSocketProtocol,
)
from twisted.internet import tcp
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from queues.stream.accepting import BACKLOG, Accepting

#: Bytes (or characters) that may wait for the application on one WebSocket, and what each message
#: counts for beside its own.
MOST_WAITING = 2**20
OVERHEAD = 500


def adapt(accepting: Accepting) -> None:
    """Change it for this process."""
    CommandLineInterface.server_class = PromptServer
    WebSocketFactory.protocol = PatientWebSocket
    http.HTTPChannel = PatientChannel  # type: ignore[misc]
    http_protocol.WebRequest = QuickRequest
    _accept_one_by_one(accepting)


class PromptServer(Server):  # type: ignore[misc]
    """Forgets a request or a WebSocket as soon as it is over.

    Daphne's own looks for them once a second. By then thousands of them may have got into the
    oldest generation of the cyclic collector, which stops everybody while it looks at that.
    """

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Queue[Any] | None:
        """See Server: begin to serve what has come."""
        queue: Queue[Any] | None = super().create_application(protocol, scope)
        if queue is not None:
            task: Task[Any] = self.connections[protocol]["application_instance"]
            task.add_done_callback(lambda _: self._forget(protocol))
        return queue

    def protocol_disconnected(self, protocol: Any) -> None:
        """See Server: nobody is at the other end any more. It may be said twice."""
        if protocol in self.connections:
            super().protocol_disconnected(protocol)
            self._forget(protocol)

    def _forget(self, protocol: Any) -> None:
        details = self.connections.get(protocol, {})
        if "disconnected" in details:
            task = details.get("application_instance")
            # What has failed is told by Daphne's own look.
            if task is None or (task.done() and not task.cancelled() and not task.exception()):
                del self.connections[protocol]


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

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N802, N803
        """See WebSocketProtocol: the connection is closed."""
        # One whose handshake was no good was never told to Daphne.
        if hasattr(self, "server"):
            super().onClose(wasClean, code, reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """See WebSocketProtocol: this is its end, and it leaves nothing to the collector."""
        super().connectionLost(reason)
        # Their result is the protocol.
        self.is_open = self.is_closed = None
        if hasattr(self, "application_queue"):
            del self.application_queue._put, self.application_queue._get


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

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802
        """See HTTPChannel: this is its end, and it leaves nothing to the collector."""
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        # It knows the channel.
        self._transferDecoder = None


class QuickRequest(http_protocol.WebRequest):  # type: ignore[misc]
    """Parses no Content-Types and forms, which the application does itself.

    With the email package that was a sixth of the time of a small request, and a large form was
    copied several times.
    """

    # Of older Twisted it cannot be had.
    _QUICK = (
        {"parsePOSTFormSubmission": False}
        if ("parsePOSTFormSubmission" in signature(http.Request).parameters)
        else {}
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, **self._QUICK)

    def process(self) -> Any:
        """See WebRequest: all of it has come."""
        channel, transport = self.channel, self.transport
        processed = super().process()
        if transport is not None and self.transport is None:
            # A WebSocket has taken over; the channel will not hear of the end.
            channel.requests.clear()
        return processed

    def handle_exception(self, exception: BaseException) -> None:
        """See WebRequest: the application has failed."""
        if self._response_started:
            # It can be told no more, only be seen. Daphne's own raises, and with that its look for
            # what has failed is over for ever.
            if self.transport is None:
                # HTTP/2, where the answer would seem to be complete.
                self.channel.abortConnection()
            else:
                self.channel.loseConnection()
        else:
            super().handle_exception(exception)


def _size(message: dict[str, Any]) -> int:
    return len(message.get("bytes") or message.get("text") or "") + OVERHEAD


def _accept_one_by_one(accepting: Accepting) -> None:
    """Let connections come in one at a time, in turns with those to other sockets.

    Twisted accepts a hundred at once, and the more the more come: in a storm of them nobody else
    was served for a second. Those who wait for it wait in the kernel, which has to have room.
    """
    make: Any = tcp.Port.__init__
    accept: Any = tcp.Port.doRead

    def make_with_room(port: tcp.Port, *args: Any, **kwargs: Any) -> None:
        make(port, *args, **kwargs)
        port.backlog = max(port.backlog or 0, BACKLOG)

    def accept_one(port: tcp.Port) -> None:
        if accepting.may(port):
            port.numberAccepts = 1
            accept(port)

    tcp.Port.__init__ = make_with_room  # type: ignore[assignment,method-assign]
    tcp.Port.doRead = accept_one  # type: ignore[method-assign]
