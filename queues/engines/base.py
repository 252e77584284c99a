"""The one interface between transports and a switch."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from queues.core.answers import (
    AckResult,
    Diagnostics,
    Health,
    LoginResult,
    MessageList,
    MessageReport,
    MoveResult,
    NackResult,
    PurgeResult,
    QueueCreated,
    QueueInfo,
    QueueKind,
    QueueList,
    QueueReport,
    ReplayResult,
    ReplyResult,
    RequeueResult,
    RestoreResult,
    SendOutcome,
    SendResult,
    SessionInfo,
    SessionTally,
    Tally,
    TouchResult,
    TransferResult,
    UndoInfo,
    WaitGraph,
)
from queues.core.errors import SwitchError
from queues.core.events import TracePage, TraceReport
from queues.core.limits import Limits
from queues.core.messages import Delivery, Outgoing, OutgoingReply, Response, State
from queues.core.metrics import Metrics
from queues.core.queue import Policy
from queues.core.waits import Wait

from .intake import Intake, IntakeLimits

T = TypeVar("T")

#: Gets a call that has ended, for ``outcome``.
Then = Callable[[Wait], None]


class Push(ABC):
    """The engine's end of a stream: what is pushed to one session's connection."""

    @abstractmethod
    def take(self) -> list[Delivery]:
        """What is to be pushed now; afterwards it counts as sent."""

    @property
    @abstractmethod
    def is_full(self) -> bool:
        """Whether nothing more is pushed before new room is granted."""

    @abstractmethod
    def ended(self) -> SwitchError | None:
        """Why nothing more will be pushed: Superseded, UnknownSession, ShuttingDown; or None."""

    @abstractmethod
    def grant(self, room: int) -> None:
        """Let about ``room`` more bytes of payload be pushed."""

    @abstractmethod
    def close(self, *, slow: bool = False) -> None:
        """The connection is gone; ``slow`` if because its client did not read."""


class Engine(ABC):
    """A running switch. Its coroutines run on the event loop that it was started on, and wait for
    nothing but futures of that loop.

    ``session`` is the token of a login. What each operation does and raises is described once,
    at the method of the same name of ``queues.core.switch.Switch``; every one also raises
    ShuttingDown once the engine is closed.
    """

    def __init__(self, intake: IntakeLimits | None = None) -> None:
        self.on_close: set[Callable[[], None]] = set()
        """What is called when the engine closes, after what waited has been resumed."""
        self.intake = Intake(intake, asyncio.get_running_loop().call_soon)
        """What transports may take on."""

    @property
    @abstractmethod
    def limits(self) -> Limits:
        """The bounds of the switch."""

    @abstractmethod
    async def login(self, client: str, lease: float) -> LoginResult:
        """Start a session with a fresh token. ``lease`` is in seconds."""

    @abstractmethod
    async def open_stream(
        self, client: str, lease: float, *, room: int, notify: Callable[[], None]
    ) -> tuple[LoginResult, Push]:
        """Start a session that messages are pushed to; ``lease`` may be 0.

        ``notify`` is called when there is something to take, and when it has ended.
        """

    @abstractmethod
    async def resume_stream(
        self,
        *,
        session: str | None,
        after: int | None,
        room: int,
        notify: Callable[[], None],
    ) -> tuple[LoginResult, Push]:
        """Push to another connection from now on, and again what is held above ``after``."""

    @abstractmethod
    async def logout(self, *, session: str | None) -> None:
        """End the session: its messages go back, its transient queues go away."""

    @abstractmethod
    async def touch(self, ids: Sequence[int] = (), *, session: str | None) -> TouchResult:
        """Renew the lease, and the ack timeout of held messages."""

    @abstractmethod
    async def create_queue(
        self, name: str, policy: Policy | None = None, *, session: str | None = None
    ) -> QueueCreated:
        """Make sure that a persistent queue exists."""

    @abstractmethod
    async def create_fresh_queue(
        self, policy: Policy | None = None, *, session: str | None
    ) -> QueueCreated:
        """Make a transient queue, owned by the session."""

    @abstractmethod
    async def change_queue(
        self, name: str, changes: dict[str, object], *, session: str | None = None
    ) -> QueueInfo:
        """Change some fields of a queue's policy."""

    @abstractmethod
    async def destroy_queue(
        self, name: str, *, session: str | None = None, undo_for: float = 0.0
    ) -> UndoInfo | None:
        """Drop a queue and its messages; keep them for ``undo_for`` seconds."""

    @abstractmethod
    async def purge_queue(
        self,
        name: str,
        state: State | None = None,
        *,
        session: str | None = None,
        undo_for: float = 0.0,
    ) -> PurgeResult:
        """Drop the messages in one state, by default those ready or delayed; keep them for
        ``undo_for`` seconds."""

    @abstractmethod
    async def replay_dead(
        self, name: str, ids: Sequence[int] | None = None, *, session: str | None = None
    ) -> ReplayResult:
        """Make dead messages ready again."""

    @abstractmethod
    async def list_queues(
        self,
        prefix: str = "",
        *,
        alive: bool | None = None,
        kind: QueueKind | None = None,
        after: str = "",
        limit: int = 100,
    ) -> QueueList:
        """A page of queues by name."""

    @abstractmethod
    async def inspect_queue(self, name: str) -> QueueInfo:
        """A queue as it is."""

    @abstractmethod
    async def send(self, name: str, draft: Outgoing, *, session: str | None = None) -> SendResult:
        """Put a message into a queue."""

    @abstractmethod
    async def send_many(
        self, name: str, drafts: Sequence[Outgoing], *, session: str | None = None
    ) -> list[SendOutcome]:
        """Put messages into a queue, in order; each has its own outcome.

        Raises UnknownSession.
        """

    @abstractmethod
    async def subscribe(self, name: str, *, session: str | None, credit: int | None = None) -> None:
        """Make the session a consumer of the queue."""

    @abstractmethod
    async def unsubscribe(self, name: str, *, session: str | None) -> None:
        """Stop consuming; what is held stays held."""

    @abstractmethod
    async def transfer(
        self,
        *,
        session: str | None,
        after: int | None = None,
        timeout: float = 0.0,
        limit: int = 1,
        acks: Sequence[int] = (),
        replies: Sequence[OutgoingReply] = (),
    ) -> TransferResult:
        """Ack, reply, and hand over messages or wait for some up to ``timeout`` seconds.

        Cancelling it gives back what it had been handed.
        """

    @abstractmethod
    async def ack(self, ids: Sequence[int], *, session: str | None) -> AckResult:
        """Finish held messages."""

    @abstractmethod
    async def nack(
        self, ids: Sequence[int], *, session: str | None, delay: float = 0.0, requeue: bool = True
    ) -> NackResult:
        """Give held messages back, or reject them as dead."""

    @abstractmethod
    async def reply(self, reply: OutgoingReply, *, session: str | None) -> ReplyResult:
        """Send the response to a held request and ack it, as one step."""

    @abstractmethod
    def start_call(
        self,
        name: str,
        draft: Outgoing,
        *,
        timeout: float,
        then: Then,
        wait_for_server: bool = False,
        session: str | None = None,
    ) -> Wait:
        """Send a request, and let ``then`` have the call when it has ended.

        A call that is ``done`` on return has ended before, and ``then`` is not called.
        ``leave_call`` gives it up.
        """

    @abstractmethod
    def outcome(self, wait: Wait) -> Response | SwitchError:
        """What became of a call: its response, CallTimeout, HandlerFailed or ShuttingDown."""

    @abstractmethod
    def leave_call(self, wait: Wait) -> None:
        """The caller of a call in progress is gone, and so is its request, unless it has a key."""

    @abstractmethod
    async def call(
        self,
        name: str,
        draft: Outgoing,
        *,
        timeout: float,
        wait_for_server: bool = False,
        session: str | None = None,
    ) -> Response:
        """Send a request and wait for its response.

        Raises CallTimeout with the verdict, HandlerFailed, NoServer.
        """

    @abstractmethod
    async def browse(
        self,
        name: str,
        *,
        state: State | None = None,
        after: int = 0,
        limit: int = 100,
        search: str | None = None,
    ) -> MessageList:
        """A page of a queue's messages, payloads cut."""

    @abstractmethod
    async def drop_message(self, name: str, id: int, *, session: str | None = None) -> None:
        """Delete one message in whatever state it is."""

    @abstractmethod
    async def pause_queue(self, name: str, *, session: str | None = None) -> QueueInfo:
        """Hand out no message of the queue until it is resumed."""

    @abstractmethod
    async def resume_queue(self, name: str, *, session: str | None = None) -> QueueInfo:
        """Hand out messages again."""

    @abstractmethod
    async def requeue(
        self, name: str, ids: Sequence[int] | None = None, *, session: str | None = None
    ) -> RequeueResult:
        """Take held messages from their holders: they are ready again."""

    @abstractmethod
    async def move_messages(
        self,
        name: str,
        target: str,
        *,
        ids: Sequence[int] | None = None,
        state: State | None = None,
        session: str | None = None,
    ) -> MoveResult:
        """Put messages into another queue."""

    @abstractmethod
    async def end_session(self, id: int) -> None:
        """End a session by the number that names it."""

    @abstractmethod
    async def tally(
        self,
        name: str,
        states: Collection[State] = tuple(State),
        *,
        ids: Collection[int] | None = None,
    ) -> Tally:
        """What an action on a queue's messages would touch."""

    @abstractmethod
    async def tally_session(self, id: int) -> SessionTally:
        """What the end of a session would touch."""

    @abstractmethod
    async def list_undo(self) -> list[UndoInfo]:
        """What may be restored, the oldest first."""

    @abstractmethod
    async def undo(self, id: int) -> RestoreResult:
        """Restore what a purge or a destruction removed."""

    @abstractmethod
    async def explain_queue(self, name: str) -> QueueReport:
        """A queue, who serves it, and how long its messages take."""

    @abstractmethod
    async def explain_session(self, id: int) -> SessionInfo:
        """A session, what it holds and waits for, and why."""

    @abstractmethod
    async def waits_for(self) -> WaitGraph:
        """Who waits for whom."""

    @abstractmethod
    async def health(self) -> Health:
        """How the switch itself is doing."""

    @abstractmethod
    async def explain(self, id: int) -> MessageReport:
        """Where a message is and why."""

    @abstractmethod
    async def diagnostics(self) -> Diagnostics:
        """The whole switch at one instant."""

    @abstractmethod
    async def metrics(self) -> Metrics:
        """The switch in numbers. Where there are many queues others get their turn meanwhile, so it
        needs a task."""

    @abstractmethod
    async def trace(self, *, after: int = 0, limit: int = 100, timeout: float = 0.0) -> TraceReport:
        """Events after a number; wait up to ``timeout`` seconds if there are none."""

    @abstractmethod
    async def trace_back(self, before: int | None = None, limit: int = 100) -> TracePage:
        """Events before a number, or the last ones, the newest first."""

    @abstractmethod
    def begin(self) -> None:
        """Let what follows happen at one instant: many operations that came together.

        What they wake is resumed by ``end``. No other operation may run between the two.
        """

    @abstractmethod
    def end(self) -> None:
        """Resume what has been woken since ``begin``."""

    @abstractmethod
    async def drain(self) -> None:
        """Write what must survive and is not written yet; for a stop, after ``close``."""

    @abstractmethod
    def close(self) -> None:
        """Stop: every waiting request gets ShuttingDown, and so does every new one."""

    @abstractmethod
    def now(self) -> float:
        """The time by the clock of the switch, in seconds since the epoch. For any thread."""

    @abstractmethod
    def submit(self, operation: Coroutine[Any, Any, T]) -> Future[T]:
        """Run one of the coroutines above from another thread. Raises NotRunning."""

    @abstractmethod
    def check(self) -> None:
        """Raise ShuttingDown if the engine is closed."""
