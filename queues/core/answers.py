"""What the operations of the switch answer. These classes are the wire form of the answers.

All times are seconds since the epoch unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, field

from .events import Event
from .messages import Delivery, Failure, State
from .queue import Policy
from .verdict import ServiceStatus, Verdict

#: Whether somebody waits for the reply: "none" when the message asks for no reply.
Caller = Literal["waiting", "gone", "none"]
QueueKind = Literal["persistent", "transient"]


class LoginResult(Struct, kw_only=True):
    """A session. ``session`` is its secret token; ``lease`` is in seconds."""

    session: str
    client: str
    lease: float
    instance: int
    """Names this life of the switch; with a journal that every answer waits for, all its lives on
    that database. While it is the same, no key was forgotten before its time."""


class QueueCreated(Struct, kw_only=True):
    """The name of a queue that now exists; ``created`` is false when it did before."""

    name: str
    created: bool


class SendResult(Struct, kw_only=True):
    """The id of the message; ``created`` is false when its key had been used before."""

    id: int
    created: bool


class SendOutcome(Struct, kw_only=True):
    """What became of one message of a batch: a SendResult, or the ``code`` and ``detail`` of its
    refusal."""

    id: int | None = None
    created: bool = False
    code: str | None = None
    detail: str | None = None


class AckResult(Struct, kw_only=True):
    """What ``ack`` did with each id. ``unknown`` is no error: it may have been acked before."""

    acked: list[int]
    unknown: list[int]
    not_held: list[int]


class NackResult(Struct, kw_only=True):
    """What ``nack`` did with each id."""

    released: list[int]
    unknown: list[int]
    not_held: list[int]


class TouchResult(Struct, kw_only=True):
    """What ``touch`` did with each id."""

    touched: list[int]
    unknown: list[int]
    not_held: list[int]


class ReplyResult(Struct, kw_only=True):
    """The id of the response, or None and why nobody gets it. The request is acked either way."""

    id: int | None
    state: Literal["caller_gone", "no_reply_to", "unknown"] | None = None


class ReplyOutcome(Struct, kw_only=True):
    """What became of one of the replies that a Transfer carried: a ReplyResult, or the ``code``
    and ``detail`` of its refusal."""

    request: int
    id: int | None = None
    state: Literal["caller_gone", "no_reply_to", "unknown"] | None = None
    code: str | None = None
    detail: str | None = None


class TransferResult(Struct, kw_only=True):
    """What a Transfer hands over, and what became of its acks and replies."""

    messages: list[Delivery]
    next: int
    """The highest delivery number in ``messages``, else the ``after`` of the request."""
    superseded: bool = False
    """Whether a newer Transfer of the same session ended this one."""
    acks: AckResult | None = None
    replies: Sequence[ReplyOutcome] = ()


class UndoInfo(Struct, kw_only=True):
    """What a purge or a destruction has removed and may still be restored."""

    id: int
    action: Literal["purged", "destroyed"]
    queue: str
    messages: int
    at: float
    until: float


class PurgeResult(Struct, kw_only=True):
    """How many messages were dropped, and how to get them back if that was asked for."""

    purged: int
    undo: UndoInfo | None = None


class RequeueResult(Struct, kw_only=True):
    """How many held messages were taken from their holders, and how many ids were not held."""

    requeued: int
    not_held: int


class ReplayResult(Struct, kw_only=True):
    """How many dead messages are ready again, how many ids were not dead in this queue, and how
    many stay dead because the queue is full."""

    replayed: int
    not_dead: int
    no_room: int


class QueueInfo(Struct, kw_only=True):
    """A queue and how it is doing."""

    name: str
    kind: QueueKind
    owner: str | None
    """Client name of the session that a transient queue ends with."""
    status: ServiceStatus
    verdict: Verdict
    paused: bool
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
    refused: int
    """Messages refused because the queue was full."""
    created_at: float
    policy: Policy


class QueueList(Struct, kw_only=True):
    """A page of queues in the order of their names; ``next`` continues, None at the end."""

    queues: list[QueueInfo]
    next: str | None


class MessageInfo(Struct, kw_only=True):
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


class MessageList(Struct, kw_only=True):
    """A page of messages in the order of their ids; ``next`` continues, None at the end."""

    messages: list[MessageInfo]
    next: int | None
    """Where the search has got to, if there may be more. A page of a search may be empty."""
    stopped: bool = False
    """Whether the search has looked at as much as one page may before the page was full."""


class CallTree(Struct, kw_only=True):
    """A request and the calls that were made while serving it, as their callers said.

    ``state`` is where the request is now, None when it has ended; ``waiting`` says whether its
    caller waits for the reply.
    """

    id: int
    queue: str
    sent_at: float | None
    """When it was sent, if the trace still knows."""
    caller: str | None
    state: State | None
    holder: str | None
    waiting: bool
    calls: list[CallTree]


class MessageReport(Struct, kw_only=True):
    """Where a message is and why. ``message`` is None when it has ended.

    ``tree`` is the tree of calls that it belongs to, from the first request on; None where it
    neither was made for another one nor had others made for it.
    """

    id: int
    message: MessageInfo | None
    verdict: Verdict
    events: list[Event]
    tree: CallTree | None = None


class MoveResult(Struct, kw_only=True):
    """How many messages are in another queue now, how many ids could not be moved because they are
    held or not in the queue, and how many stay because the other queue is full."""

    moved: int
    not_movable: int
    no_room: int


class Tally(Struct, kw_only=True):
    """What an action on messages would touch if it were done now."""

    messages: int
    callers: int
    """Messages to which somebody waits for the reply."""
    bytes: int
    undoable: bool
    """Whether their removal could be undone."""
    forgets: int
    """Earlier removals that could no longer be undone then."""


class SessionTally(Struct, kw_only=True):
    """What the end of a session would touch if it came now: the messages that it holds, which go
    to others, and those in its transient queues, which are dropped."""

    held: Tally
    owned: Tally


class RestoreResult(Struct, kw_only=True):
    """What an undo brought back: the messages, and the queue if it had to be made again."""

    queue: str
    restored: int
    created: bool


class WaitNode(Struct, kw_only=True):
    """Somebody or something in the graph of waits."""

    key: str
    kind: Literal["caller", "service", "server"]
    label: str
    session: int | None
    """Id of the session, where it is a server."""


class WaitEdge(Struct, kw_only=True):
    """``source`` waits for ``target``: a caller for a service to reply, a service for a server to
    finish what it holds. ``locked`` edges are part of a deadlock or wait for one."""

    source: str
    target: str
    message: int
    since: float
    locked: bool


class WaitGraph(Struct, kw_only=True):
    """Who waits for whom. ``left_out`` counts the edges beyond those shown."""

    nodes: list[WaitNode]
    edges: list[WaitEdge]
    left_out: int


class Quantiles(Struct, kw_only=True):
    """How long something took, in seconds, over the last minutes; None where nothing did."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


