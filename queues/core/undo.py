"""What a purge or a destruction removed, as long as it may be restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .answers import UndoInfo
from .messages import Message
from .queue import Policy


@dataclass(slots=True, eq=False)
class Removed:
    """Messages in the state that they were in, and the policy that their queue had."""

    id: int
    action: Literal["purged", "destroyed"]
    queue: str
    policy: Policy
    messages: list[Message]
    size: int
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
