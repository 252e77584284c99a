"""The tables: what is written comes back, a batch may be written twice, and a database that is not
as it must be is refused with words that say what to do."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connections
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings

from queues.core.changes import Changes
from queues.core.messages import Draft, Failure, Reply
from queues.core.queue import Policy
from queues.core.switch import Switch
from queues.engines import store as store_module
from queues.engines.statements import in_sizes
from queues.engines.store import Batch, Store, StoreLost, StoreRefused, batch_of
from queues.models import StoredKey, StoredMessage, StoredQueue
from tests.core.program import Program, Step, kept_of, steps

from .conftest import ALIAS

NOW = 1_000.0
#: What text may hold that databases mind.
ODD = "\0 é \U0001f600 ' \" \\ %s"


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    store = Store(ALIAS)
    store.begin(store.open(), 1)
    yield store
    leave(store)


def leave(store: Store) -> None:
    """As at the end of the process."""
    store.close()
    if store._lock is not None:
        os.close(store._lock)
        store._lock = None


def new_switch() -> Switch:
    switch = Switch(first_id=1, now=NOW)
    switch.changes = Changes()
    return switch


def batch(switch: Switch) -> Batch:
    changes = switch.changes
    assert changes is not None
    switch.changes = Changes(changes.position)
    return batch_of(changes, None)


def loaded(store: Store) -> Switch:
    switch = Switch(first_id=10_000, now=NOW)
    store.load(switch)
    return switch


def everything() -> Switch:
    """A switch with every kind of row and field."""
    switch = new_switch()
    policy = Policy(max_length=9, ttl=500.0, ack_timeout=3.5, max_deliveries=2, on_expire="dead")
    switch.create_queue("a", policy, now=NOW)
    switch.create_queue("b", now=NOW)
    switch.pause_queue("b", now=NOW + 0.1)
    switch.login("token", f"client {ODD}", 30.0, now=NOW)
    switch.subscribe("a", token="token", now=NOW)
    full = Draft(
        ODD,
        correlation_id=ODD,
        reply_to="b",
        ttl=7.25,
        headers={ODD: ODD, "": ""},
        key=ODD,
        error=Failure(ODD, ODD),
    )
    switch.send("a", full, token="token", now=NOW)
    switch.send("a", Draft("", delay=4.5), now=NOW)
    for cause in ("dies", "is answered"):
        switch.call("a", Draft(cause, key=cause), timeout=9.0, now=NOW)
    switch.send("b", Draft("x" * 100_000), now=NOW)
    wait = switch.transfer(token="token", limit=3, now=NOW)
    held = switch.collect(wait, now=NOW).messages
    by_payload = {message.payload: message.id for message in held}
    switch.nack([by_payload["dies"]], token="token", requeue=False, now=NOW)
    reply = Reply(by_payload["is answered"], ODD, {ODD: ODD}, Failure("no", ODD))
    switch.reply(reply, token="token", now=NOW)
    return switch


def test_every_kind_of_row_comes_back(store: Store) -> None:
    switch = everything()
    store.write(batch(switch))
    again = loaded(store)
    assert kept_of(again, NOW) == kept_of(switch, NOW)
    states = {m.state for m in again.messages.values()}
    assert {state.value for state in states} == {"ready", "delayed", "dead"}
    assert any(record.call and record.call.response for record in again.queues["a"].keys.values())


def test_a_batch_written_twice_is_written_once(store: Store) -> None:
    switch = everything()
    first = batch(switch)
    store.write(first)
    store.write(first)
    assert kept_of(loaded(store), NOW) == kept_of(switch, NOW)
    switch.logout("token", now=NOW)
    switch.purge_queue("b", now=NOW)
    switch.resume_queue("b", now=NOW)
    switch.destroy_queue("a", now=NOW)
    second = batch(switch)
    store.write(second)
    store.write(second)
    assert kept_of(loaded(store), NOW) == kept_of(switch, NOW)
    assert not StoredMessage.objects.using(ALIAS).exists()
    assert not StoredKey.objects.using(ALIAS).exists()
    assert [queue.name for queue in StoredQueue.objects.using(ALIAS).all()] == ["b"]


def test_a_batch_is_written_whole_or_not_at_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = everything()
    whole = batch(switch)

    def fails(cursor: Any, rows: Any) -> None:
        raise DatabaseError("no more")

    with monkeypatch.context() as patch:
        patch.setattr(store._keys_table, "put", fails)
        with pytest.raises(DatabaseError):
            store.write(whole)
    assert not loaded(store).queues
    store.write(whole)
    assert kept_of(loaded(store), NOW) == kept_of(switch, NOW)


def test_a_large_message_is_a_statement_by_itself(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "LARGE", 2_000)
    switch = new_switch()
    switch.create_queue("q", now=NOW)
    for n in range(200):
        switch.send("q", Draft("x" * (3_000 if n % 100 == 0 else 1), key=str(n)), now=NOW)
    rows = batch(switch)
    assert len(rows.large_messages) == 2
    with CaptureQueriesContext(connections[ALIAS]) as queries:
        store.write(rows)
    puts = [q for q in queries if q["sql"].startswith('INSERT INTO "queues_storedmessage"')]
    assert len(puts) == len(list(in_sizes(rows.messages))) + 2
    assert kept_of(loaded(store), NOW) == kept_of(switch, NOW)
    switch.destroy_queue("q", now=NOW)
    store.write(batch(switch))
    assert not loaded(store).queues
    assert not StoredMessage.objects.using(ALIAS).exists()


class RealTables:
    """The tables of a store, for programs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def rows(self, changes: Changes) -> Batch:
        return batch_of(changes, None)

    def write(self, rows: Batch) -> None:
        self._store.write(rows)

    def load(self, switch: Switch) -> None:
        self._store.load(switch)

    def alive(self) -> dict[int, str]:
        rows = StoredMessage.objects.using(ALIAS).filter(cause=None)
        return dict(rows.values_list("id", "queue"))


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(steps)
def test_a_restarted_switch_is_the_same(store: Store, steps: list[Step]) -> None:
    for model in (StoredMessage, StoredKey, StoredQueue):
        model.objects.using(ALIAS).all().delete()
    Program(RealTables(store), gated=True).run(steps)


