"""Runs a server as ``python -m`` does, without the cyclic collector; on SIGUSR1 it says how many
objects only that would have found.

    python -m tests.acceptance.collecting MODULE [ARGUMENT...]
"""

from __future__ import annotations

import gc
import runpy
import signal
import sys


def _say(*_: object) -> None:
    print(f"Unreachable objects: {gc.collect()}.", file=sys.stderr, flush=True)


if __name__ == "__main__":
    gc.disable()
    signal.signal(signal.SIGUSR1, _say)
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
