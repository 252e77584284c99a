"""How the pages show the switch's words, times and texts.

Every text of a client goes through ``visible``: it may hold anything that UTF-8 can.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any

from django import template
from django.template.defaultfilters import filesizeformat
from django.urls import get_script_prefix, reverse
from django.utils.html import conditional_escape, escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from queues.core import events, verdict
from queues.core.answers import (
    Diagnostics,
    Health,
    Quantiles,
    QueueInfo,
    ServiceInfo,
    SessionInfo,
    Usage,
)
from queues.core.events import Event
from queues.core.verdict import Level
from queues.drawing.spark import spark
from queues.pages.glossary import WORDS

register = template.Library()

STANDING_WORDS = {
    "crashed_or_deadlocked": "Crashed or deadlocked",
    "never_started": "Never started",
    "stopped": "Stopped",
    "running": "Running",
    "unused": "Not used yet",
}
LEVEL_WORDS: dict[Level, str] = {"stuck": "Stuck", "warning": "Warning", "ok": "OK"}
#: Services that one page shows.
MOST_SERVICES = 50
CALLER_WORDS = {"waiting": "Waits", "gone": "Gone", "none": "No reply asked"}
EVENT_WORDS = {
    "sent": "Sent",
    "delivered": "Handed over",
    "acked": "Acked",
    "released": "Given back",
    "replied": "Answered",
    "died": "Gave up",
    "dropped": "Dropped",
    "replayed": "Replayed",
    "call_timeout": "The caller's time ran out",
    "caller_gone": "The caller left",
}
#: Characters that show nothing, or change how the text around them is shown.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


@register.filter
def visible(text: str) -> SafeString:
    """``text`` with its control characters and direction marks shown by their code points."""
    return mark_safe(  # noqa: S308 -- escaped first, and what is put in is a code point
        _HIDDEN.sub(
            lambda found: f'<span class="control">U+{ord(found[0]):04X}</span>',
            conditional_escape(text),
        )
    )


@register.filter
def summary(payload: str) -> str:
    """The beginning of a payload."""
    return events.summary(payload)


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds for people; nothing is no limit."""
    return "no limit" if seconds is None else verdict.duration(seconds)


@register.filter
def took(seconds: float | None) -> str:
    """A time that may be short, in three digits: 0.41 ms, 12.3 ms, 184 ms, 1.24 s."""
    if seconds is None:
        return "–"
    if seconds >= 100:
        return verdict.duration(seconds)
    value, unit = (seconds, "s") if seconds >= 0.9995 else (seconds * 1_000, "ms")
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}\N{NO-BREAK SPACE}{unit}"


@register.filter
def count(number: int) -> str:
    """A number with its thousands apart."""
    return f"{number:,}"


@register.filter
def rate(a_second: float) -> str:
    """Something a second: 0, 0.25, 3.5, 1,250."""
    if a_second < 0.005:
        return "0"
    digits = 0 if a_second >= 9.95 else 1 if a_second >= 0.995 else 2
    return f"{a_second:,.{digits}f}"


@register.filter
def words(code: str) -> str:
    """A code for people."""
    return code.replace("_", " ").capitalize()


@register.filter
def amount(usage: Usage, field: str) -> str:
    """What of a limit is used, or the limit itself."""
    value = getattr(usage, field)
    return filesizeformat(value) if usage.name.endswith("_bytes") else count(value)


@register.filter
def part(whole: int, share: float) -> int:
    """A share of a number."""
    return int(whole * share)


@register.simple_tag
def distance(at: float, now: float) -> SafeString:
    """How far a time is from now, with the time itself."""
    return _time(at, verdict.duration(abs(now - at)))


@register.filter
def clock(at: float) -> SafeString:
    """The time of day."""
    return _time(at, f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}")


@register.filter
def precise_clock(at: float) -> SafeString:
    """The time of day, to the millisecond."""
    return _time(at, f"{datetime.fromtimestamp(at, UTC):%H:%M:%S.%f}"[:-3])


def _time(at: float, text: str) -> SafeString:
    # The most frequent of all, and made of figures and units: nothing is to be escaped.
    moment = datetime.fromtimestamp(at, UTC).isoformat(" ", "milliseconds")
    day, clock = moment[:10], moment[11:19]
    return mark_safe(  # noqa: S308
        f'<time datetime="{day}T{moment[11:]}" title="{day} {clock} UTC">{text}</time>'
    )


# -- links and cells: rows are many, and Django's own tags for these are slow -----------------


#: What the names of the pages begin with that links lead to: the open ones, or the admin's.
_pages: ContextVar[str] = ContextVar("pages", default="queues:")


