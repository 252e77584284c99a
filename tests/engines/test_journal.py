"""The journal behind an engine: what waits for what, and what is there after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError

from queues.core.errors import MessageNotFound, QueueNotFound, StoreUnavailable
from queues.core.messages import Draft, Reply
from queues.engines import journal as journal_module
from queues.engines import memory
from queues.engines.journal import BLOCK, Journal, JournalMode
from queues.engines.memory import MemoryEngine
from queues.engines.store import Batch, Store
from queues.testing import FakeClock

from .conftest import ALIAS

COMMIT = JournalMode(interval=None, database=ALIAS)
PATIENCE = 10.0


class ToldStore(Store):
    """A store that writes when it is told to, or fails."""

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.may_write = threading.Event()
        self.may_write.set()
        self.at_work = threading.Event()
        self.error: BaseException | None = None
        self.written: list[Batch] = []

    def write(self, batch: Batch) -> None:
        self.at_work.set()
        assert self.may_write.wait(PATIENCE)
        self.at_work.clear()
        if self.error is not None:
            raise self.error
        super().write(batch)
        self.written.append(batch)


class Switches:
    """Engines, one after another on one database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.stores: list[ToldStore] = []
        self.engine: MemoryEngine | None = None
        monkeypatch.setattr(memory, "Store", self._store)

    def _store(self, alias: str) -> Store:
        self.stores.append(ToldStore(alias))
        return self.stores[-1]

    @property
    def store(self) -> ToldStore:
        return self.stores[-1]

    def start(self, mode: JournalMode | None = COMMIT) -> MemoryEngine:
        self.engine = MemoryEngine(clock=self.clock, journal=mode)
        if self.stores:
            self.store.written.clear()
        return self.engine

    async def stop(self) -> None:
        """In order."""
        assert self.engine is not None
        self.engine.close()
        await self.engine.drain()
        await self._leave()

    async def crash(self) -> None:
        """The process is gone; what was not written never will be."""
        assert self.engine is not None
        self.store.error = DatabaseError("crashed")
        self.store.may_write.set()
        await self.stop()

    async def _leave(self) -> None:
        if self.stores and self.store._lock is not None:
            os.close(self.store._lock)
            self.store._lock = None
        self.engine = None


@pytest.fixture
async def switches(database: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Switches]:
    monkeypatch.setattr(journal_module, "RETRY", 0.01)
    monkeypatch.setattr(journal_module, "LAST_TRIES", 0.05)
    switches = Switches(monkeypatch)
    yield switches
    for store in switches.stores:
        store.may_write.set()
    if switches.engine is not None:
        await switches.stop()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)


def journal_of(engine: MemoryEngine) -> Journal:
    assert engine._journal is not None
    return engine._journal


async def reserved(engine: MemoryEngine, number: int) -> None:
    await until(lambda: journal_of(engine)._reserved > number + BLOCK // 2)


async def begun(*operations: Awaitable[Any]) -> list[asyncio.Task[Any]]:
    """Tasks that have come as far as they can by themselves."""
    tasks = [asyncio.ensure_future(operation) for operation in operations]
    for _ in range(20):
        await asyncio.sleep(0)
    return tasks


async def consumer(engine: MemoryEngine, queue: str = "q") -> str:
    session = (await engine.login("consumer", 3000)).session
    await engine.create_queue(queue)
    await engine.subscribe(queue, session=session)
    return session


async def taken(engine: MemoryEngine, session: str) -> list[Any]:
    return (await engine.transfer(session=session, limit=100)).messages


async def test_many_that_wait_share_a_transaction(switches: Switches) -> None:
    engine = switches.start()
    await engine.create_queue("q")
    before = len(switches.store.written)
    sent = await asyncio.gather(*(engine.send("q", Draft(str(n))) for n in range(100)))
    assert len(switches.store.written) - before <= 2
    await switches.crash()
    engine = switches.start()
    found = await taken(engine, await consumer(engine))
    assert [(m.id, m.payload) for m in found] == [(s.id, str(n)) for n, s in enumerate(sent)]


async def test_no_answer_and_no_delivery_before_the_commit(switches: Switches) -> None:
    engine = switches.start()
    session = await consumer(engine)
    other = await consumer(engine)
    sent = await engine.send("q", Draft("held"))
    await taken(engine, other)
    store = switches.store
    store.may_write.clear()
    tasks = await begun(
        engine.transfer(session=session, timeout=60),
        engine.send("q", Draft("x")),
        engine.send("q", Draft("y", key="y")),
        engine.create_queue("new"),
        engine.ack([sent.id], session=other),
        engine.send_many("q", [Draft("z")]),
        engine.pause_queue("q"),
        # Each of these relies on what the others did.
        engine.create_queue("new"),
        engine.send("q", Draft("y", key="y")),
        engine.ack([sent.id], session=other),
        engine.destroy_queue("new"),
    )
    assert store.at_work.wait(PATIENCE)
    gone = await begun(engine.destroy_queue("new"))
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in tasks + gone)
    store.may_write.set()
    await asyncio.gather(*tasks[1:])
    with pytest.raises(QueueNotFound):
        await gone[0]
    # The queue was paused before the messages were safe.
    assert not tasks[0].done()
    await engine.resume_queue("q")
    assert (await tasks[0]).messages[0].payload == "x"


