"""The full screen, on a terminal made for the test."""

from __future__ import annotations

import os
import pty
import signal
import termios
from collections.abc import Iterator

import pytest

from queues.screen import Screen


class Terminal:
    """The other end of the terminal that stdin is."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.modes = termios.tcgetattr(self.slave)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal()
    with os.fdopen(terminal.slave, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield terminal
    os.close(terminal.master)


def test_keys_come_one_by_one(terminal: Terminal) -> None:
    with Screen(lambda _: None) as screen:
        assert screen.key(0) is None
        terminal.type(b"qx")
        assert screen.key(30) == "q"
        assert screen.key(30) == "x"
        assert screen.key(0.01) is None


def test_the_terminal_is_given_back_as_it_was(terminal: Terminal) -> None:
    before = signal.getsignal(signal.SIGWINCH)
    written: list[str] = []

    def interrupted() -> None:
        with Screen(written.append) as screen:
            screen.draw(["x"])
            assert termios.tcgetattr(terminal.slave) != terminal.modes
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert termios.tcgetattr(terminal.slave) == terminal.modes
    assert signal.getsignal(signal.SIGWINCH) == before
    assert signal.set_wakeup_fd(-1) == -1
    everything = "".join(written)
    assert everything.startswith("\x1b[?1049h\x1b[?25l")
    assert everything.endswith("\x1b[?25h\x1b[?1049l")


def test_a_terminal_that_cannot_be_written_to_is_given_back_too(terminal: Terminal) -> None:
    def fail(_: str) -> None:
        raise OSError

    with pytest.raises(OSError), Screen(fail):  # noqa: PT011 -- whichever
        pass
    assert termios.tcgetattr(terminal.slave) == terminal.modes


def test_what_was_there_is_drawn_over(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "2")
    written: list[str] = []
    with Screen(written.append) as screen:
        screen.draw(str(number) for number in range(3))
        assert written[-1] == "\x1b[H0\x1b[K\r\n1\x1b[K\x1b[J"


def test_a_change_of_the_size_ends_the_waiting(terminal: Terminal) -> None:
    with Screen(lambda _: None) as screen:
        os.kill(os.getpid(), signal.SIGWINCH)
        assert screen.key(30) is None
        terminal.type(b"q")
        assert screen.key(30) == "q"


@pytest.mark.parametrize("closed", [True, False])
def test_without_keys_time_passes(monkeypatch: pytest.MonkeyPatch, closed: bool) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w"):
        monkeypatch.setattr("sys.stdin", None if closed else stdin)
        with Screen(lambda _: None) as screen:
            assert screen.key(0.01) is None


def test_a_terminal_that_has_gone_is_a_key_of_nothing() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave) as stdin, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", stdin)
        with Screen(lambda _: None) as screen:
            os.close(master)
            assert screen.key(30) == ""
            assert screen.key(0.01) is None
