"""The incident bundle: complete, and without what it carries for others."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any, get_args

import msgspec
import pytest

from queues import incident
from queues.core.events import Event, EventKind
from queues.core.limits import Limits
from queues.core.messages import Draft, Failure, Reply
from queues.engines.memory import MemoryEngine
from queues.incident import Incident, collect
from queues.protocol.operations import encode
from queues.testing import FakeClock, running_switch

SECRET = "hunter2-do-not-tell"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(clock: FakeClock) -> AsyncIterator[MemoryEngine]:
    async with running_switch(clock, Limits(payload_bytes=123_456)) as engine:
        yield engine


async def collected(engine: MemoryEngine) -> Incident:
    return await collect(engine)


async def fill_with_secrets(engine: MemoryEngine) -> list[str]:
    """Secrets wherever a client may put some, in every state and event; the tokens of sessions."""
    server = (await engine.login("worker", 30)).session
    caller = (await engine.login("web", 30)).session
    for name in ("jobs", "answers"):
        await engine.create_queue(name)
    await engine.subscribe("jobs", session=server)
    drafts = [
        Draft(
            f"{number} {SECRET}",
            headers={"authorization": SECRET, "traceparent": SECRET},
            key=f"{SECRET} {number}",
            reply_to="answers",
            correlation_id=f"c{number}",
        )
        for number in range(6)
    ]
    drafts.append(Draft(f'{{"jsonrpc": "2.0", "method": "{SECRET}"}}'))
    drafts.append(Draft(SECRET * 100, headers={"switch-parent": SECRET}))
    for draft in drafts:
        await engine.send("jobs", draft, session=caller)
    calls = [
        asyncio.create_task(
            engine.call("jobs", Draft(SECRET, key=f"call {SECRET}"), timeout=5, session=caller)
        )
    ]
    await asyncio.sleep(0)
    held = (await engine.transfer(session=server, limit=8)).messages
    await engine.reply(Reply(held[0].id, SECRET, {"x": SECRET}), session=server)
    failed = Reply(held[1].id, "", None, Failure("exit_1", SECRET))
    await engine.reply(failed, session=server)
    await engine.nack([held[2].id], session=server, requeue=False)
    await engine.nack([held[3].id], session=server, delay=60)
    await engine.ack([held[6].id], session=server)
    await engine.send("jobs", Draft(SECRET, delay=30))
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    return [server, caller]


async def test_no_secret_is_in_it(engine: MemoryEngine) -> None:
    tokens = await fill_with_secrets(engine)
    found = await collected(engine)
    text = encode(found).decode()
    for secret in (SECRET, SECRET[:8], SECRET[-8:], *tokens):
        assert secret not in text
    # They were there to be found.
    states = {m.state for s in found.diagnostics.services for m in s.messages}
    assert {state.value for state in states} == {"ready", "held", "delayed", "dead"}
    assert {"sent", "replied", "died", "released", "caller_gone"} <= {e.kind for e in found.trace}
    assert [s.queue.name for s in found.diagnostics.services if s.timing and s.timing.methods] == [
        "jobs"
    ]


async def test_what_is_needed_is_in_it(
    engine: MemoryEngine, clock: FakeClock, settings: Any
) -> None:
    settings.SWITCH_LISTEN = ["tcp://127.0.0.1:8081"]
    await fill_with_secrets(engine)
    found = await collected(engine)
    assert (found.format, found.at) == (incident.FORMAT, clock.now())
    assert found.limits.payload_bytes == 123_456
    assert found.surroundings.listen == ["tcp://127.0.0.1:8081"]
    assert "django" in found.surroundings.packages
    assert {queue.name for queue in found.queues} == {"jobs", "answers"}
    assert all(queue.verdict.sentence for queue in found.queues)
    assert found.health.version
    messages = {m.correlation_id: m for s in found.diagnostics.services for m in s.messages}
    message = messages["c5"]
    payload = f"5 {SECRET}"
    digest = hashlib.sha256(payload.encode()).hexdigest()[:12]
    assert message.payload == f"({len(payload)} bytes, SHA-256 {digest}…)"
    assert message.headers["authorization"] == f"({len(SECRET)} characters)"
    assert (message.reply_to, message.sender) == ("answers", "web")
    replies = [m for m in messages.values() if m.queue == "answers" and m.error is not None]
    assert [m.error and m.error.code for m in replies] == ["exit_1"]


async def test_the_request_that_a_call_is_made_for_is_kept(engine: MemoryEngine) -> None:
    await engine.create_queue("jobs")
    await engine.send("jobs", Draft("x", headers={"switch-parent": "12345", "other": "12345"}))
    (service,) = (await collected(engine)).diagnostics.services
    assert service.messages[0].headers == {"switch-parent": "12345", "other": "(5 characters)"}


@pytest.mark.parametrize("kind", get_args(EventKind))
def test_only_the_switch_s_own_words_stay_in_the_trace(kind: EventKind) -> None:
    event = Event(1, 0.0, kind, detail=SECRET)
    kept = kind in incident._OWN_WORDS
    assert (incident._event(event).detail == SECRET) == kept
    assert kind != "sent" or not kept


async def test_it_has_the_last_events(
    engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incident, "MOST_EVENTS", 3)
    await engine.create_queue("a")
    for _ in range(4):
        await engine.send("a", Draft("x"))
    await engine.create_queue("b")
    trace = (await collected(engine)).trace
    assert [(event.kind, event.queue) for event in trace] == [
        ("sent", "a"),
        ("sent", "a"),
        ("queue_created", "b"),
    ]


async def test_it_can_be_read_back(engine: MemoryEngine) -> None:
    await fill_with_secrets(engine)
    found = await collected(engine)
    assert msgspec.json.decode(encode(found), type=Incident) == found


async def test_many_queues_are_cut(engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incident, "MOST_QUEUES", 2)
    for name in "ab":
        await engine.create_queue(name)
    assert not (await collected(engine)).more_queues
    await engine.create_queue("c")
    found = await collected(engine)
    assert ([queue.name for queue in found.queues], found.more_queues) == (["a", "b"], True)
