"""Answers of the switch as text for a terminal.

Names and payloads come from anybody: what could steer a terminal is shown escaped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from queues.core.answers import Diagnostics, MessageInfo, MessageReport, QueueInfo, ServiceInfo
from queues.core.events import Event
from queues.core.messages import State
from queues.core.verdict import duration

#: Gives a text the colour that a word stands for: "good", "bad", "warn", "dim" or "head".
Paint = Callable[[str, str], str]

_COLOURS = {"good": "32", "bad": "31", "warn": "33", "dim": "2", "head": "1"}
#: Characters of a payload in one line.
SUMMARY = 60

_STATUS = {
    "running": ("running", "good"),
    "never_started": ("never started", "warn"),
    "stopped": ("stopped", "warn"),
    "crashed_or_deadlocked": ("crashed or deadlocked", "bad"),
}
_CALLER = {"waiting": "its caller waits", "gone": "its caller is gone", "none": "no reply wanted"}


def plain(text: str, colour: str) -> str:
    """A Paint that paints nothing."""
    return text


def coloured(text: str, colour: str) -> str:
    """A Paint for terminals."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def printable(text: str, limit: int | None = None) -> str:
    """``text`` on one line, control characters escaped, cut to ``limit`` characters."""
    cut = limit is not None and len(text) > limit
    shown = "".join(
        char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode()
        for char in (text[:limit] if cut else text)
    )
    return shown + "…" if cut else shown


def table(header: Sequence[str], rows: Iterable[Sequence[str]], paint: Paint) -> Iterator[str]:
    """Lines with the columns aligned; numbers to the right."""
    body = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(
            cell.rjust(width) if cell.isdigit() else cell.ljust(width)
            for cell, width in zip(cells, widths, strict=True)
        ).rstrip()

    yield paint(line(header), "head")
    yield from map(line, body)


def queue_table(queues: Iterable[QueueInfo], paint: Paint) -> Iterator[str]:
    """The queues with their counts."""
    rows = [
        (
            printable(queue.name),
            _STATUS[queue.status][0],
            *map(str, (queue.ready, queue.delayed, queue.held, queue.dead, queue.consumers)),
        )
        for queue in queues
    ]
    header = ("QUEUE", "SERVICE", "READY", "DELAYED", "HELD", "DEAD", "CONSUMERS")
    return table(header, rows, paint)


def diagnostics(report: Diagnostics, paint: Paint) -> Iterator[str]:
    """The whole switch: its services by how they do, with their messages, and its sessions."""
    used = {usage.name: usage for usage in report.usage}
    yield (
        f"Up {duration(report.now - report.started_at)}: "
        f"{_count(used['queues'].used, 'queue')} ({report.reply_queues} transient), "
        f"{_count(used['sessions'].used, 'session')}, "
        f"{_count(report.calls, 'caller')} waiting, "
        f"{used['total_bytes'].used:,} of {used['total_bytes'].limit:,} bytes."
    )
    for title, belongs in _SECTIONS:
        services = [service for service in report.services if belongs(service.queue)]
        if services:
            yield ""
            yield paint(title, "head")
            for service in services:
                yield from _service(service, report.now, paint)
    if report.services_left_out:
        yield ""
        yield f"{report.services_left_out} more services are not shown."
    overdue = [session for session in report.sessions if session.overdue]
    if overdue:
        yield ""
        yield paint("Sessions past the time of their next Transfer", "head")
        for session in overdue:
            silent = duration(report.now - session.last_seen)
            yield f"  {printable(session.client)}: silent for {silent}, holds {session.held}"


_SECTIONS: tuple[tuple[str, Callable[[QueueInfo], bool]], ...] = (
    ("Services crashed or deadlocked", lambda queue: queue.status == "crashed_or_deadlocked"),
    (
        "Services called but never started",
        lambda queue: queue.status == "never_started" and queue.sent > 0,
    ),
    ("Services stopped", lambda queue: queue.status == "stopped"),
    ("Services running", lambda queue: queue.status == "running"),
    (
        "Queues that nobody has used yet",
        lambda queue: queue.status == "never_started" and queue.sent == 0,
    ),
)


def _service(service: ServiceInfo, now: float, paint: Paint) -> Iterator[str]:
    queue = service.queue
    counts = [
        f"{count} {word}"
        for count, word in (
            (queue.ready, "ready"),
            (queue.delayed, "delayed"),
            (queue.held, "held"),
            (queue.dead, "dead"),
        )
        if count
    ]
    line = f"  {paint(printable(queue.name), _STATUS[queue.status][1])}"
    line += ": " + (", ".join(counts) or "empty")
    if service.consumers:
        line += f"; served by {printable(', '.join(service.consumers))}"
    yield line
    for message in service.messages:
        yield "    " + message_line(message, now)
    left_out = queue.ready + queue.delayed + queue.held + queue.dead - len(service.messages)
    if left_out > 0:
        yield paint(f"    {left_out} more", "dim")


def message_line(message: MessageInfo, now: float) -> str:
    """A message in one line: id, state, age, sender, payload, and whether its caller waits."""
    state = f"{message.state} {duration(now - message.since)}"
    if message.holder is not None:
        state += f" by {printable(message.holder)}"
    elif message.cause is not None:
        state += f" ({message.cause})"
    elif message.due_at is not None:
        state = f"{State.DELAYED} {duration(message.due_at - now)} more"
    sender = printable(message.sender) if message.sender is not None else "somebody"
    return (
        f"{message.id}  {state}, sent {duration(now - message.sent_at)} ago by {sender}, "
        f'{_CALLER[message.caller]}: "{printable(message.payload, SUMMARY)}"'
    )


def report(report: MessageReport, paint: Paint) -> Iterator[str]:
    """Why a message is where it is, and what happened to it."""
    yield paint(printable(report.verdict.sentence), "head")
    yield printable(report.verdict.next_step)
    if report.message is not None:
        message = report.message
        yield f"Queue {printable(message.queue)}, {message.size} bytes, {_CALLER[message.caller]}."
        yield f'Payload "{printable(message.payload, SUMMARY)}"'
    for event in report.events:
        yield "  " + event_line(event, paint)


def event_line(event: Event, paint: Paint) -> str:
    """An event in one line, in local time."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.at)) + f"{event.at % 1:.3f}"[1:]
    words = [paint(clock, "dim"), event.kind]
    if event.message is not None:
        words.append(str(event.message))
    if event.queue is not None:
        words.append(printable(event.queue))
    if event.client is not None:
        words.append(f"by {printable(event.client)}")
    if event.detail is not None:
        words.append(f'"{printable(event.detail, SUMMARY)}"')
    return " ".join(words)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
