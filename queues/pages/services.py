"""Services, queues, messages and sessions."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.views.decorators.http import require_safe

from queues.core.answers import QueueKind
from queues.core.messages import State
from queues.engines import ask, get_engine

from .base import number, page

#: Queues or messages on one page.
PAGE = 100


@page
def overview(request: HttpRequest) -> HttpResponse:
    """The whole switch, what needs attention first."""
    diagnostics = ask(lambda engine: engine.diagnostics())
    return render(request, "queues/overview.html", {"here": "overview", "diagnostics": diagnostics})


@page
def queues(request: HttpRequest) -> HttpResponse:
    """A page of queues by name."""
    prefix = request.GET.get("prefix", "")
    after = request.GET.get("after", "")
    kinds: dict[str, QueueKind | None] = {"transient": "transient", "all": None}
    chosen = request.GET.get("kind", "")
    kind = kinds.get(chosen, "persistent")
    listed = ask(lambda engine: engine.list_queues(prefix, kind=kind, after=after, limit=PAGE))
    context = {
        "here": "queues",
        "listed": listed,
        "prefix": prefix,
        "after": after,
        "kind": kind or "all",
        "now": get_engine().now(),
    }
    return render(request, "queues/queues.html", context)


@page
def queue(request: HttpRequest, name: str) -> HttpResponse:
    """A queue and a page of its messages."""
    chosen = request.GET.get("state", "")
    state = State(chosen) if chosen in list(State) else None
    after = number(request.GET.get("after", ""))
    context = {
        "here": "queues",
        "queue": ask(lambda engine: engine.inspect_queue(name)),
        "listed": ask(lambda engine: engine.browse(name, state=state, after=after, limit=PAGE)),
        "state": state,
        "after": after,
        "now": get_engine().now(),
    }
    return render(request, "queues/queue.html", context)


@page
def message(request: HttpRequest, id: int) -> HttpResponse:
    """Where a message is, why, and what happened to it."""
    report = ask(lambda engine: engine.explain(id))
    context = {"here": "queues", "report": report, "now": get_engine().now()}
    return render(request, "queues/message.html", context)


@page
def sessions(request: HttpRequest) -> HttpResponse:
    """Who is logged in, the overdue first."""
    diagnostics = ask(lambda engine: engine.diagnostics())
    return render(request, "queues/sessions.html", {"here": "sessions", "diagnostics": diagnostics})


@require_safe
def icon(request: HttpRequest) -> HttpResponse:
    """Where browsers look for an icon on pages that name none."""
    return redirect(static("queues/icon.svg"))
