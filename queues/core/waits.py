"""Who waits inside the switch: requests, until something happens or their time is up, and streams,
for as long as they last."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from .answers import AckResult, ReplyOutcome
from .errors import SwitchError
from .messages import Message, Response
from .verdict import Verdict

if TYPE_CHECKING:
    from .calls import Call
    from .sessions import Session


class Wait(Struct, eq=False):
    """A waiting request. Once ``done`` it does not change until its owner collects the result."""

    number: int
    done: bool = False
    then: Callable[[Any], None] | None = None
    """What gets the wait once it is done."""


class TransferWait(Wait, eq=False, kw_only=True):
    """An open Transfer."""

    session: Session
    after: int
    ordered: bool
    """Whether ``after`` says what has been received."""
    limit: int
    acks: AckResult | None = None
    replies: Sequence[ReplyOutcome] = ()
    resent: Sequence[tuple[int, Message]] = ()
    """What the session held before, by delivery number; it stays with it in any case."""
    batch: list[tuple[int, Message]] | None = None
    """Messages handed to this Transfer, by delivery number; undone if it is abandoned. None before
    there is one."""
    superseded: bool = False

    def forget(self, numbers: Iterable[int]) -> None:
        """Give no more what it was handed under one of these delivery numbers."""
        if self.batch:
            gone = set(numbers)
            self.batch = [given for given in self.batch if given[0] not in gone]


class CallWait(Wait, eq=False, kw_only=True):
    """One caller waiting for a call. When ``done`` it has a response, a verdict or a trouble."""

    call: Call
    timeout: float
    response: Response | None = None
    verdict: Verdict | None = None
    trouble: SwitchError | None = None
    """Why it is told neither."""


class TraceWait(Wait, eq=False, kw_only=True):
    """A reader of the trace waiting for the next event."""

    after: int
    limit: int


class Stream(Wait, eq=False, kw_only=True):
    """The open connection of a session that messages are pushed to, as far as credit and room go.

    It is woken whenever its ``batch`` gets a first message, and when it is ``done``: superseded
    by a newer stream, or ended with its session.
    """

    session: Session
    room: int
    """Bytes of payload that may still be pushed; the last message may exceed it."""
    resend: deque[tuple[int, Message]] = field(default_factory=deque)
    """What the session held before, by delivery number; nothing new goes before it."""
    batch: list[tuple[int, Message]] | None = None
    """What is to be pushed, by delivery number; None if nothing is."""
    superseded: bool = False