@contextmanager
def links_into(pages: str) -> Iterator[None]:
    """Meanwhile, links lead to pages whose names begin with ``pages``."""
    token = _pages.set(pages)
    try:
        yield
    finally:
        _pages.reset(token)


@register.simple_tag
def page(view: str) -> str:
    """The address of a page that is one of its kind: ``queues``, ``sessions``."""
    return reverse(f"{_pages.get()}{view}")


@lru_cache
def _path(view: str, script: str) -> str:
    """The address of a page of its kind, up to its name. ``script`` is what it begins with."""
    return reverse(view, args=[0]).removesuffix("0/")


def _link(view: str, name: object, kind: str, shown: str) -> SafeString:
    address = f"{_path(_pages.get() + view, get_script_prefix())}{name}/"
    return mark_safe(  # noqa: S308 -- escaped
        f'<a class="{kind}" href="{escape(address)}">{shown}</a>'
    )


@register.filter
def queue_link(name: str) -> SafeString:
    """A queue's name that leads to its page."""
    return _link("queue", name, "name", escape(name))


@register.filter
def message_link(id: int) -> SafeString:
    """A message's id that leads to its page."""
    return _link("message", id, "id", str(id))


@register.simple_tag
def message_age(id: int, at: float, now: float) -> SafeString:
    """A message's age that leads to its page."""
    return _link("message", id, "age", distance(at, now))


@register.filter
def session_link(session: SessionInfo) -> SafeString:
    """A client's name that leads to the page of its session."""
    return _link("session", session.id, "client", f"<bdi>{visible(session.client)}</bdi>")


@register.simple_tag
def count_cell(number: int, label: str) -> SafeString:
    """A cell with a count; ``label`` says what it is where the table has no columns."""
    zero = "" if number else " zero"
    return mark_safe(  # noqa: S308 -- a number, and labels of templates
        f'<td data-label="{label}" class="number{zero}">{number:,}</td>'
    )


@register.simple_tag
def quantile_cells(times: Quantiles, label: str) -> SafeString:
    """Three cells: how long it took half, 19 of 20, and 99 of 100 messages."""
    if not times.count:
        return _NO_QUANTILES
    return mark_safe(  # noqa: S308 -- numbers, and labels of templates
        f'<td data-label="{label} p50" class="number first">{took(times.p50)}</td>'
        f'<td data-label="p95" class="number">{took(times.p95)}</td>'
        f'<td data-label="p99" class="number">{took(times.p99)}</td>'
    )


_NO_QUANTILES = SafeString(
    '<td class="number first none">–</td>' + 2 * '<td class="number none">–</td>'
)


class _Marks(dict[tuple[str, str], SafeString]):
    """A shape and words for each of the few things that have one, made once."""

    def __missing__(self, key: tuple[str, str]) -> SafeString:
        self[key] = format_html('<span class="mark mark-{}">{}</span>', *key)
        return self[key]


_MARKS = _Marks()


@register.simple_tag
def status(queue: QueueInfo) -> SafeString:
    """How the service behind a queue is doing, as a shape and words."""
    code = standing(queue)
    return _MARKS[code, STANDING_WORDS[code]]


def standing(queue: QueueInfo) -> str:
    """The status of a service; a queue that nobody has sent to or subscribed to is "unused"."""
    unused = queue.status == "never_started" and not queue.sent
    return "unused" if unused else queue.status


@register.simple_tag
def state(code: str) -> SafeString:
    """The state of a message, as a shape and a word."""
    return _MARKS[code, code.capitalize()]


@register.simple_tag
def caller(code: str) -> SafeString:
    """Whether somebody waits for the reply, as a shape and words."""
    return _MARKS[f"caller-{code}", CALLER_WORDS[code]]


@register.simple_tag
def level(of: Level) -> SafeString:
    """How urgent a verdict is, as a shape and a word."""
    return _MARKS[of, LEVEL_WORDS[of]]


#: Seconds that the event loop may be late before people notice, and before requests fail.
LATE, VERY_LATE = 0.05, 1.0


@register.simple_tag
def lag(seconds: float) -> SafeString:
    """How late the event loop is, as a shape and words."""
    level, text = "ok", "On time"
    if seconds >= LATE:
        level, text = ("stuck", "Very late") if seconds >= VERY_LATE else ("warning", "Late")
    return _MARKS[level, text]


@dataclass(frozen=True)
class Group:
    """Services whose verdicts are of one level."""

    level: Level
    services: list[ServiceInfo]
    shown: list[ServiceInfo]
    """Those that the page has room for."""


