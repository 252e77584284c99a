"""HTTP: an RPC of two requests against one of seven by stock views, and what the handler saves."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from statistics import median
from typing import Any

from .harness import Meter, Noise, Options, Processes, judged, middle, progress, ratios, table
from .raw import Connection
from .rpc import SIZE, Contender, Lane
from .servers import Running, daphne

CALLERS = 16
#: How many times the RPC/s of the seven requests the two must reach.
BOUND = 5.0

stock = partial(daphne, application="benchmarks.stock:application")
TWO = Contender("two requests, this project", "http", daphne)
SEVEN = Contender("seven requests, stock views", "stock", stock)


def run(options: Options) -> None:
    """Measure and print the tables."""
    noise = Noise()
    sends: dict[str, list[float]] = {"lean handler": [], "Django's handler": []}
    with Processes() as processes:
        two, seven = Lane(TWO, processes), Lane(SEVEN, processes)
        for number in range(options.rounds):
            for lane in (two, seven):
                progress(f"http, round {number + 1}: {lane.contender.name}")
                noise.add(number, lane.measure(CALLERS, options.seconds))
            for name, lane in zip(sends, (two, seven), strict=True):
                progress(f"http, round {number + 1}: {name}")
                reading = _sends(processes, lane.broker, options.seconds)
                noise.add(number, reading)
                sends[name].append(reading["count"] / reading["wall"])
        progress("")
    control = seven.rates(CALLERS)
    by = ratios(two.rates(CALLERS), control)
    cpu = {
        lane: sum(median(lane.cpu(CALLERS, who)) for who in ("client", "service", "switch"))
        for lane in (two, seven)
    }
    rows = [
        [
            lane.contender.name,
            middle(lane.rates(CALLERS)),
            judged(middle(by, ".2f"), good=median(by) >= BOUND) if lane is two else "1",
            f"{median(each['p50'] for each in lane.figures[CALLERS]) * 1e3:.2f}",
            f"{cpu[lane]:,.0f}",
        ]
        for lane in (two, seven)
    ]
    head = ["", "RPC/s", f"ratio (at least {BOUND:g})", "p50 ms", "CPU µs of all three"]
    table(f"RPC over HTTP under Daphne, {SIZE} bytes, {CALLERS} callers", head, rows)
    lean, django = sends.values()
    table(
        f"One send, the same view, {CALLERS} connections",
        ["", "sends/s", "ratio"],
        [
            ["lean handler", middle(lean), middle(ratios(lean, django), ".2f")],
            ["Django's handler", middle(django), "1"],
        ],
    )
    noise.show({SEVEN.name: control, "Django's handler": django})


def _sends(processes: Processes, server: Running, seconds: float) -> Any:
    return processes.run(
        "requests:send", url=server.url, seconds=seconds, pids={"switch": server.pid}
    )


async def send(url: str, seconds: float, pids: dict[str, int]) -> dict[str, Any]:
    """Send for some seconds over kept-alive connections; messages expire soon."""
    path = "/api/v1/queues/sends"
    connections = [await Connection.open(url) for _ in range(CALLERS)]
    await connections[0].request("PUT", path, {})
    body = {"payload": "x" * SIZE, "ttl": 1}
    meter = Meter(pids)
    end = time.monotonic() + seconds

    async def repeat(connection: Connection) -> int:
        count = 0
        while time.monotonic() < end:
            await connection.request("POST", f"{path}/messages", body)
            count += 1
        return count

    counts = await asyncio.gather(*(repeat(connection) for connection in connections))
    return {"count": sum(counts), **meter.read()}