async def test_a_call_is_answered_when_its_reply_is_safe(switches: Switches) -> None:
    engine = switches.start()
    session = await consumer(engine)
    [call] = await begun(engine.call("q", Draft("ping", key="k"), timeout=60))
    waiting = engine.transfer(session=session, timeout=60)
    request = (await waiting).messages[0]
    switches.store.may_write.clear()
    [reply] = await begun(engine.reply(Reply(request.id, "pong"), session=session))
    again = await begun(engine.call("q", Draft("ping", key="k"), timeout=60))
    await asyncio.sleep(0.05)
    assert not call.done()
    assert not reply.done()
    assert not again[0].done()
    switches.store.may_write.set()
    assert (await call).payload == (await again[0]).payload == "pong"
    await reply
    await switches.crash()
    engine = switches.start()
    # A key answers across the restart, and the request is gone.
    assert (await engine.call("q", Draft("ping", key="k"), timeout=1)).request == request.id
    assert (await engine.inspect_queue("q")).ready == 0


async def test_a_reply_to_a_transient_queue_is_one_transaction(switches: Switches) -> None:
    engine = switches.start()
    session = await consumer(engine)
    replies = (await engine.create_fresh_queue(session=session)).name
    await engine.subscribe(replies, session=session)
    await engine.send("q", Draft("ping", reply_to=replies))
    [request] = await taken(engine, session)
    switches.store.may_write.clear()
    tasks = await begun(
        engine.transfer(session=session, timeout=60),
        engine.reply(Reply(request.id, "pong"), session=session),
    )
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in tasks)
    switches.store.may_write.set()
    [response] = (await tasks[0]).messages
    assert response.payload == "pong"
    await tasks[1]
    last = switches.store.written[-1]
    assert last.messages_gone == [request.id]
    assert not last.messages


async def test_what_came_and_went_is_answered_too(switches: Switches) -> None:
    engine = switches.start()
    await engine.create_queue("q")
    store = switches.store
    store.may_write.clear()
    first = await begun(engine.send("q", Draft("x")))
    assert store.at_work.wait(PATIENCE)
    tasks = await begun(engine.send("q", Draft("y", ttl=5)), engine.purge_queue("q"))
    store.may_write.set()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*first, *tasks)
    # In one frame, too, where nothing waits for the first of the two.
    engine.begin()
    wait = engine.start_call(
        "q", Draft("z"), timeout=9, wait_for_server=True, then=lambda wait: None
    )
    purge = engine.purge_queue("q")
    with contextlib.suppress(StopIteration):
        future = purge.send(None)
    engine.end()
    async with asyncio.timeout(PATIENCE):
        await until(future.done)
    with pytest.raises(StopIteration):
        purge.send(None)
    engine.leave_call(wait)


async def test_transient_queues_never_wait(switches: Switches) -> None:
    engine = switches.start()
    session = (await engine.login("client", 30)).session
    switches.store.may_write.clear()
    [kept] = await begun(engine.create_queue("q"))
    assert switches.store.at_work.wait(PATIENCE)
    async with asyncio.timeout(PATIENCE / 2):
        name = (await engine.create_fresh_queue(session=session)).name
        await engine.subscribe(name, session=session)
        await engine.send(name, Draft("x", key="k"))
        [message] = await taken(engine, session)
        [call] = await begun(engine.call(name, Draft("ping"), timeout=60))
        [request] = await taken(engine, session)
        await engine.reply(Reply(request.id, "pong"), session=session)
        assert (await call).payload == "pong"
        await engine.nack([message.id], session=session)
        [message] = await taken(engine, session)
        await engine.ack([message.id], session=session)
        await engine.purge_queue(name, session=session)
        await engine.destroy_queue(name, session=session)
    assert not kept.done()
    # Nor while the database is away.
    switches.store.error = DatabaseError("away")
    switches.store.may_write.set()
    with pytest.raises(StoreUnavailable):
        await kept
    name = (await engine.create_fresh_queue(session=session)).name
    await engine.send(name, Draft("x"))
    assert not switches.store.written


