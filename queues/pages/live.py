"""The stream of server-sent events that tells an open page when to look again.

It says that something has happened, not what: the page then asks for itself again. Below Django's
handler, since a thread for each open page would be dear.

``changed``
    Something has happened: at once after a quiet time, then at most once a second.
``beat``
    Nothing has happened for some seconds; a page that hears neither is stale.

Both carry the number of the newest event of the trace and the time, in seconds since the epoch.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from django.http import HttpRequest, HttpResponse

from queues.core.errors import NotRunning, SwitchError, Unavailable
from queues.engines import get_engine
from queues.engines.base import Engine
from queues.sites import CrossSite, header, is_foreign

from .base import page

#: Seconds between two events while things keep happening, and while nothing does.
PAUSE = 1.0
BEAT = 5.0
#: Milliseconds after which a browser that has lost its stream asks for another.
RETRY = 1_000
#: Streams that may be open at a time.
MOST_STREAMS = 100
#: What servers raise when the connection is gone.
GONE = (OSError, RuntimeError)


class TooManyPages(Unavailable):
    """As many pages follow the switch live as may."""

    code = "too_many_pages"


class LiveStream:
    """The ASGI application behind ``/live/``.

    ``?after=`` or the header Last-Event-ID says which event the page knows to have happened;
    without them it is told at once to look again.
    """

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._most = most
        self._open = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one page, until it leaves or the switch closes."""
        try:
            engine = get_engine()
            engine.check()
            if is_foreign(scope):
                raise CrossSite("Requests from pages of another site are refused.")
            if self._open >= self._most:
                raise TooManyPages(f"{self._most} pages follow the switch live already.")
        except SwitchError as error:
            await _refuse(error, send)
            return
        self._open += 1
        try:
            await _follow(engine, _known(scope), receive, send)
        finally:
            self._open -= 1


@page
def not_here(request: HttpRequest) -> HttpResponse:
    """What Django's own handler says: the stream is not its business."""
    raise NotRunning("The stream of events needs an ASGI server, and GET.")


async def _follow(engine: Engine, after: int, receive: Any, send: Any) -> None:
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        # For proxies that would keep the events until there are more of them.
        (b"x-accel-buffering", b"no"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    telling = asyncio.create_task(_tell(engine, after, send))
    leaving = asyncio.create_task(_until_gone(receive))

    def stop() -> None:
        telling.cancel()

    engine.on_close.add(stop)
    try:
        await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        engine.on_close.discard(stop)
        telling.cancel()
        leaving.cancel()
    await asyncio.wait((telling, leaving))
    if not telling.cancelled():
        with suppress(*GONE, NotRunning, Unavailable):
            telling.result()
    with suppress(*GONE):
        await send({"type": "http.response.body", "body": b""})


async def _tell(engine: Engine, after: int, send: Any) -> None:
    """Send the events, for ever."""
    newest = (await engine.trace(limit=0)).next
    # A number from elsewhere, larger than any, would never be passed.
    seen = min(after, newest)
    await _write(send, f"retry: {RETRY}\n\n")
    while True:
        if newest == seen:
            newest = (await engine.trace(after=seen, limit=0, timeout=BEAT)).next
        data = json.dumps({"number": newest, "now": engine.now()})
        if newest == seen:
            await _write(send, f"event: beat\ndata: {data}\n\n")
            continue
        seen = newest
        await _write(send, f"event: changed\nid: {seen}\ndata: {data}\n\n")
        await asyncio.sleep(PAUSE)


async def _write(send: Any, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _known(scope: Any) -> int:
    """The number of the event up to which the page knows everything; 0 for none."""
    last = header(scope, b"last-event-id")
    if last is None:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        last = query.get("after", ["0"])[0]
    return int(last) if last.isascii() and last.isdigit() and len(last) < 20 else 0


async def _refuse(error: SwitchError, send: Any) -> None:
    body = json.dumps({"code": error.code, "detail": error.detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