class MethodTiming(Struct, kw_only=True):
    """The timing of the requests with one JSON-RPC method."""

    method: str
    handled: Quantiles
    total: int


class Timing(Struct, kw_only=True):
    """Where the time of a service's messages goes, over the last minutes.

    ``queued``: from being ready to the hand-over. ``handled``: from the hand-over to the ack or
    the reply. ``picked_up``: from the reply to its receipt, for replies that go through a queue;
    a ``call`` gets its reply at once. Rates are per second.
    """

    queued: Quantiles
    handled: Quantiles
    picked_up: Quantiles
    sent_rate: float
    finished_rate: float
    methods: list[MethodTiming]
    """The most frequent methods, where payloads are JSON-RPC."""


class Holding(Struct, kw_only=True):
    """A message that a session holds or waits for."""

    id: int
    queue: str
    since: float


class SessionInfo(Struct, kw_only=True):
    """A session without its token."""

    id: int
    client: str
    lease: float
    verdict: Verdict
    since: float
    last_seen: float
    transferring: int
    """Transfers open now."""
    overdue: bool
    """Whether it consumes something and is past the time of its next Transfer."""
    subscriptions: list[str]
    """At most the first 100."""
    held: int
    holding: list[Holding]
    """What it has held longest, at most 20."""
    calls: list[Holding]
    """The calls whose replies its handlers wait for, at most 20."""
    owned: list[str]
    """Its transient queues, at most the first 100."""


class ServiceInfo(Struct, kw_only=True):
    """A persistent queue with its oldest messages."""

    queue: QueueInfo
    consumers: list[str]
    """Client names, at most 20."""
    messages: list[MessageInfo]
    """The oldest ones, at most 20."""
    timing: Timing | None = None


class QueueReport(Struct, kw_only=True):
    """A queue, who serves it, and how long its messages take."""

    queue: QueueInfo
    servers: list[SessionInfo]
    """Those that have been there longest, at most 20."""
    timing: Timing | None = None


class StuckCall(Struct, kw_only=True):
    """A call that has waited long, or whose verdict is that it is stuck."""

    id: int
    queue: str
    caller: str | None
    since: float
    verdict: Verdict


class Usage(Struct, kw_only=True):
    """What a limit bounds, how much is in use, and the limit."""

    name: str
    used: int
    limit: int


class Diagnostics(Struct, kw_only=True):
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
    stuck: list[StuckCall]
    """Those of the calls that have waited longest, at most 20, that something is wrong with."""
    sessions: list[SessionInfo]
    """At most 100, the overdue ones first."""
    sessions_left_out: int
    usage: list[Usage] = field(default_factory=list)


class Health(Struct, kw_only=True):
    """How the switch itself is doing: its process, its event loop, and its limits.

    ``loop_lag`` and ``worst_loop_lag`` are seconds by which the event loop was late, now and over
    the last minutes. ``cpu`` is seconds of CPU since the process started. Null is what the system
    does not tell.
    """

    now: float
    started_at: float
    version: str
    memory: int | None
    """Resident bytes."""
    cpu: float
    descriptors: int | None
    descriptor_limit: int | None
    threads: int
    tasks: int
    loop_lag: float
    worst_loop_lag: float
    journal: Literal["off", "commit", "interval"]
    """Whether what must survive a restart is kept, as SWITCH_JOURNAL says."""
    store_down_since: float | None
    """Since when the database does not take it; null if it does."""
    trace_dropped: int
    """Events that the trace has had to forget since the start."""
    usage: list[Usage]
    history: list[HealthSample]
    """The last minutes, the oldest first."""


class HealthSample(Struct, kw_only=True):
    """The switch at one instant of the last minutes; the counts grow since the start."""

    at: float
    sent: int
    delivered: int
    finished: int
    memory: int | None
    loop_lag: float