async def test_a_database_that_fails_is_tried_again(switches: Switches) -> None:
    engine = switches.start()
    session = await consumer(engine)
    held = await engine.send("q", Draft("held"))
    await taken(engine, session)
    store = switches.store
    store.error = DatabaseError("disk is full")
    waiting, keyed, call, keyed_call, ack = await begun(
        engine.transfer(session=session, timeout=60),
        engine.send("q", Draft("x", key="k")),
        engine.call("q", Draft("nobody waits for it"), timeout=60),
        engine.call("q", Draft("ping", key="call"), timeout=60),
        engine.ack([held.id], session=session),
    )
    for task in (keyed, call, keyed_call, ack):
        with pytest.raises(StoreUnavailable) as caught:
            await task
        assert (caught.value.status, caught.value.code) == (503, "store_unavailable")
    # Nothing that must survive is begun, and what failed stays hidden.
    for refused in (
        engine.send("q", Draft("y")),
        engine.create_queue("new"),
        engine.destroy_queue("q"),
        engine.send("q", Draft("x", key="k")),
        engine.ack([held.id], session=session),
    ):
        with pytest.raises(StoreUnavailable):
            await refused
    assert not waiting.done()
    store.error = None
    [message] = (await waiting).messages
    assert message.payload == "x"
    again = await engine.send("q", Draft("x", key="k"))
    assert (again.id, again.created) == (message.id, False)
    assert (await engine.ack([held.id, message.id], session=session)).unknown == [held.id]
    await switches.crash()
    engine = switches.start()
    found = await taken(engine, await consumer(engine))
    assert [m.payload for m in found] == ["ping"]


