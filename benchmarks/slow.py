"""Clients that do not read: what the server keeps for them, and what the others notice.

*Consumer*: it stops reading while 1 GB in messages of 100 kB, ten at a time, is offered to its
queue of 576; a send that finds the queue full is dropped. *Elsewhere*: the same is sent to a
process that has nothing to do with the switch, which shows what others lose to any work beside
them. *Requests*: 10,000 operations with answers of 1 MB, of which none is read. *Calls*: the same
for calls that a service answers.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from statistics import median
from types import TracebackType
from typing import Any, Self

from queues.client import AsyncClient, Delivery

from .child import ready
from .harness import (
    Noise,
    Options,
    Processes,
    blaming,
    free_port,
    judged,
    middle,
    progress,
    resident,
    table,
)
from .rpc import Contender, Lane
from .servers import Running, daphne, on_unix_socket, uvicorn
from .wire import Wire

CALLERS = 16
#: Most bytes of growth beside the queue's own, and least part of the RPC/s left to others.
MOST_GROWTH = 64 * 2**20
LEAST_RATE = 0.8

MESSAGE = 100_000
LENGTH = 576
OFFERED = 10**9
#: Bytes offered in a second,
PACE = 50_000_000
#: and messages at a time.
AT_ONCE = 10
_PAYLOAD = "x" * MESSAGE
ANSWER = 1_000_000
REQUESTS = 10_000
#: Longer than the switch waits for a client that does not read.
SECONDS = 14.0

CONTENDERS = [
    Contender("Unix socket, Daphne", "stream", partial(on_unix_socket, server="daphne")),
    Contender("WebSocket, Daphne", "stream", daphne),
    Contender("WebSocket, uvicorn", "stream", uvicorn),
]
#: What each kind of client is allowed to fill: the messages that it asked the switch to keep.
KINDS = {
    "consumer": LENGTH * MESSAGE,
    "elsewhere": 0,
    "requests": ANSWER,
    "calls": 0,
}


def run(options: Options) -> None:
    """Measure and print the table."""
    noise = Noise()
    rounds = max(1, options.rounds // 2)
    rows = []
    for contender in CONTENDERS:
        if not options.wants(contender.name):
            continue
        for kind, own in KINDS.items():
            growths, rates, ends = [], [], []
            for number in range(rounds):
                progress(f"slow, round {number + 1}: {contender.name}, {kind}")
                with blaming(f"{contender.name}, {kind}"), Processes() as processes:
                    lane = Lane(contender, processes)
                    growth, rate, end = _measure(processes, lane, kind, noise, number, options)
                growths.append(growth - own)
                rates.append(rate)
                ends.append(end)
            small = max(growths) <= MOST_GROWTH
            fast = kind == "elsewhere" or median(rates) >= LEAST_RATE
            rows.append(
                [
                    f"{contender.name}: {kind}",
                    judged(middle((growth / 2**20 for growth in growths), ".0f"), good=small),
                    judged(middle(rates, ".2f"), good=fast),
                    "; ".join(dict.fromkeys(ends)),
                ]
            )
    progress("")
    head = [
        "",
        f"MiB more than its own (at most {MOST_GROWTH // 2**20})",
        f"RPC/s of others, by without (at least {LEAST_RATE})",
        "in the end",
    ]
    table(f"One client that does not read, beside {CALLERS} callers ({rounds} rounds)", head, rows)
    noise.show({})


def _measure(
    processes: Processes, lane: Lane, kind: str, noise: Noise, number: int, options: Options
) -> tuple[int, float, str]:
    """Growth of the server in bytes, RPC/s of others by that without, and how the client ended."""
    server = lane.broker
    assert server is not None
    url = server.url.replace("http://", "ws://", 1)
    if kind == "calls":
        processes.start_child("slow:answer", url=server.url)
    elif kind == "elsewhere":
        port = free_port()
        processes.start_child("slow:discard", port=port)
        url = f"tcp://127.0.0.1:{port}"

    def rate() -> float:
        reading = lane.measure(CALLERS, options.seconds)
        noise.add(number, reading)
        return float(reading["rate"])

    rate()
    without = [rate(), rate()]
    during = []
    with Peak(server) as peak:
        client = processes.start_child(f"slow:{kind}", may_end=True, url=url)
        while client.poll() is None:
            during.append(rate())
        end = processes.finish(client)
    without += [rate(), rate()]
    # In the last window the client had ended.
    return peak.growth, median(during[:-1] or during) / median(without), end


class Peak:
    """How much more memory a server has at the most than at the start."""

    def __init__(self, server: Running) -> None:
        self._pid = server.pid
        self._before = resident(server.pid)
        self._most = self._before
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._most = max(self._most, resident(self._pid))

    @property
    def growth(self) -> int:
        """Bytes."""
        return self._most - self._before


# -- the clients ----------------------------------------------------------------------------------


async def consumer(url: str) -> str:
    """Subscribe and stop reading, while somebody sends."""
    sender = await Wire.open(url)
    stalled = await Wire.open(url)
    await stalled.ask("create_queue", queue="slow", policy={"max_length": LENGTH})
    await stalled.ask("login", client="consumer")
    await stalled.ask("subscribe", queue="slow", credit=10_000)
    ready()
    outcomes = await _offer(sender)
    return f"{await _end(stalled)}, {outcomes}"


async def elsewhere(url: str) -> str:
    """Send to somebody who does not answer."""
    sender = await Wire.open(url)
    ready()
    async for refs in _paced():
        await _send(sender, refs)
    return f"{OFFERED // MESSAGE} sent"


async def discard(port: int) -> None:
    """Read what comes, and do nothing with it."""
    await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", port)
    ready()
    await asyncio.Event().wait()


async def _offer(sender: Wire) -> str:
    """Send it all; how many were taken."""
    outcomes: dict[str, int] = {}
    async for refs in _paced():
        await _send(sender, refs)
        left = set(refs)
        while left:
            for item in await sender.read():
                if "ref" not in item:
                    continue
                left.remove(item["ref"])
                outcome = "ok" if "error" not in item else str(item["error"]["code"])
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert set(outcomes) <= {"ok", "queue_full"}, outcomes
    return f"{outcomes['ok']} sent, {outcomes.get('queue_full', 0)} dropped"


async def _paced() -> AsyncIterator[range]:
    """The numbers of the messages, those to send now each time."""
    began = time.monotonic()
    for first in range(0, OFFERED // MESSAGE, AT_ONCE):
        await asyncio.sleep(max(0.0, began + first * MESSAGE / PACE - time.monotonic()))
        yield range(first, first + AT_ONCE)


async def _send(sender: Wire, refs: range) -> None:
    for ref in refs:
        sender.say("send", ref=ref, queue="slow", payload=_PAYLOAD)
    await sender.writer.drain()


async def requests(url: str) -> str:
    """Ask for a large message again and again, and read no answer."""
    wire = await Wire.open(url)
    await wire.ask("create_queue", queue="large")
    id = (await wire.ask("send", queue="large", payload="x" * ANSWER))["id"]
    return await _flood(url, lambda wire, ref: wire.say("explain", ref=ref, id=id))


async def calls(url: str) -> str:
    """Call a service that answers much, and read no answer."""
    return await _flood(
        url, lambda wire, ref: wire.say("call", ref=ref, queue="large", payload="", timeout=5.0)
    )


async def _flood(url: str, say: Callable[[Wire, int], None]) -> str:
    wire = await Wire.open(url)
    await wire.ask("login", client="stalled")
    ready()
    end = time.monotonic() + SECONDS
    for ref in range(1_000, 1_000 + REQUESTS):
        say(wire, ref)
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + SECONDS):
            await wire.writer.drain()
    except (OSError, TimeoutError):
        pass
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    return await _end(wire)


async def _end(wire: Wire) -> str:
    """Read at last; say whether the switch had cut the connection."""
    try:
        async with asyncio.timeout(10):
            while True:
                await wire.read()
    except (OSError, EOFError, AssertionError):
        return "cut off"
    except TimeoutError:
        return "not cut off"


async def answer(url: str) -> None:
    """A service whose answers are large."""

    async def large(request: Delivery) -> Any:
        return "x" * ANSWER

    async with AsyncClient(url) as client:
        serving = asyncio.create_task(client.serve("large", large, concurrency=16))
        reply = await client.call("large", "", wait_for_server=True)
        assert len(reply.payload) == ANSWER
        ready()
        await serving
