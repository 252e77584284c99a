"""Stand-ins for the switch: a scripted transport, a scripted HTTP server, and a loop that skips."""

import asyncio
import functools
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import h11
import msgspec
from msgspec import UNSET
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from queues.client.transport import Operation
from queues.core.answers import (
    AckResult,
    LoginResult,
    NackResult,
    QueueCreated,
    QueueInfo,
    ReplyOutcome,
    ReplyResult,
    SendResult,
    TouchResult,
    TransferResult,
)
from queues.core.messages import Delivery, Response
from queues.core.queue import Policy
from queues.core.verdict import Verdict
from queues.protocol.frames import MSGPACK, LengthPrefixed, TooLarge, length_prefixed

# -- time -----------------------------------------------------------------------------------------


class _SkippingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer it moves the loop's clock to it."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self.skipped += timeout
        return ready


class SkippingLoop(asyncio.SelectorEventLoop):
    """A loop on which sleeping takes no time; for tests that wait for nothing outside."""

    def __init__(self) -> None:
        self._skipping = _SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return super().time() + self._skipping.skipped


def skips_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on a SkippingLoop."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=SkippingLoop) as runner:
            runner.run(test(*args, **kwargs))  # type: ignore[arg-type]
            assert asyncio.all_tasks(runner.get_loop()) == set()

    return run


# -- transport ------------------------------------------------------------------------------------


def queue_info(name: str = "q", ack_timeout: float | None = None) -> QueueInfo:
    return QueueInfo(
        name=name,
        kind="persistent",
        owner=None,
        status="running",
        verdict=Verdict(code="idle", level="ok", sentence="All is well.", next_step="Nothing."),
        paused=False,
        ready=0,
        delayed=0,
        held=0,
        dead=0,
        consumers=0,
        waiting=0,
        oldest_at=None,
        bytes=0,
        sent=0,
        delivered=0,
        acked=0,
        refused=0,
        created_at=0.0,
        policy=Policy(ack_timeout=ack_timeout),
    )


def delivery(id: int, payload: str = "", **fields: Any) -> Delivery:
    return Delivery(
        id=id,
        delivery=id + 1,
        queue="q",
        payload=payload,
        sent_at=0.0,
        delivery_count=1,
        **fields,
    )


class FakeTransport:
    """A switch that answers what the test wants: ``on(name, answer, ...)`` for the next times.

    An answer is a value, an exception to raise, or a function of the operation. What is not
    scripted gets a plausible answer; a Transfer without messages takes its whole timeout.
    """

    def __init__(self) -> None:
        self.done: list[tuple[Operation[Any], str | None]] = []
        self.closed = False
        self._script: dict[str, list[Any]] = {}
        self._logins = 0
        self.instance = 1

    def on(self, name: str, *answers: Any) -> None:
        self._script.setdefault(name, []).extend(answers)

    @property
    def names(self) -> list[str]:
        return [operation.name for operation, _ in self.done]

    def forms(self, name: str) -> list[Any]:
        return [operation.form for operation, _ in self.done if operation.name == name]

    pushes = False

    def another(self) -> "FakeTransport":
        return self

    async def perform(self, operation: Operation[Any], token: str | None) -> Any:
        self.done.append((operation, token))
        # A form that cannot be written would be refused.
        msgspec.json.encode(operation.form)
        script = self._script.get(operation.name)
        answer = script.pop(0) if script else self._usual
        await asyncio.sleep(0)
        if isinstance(answer, BaseException):
            raise answer
        if callable(answer):
            answer = answer(operation)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return answer

    async def close(self) -> None:
        self.closed = True

    def _usual(self, operation: Operation[Any]) -> Any:
        form = operation.form
        match operation.name:
            case "login":
                self._logins += 1
                return LoginResult(
                    session=f"token-{self._logins}",
                    client=form.client,
                    lease=30.0 if form.lease is UNSET else form.lease,
                    instance=self.instance,
                )
            case "create_queue":
                return QueueCreated(name=operation.queue or "", created=True)
            case "create_fresh_queue":
                return QueueCreated(name="fresh.1", created=True)
            case "inspect_queue":
                return queue_info(operation.queue or "")
            case "touch":
                return TouchResult(touched=form.ids, unknown=[], not_held=[])
            case "send":
                return SendResult(id=1, created=True)
            case "ack":
                return AckResult(acked=form.ids, unknown=[], not_held=[])
            case "nack":
                return NackResult(released=form.ids, unknown=[], not_held=[])
            case "reply":
                return ReplyResult(id=1)
            case "call":
                return Response(id=2, request=1, payload="", correlation_id="1", sent_at=0.0)
            case "transfer":
                return self.idle(operation)
        return None

    async def idle(self, operation: Operation[Any]) -> TransferResult:
        """A Transfer that brings nothing."""
        await asyncio.sleep(operation.form.timeout)
        return transferred(operation)


