"""What all parts share: processes, CPU accounting, rounds, and tables."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a process may take to start, or to do what it is asked beside its window.
PATIENCE = 120.0
#: Cores used by others above which a measurement counts as disturbed.
DISTURBED = 0.5


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    rounds: int
    seconds: float
    quick: bool
    only: tuple[str, ...]
    results: Path

    def wants(self, contender: str) -> bool:
        """Whether a contender takes part."""
        return not self.only or any(word in contender for word in self.only)


# -- processes ------------------------------------------------------------------------------------


class Failed(Exception):
    """A process of a measurement failed; what it says is the reason."""


@contextlib.contextmanager
def blaming(who: str) -> Iterator[None]:
    """Say who it was that failed."""
    try:
        yield
    except Failed as error:
        raise Failed(f"{who}: {error}") from error


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(eq=False)
class _Started:
    """A process, and where it logs."""

    process: subprocess.Popen[str]
    log: Path
    may_end: bool = False

    def read(self) -> str:
        """The end of what it has logged."""
        return self.log.read_text(errors="replace")[-4000:].strip()

    def has_failed(self) -> bool:
        """Whether it has ended, though it should not, or complains."""
        log, status = self.read(), self.process.poll()
        ended = status is not None and not (self.may_end and status == 0)
        return ended or "Traceback" in log or "ERROR" in log


class Processes:
    """The processes of one part, in a directory of their own; all end with the block."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="bench-")
        self.path = Path(self._directory.name)
        self._started: dict[int, _Started] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.check()
            else:
                self._tell()
        finally:
            for started in reversed(list(self._started.values())):
                self.stop(started.process)
            self._directory.cleanup()

    def start(
        self, *command: str, env: dict[str, str] | None = None, pipe: bool = False
    ) -> subprocess.Popen[str]:
        """Start a program. What it logs is kept, and shown if it fails."""
        self._count += 1
        log = self.path / f"{self._count}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                # Locks and other files that programs leave behind go with the directory.
                env={**os.environ, "TMPDIR": self._directory.name, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else errors,
                stderr=errors,
                text=True,
            )
        self._started[process.pid] = _Started(process, log)
        return process

    def start_child(
        self, function: str, *, may_end: bool = False, **arguments: Any
    ) -> subprocess.Popen[str]:
        """Run ``module:function`` of this package in a process, until it says that it is ready."""
        process = self._child(function, arguments)
        self._started[process.pid].may_end = may_end
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            process.wait(PATIENCE)
            raise Failed(f"{function} did not start:\n{self._started[process.pid].read()}")
        return process

    def run(self, function: str, *, seconds: float = 0.0, **arguments: Any) -> Any:
        """What ``module:function`` of this package returns, run in a process of its own.

        Raises Failed if it, or any other process of this part, has failed meanwhile.
        """
        process = self._child(function, {**arguments, "seconds": seconds} if seconds else arguments)
        result = self.finish(process, seconds + PATIENCE)
        self.check()
        return result

    def finish(self, process: subprocess.Popen[str], timeout: float = PATIENCE) -> Any:
        """What the function of a process returns that was started here. Raises Failed."""
        output, _ = process.communicate(timeout=timeout)
        log = self._started.pop(process.pid).read()
        if process.returncode != 0 or log:
            raise Failed(f"{process.args} failed:\n{log}")
        return json.loads(output)

    def _child(self, function: str, arguments: dict[str, Any]) -> subprocess.Popen[str]:
        return self.start(
            sys.executable, "-m", "benchmarks.child", function, json.dumps(arguments), pipe=True
        )

    def check(self) -> None:
        """Raise Failed if a process has ended or complained."""
        for started in self._started.values():
            if started.has_failed():
                process = started.process
                raise Failed(f"{process.args} (status {process.returncode}):\n{started.read()}")

    def _tell(self) -> None:
        """Print what the processes said, as it may be the reason of a failure."""
        for started in self._started.values():
            if log := started.read():
                process = started.process
                print(f"-- {process.args} (status {process.poll()}) --\n{log}", file=sys.stderr)

    def stop(self, process: subprocess.Popen[str]) -> None:
        """End a process that was started here."""
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._started.pop(process.pid, None)
        if process.stdout is not None:
            process.stdout.close()


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str], what: str) -> None:
    """Wait until a server that was just started is ready. Raises Failed."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{what} did not start (status {process.poll()}).")
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether somebody listens on the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def answers(url: str) -> bool:
    """Whether there is an answer of success at the URL."""
    with (
        contextlib.suppress(urllib.error.URLError, OSError),
        urllib.request.urlopen(url, timeout=5) as answer,
    ):
        return bool(answer.status == 200)
    return False


def resident(pid: int) -> int:
    """Bytes of memory that a process has resident."""
    return int(psutil.Process(pid).memory_info().rss)


def peak(pid: int) -> int:
    """The most bytes that it has ever had, where the platform knows; else what it has now."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resident(pid)


