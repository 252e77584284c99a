"""The verbs that send and call."""

from __future__ import annotations

import argparse
import sys
import threading
from contextlib import suppress
from pathlib import Path

from queues.client import Client
from queues.console import Console, UsageError
from queues.core.errors import SwitchError
from queues.core.limits import MAX_WAIT

from .common import Verb, client_of, queue_argument

#: Seconds after which ``call`` says what it waits for.
PATIENCE = 1.0


def _body_arguments(parser: argparse.ArgumentParser) -> None:
    queue_argument(parser)
    body = parser.add_mutually_exclusive_group()
    body.add_argument("payload", nargs="?", metavar="BODY", help="the payload (default: stdin)")
    body.add_argument("--body", help="the payload, as the original's message-cli spells it")
    body.add_argument("--file", type=Path, help="a file with the payload")


def _payload(options: argparse.Namespace) -> str:
    """The payload from the command line, a file or stdin. Raises UsageError."""
    given: str | None = options.payload if options.body is None else options.body
    try:
        if given is not None:
            return given.encode().decode()  # bytes of the command line that are not UTF-8
        if options.file is not None:
            return bytes(options.file.read_bytes()).decode()
        if sys.stdin is None:
            raise UsageError("There is no payload: stdin is closed.")
        return sys.stdin.buffer.read().decode()
    except OSError as error:
        raise UsageError(f"{options.file or 'stdin'}: {error.strerror}") from error
    except UnicodeError as error:
        raise UsageError("The payload is not UTF-8 text.") from error


def _send(console: Console, options: argparse.Namespace) -> int:
    payload = _payload(options)
    with client_of(options) as client:
        sent = client.send(options.queue, payload)
    console.answer(sent, str(sent.id))
    return 0


def _call_arguments(parser: argparse.ArgumentParser) -> None:
    _body_arguments(parser)
    parser.add_argument(
        "--timeout",
        type=_seconds_to_wait,
        default=MAX_WAIT,
        help="seconds to wait for the reply (default and most: %(default)g)",
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="fail at once if nobody serves the queue"
    )


def _seconds_to_wait(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= MAX_WAIT:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0 and at most {MAX_WAIT:g}")
    return seconds


_seconds_to_wait.__name__ = "number of seconds"  # how argparse calls what is no number


def _call(console: Console, options: argparse.Namespace) -> int:
    payload = _payload(options)
    with client_of(options) as client:
        remark = threading.Timer(PATIENCE, _say_what_it_waits_for, (console, client, options))
        remark.daemon = True
        remark.start()
        try:
            response = client.call(
                options.queue,
                payload,
                timeout=options.timeout,
                wait_for_server=not options.no_wait,
            )
        finally:
            remark.cancel()
    if console.json:
        console.answer(response)
    else:
        console.payload(response.payload)
    return 0


def _say_what_it_waits_for(console: Console, client: Client, options: argparse.Namespace) -> None:
    with suppress(SwitchError, RuntimeError):  # the call has ended, one way or another
        queue = client.inspect(options.queue)
        if queue.consumers:
            console.say(f"waiting: {queue.name} has {queue.ready} ready and {queue.held} held")
        else:
            console.say(f"waiting: nobody serves {queue.name} yet")


VERBS = (
    Verb(
        name="call",
        help="Send a request and write the reply. Waits for a server to come.",
        arguments=_call_arguments,
        run=_call,
    ),
    Verb(
        name="send",
        help="Put a message into a queue and write its id.",
        arguments=_body_arguments,
        run=_send,
    ),
)
