"""The ASGI application: the protocol by the lean handler and the stream, pages by Django."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "switchproject.settings")
pages = get_asgi_application()

from channels.routing import ProtocolTypeRouter  # noqa: E402 -- Django must be set up first

from queues.api.handler import ApiHandler  # noqa: E402
from queues.conf import intake, journal, limits, listen, undo_seconds  # noqa: E402
from queues.pages.live import LiveStream  # noqa: E402
from queues.stream.consumer import StreamConsumer  # noqa: E402
from queues.worker import Worker  # noqa: E402

undo_seconds()  # a wrong setting shows now, not at the first purge

worker = Worker(
    api=ApiHandler("queues.api.urls"),
    pages=pages,
    stream=StreamConsumer.as_asgi(),
    live=LiveStream(),
    limits=limits,
    journal=journal,
    intake=intake,
    addresses=listen,
)

application = ProtocolTypeRouter(
    {
        "http": worker.http,
        "websocket": worker.websocket,
        "lifespan": worker.lifespan,
    }
)
