import asyncio
import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from queues.client.errors import HandlerError
from queues.client.program import Program

from .fakes import delivery


def python(code: str) -> Program:
    return Program([sys.executable, "-c", code])


@pytest.mark.parametrize("payload", ["", "hello", "ünï\0cödé\r\n", "x" * 1_000_000])
async def test_what_goes_in_comes_out(payload):
    assert await Program(["cat"])(delivery(1, payload)) == payload


async def test_a_program_need_not_read_its_input():
    assert await Program(["echo", "$HOME; no shell"])(delivery(1, "x" * 1_000_000)) == (
        "$HOME; no shell\n"
    )


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import sys; sys.exit(3)", ("exit_3", "")),
        ("import sys; print('a', file=sys.stderr); sys.exit('b\\n')", ("exit_1", "b")),
        ("import os; os.kill(os.getpid(), 9)", ("signal_9", "")),
        (
            "import sys; sys.stdout.buffer.write(b'\\xff')",
            ("not_utf8", "The program's output is not UTF-8 text."),
        ),
    ],
)
async def test_failures_are_told(code, error):
    with pytest.raises(HandlerError) as caught:
        await python(code)(delivery(1))
    assert (caught.value.code, caught.value.detail) == error


async def test_a_program_that_is_not_there():
    with pytest.raises(HandlerError) as caught:
        await Program(["/nowhere/at/all"])(delivery(1))
    assert caught.value.code == "not_started"
    assert caught.value.detail == "/nowhere/at/all: No such file or directory"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A dead child whose parent is gone too may wait for init to collect it.
    return "(sleep) Z" not in Path(f"/proc/{pid}/stat").read_text()


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
async def test_a_cancelled_program_ends_with_all_it_started(tmp_path, monkeypatch, trap):
    monkeypatch.setattr("queues.client.program.KILL_AFTER", 0.2)
    pids = tmp_path / "pids"
    script = f"{trap} sleep 600 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait; wait"
    task = asyncio.create_task(Program(["sh", "-c", script])(delivery(1)))
    while not pids.exists():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while any(_alive(int(pid)) for pid in pids.read_text().split()):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("turns", range(1, 8))
async def test_a_program_cancelled_while_it_starts_leaves_nothing(turns):
    mark = f"600.{os.getpid()}{turns}"

    def running() -> list[psutil.Process]:
        return [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])]

    program = Program(["sh", "-c", f"sleep {mark} & sleep {mark}"])
    task = asyncio.create_task(program(delivery(1)))
    for _ in range(turns):
        await asyncio.sleep(0)
    # Not the loop: the program gets time to start what it starts.
    time.sleep(0.1)  # noqa: ASYNC251
    begun = len(running())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # All that is left is for their parent to see.
    assert all(p.status() == psutil.STATUS_ZOMBIE for p in running()), begun


async def test_what_a_program_leaves_behind_does_not_keep_its_pipes(monkeypatch):
    monkeypatch.setattr("queues.client.program.KILL_AFTER", 0.2)
    before = set(os.listdir("/proc/self/fd"))
    # A process of another group survives it, and holds its stdout.
    script = "setsid sleep 2 & read x; sleep 600"
    task = asyncio.create_task(Program(["sh", "-c", script])(delivery(1, "go\n")))
    while len(os.listdir("/proc/self/fd")) == len(before):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(os.listdir("/proc/self/fd")) <= len(before)
