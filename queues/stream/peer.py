"""One connected client: its operations go to the engine, in order; what comes of them, and what is
pushed to its session, goes back.

Peers take turns: each begins a few operations, then the next. One that is faster than its pace has
to wait, too; nothing is refused for that.

What a client has not read yet is bounded. Beyond ``WINDOW`` bytes its next operations wait and
nothing new is pushed. Beyond ``MOST_UNREAD``, or when it has not read on for ``PATIENCE`` seconds,
or sends more and more operations meanwhile, it is cut off as a slow consumer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from operator import length_hint
from typing import Any

from queues import incident
from queues.core.answers import LoginResult
from queues.core.errors import (
    InvalidRequest,
    ShuttingDown,
    SlowConsumer,
    SwitchError,
    TooManyOperations,
)
from queues.core.messages import Delivery
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
#: Bytes of operations that may wait for their turn before nothing more is read.
MOST_BEHIND = 256 * 2**10
#: What is carried out for one client before others get their turn, as ``_weight`` has it.
TURN = 16
#: The least of a frame that is carried out before what that has brought forth leaves: of more than
#: twice that the half, so that those who get it are at work while the other half is.
LEAST = 4
#: Operations of one client that may be under way at once.
MOST_UNDER_WAY = 10_000


class Peer:
    """One client of ``engine``. ``wake`` is called when there is something to send, or when it is
    ``closed``; then the connection sends what there is and closes. ``caught_up`` is called, now and
    then also for nothing, when it ``is_behind`` no more. Frames of more than ``largest`` bytes
    leave in pieces.
    """

    def __init__(
        self,
        engine: Engine,
        codec: Codec,
        wake: Callable[[], None],
        caught_up: Callable[[], None],
        largest: int | None = None,
        source: str = "",
    ) -> None:
        self._engine = engine
        self._source = source
        self._turns = engine.intake.streams
        self._pace = engine.intake.operations()
        self._wake = wake
        self._caught_up = caught_up
        self.codec = codec
        self._side = SwitchSide(codec, largest)
        self._loop = asyncio.get_running_loop()
        self._session: str | None = None
        self._push: Push | None = None
        self._pending: dict[int, Wait | Running] = {}
        """What is under way, by ref, or by ``_key`` where it has none."""
        self._waiting: deque[bytes | str] = deque()
        """Frames that have come and were not wholly carried out."""
        self._waiting_bytes = 0
        self._operations: Iterator[Any] | None = None
        """What is left of the first of them, if that was begun.

        Only one frame is read at a time: read operations take many times the memory of their
        frame, and the collector would go through all that wait, again and again.
        """
        self._undelivered: deque[Delivery] = deque()
        """What was pushed and is sent when the client has read on."""
        self._lined_up = False
        """Whether nothing more is begun until its turn comes."""
        self._left = TURN
        """What may be begun in this round."""
        self._round = -1
        """The round in which something was begun."""
        self._pause: asyncio.TimerHandle | None = None
        """Ends when it may line up again."""
        self._finishing = False
        self._patience: asyncio.TimerHandle | None = None
        self.closed: SwitchError | None = None
        """Why the connection is to be closed."""
        engine.on_close.add(self._shut_down)

    # -- what comes in ------------------------------------------------------------------------

    def receive(self, frame: bytes | str) -> None:
        """Take a frame from the client."""
        if self.closed is not None:
            return
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        if self._side.awaits_pong and (self._lined_up or self._is_full()):
            # It is read when its turn comes; only the word that the client has read on, which may
            # be in it, must not wait so long.
            self._look_into(frame)
        if self._is_full():
            if self._waiting_bytes > MOST_WAITING:
                self._cut_off("It sends more operations than it reads answers.")
            else:
                self._wait_for_reading()
        elif not self._lined_up:
            operations = self._operations or self._read_frame()
            # What has to be read item by item tells no length: it is long.
            self._work(max(LEAST, (length_hint(operations, 2 * TURN) + 1) // 2))

    @property
    def is_behind(self) -> bool:
        """Whether so much waits to be carried out that nothing more should be read.

        ``caught_up`` is called when that is over. What the client leaves unread is no reason:
        among what it sends there may be the word that it has read on.
        """
        return self._waiting_bytes > MOST_BEHIND and not self._is_full() and self.closed is None

    def finish(self) -> None:
        """The client sends no more; what it has sent is carried out, then it is ``closed``."""
        self._finishing = True
        if not self._waiting:
            self._finished()

    def _finished(self) -> None:
        """All that came before the end is carried out."""
        wake = self._wake
        self.lost()
        wake()

    def refuse(self, error: SwitchError) -> None:
        """Tell the client of something that was no operation."""
        self._side.refuse(None, error)
        self._wake()

    def login_by_token(self, token: str) -> None:
        """Go on with a session that was begun elsewhere."""
        resumed = self._engine.resume_stream(
            session=token, after=None, room=WINDOW, notify=self._pushed
        )

        def tell(_: Any, value: Any, error: SwitchError | None) -> None:
            if error is not None:
                self.refuse(error)

        self._open(resumed, frames.Resume(session=token), tell)

    def _is_full(self) -> bool:
        return self._side.unread >= WINDOW

    def _look_into(self, frame: bytes | str) -> Iterable[Any]:
        """The operations of a frame; if it says that the client has read on, there is room."""
        side = self._side
        unread = side.unread
        operations = side.receive(frame)
        if side.unread < unread:
            self._make_room()
        return operations

    def _read_frame(self) -> Iterator[Any]:
        """Begin the first frame that waits."""
        self._operations = operations = iter(self._look_into(self._waiting[0]))
        return operations

    def _work(self, most: int = TURN) -> None:
        """Begin the operations that have come, as far as the client reads and a turn goes."""
        waiting, engine, side, turns = self._waiting, self._engine, self._side, self._turns
        if self._round != turns.round:
            self._round = turns.round
            # What took more than a turn has others go first, if there are any.
            self._left = TURN + (min(self._left, 0) if turns.others_wait else 0)
        may = left = min(self._left, turns.left, most)
        if left > 0:
            engine.begin()
            try:
                while waiting and left > 0 and side.unread < WINDOW:
                    if self._operations is None:
                        self._read_frame()
                        continue
                    for operation in self._operations:
                        self._begin(operation)
                        left -= 1
                        if (weight := _WEIGHT.get(type(operation))) is not None:
                            left -= weight(operation)
                        if left <= 0 or side.unread >= WINDOW or self.closed is not None:
                            break
                    else:
                        self._waiting_bytes -= len(waiting.popleft())
                        self._operations = None
                    if self.closed is not None:
                        break
            finally:
                engine.end()
            spent = may - left
            self._left -= spent
            turns.spend(spent)
            if (pause := self._pace.spend(spent, self._loop.time())) and self.closed is None:
                self._lined_up = True
                self._pause = self._loop.call_later(pause, turns.line_up, self._take_turn)
        if waiting:
            if self._is_full():
                self._wait_for_reading()
            elif not self._lined_up and self.closed is None:
                self._lined_up = True
                turns.line_up(self._take_turn)
        if side.has_output:
            self._wake()

    def _take_turn(self) -> None:
        if self.closed is not None:
            return
        self._lined_up = False
        if self._waiting and not self._is_full():
            self._work()
        caught_up = self._caught_up  # who waits for it hears of the end, too
        if self._finishing and not self._waiting:
            self._finished()
        if self._waiting_bytes <= MOST_BEHIND // 2:
            caught_up()

    def _begin(self, operation: Any) -> None:
        kind = type(operation)
        if self._pending and kind is not Unreadable and not self._may_begin(operation):
            return
        if kind is frames.Call:
            self._call(operation)
        elif (begin := _BEGIN.get(kind)) is not None:
            try:
                coroutine = begin(self._engine, operation, self._session)
            except SwitchError as error:
                self._answer(operation, None, error)
            else:
                self._run(coroutine, operation, self._answer)
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

    def _may_begin(self, operation: Any) -> bool:
        """Refuse an operation where others are under way that it would be in the way of."""
        error: SwitchError
        if operation.ref in self._pending:
            error = InvalidRequest(f"An operation with ref {operation.ref} is under way.")
        elif len(self._pending) >= MOST_UNDER_WAY and type(operation) in _MAY_WAIT:
            error = TooManyOperations(f"{MOST_UNDER_WAY} operations are under way.")
        else:
            return True
        if operation.ref is not None:
            self._side.refuse(operation.ref, error)
            self._put()
        return False

    def _run(self, coroutine: Coroutine[Any, None, Any], operation: Any, then: Then) -> None:
        """Carry out an operation; ``then`` gets it and what comes of it."""
        future = step(coroutine, then, operation)
        if future is not None:
            self._keep(operation, Running(coroutine, future, then, operation))

    def _answer(self, operation: Any, value: Any, error: SwitchError | None) -> None:
        if self.closed is not None:
            return
        ref = operation.ref
        if self._pending:
            self._pending.pop(_key(operation) if ref is None else ref, None)
        if ref is None:
            return
        if error is not None:
            self._side.refuse(ref, error)
        elif operation.quiet:
            return
        else:
            self._side.answer(ref, value)
        self._put()

    def _keep(self, operation: Any, what: Wait | Running) -> None:
        """Remember what is under way."""
        ref = operation.ref
        self._pending[_key(operation) if ref is None else ref] = what

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
            try:
                self._engine.intake.login(self._source, self._engine.now())
            except SwitchError as error:
                self._answer(operation, None, error)
                return
            opened = self._engine.open_stream(
                operation.client, operation.lease, room=room, notify=self._pushed
            )
        else:
            opened = self._engine.resume_stream(
                session=operation.session, after=operation.after, room=room, notify=self._pushed
            )
        self._open(opened, operation, self._answer)

    def _open(
        self,
        coroutine: Coroutine[Any, None, tuple[LoginResult, Push]],
        operation: Any,
        then: Then,
    ) -> None:
        def opened(what: Any, value: Any, error: SwitchError | None) -> None:
            if error is None:
                value, self._push = value
                self._session = value.session
            then(what, value, error)

        self._run(coroutine, operation, opened)

    def _log_out(self, operation: frames.Logout) -> None:
        def ended(what: Any, value: Any, error: SwitchError | None) -> None:
            if error is None:
                # Whatever else ends the session ends the connection; this does not.
                self._push = self._session = None
                self._undelivered.clear()
            self._answer(what, value, error)

        self._run(self._engine.logout(session=self._session), operation, ended)

    def _pushed(self) -> None:
        """There is something for the session, or its stream has ended."""
        push = self._push
        if push is None or self.closed is not None:
            return
        side, undelivered = self._side, self._undelivered
        undelivered.extend(push.take())
        while undelivered and side.unread < WINDOW:
            side.deliver(undelivered.popleft())
        if push.is_full and side.unread < WINDOW:
            # What was handed over took less room than expected, or was purged before it left.
            push.grant(WINDOW - side.unread)
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

    def _make_room(self) -> None:
        """The client has read something."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._is_full():
            self._wait_for_reading()
        if self._push is not None:
            self._push.grant(max(0, WINDOW - self._side.unread))
            self._pushed()
        # There may be no more to say than to ask how far it has read now.
        self._wake()

    def _wait_for_reading(self) -> None:
        self._caught_up()
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
        # It knows them as they know it: a circle for the collector.
        self._wake = self._caught_up = _nothing

    def _end(self, *, slow: bool) -> None:
        """Give up what is under way. The session's lease runs, or it ends."""
        self._engine.on_close.discard(self._shut_down)
        for handle in (self._pause, self._patience):
            if handle is not None:
                handle.cancel()
        self._waiting.clear()
        self._operations = None
        self._undelivered.clear()
        pending, self._pending = self._pending, {}
        for what in pending.values():
            self._give_up(what)
        if self._push is not None:
            self._push.close(slow=slow)