@register.filter
def by_level(services: list[ServiceInfo]) -> list[Group]:
    """The services by how urgent their verdicts are, the most urgent first."""
    found: dict[str, list[ServiceInfo]] = {}
    for service in services:
        found.setdefault(service.queue.verdict.level, []).append(service)
    groups = []
    room = MOST_SERVICES
    for level in LEVEL_WORDS:
        some = found.get(level, [])
        groups.append(Group(level, some, some[:room]))
        room -= len(groups[-1].shown)
    return groups


@register.filter
def left_out(diagnostics: Diagnostics) -> int:
    """How many services the page has no room for."""
    return max(0, len(diagnostics.services) - MOST_SERVICES) + diagnostics.services_left_out


# -- the glossary -----------------------------------------------------------------------------


@register.simple_tag
def term(word: str, label: str = "") -> SafeString:
    """The name of a figure, as a button that shows what it means."""
    return format_html(
        '<button type="button" class="term" popovertarget="word-{0}" popovertargetaction="show" '
        'aria-describedby="word-{0}">{1}</button>',
        word,
        label or WORDS[word].label,
    )


@register.simple_tag
def glossary() -> SafeString:
    """What the buttons of ``term`` show; once on each page that has any."""
    return _GLOSSARY


_GLOSSARY = format_html_join(
    "\n",
    '<div class="word" id="word-{}" popover><b>{}</b> {}</div>',
    ((name, word.label, word.meaning) for name, word in WORDS.items()),
)


# -- curves -----------------------------------------------------------------------------------


@register.simple_tag
def rate_curve(health: Health, count: str, label: str) -> SafeString:
    """How many there were a second, over the last minutes."""
    points: list[tuple[float, float | None]] = [*_rates(health, count)]
    return _curve(points, label, rate)


@register.filter
def last_rate(health: Health, count: str) -> str:
    """How many there were a second lately, of a count that grows."""
    rates = _rates(health, count)
    return rate(rates[-1][1]) if rates else "–"


@register.filter
def highest_rate(health: Health, count: str) -> str:
    """How many there were a second at most, over the last minutes."""
    rates = _rates(health, count)
    return rate(max(each for _, each in rates)) if rates else "–"


def _rates(health: Health, count: str) -> list[tuple[float, float]]:
    return [
        (after.at, (getattr(after, count) - getattr(before, count)) / (after.at - before.at))
        for before, after in pairwise(health.history)
        if after.at > before.at
    ]


@register.simple_tag
def curve(health: Health, field: str, label: str) -> SafeString:
    """A figure over the last minutes: ``memory`` or ``loop_lag``."""
    show = took if field == "loop_lag" else filesizeformat
    points = [(sample.at, getattr(sample, field)) for sample in health.history]
    return _curve(points, label, show)


def _curve(
    points: list[tuple[float, float | None]], label: str, show: Callable[[float], str]
) -> SafeString:
    return mark_safe(spark(points, label=label, show=show))  # noqa: S308 -- it escapes


@dataclass(frozen=True)
class Moment:
    """An event in the life of a message, and the seconds since the one before, if any passed."""

    event: Event
    word: str
    gap: float | None


@register.filter
def timeline(events: list[Event]) -> Iterator[Moment]:
    """A message's events in order."""
    before: float | None = None
    for event in events:
        gap = event.at - before if before is not None and event.at - before >= 0.05 else None
        yield Moment(event, EVENT_WORDS.get(event.kind, event.kind), gap)
        before = event.at


@dataclass(frozen=True)
class Evidence:
    """One fact that a verdict rests on: a time, a text, a message, or those of a chain of calls."""

    name: str
    at: float | None = None
    text: str = ""
    message: int | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)


@register.filter
def evidence(facts: dict[str, Any]) -> Iterator[Evidence]:
    """The facts of a verdict that are there, apart from the queue, which is plain to see."""
    for key, value in facts.items():
        if key == "queue" or value is None or value == "" or value == []:
            continue
        name = {"at": "time", "end": "verdict at the end"}.get(
            key, key.removesuffix("_at").replace("_", " ")
        )
        if key in ("message", "oldest", "oldest_held"):
            yield Evidence(name, message=value)
        elif key.split("_")[-1] in ("at", "since", "seen"):
            yield Evidence(name, at=value)
        elif isinstance(value, dict):
            for fact in evidence(value):
                yield replace(fact, name=f"{fact.name} at the end")
        elif isinstance(value, list) and isinstance(value[0], dict):
            yield Evidence(name, steps=value)
        elif key in ("ack_timeout", "lease"):
            yield Evidence(name, text=verdict.duration(value))
        elif isinstance(value, list):
            yield Evidence(name, text=", ".join(map(str, value)))
        else:
            yield Evidence(name, text=str(value))
