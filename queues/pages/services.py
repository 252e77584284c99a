"""Services, queues, messages and sessions."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.views.decorators.http import require_safe

from queues.core.answers import QueueKind
from queues.core.messages import State
from queues.engines import ask, get_engine
from queues.engines.base import Engine

from .base import number, page
from .payload import show

#: Queues or messages on one page.
PAGE = 100
#: Characters of a text that is searched for.
LONGEST_SEARCH = 200


@page
def overview(request: HttpRequest) -> HttpResponse:
    """The whole switch, what needs attention first."""

    async def look(engine: Engine) -> dict[str, Any]:
        return {"diagnostics": await engine.diagnostics(), "health": await engine.health()}

    return render(request, "queues/overview.html", {"here": "overview", **ask(look)})


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
    """A queue, who serves it, and a page of its messages."""
    chosen = request.GET.get("state", "")
    state = State(chosen) if chosen in list(State) else None
    search = request.GET.get("search", "")[:LONGEST_SEARCH]
    after = number(request.GET.get("after", ""))

    async def look(engine: Engine) -> dict[str, Any]:
        return {
            "report": await engine.explain_queue(name),
            "listed": await engine.browse(
                name, state=state, after=after, limit=PAGE, search=search or None
            ),
        }

    context = {
        "here": "queues",
        "state": state,
        "search": search,
        "after": after,
        **ask(look),
        "now": get_engine().now(),
    }
    return render(request, "queues/queue.html", context)


@page
def message(request: HttpRequest, id: int) -> HttpResponse:
    """Where a message is, why, what it carries, and what happened to it."""
    report = ask(lambda engine: engine.explain(id))
    context = {"here": "queues", "report": report, "now": get_engine().now()}
    if report.message is not None:
        context["shown"] = show(report.message.payload, request.GET.get("as", ""))
    return render(request, "queues/message.html", context)


@page
def sessions(request: HttpRequest) -> HttpResponse:
    """Who is logged in, the overdue first."""
    diagnostics = ask(lambda engine: engine.diagnostics())
    return render(request, "queues/sessions.html", {"here": "sessions", "diagnostics": diagnostics})


@page
def session(request: HttpRequest, id: int) -> HttpResponse:
    """A session, what it holds and waits for."""
    found = ask(lambda engine: engine.explain_session(id))
    context = {"here": "sessions", "session": found, "now": get_engine().now()}
    return render(request, "queues/session.html", context)


@require_safe
def icon(request: HttpRequest) -> HttpResponse:
    """Where browsers look for an icon on pages that name none."""
    return redirect(static("queues/icon.svg"))