def _nothing() -> None:
    """Nobody is there to be told."""


def _key(operation: Any) -> int:
    """A number that is no ref, for an operation that has none."""
    return -id(operation)


# -- the other operations ---------------------------------------------------------------------

_MAY_WAIT = (frames.Call, frames.Transfer, frames.Trace)

#: What an operation counts for in a turn beside one: roughly how many sends take as long.
_WEIGHT: dict[type, Callable[[Any], int]] = {
    frames.SendMany: lambda o: len(o.messages),
    frames.Transfer: lambda o: len(o.ack) // 8 + len(o.replies),
    frames.Touch: lambda o: len(o.ids) // 8,
    frames.Ack: lambda o: len(o.ids) // 8,
    frames.Nack: lambda o: len(o.ids) // 8,
    frames.Explain: lambda _: 30,
    frames.ListQueues: lambda o: o.limit // 10,
    frames.Browse: lambda o: 2_000 if o.search else o.limit // 2,
    frames.Trace: lambda o: o.limit // 5,
    frames.Health: lambda _: 100,
    frames.WaitsFor: lambda _: 100,
    frames.Diagnostics: lambda _: 200,
    frames.Incident: lambda _: 2_000,
}

Begin = Callable[[Engine, Any, str | None], Coroutine[Any, None, Any]]


