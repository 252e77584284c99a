"""One connected client: its operations go to the engine, in order; what comes of them, and what is
pushed to its session, goes back.

What a client has not read yet is bounded. Beyond ``WINDOW`` bytes its next operations wait and
nothing new is pushed. Beyond ``MOST_UNREAD``, or when it has not read on for ``PATIENCE`` seconds,
or sends more and more operations meanwhile, it is cut off as a slow consumer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from queues.core.answers import LoginResult
from queues.core.errors import (
    InvalidRequest,
    ShuttingDown,
    SlowConsumer,
    SwitchError,
)
from queues.core.queue import check_name
from queues.core.waits import Wait
from queues.engines.base import Engine, Push
from queues.protocol import frames
from queues.protocol.frames import Codec, SwitchSide, Unreadable

from .running import Running, Then, step

#: Bytes that a client may leave unread before its next operations wait.
WINDOW = 8 * 2**20
#: Bytes that a client may leave unread at all: answers that it had asked for before still come.
MOST_UNREAD = 24 * 2**20
#: Bytes of operations that may wait meanwhile.
MOST_WAITING = 8 * 2**20
#: Seconds that a client over its window gets to read on.
PATIENCE = 10.0
#: Operations of one client that are carried out before others get their turn.
TURN = 8


class Peer:
    """One client of ``engine``. ``wake`` is called when there is something to send, or when it is
    ``closed``; then the connection sends what there is and closes. Frames of more than ``largest``
    bytes leave in pieces.
    """

    def __init__(
        self,
        engine: Engine,
        codec: Codec,
        wake: Callable[[], None],
        largest: int | None = None,
    ) -> None:
        self._engine = engine
        self._wake = wake
        self._side = SwitchSide(codec, largest)
        self._loop = asyncio.get_running_loop()
        self._session: str | None = None
        self._push: Push | None = None
        self._pending: dict[int, Wait | Running] = {}
        """What is under way, by ``_key``."""
        self._waiting: deque[Any] = deque()
        """Operations that have come and were not begun."""
        self._waiting_bytes = 0
        self._scheduled: asyncio.Handle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self.closed: SwitchError | None = None
        """Why the connection is to be closed."""
        engine.on_close.add(self._shut_down)

    # -- what comes in ------------------------------------------------------------------------

    def receive(self, frame: bytes | str) -> None:
        """Take a frame from the client."""
        if self.closed is not None:
            return
        side = self._side
        unread = side.unread
        items = side.receive(frame)
        if side.unread < unread:
            self._read_on()
        if self._waiting:
            self._waiting_bytes += len(frame)
            self._waiting.extend(items)
            if self._waiting_bytes > MOST_WAITING and self._is_full():
                self._cut_off("It sends more operations than it reads answers.")
        elif items:
            self._waiting.extend(items)
            self._work()

    def refuse(self, error: SwitchError) -> None:
        """Tell the client of something that was no operation."""
        self._side.refuse(None, error)
        self._wake()

    def login_by_token(self, token: str) -> None:
        """Go on with a session that was begun elsewhere."""
        resumed = self._engine.resume_stream(
            session=token, after=None, room=WINDOW, notify=self._pushed
        )
        self._open(
            resumed,
            frames.Resume(session=token),
            lambda value, error: None if error is None else self.refuse(error),
        )

    def _is_full(self) -> bool:
        return self._side.unread >= WINDOW

    def _work(self) -> None:
        """Begin the operations that have come, as far as the client reads and a turn goes."""
        self._scheduled = None
        waiting, engine, side = self._waiting, self._engine, self._side
        engine.begin()
        try:
            for _ in range(min(TURN, len(waiting))):
                if side.unread >= WINDOW:
                    break
                self._begin(waiting.popleft())
                if self.closed is not None:
                    break
        finally:
            engine.end()
        if not waiting or self.closed is not None:
            self._waiting_bytes = 0
        elif self._is_full():
            self._wait_for_reading()
        else:
            self._scheduled = self._loop.call_soon(self._work)
        if side.has_output:
            self._wake()

    def _begin(self, operation: Any) -> None:
        kind = type(operation)
        if kind is frames.Call:
            self._call(operation)
        elif (begin := _BEGIN.get(kind)) is not None:
            try:
                coroutine = begin(self._engine, operation, self._session)
            except SwitchError as error:
                self._answer(operation, None, error)
            else:
                self._run(coroutine, operation)
        elif kind is frames.Ping:
            self._answer(operation, None, None)
        elif kind is Unreadable:
            self._side.refuse(operation.ref, operation.error)
        elif kind is frames.Logout:
            self._log_out(operation)
        elif kind is frames.Cancel:
            self._cancel(operation)
        else:
            self._log_in(operation)

    def _run(
        self, coroutine: Coroutine[Any, None, Any], operation: Any, then: Then | None = None
    ) -> None:
        """Carry out an operation; ``then``, by default its answer, gets what comes of it."""
        if then is None:
            then = partial(self._answer, operation)
        future = step(coroutine, then)
        if future is not None:
            self._keep(operation, Running(coroutine, future, then))

    def _answer(self, operation: Any, value: Any, error: SwitchError | None) -> None:
        if self.closed is not None:
            return
        if self._pending:
            self._pending.pop(_key(operation), None)
        ref = operation.ref
        if ref is None:
            return
        if error is not None:
            self._side.refuse(ref, error)
        elif not operation.quiet:
            self._side.answer(ref, value)
        self._put()

    def _keep(self, operation: Any, what: Wait | Running) -> None:
        """Remember what is under way."""
        key = _key(operation)
        if key in self._pending:
            self._give_up(what)
            error = InvalidRequest(f"An operation with ref {key} is under way.")
            self._side.refuse(key, error)
        else:
            self._pending[key] = what

    def _cancel(self, operation: frames.Cancel) -> None:
        what = self._pending.pop(operation.of, None)
        if what is not None:
            self._give_up(what)
        self._answer(operation, None, None)

    def _give_up(self, what: Wait | Running) -> None:
        if isinstance(what, Running):
            what.cancel()
        else:
            self._engine.leave_call(what)

    def _call(self, operation: frames.Call) -> None:
        try:
            check_name(operation.queue)
            wait = self._engine.start_call(
                operation.queue,
                operation,
                timeout=operation.timeout,
                then=partial(self._called, operation),
                wait_for_server=operation.wait_for_server,
                session=self._session,
            )
        except SwitchError as error:
            self._answer(operation, None, error)
            return
        if wait.done:
            self._called(operation, wait)
        else:
            self._keep(operation, wait)

    def _called(self, operation: frames.Call, wait: Wait) -> None:
        outcome = self._engine.outcome(wait)
        if isinstance(outcome, SwitchError):
            self._answer(operation, None, outcome)
        else:
            self._answer(operation, outcome, None)

    # -- the session --------------------------------------------------------------------------

    def _log_in(self, operation: frames.Login | frames.Resume) -> None:
        if self._session is not None:
            error = InvalidRequest("This connection has a session; log out first.")
            self._answer(operation, None, error)
            return
        room = max(0, WINDOW - self._side.unread)
        if isinstance(operation, frames.Login):
            opened = self._engine.open_stream(
                operation.client, operation.lease, room=room, notify=self._pushed
            )
        else:
            opened = self._engine.resume_stream(
                session=operation.session, after=operation.after, room=room, notify=self._pushed
            )
        self._open(opened, operation, partial(self._answer, operation))

    def _open(
        self,
        coroutine: Coroutine[Any, None, tuple[LoginResult, Push]],
        operation: Any,
        then: Then,
    ) -> None:
        def opened(value: Any, error: SwitchError | None) -> None:
            if error is None:
                value, self._push = value
                self._session = value.session
            then(value, error)

        self._run(coroutine, operation, opened)

    def _log_out(self, operation: frames.Logout) -> None:
        def ended(value: Any, error: SwitchError | None) -> None:
            if error is None:
                # Whatever else ends the session ends the connection; this does not.
                self._push = self._session = None
            self._answer(operation, value, error)

        self._run(self._engine.logout(session=self._session), operation, ended)

    def _pushed(self) -> None:
        """There is something for the session, or its stream has ended."""
        push = self._push
        if push is None or self.closed is not None:
            return
        for delivery in push.take():
            self._side.deliver(delivery)
        error = push.ended()
        if error is None:
            self._put()
        else:
            self._close(error)

    # -- what goes out ------------------------------------------------------------------------

    def _put(self) -> None:
        """Something was added to what is to be sent."""
        if self._side.unread >= WINDOW:
            if self._side.unread > MOST_UNREAD:
                self._cut_off("It leaves too much unread.")
                return
            self._wait_for_reading()
        self._wake()

    def data_to_send(self) -> list[bytes]:
        """The frames to send now."""
        return self._side.data_to_send()

    def _read_on(self) -> None:
        """The client has read something: there is room again."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._is_full():
            self._wait_for_reading()
        if self._push is not None:
            self._push.grant(max(0, WINDOW - self._side.unread))
        if self._waiting and self._scheduled is None:
            self._work()

    def _wait_for_reading(self) -> None:
        if self._patience is None:
            self._patience = self._loop.call_later(
                PATIENCE, self._cut_off, f"It has read nothing for {PATIENCE:g} s."
            )

    def _cut_off(self, why: str) -> None:
        self._close(SlowConsumer(f"The client does not read what it is sent. {why}"), slow=True)

    def _close(self, error: SwitchError, *, slow: bool = False) -> None:
        if self.closed is None:
            self.closed = error
            self._side.close(error)
            self._end(slow=slow)
            self._wake()

    def _shut_down(self) -> None:
        self._close(ShuttingDown("The switch is stopping."))

    def lost(self) -> None:
        """The connection is gone."""
        if self.closed is None:
            self.closed = ShuttingDown("The connection is gone.")
            self._end(slow=False)

    def _end(self, *, slow: bool) -> None:
        """Give up what is under way. The session's lease runs, or it ends."""
        self._engine.on_close.discard(self._shut_down)
        for handle in (self._scheduled, self._patience):
            if handle is not None:
                handle.cancel()
        self._waiting.clear()
        pending, self._pending = self._pending, {}
        for what in pending.values():
            self._give_up(what)
        if self._push is not None:
            self._push.close(slow=slow)


