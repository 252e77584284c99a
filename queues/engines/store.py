"""What a journal keeps, in the Django database, through its ORM. Everything here blocks.

Every batch is one transaction, and writing it twice is the same as writing it once: after an error
nobody knows whether it was committed.
"""

from __future__ import annotations

import fcntl
import gc
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.db.migrations.executor import MigrationExecutor

from queues.core.changes import Changes, KeptKey
from queues.core.messages import Death, Failure, Message, State
from queues.core.queue import Policy
from queues.core.switch import Switch
from queues.models import StoredKey, StoredMark, StoredMessage, StoredQueue

from .statements import Statements

Row = tuple[Any, ...]

#: Bytes of a message from which on it is written by itself, since databases copy a whole statement.
LARGE = 256 * 2**10
#: Seconds that a switch which is stopping gets to let go of the database.
HANDOVER_TIME = 10.0
#: The number of the advisory lock by which a switch keeps a PostgreSQL database to itself.
SERVER_LOCK = 0x5357


_MISFIT = (
    "{}, which is not there: the tables do not fit each other. Restore the database from a backup."
)


class StoreRefused(Exception):
    """The database cannot be used as it is; the text says why, and what to do."""


class StoreLost(Exception):
    """The database belongs to another switch now."""


class Body(msgspec.Struct, array_like=True):
    """The part of a message that never changes."""

    payload: str
    correlation_id: str | None
    reply_to: str | None
    headers: dict[str, str] | None
    key: str | None
    error: Failure | None
    sender: str | None
    sent_at: float
    size: int


#: The rows of StoredMark.
MARK, NAME = 1, 2

QUEUE_FIELDS = ("name", "policy", "created_at", "paused_at")
MESSAGE_FIELDS = (
    "id",
    "queue",
    "body",
    "delivery_count",
    "expires_at",
    "due_at",
    "cause",
    "died_at",
    "death",
)
KEY_FIELDS = ("name", "queue", "key", "body")
MARK_FIELDS = ("id", "number")

_encode = msgspec.msgpack.Encoder().encode
_decode_body = msgspec.msgpack.Decoder(Body).decode
_decode_policy = msgspec.json.Decoder(Policy).decode
_decode_key = msgspec.msgpack.Decoder(KeptKey).decode


@dataclass(slots=True)
class Batch:
    """Changes as rows, so that another thread can write them while the switch goes on.

    What is gone is given by its key.
    """

    position: int
    queues: list[Row] = field(default_factory=list)
    queues_gone: list[str] = field(default_factory=list)
    messages: list[Row] = field(default_factory=list)
    large_messages: list[Row] = field(default_factory=list)
    messages_gone: list[int] = field(default_factory=list)
    keys: list[Row] = field(default_factory=list)
    keys_gone: list[str] = field(default_factory=list)
    mark: int | None = None


def batch_of(changes: Changes, mark: int | None) -> Batch:
    """The rows of what has changed; ``mark`` reserves numbers up to there."""
    batch = Batch(changes.position, mark=mark)
    for name, queue in changes.queues.items():
        if queue is None:
            batch.queues_gone.append(name)
        else:
            policy = msgspec.json.encode(queue.policy).decode()
            batch.queues.append((name, policy, queue.created_at, queue.paused_at))
    for message in (*changes.added.values(), *changes.changed.values()):
        body = _encode(_body(message))
        death = message.death
        row = (
            message.id,
            message.queue,
            body,
            message.delivery_count,
            message.expires_at,
            message.due_at if message.state is State.DELAYED else None,
            None if death is None else death.cause,
            None if death is None else death.at,
            None if death is None else death.number,
        )
        (batch.messages if len(body) < LARGE else batch.large_messages).append(row)
    batch.messages_gone.extend(changes.removed)
    for (queue_name, key), kept in changes.keys.items():
        name = _key_name(queue_name, key)
        if kept is None:
            batch.keys_gone.append(name)
        else:
            batch.keys.append((name, queue_name, _encode(key), _encode(kept)))
    return batch


def _body(message: Message) -> Body:
    return Body(
        message.payload,
        message.correlation_id,
        message.reply_to,
        message.headers,
        message.key,
        message.error,
        message.sender,
        message.sent_at,
        message.size,
    )


def _key_name(queue: str, key: str) -> str:
    """A name of one length, since keys may be long and hold what a database minds."""
    return hashlib.blake2b(f"{queue} {key}".encode(), digest_size=32).hexdigest()


