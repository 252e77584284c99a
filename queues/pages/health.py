"""How the switch itself is doing."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from queues.engines import ask

from .base import page


@page
def health(request: HttpRequest) -> HttpResponse:
    """The process, its event loop, and its limits."""
    report = ask(lambda engine: engine.health())
    return render(request, "queues/health.html", {"here": "health", "health": report})
