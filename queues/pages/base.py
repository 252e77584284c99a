"""What all pages have in common."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from queues.core.errors import MessageNotFound, QueueNotFound, SessionNotFound, Unavailable
from queues.engines import ask

View = Callable[..., HttpResponse]


def page(view: View) -> View:
    """A page for looking: never cached, and with a page of its own for each refusal.

    ``request.trace_number`` is the number of the newest event that the page knows of, from which
    on it follows the switch.
    """

    @require_safe
    @never_cache
    @wraps(view)
    def answer(request: HttpRequest, **fields: Any) -> HttpResponse:
        try:
            if "HX-Request" not in request.headers:
                report = ask(lambda engine: engine.trace(limit=0))
                request.trace_number = report.next  # type: ignore[attr-defined]
            return view(request, **fields)
        except (QueueNotFound, MessageNotFound, SessionNotFound) as error:
            return render(request, "queues/not_found.html", {"error": error}, status=404)
        except (Unavailable, TimeoutError, CancelledError) as error:
            return render(request, "queues/unavailable.html", {"error": error}, status=503)

    return answer


def number(text: str) -> int:
    """The number that a query string gives; 0 for anything else."""
    try:
        return int(text)
    except ValueError:
        return 0
