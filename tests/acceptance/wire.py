"""Raw HTTP/1.1 over asyncio: for tests that need to be impolite, or many."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

#: Asks for a WebSocket.
UPGRADE = (
    b"GET /ws/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection, for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Write a request and do not wait for its answer. A path that does not begin with a slash
        is below /api/v1/."""
        target = path if path.startswith("/") else f"/api/v1/{path}"
        fields = {"Host": "localhost", "Content-Length": str(len(body)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body)

    async def answer(self) -> Answer:
        """Read one answer. Raises IncompleteReadError if the connection ends before it."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        code = int(status.split()[1])
        length = 0 if code == 204 else int(headers["content-length"])
        return Answer(code, headers, await self.reader.readexactly(length))

    async def request(
        self, method: str, path: str, body: Any = None, token: str | None = None
    ) -> Answer:
        """A JSON request and its answer."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self.send(method, path, b"" if body is None else json.dumps(body).encode(), headers)
        return await self.answer()

    async def ask(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """The same, where it must succeed: the JSON answered."""
        answer = await self.request(method, path, body, token)
        assert answer.status < 300, answer
        return answer.json if answer.body else None

    def close(self) -> None:
        self.writer.close()


class Client:
    """One connection and, if it logs in, its session."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._token: str | None = None

    def close(self) -> None:
        self._wire.close()

    async def request(self, method: str, path: str, body: Any = None) -> Answer:
        """A JSON request and its answer."""
        return await self._wire.request(method, path, body, self._token)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The same, where it must succeed: the JSON answered."""
        answer = await self.request(method, path, body)
        assert answer.status < 300, (method, path, body, answer)
        return answer.json if answer.body else None

    async def login(self, name: str, *queues: str, **more: Any) -> None:
        """Log in and subscribe."""
        self._token = (await self.ask("POST", "login", {"client": name, **more}))["session"]
        for queue in queues:
            await self.ask("PUT", f"subscriptions/{queue}")
