"""NATS JetStream as a control: of what survives, with messages in a file that is synced before the
answer, and of sending, with messages in memory."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from .child import ready

#: Seconds that a call may take.
TIMEOUT = 10.0
REQUESTS = "requests"
SENT = "sent"


async def _stream(connection: Any, name: str, storage: str) -> Any:
    """An empty queue."""
    from nats.js.api import RetentionPolicy, StorageType
    from nats.js.errors import NotFoundError

    stream = connection.jetstream()
    with contextlib.suppress(NotFoundError):
        await stream.delete_stream(name)
    await stream.add_stream(
        name=name,
        subjects=[name],
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType(storage),
    )
    return stream


async def serve(url: str) -> None:
    """Answer requests until terminated: they survive, replies do not."""
    import nats

    connection = await nats.connect(url)
    stream = await _stream(connection, REQUESTS, "file")

    async def answer(message: Any) -> None:
        await connection.publish(message.headers["Reply"], message.data)
        await message.ack()

    await stream.subscribe(REQUESTS, queue="workers", cb=answer, manual_ack=True)
    await connection.flush()
    ready()
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def caller(url: str) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """A function that calls the service, any number of times at once."""
    import nats

    connection = await nats.connect(url)
    stream = connection.jetstream()
    inbox = connection.new_inbox()
    numbers = itertools.count()
    calls: dict[str, asyncio.Future[bytes]] = {}

    async def answered(message: Any) -> None:
        calls.pop(message.subject).set_result(message.data)

    await connection.subscribe(f"{inbox}.*", cb=answered)

    async def call(payload: str) -> str:
        subject = f"{inbox}.{next(numbers)}"
        calls[subject] = asyncio.get_running_loop().create_future()
        answer = calls[subject]
        await stream.publish(REQUESTS, payload.encode(), headers={"Reply": subject})
        return (await asyncio.wait_for(answer, TIMEOUT)).decode()

    yield call
    await connection.close()


@contextlib.asynccontextmanager
async def sender(
    url: str, name: str = SENT, storage: str = "file"
) -> AsyncIterator[Callable[[str], Awaitable[object]]]:
    """A function that sends to an empty queue, and waits for the answer that it is kept."""
    import nats

    connection = await nats.connect(url)
    stream = await _stream(connection, name, storage)

    async def send(payload: str) -> None:
        await stream.publish(name, payload.encode())

    yield send
    await connection.close()
