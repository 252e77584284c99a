"""The verb that serves, by a program or by hand."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from contextlib import suppress

from queues import text
from queues.client import Delivery, HandlerError
from queues.client.program import Program
from queues.console import Console, UsageError
from queues.core.errors import NotHolder, QueueNotFound

from .common import AWAY, Verb, client_of, ended_by_sigterm, queue_argument


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    queue_argument(parser)
    parser.add_argument(
        "--program",
        help="what to run for each request, with its arguments: "
        "the payload on its stdin, the reply from its stdout "
        "(default: show the request, and read one line as the reply)",
    )
    parser.add_argument(
        "--concurrency", type=int, default=1, help="most runs at once (default: %(default)s)"
    )


def _serve(console: Console, options: argparse.Namespace) -> int:
    if options.concurrency < 1:
        raise UsageError("--concurrency must be at least 1.")
    if options.program is None:
        if options.concurrency > 1:
            raise UsageError("--concurrency needs --program.")
        return _serve_by_hand(console, options)
    program = Program(_program(options.program))

    async def answer(message: Delivery) -> str:
        started = time.monotonic()
        failure: HandlerError | None = None
        try:
            return await program(message)
        except HandlerError as error:
            failure = error
            raise
        finally:
            if console.json:
                outcome = {
                    "id": message.id,
                    "seconds": round(time.monotonic() - started, 6),
                    "error": None if failure is None else failure.code,
                }
                console.answer(outcome)
            elif failure is not None:
                console.say(f"{message.id} from {message.sender}: {failure}")

    with ended_by_sigterm(), client_of(options) as client:
        try:
            with suppress(QueueNotFound):
                client.inspect(options.queue)
            console.say(f"serving {options.queue}; Ctrl-C ends it")
        except AWAY as error:
            console.say(f"waiting for the switch: {error}")
        client.serve(options.queue, answer, concurrency=options.concurrency, grace=0)
    return 0


def _serve_by_hand(console: Console, options: argparse.Namespace) -> int:
    """Show each request and read one line as its reply, until there are no more lines."""
    if sys.stdin is None:
        raise UsageError("Replies are read from stdin, and it is closed.")
    # From a pipe the reply is there before the request: at its end nothing more is taken.
    ahead = not sys.stdin.isatty()
    with ended_by_sigterm(), client_of(options) as client:
        client.create(options.queue)
        client.subscribe(options.queue)
        console.say(f"serving {options.queue}: a line is the reply; end of input or Ctrl-C ends it")
        while True:
            line = _line() if ahead else None
            if line == "":
                return 0
            while (message := client.receive()) is None:
                pass
            _show_request(console, message)
            if line is None:
                line = _line()
            if line == "":
                client.nack(message.id)
                return 0
            try:
                result = client.reply(message.id, line.removesuffix("\n"))
            except NotHolder:
                console.say(f"{message.id} has gone to another meanwhile")
            else:
                if result.state is not None:
                    console.say(f"nobody gets the reply to {message.id}: {result.state}")


def _line() -> str:
    """The next line of stdin, empty at its end. Raises UsageError."""
    try:
        return sys.stdin.readline()
    except UnicodeDecodeError as error:
        raise UsageError("The reply is not UTF-8 text.") from error
    except OSError as error:
        raise UsageError(f"stdin: {error.strerror}") from error


def _show_request(console: Console, message: Delivery) -> None:
    sender = "somebody" if message.sender is None else message.sender
    console.say(f"request {message.id} from {sender}:")
    if console.json:
        console.answer(message)
    elif console.terminal:
        console.lines(text.printable(line) for line in message.payload.split("\n"))
    else:
        console.payload(
            message.payload if message.payload.endswith("\n") else f"{message.payload}\n"
        )


def _program(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--program: {error}.") from error
    if not arguments or shutil.which(arguments[0]) is None:
        raise UsageError(f"--program: {command!r} is not a program that can be run.")
    return arguments


VERBS = (
    Verb(
        name="serve",
        help="Answer the requests of a queue: by running a program for each, or by hand.",
        arguments=_serve_arguments,
        run=_serve,
    ),
)
