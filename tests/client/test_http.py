import asyncio
import json
import socket
import ssl
from typing import get_args
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from msgspec import UNSET

from queues.client import http
from queues.client.errors import BadAnswer, CallTimeout, OutcomeUnknown, Unreachable
from queues.client.http import HttpTransport
from queues.client.transport import Operation, OperationName
from queues.core.answers import AckResult, LoginResult, MessageList, QueueList, SendResult
from queues.core.errors import InvalidName, InvalidRequest, QueueFull
from queues.protocol import operations as forms
from queues.protocol.frames import OPERATIONS

from .fakes import Hangup, Request, http_server

SENT = b'{"id": 5, "created": true}'
SEND = Operation(
    name="send",
    answer=SendResult,
    queue="q",
    form=forms.Send(payload="hello"),
    repeatable=False,
)
ACK = Operation(name="ack", answer=AckResult, form=forms.Ack(ids=[1]))
ACKED = b'{"acked": [1], "unknown": [], "not_held": []}'


def answering(status: int, body: bytes):
    async def script(request: Request) -> tuple[int, bytes]:
        return status, body

    return script


async def test_a_request_and_its_answer():
    async with http_server(answering(201, SENT)) as server:
        transport = HttpTransport(server.url)
        assert await transport.perform(SEND, "secret") == SendResult(id=5, created=True)
        (request,) = server.requests
        assert (request.method, request.target) == ("POST", "/api/v1/queues/q/messages")
        assert request.headers["authorization"] == "Bearer secret"
        assert request.headers["content-type"] == "application/json"
        assert f"http://{request.headers['host']}" == server.url
        assert msgspec.json.decode(request.body)["payload"] == "hello"
        await transport.close()


@pytest.mark.parametrize(("lease", "sent"), [(0.0, 1), (0.5, 1), (1.5, 1.5), (UNSET, None)])
async def test_a_lease_is_as_long_as_http_needs(lease, sent):
    body = b'{"session": "s", "client": "c", "lease": 1.0, "instance": 1}'
    async with http_server(answering(200, body)) as server:
        transport = HttpTransport(server.url)
        form = forms.Login(client="c", lease=lease)
        await transport.perform(Operation(name="login", answer=LoginResult, form=form), None)
        await transport.close()
        assert json.loads(server.requests[0].body).get("lease") == sent


async def test_without_a_session_there_is_no_token():
    async with http_server(answering(201, SENT)) as server:
        transport = HttpTransport(server.url)
        await transport.perform(SEND, None)
        assert "authorization" not in server.requests[0].headers
        await transport.close()


async def test_a_get_has_its_form_in_the_query():
    async with http_server(answering(200, b'{"queues": [], "next": null}')) as server:
        transport = HttpTransport(server.url + "/switch/")
        form = forms.QueuePage(prefix="a+b", alive=True)
        await transport.perform(Operation(name="list_queues", answer=QueueList, form=form), None)
        target = urlsplit(server.requests[0].target)
        assert target.path == "/switch/api/v1/queues"
        fields = {name: values[0] for name, values in parse_qs(target.query).items()}
        assert fields == {"prefix": "a+b", "alive": "true"}  # the rest has its default
        # And it is read as what it was.
        assert forms.decode_query(target.query, forms.QueuePage) == form
        await transport.close()


async def test_nothing_is_answered_by_nothing():
    async with http_server(answering(204, b"")) as server:
        transport = HttpTransport(server.url)
        assert await transport.perform(Operation(name="logout", answer=type(None)), "t") is None
        await transport.close()


async def test_refusals_have_their_class():
    body = b'{"code": "queue_full", "detail": "q is full.", "retry_after": 3}'
    async with http_server(answering(429, body)) as server:
        transport = HttpTransport(server.url)
        with pytest.raises(QueueFull, match="q is full") as caught:
            await transport.perform(SEND, None)
        assert caught.value.extra["retry_after"] == 3
        await transport.close()


async def test_a_timeout_of_a_proxy_is_not_one_of_the_switch():
    timeout = b'{"code": "timeout", "detail": "No reply."}'
    for body, kind in ((timeout, CallTimeout), (b"<html>", OutcomeUnknown)):
        async with http_server(answering(504, body)) as server:
            transport = HttpTransport(server.url)
            with pytest.raises(kind):
                await transport.perform(SEND, None)
            await transport.close()


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"not here"), (500, b"[]"), (200, b"<html>"), (200, b'{"id": "five"}')],
)
async def test_what_is_no_switch(status, body):
    async with http_server(answering(status, body)) as server:
        transport = HttpTransport(server.url)
        with pytest.raises(BadAnswer, match=server.url):
            await transport.perform(SEND, None)
        await transport.close()


