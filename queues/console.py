"""Where a command writes, and what goes wrong with that."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, TextIO

from queues import text
from queues.core.errors import SwitchError
from queues.protocol.operations import encode


class UsageError(Exception):
    """The command line, or what it names, cannot be used."""


class OutputError(Exception):
    """Results cannot be written: the disk is full, or there is nowhere to write to."""


class Console:
    """Where a command writes: results to ``out``, remarks and errors to ``err``.

    Colour and tables only if ``out`` is a terminal; no colour if NO_COLOR is set. ``out`` and
    ``err`` are by default those of the process, which may have none.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        *,
        json: bool = False,
        colour: bool = True,
    ) -> None:
        self._out: TextIO | None = out or sys.stdout
        self._err: TextIO | None = err or sys.stderr
        self.json = json
        self.terminal = self._out is not None and self._out.isatty()
        colour = colour and self.terminal and not os.environ.get("NO_COLOR")
        self.paint = text.coloured if colour else text.plain

    def lines(self, lines: Iterable[str]) -> None:
        """Write a result for people."""
        self.write("".join(line + "\n" for line in lines))

    def answer(self, answer: Any, *lines: str) -> None:
        """Write a result: as JSON if asked for, else the lines."""
        self.lines([encode(answer).decode()] if self.json else lines)

    def write(self, content: str) -> None:
        """Write a piece of a result. Raises OutputError, BrokenPipeError."""
        if self._out is None:
            raise OutputError("stdout is closed")
        try:
            self._out.write(content)
            self._out.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"stdout: {error.strerror}") from error

    def payload(self, payload: str) -> None:
        """Write a payload byte for byte; on a terminal end it with a newline."""
        if self.terminal and not payload.endswith("\n"):
            payload += "\n"
        binary = getattr(self._out, "buffer", None)
        if binary is None:
            self.write(payload)
            return
        self.write("")
        try:
            binary.write(payload.encode())
            binary.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"stdout: {error.strerror}") from error

    def say(self, remark: str) -> None:
        """Write a remark. That nobody can read it is no error."""
        self._tell(text.printable(remark))

    def fail(self, code: str, detail: str) -> None:
        """Write what the command cannot do, in one line."""
        if self.json:
            self._tell(encode({"code": code, "detail": detail}).decode())
        else:
            self.say(f"error: {code}: {detail}")

    def refuse(self, error: SwitchError) -> None:
        """Write a refusal in one line, with its verdict if it has one."""
        if self.json:
            fields = {"code": error.code, "detail": error.detail, **error.extra}
            self._tell(encode(fields).decode())
        else:
            self.say(f"error: {error.code}: {text.refusal(error)}")

    def _tell(self, line: str) -> None:
        if self._err is not None:
            with suppress(OSError):
                self._err.write(line + "\n")
                self._err.flush()


def hold_streams() -> None:
    """Keep the numbers of standard streams that are closed, or the next connection gets one of
    them; and show what cannot be encoded instead of failing at it."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            hold_number()
        elif name != "stdin":
            with suppress(AttributeError):  # replaced by something that is not a text file
                stream.reconfigure(errors="backslashreplace")


def hold_number() -> None:
    """Let nothing else take the lowest number that is free."""
    os.open(os.devnull, os.O_RDWR)


def drop_output() -> None:
    """Let nothing more be written to stdout, not even at exit."""
    if sys.stdout is None:
        return
    with suppress(OSError):  # replaced by something that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
