"""What operators do and look at, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from queues.core.messages import PARENT
from queues.engines.memory import MemoryEngine
from queues.testing import FakeClock

from .conftest import Ask


async def take(api: Ask, token: str, **fields: Any) -> list[int]:
    """Ids of what a Transfer hands over now."""
    result = (await api("POST", "transfer", json=fields, token=token)).json
    return [message["id"] for message in result["messages"]]


async def send(api: Ask, name: str, *payloads: str) -> list[int]:
    """Put messages into a queue; their ids."""
    batch = [{"payload": payload} for payload in payloads]
    sent = (await api("POST", f"queues/{name}/messages", json=batch)).json
    return [outcome["id"] for outcome in sent]


@pytest.fixture
async def served(api: Ask, token: str) -> str:
    """The queue q, which the session of ``token`` consumes."""
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    return "q"


async def test_a_paused_queue_takes_messages_and_hands_none_out(
    api: Ask, token: str, served: str
) -> None:
    [held] = await send(api, "q", "a")
    assert await take(api, token) == [held]
    paused = await api("POST", "queues/q/pause", token=token)
    assert (paused.status, paused.json["paused"]) == (200, True)
    assert paused.json["verdict"]["code"] == "paused"
    assert (await api("POST", "queues/q/pause")).json["paused"]
    [id] = await send(api, "q", "b")
    assert await take(api, token) == []
    assert (await api("GET", f"messages/{id}")).json["verdict"]["code"] == "paused"
    assert (await api("POST", "ack", json={"ids": [held]}, token=token)).json["acked"] == [held]
    waits = asyncio.ensure_future(take(api, token, timeout=60))
    await asyncio.sleep(0)
    resumed = await api("POST", "queues/q/resume")
    assert (resumed.status, resumed.json["paused"]) == (200, False)
    assert await waits == [id]
    assert not (await api("POST", "queues/q/resume")).json["paused"]
    events = (await api("GET", "trace?limit=100")).json["events"]
    assert [e["client"] for e in events if e["kind"] in ("paused", "unpaused")] == ["tester", None]


async def test_held_messages_are_taken_back(api: Ask, token: str, served: str) -> None:
    first, second, third = await send(api, "q", "a", "b", "c")
    assert await take(api, token, limit=2) == [first, second]
    some = await api("POST", "queues/q/requeue", json={"ids": [first, third, 1]})
    assert (some.status, some.json) == (200, {"requeued": 1, "not_held": 2})
    acked = (await api("POST", "ack", json={"ids": [first]}, token=token)).json
    assert acked == {"acked": [], "unknown": [], "not_held": [first]}
    everything = await api("POST", "queues/q/requeue")
    assert everything.json == {"requeued": 1, "not_held": 0}
    assert await take(api, token, limit=9) == [first, second, third]


async def test_messages_are_moved(api: Ask, token: str, served: str) -> None:
    await api("PUT", "queues/other", json={"policy": {"max_length": 3}})
    held, first, second, third, fourth = await send(api, "q", *"habcd")
    assert await take(api, token) == [held]
    named = await api("POST", "queues/q/move", json={"to": "other", "ids": [second, held, 1]})
    assert (named.status, named.json) == (200, {"moved": 1, "not_movable": 2, "no_room": 0})
    all_ready = await api("POST", "queues/q/move", json={"to": "other"})
    assert all_ready.json == {"moved": 2, "not_movable": 0, "no_room": 1}
    moved = (await api("GET", "queues/other/messages")).json["messages"]
    assert [message["id"] for message in moved] == [first, second, third]
    await api("POST", "nack", json={"ids": [held], "requeue": False}, token=token)
    await api("PATCH", "queues/other", json={"policy": {"max_length": 9}})
    dead = await api("POST", "queues/q/move", json={"to": "other", "state": "dead"})
    assert dead.json == {"moved": 1, "not_movable": 0, "no_room": 0}
    left = (await api("GET", "queues/q/messages")).json["messages"]
    assert [message["id"] for message in left] == [fourth]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("queues/q/move", {"to": "missing"}, 404, "queue_not_found"),
        ("queues/missing/move", {"to": "q"}, 404, "queue_not_found"),
        ("queues/q/move", {"to": "q"}, 400, "invalid_request"),
        ("queues/q/move", {"to": "b d"}, 400, "invalid_request"),
        ("queues/q/move", {"to": "r", "ids": [1], "state": "ready"}, 400, "invalid_request"),
        ("queues/q/move", {"to": "r", "state": "gone"}, 400, "invalid_request"),
        ("queues/q/move", {}, 400, "invalid_request"),
        ("queues/q/requeue", {"ids": [-1]}, 400, "invalid_request"),
        ("queues/q/requeue", {"ids": "all"}, 400, "invalid_request"),
        ("queues/q/pause", {}, 400, "invalid_request"),
        ("queues/b%20d/pause", None, 400, "invalid_name"),
        ("queues/missing/pause", None, 404, "queue_not_found"),
        ("queues/missing/resume", None, 404, "queue_not_found"),
        ("queues/missing/requeue", None, 404, "queue_not_found"),
        ("queues/q/pause?for=1", None, 400, "invalid_request"),
        ("sessions/1", None, 405, "method_not_allowed"),
    ],
)
async def test_what_cannot_be_done_is_refused(
    api: Ask, served: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = await api("POST", path, json=body)
    assert (answer.status, answer.code) == (status, code)


async def test_a_foreign_transient_queue_is_nobodys_to_move_from(api: Ask, token: str) -> None:
    name = (await api("POST", "queues", token=token)).json["name"]
    await api("PUT", "queues/q")
    other = (await api("POST", "login", json={"client": "b"})).json["session"]
    taken = await api("POST", f"queues/{name}/move", json={"to": "q"}, token=other)
    assert (taken.status, taken.code) == (403, "not_owner")
    given = await api("POST", "queues/q/move", json={"to": name}, token=other)
    assert given.status == 200


async def test_a_session_is_explained_and_ended(api: Ask, token: str, served: str) -> None:
    [id] = await send(api, "q", "a")
    await take(api, token)
    [known] = (await api("GET", "diagnostics")).json["sessions"]
    session = (await api("GET", f"sessions/{known['id']}")).json
    assert session == known
    assert session["verdict"]["code"] == "working"
    assert [held["id"] for held in session["holding"]] == [id]
    assert (await api("DELETE", f"sessions/{known['id']}")).status == 204
    assert (await api("POST", "touch", token=token)).code == "unknown_session"
    assert (await api("GET", "queues/q")).json["ready"] == 1
    for method in ("GET", "DELETE"):
        gone = await api(method, f"sessions/{known['id']}")
        assert (gone.status, gone.code) == (404, "session_not_found")


async def test_a_circle_of_calls_is_seen_everywhere(
    api: Ask, token: str, served: str, clock: FakeClock
) -> None:
    call = asyncio.ensure_future(api("POST", "call/q", json={"payload": "a", "timeout": 5}))
    await asyncio.sleep(0)
    [outer] = await take(api, token)
    again = {"payload": "b", "timeout": 60, "headers": {PARENT: str(outer)}}
    inner = asyncio.ensure_future(api("POST", "call/q", json=again, token=token))
    await asyncio.sleep(0)
    clock.advance(2)  # its server might have asked for more at once
    report = (await api("GET", f"messages/{outer}")).json
    assert report["verdict"]["code"] == "deadlock"
    tree = report["tree"]
    assert (tree["id"], tree["waiting"], tree["holder"]) == (outer, True, "tester")
    [child] = tree["calls"]
    assert (child["caller"], child["state"], child["calls"]) == ("tester", "ready", [])
    assert (await api("GET", f"messages/{child['id']}")).json["tree"] == tree
    graph = (await api("GET", "waits")).json
    assert graph["left_out"] == 0
    assert {node["kind"] for node in graph["nodes"]} == {"caller", "service", "server"}
    assert len([edge for edge in graph["edges"] if edge["locked"]]) == len(graph["edges"]) == 3
    [session] = (await api("GET", "diagnostics")).json["sessions"]
    assert session["verdict"]["code"] == "deadlock"
    assert [waited["id"] for waited in session["calls"]] == [child["id"]]
    clock.advance(3)
    answer = await call
    assert (answer.status, answer.json["verdict"]["code"]) == (504, "deadlock")
    inner.cancel()
    await asyncio.wait([inner])


async def test_messages_are_searched(api: Ask, token: str, served: str) -> None:
    ids = await send(api, "q", "a cup of tea", "coffee", "tea & biscuits", "null")

    async def found(search: str) -> list[int]:
        page = (await api("GET", f"queues/q/messages?search={search}")).json
        assert page["next"] is None
        return [message["id"] for message in page["messages"]]

    assert await found("tea") == [ids[0], ids[2]]
    assert await found("tea%20%26") == [ids[2]]
    assert await found("null") == [ids[3]]
    assert await found(str(ids[1])) == [ids[1]]
    assert await found("") == ids
    assert await found("TEA") == []
    page = (await api("GET", "queues/q/messages?search=tea&limit=1&state=ready")).json
    assert [message["id"] for message in page["messages"]] == ids[:1]
    rest = (await api("GET", f"queues/q/messages?search=tea&after={page['next']}")).json
    assert [message["id"] for message in rest["messages"]] == [ids[2]]
    for wrong in ("x" * 1_001, "%ff", "a&search=b"):
        answer = await api("GET", f"queues/q/messages?search={wrong}")
        assert (answer.status, answer.code) == (400, "invalid_request")


async def test_the_health_of_the_switch(api: Ask, token: str, engine: MemoryEngine) -> None:
    health = (await api("GET", "health")).json
    assert health["now"] == engine.now()
    assert health["memory"] > 1_000_000
    assert {each["name"]: each["used"] for each in health["usage"]}["sessions"] == 1
    assert token not in str(health)


async def test_an_operator_drops_a_held_message(api: Ask, token: str) -> None:
    await api("PUT", "queues/q")
    await api("PUT", "subscriptions/q", token=token)
    id = (await api("POST", "queues/q/messages", b"x")).json["id"]
    await api("POST", "transfer", json={}, token=token)
    assert (await api("DELETE", f"queues/q/messages/{id}")).status == 204
    gone = await api("DELETE", f"queues/q/messages/{id}")
    assert (gone.status, gone.code) == (404, "message_not_found")
    acked = await api("POST", "ack", json={"ids": [id]}, token=token)
    assert acked.json["unknown"] == [id]


async def test_the_trace_and_the_diagnostics(api: Ask, token: str) -> None:
    await api("PUT", "queues/q")
    trace = (await api("GET", "trace?limit=10")).json
    assert [event["kind"] for event in trace["events"]] == ["login", "queue_created"]
    assert (await api("GET", f"trace?after={trace['next']}")).json["events"] == []
    diagnostics = (await api("GET", "diagnostics")).json
    assert diagnostics["services"][0]["queue"]["status"] == "never_started"
    assert diagnostics["sessions"][0]["client"] == "tester"
    assert token not in str(diagnostics)
    assert token not in str(trace)