_BEGIN: dict[type, Begin] = {
    frames.Touch: lambda e, o, s: e.touch(o.ids, session=s),
    frames.CreateQueue: lambda e, o, s: e.create_queue(o.queue, o.full_policy(), session=s),
    frames.CreateFreshQueue: lambda e, o, s: e.create_fresh_queue(o.full_policy(), session=s),
    frames.ChangeQueue: lambda e, o, s: e.change_queue(o.queue, o.policy.changes(), session=s),
    frames.DestroyQueue: lambda e, o, s: e.destroy_queue(o.queue, session=s),
    frames.PurgeQueue: lambda e, o, s: e.purge_queue(o.queue, o.state, session=s),
    frames.ReplayDead: lambda e, o, s: e.replay_dead(o.queue, o.ids, session=s),
    frames.PauseQueue: lambda e, o, s: e.pause_queue(o.queue, session=s),
    frames.ResumeQueue: lambda e, o, s: e.resume_queue(o.queue, session=s),
    frames.Requeue: lambda e, o, s: e.requeue(o.queue, o.ids, session=s),
    frames.MoveMessages: lambda e, o, s: e.move_messages(
        o.queue, o.to, ids=o.ids, state=o.state, session=s
    ),
    frames.ListQueues: lambda e, o, s: e.list_queues(
        o.prefix, alive=o.alive, kind=o.kind, after=o.after, limit=o.limit
    ),
    frames.InspectQueue: lambda e, o, s: e.inspect_queue(o.queue),
    frames.Browse: lambda e, o, s: e.browse(
        o.queue, state=o.state, after=o.after, limit=o.limit, search=o.search or None
    ),
    frames.Send: lambda e, o, s: e.send(o.queue, o, session=s),
    frames.SendMany: lambda e, o, s: e.send_many(o.queue, o.messages, session=s),
    frames.DropMessage: lambda e, o, s: e.drop_message(o.queue, o.id, session=s),
    frames.Subscribe: lambda e, o, s: e.subscribe(o.queue, session=s, credit=o.credit),
    frames.Unsubscribe: lambda e, o, s: e.unsubscribe(o.queue, session=s),
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
    frames.ExplainSession: lambda e, o, s: e.explain_session(o.id),
    frames.EndSession: lambda e, o, s: e.end_session(o.id),
    frames.WaitsFor: lambda e, o, s: e.waits_for(),
    frames.Health: lambda e, o, s: e.health(),
    frames.Incident: lambda e, o, s: incident.collect(e),
    frames.Diagnostics: lambda e, o, s: e.diagnostics(),
    frames.Trace: lambda e, o, s: e.trace(after=o.after, limit=o.limit, timeout=o.timeout),
}
