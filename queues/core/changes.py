"""What must survive the process: changes to persistent queues, their messages and their keys.

A journal takes them in batches. Until then they are merged: a message that came and went between
two batches leaves nothing. Each change has a position, so that whoever waits for it to be safe
can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from .messages import Message, Response

if TYPE_CHECKING:
    from .queue import KeyRecord, Queue


class KeptKey(Struct):
    """A remembered key. ``until`` is when it is forgotten."""

    id: int
    digest: bytes
    size: int
    until: float
    reply_to: str | None
    """The reply address, where a call used it."""
    response: Response | None = None
    lost: bool = False
    """Whether no reply to the call will come."""


class Changes:
    """What has changed since the last batch."""

    __slots__ = ("added", "changed", "keys", "position", "queues", "removed")

    def __init__(self, position: int = 0) -> None:
        self.position = position
        """Number of the last change."""
        self.queues: dict[str, Queue | None] = {}
        """By name; None for those that are gone."""
        self.added: dict[int, Message] = {}
        self.changed: dict[int, Message] = {}
        self.removed: set[int] = set()
        """To be deleted before the others are written: one that was restored may be in both."""
        self.keys: dict[tuple[str, str], KeptKey | None] = {}
        """By queue and key; None for those that are forgotten."""

    def queue(self, name: str, queue: Queue | None) -> None:
        """A queue is new, changed or gone."""
        self.queues[name] = queue
        self.position += 1

    def add(self, message: Message) -> None:
        """A message is new, or restored."""
        self.position += 1
        self.added[message.id] = message
        message.position = self.position

    def change(self, message: Message) -> None:
        """A message is in another queue or state, or its deliveries were counted."""
        self.position += 1
        if message.id not in self.added:
            self.changed[message.id] = message

    def remove(self, message: Message) -> None:
        """A message is gone."""
        self.position += 1
        self.changed.pop(message.id, None)
        if self.added.pop(message.id, None) is None:
            self.removed.add(message.id)

    def key(self, queue: str, key: str, record: KeyRecord | None) -> None:
        """A key is remembered, what became of its call has changed, or it is forgotten."""
        self.position += 1
        if record is None:
            self.keys[queue, key] = None
            return
        call = record.call
        self.keys[queue, key] = KeptKey(
            record.id,
            record.digest,
            record.size,
            record.until,
            None if call is None else call.reply_to,
            None if call is None else call.response,
            call is not None and call.lost,
        )
