"""The transport over HTTP/1.1: which request each operation is, and a pool of connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections import deque
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import UNSET

from queues.core.errors import InvalidRequest
from queues.core.queue import check_name
from queues.protocol.operations import encode

from .connection import Answer, Connection
from .errors import BadAnswer, OutcomeUnknown, Unreachable, refusal
from .transport import Operation, OperationName

T = TypeVar("T")

PREFIX = "/api/v1/"
#: Seconds that the switch may take to answer, beside what the operation waits for.
ANSWER_TIMEOUT = 15.0
CONNECT_TIMEOUT = 5.0
#: Unused connections that are kept open.
MAX_IDLE = 100
#: The shortest lease over HTTP, in seconds; without a connection there is nothing else to last by.
MIN_LEASE = 1.0

_ROUTES: dict[OperationName, tuple[str, str]] = {
    "login": ("POST", "login"),
    "logout": ("POST", "logout"),
    "touch": ("POST", "touch"),
    "create_queue": ("PUT", "queues/{queue}"),
    "create_fresh_queue": ("POST", "queues"),
    "change_queue": ("PATCH", "queues/{queue}"),
    "destroy_queue": ("DELETE", "queues/{queue}"),
    "purge_queue": ("POST", "queues/{queue}/purge"),
    "replay_dead": ("POST", "queues/{queue}/replay"),
    "pause_queue": ("POST", "queues/{queue}/pause"),
    "resume_queue": ("POST", "queues/{queue}/resume"),
    "requeue": ("POST", "queues/{queue}/requeue"),
    "move_messages": ("POST", "queues/{queue}/move"),
    "list_queues": ("GET", "queues"),
    "inspect_queue": ("GET", "queues/{queue}"),
    "browse": ("GET", "queues/{queue}/messages"),
    "send": ("POST", "queues/{queue}/messages"),
    "send_many": ("POST", "queues/{queue}/messages"),
    "drop_message": ("DELETE", "queues/{queue}/messages/{id}"),
    "subscribe": ("PUT", "subscriptions/{queue}"),
    "unsubscribe": ("DELETE", "subscriptions/{queue}"),
    "transfer": ("POST", "transfer"),
    "ack": ("POST", "ack"),
    "nack": ("POST", "nack"),
    "explain": ("GET", "messages/{id}"),
    "reply": ("POST", "messages/{id}/reply"),
    "call": ("POST", "call/{queue}"),
    "explain_session": ("GET", "sessions/{id}"),
    "end_session": ("DELETE", "sessions/{id}"),
    "waits_for": ("GET", "waits"),
    "diagnostics": ("GET", "diagnostics"),
    "trace": ("GET", "trace"),
    "health": ("GET", "health"),
    "incident": ("GET", "incident"),
}

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


class HttpTransport:
    """Operations as HTTP requests, each on a connection of its own while it lasts.

    ``url`` is the address of the switch, ``http://host:port`` or ``https://...``, with the path
    before ``/api/v1/`` if it is served below one. Raises ValueError if it is not such a URL.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError(f"{url!r} is not a URL like http://127.0.0.1:8080.")
        self.url = url
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._prefix = parts.path.rstrip("/") + PREFIX
        self._host_header = parts.netloc.rpartition("@")[2].encode()
        self._idle: deque[Connection] = deque()
        self._closed = False

    pushes = False

    def another(self) -> HttpTransport:
        """See Transport: any session may use it."""
        return self

    async def perform(self, operation: Operation[T], token: str | None) -> T:
        """Do one operation. See Transport."""
        method, target, headers, body = self._request(operation, token)
        try:
            async with asyncio.timeout(operation.wait + ANSWER_TIMEOUT) as patience:
                answer = await self.exchange(method, target, headers, body)
        except (OSError, EOFError) as error:
            what = "did not answer in time" if patience.expired() else "broke the connection"
            raise OutcomeUnknown(
                f"{self.url} {what}; it may have done what it was asked."
            ) from error
        return _read(operation, answer, self.url)

    async def exchange(
        self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> Answer:
        """Send a request and read its answer.

        Raises Unreachable when nothing was sent; OSError or EOFError where the connection broke.
        """
        connection = await self._connection()
        try:
            return await connection.request(method, target, headers, body)
        finally:
            self._give_back(connection)

    async def close(self) -> None:
        """Close all connections that are not in use; those in use close when they are done."""
        self._closed = True
        connections = list(self._idle)
        self._idle.clear()
        await asyncio.gather(*(connection.close() for connection in connections))

    def _request(
        self, operation: Operation[Any], token: str | None
    ) -> tuple[str, str, list[tuple[bytes, bytes]], bytes]:
        method, path = _ROUTES[operation.name]
        if operation.queue is not None:
            check_name(operation.queue)
        target = self._prefix + path.format(queue=operation.queue, id=operation.id)
        headers = [(b"Host", self._host_header), (b"Accept", b"application/json")]
        if token is not None:
            headers.append((b"Authorization", b"Bearer " + token.encode()))
        form = operation.form
        if operation.name == "login" and form.lease is not UNSET and 0 <= form.lease < MIN_LEASE:
            form = msgspec.structs.replace(form, lease=MIN_LEASE)
        try:
            if method == "GET":
                return method, target + _query(form), headers, b""
            # Credit is for streams.
            empty = form is None or operation.name == "subscribe"
            body = b"" if empty else encode(form)
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                "The text has a lone surrogate, which UTF-8 cannot say."
            ) from error
        if body:
            headers.append((b"Content-Type", b"application/json"))
        headers.append((b"Content-Length", str(len(body)).encode()))
        return method, target, headers, body

    async def _connection(self) -> Connection:
        """A connection that was idle, or a new one. Raises Unreachable."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await Connection.open(self._host, self._port, self._tls)
        except OSError as error:
            raise Unreachable(f"Cannot reach {self.url}: {reason(error)}.") from error

    def _give_back(self, connection: Connection) -> None:
        while self._idle and not self._idle[0].usable:
            self._idle.popleft().abort()  # the longest idle ones, closed by the switch
        if connection.usable and not self._closed and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.abort()


def reason(error: OSError) -> str:
    """Why it failed, without the addresses that asyncio adds."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or "no answer"


def _query(form: Any) -> str:
    if form is None:
        return ""
    fields = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in msgspec.to_builtins(form).items()
        if value is not None
    }
    return "?" + urlencode(fields)


def _read(operation: Operation[T], answer: Answer, url: str) -> T:
    """The answer's value. Raises the refusal, OutcomeUnknown, BadAnswer."""
    if answer.status < 300:
        return _decode(answer.body, operation.answer, url)
    fields: Any = None
    with contextlib.suppress(msgspec.DecodeError):
        fields = msgspec.json.decode(answer.body)
    if isinstance(fields, dict) and "code" in fields:
        raise refusal(fields)
    detail = f"{url} answered {answer.status} without a code: it is not a switch"
    if answer.status in (502, 503, 504):
        # A proxy whose switch is away; it may have passed the request on or not.
        raise OutcomeUnknown(f"{detail}, maybe a proxy before one.")
    raise BadAnswer(f"{detail}.")


def _decode(body: bytes, kind: type[T], url: str) -> T:
    if kind is type(None):
        return None
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(body)  # type: ignore[no-any-return]
    except msgspec.DecodeError as error:
        raise BadAnswer(f"{url} answered in a form not known here: {error}.") from error
