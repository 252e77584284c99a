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
    MessageNotFound,
    NotRunning,
    QueueNotFound,
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
from .intake import IntakeLimits
from .journal import Journal, JournalMode, unavailable
from .latency import LatencyMeter
from .store import Store

T = TypeVar("T")


class MemoryEngine(Engine):
    """A switch, its clock, and the requests that wait. Create it on the event loop.

    One timer is armed, for the switch's next deadline. After each operation the waits that the
    switch has ended are resumed; each resumes exactly one request.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        clock: Clock | None = None,
        journal: JournalMode | None = None,
        intake: IntakeLimits | None = None,
    ) -> None:
        """Raises StoreRefused where the database of a journal cannot be used."""
        super().__init__(intake)
        self._loop = asyncio.get_running_loop()
        self._clock = clock or SystemClock()
        now = self._clock.now()
        # About a million numbers for each second since 1970: more than a switch ever uses, so
        # that a restarted one begins above every number it gave out before.
        first_id = int(now * 2**20)
        self._journal: Journal | None = None
        if journal is not None:
            self._journal = Journal(
                journal, Store(journal.database), self._clock, self._more_is_safe, self._trouble
            )
            first_id = self._journal.open(now)
        self._switch = Switch(first_id=first_id, now=now, limits=limits, meter=LatencyMeter())
        if self._journal is not None:
            self._journal.load(self._switch)
        self._kept_back: list[CallWait] = []
        """Calls whose response is not safe yet."""
        kept = "off" if journal is None else journal.name
        self._health = HealthWatch(self._loop, self._switch, self._clock, kept)
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
                    if self._journal is not None and self._keeps_back(wait):
                        continue
                    wait.then(wait)
        if self._journal is not None:
            self._journal.nudge()
        due = switch.next_deadline()
        if due is None or self._closed or (self._timer is not None and self._timer_due <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_at(due, self._tick)
        self._timer_due = due

    # -- what must be safe first --------------------------------------------------------------

    def _keeps_back(self, wait: Wait) -> bool:
        """Whether a call may not be told its response yet."""
        assert self._journal is not None
        if (
            type(wait) is CallWait
            and wait.response is not None
            and wait.call.position > self._journal.position
        ):
            self._kept_back.append(wait)
            return True
        return False

    def _more_is_safe(self) -> None:
        assert self._journal is not None
        waits, self._kept_back = self._kept_back, []
        for wait in waits:
            if wait.then is not None and not self._keeps_back(wait):
                wait.done = True
                wait.then(wait)
        if not self._closed:
            self._switch.have_saved(self._journal.position, now=self._clock.now())
            self._settle()

    def _trouble(self) -> None:
        """Tell those calls that the outcome is unknown whose request or response is not safe."""
        assert self._journal is not None
        waits, self._kept_back = self._kept_back, []
        safe = self._journal.position
        for wait in self._switch.waiting():
            if type(wait) is CallWait:
                message = self._switch.messages.get(wait.call.request)
                if message is not None and message.position > safe:
                    waits.append(wait)
        for wait in waits:
            if wait.then is None:
                continue
            wait.done = True
            wait.trouble = unavailable()
            wait.then(wait)
            self._switch.leave_call(wait, now=self._clock.now())
        self._settle()

    async def _safely(self, operation: Callable[..., T], *args: Any, **fields: Any) -> T:
        """Do something, and answer when what it changed is safe."""
        if self._journal is None:
            return self._do(operation, *args, **fields)
        result, position = self._note(operation, *args, **fields)
        await self._journal.safe(position)
        return result

    def _note(self, operation: Callable[..., T], *args: Any, **fields: Any) -> tuple[T, int]:
        """Do something; its result, and the last of its changes that must be safe, or 0."""
        self.check()
        switch = self._switch
        now = self._clock.now() if self._instant is None else self._instant
        try:
            # What falls due by itself is no part of it: nobody need wait for that to be safe.
            switch.advance(now)
            changes = switch.changes
            assert changes is not None
            before = changes.position
            result = operation(*args, now=now, **fields)
            return result, changes.position if changes.position != before else 0
        finally:
            if self._instant is None:
                self._settle()

    async def drain(self) -> None:
        if self._journal is not None:
            await self._journal.flush()
            self._part()

    def _part(self) -> None:
        """Part with those who are connected."""
        for wait in self._switch.waiting():
            if type(wait) is Stream and wait.then is not None:
                wait.then(wait)
        for call in list(self.on_close):
            call()

    # -- time ---------------------------------------------------------------------------------

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
            if type(wait) is not Stream and wait.then is not None:
                wait.then(wait)
        # With a journal answers may still come, and ``drain`` follows.
        if self._journal is None:
            self._part()

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
        switch, journal = self._switch, self._journal
        start = partial(
            switch.transfer,
            token=session,
            after=after,
            timeout=timeout,
            limit=limit,
            acks=acks,
            replies=replies,
        )
        if journal is None:
            wait, position = self._do(start), 0
        else:
            wait, position = self._note(start)
            again = [] if wait.acks is None else list(wait.acks.unknown)
            again += [outcome.request for outcome in wait.replies if outcome.state == "unknown"]
            position = max(position, journal.removed(again))
        try:
            await self._until_done(wait)
            if journal is not None:
                await journal.safe(position)
            result = switch.collect(wait, now=self._clock.now())
        except BaseException:
            # Cancelled, or not safe: nobody will read the answer, so the next one waiting gets the
            # messages.
            switch.abandon(wait, now=self._clock.now())
            raise
        finally:
            self._settle()
        return result

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
        if wait.done and self._journal is not None and self._keeps_back(wait):
            wait.done = False
        return wait

    def outcome(self, wait: Wait) -> Response | SwitchError:
        assert isinstance(wait, CallWait)
        return _outcome(wait)

    def leave_call(self, wait: Wait) -> None:
        assert isinstance(wait, CallWait)
        wait.then = None
        now = self._clock.now() if self._instant is None else self._instant
        self._switch.leave_call(wait, now=now)
        if self._instant is None:
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
        create = partial(self._switch.create_queue, name, policy, token=session)
        if self._journal is None:
            return self._do(create)
        created, position = self._note(create)
        if not created.created:
            position = self._journal.changed_queue(name)
        await self._journal.safe(position)
        return created

    async def create_fresh_queue(
        self, policy: Policy | None = None, *, session: str | None
    ) -> QueueCreated:
        return await self._safely(self._switch.create_fresh_queue, policy, token=session)

    async def change_queue(
        self, name: str, changes: dict[str, object], *, session: str | None = None
    ) -> QueueInfo:
        return await self._safely(self._switch.change_queue, name, changes, token=session)

    async def destroy_queue(
        self, name: str, *, session: str | None = None, undo_for: float = 0.0
    ) -> UndoInfo | None:
        try:
            return await self._safely(
                self._switch.destroy_queue, name, token=session, undo_for=undo_for
            )
        except QueueNotFound:
            # Who asks again may rely on that.
            if self._journal is not None:
                await self._journal.safe(self._journal.changed_queue(name))
            raise

    async def purge_queue(
        self,
        name: str,
        state: State | None = None,
        *,
        session: str | None = None,
        undo_for: float = 0.0,
    ) -> PurgeResult:
        return await self._safely(
            self._switch.purge_queue, name, state, token=session, undo_for=undo_for
        )

    async def replay_dead(
        self, name: str, ids: Sequence[int] | None = None, *, session: str | None = None
    ) -> ReplayResult:
        return await self._safely(self._switch.replay_dead, name, ids, token=session)

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
        if self._journal is None:
            return self._do(self._switch.send, name, draft, token=session)
        sent, position = self._send(name, draft, session)
        await self._journal.safe(position)
        return sent

    def _send(self, name: str, draft: Outgoing, session: str | None) -> tuple[SendResult, int]:
        """Send; also the change that must be safe."""
        assert self._journal is not None
        sent, position = self._note(self._switch.send, name, draft, token=session)
        if not sent.created:
            position = self._journal.changed_key(name, draft.key)
        return sent, position

    async def send_many(
        self, name: str, drafts: Sequence[Outgoing], *, session: str | None = None
    ) -> list[SendOutcome]:
        outcomes = []
        last = position = 0
        for draft in drafts:
            try:
                if self._journal is None:
                    sent = self._do(self._switch.send, name, draft, token=session)
                else:
                    sent, position = self._send(name, draft, session)
                    last = max(last, position)
            except (UnknownSession, ShuttingDown, InvalidName):
                raise
            except SwitchError as error:
                outcomes.append(SendOutcome(code=error.code, detail=error.detail))
            else:
                outcomes.append(SendOutcome(id=sent.id, created=sent.created))
        if self._journal is not None:
            await self._journal.safe(last)
        return outcomes

    async def subscribe(self, name: str, *, session: str | None, credit: int | None = None) -> None:
        self._do(self._switch.subscribe, name, token=session, credit=credit)

    async def unsubscribe(self, name: str, *, session: str | None) -> None:
        self._do(self._switch.unsubscribe, name, token=session)

    async def ack(self, ids: Sequence[int], *, session: str | None) -> AckResult:
        if self._journal is None:
            return self._do(self._switch.ack, ids, token=session)
        result, position = self._note(self._switch.ack, ids, token=session)
        await self._journal.safe(max(position, self._journal.removed(result.unknown)))
        return result

    async def nack(
        self, ids: Sequence[int], *, session: str | None, delay: float = 0.0, requeue: bool = True
    ) -> NackResult:
        return await self._safely(
            self._switch.nack, ids, token=session, delay=delay, requeue=requeue
        )

    async def reply(self, reply: OutgoingReply, *, session: str | None) -> ReplyResult:
        if self._journal is None:
            return self._do(self._switch.reply, reply, token=session)
        result, position = self._note(self._switch.reply, reply, token=session)
        if result.state == "unknown":
            position = self._journal.removed([reply.id])
        await self._journal.safe(position)
        return result

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
        try:
            await self._safely(self._switch.drop_message, name, id, token=session)
        except MessageNotFound:
            if self._journal is not None:
                await self._journal.safe(self._journal.removed([id]))
            raise

    async def pause_queue(self, name: str, *, session: str | None = None) -> QueueInfo:
        return await self._safely(self._switch.pause_queue, name, token=session)

    async def resume_queue(self, name: str, *, session: str | None = None) -> QueueInfo:
        return await self._safely(self._switch.resume_queue, name, token=session)

    async def requeue(
        self, name: str, ids: Sequence[int] | None = None, *, session: str | None = None
    ) -> RequeueResult:
        return await self._safely(self._switch.requeue, name, ids, token=session)

    async def move_messages(
        self,
        name: str,
        target: str,
        *,
        ids: Sequence[int] | None = None,
        state: State | None = None,
        session: str | None = None,
    ) -> MoveResult:
        return await self._safely(
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
        return await self._safely(self._switch.undo, id)

    async def explain_queue(self, name: str) -> QueueReport:
        return self._do(self._switch.explain_queue, name)

    async def explain_session(self, id: int) -> SessionInfo:
        return self._do(self._switch.explain_session, id)

    async def waits_for(self) -> WaitGraph:
        return self._do(self._switch.waits_for)

    async def health(self) -> Health:
        self.check()
        return self._health.report(self._clock.now(), self.intake.usage())

    async def explain(self, id: int) -> MessageReport:
        return self._do(self._switch.explain, id)

    async def diagnostics(self) -> Diagnostics:
        return self._do(self._switch.diagnostics)

    async def metrics(self) -> Metrics:
        counting = self._do(partial(Counting, self._switch))
        while True:
            if not self._do(counting.step):
                break
            await asyncio.sleep(0)
        found = counting.result
        found.loop_lag, found.worst_loop_lag = self._health.lag, self._health.worst_lag
        return found


def _outcome(wait: CallWait) -> Response | SwitchError:
    """What became of a call whose wait is over."""
    response = wait.response
    if wait.trouble is not None:
        return wait.trouble
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
        engine, stream = self._engine, self._stream
        return engine._switch.take(stream)

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
