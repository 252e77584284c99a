"""The commands, one table of verbs: ``message-cli VERB``, and ``manage.py switch_VERB``.

Exit codes: 0 success, 1 the switch or a handler refused or did not answer, 2 wrong usage,
130 interrupted. Results go to stdout, all else to stderr.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from queues import text
from queues.client import DEFAULT_URL, Client, Delivery, HandlerError, OutcomeUnknown, Unreachable
from queues.client.program import Program
from queues.core.errors import QueueNotFound, ShuttingDown, SwitchError
from queues.core.events import Event
from queues.core.limits import MAX_WAIT
from queues.protocol.operations import MAX_PAGE, encode

#: Seconds after which ``call`` says what it waits for.
PATIENCE = 1.0
#: Seconds for which ``tail --follow`` asks for events at a time.
POLL = 25.0


class UsageError(Exception):
    """The command line, or what it names, cannot be used."""


class Terminated(BaseException):
    """SIGTERM arrived; like an interruption, but asked for."""


class Console:
    """Where a command writes: results to ``out``, remarks and errors to ``err``.

    Colour and tables only if ``out`` is a terminal; no colour if NO_COLOR is set.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        *,
        json: bool = False,
        colour: bool = True,
    ) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self.json = json
        self.terminal = self._out.isatty()
        colour = colour and self.terminal and not os.environ.get("NO_COLOR")
        self.paint = text.coloured if colour else text.plain

    def lines(self, lines: Iterable[str]) -> None:
        """Write a result for people."""
        for line in lines:
            self._out.write(line + "\n")
        self._out.flush()

    def answer(self, answer: Any, *lines: str) -> None:
        """Write a result: as JSON if asked for, else the lines."""
        self.lines([encode(answer).decode()] if self.json else lines)

    def payload(self, payload: str) -> None:
        """Write a payload byte for byte; on a terminal end it with a newline."""
        if self.terminal and not payload.endswith("\n"):
            payload += "\n"
        binary = getattr(self._out, "buffer", None)
        if binary is None:
            self._out.write(payload)
            self._out.flush()
        else:
            self._out.flush()
            binary.write(payload.encode())
            binary.flush()

    def say(self, remark: str) -> None:
        """Write a remark."""
        self._err.write(text.printable(remark) + "\n")
        self._err.flush()

    def refuse(self, error: SwitchError) -> None:
        """Write an error, in one line."""
        if self.json:
            fields = {"code": error.code, "detail": error.detail, **error.extra}
            self._err.write(encode(fields).decode() + "\n")
            self._err.flush()
        else:
            self.say(f"error: {error.code}: {error}")


@dataclass(frozen=True, kw_only=True)
class Verb:
    """One command. ``run`` does it and returns the exit code."""

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Console, argparse.Namespace], int]


