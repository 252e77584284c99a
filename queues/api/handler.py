"""The ASGI application for the protocol's paths: Django's requests, URLs and views without the
parts of its own handler that cost a thread hop each.

Django's handler opens a thread for every request, runs synchronous receivers of the request
signals, and closes each response in that thread; that is most of the time of a small request,
and one OS thread for each pending poll. None of it is of use to views that touch no ORM.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from io import BytesIO
from typing import Any

from django.core.exceptions import BadRequest
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.urls import Resolver404, get_resolver

from queues.core.errors import InvalidRequest, NotRunning, PayloadTooLarge, SwitchError
from queues.engines import get_engine, running_engine
from queues.engines.intake import Intake
from queues.engines.turns import Turns
from queues.protocol.operations import encode

from .errors import NotFound, answer, as_switch_error

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

#: Largest request body in bytes. A batch may carry several payloads; each has its own limit.
MAX_BODY = 8 * 2**20


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class ApiHandler:
    """Serves the URLs of one module.

    A view is cancelled when its client goes away. A view cancelled otherwise, by a server that
    is stopping, answers ``shutting_down``.
    """

    def __init__(self, urlconf: str) -> None:
        self._resolver = get_resolver(urlconf)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        try:
            intake = _enter(scope)
        except SwitchError as error:
            await send_response(error_response(error), send)
            return
        try:
            response = await self._respond(scope, receive, intake)
        except ClientGone:
            return
        except asyncio.CancelledError:
            try:
                get_engine().check()
            except NotRunning:
                raise
            except SwitchError as error:
                response = error_response(error)
            else:
                raise
        finally:
            if intake is not None:
                intake.leave()
        await send_response(response, send)

    async def _respond(self, scope: Scope, receive: Receive, intake: Intake | None) -> HttpResponse:
        try:
            body = await _read_body(receive, intake)
            if intake is not None:
                await _turn(intake.requests)
            try:
                request = ASGIRequest(scope, BytesIO(body))
            except (ValueError, LookupError, BadRequest) as error:
                # Not UTF-8 in the query, an unknown charset or parameter in the Content-Type.
                raise InvalidRequest("The query string or a header cannot be read.") from error
            # A chunked request declares no length, and would pass for an empty one.
            request.META["CONTENT_LENGTH"] = str(len(body))
            try:
                match = self._resolver.resolve(request.path_info)
            except Resolver404 as error:
                raise NotFound("There is nothing at this path.") from error
            request.resolver_match = match
        except SwitchError as error:
            return error_response(error)
        task = asyncio.current_task()
        assert task is not None
        watcher = asyncio.create_task(_cancel_when_gone(task, receive))
        try:
            response: Any = await match.func(request, *match.args, **match.kwargs)
        except asyncio.CancelledError:
            if watcher.done() and not watcher.cancelled():
                task.uncancel()
                raise ClientGone from None
            raise
        except Exception as error:
            return error_response(as_switch_error(error))
        finally:
            watcher.cancel()
        assert isinstance(response, HttpResponse)
        return response


def _enter(scope: Scope) -> Intake | None:
    """Let a request in; None for probes, which are let in always. Raises TooManyConnections,
    RateLimited."""
    engine = running_engine()
    if engine is None or "/api/v1/" not in scope["path"]:
        return None
    client = scope.get("client")
    engine.intake.enter(client[0] if client else "", engine.now())
    return engine.intake


async def _turn(turns: Turns) -> None:
    """Wait until it is the turn of a request."""
    if turns.left > 0:
        turns.spend(1)
        return
    future = asyncio.get_running_loop().create_future()

    def go() -> None:
        if not future.done():
            turns.spend(1)
            future.set_result(None)

    turns.line_up(go)
    await future


async def _read_body(receive: Receive, intake: Intake | None) -> bytes:
    """The whole body, also of a chunked request. Raises PayloadTooLarge, TooManyConnections,
    ClientGone."""
    chunks: list[bytes] = []
    size = kept = 0
    more = True
    try:
        while more and size <= MAX_BODY:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            more = message.get("more_body", False)
            if more and intake is not None:
                added, kept = size - kept, size
                intake.receive(added)
    finally:
        if kept and intake is not None:
            intake.receive(-kept)
    if size > MAX_BODY:
        raise PayloadTooLarge(f"A request body may have at most {MAX_BODY} bytes.")
    return b"".join(chunks)


async def _cancel_when_gone(task: asyncio.Task[Any], receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()


def error_response(error: SwitchError) -> HttpResponse:
    """The answer to a refusal, outside of any view."""
    status, headers, content = answer(error)
    return HttpResponse(
        encode(content), status=status, headers=headers, content_type="application/json"
    )


async def send_response(response: HttpResponse, send: Send) -> None:
    """Send a finished response."""
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in response.items()]
    content = response.content
    headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": content})