class Store:
    """The tables of the journal in the database ``alias``, for one switch at a time.

    Everything is to be called in the same thread.
    """

    def __init__(self, alias: str = "default") -> None:
        self._alias = alias
        self._path: str | None = None
        """Where the database is, if it is a file,"""
        self._file: tuple[int, int] | None = None
        """which one,"""
        self._lock: int | None = None
        """the file beside it that says who uses it,"""
        self._backend: int | None = None
        """and the process of PostgreSQL that does, where it is one."""
        self._marks: set[int] = set()
        """What the mark may be, as long as nobody else uses the tables."""
        self._queues_table = Statements(StoredQueue, QUEUE_FIELDS)
        self._messages_table = Statements(StoredMessage, MESSAGE_FIELDS)
        self._keys_table = Statements(StoredKey, KEY_FIELDS)
        self._marks_table = Statements(StoredMark, MARK_FIELDS)

    # -- starting -----------------------------------------------------------------------------

    def open(self) -> int:
        """Make sure that the tables are there, as this version knows them, and used by nobody else.

        Returns the mark, below which every number ever given out is. Raises StoreRefused.
        """
        try:
            self._check()
            self._find_file()
            patience = time.monotonic() + HANDOVER_TIME
            while not self._claim():
                if time.monotonic() > patience:
                    raise StoreRefused(
                        "Another switch uses this database. Stop it first, or give this one a "
                        "database of its own (SWITCH_STATE_DIR, or DATABASES in the settings)."
                    )
                self.close()
                time.sleep(0.1)
            return self._mark()
        except DatabaseError as error:
            raise self._refusal(error) from error

    def begin(self, first: int, mark: int) -> int:
        """Set the first mark of this life of the switch, in which numbers begin with ``first``.

        Returns the first number of the first life on this database. Raises StoreRefused.
        """
        self._marks = {mark}
        try:
            self.write(Batch(0, mark=mark))
            names = StoredMark.objects.using(self._alias)
            return names.get_or_create(id=NAME, defaults={"number": first})[0].number
        except DatabaseError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: DatabaseError) -> StoreRefused:
        return StoreRefused(
            f"The database cannot be used ({str(error).strip()}). If it is a file, see that it can "
            "be written, that the disk has room, and that nobody locks it; if it is damaged, "
            "restore it from a backup. If it is a server, see whether it runs."
        )

    def _check(self) -> None:
        connection = connections[self._alias]
        executor = MigrationExecutor(connection)
        known = {key for key in executor.loader.graph.nodes if key[0] == "queues"}
        applied = {key for key in executor.loader.applied_migrations if key[0] == "queues"}
        if known - applied:
            raise StoreRefused(
                "The database lacks tables of this version. Run: python manage.py migrate"
                + ("" if self._alias == "default" else f" --database {self._alias}")
            )
        if applied - known:
            raise StoreRefused(
                "The database was used by a newer version of the switch, and this one does not "
                "know all that it holds. Install that version."
            )
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                found = cursor.execute("PRAGMA quick_check(1)").fetchone()
            if found[0] != "ok":
                raise StoreRefused(
                    f"The database file {connection.settings_dict['NAME']} is damaged "
                    f"({' '.join(found[0].split())}). Restore it from a backup, or save what can "
                    "be with “sqlite3 FILE .recover”."
                )

    def _find_file(self) -> None:
        connection = connections[self._alias]
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                # Empty if it is in memory.
                self._path = cursor.execute("PRAGMA database_list").fetchone()[2] or None
        self._file = self._identity()

    def _identity(self) -> tuple[int, int] | None:
        """What tells a file from another that takes its place."""
        if self._path is None:
            return None
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _mark(self) -> int:
        row = StoredMark.objects.using(self._alias).filter(id=MARK).first()
        return 0 if row is None else row.number

    def _claim(self) -> bool:
        """Keep other switches away from the tables, for as long as this process lives; False if
        one is there. Databases other than SQLite and PostgreSQL are not guarded."""
        connection: Any = connections[self._alias]
        if connection.vendor == "postgresql":
            return self._claim_server(connection)
        return self._path is None or self._claim_file(f"{self._path}.lock")

    def _claim_file(self, path: str) -> bool:
        if self._lock is not None:
            return True
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreRefused(
                f"The database cannot be guarded against a second switch: {error}."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _claim_server(self, connection: Any) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid(), pg_try_advisory_lock(%s)", [SERVER_LOCK])
            backend, claimed = cursor.fetchone()
            if claimed:
                self._backend = backend
            elif self._backend is not None:
                # Our own former connection, which the server does not know to be dead; and what it
                # may still be about to commit must not come after what is written next.
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                    "AND classid = 0 AND objid = %s AND pid = %s",
                    [SERVER_LOCK, self._backend],
                )
        return bool(claimed)

    def load(self, switch: Switch) -> None:
        """Put back everything into a new switch. Raises StoreRefused."""
        collects = gc.isenabled()
        # There is nothing to be collected, and looking for it again and again takes long.
        gc.disable()
        try:
            self._load(switch)
        except DatabaseError as error:
            raise self._refusal(error) from error
        finally:
            if collects:
                gc.enable()

    def _load(self, switch: Switch) -> None:
        for queue in StoredQueue.objects.using(self._alias).order_by("name").iterator():
            with _Row("queue", queue.name):
                policy = _decode_policy(queue.policy)
                switch.load_queue(queue.name, policy, queue.created_at, queue.paused_at)
        dead = []
        for message in self._messages():
            if message.queue not in switch.queues:
                raise StoreRefused(
                    _MISFIT.format(f"Message {message.id} belongs to the queue {message.queue}")
                )
            if message.death is None:
                switch.load_message(message)
            else:
                dead.append(message)
        # Queues keep their dead in the order in which they died.
        for message in sorted(dead, key=lambda m: m.death.number if m.death else 0):
            switch.load_message(message)
        for row in StoredKey.objects.using(self._alias).iterator():
            with _Row("key", row.name):
                key = msgspec.msgpack.decode(row.key, type=str)
                kept = _decode_key(row.body)
            if row.queue not in switch.queues:
                raise StoreRefused(_MISFIT.format(f"A key belongs to the queue {row.queue}"))
            switch.load_key(row.queue, key, kept)

    def _messages(self) -> Iterator[Message]:
        stored = StoredMessage.objects.using(self._alias).order_by("id")
        names: dict[str, str] = {}
        for (
            id,
            queue,
            body,
            count,
            expires_at,
            due_at,
            cause,
            died_at,
            death_number,
        ) in stored.values_list(*MESSAGE_FIELDS).iterator(10_000):
            with _Row("message", id):
                b = _decode_body(bytes(body))
            state = State.READY
            death = None
            if cause is not None:
                state, death = State.DEAD, Death(cause, died_at, death_number)
            elif due_at is not None:
                state = State.DELAYED
            message = Message(
                id,
                names.setdefault(queue, queue),
                b.payload,
                b.correlation_id,
                b.reply_to,
                b.headers,
                b.key,
                b.error,
                b.sender,
                b.sent_at,
                expires_at,
                b.size,
                state,
                count,
            )
            message.death = death
            message.due_at = due_at
            yield message

    # -- writing ------------------------------------------------------------------------------

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction. Raises what the database raises, and StoreLost."""
        alias = self._alias
        try:
            if self._identity() != self._file:
                # What is written to a file that nobody finds is lost, and opening makes a new one.
                raise StoreLost(
                    f"The database file {self._path} was moved or replaced. Put it back, or "
                    "restart the switch to go on with what is there now."
                )
            if connections[alias].connection is None:
                self._return()
            if batch.mark is not None:
                self._marks.add(batch.mark)
            with transaction.atomic(using=alias):
                self._write(batch)
        except BaseException:
            # Whatever is wrong with the connection, the next try gets a new one.
            self.close()
            raise
        if batch.mark is not None:
            self._marks = {batch.mark}

    def _return(self) -> None:
        """Go on with a new connection, if nobody has used the tables meanwhile."""
        if not self._claim() or self._mark() not in self._marks:
            raise StoreLost(
                "Another switch uses this database, or has used it since the connection to it "
                "broke. Restart this one when that has stopped."
            )

    def _write(self, batch: Batch) -> None:
        with connections[self._alias].cursor() as cursor:
            if batch.mark is not None:
                self._marks_table.put(cursor, [(MARK, batch.mark)])
            # Before the others are written: see Changes.removed.
            self._messages_table.delete(cursor, batch.messages_gone)
            self._queues_table.put(cursor, batch.queues)
            self._messages_table.put(cursor, batch.messages)
            for row in batch.large_messages:
                self._messages_table.put(cursor, [row])
            self._keys_table.put(cursor, batch.keys)
            self._keys_table.delete(cursor, batch.keys_gone)
            self._queues_table.delete(cursor, batch.queues_gone)

    def close(self) -> None:
        """Close this thread's connection."""
        # It may be broken in a way that closing it fails, too; then it is gone as well.
        with suppress(DatabaseError):
            connections[self._alias].close()


class _Row:
    """Says which row it was that could not be read."""

    def __init__(self, kind: str, name: object) -> None:
        self._kind = kind
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, (msgspec.MsgspecError, ValueError, TypeError)):
            raise StoreRefused(
                f"The {self._kind} {self._name} in the database cannot be read ({error}). Restore "
                "the database from a backup, or delete that row if it can be done without."
            ) from error