def transferred(operation: Operation[Any], *messages: Delivery) -> TransferResult:
    """A Transfer's answer: all its replies delivered."""
    return TransferResult(
        messages=list(messages),
        next=max((message.delivery for message in messages), default=operation.form.after),
        replies=[ReplyOutcome(request=reply.id, id=1) for reply in operation.form.replies],
    )


def brings(*messages: Delivery) -> Callable[[Operation[Any]], TransferResult]:
    """A Transfer that hands over messages."""
    return lambda operation: transferred(operation, *messages)


# -- HTTP -----------------------------------------------------------------------------------------


class Hangup(Exception):
    """Raised by a script to close the connection without an answer."""


class Request:
    """What the HTTP server got."""

    def __init__(self, head: h11.Request, body: bytes, connection: int) -> None:
        self.method = head.method.decode()
        self.target = head.target.decode()
        self.headers = {name.decode(): value.decode() for name, value in head.headers}
        self.body = body
        self.connection = connection
        """The how manieth connection of the server it came on."""


#: Gets a request, returns status and body; may raise Hangup.
Script = Callable[[Request], Awaitable[tuple[int, bytes]]]


class HttpServer:
    """An HTTP/1.1 server that answers by a script."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.requests: list[Request] = []
        self.connections: list[asyncio.StreamWriter] = []
        self.close_after_answer = False
        self.chunked = False
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        number = len(self.connections)
        http = h11.Connection(h11.SERVER)
        head: h11.Request | None = None
        body = b""
        try:
            while True:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(await reader.read(65_536))
                elif isinstance(event, h11.Request):
                    head, body = event, b""
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    assert head is not None
                    request = Request(head, body, number)
                    self.requests.append(request)
                    status, content = await self._script(request)
                    writer.write(self._answer(http, status, content))
                    if self.close_after_answer:
                        return
                    http.start_next_cycle()
                else:
                    return
        except (Hangup, OSError):
            pass
        finally:
            writer.close()

    def _answer(self, http: h11.Connection, status: int, content: bytes) -> bytes:
        length = ("Content-Length", str(len(content)))
        headers = [] if status == 204 else [("Transfer-Encoding", "chunked")]
        if not self.chunked and status != 204:
            headers = [length]
        data = http.send(h11.Response(status_code=status, headers=headers)) or b""
        if content:
            data += http.send(h11.Data(data=content)) or b""
        return data + (http.send(h11.EndOfMessage()) or b"")


@asynccontextmanager
async def http_server(script: Script) -> AsyncIterator[HttpServer]:
    """A running HttpServer."""
    fake = HttpServer(script)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()
        for writer in fake.connections:
            writer.close()
        await server.wait_closed()
        for writer in fake.connections:
            with suppress(OSError):
                await writer.wait_closed()


# -- the stream -----------------------------------------------------------------------------------


class Peer:
    """A client's connection to a StreamSwitch."""

    def __init__(self, number: int, writer: asyncio.StreamWriter) -> None:
        self.number = number
        """The how manieth connection of the switch it is, from 1."""
        self.writer = writer
        self.sessions = 0
        self.reads = asyncio.Event()
        """Cleared, nothing is read from it."""
        self.reads.set()
        self.ended = asyncio.Event()
        self.websocket: ServerProtocol | None = None

    def send(self, *items: Any) -> None:
        """Send items as one frame."""
        frame = MSGPACK.encode(list(items))
        if self.websocket is None:
            self.writer.write(length_prefixed([frame]))
        else:
            self.websocket.send_binary(frame)
            self.writer.write(b"".join(self.websocket.data_to_send()))

    def deliver(self, message: Delivery) -> None:
        """Push a message."""
        self.send({"deliver": message})

    def cut(self) -> None:
        """Break the connection."""
        self.writer.transport.abort()


