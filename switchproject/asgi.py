"""The ASGI application: the protocol by the lean handler, pages by Django."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "switchproject.settings")
pages = get_asgi_application()

from channels.routing import ProtocolTypeRouter  # noqa: E402 -- Django must be set up first
from channels.security.websocket import WebsocketDenier  # noqa: E402

from queues.api.handler import ApiHandler  # noqa: E402
from queues.conf import limits  # noqa: E402
from queues.worker import Worker  # noqa: E402

worker = Worker(ApiHandler("queues.api.urls"), pages, limits)

application = ProtocolTypeRouter(
    {
        "http": worker.http,
        "websocket": WebsocketDenier.as_asgi(),
        "lifespan": worker.lifespan,
    }
)
