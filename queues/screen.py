"""A terminal that is drawn on in place, with plain ANSI sequences; given back as it was."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

# Another screen, no cursor, lines cut at the edge instead of wrapped.
_BEGIN = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_END = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME = "\x1b[H"
_REST_OF_LINE = "\x1b[K"
_REST_OF_SCREEN = "\x1b[J"


class Screen:
    """The whole terminal, for as long as the block lasts. ``write`` writes to it.

    Keys come one by one if stdin is a terminal too; signals still interrupt.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._stack = ExitStack()
        self._keys: int | None = None
        self._wakes = -1

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._watch_size(stack)
            if sys.stdin is not None and sys.stdin.isatty():
                self._keys = sys.stdin.fileno()
                stack.callback(_set_modes, self._keys, termios.tcgetattr(self._keys))
                tty.setcbreak(self._keys)
            stack.callback(self._write, _END)
            self._write(_BEGIN)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _watch_size(self, stack: ExitStack) -> None:
        """Let a change of the size end the waiting for a key."""
        reading, writing = os.pipe()
        for end in (reading, writing):
            os.set_blocking(end, False)
            stack.callback(os.close, end)
        self._wakes = reading
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writing))
        before: Any = signal.signal(signal.SIGWINCH, _ignore)
        stack.callback(signal.signal, signal.SIGWINCH, before)

    @property
    def size(self) -> os.terminal_size:
        """Columns and lines."""
        return shutil.get_terminal_size()

    def draw(self, lines: Iterable[str]) -> None:
        """Show these lines, as many as there is room for, instead of what was there."""
        shown = list(lines)[: self.size.lines]
        content = "\r\n".join(line + _REST_OF_LINE for line in shown)
        self._write(_HOME + content + _REST_OF_SCREEN)

    def key(self, timeout: float) -> str | None:
        """The next key, or None if none comes in ``timeout`` seconds or the size changes; empty
        when the terminal has gone."""
        sources = [self._wakes] if self._keys is None else [self._wakes, self._keys]
        ready, _, _ = select.select(sources, [], [], timeout)
        if self._wakes in ready:
            with suppress(BlockingIOError):
                os.read(self._wakes, 1_000)
        if self._keys is not None and self._keys in ready:
            pressed = b""
            with suppress(OSError):
                pressed = os.read(self._keys, 1)
            if not pressed:
                self._keys = None  # the terminal has gone
            return pressed.decode(errors="replace")
        return None


def _set_modes(terminal: int, modes: list[Any]) -> None:
    with suppress(termios.error):  # it has gone
        termios.tcsetattr(terminal, termios.TCSADRAIN, modes)


def _ignore(number: int, frame: object) -> None:
    pass
