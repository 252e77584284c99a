"""What watching costs: CPU of the server for each RPC of 16 callers, with and without watchers:
three live pages (the overview, a queue, the trace), a ``tail --follow`` and a scrape each second.

Each round measures both, one right after the other, in turns; the bound is on the median of their
ratios.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import urllib.request
from functools import partial
from statistics import median
from typing import Any

from .child import ready
from .ends import QUEUE
from .harness import (
    ROOT,
    Noise,
    Options,
    Processes,
    judged,
    middle,
    progress,
    ratios,
    stop_with_signals,
    table,
)
from .rpc import Contender, Lane
from .servers import daphne, on_tcp_socket, on_unix_socket

CALLERS = 16
PAIRS = 7
#: Most CPU with watchers, as a multiple of that without.
MOST = 1.1
PAGES = ("/", f"/queues/{QUEUE}/", "/trace/")
#: As in live.js: seconds between two looks, and the same as a multiple of what a look takes.
PAUSE = 1.0
COST = 20.0
#: Shortest window: the watchers come once a second, and their share must not depend on chance.
LEAST_SECONDS = 5.0

CONTENDERS = [
    Contender("WebSocket, Daphne", "stream", daphne),
    Contender("Unix socket, Daphne", "stream", partial(on_unix_socket, server="daphne")),
    Contender("TCP socket, Daphne", "stream", partial(on_tcp_socket, server="daphne")),
]


def run(options: Options) -> None:
    """Measure and print the table."""
    noise = Noise()
    rows = []
    seconds = max(options.seconds, LEAST_SECONDS)
    pairs = max(options.rounds, 1) if options.quick else max(options.rounds, PAIRS)
    for contender in CONTENDERS:
        if not options.wants(contender.name):
            continue
        with Processes() as processes:
            lane = Lane(contender, processes)
            assert lane.broker is not None
            url = f"http://127.0.0.1:{_http_port(lane.broker.process.args)}"
            lane.measure(CALLERS, seconds)
            with_them, without = [], []
            for number in range(pairs):
                progress(f"watching, pair {number + 1}: {contender.name}")
                for watched in (number % 2 == 0, number % 2 == 1):
                    if watched:
                        watchers = processes.start_child("watching:watch", url=url, may_end=True)
                        # Until each page has been looked at once.
                        time.sleep(PAUSE)
                    reading = lane.measure(CALLERS, seconds)
                    noise.add(number, reading)
                    cost = reading["cpu"]["switch"] / reading["count"]
                    (with_them if watched else without).append(cost * 1e4)
                    if watched:
                        processes.stop(watchers)
            found = ratios(with_them, without)
            rows.append(
                [
                    contender.name,
                    middle(without, ".3f"),
                    middle(with_them, ".3f"),
                    judged(middle(found, ".3f"), good=median(found) <= MOST),
                ]
            )
    progress("")
    head = ["", "CPU s for 10,000 RPC", "watched", f"ratio (at most {MOST})"]
    table(f"Watching, {CALLERS} callers, {pairs} pairs", head, rows)
    noise.show({})


def _http_port(command: Any) -> int:
    """The port of the web server that was started by a command."""
    endpoint = next(part for part in command if part.startswith("tcp:"))
    return int(endpoint.split(":")[1])


async def watch(url: str) -> None:
    """Watch until terminated."""
    stop_with_signals()
    tail = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "queues.cli", "--url", url, "tail", "--follow"),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        for page in PAGES:
            threading.Thread(target=_live_page, args=(url, page), daemon=True).start()
        ready()
        while True:
            await asyncio.to_thread(_get, url + "/metrics")
            await asyncio.sleep(1.0)
    finally:
        tail.terminate()
        await tail.wait()


def _live_page(url: str, page: str) -> None:
    """Look again, as a browser does, whenever the stream of events says so."""
    with urllib.request.urlopen(url + "/live/") as events:
        soonest = 0.0
        for line in events:
            if line.startswith(b"event: changed") and time.monotonic() >= soonest:
                began = time.monotonic()
                _get(url + page)
                soonest = time.monotonic() + max(PAUSE, COST * (time.monotonic() - began))


def _get(url: str) -> None:
    with urllib.request.urlopen(url) as answer:
        answer.read()
