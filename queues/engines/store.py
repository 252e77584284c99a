"""What a journal keeps, in the Django database, through its ORM. Everything here blocks.

Every batch is one transaction, and writing it twice is the same as writing it once: after an error
nobody knows whether it was committed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from django.db import DatabaseError, connections, transaction
from django.db.migrations.executor import MigrationExecutor

from queues.core.changes import Changes, KeptKey
from queues.core.messages import Death, Failure, Message, State
from queues.core.queue import Policy, Queue
from queues.core.switch import Switch
from queues.models import StoredKey, StoredMark, StoredMessage, StoredQueue

T = TypeVar("T")

#: Rows that one statement names.
ROWS = 500


class StoreRefused(Exception):
    """The database cannot be used as it is; the text says why, and what to do."""


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


_encode = msgspec.msgpack.Encoder().encode
_decode_body = msgspec.msgpack.Decoder(Body).decode
_decode_policy = msgspec.json.Decoder(Policy).decode
_decode_key = msgspec.msgpack.Decoder(KeptKey).decode


@dataclass(slots=True)
class Batch:
    """Changes as rows, so that another thread can write them while the switch goes on."""

    position: int
    queues: list[StoredQueue] = field(default_factory=list)
    queues_gone: list[str] = field(default_factory=list)
    messages: list[StoredMessage] = field(default_factory=list)
    messages_gone: list[int] = field(default_factory=list)
    keys: list[StoredKey] = field(default_factory=list)
    keys_gone: list[tuple[str, str]] = field(default_factory=list)
    mark: int | None = None


def batch_of(changes: Changes, mark: int | None) -> Batch:
    """The rows of what has changed; ``mark`` reserves numbers up to there."""
    batch = Batch(changes.position, mark=mark)
    for name, queue in changes.queues.items():
        if queue is None:
            batch.queues_gone.append(name)
        else:
            batch.queues.append(_queue_row(queue))
    for message in (*changes.added.values(), *changes.changed.values()):
        batch.messages.append(_message_row(message))
    batch.messages_gone.extend(changes.removed)
    for (queue_name, key), kept in changes.keys.items():
        if kept is None:
            batch.keys_gone.append((queue_name, key))
        else:
            batch.keys.append(
                StoredKey(
                    name=_key_name(queue_name, key),
                    queue=queue_name,
                    key=_encode(key),
                    body=_encode(kept),
                )
            )
    return batch


def _queue_row(queue: Queue) -> StoredQueue:
    return StoredQueue(
        name=queue.name,
        policy=msgspec.json.encode(queue.policy).decode(),
        created_at=queue.created_at,
        paused_at=queue.paused_at,
    )


def _message_row(message: Message) -> StoredMessage:
    death = message.death
    body = Body(
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
    return StoredMessage(
        id=message.id,
        queue=message.queue,
        body=_encode(body),
        delivery_count=message.delivery_count,
        expires_at=message.expires_at,
        due_at=message.due_at if message.state is State.DELAYED else None,
        cause=None if death is None else death.cause,
        died_at=None if death is None else death.at,
        death=None if death is None else death.number,
    )


def _key_name(queue: str, key: str) -> str:
    """A name of one length, since keys may be long and hold what a database minds."""
    return hashlib.blake2b(f"{queue} {key}".encode(), digest_size=32).hexdigest()


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), ROWS):
        yield items[start : start + ROWS]


class Store:
    """The tables of the journal in the database ``alias``."""

    def __init__(self, alias: str = "default") -> None:
        self._alias = alias

    def check(self) -> None:
        """Raise StoreRefused unless the tables are there, and as this version knows them."""
        connection = connections[self._alias]
        try:
            executor = MigrationExecutor(connection)
            known = {key for key in executor.loader.graph.nodes if key[0] == "queues"}
            applied = {key for key in executor.loader.applied_migrations if key[0] == "queues"}
            if known - applied:
                raise StoreRefused(
                    "The database lacks tables of this version. Run: python manage.py migrate"
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
                        f"({found[0]}). Restore it from a backup, or save what can be with "
                        "“sqlite3 FILE .recover”."
                    )
        except DatabaseError as error:
            raise StoreRefused(
                f"The database cannot be read ({error}). If it is a file, it may be damaged: "
                "restore it from a backup. If it is a server, see whether it runs."
            ) from error

    def mark(self) -> int:
        """Every number ever given out is below."""
        row = StoredMark.objects.using(self._alias).filter(pk=1).first()
        return 0 if row is None else row.number

    def load(self, switch: Switch) -> None:
        """Put back everything into a new switch. Raises StoreRefused."""
        try:
            self._load(switch)
        except DatabaseError as error:
            raise StoreRefused(
                f"The database cannot be read ({error}). Restore it from a backup."
            ) from error

    def _load(self, switch: Switch) -> None:
        for queue in StoredQueue.objects.using(self._alias).order_by("name").iterator():
            with _Row("queue", queue.name):
                policy = _decode_policy(queue.policy)
                switch.load_queue(queue.name, policy, queue.created_at, queue.paused_at)
        dead = []
        for message in self._messages():
            if message.queue not in switch.queues:
                raise StoreRefused(
                    f"Message {message.id} belongs to the queue {message.queue}, which is not "
                    "there: the tables do not fit each other. Restore the database from a backup."
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
                switch.load_key(row.queue, key, _decode_key(row.body))

    def _messages(self) -> Iterator[Message]:
        fields = ["id", "queue", "body", "delivery_count", "expires_at", "due_at"]
        fields += ["cause", "died_at", "death"]
        rows = StoredMessage.objects.using(self._alias).order_by("id").values_list(*fields)
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
        ) in rows.iterator(10_000):
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

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction. Raises what the database raises."""
        alias = self._alias
        try:
            with transaction.atomic(using=alias):
                self._write(batch)
        except BaseException:
            # Whatever is wrong with the connection, the next try gets a new one.
            connections[alias].close()
            raise

    def _write(self, batch: Batch) -> None:
        alias = self._alias
        if batch.mark is not None:
            _put(StoredMark, [StoredMark(id=1, number=batch.mark)], "id", alias)
        _put(StoredQueue, batch.queues, "name", alias)
        _put(StoredMessage, batch.messages, "id", alias)
        _put(StoredKey, batch.keys, "name", alias)
        for ids in _chunks(batch.messages_gone):
            StoredMessage.objects.using(alias).filter(id__in=ids).delete()
        keys = [_key_name(queue, key) for queue, key in batch.keys_gone]
        for names in _chunks(keys):
            StoredKey.objects.using(alias).filter(name__in=names).delete()
        for queues in _chunks(batch.queues_gone):
            StoredQueue.objects.using(alias).filter(name__in=queues).delete()

    def close(self) -> None:
        """Close this thread's connection."""
        connections[self._alias].close()


def _put(model: Any, rows: list[Any], key: str, alias: str) -> None:
    """Insert rows, or replace those that are there."""
    if rows:
        others = [f.name for f in model._meta.concrete_fields if f.name != key]
        model.objects.using(alias).bulk_create(
            rows,
            batch_size=ROWS,
            update_conflicts=True,
            unique_fields=[key],
            update_fields=others,
        )


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