async def test_connections_are_kept_and_shared():
    async with http_server(answering(201, SENT)) as server:
        transport = HttpTransport(server.url)
        for _ in range(3):
            await asyncio.gather(*(transport.perform(SEND, None) for _ in range(5)))
        assert len(server.connections) == 5
        await transport.close()


async def test_a_connection_that_was_closed_while_idle_is_replaced():
    async with http_server(answering(201, SENT)) as server:
        transport = HttpTransport(server.url)
        for _ in range(3):
            await transport.perform(SEND, None)
            # At once, so that only the kernel knows when the next request begins.
            server.connections[-1].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        assert len(server.connections) == 3
        await transport.close()


@pytest.mark.parametrize("operation", [SEND, ACK])
@pytest.mark.parametrize("earlier", [0, 1])
async def test_the_outcome_is_unknown_when_the_connection_breaks(operation, earlier):
    """On a new connection or a kept one; to repeat it is up to the session."""

    async def script(request: Request) -> tuple[int, bytes]:
        if len(server.requests) > earlier:
            raise Hangup
        return 200, ACKED

    async with http_server(script) as server:
        transport = HttpTransport(server.url)
        for _ in range(earlier):
            await transport.perform(ACK, "t")
        with pytest.raises(OutcomeUnknown):
            await transport.perform(operation, "t")
        assert len(server.requests) == earlier + 1
        assert len(server.connections) == 1
        await transport.close()


async def test_a_switch_that_says_nothing(monkeypatch):
    monkeypatch.setattr(http, "ANSWER_TIMEOUT", 0.05)
    released = asyncio.Event()

    async def script(request: Request) -> tuple[int, bytes]:
        await released.wait()
        return 201, SENT

    async with http_server(script) as server:
        transport = HttpTransport(server.url)
        with pytest.raises(OutcomeUnknown, match="did not answer in time"):
            await transport.perform(SEND, None)
        released.set()
        await transport.close()


async def test_nobody_there():
    async with http_server(answering(201, SENT)) as server:
        pass
    transport = HttpTransport(server.url)
    with pytest.raises(Unreachable, match=f"Cannot reach {server.url}: Connection refused"):
        await transport.perform(SEND, None)
    await transport.close()


async def test_no_such_host():
    transport = HttpTransport("http://switch.invalid")
    with pytest.raises(Unreachable, match=r"switch\.invalid"):
        await transport.perform(SEND, None)


async def test_what_cannot_be_sent_is_refused_here():
    transport = HttpTransport("http://127.0.0.1:1")
    with pytest.raises(InvalidRequest, match="surrogate"):
        await transport.perform(
            Operation(name="send", answer=SendResult, queue="q", form=forms.Send(payload="\ud800")),
            None,
        )
    for name in ("", "..", "a/b", "ü"):
        with pytest.raises(InvalidName):
            await transport.perform(
                Operation(name="destroy_queue", answer=type(None), queue=name), None
            )


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://x", "http://", "http://x?y"])
def test_what_is_no_url(url):
    with pytest.raises(ValueError, match="URL"):
        HttpTransport(url)


def test_https_verifies_the_server():
    tls = HttpTransport("https://switch.example")._tls
    assert tls is not None
    assert tls.verify_mode is ssl.CERT_REQUIRED
    assert tls.check_hostname


async def test_what_cannot_be_asked_for_is_refused_here():
    transport = HttpTransport("http://127.0.0.1:1")
    form = forms.MessagePage(search="\ud800")
    with pytest.raises(InvalidRequest, match="surrogate"):
        await transport.perform(
            Operation(name="browse", answer=MessageList, queue="q", form=form), None
        )


def test_every_operation_has_its_request():
    assert set(http._ROUTES) == set(get_args(OperationName)) - {"resume"}  # that is for streams
    assert set(get_args(OperationName)) <= set(OPERATIONS)


async def test_connections_that_the_switch_closed_are_not_kept():
    async with http_server(answering(201, SENT)) as server:
        transport = HttpTransport(server.url)
        await asyncio.gather(*(transport.perform(SEND, None) for _ in range(5)))
        assert len(transport._idle) == 5
        # All but the one that the next request takes.
        last = transport._idle[-1]
        own = last._writer.get_extra_info("sockname")
        for writer in server.connections:
            if writer.get_extra_info("peername") != own:
                writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        await transport.perform(SEND, None)
        assert list(transport._idle) == [last]
        await transport.close()
