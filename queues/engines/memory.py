"""The engine that keeps everything in the memory of one process."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
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
from queues.core.errors import (
    CallTimeout,
    HandlerFailed,
    InvalidName,
    NotRunning,
    ShuttingDown,
    Superseded,
    SwitchError,
    UnknownSession,
)
from queues.core.events import TracePage, TraceReport
from queues.core.limits import Limits
from queues.core.messages import Delivery, Outgoing, OutgoingReply, Response, State
from queues.core.metrics import Counting, Metrics
from queues.core.queue import Policy
from queues.core.switch import Switch
from queues.core.waits import CallWait, Stream, Wait

from .base import Engine, Push, Then
from .clock import Clock, SystemClock, Timer
from .health import HealthWatch
from .latency import LatencyMeter

T = TypeVar("T")


class MemoryEngine(Engine):
    """A switch, its clock, and the requests that wait. Create it on the event loop.

    One timer is armed, for the switch's next deadline. After each operation the waits that the
    switch has ended are resumed; each resumes exactly one request.
    """

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._clock = clock or SystemClock()
        now = self._clock.now()
        # About a million numbers for each second since 1970: more than a switch ever uses, so
        # that a restarted one begins above every number it gave out before.
        self._switch = Switch(
            first_id=int(now * 2**20), now=now, limits=limits, meter=LatencyMeter()
        )
        self._health = HealthWatch(self._loop, self._switch, self._clock)
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self._instant: float | None = None
        """When the operations between ``begin`` and ``end`` happen."""
        self._closed = False

    # -- waiting ------------------------------------------------------------------------------

    def _do(self, operation: Callable[..., T], *args: Any, **fields: Any) -> T:
        """Let the switch do something now, then whatever follows from it."""
        if self._closed:
            self.check()
        if self._instant is not None:
            return operation(*args, now=self._instant, **fields)
        try:
            return operation(*args, now=self._clock.now(), **fields)
        finally:
            self._settle()

    def begin(self) -> None:
        self._instant = self._clock.now()

    def end(self) -> None:
        self._instant = None
        self._settle()

    def _settle(self) -> None:
        """Resume what waited for what has happened, and arm the timer for the next deadline."""
        switch = self._switch
        while switch.woken:
            woken, switch.woken = switch.woken, []
            for wait in woken:
                if wait.then is not None:
                    wait.then(wait)
        due = switch.next_deadline()
        if due is None or self._closed or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_at(due, self._tick)
        self._timer_due = due

    def _tick(self) -> None:
        self._timer = None
        self._switch.advance(self._clock.now())
        self._settle()

    async def _until_done(self, wait: Wait) -> None:
        if wait.done:
            return
        future = self._loop.create_future()
        wait.then = lambda _: None if future.done() else future.set_result(None)
        try:
            await future
        finally:
            wait.then = None
        if not wait.done:
            raise ShuttingDown("The switch is stopping.")

    def check(self) -> None:
        if self._closed:
            raise ShuttingDown("The switch is stopping.")

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._health.stop()
        for wait in self._switch.waiting():
            if wait.then is not None:
                wait.then(wait)
        for call in list(self.on_close):
            call()

    def now(self) -> float:
        return self._clock.now()

    @property
    def limits(self) -> Limits:
        return self._switch.limits

    def submit(self, operation: Coroutine[Any, Any, T]) -> Future[T]:
        if self._closed or not self._loop.is_running():
            operation.close()
            raise NotRunning("The switch in this process has stopped.")
        return asyncio.run_coroutine_threadsafe(operation, self._loop)

    # -- requests that may wait ---------------------------------------------------------------

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
        switch = self._switch
        wait = self._do(
            switch.transfer,
            token=session,
            after=after,
            timeout=timeout,
            limit=limit,
            acks=acks,
            replies=replies,
        )
        try:
            await self._until_done(wait)
            return switch.collect(wait, now=self._clock.now())
        except BaseException:
            # Cancelled: nobody will read the answer, so the next one waiting gets the messages.
            switch.abandon(wait, now=self._clock.now())
            raise
        finally:
            self._settle()

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
        if self._closed:
            self.check()
        try:
            wait = self._switch.call(
                name,
                draft,
                timeout=timeout,
                now=self._clock.now() if self._instant is None else self._instant,
                wait_for_server=wait_for_server,
                token=session,
            )
        finally:
            if self._instant is None:
                self._settle()
        wait.then = then
        return wait

    def outcome(self, wait: Wait) -> Response | SwitchError:
        assert isinstance(wait, CallWait)
        return _outcome(wait)

    def leave_call(self, wait: Wait) -> None:
        assert isinstance(wait, CallWait)
        wait.then = None
        self._switch.leave_call(wait, now=self._clock.now())
        self._settle()

    async def call(
        self,
        name: str,
        draft: Outgoing,
        *,
        timeout: float,
        wait_for_server: bool = False,
        session: str | None = None,
    ) -> Response:
        future: asyncio.Future[None] = self._loop.create_future()
        wait = self.start_call(
            name,
            draft,
            timeout=timeout,
            then=lambda _: None if future.done() else future.set_result(None),
            wait_for_server=wait_for_server,
            session=session,
        )
        try:
            if not wait.done:
                await future
        except BaseException:
            self.leave_call(wait)
            raise
        outcome = self.outcome(wait)
        if isinstance(outcome, SwitchError):
            raise outcome
        return outcome

    async def trace(self, *, after: int = 0, limit: int = 100, timeout: float = 0.0) -> TraceReport:
        wait = self._do(self._switch.watch, after=after, limit=limit, timeout=timeout)
        try:
            await self._until_done(wait)
        finally:
            report = self._switch.leave_trace(wait, now=self._clock.now())
            self._settle()
        return report

    async def trace_back(self, before: int | None = None, limit: int = 100) -> TracePage:
        return self._do(self._switch.trace_back, before, limit)

    # -- requests that do not wait -------------------------------------------------------------

    async def login(self, client: str, lease: float) -> LoginResult:
        return self._do(self._switch.login, secrets.token_urlsafe(24), client, lease)

    async def open_stream(
        self, client: str, lease: float, *, room: int, notify: Callable[[], None]
    ) -> tuple[LoginResult, Push]:
        result, stream = self._do(
            self._switch.open_stream, secrets.token_urlsafe(24), client, lease, room=room
        )
        return result, self._push(stream, notify)

    async def resume_stream(
        self,
        *,
        session: str | None,
        after: int | None,
        room: int,
        notify: Callable[[], None],
    ) -> tuple[LoginResult, Push]:
        result, stream = self._do(self._switch.resume_stream, session, after=after, room=room)
        return result, self._push(stream, notify)

    def _push(self, stream: Stream, notify: Callable[[], None]) -> Push:
        stream.then = lambda _: notify()
        if stream.batch:
            # It was woken before anybody listened.
            self._loop.call_soon(notify)
        return _MemoryPush(self, stream)

    async def logout(self, *, session: str | None) -> None:
        self._do(self._switch.logout, session)

    async def touch(self, ids: Sequence[int] = (), *, session: str | None) -> TouchResult:
        return self._do(self._switch.touch, session, ids)

    async def create_queue(
        self, name: str, policy: Policy | None = None, *, session: str | None = None
    ) -> QueueCreated:
        return self._do(self._switch.create_queue, name, policy, token=session)

    async def create_fresh_queue(
        self, policy: Policy | None = None, *, session: str | None
    ) -> QueueCreated:
        return self._do(self._switch.create_fresh_queue, policy, token=session)

    async def change_queue(
        self, name: str, changes: dict[str, object], *, session: str | None = None
    ) -> QueueInfo:
        return self._do(self._switch.change_queue, name, changes, token=session)

    async def destroy_queue(
        self, name: str, *, session: str | None = None, undo_for: float = 0.0
    ) -> UndoInfo | None:
        return self._do(self._switch.destroy_queue, name, token=session, undo_for=undo_for)

    async def purge_queue(
        self,
        name: str,
        state: State | None = None,
        *,
        session: str | None = None,
        undo_for: float = 0.0,
    ) -> PurgeResult:
        return self._do(self._switch.purge_queue, name, state, token=session, undo_for=undo_for)

    async def replay_dead(
        self, name: str, ids: Sequence[int] | None = None, *, session: str | None = None
    ) -> ReplayResult:
        return self._do(self._switch.replay_dead, name, ids, token=session)

    async def list_queues(
        self,
        prefix: str = "",
        *,
        alive: bool | None = None,
        kind: QueueKind | None = None,
        after: str = "",
        limit: int = 100,
    ) -> QueueList:
        return self._do(
            self._switch.list_queues, prefix, alive=alive, kind=kind, after=after, limit=limit
        )

    async def inspect_queue(self, name: str) -> QueueInfo:
        return self._do(self._switch.inspect_queue, name)

    async def send(self, name: str, draft: Outgoing, *, session: str | None = None) -> SendResult:
        return self._do(self._switch.send, name, draft, token=session)

    async def send_many(
        self, name: str, drafts: Sequence[Outgoing], *, session: str | None = None
    ) -> list[SendOutcome]:
        outcomes = []
        for draft in drafts:
            try:
                sent = self._do(self._switch.send, name, draft, token=session)
            except (UnknownSession, ShuttingDown, InvalidName):
                raise
            except SwitchError as error:
                outcomes.append(SendOutcome(code=error.code, detail=error.detail))
            else:
                outcomes.append(SendOutcome(id=sent.id, created=sent.created))
        return outcomes

    async def subscribe(self, name: str, *, session: str | None, credit: int | None = None) -> None:
        self._do(self._switch.subscribe, name, token=session, credit=credit)

    async def unsubscribe(self, name: str, *, session: str | None) -> None:
        self._do(self._switch.unsubscribe, name, token=session)

    async def ack(self, ids: Sequence[int], *, session: str | None) -> AckResult:
        return self._do(self._switch.ack, ids, token=session)

    async def nack(
        self, ids: Sequence[int], *, session: str | None, delay: float = 0.0, requeue: bool = True
    ) -> NackResult:
        return self._do(self._switch.nack, ids, token=session, delay=delay, requeue=requeue)

    async def reply(self, reply: OutgoingReply, *, session: str | None) -> ReplyResult:
        return self._do(self._switch.reply, reply, token=session)

    async def browse(
        self,
        name: str,
        *,
        state: State | None = None,
        after: int = 0,
        limit: int = 100,
        search: str | None = None,
    ) -> MessageList:
        return self._do(
            self._switch.browse, name, state=state, after=after, limit=limit, search=search
        )

    async def drop_message(self, name: str, id: int, *, session: str | None = None) -> None:
        self._do(self._switch.drop_message, name, id, token=session)

    async def pause_queue(self, name: str, *, session: str | None = None) -> QueueInfo:
        return self._do(self._switch.pause_queue, name, token=session)

    async def resume_queue(self, name: str, *, session: str | None = None) -> QueueInfo:
        return self._do(self._switch.resume_queue, name, token=session)

    async def requeue(
        self, name: str, ids: Sequence[int] | None = None, *, session: str | None = None
    ) -> RequeueResult:
        return self._do(self._switch.requeue, name, ids, token=session)

    async def move_messages(
        self,
        name: str,
        target: str,
        *,
        ids: Sequence[int] | None = None,
        state: State | None = None,
        session: str | None = None,
    ) -> MoveResult:
        return self._do(
            self._switch.move_messages, name, target, ids=ids, state=state, token=session
        )

    async def end_session(self, id: int) -> None:
        self._do(self._switch.end_session, id)

    async def tally(
        self,
        name: str,
        states: Collection[State] = tuple(State),
        *,
        ids: Collection[int] | None = None,
    ) -> Tally:
        return self._do(self._switch.tally, name, states, ids=ids)

    async def tally_session(self, id: int) -> SessionTally:
        return self._do(self._switch.tally_session, id)

    async def list_undo(self) -> list[UndoInfo]:
        return self._do(self._switch.list_undo)

    async def undo(self, id: int) -> RestoreResult:
        return self._do(self._switch.undo, id)

    async def explain_queue(self, name: str) -> QueueReport:
        return self._do(self._switch.explain_queue, name)

    async def explain_session(self, id: int) -> SessionInfo:
        return self._do(self._switch.explain_session, id)

    async def waits_for(self) -> WaitGraph:
        return self._do(self._switch.waits_for)

    async def health(self) -> Health:
        self.check()
        return self._health.report(self._clock.now())

    async def explain(self, id: int) -> MessageReport:
        return self._do(self._switch.explain, id)

    async def diagnostics(self) -> Diagnostics:
        return self._do(self._switch.diagnostics)

    async def metrics(self) -> Metrics:
        counting = self._do(partial(Counting, self._switch))
        while self._do(counting.step):
            await asyncio.sleep(0)
        found = counting.result
        found.loop_lag, found.worst_loop_lag = self._health.lag, self._health.worst_lag
        return found


def _outcome(wait: CallWait) -> Response | SwitchError:
    """What became of a call whose wait is over."""
    response = wait.response
    if response is None:
        if not wait.done:
            return ShuttingDown("The switch is stopping.")
        return CallTimeout(
            f"No reply within {wait.timeout:g} s.", id=wait.call.request, verdict=wait.verdict
        )
    if response.error is not None:
        return HandlerFailed(
            f"The server answered with an error: {response.error.code}.",
            id=wait.call.request,
            error=response.error,
        )
    return response


class _MemoryPush(Push):
    """A stream of the switch in memory."""

    def __init__(self, engine: MemoryEngine, stream: Stream) -> None:
        self._engine = engine
        self._stream = stream

    def take(self) -> list[Delivery]:
        """See Push."""
        return self._engine._switch.take(self._stream)

    @property
    def is_full(self) -> bool:
        """See Push."""
        return self._stream.room <= 0 and not self._stream.done

    def ended(self) -> SwitchError | None:
        """See Push."""
        stream = self._stream
        if stream.superseded:
            return Superseded("A newer stream of this session has taken over.")
        if stream.done:
            return UnknownSession("The session has ended: log in again.")
        if self._engine._closed:
            return ShuttingDown("The switch is stopping.")
        return None

    def grant(self, room: int) -> None:
        """See Push."""
        engine = self._engine
        if not engine._closed:
            engine._do(engine._switch.grant, self._stream, room)

    def close(self, *, slow: bool = False) -> None:
        """See Push."""
        engine = self._engine
        self._stream.then = None
        if not engine._closed:
            engine._do(engine._switch.close_stream, self._stream, slow=slow)