def _key(operation: Any) -> int:
    """The ref of an operation, or a number below 0 where it has none."""
    ref: int | None = operation.ref
    return -id(operation) if ref is None else ref


# -- the other operations ---------------------------------------------------------------------

Begin = Callable[[Engine, Any, str | None], Coroutine[Any, None, Any]]


def _named(begin: Begin) -> Begin:
    """The same, with the name of the queue checked first."""

    def checked(engine: Engine, o: Any, session: str | None) -> Coroutine[Any, None, Any]:
        check_name(o.queue)
        return begin(engine, o, session)

    return checked


_BEGIN: dict[type, Begin] = {
    frames.Touch: lambda e, o, s: e.touch(o.ids, session=s),
    frames.CreateQueue: _named(lambda e, o, s: e.create_queue(o.queue, o.full_policy(), session=s)),
    frames.CreateFreshQueue: lambda e, o, s: e.create_fresh_queue(o.full_policy(), session=s),
    frames.ChangeQueue: _named(
        lambda e, o, s: e.change_queue(o.queue, o.policy.changes(), session=s)
    ),
    frames.DestroyQueue: _named(lambda e, o, s: e.destroy_queue(o.queue, session=s)),
    frames.PurgeQueue: _named(lambda e, o, s: e.purge_queue(o.queue, o.state, session=s)),
    frames.ReplayDead: _named(lambda e, o, s: e.replay_dead(o.queue, o.ids, session=s)),
    frames.ListQueues: lambda e, o, s: e.list_queues(
        o.prefix, alive=o.alive, kind=o.kind, after=o.after, limit=o.limit
    ),
    frames.InspectQueue: _named(lambda e, o, s: e.inspect_queue(o.queue)),
    frames.Browse: _named(
        lambda e, o, s: e.browse(o.queue, state=o.state, after=o.after, limit=o.limit)
    ),
    frames.Send: _named(lambda e, o, s: e.send(o.queue, o, session=s)),
    frames.SendMany: _named(lambda e, o, s: e.send_many(o.queue, o.messages, session=s)),
    frames.DropMessage: _named(lambda e, o, s: e.drop_message(o.queue, o.id, session=s)),
    frames.Subscribe: _named(lambda e, o, s: e.subscribe(o.queue, session=s, credit=o.credit)),
    frames.Unsubscribe: _named(lambda e, o, s: e.unsubscribe(o.queue, session=s)),
    frames.Transfer: lambda e, o, s: e.transfer(
        session=s,
        after=o.after,
        timeout=o.timeout,
        limit=o.limit,
        acks=o.ack,
        replies=o.replies,
    ),
    frames.Ack: lambda e, o, s: e.ack(o.ids, session=s),
    frames.Nack: lambda e, o, s: e.nack(o.ids, session=s, delay=o.delay, requeue=o.requeue),
    frames.Reply: lambda e, o, s: e.reply(o, session=s),
    frames.Explain: lambda e, o, s: e.explain(o.id),
    frames.Diagnostics: lambda e, o, s: e.diagnostics(),
    frames.Trace: lambda e, o, s: e.trace(after=o.after, limit=o.limit, timeout=o.timeout),
}