def settled(pid: int) -> int:
    """The memory of a process, once it has been the same for a moment."""
    deadline = time.monotonic() + 10
    last = -1
    while (now := resident(pid)) != last:
        if time.monotonic() > deadline:
            raise Failed("The memory of the server does not settle.")
        last = now
        time.sleep(0.5)
    return now


# -- CPU ------------------------------------------------------------------------------------------


def _busy() -> float:
    """CPU seconds of the whole machine."""
    times = psutil.cpu_times()
    return float(
        times.user
        + times.system
        + sum(getattr(times, name, 0.0) for name in ("nice", "irq", "softirq", "steal"))
    )


def _cpu(pid: int) -> float:
    """CPU seconds of a process and those that it has started."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


class Meter:
    """CPU seconds of this process (``client``), of named others, and of the rest of the machine."""

    def __init__(self, pids: dict[str, int] | None = None) -> None:
        self._pids = pids or {}
        self._began = time.perf_counter()
        self._before = self._now()
        self._busy = _busy()

    def _now(self) -> dict[str, float]:
        return {"client": time.process_time()} | {n: _cpu(pid) for n, pid in self._pids.items()}

    def read(self) -> dict[str, Any]:
        """``wall`` and ``others`` in seconds, ``cpu`` by name."""
        now = self._now()
        cpu = {name: now[name] - before for name, before in self._before.items()}
        return {
            "wall": time.perf_counter() - self._began,
            "cpu": cpu,
            "others": max(0.0, _busy() - self._busy - sum(cpu.values())),
        }


# -- figures --------------------------------------------------------------------------------------


@dataclass
class Noise:
    """How disturbed the rounds were: the control in each, and the cores that others used."""

    _wall: dict[int, float] = field(default_factory=dict)
    _others: dict[int, float] = field(default_factory=dict)
    _worst: dict[int, float] = field(default_factory=dict)

    def add(self, number: int, reading: dict[str, Any]) -> None:
        """Take note of a reading of a Meter in a round."""
        wall, others = reading["wall"], reading["others"]
        self._wall[number] = self._wall.get(number, 0.0) + wall
        self._others[number] = self._others.get(number, 0.0) + others
        self._worst[number] = max(self._worst.get(number, 0.0), others / wall)

    def show(self, controls: dict[str, Sequence[float]]) -> None:
        """Print the spread of each control, and the rounds that others disturbed."""
        for name, figures in controls.items():
            print(f"control {name}: spread between rounds {spread(figures):.0%}")
        cores = []
        for number, wall in self._wall.items():
            mean = self._others[number] / wall
            mark = " DISTURBED" if mean > DISTURBED else ""
            cores.append(f"{number + 1}: {mean:.2f} (worst {self._worst[number]:.2f}){mark}")
        print("cores used by other processes, by round: " + ", ".join(cores))


def spread(figures: Sequence[float]) -> float:
    """Distance of the extremes, by the median."""
    return (max(figures) - min(figures)) / statistics.median(figures)


def percentile(ordered: Sequence[float], part: float) -> float:
    """The value below which ``part`` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def middle(figures: Iterable[float], form: str = ",.0f") -> str:
    """Median and extremes, to print."""
    known = list(figures)
    low, high = min(known), max(known)
    text = format(statistics.median(known), form)
    return text if len(known) == 1 else f"{text} ({low:{form}}..{high:{form}})"


def rates(readings: Sequence[dict[str, Any]]) -> list[float]:
    """What was counted a second, in readings of a Meter with their ``count``."""
    return [each["count"] / each["wall"] for each in readings]


def ratios(figures: Sequence[float], control: Sequence[float]) -> list[float]:
    """Figures by those of the control, round by round."""
    return [figure / by for figure, by in zip(figures, control, strict=True)]


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, the first column to the left and the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    print(f"\n{title}")
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  " + "   ".join(cells).rstrip())
    sys.stdout.flush()


def judged(text: str, *, good: bool) -> str:
    """A figure that has a bound, marked where it misses it."""
    return text if good else f"{text} MISSED"


def progress(text: str) -> None:
    """Say what is being measured, where somebody looks on."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def stop_with_signals() -> None:
    """End in order, with all processes, also when terminated."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
