"""What a purge or a destruction removed, as long as it may be restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .answers import UndoInfo
from .messages import Message
from .queue import Policy

#: Purges and destructions kept together; before one more the oldest is forgotten.
MOST_KEPT = 1_000


@dataclass(slots=True, kw_only=True, eq=False)
class Removed:
    """Messages in the state that they were in, and their queue as it was."""

    id: int
    action: Literal["purged", "destroyed"]
    queue: str
    policy: Policy
    paused_at: float | None
    messages: list[Message]
    size: int
    """Bytes of the messages."""
    at: float
    until: float

    def info(self) -> UndoInfo:
        """The same for people."""
        return UndoInfo(
            id=self.id,
            action=self.action,
            queue=self.queue,
            messages=len(self.messages),
            at=self.at,
            until=self.until,
        )
