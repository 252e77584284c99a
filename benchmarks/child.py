"""A process of a measurement: ``python -m benchmarks.child module:function arguments``.

Runs a coroutine function of this package with arguments given as JSON, and prints what it returns.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys


def ready() -> None:
    """Tell the process that started this one that it may begin."""
    print("ready", flush=True)


def main() -> None:
    """Run the function."""
    module, _, function = sys.argv[1].partition(":")
    work = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    print(json.dumps(asyncio.run(work(**json.loads(sys.argv[2])))), flush=True)
    # Connections need not be closed in order.
    os._exit(0)


if __name__ == "__main__":
    main()
