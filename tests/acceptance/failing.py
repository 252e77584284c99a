"""The application, but for paths whose answers, of so many bytes, break off with an error."""

from __future__ import annotations

from typing import Any

from switchproject.asgi import application as switch


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve one request."""
    _, fails, size = scope.get("path", "").partition("/fails/")
    if not fails:
        await switch(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(int(size)), "more_body": True})
    raise RuntimeError("It fails.")
