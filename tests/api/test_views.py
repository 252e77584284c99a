"""Each operation over HTTP: its answer, and every refusal that its document names."""

from __future__ import annotations

import asyncio

import pytest
from django.test import RequestFactory

from queues.api import views
from queues.engines.memory import MemoryEngine
from queues.testing import FakeClock

from .conftest import Ask


async def test_login_gives_a_session_of_its_own(api: Ask) -> None:
    first = await api("POST", "login", json={"client": "a", "lease": 5})
    second = await api("POST", "login", json={"client": "a"})
    assert (first.status, second.status) == (201, 201)
    assert first.json["lease"] == 5.0
    assert first.json["session"] != second.json["session"]
    assert len(first.json["session"]) >= 32


async def test_logout_ends_the_session(api: Ask, token: str) -> None:
    assert (await api("POST", "logout", token=token)).status == 204
    answer = await api("POST", "logout", token=token)
    assert (answer.status, answer.code) == (401, "unknown_session")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_queue_from_its_creation_to_its_end(api: Ask) -> None:
    assert (await api("PUT", "queues/q")).status == 201
    again = await api("PUT", "queues/q")
    assert (again.status, again.json) == (200, {"name": "q", "created": False})
    differs = await api("PUT", "queues/q", json={"policy": {"ttl": 5}})
    assert (differs.status, differs.code) == (409, "policy_differs")
    changed = await api("PATCH", "queues/q", json={"policy": {"ttl": 5}})
    assert changed.json["policy"]["ttl"] == 5.0
    assert (await api("GET", "queues/q")).json["policy"]["ttl"] == 5.0
    assert (await api("DELETE", "queues/q")).status == 204
    for method in ("GET", "DELETE"):
        gone = await api(method, "queues/q")
        assert (gone.status, gone.code) == (404, "queue_not_found")


async def test_queues_are_listed_in_pages(api: Ask, token: str) -> None:
    for name in ("b", "a", "c", "x"):
        await api("PUT", f"queues/{name}")
    fresh = (await api("POST", "queues", token=token)).json["name"]
    page = (await api("GET", "queues?limit=2")).json
    assert ([q["name"] for q in page["queues"]], page["next"]) == (["a", "b"], "b")
    page = (await api("GET", "queues?limit=2&after=b")).json
    assert [q["name"] for q in page["queues"]] == ["c", fresh]
    page = (await api("GET", "queues?kind=transient")).json
    assert ([q["name"] for q in page["queues"]], page["next"]) == ([fresh], None)
    assert (await api("GET", "queues?prefix=x")).json["queues"][0]["name"] == "x"


async def test_a_fresh_queue_needs_a_session_and_is_its_own(api: Ask, token: str) -> None:
    assert (await api("POST", "queues")).code == "session_required"
    name = (await api("POST", "queues", token=token)).json["name"]
    other = (await api("POST", "login", json={"client": "b"})).json["session"]
    for method, path in (
        ("PUT", f"subscriptions/{name}"),
        ("DELETE", f"queues/{name}"),
        ("POST", f"queues/{name}/purge"),
        ("POST", f"queues/{name}/replay"),
        ("POST", f"queues/{name}/pause"),
        ("POST", f"queues/{name}/resume"),
        ("POST", f"queues/{name}/requeue"),
    ):
        answer = await api(method, path, token=other)
        assert (answer.status, answer.code) == (403, "not_owner"), path
    assert (await api("POST", f"queues/{name}/messages", b"hi", token=other)).status == 201


