"""The trace: what happened last, as a list and as a message sequence chart of the same events."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.safestring import SafeString, mark_safe

from queues.core.events import Event, EventKind
from queues.drawing import sequence
from queues.drawing.story import CALL_PREFIX, WORDS, Story, of_call, tell
from queues.engines import ask, get_engine

from .base import number, page

#: Events on one page: what may be chosen, and what is shown unasked.
SIZES = (25, 50, 100, 200)
SIZE = 50
#: Events that are asked for at a time: the switch does nothing else meanwhile.
CHUNK = 2_000
#: Events beyond those shown that are looked at in any case: who called may stand there.
MARGIN = 200
#: Seconds that one search may take.
SEARCH_TIME = 1.0
#: Characters of a text to search for.
MOST_TEXT = 255

KINDS: tuple[EventKind, ...] = get_args(EventKind)
_HASH = base64.b64encode(hashlib.sha256(sequence.STYLE.encode()).digest()).decode()
#: A chart's own page may use the style inside it, and nothing else.
FILE_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are wanted. Empty texts and None want all."""

    queue: str = ""
    kind: EventKind | None = None
    client: str = ""
    message: str = ""
    text: str = ""

    @classmethod
    def of(cls, query: QueryDict) -> Filter:
        """What a query asks for."""
        queue, client, message, text = (
            query.get(name, "").strip()[:MOST_TEXT]
            for name in ("queue", "client", "message", "text")
        )
        kind = next((kind for kind in KINDS if kind == query.get("kind")), None)
        return cls(queue, kind, client, message, text)

    @property
    def fields(self) -> dict[str, str]:
        """What makes a query of it."""
        names = ("queue", "kind", "client", "message", "text")
        return {name: value for name in names if (value := getattr(self, name))}

    def wants(self, event: Event, newer: Event | None) -> bool:
        """Whether an event is wanted, apart from its message. ``newer`` is the next event: the
        response to a call belongs to the queue of its request, and only that event says which."""
        if self.kind is not None and event.kind != self.kind:
            return False
        if self.client and event.client != self.client:
            return False
        if self.queue and event.queue != self.queue and not _answers(event, newer, self.queue):
            return False
        if not self.text:
            return True
        texts = (event.queue, event.client, event.detail, WORDS.get(event.kind))
        wanted = self.text.casefold()
        return any(text is not None and wanted in text.casefold() for text in texts)


def _answers(event: Event, newer: Event | None, queue: str) -> bool:
    """Whether an event is the response to a call, whose request was in ``queue``."""
    return (
        newer is not None
        and event.kind == "sent"
        and newer.kind == "replied"
        and newer.queue == queue
        and newer.client == event.client
        and (event.queue or "").startswith(CALL_PREFIX)
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """Events that a filter wants, the newest first."""

    events: list[Event]
    around: list[Event]
    """All that were looked at."""
    next: int | None
    """The number before which older ones may be found; None if there are none."""
    in_time: bool
    """False if there was not time enough to look at all."""
    kept: int
    dropped: int

    @property
    def story(self) -> Story:
        """What they tell."""
        return tell(self.events, self.around)


def select(chosen: Filter, before: int | None, size: int) -> Selection:
    """Look back in time, from ``before`` on, for at most ``size`` events."""
    ends = time.monotonic() + SEARCH_TIME
    wanted: list[Event] = []
    around: list[Event] = []
    newer: Event | None = None
    # Without a filter the first look has all.
    chunk = CHUNK if chosen.fields else size + MARGIN
    while True:
        found = ask(lambda engine: engine.trace_back(before, chunk))  # noqa: B023 -- run at once
        for event in found.events:
            if chosen.wants(event, newer):
                wanted.append(event)
            newer = event
        around += found.events
        before = found.next
        late = time.monotonic() > ends
        if before is None or late or (len(wanted) > size and not chosen.message):
            break
        chunk = CHUNK
    if chosen.message:
        tree = {event.number for event in of_call(around[::-1], number(chosen.message))}
        wanted = [event for event in wanted if event.number in tree]
    if len(wanted) > size:
        wanted = wanted[:size]
        before = wanted[-1].number
    return Selection(
        events=wanted,
        around=around,
        next=before,
        in_time=before is None or not late,
        kept=found.kept,
        dropped=found.dropped,
    )


def _asked(request: HttpRequest) -> tuple[Filter, int | None, int]:
    """The filter, the place in time, and the size that a query asks for."""
    size = number(request.GET.get("show", ""))
    return (
        Filter.of(request.GET),
        number(request.GET.get("before", "")) or None,
        size if size in SIZES else SIZE,
    )


@page
def trace(request: HttpRequest) -> HttpResponse:
    """The last events, or those before a given one, as a list and as a chart."""
    chosen, before, size = _asked(request)
    selection = select(chosen, before, size)
    story = selection.story
    steps = len(story.steps)
    step = number(request.GET.get("step", ""))
    if 1 <= step <= steps:
        step = min(max(step + number(request.GET.get("move", "")), 1), steps)
    else:
        step = 0
    drawing = sequence.draw(story, label=label(chosen), step=step or None)
    # The same events stay chosen while time stands still, and in what is exported.
    here = selection.events[0].number + 1 if selection.events else before
    fixed = {**chosen.fields, **({"before": str(here)} if here else {}), "show": str(size)}
    at = story.steps[step - 1] if step else None
    context: dict[str, Any] = {
        "here": "trace",
        "chosen": chosen,
        "kinds": [(kind, WORDS[kind].capitalize()) for kind in KINDS],
        "sizes": SIZES,
        "size": size,
        "before": before,
        "selection": selection,
        "rows": [
            (event, WORDS[event.kind].capitalize(), (event.queue or "").startswith(CALL_PREFIX))
            for event in selection.events
        ],
        "story": story,
        "steps": steps,
        "step": step,
        "said": story.said(at) if at is not None else "",
        "at": at,
        "heads": _picture(drawing.heads),
        "times": _picture(drawing.times),
        "body": _picture(drawing.body),
        "fixed": fixed,
        "query": urlencode(fixed),
        "now": get_engine().now(),
    }
    return render(request, "queues/trace.html", context)


@page
def chart_svg(request: HttpRequest) -> HttpResponse:
    """The chart as a file of its own."""
    chosen, before, size = _asked(request)
    text = sequence.svg(select(chosen, before, size).story, label=label(chosen))
    response = HttpResponse(text, content_type="image/svg+xml; charset=utf-8")
    response["Content-Security-Policy"] = FILE_POLICY
    response["Content-Disposition"] = 'inline; filename="trace.svg"'
    return response


@page
def chart_mscgen(request: HttpRequest) -> HttpResponse:
    """The chart in the language of mscgen."""
    chosen, before, size = _asked(request)
    selection = select(chosen, before, size)
    text = sequence.mscgen(selection.events, selection.around)
    response = HttpResponse(text, content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = 'inline; filename="trace.msc"'
    return response


def label(chosen: Filter) -> str:
    """What a chart shows, in words."""
    words = {
        "queue": "of queue {}",
        "kind": "of kind {}",
        "client": "by {}",
        "message": "of the call that message {} belongs to",
        "text": "with “{}”",
    }
    said = [words[name].format(value) for name, value in chosen.fields.items()]
    return " ".join(["Events", *said])


def _picture(text: str) -> SafeString:
    return mark_safe(text)  # noqa: S308 -- the drawing escapes what it shows
