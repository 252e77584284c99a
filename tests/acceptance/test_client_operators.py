"""What an operator does with the client, over every transport."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from queues.client import AsyncClient, Client, NoServer, QueueFull, Send
from queues.client.http import HttpTransport
from queues.core.errors import QueueNotFound, SessionNotFound

from .conftest import Server


@pytest.fixture(params=["http", "websocket", "unix", "tcp"])
async def client(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[AsyncClient]:
    """A client over each transport."""
    kind: str = request.param
    if kind == "http":
        made = AsyncClient(transport=HttpTransport(server.url), name=f"operator {kind}")
    else:
        url = server.urls[["websocket", "unix", "tcp"].index(kind)]
        made = AsyncClient(url, name=f"operator {kind}")
    async with made:
        yield made


@pytest.fixture
async def queue(client: AsyncClient) -> AsyncIterator[str]:
    """A queue that the client consumes."""
    name = client.name.replace(" ", ".")
    await client.create(name, max_length=5)
    await client.subscribe(name)
    yield name
    await client.destroy(name)


async def test_pausing_moving_and_taking_back(client: AsyncClient, queue: str):
    outcomes = await client.send_many(
        queue, [Send(payload=word) for word in ("a cup of tea", "rum", "tea")]
    )
    ids = [outcome.id for outcome in outcomes]
    message = await client.receive()
    assert message is not None
    assert message.id == ids[0]
    assert (await client.requeue(queue)).requeued == 1
    paused = await client.pause(queue)
    assert (paused.paused, paused.verdict.code, paused.ready) == (True, "paused", 3)
    assert await client.receive(timeout=0) is None
    assert not (await client.resume(queue)).paused
    assert [m.id for m in (await client.browse(queue, search="tea")).messages] == [ids[0], ids[2]]
    await client.create(f"{queue}.later")
    moved = await client.move(queue, f"{queue}.later", ids[:2])
    assert (moved.moved, moved.not_movable) == (2, 0)
    moved = await client.move(f"{queue}.later", queue, state="ready")
    assert moved.moved == 2
    with pytest.raises(QueueNotFound):
        await client.move(queue, "nowhere")
    assert (await client.requeue(queue, ids)).not_held == 3


async def test_a_refusal_has_its_verdict(client: AsyncClient, queue: str):
    await client.send_many(queue, [Send(payload="x")] * 5)
    with pytest.raises(QueueFull, match="is full: it holds 5 messages") as full:
        await client.send(queue, "x")
    assert full.value.verdict is not None
    assert full.value.verdict.evidence["max_length"] == 5
    await client.purge(queue)
    await client.unsubscribe(queue)
    with pytest.raises(NoServer, match=f"{client.name}, left") as left:
        await client.call(queue, "x")
    assert left.value.verdict is not None
    assert left.value.verdict.code == "server_left"


async def test_who_waits_and_how_the_switch_is(client: AsyncClient, queue: str):
    call = asyncio.create_task(client.call(queue, "x", timeout=60))
    message = await client.receive()
    assert message is not None
    graph = await client.waits_for()
    server = next(n for n in graph.nodes if n.kind == "server" and n.label == client.name)
    assert server.session is not None
    assert message.id in [edge.message for edge in graph.edges if edge.target == server.key]
    session = await client.session(server.session)
    assert (session.client, session.verdict.code) == (client.name, "working")
    assert [held.id for held in session.holding] == [message.id]
    await client.reply(message.id, "y")
    assert (await call).payload == "y"
    health = await client.health()
    assert health.memory is not None
    assert health.started_at < health.now


async def test_a_session_that_an_operator_ends_is_begun_anew(
    client: AsyncClient, queue: str, server: Server
):
    await client.send(queue, "x")
    assert await client.receive() is not None
    async with AsyncClient(server.unix_url, name="chief") as chief:
        known = {s.client: s.id for s in (await chief.diagnostics()).sessions}
        await chief.end_session(known[client.name])
        with pytest.raises(SessionNotFound):
            await chief.end_session(known[client.name])
        with pytest.raises(SessionNotFound):
            await chief.session(known[client.name])
    again = await client.receive(timeout=20)
    assert again is not None
    assert (again.payload, again.delivery_count) == ("x", 2)
    await client.ack(again.id)


def test_the_blocking_client_does_it_too(server: Server):
    with Client(server.url) as client:
        client.create("blocking.a")
        client.create("blocking.b")
        sent = client.send("blocking.a", "x")
        assert client.pause("blocking.a").paused
        assert client.move("blocking.a", "blocking.b").moved == 1
        assert client.browse("blocking.b", search="x").messages[0].id == sent.id
        assert client.requeue("blocking.b").requeued == 0
        assert not client.resume("blocking.a").paused
        ids = [session.id for session in client.diagnostics().sessions]
        assert client.session(ids[0]).id == ids[0]
        assert client.waits_for().left_out == 0
        assert client.health().version
        with pytest.raises(SessionNotFound):
            client.end_session(1)
