"""Answers of the switch as text for a terminal.

Names and payloads come from anybody: what could steer a terminal is shown escaped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from queues.core.answers import (
    Diagnostics,
    MessageInfo,
    MessageReport,
    QueueInfo,
    ServiceInfo,
    SessionInfo,
)
from queues.core.errors import SwitchError
from queues.core.events import Event
from queues.core.messages import State
from queues.core.verdict import Verdict, duration

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
_LEVELS = {"stuck": "bad", "warning": "warn", "ok": "good"}
"""The most urgent first."""
_CALLER = {"waiting": "its caller waits", "gone": "its caller is gone", "none": "no reply wanted"}


#: Columns of tables that have numbers.
_NUMBERS = {
    *("READY", "DELAYED", "HELD", "DEAD", "CONSUMERS", "SERVERS", "CALLS", "QUEUES"),
    *("ID", "SENT/S", "DONE/S", "P95", "OLDEST", "SEEN"),
}
#: Characters of a name in a table.
NAME = 40


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
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for cell, width, name in zip(cells, widths, header, strict=True)
        ).rstrip()

    yield paint(line(header), "head")
    yield from map(line, body)


def refusal(error: SwitchError) -> str:
    """What the switch refused, why, and what to do."""
    said = str(error)
    verdict = error.extra.get("verdict")
    if not isinstance(verdict, Mapping):
        return said
    more = (str(verdict.get(part, "")) for part in ("sentence", "next_step"))
    return " ".join([said, *(part for part in more if part not in said)])


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
        yield left_out(report.services_left_out, "service")
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


def verdict(found: Verdict, paint: Paint) -> Iterator[str]:
    """A verdict, what else is true, and what it rests on."""
    yield paint(printable(found.sentence), _LEVELS[found.level])
    yield printable(found.next_step)
    for finding in found.also:
        yield f"Also: {printable(finding.sentence)}"
    for name, value in evidence(found.evidence):
        yield f"  {paint(name, 'dim')}: {printable(value)}"


def evidence(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts of a verdict that are there, by name."""
    for key, value in facts.items():
        name = "time" if key == "at" else key.removesuffix("_at").replace("_", " ")
        if value is None or value in ("", [], {}):
            continue
        if isinstance(value, Mapping):
            # What a chain of calls ends at has facts of its own.
            yield from ((f"{name.split()[0]} {inner}", text) for inner, text in evidence(value))
        elif isinstance(value, list):
            yield (
                name,
                ", ".join(
                    _link(each) if isinstance(each, Mapping) else str(each) for each in value
                ),
            )
        elif key.split("_")[-1] in ("at", "since", "seen"):
            yield name, _clock(value)
        elif key in ("ack_timeout", "lease"):
            yield name, duration(value)
        else:
            yield name, str(value)


def _link(link: Mapping[str, Any]) -> str:
    """A message of a chain of calls."""
    holder = f" by {link['holder']}" if link.get("holder") is not None else ""
    return f"{link.get('message')} of {link.get('queue')} ({link.get('state')}{holder})"


def queue_report(queue: QueueInfo, paint: Paint) -> Iterator[str]:
    """How a queue is doing, and why."""
    yield from verdict(queue.verdict, paint)
    yield (
        f"Queue {printable(queue.name)}, {_STATUS[queue.status][0]}: {queue.ready} ready, "
        f"{queue.delayed} delayed, {queue.held} held, {queue.dead} dead; "
        f"{_count(queue.consumers, 'server')}."
    )


def report(report: MessageReport, paint: Paint) -> Iterator[str]:
    """Why a message is where it is, and what happened to it."""
    yield from verdict(report.verdict, paint)
    if report.message is not None:
        message = report.message
        yield f"Queue {printable(message.queue)}, {message.size} bytes, {_CALLER[message.caller]}."
        yield f'Payload "{printable(message.payload, SUMMARY)}"'
    for event in report.events:
        yield "  " + event_line(event, paint)


def event_line(event: Event, paint: Paint) -> str:
    """An event in one line, in local time."""
    words = [paint(_clock(event.at), "dim"), event.kind]
    if event.message is not None:
        words.append(str(event.message))
    if event.queue is not None:
        words.append(printable(event.queue))
    if event.client is not None:
        words.append(f"by {printable(event.client)}")
    if event.detail is not None:
        words.append(f'"{printable(event.detail, SUMMARY)}"')
    return " ".join(words)


def _clock(at: float) -> str:
    """The local time of day, to the millisecond."""
    thousandths = int(at * 1_000)
    clock = time.strftime("%H:%M:%S", time.localtime(thousandths // 1_000))
    return f"{clock}.{thousandths % 1_000:03d}"


def session_table(sessions: Iterable[SessionInfo], now: float, paint: Paint) -> Iterator[str]:
    """The sessions, what they hold and wait for, and how they do."""
    rows = [
        (
            str(session.id),
            printable(session.client, NAME),
            session.verdict.level,
            str(session.held),
            str(len(session.calls)),
            str(len(session.subscriptions)),
            duration(now - session.last_seen),
            printable(session.verdict.sentence),
        )
        for session in sessions
    ]
    header = ("ID", "CLIENT", "LEVEL", "HELD", "CALLS", "QUEUES", "SEEN", "WHY")
    return table(header, rows, paint)


def top(report: Diagnostics, paint: Paint) -> Iterator[str]:
    """The services in a line each, what is stuck first."""
    used = {usage.name: usage.used for usage in report.usage}
    stuck = sum(1 for call in report.stuck if call.verdict.level == "stuck")
    yield (
        f"Up {duration(report.now - report.started_at)}: {_count(used['queues'], 'queue')}, "
        f"{_count(used['sessions'], 'session')}, {_count(report.calls, 'caller')} waiting, "
        f"{stuck} of them stuck."
    )
    yield ""
    urgent = list(_LEVELS)
    services = sorted(
        report.services,
        key=lambda each: (urgent.index(each.queue.verdict.level), each.queue.name),
    )
    header, *lines = table(
        _TOP_HEADER, [_top_row(service, report.now) for service in services], plain
    )
    yield paint(header, "head")
    for service, line in zip(services, lines, strict=True):
        level = service.queue.verdict.level
        yield paint(level, _LEVELS[level]) + line.removeprefix(level)
    if report.services_left_out:
        yield left_out(report.services_left_out, "service")


_TOP_HEADER = (
    "LEVEL", "SERVICE", "READY", "HELD", "DEAD", "SERVERS",
    "SENT/S", "DONE/S", "P95", "OLDEST", "WHY",
)  # fmt: skip


def _top_row(service: ServiceInfo, now: float) -> tuple[str, ...]:
    queue, timing = service.queue, service.timing
    p95 = None if timing is None else timing.handled.p95
    return (
        queue.verdict.level,
        printable(queue.name, NAME),
        *map(str, (queue.ready, queue.held, queue.dead, queue.consumers)),
        "-" if timing is None else f"{timing.sent_rate:.1f}",
        "-" if timing is None else f"{timing.finished_rate:.1f}",
        "-" if p95 is None else _short(p95),
        "-" if queue.oldest_at is None else duration(now - queue.oldest_at),
        printable(queue.verdict.sentence),
    )


def _short(seconds: float) -> str:
    """A time that may be very short."""
    return duration(seconds) if seconds >= 1 else f"{seconds * 1_000:.1f} ms"


def left_out(number: int, what: str) -> str:
    """How many of something are not shown."""
    return f"{_count(number, f'more {what}')} {'is' if number == 1 else 'are'} not shown."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
