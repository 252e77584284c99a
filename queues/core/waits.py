"""Requests that wait inside the switch until something happens or their time is up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import AckResult, ReplyOutcome
from .messages import Message, Response
from .verdict import Verdict

if TYPE_CHECKING:
    from .calls import Call
    from .sessions import Session


class Wait:
    """A waiting request. Once ``done`` it does not change until its owner collects the result."""

    __slots__ = ("done", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.done = False


class TransferWait(Wait):
    """An open Transfer."""

    __slots__ = (
        "acks",
        "after",
        "batch",
        "limit",
        "ordered",
        "replies",
        "resent",
        "session",
        "superseded",
    )

    def __init__(self, number: int, session: Session, *, after: int | None, limit: int) -> None:
        super().__init__(number)
        self.session = session
        self.after = after or 0
        self.ordered = after is not None
        self.limit = limit
        self.acks: AckResult | None = None
        self.replies: list[ReplyOutcome] = []
        self.resent: list[tuple[int, Message]] = []
        """What the session held before, by delivery number; it stays with it in any case."""
        self.batch: dict[int, Message] = {}
        """Messages handed to this Transfer by delivery number; undone if it is abandoned."""
        self.superseded = False


class CallWait(Wait):
    """One caller waiting for a call. When ``done`` it has a response or a verdict."""

    __slots__ = ("call", "response", "timeout", "verdict")

    def __init__(self, number: int, call: Call, timeout: float) -> None:
        super().__init__(number)
        self.call = call
        self.timeout = timeout
        self.response: Response | None = None
        self.verdict: Verdict | None = None


class TraceWait(Wait):
    """A reader of the trace waiting for the next event."""

    __slots__ = ("after", "limit")

    def __init__(self, number: int, *, after: int, limit: int) -> None:
        super().__init__(number)
        self.after = after
        self.limit = limit
