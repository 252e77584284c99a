"""A handler that answers requests by running a program."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from queues.core.messages import Delivery

from .errors import HandlerError

#: Seconds between asking a program to end and killing it.
KILL_AFTER = 2.0


class Program:
    """Runs a program for each request: the payload on its stdin, the reply from its stdout.

    ``arguments`` are the program and its arguments; no shell is involved. A program that fails
    is an error reply: ``exit_N`` or ``signal_N`` with the last line of its stderr as detail;
    one whose output is not UTF-8 text is ``not_utf8``; one that cannot run is ``not_started``.
    When serving stops, programs that still run are ended, with what they started.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)

    async def __call__(self, message: Delivery) -> str:
        """Run the program once. Raises HandlerError."""
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *self.arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                # A group of its own: Ctrl-C does not reach it, and it can be ended as a whole.
                start_new_session=True,
            )
        )
        try:
            process = await asyncio.shield(starting)
        except OSError as error:
            detail = f"{self.arguments[0]}: {error.strerror}"
            raise HandlerError("not_started", detail) from error
        except asyncio.CancelledError:
            # Cut off halfway it would leave behind what the program has started meanwhile.
            with suppress(OSError):
                process = await starting
                await _end(process)
                await _close_pipes(process)
            raise
        try:
            output, errors = await process.communicate(message.payload.encode())
        except BaseException:
            await _end(process)
            raise
        finally:
            await _close_pipes(process)
        assert process.returncode is not None
        if process.returncode != 0:
            raise HandlerError(_exit_code(process.returncode), _last_line(errors))
        try:
            return output.decode()
        except UnicodeDecodeError as error:
            raise HandlerError("not_utf8", "The program's output is not UTF-8 text.") from error


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask the program's group to end, then kill it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(TimeoutError):
                async with asyncio.timeout(KILL_AFTER):
                    await process.wait()


async def _close_pipes(process: Any) -> None:
    """Let go of the pipes, which something that the program started may keep open."""
    process._transport.close()  # asyncio has no public way
    await asyncio.sleep(0)


def _exit_code(returncode: int) -> str:
    return f"exit_{returncode}" if returncode > 0 else f"signal_{-returncode}"


def _last_line(errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
