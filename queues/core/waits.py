"""Who waits inside the switch: requests, until something happens or their time is up, and streams,
for as long as they last."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .answers import AckResult, ReplyOutcome
from .errors import SwitchError
from .messages import Message, Response
from .verdict import Verdict

if TYPE_CHECKING:
    from .calls import Call
    from .sessions import Session


class Wait:
    """A waiting request. Once ``done`` it does not change until its owner collects the result."""

    __slots__ = ("done", "number", "then")

    def __init__(self, number: int) -> None:
        self.number = number
        self.done = False
        self.then: Callable[[Any], None] | None = None
        """What gets the wait once it is done."""


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
        self.replies: Sequence[ReplyOutcome] = ()
        self.resent: Sequence[tuple[int, Message]] = ()
        """What the session held before, by delivery number; it stays with it in any case."""
        self.batch: list[tuple[int, Message]] | None = None
        """Messages handed to this Transfer, by delivery number; undone if it is abandoned. None
        before there is one."""
        self.superseded = False

    def forget(self, numbers: Iterable[int]) -> None:
        """Give no more what it was handed under one of these delivery numbers."""
        if self.batch:
            gone = set(numbers)
            self.batch = [given for given in self.batch if given[0] not in gone]


class CallWait(Wait):
    """One caller waiting for a call. When ``done`` it has a response, a verdict or a trouble."""

    __slots__ = ("call", "response", "timeout", "trouble", "verdict")

    def __init__(self, number: int, call: Call, timeout: float) -> None:
        # As in Wait, without the way there: there is one for each call.
        self.number = number
        self.done = False
        self.then = None
        self.call = call
        self.timeout = timeout
        self.response: Response | None = None
        self.verdict: Verdict | None = None
        self.trouble: SwitchError | None = None
        """Why it is told neither."""


class TraceWait(Wait):
    """A reader of the trace waiting for the next event."""

    __slots__ = ("after", "limit")

    def __init__(self, number: int, *, after: int, limit: int) -> None:
        super().__init__(number)
        self.after = after
        self.limit = limit


class Stream(Wait):
    """The open connection of a session that messages are pushed to, as far as credit and room go.

    It is woken whenever its ``batch`` gets a first message, and when it is ``done``: superseded
    by a newer stream, or ended with its session.
    """

    __slots__ = ("batch", "resend", "room", "session", "superseded")

    def __init__(self, number: int, session: Session, room: int) -> None:
        super().__init__(number)
        self.session = session
        self.room = room
        """Bytes of payload that may still be pushed; the last message may exceed it."""
        self.resend: deque[tuple[int, Message]] = deque()
        """What the session held before, by delivery number; nothing new goes before it."""
        self.batch: list[tuple[int, Message]] | None = None
        """What is to be pushed, by delivery number; None if nothing is."""
        self.superseded = False
