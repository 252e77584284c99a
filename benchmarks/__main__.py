"""Measurements, as ratios against controls that take turns with what they are compared to.

    python -m benchmarks [--part rpc] [--rounds 5] [--seconds 2] [--quick] [--only TEXT]

Without ``--part`` all parts run. Figures are medians over the rounds, with their extremes.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import time
from pathlib import Path

from .harness import ROOT, Options, stop_with_signals

PARTS = {
    "rpc": "rpc",
    "http": "requests",
    "oneway": "oneway",
    "durable": "durable",
    "recovery": "recovery",
    "growth": "growth",
    "memory": "memory",
    "slow": "slow",
    "watching": "watching",
    "verdicts": "verdicts",
}


def main() -> None:
    """Run the parts."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="run this part only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one window")
    parser.add_argument("--quick", action="store_true", help="fewer messages where there are many")
    parser.add_argument(
        "--only", action="append", default=[], help="contenders whose names contain this"
    )
    parser.add_argument(
        "--results", type=Path, default=ROOT / "benchmarks" / "results", help="where charts go"
    )
    given = parser.parse_args()
    options = Options(given.rounds, given.seconds, given.quick, tuple(given.only), given.results)
    stop_with_signals()
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{options.rounds} rounds, windows of {options.seconds:g} s"
    )
    for part in given.part or PARTS:
        print(f"\n== {part} ==")
        began = time.monotonic()
        importlib.import_module(f"benchmarks.{PARTS[part]}").run(options)
        print(f"({part}: {time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    main()
