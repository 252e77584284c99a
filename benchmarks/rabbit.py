"""RabbitMQ as a control of what survives: durable queues, persistent messages, confirmed sends."""

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
REPLIES = "amq.rabbitmq.reply-to"


async def _channel(url: str, *, confirms: bool = True) -> Any:
    import aio_pika

    return await (await aio_pika.connect(url)).channel(publisher_confirms=confirms)


async def serve(url: str) -> None:
    """Answer requests until terminated: they survive, replies do not."""
    from aio_pika import Message

    channel = await _channel(url)
    await channel.set_qos(prefetch_count=100)
    queue = await channel.declare_queue(REQUESTS, durable=True)
    replies = (await _channel(url, confirms=False)).default_exchange

    async def answer(message: Any) -> None:
        reply = Message(message.body, correlation_id=message.correlation_id)
        await replies.publish(reply, message.reply_to, mandatory=False)
        await message.ack()

    await queue.consume(answer)
    ready()
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def caller(url: str) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """A function that calls the service, any number of times at once."""
    from aio_pika import DeliveryMode, Message

    channel = await _channel(url)
    numbers = itertools.count()
    calls: dict[str, asyncio.Future[bytes]] = {}

    def answered(message: Any) -> None:
        calls.pop(message.correlation_id).set_result(message.body)

    await (await channel.get_queue(REPLIES, ensure=False)).consume(answered, no_ack=True)

    async def call(payload: str) -> str:
        number = str(next(numbers))
        calls[number] = asyncio.get_running_loop().create_future()
        answer = calls[number]
        request = Message(
            payload.encode(),
            correlation_id=number,
            reply_to=REPLIES,
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        await channel.default_exchange.publish(request, REQUESTS, mandatory=False)
        return (await asyncio.wait_for(answer, TIMEOUT)).decode()

    yield call


@contextlib.asynccontextmanager
async def sender(url: str) -> AsyncIterator[Callable[[str], Awaitable[object]]]:
    """A function that sends to an empty queue; its answer says that the message is safe."""
    from aio_pika import DeliveryMode, Message

    channel = await _channel(url)
    await (await channel.declare_queue(SENT, durable=True)).purge()

    async def send(payload: str) -> None:
        message = Message(payload.encode(), delivery_mode=DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, SENT, mandatory=False)

    yield send
