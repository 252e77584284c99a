"""The control: the same views behind Django's own ASGI handler and its default middleware."""

from __future__ import annotations

import os
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.stock_settings"

from django.core.asgi import get_asgi_application

from queues.engines import running_engine, start_engine

django_application = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Start the engine with the first request; the rest is Django."""
    if running_engine() is None:
        start_engine()
    await django_application(scope, receive, send)
