"""What the operations of the switch answer. These classes are the wire form of the answers.

All times are seconds since the epoch unless a field says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .events import Event
from .messages import Delivery, Failure, State
from .queue import Policy
from .verdict import ServiceStatus, Verdict

#: Whether somebody waits for the reply: "none" when the message asks for no reply.
Caller = Literal["waiting", "gone", "none"]
QueueKind = Literal["persistent", "transient"]


@dataclass(slots=True, kw_only=True)
class LoginResult:
    """A session. ``session`` is its secret token; ``lease`` is in seconds."""

    session: str
    client: str
    lease: float
    instance: int
    """Names this life of the switch. While it is the same, nothing was forgotten: neither keys nor
    messages."""


@dataclass(slots=True, kw_only=True)
class QueueCreated:
    """The name of a queue that now exists; ``created`` is false when it did before."""

    name: str
    created: bool


@dataclass(slots=True, kw_only=True)
class SendResult:
    """The id of the message; ``created`` is false when its key had been used before."""

    id: int
    created: bool


@dataclass(slots=True, kw_only=True)
class SendOutcome:
    """What became of one message of a batch: a SendResult, or the ``code`` and ``detail`` of its
    refusal."""

    id: int | None = None
    created: bool = False
    code: str | None = None
    detail: str | None = None


@dataclass(slots=True, kw_only=True)
class AckResult:
    """What ``ack`` did with each id. ``unknown`` is no error: it may have been acked before."""

    acked: list[int]
    unknown: list[int]
    not_held: list[int]


@dataclass(slots=True, kw_only=True)
class NackResult:
    """What ``nack`` did with each id."""

    released: list[int]
    unknown: list[int]
    not_held: list[int]


@dataclass(slots=True, kw_only=True)
class TouchResult:
    """What ``touch`` did with each id."""

    touched: list[int]
    unknown: list[int]
    not_held: list[int]


@dataclass(slots=True, kw_only=True)
class ReplyResult:
    """The id of the response, or None and why nobody gets it. The request is acked either way."""

    id: int | None
    state: Literal["caller_gone", "no_reply_to", "unknown"] | None = None


@dataclass(slots=True, kw_only=True)
class ReplyOutcome:
    """What became of one of the replies that a Transfer carried: a ReplyResult, or the ``code``
    and ``detail`` of its refusal."""

    request: int
    id: int | None = None
    state: Literal["caller_gone", "no_reply_to", "unknown"] | None = None
    code: str | None = None
    detail: str | None = None


@dataclass(slots=True, kw_only=True)
class TransferResult:
    """What a Transfer hands over, and what became of its acks and replies."""

    messages: list[Delivery]
    next: int
    """The highest delivery number in ``messages``, else the ``after`` of the request."""
    superseded: bool = False
    """Whether a newer Transfer of the same session ended this one."""
    acks: AckResult | None = None
    replies: list[ReplyOutcome] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class PurgeResult:
    """How many messages were dropped."""

    purged: int


@dataclass(slots=True, kw_only=True)
class ReplayResult:
    """How many dead messages are ready again, how many ids were not dead in this queue, and how
    many stay dead because the queue is full."""

    replayed: int
    not_dead: int
    no_room: int


@dataclass(slots=True, kw_only=True)
class QueueInfo:
    """A queue and how it is doing."""

    name: str
    kind: QueueKind
    owner: str | None
    """Client name of the session that a transient queue ends with."""
    status: ServiceStatus
    ready: int
    delayed: int
    held: int
    dead: int
    consumers: int
    waiting: int
    """Transfers open for this queue now."""
    oldest_at: float | None
    """When the oldest ready message was sent."""
    bytes: int
    sent: int
    delivered: int
    acked: int
    created_at: float
    policy: Policy


@dataclass(slots=True, kw_only=True)
class QueueList:
    """A page of queues in the order of their names; ``next`` continues, None at the end."""

    queues: list[QueueInfo]
    next: str | None


@dataclass(slots=True, kw_only=True)
class MessageInfo:
    """A message, to look at."""

    id: int
    queue: str
    state: State
    since: float
    """When it came into this state."""
    payload: str
    payload_cut: bool
    """Whether ``payload`` is only the beginning."""
    size: int
    correlation_id: str | None
    reply_to: str | None
    headers: dict[str, str]
    key: str | None
    error: Failure | None
    sender: str | None
    sent_at: float
    expires_at: float | None
    delivery_count: int
    holder: str | None
    """Client name of the session that has it."""
    caller: Caller
    due_at: float | None
    """When a delayed message becomes ready."""
    cause: str | None
    """Why a dead message gave up."""


@dataclass(slots=True, kw_only=True)
class MessageList:
    """A page of messages in the order of their ids; ``next`` continues, None at the end."""

    messages: list[MessageInfo]
    next: int | None


@dataclass(slots=True, kw_only=True)
class MessageReport:
    """Where a message is and why. ``message`` is None when it has ended."""

    id: int
    message: MessageInfo | None
    verdict: Verdict
    events: list[Event]


@dataclass(slots=True, kw_only=True)
class SessionInfo:
    """A session without its token."""

    client: str
    lease: float
    since: float
    last_seen: float
    transferring: int
    """Transfers open now."""
    overdue: bool
    """Whether it consumes something and is past the time of its next Transfer."""
    subscriptions: list[str]
    """At most the first 100."""
    held: int
    owned: list[str]
    """Its transient queues, at most the first 100."""


@dataclass(slots=True, kw_only=True)
class ServiceInfo:
    """A persistent queue with its oldest messages."""

    queue: QueueInfo
    consumers: list[str]
    """Client names, at most 20."""
    messages: list[MessageInfo]
    """The oldest ones, at most 20."""


@dataclass(slots=True, kw_only=True)
class Usage:
    """What a limit bounds, how much is in use, and the limit."""

    name: str
    used: int
    limit: int


@dataclass(slots=True, kw_only=True)
class Diagnostics:
    """The whole switch at one instant. Lists are bounded; ``services_left_out`` counts the rest.

    Services that need attention come first.
    """

    now: float
    started_at: float
    services: list[ServiceInfo]
    services_left_out: int
    reply_queues: int
    """Transient queues."""
    calls: int
    """Calls whose caller waits now."""
    sessions: list[SessionInfo]
    """At most 100, the overdue ones first."""
    sessions_left_out: int
    usage: list[Usage] = field(default_factory=list)