# -- refusals ---------------------------------------------------------------------------------


def refusal() -> str:
    store = Store(ALIAS)

    def start() -> None:
        store.begin(store.open(), 1)
        store.load(Switch(first_id=1, now=NOW))

    with pytest.raises(StoreRefused) as caught:
        start()
    leave(store)
    return str(caught.value)


def execute(database: Path, *statements: str) -> None:
    connection = sqlite3.connect(database)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_database_without_tables_asks_for_migrate(database: Path) -> None:
    database.unlink()
    assert "python manage.py migrate --database journal" in refusal()


def test_a_half_migrated_database_asks_for_migrate(database: Path) -> None:
    execute(database, "DELETE FROM django_migrations WHERE app = 'queues' AND name LIKE '0003%'")
    assert "python manage.py migrate --database journal" in refusal()


def test_a_missing_table_is_not_taken_for_an_empty_one(database: Path) -> None:
    execute(database, "DROP TABLE queues_storedkey")
    text = refusal()
    assert "queues_storedkey" in text
    assert "backup" in text


def test_a_newer_database_asks_for_the_newer_version(database: Path) -> None:
    execute(
        database,
        "INSERT INTO django_migrations (app, name, applied) VALUES ('queues', '9999_x', '2030')",
    )
    assert "newer version" in refusal()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_is_no_database_is_refused(database: Path) -> None:
    database.write_bytes(b"not a database" * 1_000)
    assert "backup" in refusal()
    # Django leaves the connection open that it could not set up; Python 3.13 says so when it goes.
    gc.collect()


def test_a_damaged_file_is_refused(database: Path) -> None:
    store = Store(ALIAS)
    store.begin(store.open(), 1)
    switch = new_switch()
    switch.create_queue("q", now=NOW)
    for n in range(500):
        switch.send("q", Draft(f"{n}" * 300), now=NOW)
    store.write(batch(switch))
    leave(store)
    execute(database, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(database.read_bytes())
    content[len(content) // 2 : -4096] = b"\xff" * (len(content) - 4096 - len(content) // 2)
    database.write_bytes(content)
    text = refusal()
    assert "damaged" in text
    assert "backup" in text


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("UPDATE queues_storedmessage SET body = x'00'", "message"),
        ("UPDATE queues_storedqueue SET policy = '{'", "queue"),
        ("UPDATE queues_storedkey SET body = x'00'", "key"),
        ("DELETE FROM queues_storedqueue", "backup"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(database: Path, statement: str, word: str) -> None:
    store = Store(ALIAS)
    store.begin(store.open(), 1)
    store.write(batch(everything()))
    leave(store)
    execute(database, statement)
    text = refusal()
    assert word in text
    assert "backup" in text


def test_a_second_switch_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "HANDOVER_TIME", 0.2)
    assert "Another switch uses this database" in refusal()
    # Also one in another process; the lock goes with the first.
    leave(store)
    program = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", program, f"{store._path}.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"locked\n"
    assert "Another switch uses this database" in refusal()
    holder.communicate()
    another = Store(ALIAS)
    another.open()
    leave(another)


# -- while it runs ----------------------------------------------------------------------------


def test_the_mark_is_kept(store: Store) -> None:
    store.write(Batch(0, mark=77))
    leave(store)
    another = Store(ALIAS)
    assert another.open() == 77
    leave(another)


def test_the_first_life_names_all_on_a_database(store: Store) -> None:
    leave(store)
    names = []
    for first in (500, 700):
        another = Store(ALIAS)
        another.open()
        names.append(another.begin(first, first + 1))
        leave(another)
    # The fixture's was the first.
    assert names == [0, 0]


def test_a_file_that_was_moved_is_not_written_in_vain(store: Store, database: Path) -> None:
    switch = everything()
    kept = batch(switch)
    aside = database.with_name("aside")
    database.rename(aside)
    for _ in range(2):
        with pytest.raises(StoreLost, match="was moved or replaced"):
            store.write(kept)
        assert not database.exists()
    shutil.copy(aside, database)
    with pytest.raises(StoreLost, match="was moved or replaced"):
        store.write(kept)
    aside.rename(database)
    store.write(kept)
    assert kept_of(loaded(store), NOW) == kept_of(switch, NOW)


def test_tables_that_another_switch_has_used_are_left_alone(store: Store, database: Path) -> None:
    store.close()
    execute(database, "UPDATE queues_storedmark SET number = number + 5")
    with pytest.raises(StoreLost, match="Restart this one"):
        store.write(batch(everything()))
