"""The lean handler: what it refuses itself, and what it does when somebody leaves."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

from queues.api import views
from queues.api.handler import MAX_BODY, ApiHandler
from queues.engines.intake import HTTP_ROUND, Intake, IntakeLimits
from queues.engines.memory import MemoryEngine

from .asgi import Exchange, ask
from .conftest import Ask

REFUSED: list[tuple[int, str, str, str, bytes, dict[str, str]]] = [
    (404, "not_found", "GET", "nothing", b"", {}),
    (404, "not_found", "GET", "messages/x", b"", {}),
    (404, "not_found", "GET", "messages/" + "9" * 5000, b"", {}),
    (404, "message_not_found", "GET", "messages/5", b"", {}),
    (405, "method_not_allowed", "GET", "login", b"", {}),
    (405, "method_not_allowed", "OPTIONS", "login", b"", {}),
    (405, "method_not_allowed", "DISPATCH", "login", b"", {}),
    (405, "method_not_allowed", "TRACE", "queues", b"", {}),
    (415, "unsupported_media_type", "POST", "login", b"client=a", {}),
    (415, "unsupported_media_type", "POST", "login", b"<a/>", {"content-type": "text/xml"}),
    (400, "invalid_request", "POST", "login", b"", {"content-type": "application/json"}),
    (400, "invalid_request", "POST", "login", b"{", {"content-type": "application/json"}),
    (400, "invalid_request", "GET", "queues?surprise=1", b"", {}),
    (400, "invalid_request", "GET", "queues?prefix=\xff", b"", {}),
    (400, "invalid_request", "POST", "call/q?payload=x", b"y", {}),
    (400, "invalid_request", "POST", "call/q?headers=x", b"y", {}),
    (400, "invalid_request", "POST", "call/q", b"\xff", {}),
    (400, "invalid_name", "PUT", "queues/a b", b"", {}),
    (400, "invalid_name", "PUT", "queues/..", b"", {}),
    (400, "invalid_name", "PUT", "queues/a\n", b"", {}),
    (400, "invalid_name", "PUT", "queues/" + "a" * 256, b"", {}),
    (400, "invalid_name", "PUT", "queues/é", b"", {}),
    (404, "queue_not_found", "POST", "queues/q/messages", b"x", {}),
    (401, "session_required", "POST", "transfer", b"", {}),
    (401, "session_required", "POST", "transfer", b"", {"authorization": "Basic eDp5"}),
    (401, "unknown_session", "POST", "transfer", b"", {"authorization": "Bearer x"}),
    (401, "unknown_session", "POST", "transfer", b"", {"authorization": "Bearer "}),
    (400, "invalid_host", "GET", "queues", b"", {"host": "evil.example"}),
    (403, "cross_site", "GET", "queues", b"", {"origin": "http://evil.example"}),
    (403, "cross_site", "GET", "queues", b"", {"origin": "null"}),
    (403, "cross_site", "GET", "queues", b"", {"origin": "http://[bad"}),
    (403, "cross_site", "GET", "queues", b"", {"origin": "http://x@localhost"}),
    (403, "cross_site", "GET", "queues", b"", {"origin": ""}),
    (400, "invalid_request", "POST", "call/q", b"x", {"content-type": "text/plain; x*=bogus''%41"}),
    (400, "invalid_request", "POST", "logout", b"surprise", {}),
    (400, "invalid_request", "DELETE", "queues/q", b"{}", {"content-type": "application/json"}),
    (403, "cross_site", "GET", "queues", b"", {"origin": "http://localhost:81"}),
    (403, "cross_site", "POST", "call/q", b"x", {"sec-fetch-site": "cross-site"}),
    (403, "cross_site", "POST", "call/q", b"x", {"sec-fetch-site": "same-site"}),
]


@pytest.mark.parametrize(("status", "code", "method", "path", "body", "headers"), REFUSED)
async def test_refusals(
    api: Ask,
    status: int,
    code: str,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
) -> None:
    answer = await api(method, path, body, headers=headers)
    assert (answer.status, answer.code) == (status, code)
    assert answer.json["detail"]
    assert "Traceback" not in answer.body.decode()


async def test_a_page_of_this_host_may_ask(api: Ask) -> None:
    headers = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
    assert (await api("GET", "queues", headers=headers)).status == 200


async def test_too_large_a_body_is_refused_while_it_arrives(handler: ApiHandler) -> None:
    chunk = b"x" * 2**20
    exchange = Exchange(
        handler, "POST", "/api/v1/call/q", [chunk] * (MAX_BODY // len(chunk) + 1), complete=False
    )
    answer = await exchange.run()
    assert (answer.status, answer.code) == (413, "payload_too_large")


async def test_a_payload_over_the_limit(api: Ask) -> None:
    await api("PUT", "queues/q")
    answer = await api("POST", "queues/q/messages", b"x" * (2**20 + 1))
    assert (answer.status, answer.code) == (413, "payload_too_large")


async def test_head_is_get_without_change(api: Ask) -> None:
    assert (await api("HEAD", "queues")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "queues/q/messages", b"x"),
        ("GET", "queues/q", b""),
        ("GET", "queues/none", b""),
        ("POST", "login", b"{"),
    ],
)
async def test_requests_leave_no_garbage_for_the_collector(
    api: Ask, method: str, path: str, body: bytes
) -> None:
    await api("PUT", "queues/q")
    await api(method, path, body)
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await api(method, path, body)
        assert gc.collect() < 50
    finally:
        gc.enable()


async def test_a_client_that_leaves_ends_its_transfer(
    api: Ask, token: str, engine: MemoryEngine, handler: ApiHandler
) -> None:
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    exchange = Exchange(handler, "POST", "/api/v1/transfer", b'{"timeout": 100}', headers)
    waiting = asyncio.ensure_future(exchange.run())
    while (await engine.inspect_queue("q")).waiting == 0:
        await asyncio.sleep(0)
    exchange.leave()
    answer = await waiting
    assert answer.status == 0
    assert (await engine.inspect_queue("q")).waiting == 0


async def test_a_client_that_leaves_takes_its_request_with_it(
    api: Ask, engine: MemoryEngine, handler: ApiHandler
) -> None:
    body = b'{"payload": "", "wait_for_server": true}'
    headers = {"content-type": "application/json"}
    exchange = Exchange(handler, "POST", "/api/v1/call/q", body, headers)
    await api("PUT", "queues/q")
    waiting = asyncio.ensure_future(exchange.run())
    while (await engine.inspect_queue("q")).ready == 0:
        await asyncio.sleep(0)
    exchange.leave()
    assert (await waiting).status == 0
    assert (await engine.browse("q")).messages == []


async def test_a_client_that_leaves_in_its_body_is_forgotten(handler: ApiHandler) -> None:
    exchange = Exchange(handler, "POST", "/api/v1/call/q", [b"half"], complete=False)
    exchange.leave()
    assert (await exchange.run()).status == 0


@pytest.mark.parametrize("path", ["transfer", "call/q"])
async def test_a_request_cancelled_by_a_stopping_server_is_answered(
    api: Ask, token: str, engine: MemoryEngine, handler: ApiHandler, path: str
) -> None:
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    body = b'{"timeout": 100}' if path == "transfer" else b'{"payload": ""}'
    exchange = Exchange(handler, "POST", f"/api/v1/{path}", body, headers)
    waiting = asyncio.ensure_future(exchange.run())
    for _ in range(10):
        await asyncio.sleep(0)
    engine.close()
    waiting.cancel()
    answer = await waiting
    assert (answer.status, answer.code) == (503, "shutting_down")


async def test_a_cancelled_request_of_a_running_switch_is_cancelled(
    api: Ask, token: str, handler: ApiHandler
) -> None:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    exchange = Exchange(handler, "POST", "/api/v1/transfer", b'{"timeout": 100}', headers)
    waiting = asyncio.ensure_future(exchange.run())
    for _ in range(10):
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_bug_is_logged_and_not_shown(
    api: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: Any, request: Any, query: Any) -> None:
        raise RuntimeError("secret detail")

    broken.operation = views.Queues.get.operation  # type: ignore[attr-defined]
    monkeypatch.setattr(views.Queues, "get", broken)
    with caplog.at_level(logging.ERROR, logger="queues.api"):
        answer = await api("GET", "queues")
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert "secret detail" in caplog.text


async def test_without_an_engine_the_protocol_says_so(handler: ApiHandler) -> None:
    answer = await ask(handler, "GET", "/api/v1/queues")
    assert (answer.status, answer.code) == (503, "not_running")


async def test_health(handler: ApiHandler, engine: MemoryEngine) -> None:
    probe = {"host": "10.0.0.7"}
    assert (await ask(handler, "GET", "/healthz", headers=probe)).body == b"ok\n"
    assert (await ask(handler, "GET", "/readyz", headers=probe)).status == 200
    engine.close()
    assert (await ask(handler, "GET", "/healthz")).status == 200
    stopping = await ask(handler, "GET", "/readyz")
    assert (stopping.status, stopping.body) == (503, b"shutting_down\n")


async def test_an_address_that_asks_too_much_is_refused_before_its_body_is_read(
    api: Ask, engine: MemoryEngine, handler: ApiHandler
) -> None:
    engine.intake = Intake(IntakeLimits(request_rate=2), asyncio.get_running_loop().call_soon)
    for _ in range(2):
        assert (await api("GET", "queues")).status == 200
    half = Exchange(handler, "POST", "/api/v1/queues/q/messages", [b"half"], complete=False)
    answer = await asyncio.wait_for(half.run(), 5)
    assert (answer.status, answer.code) == (429, "rate_limited")
    assert answer.headers["retry-after"] == "1"
    for probe in ("/healthz", "/readyz", "/metrics"):
        assert (await ask(handler, "GET", probe)).status == 200, "probes are let in always"


async def test_requests_under_way_are_bounded_and_probes_are_not(
    api: Ask, engine: MemoryEngine, handler: ApiHandler, token: str
) -> None:
    engine.intake = Intake(IntakeLimits(connections=3), asyncio.get_running_loop().call_soon)
    polls = [
        asyncio.ensure_future(api("POST", "transfer", json={"timeout": 60}, token=token))
        for _ in range(3)
    ]
    await asyncio.sleep(0.01)
    answer = await api("GET", "queues")
    assert (answer.status, answer.code) == (503, "too_many_connections")
    assert answer.headers["retry-after"] == "1"
    assert (await ask(handler, "GET", "/readyz")).status == 200
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)
    assert engine.intake.open == 0
    assert (await api("GET", "queues")).status == 200


async def test_logins_have_a_rate_of_their_own(api: Ask, engine: MemoryEngine) -> None:
    engine.intake = Intake(IntakeLimits(login_rate=1), asyncio.get_running_loop().call_soon)
    assert (await api("POST", "login", json={"client": "a"})).status == 201
    answer = await api("POST", "login", json={"client": "a"})
    assert (answer.status, answer.code) == (429, "rate_limited")
    assert (await api("GET", "queues")).status == 200


async def test_many_requests_at_once_leave_the_loop_to_probes(
    api: Ask, handler: ApiHandler
) -> None:
    """A probe that comes last is answered before most of them."""
    answered: list[str] = []

    async def request(number: int) -> None:
        assert (await api("GET", "queues")).status == 200
        answered.append("request")

    async def probe() -> None:
        assert (await ask(handler, "GET", "/healthz")).status == 200
        answered.append("probe")

    await asyncio.gather(*(request(number) for number in range(200)), probe())
    assert answered.index("probe") <= 2 * HTTP_ROUND
    assert len(answered) == 201