async def test_a_message_from_send_to_ack(api: Ask, token: str) -> None:
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    message = {
        "payload": "hello",
        "correlation_id": "7",
        "reply_to": "r",
        "headers": {"a": "b"},
        "ttl": 60,
    }
    sent = await api("POST", "queues/q/messages", json=message, token=token)
    assert sent.status == 201
    [browsed] = (await api("GET", "queues/q/messages")).json["messages"]
    assert (browsed["state"], browsed["sender"]) == ("ready", "tester")
    result = (await api("POST", "transfer", json={}, token=token)).json
    [got] = result["messages"]
    assert {key: got[key] for key in ("payload", "correlation_id", "reply_to", "headers")} == {
        key: message[key] for key in ("payload", "correlation_id", "reply_to", "headers")
    }
    assert (got["id"], got["delivery_count"], result["next"]) == (
        sent.json["id"],
        1,
        got["delivery"],
    )
    acked = await api("POST", "ack", json={"ids": [got["id"], 1]}, token=token)
    assert acked.json == {"acked": [got["id"]], "unknown": [1], "not_held": []}
    again = await api("POST", "ack", json={"ids": [got["id"]]}, token=token)
    assert again.json["unknown"] == [got["id"]]
    report = (await api("GET", f"messages/{got['id']}")).json
    assert (report["message"], report["verdict"]["code"]) == (None, "acked")
    assert [event["kind"] for event in report["events"]] == ["sent", "delivered", "acked"]


