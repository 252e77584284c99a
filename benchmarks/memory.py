"""Memory of the server: by message queued, by idle WebSocket, and after everything has gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .child import ready
from .harness import Options, Processes, judged, progress, settled, table
from .servers import Running, daphne, on_unix_socket, on_websocket, uvicorn
from .wire import Wire

SIZE = 100
QUEUE = "bench"
BATCH = 1_000
MANY = 1_000_000
FEW = 300_000
#: Batches under way.
WINDOW = 4
IDLE = 1_000
PER_MESSAGE = 600
PER_WEBSOCKET = 40_000
REMAINDER = 1.05


def run(options: Options) -> None:
    """Measure once, in processes of its own, and print the tables."""
    with Processes() as processes:
        _messages(processes, FEW if options.quick else MANY)
    rows = []
    servers: dict[str, Callable[[Processes], Running]] = {"Daphne": daphne, "uvicorn": uvicorn}
    for name, start in servers.items():
        for login in (False, True):
            progress(f"memory: WebSockets under {name}")
            with Processes() as processes:
                bytes_each = _websockets(processes, on_websocket(start(processes)), login=login)
            what = "logged in, subscribed" if login else "just connected"
            figure = judged(f"{bytes_each:,.0f}", good=bytes_each <= PER_WEBSOCKET)
            rows.append([f"{name}, {what}", figure])
    progress("")
    table(f"{IDLE:,} idle WebSockets", ["", f"bytes of RSS each (at most {PER_WEBSOCKET:,})"], rows)


# -- messages -------------------------------------------------------------------------------------


def _messages(processes: Processes, count: int) -> None:
    server = on_unix_socket(processes, "daphne")
    url, pid = server.url, server.pid
    rounds = []
    processes.run("memory:create", url=url, count=count)
    for _ in range(2):
        # The same of small size first: what the server needs at all is not of these messages.
        processes.run("memory:fill", url=url, count=10 * BATCH)
        processes.run("memory:drain", url=url, count=10 * BATCH)
        before = settled(pid)
        progress(f"memory: sending {count:,} messages")
        processes.run("memory:fill", url=url, count=count)
        full = settled(pid)
        progress(f"memory: receiving {count:,} messages")
        processes.run("memory:drain", url=url, count=count)
        rounds.append((before, full, settled(pid)))
    progress("")
    per_message = (rounds[0][1] - rounds[0][0]) / count
    remainder = rounds[1][2] / rounds[0][2]
    table(
        f"{count:,} messages of {SIZE} bytes, RSS in MB",
        ["", "before", "full", "after"],
        [
            [f"fill and drain {i + 1}", *(f"{each / 1e6:,.1f}" for each in figures)]
            for i, figures in enumerate(rounds)
        ],
    )
    figure = judged(f"{per_message:.0f}", good=per_message <= PER_MESSAGE)
    print(f"  bytes by message: {figure} (at most {PER_MESSAGE})")
    # What is left of few messages goes up and down with the pieces that memory falls into.
    figure = judged(f"{remainder:.3f}", good=remainder <= REMAINDER or count < MANY)
    print(f"  after the second by after the first: {figure} (at most {REMAINDER} with {MANY:,})")


async def create(url: str, count: int) -> None:
    """Make the queue."""
    wire = await Wire.open(url)
    await wire.ask("create_queue", queue=QUEUE, policy={"max_length": count})


async def fill(url: str, count: int) -> None:
    """Send messages, a batch at a time."""
    wire = await Wire.open(url)
    messages = [{"payload": "x" * SIZE}] * BATCH
    sent = answered = 0
    while answered < count:
        while sent < count and sent - answered < WINDOW * BATCH:
            wire.say("send_many", ref=sent, queue=QUEUE, messages=messages)
            sent += BATCH
        for item in await wire.read():
            if "ref" in item:
                assert all(outcome["created"] for outcome in item["ok"]), item
                answered += BATCH


async def drain(url: str, count: int) -> None:
    """Receive and ack messages, a batch at a time."""
    wire = await Wire.open(url)
    await wire.ask("login", client="drain")
    await wire.ask("subscribe", queue=QUEUE, credit=0)
    received = 0
    while received < count:
        messages = (await wire.ask("transfer", limit=BATCH))["messages"]
        assert messages, f"{received} of {count} messages are there"
        assert all(message["payload"] == "x" * SIZE for message in messages)
        acked = (await wire.ask("ack", ids=[message["id"] for message in messages]))["acked"]
        received += len(acked)
    left = await wire.ask("inspect_queue", queue=QUEUE)
    assert (received, left["ready"], left["held"]) == (count, 0, 0), left


# -- WebSockets -----------------------------------------------------------------------------------


def _websockets(processes: Processes, server: Running, *, login: bool) -> float:
    before = 0
    for count in (IDLE // 10, IDLE):  # the first ones bring in code and tables
        before = settled(server.pid)
        child = processes.start_child("memory:idle", url=server.url, count=count, login=login)
        after = settled(server.pid)
        processes.check()
        processes.stop(child)
    return (after - before) / IDLE


async def idle(url: str, count: int, *, login: bool) -> None:
    """Open WebSockets and leave them."""
    wires = []
    for i in range(count):
        wire = await Wire.open(url)
        if login:
            await wire.ask("login", client=f"idle {i}")
            await wire.ask("create_queue", queue=QUEUE)
            await wire.ask("subscribe", queue=QUEUE)
        wires.append(wire)
    ready()
    await asyncio.Event().wait()
