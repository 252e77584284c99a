"""Sends per second over HTTP: the lean handler against Django's own, under Daphne.

    python benchmarks/handlers.py [--rounds 5] [--seconds 3] [--connections 16]

The two servers take turns for the same load; the figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPLICATIONS = {
    "lean": "switchproject.asgi:application",
    "stock": "benchmarks.stock:application",
}
REQUEST = (
    b"POST /api/v1/queues/bench/messages HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
)
BODY = b'{"payload":"' + b"x" * 100 + b'","ttl":1}'


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> bytes:
    """One request and its answer on a kept-alive connection; returns the status line."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    await reader.readexactly(length)
    return head.partition(b"\r\n")[0]


async def ready(port: int) -> None:
    """Wait until the server answers, and create the queue."""
    body = b'{"policy":{"max_length":1000000}}'
    create = (
        b"PUT /api/v1/queues/bench HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
            continue
        status = await exchange(reader, writer, create)
        assert status.split()[1] in (b"200", b"201"), status
        writer.close()
        return


async def load(port: int, seconds: float, connections: int) -> float:
    """Sends per second over ``connections`` kept-alive connections."""
    request = REQUEST % (len(BODY), BODY)
    end = time.monotonic() + seconds

    async def sender() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        sent = 0
        while time.monotonic() < end:
            status = await exchange(reader, writer, request)
            assert b" 201 " in status, status
            sent += 1
        writer.close()
        return sent

    start = time.monotonic()
    sent = await asyncio.gather(*(sender() for _ in range(connections)))
    return sum(sent) / (time.monotonic() - start)


def serve(application: str, port: int, state: str) -> subprocess.Popen[bytes]:
    """Start Daphne."""
    return subprocess.Popen(
        [sys.executable, "-m", "daphne", "-p", str(port), "--verbosity", "0", application],
        cwd=ROOT,
        env={**os.environ, "SWITCH_STATE_DIR": state},
        stdout=subprocess.DEVNULL,
    )


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    figures: dict[str, list[float]] = {name: [] for name in APPLICATIONS}
    with tempfile.TemporaryDirectory() as state:
        servers = {}
        ports = {}
        try:
            for name, application in APPLICATIONS.items():
                ports[name] = free_port()
                servers[name] = serve(application, ports[name], state)
            for port in ports.values():
                asyncio.run(ready(port))
            for _ in range(options.rounds):
                for name, port in ports.items():
                    rate = asyncio.run(load(port, options.seconds, options.connections))
                    figures[name].append(rate)
        finally:
            for server in servers.values():
                server.terminate()
            for server in servers.values():
                server.wait()
    print(f"{options.connections} connections, {options.rounds} rounds of {options.seconds:g} s")
    for name, rates in figures.items():
        middle = statistics.median(rates)
        spread = (max(rates) - min(rates)) / middle
        print(f"{name:6} {middle:8.0f} sends/s   (spread {spread:.0%})")
    ratios = [lean / stock for lean, stock in zip(figures["lean"], figures["stock"], strict=True)]
    print(
        f"lean / stock: {statistics.median(ratios):.2f}"
        f"   (from {min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
