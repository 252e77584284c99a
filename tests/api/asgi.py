"""An ASGI server of a few lines: one request to an application in this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass
class Answer:
    """What the application sent."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        code: str = self.json["code"]
        return code


class Exchange:
    """One request. ``leave`` is what a client does that closes its connection."""

    def __init__(
        self,
        application: Any,
        method: str,
        target: str,
        body: bytes | list[bytes] = b"",
        headers: dict[str, str] | None = None,
        *,
        complete: bool = True,
    ) -> None:
        path, _, query = target.partition("?")
        fields = {"host": "localhost", **(headers or {})}
        chunks = [body] if isinstance(body, bytes) else body
        if isinstance(body, bytes) and body:
            fields.setdefault("content-length", str(len(body)))
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query.encode("latin-1"),
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in fields.items()],
            "client": ["127.0.0.1", 40000],
            "server": ["127.0.0.1", 8080],
        }
        self.answer = Answer()
        self._application = application
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for index, chunk in enumerate(chunks):
            more = index < len(chunks) - 1 or not complete
            self._incoming.put_nowait({"type": "http.request", "body": chunk, "more_body": more})

    def leave(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def run(self) -> Answer:
        await self._application(self.scope, self._incoming.get, self._send)
        return self.answer

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            assert self.answer.status == 0, "two answers"
            self.answer.status = message["status"]
            self.answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.answer.body += message["body"]


async def ask(
    application: Any,
    method: str,
    target: str,
    body: bytes | list[bytes] | None = None,
    *,
    json: Any = None,
    token: str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request and its answer."""
    fields = dict(headers or {})
    if json is not None:
        body = msgspec.json.encode(json)
        fields.setdefault("content-type", "application/json")
    if token is not None:
        fields["authorization"] = f"Bearer {token}"
    return await Exchange(application, method, target, body or b"", fields).run()