def add_arguments(verb: Verb, parser: argparse.ArgumentParser) -> None:
    """Declare the verb's own arguments, and those that all have."""
    verb.arguments(parser)
    parser.add_argument(
        "--url",
        default=os.environ.get("SWITCH_URL") or DEFAULT_URL,
        help="address of the switch (default: $SWITCH_URL, else %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="write results and errors as JSON")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``message-cli``. Returns the exit code; argparse exits with 2 by itself."""
    parser = argparse.ArgumentParser(
        prog="message-cli", description="Use and look after a message switch."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS.values():
        add_arguments(verb, verbs.add_parser(verb.name, help=verb.help, description=verb.help))
    options = parser.parse_args(arguments)
    return run(VERBS[options.verb], options)


def run(verb: Verb, options: argparse.Namespace, console: Console | None = None) -> int:
    """Do what the options ask for. Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # replaced by something that is not a text file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    console = console or Console(json=options.json)
    try:
        return verb.run(console, options)
    except SwitchError as error:
        console.refuse(error)
        return 1
    except UsageError as error:
        console.say(f"error: usage: {error}")
        return 2
    except Terminated:
        return 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the results has gone; nothing is left to write, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _client(options: argparse.Namespace) -> Client:
    try:
        return Client(options.url)
    except ValueError as error:
        raise UsageError(str(error)) from error


# -- looking --------------------------------------------------------------------------------------


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix", default="", help="only queues whose name begins with this")
    parser.add_argument("--all", action="store_true", help="also transient (reply) queues")


def _list(console: Console, options: argparse.Namespace) -> int:
    with _client(options) as client:
        queues = client.list(options.prefix, kind=None if options.all else "persistent")
    if console.terminal and not console.json:
        console.lines(text.queue_table(queues, console.paint))
    else:
        console.answer(queues, *(queue.name for queue in queues))
    return 0


def _diagnostics(console: Console, options: argparse.Namespace) -> int:
    with _client(options) as client:
        report = client.diagnostics()
    console.answer(report, *text.diagnostics(report, console.paint))
    return 0


def _tail_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on until interrupted")
    parser.add_argument(
        "-n", "--lines", type=int, default=20, help="show this many events (default: %(default)s)"
    )


def _tail(console: Console, options: argparse.Namespace) -> int:
    with _client(options) as client:
        after = 0
        last: deque[Event] = deque(maxlen=max(0, options.lines))
        while (page := client.trace(after=after, limit=MAX_PAGE)).events:
            last.extend(page.events)
            after = page.next
        _write_events(console, last)
        away = False
        while options.follow:
            try:
                page = client.trace(after=after, limit=MAX_PAGE, timeout=POLL)
            except (Unreachable, OutcomeUnknown, ShuttingDown) as error:
                if not away:
                    console.say(f"waiting for the switch: {error}")
                away = True
                time.sleep(PATIENCE)
                continue
            away = False
            if page.dropped:
                console.say(f"{page.dropped} events were lost in between")
            _write_events(console, page.events)
            after = page.next
    return 0


def _write_events(console: Console, events: Iterable[Event]) -> None:
    for event in events:
        console.answer(event, text.event_line(event, console.paint))


def _why_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=int, metavar="ID", help="id of the message")


def _why(console: Console, options: argparse.Namespace) -> int:
    with _client(options) as client:
        report = client.explain(options.id)
    console.answer(report, *text.report(report, console.paint))
    return 0


# -- sending and calling --------------------------------------------------------------------------


def _queue_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("queue", metavar="QUEUE", help="name of the queue")


def _body_arguments(parser: argparse.ArgumentParser) -> None:
    _queue_argument(parser)
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
        return sys.stdin.buffer.read().decode()
    except OSError as error:
        raise UsageError(f"{options.file}: {error.strerror}") from error
    except UnicodeError as error:
        raise UsageError("The payload is not UTF-8 text.") from error


def _send(console: Console, options: argparse.Namespace) -> int:
    payload = _payload(options)
    with _client(options) as client:
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
    with _client(options) as client:
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


# -- serving --------------------------------------------------------------------------------------


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    _queue_argument(parser)
    parser.add_argument(
        "--program",
        required=True,
        help="what to run for each request, with its arguments: "
        "the payload on its stdin, the reply from its stdout",
    )
    parser.add_argument(
        "--concurrency", type=int, default=1, help="most runs at once (default: %(default)s)"
    )


def _serve(console: Console, options: argparse.Namespace) -> int:
    program = Program(_program(options.program))
    if options.concurrency < 1:
        raise UsageError("--concurrency must be at least 1.")

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

    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        with _client(options) as client:
            try:
                with suppress(QueueNotFound):
                    client.inspect(options.queue)
                console.say(f"serving {options.queue}; Ctrl-C ends it")
            except (Unreachable, OutcomeUnknown, ShuttingDown) as error:
                console.say(f"waiting for the switch: {error}")
            client.serve(options.queue, answer, concurrency=options.concurrency, grace=0)
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _program(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--program: {error}.") from error
    if not arguments or shutil.which(arguments[0]) is None:
        raise UsageError(f"--program: {command!r} is not a program that can be run.")
    return arguments


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


# -- tidying up -----------------------------------------------------------------------------------


def _ack_arguments(parser: argparse.ArgumentParser) -> None:
    _queue_argument(parser)
    _why_arguments(parser)


def _ack(console: Console, options: argparse.Namespace) -> int:
    with _client(options) as client:
        client.drop(options.queue, options.id)
    console.answer({"dropped": options.id}, f"dropped {options.id}")
    return 0


def _purge_arguments(parser: argparse.ArgumentParser) -> None:
    _queue_argument(parser)
    parser.add_argument(
        "--state",
        choices=("ready", "delayed", "held", "dead"),
        help="drop the messages in this state (default: ready and delayed)",
    )


def _purge(console: Console, options: argparse.Namespace) -> int:
    with _client(options) as client:
        result = client.purge(options.queue, options.state)
    console.answer(result, f"purged {result.purged}")
    return 0


def _destroy(console: Console, options: argparse.Namespace) -> int:
    with _client(options) as client:
        client.destroy(options.queue)
    console.answer({"destroyed": options.queue}, f"destroyed {options.queue}")
    return 0


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name="list",
            help="List the queues; names only unless on a terminal.",
            arguments=_list_arguments,
            run=_list,
        ),
        Verb(
            name="call",
            help="Send a request and write the reply. Waits for a server to come.",
            arguments=_call_arguments,
            run=_call,
        ),
        Verb(
            name="serve",
            help="Answer the requests of a queue by running a program for each.",
            arguments=_serve_arguments,
            run=_serve,
        ),
        Verb(
            name="send",
            help="Put a message into a queue and write its id.",
            arguments=_body_arguments,
            run=_send,
        ),
        Verb(
            name="diagnostics",
            help="Show services, waiting messages, and what is stuck.",
            arguments=_no_arguments,
            run=_diagnostics,
        ),
        Verb(
            name="tail",
            help="Show what happened last.",
            arguments=_tail_arguments,
            run=_tail,
        ),
        Verb(
            name="why",
            help="Explain where a message is, and why.",
            arguments=_why_arguments,
            run=_why,
        ),
        Verb(
            name="ack",
            help="Drop a message, whatever its state and whoever holds it.",
            arguments=_ack_arguments,
            run=_ack,
        ),
        Verb(
            name="purge",
            help="Drop the messages of a queue.",
            arguments=_purge_arguments,
            run=_purge,
        ),
        Verb(
            name="destroy",
            help="Drop a queue and its messages.",
            arguments=_queue_argument,
            run=_destroy,
        ),
    )
}

if __name__ == "__main__":
    sys.exit(main())
