"""Whether the process lives and whether it can serve, for load balancers and supervisors; and the
switch in numbers, for Prometheus.

The probes are open to any Host, since they come by address. The numbers name the queues, so they
are guarded as the protocol is.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from queues.core.errors import SwitchError
from queues.engines import get_engine
from queues.metrics import OPENMETRICS, TEXT, render, wants_openmetrics

from .base import refuse_other_sites


@require_safe
async def healthz(request: HttpRequest) -> HttpResponse:
    """The event loop runs."""
    return _line("ok", 200)


@require_safe
async def readyz(request: HttpRequest) -> HttpResponse:
    """The switch takes requests: it runs, and is not stopping."""
    try:
        get_engine().check()
    except SwitchError as error:
        return _line(error.code, error.status)
    return _line("ready", 200)


@require_safe
async def metrics(request: HttpRequest) -> HttpResponse:
    """The switch in numbers, in the form that Accept asks for."""
    refuse_other_sites(request)
    as_openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
    try:
        found = await get_engine().metrics()
    except SwitchError as error:
        return _line(error.code, error.status)
    content = await render(found, as_openmetrics=as_openmetrics)
    return HttpResponse(
        content,
        content_type=OPENMETRICS if as_openmetrics else TEXT,
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


def _line(text: str, status: int) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")