#: Returned by a hook of a StreamSwitch: the operation gets no answer.
SILENCE: Any = object()


class StreamSwitch:
    """A switch on a Unix socket, or a WebSocket, that answers everything, or as its hooks want.

    A hook gets the operation and the Peer, and returns the answer's value or SILENCE, or raises a
    refusal's fields as Refused.
    """

    def __init__(self) -> None:
        self.url = ""
        self.peers: list[Peer] = []
        self.ops: list[tuple[int, dict[str, Any]]] = []
        """Each operation with the number of its connection."""
        self.hooks: dict[str, Callable[[dict[str, Any], Peer], Any]] = {}
        self.lease = 0.0
        self._came = asyncio.Event()

    def names(self, number: int) -> list[str]:
        """The operations that came on a connection."""
        return [op["op"] for on, op in self.ops if on == number]

    def of(self, name: str) -> list[dict[str, Any]]:
        """The operations of that name."""
        return [op for _, op in self.ops if op["op"] == name]

    async def came(self, condition: Callable[[], Any]) -> None:
        """Wait until the operations that came fulfil a condition."""
        async with asyncio.timeout(30):
            while not condition():
                self._came.clear()
                await self._came.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(self.peers) + 1, writer)
        self.peers.append(peer)
        framing = LengthPrefixed()
        try:
            if self.url.startswith("http"):
                peer.websocket = ServerProtocol(subprotocols=[MSGPACK.subprotocol])  # type: ignore
            while data := await reader.read(65_536):
                if peer.websocket is not None:
                    self._read_websocket(peer, peer.websocket, data)
                    continue
                for frame in framing.receive(data):
                    assert not isinstance(frame, TooLarge)
                    self._read(peer, frame)
                await peer.reads.wait()
        except OSError:
            pass
        finally:
            peer.ended.set()
            writer.close()

    def _read_websocket(self, peer: Peer, websocket: ServerProtocol, data: bytes) -> None:
        websocket.receive_data(data)
        for event in websocket.events_received():
            if not isinstance(event, Frame):
                websocket.send_response(websocket.accept(event))  # type: ignore[arg-type]
            elif event.opcode is Opcode.BINARY:
                self._read(peer, bytes(event.data))
        peer.writer.write(b"".join(websocket.data_to_send()))

    def _read(self, peer: Peer, frame: bytes) -> None:
        ops = MSGPACK.read_anything(frame)
        for op in ops if isinstance(ops, list) else [ops]:
            self.ops.append((peer.number, op))
            try:
                value = self.hooks.get(op["op"], self._usual)(op, peer)
            except Refused as refusal:
                peer.send({"ref": op.get("ref"), "error": {"code": refusal.code, "detail": ""}})
            else:
                if value is not SILENCE and op.get("ref") is not None and not op.get("quiet"):
                    peer.send({"ref": op["ref"], "ok": value})
        self._came.set()

    def _usual(self, op: dict[str, Any], peer: Peer) -> Any:
        match op["op"]:
            case "login" | "resume":
                if peer.sessions:
                    raise Refused("invalid_request")
                peer.sessions += 1
                session = op.get("session", f"session {peer.number}")
                return LoginResult(session=session, client="c", lease=self.lease, instance=1)
            case "create_queue":
                return QueueCreated(name=op["queue"], created=True)
            case "inspect_queue":
                return queue_info(op["queue"])
            case "touch":
                return TouchResult(touched=[], unknown=[], not_held=[])
            case "send":
                return SendResult(id=1, created=True)
            case "call":
                return Response(id=2, request=1, payload="", correlation_id="1", sent_at=0.0)
        return None


class Refused(Exception):
    """Raised by a hook to refuse with a code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@asynccontextmanager
async def stream_switch(path: Any = None) -> AsyncIterator[StreamSwitch]:
    """A running StreamSwitch: on a Unix socket in the directory ``path``, or a WebSocket."""
    switch = StreamSwitch()
    if path is None:
        server = await asyncio.start_server(switch.serve, "127.0.0.1", 0)
        switch.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(switch.serve, path / "s")
        switch.url = f"unix://{path}/s"
    try:
        yield switch
    finally:
        server.close()
        for peer in switch.peers:
            peer.reads.set()
            peer.cut()
            await peer.ended.wait()
        await server.wait_closed()
