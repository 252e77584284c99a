"""The control for HTTP: a project of Django as it comes, with the engine of the switch.

At ``/stock/`` there are asynchronous REST framework views written the usual way, by adrf. At
``/api/v1/`` there are the project's own views, but behind Django's handler and middleware.
"""

# ruff: noqa: E402 -- Django must be set up first

from __future__ import annotations

import os
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.stock_settings"

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from adrf.views import APIView
from django.urls import include, path
from msgspec import to_builtins
from rest_framework.request import Request
from rest_framework.response import Response

from queues.core.messages import Draft
from queues.engines import get_engine, running_engine, start_engine


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Start the engine with the first request; the rest is Django."""
    if running_engine() is None:
        start_engine()
    await django_application(scope, receive, send)


def _token(request: Request) -> str:
    token: str = request.headers["Authorization"].removeprefix("Bearer ")
    return token


class Login(APIView):
    """Start a session."""

    async def post(self, request: Request) -> Response:
        """Answer its token."""
        result = await get_engine().login(request.data["client"], 30.0)
        return Response(to_builtins(result), status=201)


class Queue(APIView):
    """One queue."""

    async def put(self, request: Request, name: str) -> Response:
        """Make sure that it exists."""
        return Response(to_builtins(await get_engine().create_queue(name, session=_token(request))))


class Subscription(APIView):
    """One subscription."""

    async def put(self, request: Request, name: str) -> Response:
        """Subscribe."""
        await get_engine().subscribe(name, session=_token(request))
        return Response(status=204)


class Messages(APIView):
    """The messages of a queue."""

    async def post(self, request: Request, name: str) -> Response:
        """Send one."""
        result = await get_engine().send(name, Draft(**request.data), session=_token(request))
        return Response(to_builtins(result), status=201)


class Transfer(APIView):
    """The blocking poll."""

    async def post(self, request: Request) -> Response:
        """Receive."""
        result = await get_engine().transfer(
            session=_token(request), timeout=request.data["timeout"], limit=request.data["limit"]
        )
        return Response(to_builtins(result))


class Ack(APIView):
    """Acknowledging."""

    async def post(self, request: Request) -> Response:
        """Finish messages."""
        result = await get_engine().ack(request.data["ids"], session=_token(request))
        return Response(to_builtins(result))


urlpatterns = [
    path("stock/login", Login.as_view()),
    path("stock/queues/<str:name>", Queue.as_view()),
    path("stock/subscriptions/<str:name>", Subscription.as_view()),
    path("stock/queues/<str:name>/messages", Messages.as_view()),
    path("stock/transfer", Transfer.as_view()),
    path("stock/ack", Ack.as_view()),
    path("", include("queues.api.urls")),
]
