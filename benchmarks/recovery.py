"""Recovery: how long a switch with a journal takes to start with many messages, and its memory."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from .harness import Options, Processes, judged, peak, progress, resident, settled, table
from .memory import SIZE
from .servers import journal, on_unix_socket

COUNTS = (100_000, 300_000, 1_000_000)
#: Seconds for the largest count.
MOST_SECONDS = 60.0
#: Times the memory that the messages need in service.
MOST_MEMORY = 1.5
#: Times the seconds by message of the smallest count: what grows faster is not linear.
LINEAR = 1.3


@dataclass(frozen=True)
class Recovery:
    """What was measured; memory in bytes beyond that of an empty switch."""

    count: int
    seconds: float
    in_service: int
    recovered: int
    peak: int


def run(options: Options) -> None:
    """Measure once for each count, and print the table."""
    counts = COUNTS[:-1] if options.quick else COUNTS
    found = [_recover(count) for count in counts]
    progress("")
    rows = []
    for each in found:
        seconds, memory = f"{each.seconds:.1f}", f"{each.peak / each.in_service:.2f}"
        micros, first = each.seconds / each.count, found[0].seconds / found[0].count
        rows.append(
            [
                f"{each.count:,}",
                judged(seconds, good=each.seconds <= MOST_SECONDS),
                judged(f"{micros * 1e6:.1f}", good=micros <= LINEAR * first),
                *(f"{size / 1e6:,.0f}" for size in (each.in_service, each.recovered, each.peak)),
                judged(memory, good=each.peak <= MOST_MEMORY * each.in_service),
            ]
        )
    table(
        f"recovery of messages of {SIZE} bytes, memory in MB beyond that of an empty switch",
        [
            "messages",
            "seconds",
            "µs each",
            "in service",
            "afterwards",
            "at most meanwhile",
            "ratio",
        ],
        rows,
    )


def _recover(count: int) -> Recovery:
    """Fill a switch, kill it, and start it again."""
    with Processes() as processes:
        env = journal(processes, "state")
        server = on_unix_socket(processes, "daphne", env)
        processes.run("memory:create", url=server.url, count=count)
        # What sending needs at all is not of the messages that are kept.
        processes.run("memory:fill", url=server.url, count=10_000)
        processes.run("memory:drain", url=server.url, count=10_000)
        empty = settled(server.pid)
        progress(f"recovery: sending {count:,} messages")
        processes.run("memory:fill", url=server.url, count=count)
        in_service = settled(server.pid) - empty
        os.kill(server.pid, signal.SIGKILL)
        processes.stop(server.process)
        progress(f"recovery: {count:,} messages")
        began = time.monotonic()
        server = on_unix_socket(processes, "daphne", env)
        seconds = time.monotonic() - began
        top = peak(server.pid) - empty
        result = Recovery(count, seconds, in_service, resident(server.pid) - empty, top)
        processes.run("memory:drain", url=server.url, count=count)
    return result
