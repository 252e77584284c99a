"""The engine's waits: who is resumed, by what, and what a cancelled one leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from queues.core import errors
from queues.core.messages import Draft, Failure, Reply
from queues.engines import get_engine
from queues.engines.memory import MemoryEngine
from queues.testing import FakeClock, running_switch


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(clock: FakeClock) -> AsyncIterator[MemoryEngine]:
    async with running_switch(clock) as engine:
        yield engine


async def consumer(engine: MemoryEngine, queue: str, client: str = "server") -> str:
    """A session that consumes ``queue``."""
    session = (await engine.login(client, 30)).session
    await engine.create_queue(queue)
    await engine.subscribe(queue, session=session)
    return session


async def started(operation: Awaitable[Any]) -> asyncio.Task[Any]:
    """A task that has come to its first wait."""
    task = asyncio.ensure_future(operation)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_a_send_resumes_the_transfer_that_waits_longest(engine: MemoryEngine) -> None:
    first, second = [await consumer(engine, "q", name) for name in ("a", "b")]
    waiting = [await started(engine.transfer(session=s, timeout=60)) for s in (first, second)]
    sent = await engine.send("q", Draft(payload="hello"))
    result = await waiting[0]
    assert [m.id for m in result.messages] == [sent.id]
    await asyncio.sleep(0)
    assert not waiting[1].done()
    await engine.send("q", Draft(payload="again"))
    assert (await waiting[1]).messages[0].payload == "again"


async def test_each_send_resumes_exactly_one_request(engine: MemoryEngine) -> None:
    sessions = [await consumer(engine, "q", f"c{i}") for i in range(20)]
    waiting = [await started(engine.transfer(session=s, timeout=60)) for s in sessions]
    for n in range(1, 21):
        await engine.send("q", Draft(payload="x"))
        for _ in range(3):
            await asyncio.sleep(0)
        assert sum(task.done() for task in waiting) == n


async def test_a_transfer_cancelled_in_its_wait_takes_nothing(engine: MemoryEngine) -> None:
    session = await consumer(engine, "q")
    waiting = await started(engine.transfer(session=session, timeout=60))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await engine.send("q", Draft(payload="x"))
    queue = await engine.inspect_queue("q")
    assert (queue.ready, queue.held, queue.waiting) == (1, 0, 0)


async def test_a_transfer_cancelled_after_its_wake_passes_the_message_on(
    engine: MemoryEngine,
) -> None:
    first, second = [await consumer(engine, "q", name) for name in ("a", "b")]
    woken = await started(engine.transfer(session=first, timeout=60))
    behind = await started(engine.transfer(session=second, timeout=60))
    sent = await engine.send("q", Draft(payload="x"))
    woken.cancel()  # its future is resolved, but it has not run yet
    with pytest.raises(asyncio.CancelledError):
        await woken
    result = await behind
    assert [(m.id, m.delivery_count) for m in result.messages] == [(sent.id, 1)]


async def test_a_transfer_ends_at_its_timeout(engine: MemoryEngine, clock: FakeClock) -> None:
    session = await consumer(engine, "q")
    waiting = await started(engine.transfer(session=session, timeout=20, after=7))
    clock.advance(19.9)
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance(0.2)
    result = await waiting
    assert (result.messages, result.next) == ([], 7)


async def test_an_earlier_deadline_replaces_the_armed_one(
    engine: MemoryEngine, clock: FakeClock
) -> None:
    session = await consumer(engine, "q")
    late = await started(engine.transfer(session=session, timeout=25))
    early = await started(engine.transfer(session=session, timeout=5))
    clock.advance(5)
    await early
    assert not late.done()
    clock.advance(20)
    await late


async def test_a_call_gets_its_reply(engine: MemoryEngine) -> None:
    session = await consumer(engine, "q")
    call = await started(engine.call("q", Draft(payload="ping"), timeout=10))
    request = (await engine.transfer(session=session)).messages[0]
    await engine.reply(Reply(id=request.id, payload="pong"), session=session)
    response = await call
    assert (response.payload, response.request) == ("pong", request.id)
    assert response.correlation_id == str(request.id)


async def test_a_failed_handler_is_an_exception_of_the_call(engine: MemoryEngine) -> None:
    session = await consumer(engine, "q")
    call = await started(engine.call("q", Draft(payload="ping"), timeout=10))
    request = (await engine.transfer(session=session)).messages[0]
    failure = Failure("no_such_thing", "There is none.")
    await engine.reply(Reply(id=request.id, payload="", error=failure), session=session)
    with pytest.raises(errors.HandlerFailed) as caught:
        await call
    assert caught.value.extra == {"id": request.id, "error": failure}


async def test_a_call_that_times_out_says_why(engine: MemoryEngine, clock: FakeClock) -> None:
    call = await started(engine.call("q", Draft(payload="ping"), timeout=10, wait_for_server=True))
    clock.advance(10)
    with pytest.raises(errors.CallTimeout) as caught:
        await call
    assert caught.value.extra["verdict"].code == "never_started"
    assert (await engine.inspect_queue("q")).ready == 0


async def test_a_cancelled_call_leaves_nothing(engine: MemoryEngine) -> None:
    await consumer(engine, "q")
    call = await started(engine.call("q", Draft(payload="ping"), timeout=10))
    assert (await engine.diagnostics()).calls == 1
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await engine.diagnostics()).calls == 0
    assert (await engine.browse("q")).messages == []


async def test_what_is_done_together_happens_at_one_time(
    engine: MemoryEngine, clock: FakeClock
) -> None:
    began = clock.now()
    engine.begin()
    clock.advance(1)
    wait = engine.start_call(
        "q", Draft("x"), timeout=9, then=lambda wait: None, wait_for_server=True
    )
    engine.leave_call(wait)
    engine.end()
    events = (await engine.trace()).events
    assert [(e.kind, e.at) for e in events[-2:]] == [("caller_gone", began), ("dropped", began)]


async def test_the_trace_waits_for_the_next_event(engine: MemoryEngine, clock: FakeClock) -> None:
    seen = (await engine.trace()).next
    waiting = await started(engine.trace(after=seen, timeout=30))
    await engine.create_queue("q")
    assert [event.kind for event in (await waiting).events] == ["queue_created"]
    seen = (await engine.trace()).next
    waiting = await started(engine.trace(after=seen, timeout=30))
    clock.advance(30)
    assert (await waiting).events == []


async def test_a_trace_cancelled_in_its_wait_is_forgotten(engine: MemoryEngine) -> None:
    waiting = await started(engine.trace(after=2**62, timeout=30))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await engine.create_queue("q")  # an event with nobody left to wake


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(lambda e, s: e.transfer(session=s, timeout=60), id="transfer"),
        pytest.param(lambda e, s: e.call("q", Draft(payload="x"), timeout=60), id="call"),
        pytest.param(lambda e, s: e.trace(after=2**62, timeout=60), id="trace"),
    ],
)
async def test_closing_ends_every_wait(
    engine: MemoryEngine, operation: Callable[[MemoryEngine, str], Awaitable[Any]]
) -> None:
    await consumer(engine, "q", "other")
    session = (await engine.login("x", 30)).session
    waiting = await started(operation(engine, session))
    engine.close()
    with pytest.raises(errors.ShuttingDown):
        await waiting
    with pytest.raises(errors.ShuttingDown):
        await engine.send("q", Draft(payload="x"))
    with pytest.raises(errors.ShuttingDown):
        engine.check()


async def test_what_was_handed_over_before_closing_is_still_answered(
    engine: MemoryEngine,
) -> None:
    session = await consumer(engine, "q")
    waiting = await started(engine.transfer(session=session, timeout=60))
    await engine.send("q", Draft(payload="x"))
    engine.close()
    assert [m.payload for m in (await waiting).messages] == ["x"]


async def test_another_thread_uses_the_sync_face(engine: MemoryEngine) -> None:
    await engine.create_queue("q")

    def elsewhere() -> list[str]:
        engine = get_engine()
        page = engine.submit(engine.list_queues()).result(timeout=5)
        return [queue.name for queue in page.queues]

    assert await asyncio.to_thread(elsewhere) == ["q"]


async def test_the_sync_face_of_a_closed_switch_refuses(engine: MemoryEngine) -> None:
    engine.close()
    with pytest.raises(errors.NotRunning):
        engine.submit(engine.diagnostics())


def test_without_a_server_there_is_no_switch() -> None:
    with pytest.raises(errors.NotRunning):
        get_engine()


async def test_a_restarted_switch_numbers_above_the_old_one() -> None:
    clock = FakeClock()
    async with running_switch(clock) as engine:
        await engine.create_queue("q")
        for _ in range(100):
            last = (await engine.send("q", Draft(payload="x"))).id
    clock.advance(0.001)
    async with running_switch(clock) as engine:
        await engine.create_queue("q")
        assert (await engine.send("q", Draft(payload="x"))).id > last
