"""What the verbs have in common."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit

from queues.client import Client, OutcomeUnknown, Unreachable
from queues.console import Console, UsageError
from queues.core.errors import ShuttingDown

#: The largest id that the protocol can say.
MAX_ID = 2**63 - 1
#: What a switch that is away answers with, or not at all.
AWAY = (Unreachable, OutcomeUnknown, ShuttingDown)


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One command. ``run`` does it and returns the exit code."""

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Console, argparse.Namespace], int]


class Terminated(BaseException):
    """SIGTERM arrived; like an interruption, but asked for."""


def client_of(options: argparse.Namespace) -> Client:
    """A client of the switch that the options name. Raises UsageError."""
    url: str = options.url
    if not url.startswith("unix:") and (not url.isascii() or not url.isprintable() or " " in url):
        raise UsageError(f"{url!r} is not a URL: it has a space, or other than ASCII characters.")
    try:
        parts = urlsplit(url)
        # Both raise where there can be no such host or port, which connecting would find too late.
        _ = (parts.hostname or "").encode("idna"), parts.port
        return Client(url)
    except ValueError as error:
        raise UsageError(f"{url!r} is no address of a switch: {error}") from error


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block in order."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def queue_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the queue."""
    parser.add_argument("queue", metavar="QUEUE", help="name of the queue")


def message_id(text: str) -> int:
    """Read an id of the command line."""
    number = int(text)
    if not 0 <= number <= MAX_ID:
        raise argparse.ArgumentTypeError(f"{text} is no id")
    return number


message_id.__name__ = "id"  # how argparse calls what is no number


def ids_argument(parser: argparse.ArgumentParser, state: str) -> None:
    """Declare ids of messages; without any, all in a ``state`` are meant."""
    parser.add_argument(
        "ids",
        nargs="*",
        type=message_id,
        metavar="ID",
        help=f"only these (default: all that are {state})",
    )


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare nothing."""
