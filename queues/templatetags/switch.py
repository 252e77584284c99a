"""How the pages show the switch's words, times and texts.

Every text of a client goes through ``visible``: it may hold anything that UTF-8 can.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django import template
from django.contrib.humanize.templatetags.humanize import intcomma
from django.template.defaultfilters import filesizeformat
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from queues.core import events, verdict
from queues.core.answers import QueueInfo, ServiceInfo, Usage
from queues.core.events import Event

register = template.Library()

STANDING_WORDS = {
    "crashed_or_deadlocked": "Crashed or deadlocked",
    "never_started": "Never started",
    "stopped": "Stopped",
    "running": "Running",
    "unused": "Not used yet",
}
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
def words(code: str) -> str:
    """A code for people."""
    return code.replace("_", " ").capitalize()


@register.filter
def amount(usage: Usage, field: str) -> str:
    """What of a limit is used, or the limit itself."""
    value = getattr(usage, field)
    return filesizeformat(value) if usage.name.endswith("_bytes") else intcomma(value)


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
    moment = datetime.fromtimestamp(at, UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(timespec="milliseconds"),
        f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        text,
    )


@register.simple_tag
def status(queue: QueueInfo) -> SafeString:
    """How the service behind a queue is doing, as a shape and words."""
    code = standing(queue)
    return format_html('<span class="mark mark-{}">{}</span>', code, STANDING_WORDS[code])


def standing(queue: QueueInfo) -> str:
    """The status of a service; a queue that nobody has sent to or subscribed to is "unused"."""
    unused = queue.status == "never_started" and not queue.sent
    return "unused" if unused else queue.status


@register.simple_tag
def state(code: str) -> SafeString:
    """The state of a message, as a shape and a word."""
    return format_html('<span class="mark mark-{}">{}</span>', code, code.capitalize())


@register.simple_tag
def caller(code: str) -> SafeString:
    """Whether somebody waits for the reply, as a shape and words."""
    return format_html('<span class="mark mark-caller-{}">{}</span>', code, CALLER_WORDS[code])


@dataclass(frozen=True)
class Group:
    """Services that need the same from the operator."""

    code: str
    title: str
    meaning: str
    services: list[ServiceInfo]


_GROUPS = (
    (
        "crashed_or_deadlocked",
        "Crashed or deadlocked",
        "Every server is past the time of its next Transfer, or its lease ran out.",
    ),
    (
        "never_started",
        "Called but never started",
        "Somebody has sent messages, and no server has ever subscribed. Start one.",
    ),
    (
        "stopped",
        "Stopped",
        "The last server left in order. If messages wait, start one again.",
    ),
    ("running", "Running", "At least one server asks for messages."),
    ("unused", "Not used yet", "The queue is there; nobody has sent to it or subscribed."),
)


@register.filter
def groups(services: list[ServiceInfo]) -> list[Group]:
    """The services by what they need, the most urgent first."""
    found: dict[str, list[ServiceInfo]] = {}
    for service in services:
        found.setdefault(standing(service.queue), []).append(service)
    return [Group(code, title, meaning, found.get(code, [])) for code, title, meaning in _GROUPS]


@register.filter
def left_out(service: ServiceInfo) -> int:
    """How many messages a service has beside those shown."""
    queue = service.queue
    return queue.ready + queue.delayed + queue.held + queue.dead - len(service.messages)


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
    """One fact that a verdict rests on: a time or a text."""

    name: str
    at: float | None
    text: str


@register.filter
def evidence(facts: dict[str, Any]) -> Iterator[Evidence]:
    """The facts of a verdict that are there."""
    for key, value in facts.items():
        if value is None or value == "":
            continue
        name = {"at": "time"}.get(key, key.removesuffix("_at").replace("_", " "))
        if key.split("_")[-1] in ("at", "since", "seen"):
            yield Evidence(name, value, "")
        elif key == "ack_timeout":
            yield Evidence(name, None, verdict.duration(value))
        else:
            text = ", ".join(value) if isinstance(value, list) else str(value)
            yield Evidence(name, None, text)
