"""The application, but for one path whose answer breaks off with an error."""

from __future__ import annotations

from typing import Any

from switchproject.asgi import application as switch


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve one request."""
    if scope.get("path") != "/fails":
        await switch(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"so far", "more_body": True})
    raise RuntimeError("It fails.")