async def test_a_database_that_does_not_answer_counts_as_failed(
    switches: Switches, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = switches.start()
    await engine.create_queue("q")
    monkeypatch.setattr(journal_module, "PATIENCE", 0.05)
    switches.store.may_write.clear()
    with pytest.raises(StoreUnavailable):
        await engine.send("q", Draft("x"))
    with pytest.raises(StoreUnavailable):
        await engine.send("q", Draft("y"))
    switches.store.may_write.set()
    await until(lambda: not journal_of(engine).failing)
    await engine.send("q", Draft("z"))
    session = await consumer(engine)
    assert [m.payload for m in await taken(engine, session)] == ["x", "z"]


async def test_a_message_dropped_twice_is_gone_for_certain(switches: Switches) -> None:
    engine = switches.start()
    await engine.create_queue("q")
    sent = await engine.send("q", Draft("x"))
    switches.store.may_write.clear()
    first, second = await begun(
        engine.drop_message("q", sent.id), engine.drop_message("q", sent.id)
    )
    await asyncio.sleep(0.05)
    assert not second.done()
    switches.store.may_write.set()
    await first
    with pytest.raises(MessageNotFound):
        await second


async def test_a_transfer_that_cannot_ack_gives_its_messages_back(switches: Switches) -> None:
    engine = switches.start()
    session = await consumer(engine)
    first = await engine.send("q", Draft("1"))
    await engine.send("q", Draft("2"))
    assert len((await engine.transfer(session=session)).messages) == 1
    switches.store.may_write.clear()
    [transfer] = await begun(engine.transfer(session=session, acks=[first.id]))
    assert switches.store.at_work.wait(PATIENCE)
    switches.store.error = DatabaseError("away")
    switches.store.may_write.set()
    with pytest.raises(StoreUnavailable):
        await transfer
    switches.store.error = None
    await until(lambda: not journal_of(engine).failing)
    result = await engine.transfer(session=session, acks=[first.id])
    assert result.acks is not None
    assert result.acks.unknown == [first.id]
    assert [(m.payload, m.delivery_count) for m in result.messages] == [("2", 1)]


async def test_with_an_interval_nobody_waits(switches: Switches) -> None:
    engine = switches.start(JournalMode(interval=0.02, database=ALIAS))
    store = switches.store
    store.may_write.clear()
    session = await consumer(engine)
    await engine.send("q", Draft("x"))
    assert [m.payload for m in await taken(engine, session)] == ["x"]
    assert not store.written
    store.may_write.set()
    await until(lambda: store.written)
    await engine.send("q", Draft("y"))
    await until(lambda: len(store.written) == 2)
    await engine.send("q", Draft("lost"))
    await switches.crash()
    engine = switches.start(JournalMode(interval=0.02, database=ALIAS))
    assert [m.payload for m in await taken(engine, await consumer(engine))] == ["x", "y"]


async def test_an_interval_is_refused_too_while_the_database_fails(switches: Switches) -> None:
    engine = switches.start(JournalMode(interval=0.01, database=ALIAS))
    switches.store.error = DatabaseError("away")
    await engine.create_queue("q")
    await until(lambda: journal_of(engine).failing)
    with pytest.raises(StoreUnavailable):
        await engine.send("q", Draft("x"))


async def test_without_a_journal_nothing_is_written(switches: Switches) -> None:
    engine = switches.start(None)
    session = await consumer(engine)
    await engine.send("q", Draft("x"))
    assert len(await taken(engine, session)) == 1
    assert not switches.stores
    await switches.stop()
    engine = switches.start()
    assert not (await engine.list_queues()).queues


@pytest.mark.parametrize(
    ("mode", "same"),
    [(COMMIT, True), (JournalMode(interval=0.02, database=ALIAS), False), (None, False)],
)
async def test_lives_that_forget_no_key_have_one_name(
    switches: Switches, mode: JournalMode | None, same: bool
) -> None:
    names = []
    for _ in range(2):
        names.append((await switches.start(mode).login("client", 30)).instance)
        await switches.stop()
        switches.clock.advance(1.0)
    assert (names[0] == names[1]) is same


@pytest.mark.parametrize("mode", [COMMIT, JournalMode(interval=3600.0, database=ALIAS)])
async def test_a_stop_writes_what_there_is(switches: Switches, mode: JournalMode) -> None:
    engine = switches.start(mode)
    await engine.create_queue("q")
    switches.store.may_write.clear()
    [sent] = await begun(engine.send("q", Draft("x")))
    engine.close()
    [drain] = await begun(engine.drain())
    assert not drain.done()
    switches.store.may_write.set()
    await drain
    await sent
    await switches._leave()
    engine = switches.start()
    assert [m.payload for m in await taken(engine, await consumer(engine))] == ["x"]


async def test_a_stop_does_not_wait_for_ever(switches: Switches) -> None:
    engine = switches.start()
    switches.store.error = DatabaseError("away")
    with pytest.raises(StoreUnavailable):
        await engine.create_queue("q")
    began = asyncio.get_running_loop().time()
    await switches.stop()
    assert asyncio.get_running_loop().time() - began < PATIENCE / 2


@pytest.mark.parametrize("step", [-3600.0, -1.0, 0.0, 3600.0])
async def test_numbers_go_on_above_all_before(switches: Switches, step: float) -> None:
    """Whatever the clock says, and however many were used."""
    engine = switches.start()
    used = []
    for _ in range(3):
        await engine.create_queue("q")
        used.append((await engine.send("q", Draft("x"))).id)
        # As many as are used until more are reserved.
        engine._switch._next_id += BLOCK
        used.append((await engine.send("q", Draft("x"))).id)
        await reserved(engine, used[-1])
        session = await consumer(engine)
        used += [m.delivery for m in await taken(engine, session)]
        await engine.purge_queue("q")
        await switches.crash()
        switches.clock._now += step
        engine = switches.start()
        assert engine._switch.next_id > max(used)
        assert engine._switch.trace.last >= max(used)
    assert len(set(used)) == len(used)


async def test_deliveries_are_counted_across_a_restart(switches: Switches) -> None:
    engine = switches.start()
    session = await consumer(engine)
    sent = await engine.send("q", Draft("x"))
    for _ in range(2):
        await taken(engine, session)
        await engine.nack([sent.id], session=session)
    await taken(engine, session)
    await switches.crash()
    engine = switches.start()
    [message] = await taken(engine, await consumer(engine))
    # What was in flight may not be counted.
    assert message.delivery_count == 3


async def test_a_client_logs_in_again_after_a_restart(switches: Switches) -> None:
    engine = switches.start()
    session = await consumer(engine)
    sent = await engine.send("q", Draft("x"))
    await taken(engine, session)
    await switches.crash()
    engine = switches.start()
    [message] = await taken(engine, await consumer(engine))
    assert message.id == sent.id
