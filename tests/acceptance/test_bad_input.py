"""Bad input to a real server: a coded refusal each time, and the switch goes on."""

from __future__ import annotations

import http.client
import json

import pytest

from .conftest import Server

JSON = {"Content-Type": "application/json"}


def ask(
    server: Server,
    method: str,
    path: str,
    body: object = b"",
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.request(
            method, f"/api/v1/{path}", body, headers or {}, encode_chunked=isinstance(body, list)
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="module", autouse=True)
def session(server: Server) -> dict[str, str]:
    """Headers of a session that consumes the queue q."""
    _, body = ask(server, "POST", "login", b'{"client": "t", "lease": 3600}', JSON)
    headers = {"Authorization": f"Bearer {json.loads(body)['session']}", **JSON}
    ask(server, "PUT", "queues/q")
    ask(server, "PUT", "subscriptions/q", headers=headers)
    return headers


CASES = [
    ("POST", "login", b"client", JSON, 400, "invalid_request"),
    ("POST", "login", b'{"client": 5}', JSON, 400, "invalid_request"),
    ("POST", "login", b'{"client": "a", "new": 1}', JSON, 400, "invalid_request"),
    ("POST", "login", b'{"client": "\xff\xfe"}', JSON, 400, "invalid_request"),
    ("POST", "login", b'{"client": "\\ud800"}', JSON, 400, "invalid_request"),
    ("POST", "login", b"[" * 1_000_000, JSON, 400, "invalid_request"),
    ("POST", "login", b'{"client":' * 100_000, JSON, 400, "invalid_request"),
    ("POST", "login", b'{"client": "a", "lease": 1e400}', JSON, 400, "invalid_request"),
    ("POST", "login", b'{"client": "a", "lease": ' + b"9" * 5000 + b"}", JSON, 400, None),
    ("POST", "login", b'{"client": "a"}', {"Content-Type": "text/xml"}, 415, None),
    ("POST", "queues/q/messages", b"\xff", {}, 400, "invalid_request"),
    ("POST", "queues/q/messages", b"x" * 2 * 2**20, {}, 413, "payload_too_large"),
    ("POST", "queues/q/messages", b"x" * 20 * 2**20, {}, 413, "payload_too_large"),
    ("POST", "call/q?timeout=-1", b"x", {}, 400, "invalid_request"),
    ("POST", "call/q?timeout=inf", b"x", {}, 400, "invalid_request"),
    ("POST", "call/q?timeout=nan", b"x", {}, 400, "invalid_request"),
    ("POST", "call/q?timeout=1e10", b"x", {}, 400, "invalid_request"),
    ("PUT", "queues/b%20d", b"", {}, 400, "invalid_name"),
    ("PUT", "queues/%00", b"", {}, 400, "invalid_name"),
    ("PUT", "queues/%ff", b"", {}, 400, "invalid_name"),
    ("PUT", "queues/%2e%2e", b"", {}, 400, "invalid_name"),
    ("PUT", "queues/" + "a" * 256, b"", {}, 400, "invalid_name"),
    ("GET", "messages/1", b"", {}, 404, "message_not_found"),
    ("GET", "messages/" + "9" * 4000, b"", {}, 404, "message_not_found"),
    ("GET", "messages/-1", b"", {}, 404, "not_found"),
    ("GET", "queues?after=%ff", b"", {}, 400, "invalid_request"),
    ("POST", "transfer", b"{}", {**JSON, "Authorization": "Bearer no"}, 401, "unknown_session"),
    ("POST", "transfer", b"{}", JSON, 401, "session_required"),
    ("DELETE", "login", b"", {}, 405, "method_not_allowed"),
    ("BREW", "login", b"", {}, 405, "method_not_allowed"),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status", "code"), CASES)
def test_bad_input_is_refused(
    server: Server,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    code: str | None,
) -> None:
    got, answer = ask(server, method, path, body, headers)
    assert got == status, answer[:300]
    refusal = json.loads(answer)
    assert refusal["code"] == (code or refusal["code"])
    assert refusal["detail"]
    assert b"Traceback" not in answer
    assert "Traceback" not in server.log


@pytest.mark.parametrize("payload", [b"", b"\0" * 100, b"\r\n\t \xc3\xa9", b"x" * 2**20])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_payload_travels_byte_exact(
    server: Server, session: dict[str, str], payload: bytes, chunked: bool
) -> None:
    body: object = [payload[: len(payload) // 2], payload[len(payload) // 2 :]]
    headers = {"Transfer-Encoding": "chunked"} if chunked else {}
    if chunked:
        body = [chunk for chunk in body if chunk]  # type: ignore[attr-defined]
    sent, _ = ask(server, "POST", "queues/q/messages", body if chunked else payload, headers)
    assert sent == 201
    _, answer = ask(server, "POST", "transfer", b'{"timeout": 5}', session)
    [message] = json.loads(answer)["messages"]
    assert message["payload"].encode() == payload
    ask(server, "POST", "ack", json.dumps({"ids": [message["id"]]}).encode(), session)
