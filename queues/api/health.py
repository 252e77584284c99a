"""Whether the process lives and whether it can serve: for load balancers and supervisors.

Open to any Host, since probes come by address.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from queues.core.errors import SwitchError
from queues.engines import get_engine


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


def _line(text: str, status: int) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=status, content_type="text/plain; charset=utf-8")
