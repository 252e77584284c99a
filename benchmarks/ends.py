"""The two ends of an RPC, by what they speak.

``http`` and ``stream`` are the public client, kept to plain requests and left its choice; ``stock``
is the seven requests of an RPC by low-level operations; the others are controls.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from queues.client import AsyncClient, Delivery
from queues.client.http import HttpTransport

from . import direct, jetstream, rabbit
from .child import ready
from .raw import Connection

QUEUE = "bench"
#: Seconds that a call may take.
TIMEOUT = 10.0
#: Requests that a service works on at once.
CONCURRENCY = 256
#: Workers of the service that has a connection for each.
WORKERS = 16

Call = Callable[[str], Awaitable[str]]


def client(kind: str, url: str) -> AsyncClient:
    """The public client; over ``http`` it is kept to plain requests."""
    return AsyncClient(transport=HttpTransport(url)) if kind == "http" else AsyncClient(url)


async def serve(kind: str, url: str) -> None:
    """Answer requests until terminated."""
    others = {
        "stock": _serve_stock,
        "nats": _serve_nats,
        "direct": _serve_direct,
        "jetstream": jetstream.serve,
        "rabbit": rabbit.serve,
    }
    await others.get(kind, lambda url: _serve_switch(kind, url))(url)


def caller(kind: str, url: str) -> contextlib.AbstractAsyncContextManager[Call]:
    """A function that calls the service, any number of times at once."""
    others = {
        "stock": _call_stock,
        "nats": _call_nats,
        "direct": _call_direct,
        "jetstream": jetstream.caller,
        "rabbit": rabbit.caller,
    }
    return others.get(kind, lambda url: _call_switch(kind, url))(url)


# -- the switch -----------------------------------------------------------------------------------


async def _serve_switch(kind: str, url: str) -> None:
    async def echo(request: Delivery) -> str:
        return request.payload

    async with client(kind, url) as end:
        serving = asyncio.create_task(end.serve(QUEUE, echo, concurrency=CONCURRENCY))
        assert (await end.call(QUEUE, "ready?", wait_for_server=True)).payload == "ready?"
        assert end._transport.pushes is (kind == "stream"), "it fell back to HTTP"
        ready()
        await serving


@contextlib.asynccontextmanager
async def _call_switch(kind: str, url: str) -> AsyncIterator[Call]:
    async with client(kind, url) as end:

        async def call(payload: str) -> str:
            return (await end.call(QUEUE, payload, timeout=TIMEOUT)).payload

        yield call


# -- stock views ----------------------------------------------------------------------------------


async def _stock_connection(url: str, name: str) -> Connection:
    connection = await Connection.open(url)
    login = await connection.request("POST", "/stock/login", {"client": name})
    connection.token = login["session"]
    return connection


async def _serve_stock(url: str) -> None:
    first = await _stock_connection(url, "service")
    await first.request("PUT", f"/stock/queues/{QUEUE}")
    await first.request("PUT", f"/stock/subscriptions/{QUEUE}")

    async def work() -> None:
        connection = await Connection.open(url)
        connection.token = first.token
        while True:
            request = {"timeout": TIMEOUT, "limit": 1}
            for message in (await connection.request("POST", "/stock/transfer", request))[
                "messages"
            ]:
                await connection.request(
                    "POST",
                    f"/stock/queues/{message['reply_to']}/messages",
                    {"payload": message["payload"], "correlation_id": message["correlation_id"]},
                )
                await connection.request("POST", "/stock/ack", {"ids": [message["id"]]})

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(work())
        ready()


@contextlib.asynccontextmanager
async def _call_stock(url: str) -> AsyncIterator[Call]:
    idle: list[tuple[Connection, str]] = []
    numbers = itertools.count()

    async def call(payload: str) -> str:
        if idle:
            connection, queue = idle.pop()
        else:
            queue = f"replies.{next(numbers)}"
            connection = await _stock_connection(url, queue)
            await connection.request("PUT", f"/stock/queues/{queue}")
        correlation = str(next(numbers))
        await connection.request("PUT", f"/stock/subscriptions/{queue}")
        await connection.request(
            "POST",
            f"/stock/queues/{QUEUE}/messages",
            {"payload": payload, "reply_to": queue, "correlation_id": correlation},
        )
        received = await connection.request(
            "POST", "/stock/transfer", {"timeout": TIMEOUT, "limit": 1}
        )
        (reply,) = received["messages"]
        assert reply["correlation_id"] == correlation, (reply, correlation)
        await connection.request("POST", "/stock/ack", {"ids": [reply["id"]]})
        idle.append((connection, queue))
        return str(reply["payload"])

    yield call


# -- controls -------------------------------------------------------------------------------------


async def _serve_nats(url: str) -> None:
    import nats

    connection = await nats.connect(url)

    async def respond(message: Any) -> None:
        await message.respond(message.data)

    await connection.subscribe(QUEUE, queue="workers", cb=respond)
    await connection.flush()
    ready()
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _call_nats(url: str) -> AsyncIterator[Call]:
    import nats

    connection = await nats.connect(url)

    async def call(payload: str) -> str:
        answer = await connection.request(QUEUE, payload.encode(), timeout=TIMEOUT)
        return str(answer.data.decode())

    yield call
    await connection.close()


async def _serve_direct(port: str) -> None:
    server = await direct.listen(int(port))
    ready()
    await server.serve_forever()


@contextlib.asynccontextmanager
async def _call_direct(port: str) -> AsyncIterator[Call]:
    send = await direct.connect(int(port))

    async def call(payload: str) -> str:
        return (await send(payload.encode())).decode()

    yield call
