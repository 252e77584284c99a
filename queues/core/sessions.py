"""Sessions, and who consumes a queue."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from .messages import Message
from .waits import Stream, TransferWait

#: What a session holds that holds nothing: nothing is ever put into this one. A dict for each of
#: thousands that wait is memory that is cold when the next message comes.
NOTHING_HELD: dict[int, Message] = {}


@dataclass(slots=True, eq=False)
class Subscription:
    """One session's interest in one queue."""

    credit: int
    """Messages that the session may hold before its stream gets no more; 0: pull only."""
    held: int = 0
    """Messages of the queue that the session holds."""


@dataclass(slots=True, eq=False)
class Session:
    """A logged-in client. ``lease`` is in seconds; 0: it ends with its stream."""

    id: int
    """Names it to operators; the token is a secret."""
    token: str
    client: str
    lease: float
    since: float
    last_seen: float
    next_transfer_by: float
    """Until when a Transfer or a touch is expected from it, if it consumes anything."""
    open: int = 0
    """Transfers and streams open now; while there is one, the lease does not run."""
    ended: bool = False
    stream: Stream | None = None
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    held: dict[int, Message] = field(default_factory=lambda: NOTHING_HELD)
    """By delivery number, oldest hand-over first."""
    owned: dict[str, None] = field(default_factory=dict)
    """Names of its transient queues."""
    waits: dict[TransferWait, None] = field(default_factory=dict)


class Consumers:
    """Who consumes the queue of one name. Outlives the queue, as subscriptions do."""

    __slots__ = ("ever", "left", "sessions", "waits")

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.waits: OrderedDict[TransferWait | Stream, Subscription] = OrderedDict()
        """Open Transfers and streams that want this queue's next message, longest waiting first,
        and what their session has subscribed to here."""
        self.ever = 0
        """Subscriptions ever made."""
        self.left: Departure | None = None
        """The last consumer that went away."""


@dataclass(frozen=True, slots=True)
class Departure:
    """A consumer that is gone: its client name, when, and ``lease_expired``, ``disconnected``,
    ``logout`` or ``unsubscribed``."""

    client: str
    at: float
    reason: str