@pytest.mark.parametrize("payload", [b"", b"\0" * 10, "é€😀".encode(), b"x" * 2**20])
async def test_a_bare_body_is_the_payload_byte_for_byte(
    api: Ask, token: str, payload: bytes
) -> None:
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    sent = await api(
        "POST",
        "queues/q/messages?correlation_id=7&ttl=60",
        payload,
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert sent.status == 201
    [got] = (await api("POST", "transfer", json={}, token=token)).json["messages"]
    assert (got["payload"].encode(), got["correlation_id"]) == (payload, "7")


async def test_a_chunked_body_is_read_whole(api: Ask, token: str) -> None:
    await api("PUT", "queues/q")
    sent = await api(
        "POST", "queues/q/messages", [b"he", b"", b"llo"], headers={"transfer-encoding": "chunked"}
    )
    assert sent.status == 201
    [message] = (await api("GET", "queues/q/messages")).json["messages"]
    assert message["payload"] == "hello"


async def test_behind_a_handler_that_reads_no_chunks_a_chunked_body_is_refused(
    engine: MemoryEngine,
) -> None:
    request = RequestFactory().generic(
        "POST", "/api/v1/queues/q/messages", headers={"transfer-encoding": "chunked"}
    )
    request.META.pop("CONTENT_LENGTH", None)
    response = await views.Messages.as_view()(request, name="q")
    assert (response.status_code, response.data["code"]) == (411, "length_required")


async def test_a_batch_answers_for_each_message(api: Ask) -> None:
    await api("PUT", "queues/q", json={"policy": {"max_length": 2}})
    batch = [{"payload": "a", "key": "k"}, {"payload": "a", "key": "k"}, {"payload": "b"}]
    answer = await api("POST", "queues/q/messages", json=[*batch, {"payload": "c"}])
    assert answer.status == 200
    outcomes = answer.json
    assert [o["created"] for o in outcomes] == [True, False, True, False]
    assert outcomes[0]["id"] == outcomes[1]["id"] != outcomes[2]["id"]
    assert (outcomes[3]["id"], outcomes[3]["code"]) == (None, "queue_full")


async def test_a_repeated_key_answers_200_with_the_first_id(api: Ask) -> None:
    await api("PUT", "queues/q")
    first = await api("POST", "queues/q/messages", json={"payload": "a", "key": "k"})
    again = await api("POST", "queues/q/messages", json={"payload": "a", "key": "k"})
    assert (first.status, again.status, again.json["id"]) == (201, 200, first.json["id"])
    other = await api("POST", "queues/q/messages", json={"payload": "b", "key": "k"})
    assert (other.status, other.code) == (409, "key_reused")


async def test_a_full_queue_says_when_to_come_back(api: Ask) -> None:
    await api("PUT", "queues/q", json={"policy": {"max_length": 1}})
    await api("POST", "queues/q/messages", b"a")
    answer = await api("POST", "queues/q/messages", b"b")
    assert (answer.status, answer.code) == (429, "queue_full")
    assert answer.headers["retry-after"] == "1"
    assert answer.json["verdict"]["code"] == "queue_full"
    assert answer.json["verdict"]["evidence"]["refused"] == 1


async def test_a_nacked_message_comes_back_and_a_rejected_one_is_dead(api: Ask, token: str) -> None:
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    id = (await api("POST", "queues/q/messages", b"x")).json["id"]
    await api("POST", "transfer", json={}, token=token)
    assert (await api("POST", "nack", json={"ids": [id]}, token=token)).json["released"] == [id]
    [got] = (await api("POST", "transfer", json={}, token=token)).json["messages"]
    assert got["delivery_count"] == 2
    await api("POST", "nack", json={"ids": [id], "requeue": False}, token=token)
    [dead] = (await api("GET", "queues/q/messages?state=dead")).json["messages"]
    assert (dead["id"], dead["cause"]) == (id, "rejected")
    replayed = await api("POST", "queues/q/replay", json={"ids": [id]})
    assert replayed.json == {"replayed": 1, "not_dead": 0, "no_room": 0}
    assert (await api("POST", "queues/q/purge")).json == {"purged": 1, "undo": None}


async def test_a_foreign_ack_is_a_conflict(api: Ask, token: str) -> None:
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    id = (await api("POST", "queues/q/messages", b"x")).json["id"]
    await api("POST", "transfer", json={}, token=token)
    other = (await api("POST", "login", json={"client": "b"})).json["session"]
    for path, body in (("ack", {"ids": [id]}), ("nack", {"ids": [id]})):
        answer = await api("POST", path, json=body, token=other)
        assert (answer.status, answer.code) == (409, "not_holder")
    answer = await api("POST", f"messages/{id}/reply", json={"payload": "x"}, token=other)
    assert (answer.status, answer.code) == (409, "not_holder")
    touched = await api("POST", "touch", json={"ids": [id, 1]}, token=token)
    assert touched.json == {"touched": [id], "unknown": [1], "not_held": []}


async def test_an_rpc_takes_two_requests(api: Ask, token: str, engine: MemoryEngine) -> None:
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    call = asyncio.ensure_future(api("POST", "call/q", json={"payload": "ping"}))
    await asyncio.sleep(0)
    result = (await api("POST", "transfer", json={"after": 0, "timeout": 5}, token=token)).json
    [request] = result["messages"]
    reply = {"id": request["id"], "payload": "pong", "headers": {"a": "b"}}
    body = {"after": result["next"], "replies": [reply]}
    served = (await api("POST", "transfer", json=body, token=token)).json
    [outcome] = served["replies"]
    response = (await call).json
    assert (response["payload"], response["headers"]) == ("pong", {"a": "b"})
    assert (response["id"], response["sender"]) == (outcome["id"], "tester")


async def test_a_bare_call_answers_the_bare_payload(api: Ask, token: str) -> None:
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    call = asyncio.ensure_future(api("POST", "call/q?timeout=5", b"ping"))
    await asyncio.sleep(0)
    [request] = (await api("POST", "transfer", json={"timeout": 5}, token=token)).json["messages"]
    await api("POST", f"messages/{request['id']}/reply", json={"payload": "pöng"}, token=token)
    answer = await call
    assert (answer.status, answer.body) == (200, "pöng".encode())
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_failed_handler_is_a_bad_gateway(api: Ask, token: str) -> None:
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    call = asyncio.ensure_future(api("POST", "call/q", b"ping"))
    await asyncio.sleep(0)
    [request] = (await api("POST", "transfer", json={"timeout": 5}, token=token)).json["messages"]
    error = {"code": "oops", "detail": "It broke."}
    await api("POST", f"messages/{request['id']}/reply", json={"error": error}, token=token)
    answer = await call
    assert (answer.status, answer.code, answer.json["error"]) == (502, "handler_failed", error)


async def test_a_call_without_a_server(api: Ask, clock: FakeClock) -> None:
    answer = await api("POST", "call/q", b"ping")
    assert (answer.status, answer.code) == (503, "no_server")
    assert answer.json["verdict"]["code"] == "never_started"
    call = asyncio.ensure_future(api("POST", "call/q?wait_for_server=true&timeout=3", b"ping"))
    while not (await api("GET", "queues")).json["queues"]:
        await asyncio.sleep(0)
    clock.advance(3)
    answer = await call
    assert (answer.status, answer.code) == (504, "timeout")
    assert answer.json["verdict"]["code"] == "never_started"
    why = (await api("GET", f"messages/{answer.json['id']}")).json
    assert why["verdict"]["code"] == "expired"
