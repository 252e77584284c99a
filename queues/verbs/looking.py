"""The verbs that look at the switch and change nothing."""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from queues import text
from queues.client import Client
from queues.console import Console, OutputError
from queues.core.errors import MessageNotFound, QueueNotFound
from queues.core.events import Event
from queues.drawing.sequence import mscgen as chart_of
from queues.drawing.story import MOST_STEPS, of_call
from queues.protocol.operations import MAX_PAGE, encode
from queues.screen import Screen

from .common import AWAY, MAX_ID, Verb, client_of, ended_by_sigterm, message_id, no_arguments

#: Seconds for which ``tail --follow`` asks for events at a time.
POLL = 25.0
#: Seconds between two attempts to reach a switch that is away.
PATIENCE = 1.0
#: Seconds between two pictures of ``top``.
REFRESH = 1.0


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix", default="", help="only queues whose name begins with this")
    parser.add_argument("--all", action="store_true", help="also transient (reply) queues")


def _list(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        queues = client.list(options.prefix, kind=None if options.all else "persistent")
    if console.terminal and not console.json:
        console.lines(text.queue_table(queues, console.paint))
    else:
        console.answer(queues, *(queue.name for queue in queues))
    return 0


def _diagnostics(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        report = client.diagnostics()
    console.answer(report, *text.diagnostics(report, console.paint))
    return 0


def _tail_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on until interrupted")
    parser.add_argument(
        "-n", "--lines", type=int, default=20, help="show this many events (default: %(default)s)"
    )


def _tail(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        after = 0
        last: deque[Event] = deque(maxlen=max(0, options.lines))
        for event in _trace(client):
            last.append(event)
            after = event.number
        _write_events(console, last)
        away = False
        while options.follow:
            try:
                page = client.trace(after=after, limit=MAX_PAGE, timeout=POLL)
            except AWAY as error:
                if not away:
                    console.say(f"waiting for the switch: {error}")
                away = True
                time.sleep(PATIENCE)
                continue
            away = False
            if page.dropped:
                lost = "event was" if page.dropped == 1 else "events were"
                console.say(f"{page.dropped} {lost} lost in between")
            _write_events(console, page.events)
            after = page.next
    return 0


def _trace(client: Client) -> Iterator[Event]:
    """All events that the switch remembers."""
    after = 0
    while (page := client.trace(after=after, limit=MAX_PAGE)).events:
        yield from page.events
        after = page.next


def _write_events(console: Console, events: Iterable[Event]) -> None:
    for event in events:
        console.answer(event, text.event_line(event, console.paint))


def _mscgen_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--queue", help="only what happened to this queue and its messages")
    which.add_argument(
        "--message", type=message_id, metavar="ID", help="only the tree of calls of this message"
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=MOST_STEPS,
        help="the last events (default and most: %(default)s)",
    )


def _mscgen(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        events = list(_trace(client))
    chosen = events
    if options.queue is not None:
        chosen = [event for event in events if event.queue == options.queue]
    elif options.message is not None:
        chosen = of_call(events, options.message)
    chart = chart_of(chosen[-options.limit :] if options.limit > 0 else [], events)
    console.answer({"mscgen": chart}, *chart.splitlines())
    return 0


def _why_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="NAME-OR-ID", help="name of a queue, or id of a message")


def _why(console: Console, options: argparse.Namespace) -> int:
    what: str = options.what
    with client_of(options) as client:
        unknown: MessageNotFound | None = None
        if what.isascii() and what.isdigit() and len(what) < 20 and int(what) <= MAX_ID:
            try:
                report = client.explain(int(what))
            except MessageNotFound as error:
                unknown = error
            else:
                console.answer(report, *text.report(report, console.paint))
                return 0
        try:
            queue = client.inspect(what)
        except QueueNotFound as error:
            raise unknown or error from None
    console.answer(queue, *text.queue_report(queue, console.paint))
    return 0


def _top_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="write one table and end")


def _top(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        if options.once or console.json or not console.terminal:
            report = client.diagnostics()
            console.answer(report, *text.top(report, console.paint))
            return 0
        with ended_by_sigterm(), Screen(console.write) as screen:
            shown: list[str] = []
            while True:
                try:
                    shown = list(text.top(client.diagnostics(), console.paint))
                    trouble = []
                except AWAY as error:
                    line = text.printable(f"Waiting for the switch: {error}")
                    trouble = [console.paint(line, "bad")]
                until = time.monotonic() + REFRESH
                while (left := until - time.monotonic()) > 0:
                    screen.draw([*trouble, *shown])
                    key = screen.key(left)
                    # Ctrl-C and Ctrl-D, where the terminal does not make a signal of it.
                    if key in ("q", "Q", "\x03", "\x04", ""):
                        return 0


def _sessions(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        report = client.diagnostics()
    lines = list(text.session_table(report.sessions, report.now, console.paint))
    if report.sessions_left_out:
        lines.append(text.left_out(report.sessions_left_out, "session"))
    console.answer(report.sessions, *lines)
    return 0


def _incident_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where to write it (default: stdout)"
    )


def _incident(console: Console, options: argparse.Namespace) -> int:
    with client_of(options) as client:
        bundle = client.incident()
    content = msgspec.json.format(encode(bundle), indent=2).decode() + "\n"
    if options.output is None:
        console.write(content)
        return 0
    try:
        options.output.write_text(content, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{options.output}: {error.strerror}") from error
    console.say(f"wrote {options.output}")
    return 0


VERBS = (
    Verb(
        name="list",
        help="List the queues; names only unless on a terminal.",
        arguments=_list_arguments,
        run=_list,
    ),
    Verb(
        name="diagnostics",
        help="Show services, waiting messages, and what is stuck.",
        arguments=no_arguments,
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
        help="Explain how a queue is doing, or where a message is, and why.",
        arguments=_why_arguments,
        run=_why,
    ),
    Verb(
        name="top",
        help="Show the services and how they do, live on a terminal; q quits.",
        arguments=_top_arguments,
        run=_top,
    ),
    Verb(
        name="sessions",
        help="List the sessions, what they hold and wait for.",
        arguments=no_arguments,
        run=_sessions,
    ),
    Verb(
        name="mscgen",
        help="Write what happened last as a message sequence chart for mscgen.",
        arguments=_mscgen_arguments,
        run=_mscgen,
    ),
    Verb(
        name="incident",
        help="Write all that the switch knows of itself, without payloads, for a report.",
        arguments=_incident_arguments,
        run=_incident,
    ),
)
