"""Messages: what a sender gives, what the switch keeps, what a receiver gets."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

if TYPE_CHECKING:
    from .sessions import Session, Subscription

#: Name of the header by which a call says what it is made for: the id of the request that its
#: caller is serving.
PARENT = "switch-parent"
#: Hand-overs that a message remembers after they came to nothing.
KEPT_RETURNS = 5


class State(StrEnum):
    """Where a message is. See the lifecycle in docs/protocol.md."""

    READY = "ready"
    DELAYED = "delayed"
    HELD = "held"
    DEAD = "dead"


class Failure(Struct, frozen=True):
    """How a handler failed, as its reply says it."""

    code: str
    detail: str


class Fault(Protocol):
    """How a handler failed: a Failure, or a form that has the same fields."""

    @property
    def code(self) -> str:
        """The handler's own code."""

    @property
    def detail(self) -> str:
        """What went wrong, for people."""


class Outgoing(Protocol):
    """What a message is made from: a Draft, or a form that has the same fields."""

    @property
    def payload(self) -> str:
        """See Message."""

    @property
    def correlation_id(self) -> str | None:
        """See Message."""

    @property
    def reply_to(self) -> str | None:
        """See Message."""

    @property
    def ttl(self) -> float | None:
        """Seconds after which the message expires."""

    @property
    def delay(self) -> float:
        """Seconds until the message is ready."""

    @property
    def headers(self) -> dict[str, str] | None:
        """See Message."""

    @property
    def key(self) -> str | None:
        """See Message."""

    @property
    def error(self) -> Fault | None:
        """See Message."""


class OutgoingReply(Protocol):
    """What a reply is made from: a Reply, or a form that has the same fields."""

    @property
    def id(self) -> int:
        """The request."""

    @property
    def payload(self) -> str:
        """See Message."""

    @property
    def headers(self) -> dict[str, str] | None:
        """See Message."""

    @property
    def error(self) -> Fault | None:
        """See Message."""


class Draft(Struct):
    """A message as its sender gives it. ``ttl`` and ``delay`` are in seconds."""

    payload: str
    correlation_id: str | None = None
    reply_to: str | None = None
    ttl: float | None = None
    delay: float = 0.0
    headers: dict[str, str] | None = None
    key: str | None = None
    error: Fault | None = None


class Hold(Struct):
    """Who has a message now, and since when."""

    session: Session
    subscription: Subscription
    """What counts it, while the session has one to the queue."""
    delivery: int
    since: float
    timed: bool = False
    """Whether an ack timeout runs."""
    last: bool = False
    """Whether nobody gets it after this one, since its caller has gone."""


class Return(Struct, frozen=True):
    """A hand-over that came to nothing: to whom, when it ended, and ``nack``, ``ack_timeout``,
    ``lease_expired``, ``disconnected``, ``logout``, ``ended`` or ``operator``."""

    client: str
    at: float
    cause: str


class Death(Struct):
    """Why and when a message gave up: ``max_deliveries``, ``rejected`` or ``expired``."""

    cause: str
    at: float
    number: int = 0
    """Larger than that of every earlier death since the switch started."""


class Message(Struct, eq=False):
    """A message in a queue. Only the switch changes it."""

    id: int
    queue: str
    payload: str
    correlation_id: str | None
    reply_to: str | None
    headers: dict[str, str] | None
    key: str | None
    error: Failure | None
    sender: str | None
    sent_at: float
    expires_at: float | None
    size: int
    """Bytes counted against the limit of the switch."""
    state: State = State.READY
    delivery_count: int = 0
    hold: Hold | None = None
    death: Death | None = None
    due_at: float | None = None
    """When a delayed message becomes ready, or when one last did other than by being sent or given
    back."""
    returns: deque[Return] | None = None
    """The last hand-overs that came to nothing."""
    answers: str | None = None
    """The queue of the request that it is the reply to."""
    position: int = 0
    """The change that must be safe before it may be handed over."""


class Delivery(Struct):
    """A message as it is handed to a session. Times are seconds since the epoch."""

    id: int
    delivery: int
    """Number of this hand-over; larger than that of every earlier one."""
    queue: str
    payload: str
    sent_at: float
    delivery_count: int
    correlation_id: str | None = None
    reply_to: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    sender: str | None = None
    expires_at: float | None = None
    error: Failure | None = None


class Reply(Struct, frozen=True):
    """An answer to the held request ``id``."""

    id: int
    payload: str
    headers: dict[str, str] | None = None
    error: Fault | None = None


class Response(Struct):
    """The reply to a call."""

    id: int
    request: int
    """Id of the message that this answers."""
    payload: str
    correlation_id: str
    sent_at: float
    headers: dict[str, str] = field(default_factory=dict)
    sender: str | None = None
    error: Failure | None = None


def failure_of(fault: Fault) -> Failure:
    """The same as the switch keeps it."""
    return Failure(fault.code, fault.detail)


def utf8_size(text: str) -> int:
    """Bytes of ``text`` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def headers_size(headers: dict[str, str] | None) -> int:
    """UTF-8 bytes of all header names and values."""
    return sum(utf8_size(k) + utf8_size(v) for k, v in headers.items()) if headers else 0


def parent_of(headers: dict[str, str] | None) -> int | None:
    """The request that a call with these headers is made for; None if they name none."""
    if not headers or (text := headers.get(PARENT)) is None:
        return None
    # Longer than any id: reading it could take long.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def ready_since(message: Message) -> float:
    """Since when a message that is ready, or was until its hand-over, could be handed over."""
    since = message.sent_at if message.due_at is None else message.due_at
    return since if message.returns is None else max(since, message.returns[-1].at)


def delivery_of(message: Message) -> Delivery:
    """The wire form of a held message."""
    hold = message.hold
    assert hold is not None
    return Delivery(
        message.id,
        hold.delivery,
        message.queue,
        message.payload,
        message.sent_at,
        message.delivery_count,
        message.correlation_id,
        message.reply_to,
        message.headers or {},
        message.key,
        message.sender,
        message.expires_at,
        message.error,
    )
