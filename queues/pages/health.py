"""How the switch itself is doing."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from queues.core.verdict import duration
from queues.engines import ask

from .base import page


@page
def health(request: HttpRequest) -> HttpResponse:
    """The process, its event loop, and its limits."""
    report = ask(lambda engine: engine.health())
    used = {usage.name: usage.used for usage in report.usage}
    up = report.now - report.started_at
    context = {
        "here": "health",
        "health": report,
        "messages_bytes": used["total_bytes"],
        "covered": duration(report.now - report.history[0].at) if report.history else "",
        # The process is a little older than the switch.
        "share": f"{min(1.0, report.cpu / up):.1%}" if up > report.cpu else None,
    }
    return render(request, "queues/health.html", context)
