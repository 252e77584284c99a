"""The client for asyncio programs."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack

from msgspec import structs

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
    ReplayResult,
    ReplyResult,
    RequeueResult,
    SendOutcome,
    SendResult,
    SessionInfo,
    TouchResult,
    WaitGraph,
)
from queues.core.errors import InvalidRequest
from queues.core.events import TraceReport
from queues.core.limits import MAX_WAIT
from queues.core.messages import Delivery, Response, State
from queues.protocol import operations as forms

from .inheritance import with_inherited
from .serving import GRACE, Handler, Server
from .session import POLL, Session
from .stream import transport_for
from .transport import Operation, Transport

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8080"
NOTHING: Any = type(None)

# The class has a method of this name.
_List = list


def _with_less_time(call: Operation[Response], passed: float) -> Operation[Response]:
    """A call for what is left of its time."""
    timeout = call.wait
    # In tenths: what a login took is no reason to ask for 29.997 s.
    left = min(timeout, max(math.ceil((timeout - passed) * 10), 1) / 10)
    return structs.replace(call, form=structs.replace(call.form, timeout=left), wait=left)


class PolicyFields(TypedDict, total=False):
    """The fields of a queue's policy. Times are in seconds; None means no limit."""

    max_length: int
    ttl: float | None
    ack_timeout: float | None
    max_deliveries: int | None
    on_expire: Literal["drop", "dead"]
    max_dead: int


def default_name() -> str:
    """How this process shows up at the switch: program, process id, host."""
    path = Path(sys.argv[0] if sys.argv else "")
    program = path.parent.name if path.name == "__main__.py" else path.name
    if program in ("", "-c", "-m"):
        program = "python"
    name = f"{program}[{os.getpid()}]@{socket.gethostname()}"
    return name.encode(errors="replace").decode()[-255:]


class Receiving(AsyncIterator[Delivery]):
    """An iteration over received messages. It may be left and taken up again at any point."""

    def __init__(self, client: AsyncClient, limit: int, timeout: float | None) -> None:
        self._client = client
        self._limit = limit
        self._timeout = timeout

    async def __anext__(self) -> Delivery:
        message = await self._client.receive(limit=self._limit, timeout=self._timeout)
        if message is None:
            raise StopAsyncIteration
        return message


class AsyncClient:
    """A client of the switch at ``url``, for one event loop.

    ``http://`` and ``https://`` are a WebSocket at the address of the web server, or HTTP where
    there is none; ``unix:///path`` and ``tcp://host:port`` are plain sockets.
    ``name`` is what operators see; by default program, process id and host. ``lease`` is how
    many seconds the switch keeps the session after the connection is gone: by default 0, so that
    what is held goes to another at once; over HTTP it counts from the last sign of life, and is 30.
    ``wait`` is how many
    seconds an operation tries to reach a switch that is away: 0 fails at once with Unreachable,
    ``math.inf`` waits for as long as it takes. ``serve`` and ``transfer`` wait in any case.

    Use it as ``async with AsyncClient() as client:``, or ``close`` it at the end.
    It logs in when it first needs to, and again when the switch has forgotten it.

    Every operation raises the refusals of ``queues.core.errors``, and Unreachable,
    OutcomeUnknown and BadAnswer.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        name: str | None = None,
        lease: float | None = None,
        wait: float = 0.0,
        transport: Transport | None = None,
    ) -> None:
        self.name = name or default_name()
        self.lease = lease
        self.wait = wait
        self._transport = transport or transport_for(url)
        self._session = Session(self._transport, self.name, lease)
        self._received: deque[Delivery] = deque()
        """Messages that arrived and were not taken yet."""
        self._taken: tuple[int, ...] = ()
        """The message taken last, while it may be worked on."""
        self._receiving = False
        self._serving: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop serving, log out and close all connections. What is held goes back."""
        self._closed = True
        serving = _List(self._serving)
        for task in serving:
            task.cancel()
        if serving:
            await asyncio.wait(serving)
        await self._session.close()
        await self._transport.close()

    async def _perform(self, operation: Operation[T]) -> T:
        self._check_open()
        return await self._session.perform(operation, wait=self.wait)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("The client is closed.")

    # -- session ------------------------------------------------------------------------------

    async def login(self) -> LoginResult:
        """Log in now instead of at the first need. Raises TooManySessions."""
        self._check_open()
        return await self._session.login(wait=self.wait)

    async def touch(self, *ids: int) -> TouchResult:
        """Say that this client still works on messages; it renews lease and ack timeout.

        ``transfer`` and ``serve`` do that by themselves.
        """
        self._check_open()
        return await self._session.touch(ids, wait=self.wait)

    # -- queues -------------------------------------------------------------------------------

    async def create(self, name: str | None = None, **policy: Unpack[PolicyFields]) -> QueueCreated:
        """Make sure that a queue exists; without a name, make a transient one with a fresh name.

        Without a policy an existing queue is left as it is. After a restart of the switch the
        client creates the persistent queue again by itself.
        Raises InvalidName, PolicyDiffers, TooManyQueues.
        """
        self._check_open()
        change = forms.PolicyChange(**policy) if policy else None
        if name is None:
            return await self._session.create_fresh(change, wait=self.wait)
        return await self._session.create(name, change, wait=self.wait)

    async def change(self, name: str, **policy: Unpack[PolicyFields]) -> QueueInfo:
        """Change fields of a queue's policy. Raises QueueNotFound, NotOwner."""
        form = forms.ChangeQueue(policy=forms.PolicyChange(**policy))
        return await self._perform(
            Operation(name="change_queue", answer=QueueInfo, queue=name, form=form)
        )

    async def destroy(self, name: str) -> None:
        """Drop a queue and its messages. Raises QueueNotFound, NotOwner."""
        await self._perform(
            Operation(name="destroy_queue", answer=NOTHING, queue=name, repeatable=False)
        )
        self._session.destroyed(name)

    async def purge(
        self, name: str, state: Literal["ready", "delayed", "held", "dead"] | None = None
    ) -> PurgeResult:
        """Drop the messages in one state; without ``state`` those ready or delayed.

        Raises QueueNotFound, NotOwner.
        """
        form = forms.Purge(state=None if state is None else State(state))
        return await self._perform(
            Operation(
                name="purge_queue", answer=PurgeResult, queue=name, form=form, repeatable=False
            )
        )

    async def replay(self, name: str, ids: Iterable[int] | None = None) -> ReplayResult:
        """Make dead messages ready again: those named, or all. Raises QueueNotFound, NotOwner."""
        form = forms.Replay(ids=None if ids is None else _List(ids))
        return await self._perform(
            Operation(
                name="replay_dead", answer=ReplayResult, queue=name, form=form, repeatable=False
            )
        )

    async def pause(self, name: str) -> QueueInfo:
        """Have no message of a queue handed out until it is resumed; it takes messages as before.

        Raises QueueNotFound, NotOwner.
        """
        return await self._perform(Operation(name="pause_queue", answer=QueueInfo, queue=name))

    async def resume(self, name: str) -> QueueInfo:
        """Have the messages of a paused queue handed out again. Raises QueueNotFound, NotOwner."""
        return await self._perform(Operation(name="resume_queue", answer=QueueInfo, queue=name))

    async def requeue(self, name: str, ids: Iterable[int] | None = None) -> RequeueResult:
        """Take held messages, those named or all, from their holders: they are ready again.

        Raises QueueNotFound, NotOwner.
        """
        form = forms.Requeue(ids=None if ids is None else _List(ids))
        return await self._perform(
            Operation(name="requeue", answer=RequeueResult, queue=name, form=form, repeatable=False)
        )

    async def move(
        self,
        name: str,
        to: str,
        ids: Iterable[int] | None = None,
        *,
        state: Literal["ready", "delayed", "dead"] | None = None,
    ) -> MoveResult:
        """Put messages into another queue: those named, or all in one state; without either those
        ready or delayed.

        They keep their ids. Dead ones are ready there; held ones cannot be moved.
        Raises QueueNotFound, NotOwner; ValueError for both ``ids`` and ``state``.
        """
        form = forms.Move(
            to=to,
            ids=None if ids is None else _List(ids),
            state=None if state is None else State(state),
        )
        return await self._perform(
            Operation(
                name="move_messages", answer=MoveResult, queue=name, form=form, repeatable=False
            )
        )

    async def list(
        self, prefix: str = "", *, alive: bool | None = None, kind: QueueKind | None = None
    ) -> _List[QueueInfo]:
        """All queues whose name begins with ``prefix``.

        ``alive`` asks for those with a consumer, or without; ``kind`` for those of one kind.
        """
        queues: _List[QueueInfo] = []
        after: str | None = ""
        while after is not None:
            form = forms.QueuePage(
                prefix=prefix, alive=alive, kind=kind, after=after, limit=forms.MAX_PAGE
            )
            page = await self._perform(Operation(name="list_queues", answer=QueueList, form=form))
            queues += page.queues
            after = page.next
        return queues

    async def inspect(self, name: str) -> QueueInfo:
        """A queue as it is. Raises QueueNotFound."""
        return await self._perform(Operation(name="inspect_queue", answer=QueueInfo, queue=name))

    async def browse(
        self,
        name: str,
        state: Literal["ready", "delayed", "held", "dead"] | None = None,
        *,
        search: str = "",
        after: int = 0,
        limit: int = 100,
    ) -> MessageList:
        """A page of a queue's messages, long payloads cut; changes nothing.

        ``search`` asks for those with this text in payload, correlation id, headers, key, or the
        names of sender and holder, or with this id. A page of a search may be empty, and yet have
        a ``next``: so far the switch has looked.
        Raises QueueNotFound.
        """
        form = forms.MessagePage(
            state=None if state is None else State(state),
            search=search,
            after=after,
            limit=limit,
        )
        return await self._perform(
            Operation(name="browse", answer=MessageList, queue=name, form=form)
        )

    # -- sending ------------------------------------------------------------------------------

    async def send(
        self,
        queue: str,
        payload: str,
        *,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        ttl: float | None = None,
        delay: float = 0.0,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> SendResult:
        """Put a message into a queue. ``ttl`` and ``delay`` are in seconds.

        With a ``key`` the message is sent once, however often this is repeated within the
        switch's window; the client then repeats by itself what was cut off, unless its session
        ended, as it does when the switch is restarted.
        A message with ``reply_to`` inherits as a ``call`` does.
        Raises QueueNotFound, QueueFull with the reason, SwitchFull, PayloadTooLarge, KeyReused.
        """
        own = dict(headers or {})
        form = forms.Send(
            payload=payload,
            correlation_id=correlation_id,
            reply_to=reply_to,
            ttl=ttl,
            delay=delay,
            headers=own if reply_to is None else with_inherited(own),
            key=key,
        )
        return await self._perform(
            Operation(
                name="send",
                answer=SendResult,
                queue=queue,
                form=form,
                login=True,
                repeatable=key is not None,
                keyed=True,
            )
        )

    async def send_many(self, queue: str, messages: Sequence[forms.Send]) -> _List[SendOutcome]:
        """Put up to 1,000 messages into a queue, in order; each has its own outcome.

        Those with ``reply_to`` inherit as a ``call`` does.
        Raises QueueNotFound.
        """
        drafts = [
            message
            if message.reply_to is None
            else structs.replace(message, headers=with_inherited(message.headers))
            for message in messages
        ]
        return await self._perform(
            Operation(
                name="send_many",
                answer=_List[SendOutcome],
                queue=queue,
                form=drafts,
                login=True,
                repeatable=all(message.key is not None for message in messages),
                keyed=True,
            )
        )

    async def drop(self, queue: str, id: int) -> None:
        """Delete a message in whatever state it is. Raises QueueNotFound, MessageNotFound."""
        await self._perform(
            Operation(name="drop_message", answer=NOTHING, queue=queue, id=id, repeatable=False)
        )

    # -- receiving ----------------------------------------------------------------------------

    async def subscribe(self, queue: str) -> None:
        """Consume a queue: ``transfer`` yields its messages. Raises QueueNotFound, NotOwner."""
        self._check_open()
        await self._session.subscribe(queue, wait=self.wait)

    async def unsubscribe(self, queue: str) -> None:
        """Stop consuming a queue; what is held stays held."""
        self._check_open()
        await self._session.unsubscribe(queue, wait=self.wait)

    def transfer(self, *, limit: int = 1, timeout: float | None = None) -> Receiving:
        """Iterate over the messages of the subscribed queues.

        Each is yours until you ack, nack or reply; while you work on it, it is touched for you,
        until you finish it or take the next. The iteration ends when no message came for
        ``timeout`` seconds, by default never. ``limit`` messages are fetched at a time; those
        not taken yet wait in the client for the next ``transfer``. They are touched together
        with the one that you work on; what the switch has taken back meanwhile is left out.
        A switch that is away is waited for. Raises QueueNotFound when a subscription did not
        survive its restart. Use one at a time; ``serve`` has a session of its own.
        """
        return Receiving(self, limit, timeout)

    async def receive(self, *, limit: int = 1, timeout: float | None = None) -> Delivery | None:
        """The next message of the subscribed queues, or None if none comes in ``timeout`` seconds.

        See ``transfer``.
        """
        self._check_open()
        if self._receiving:
            raise RuntimeError("This client receives already; one at a time.")
        self._receiving = True
        self._settled(self._taken)
        self._taken = ()
        now = asyncio.get_running_loop().time
        ends = math.inf if timeout is None else now() + timeout
        try:
            await self._session.check_waiting()
            waiting = self._session.waiting
            self._received = deque(m for m in self._received if m.id in waiting)
            while not self._received:
                patience = max(0.0, min(POLL, ends - now()))
                result = await self._session.transfer(limit=limit, timeout=patience)
                self._session.put_by(message.id for message in result.messages)
                self._received.extend(result.messages)
                if not result.messages and now() >= ends:
                    return None
            message = self._received.popleft()
            waiting.discard(message.id)
            self._session.in_hand.add(message.id)
            self._taken = (message.id,)
            return message
        finally:
            self._receiving = False

    async def ack(self, *ids: int) -> AckResult:
        """Finish messages: they are gone for good. Raises NotHolder."""
        self._settled(ids)
        return await self._perform(
            Operation(name="ack", answer=AckResult, form=forms.Ack(ids=_List(ids)), login=True)
        )

    async def nack(self, *ids: int, delay: float = 0.0, requeue: bool = True) -> NackResult:
        """Give messages back, ready after ``delay`` seconds; or reject them as dead.

        Raises NotHolder.
        """
        self._settled(ids)
        form = forms.Nack(ids=_List(ids), delay=delay, requeue=requeue)
        return await self._perform(
            Operation(name="nack", answer=NackResult, form=form, login=True, repeatable=False)
        )

    async def reply(
        self,
        id: int,
        payload: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        error: forms.Error | None = None,
    ) -> ReplyResult:
        """Answer a request and ack it, as one step. Raises NotHolder, QueueFull, SwitchFull."""
        form = forms.ReplyBody(payload=payload, headers=dict(headers or {}), error=error)
        result = await self._perform(
            Operation(name="reply", answer=ReplyResult, id=id, form=form, login=True)
        )
        self._settled((id,))
        return result

    def _settled(self, ids: Iterable[int]) -> None:
        self._session.in_hand.difference_update(ids)

    # -- RPC ----------------------------------------------------------------------------------

    async def call(
        self,
        queue: str,
        payload: str,
        *,
        timeout: float = 30.0,
        wait_for_server: bool = False,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Response:
        """Send a request and wait up to ``timeout`` seconds (at most 300) for its reply.

        Without a server this fails at once with NoServer, unless it shall wait for one; then the
        queue is created too. With a ``key`` a call that was cut off is joined again,
        unless the session ended, as it does when the switch is restarted.
        Made by a function that serves a request, it says so in the header ``switch-parent``, and
        passes the headers ``traceparent`` and ``tracestate`` of that request on; your own win.
        Raises RemoteError when the handler failed; CallTimeout, NoServer and QueueFull with the
        reason; SwitchFull, PayloadTooLarge, KeyReused, InvalidRequest.
        """
        self._check_open()
        if not 0 < timeout <= MAX_WAIT:
            raise InvalidRequest(f"timeout is more than 0 and at most {MAX_WAIT:g} seconds.")
        return await self._session.perform(
            Operation(
                name="call",
                answer=Response,
                queue=queue,
                form=forms.Call(
                    payload=payload,
                    timeout=timeout,
                    wait_for_server=wait_for_server,
                    correlation_id=correlation_id,
                    headers=with_inherited({} if headers is None else dict(headers)),
                    key=key,
                ),
                wait=timeout,
                login=True,
                repeatable=key is not None,
                keyed=True,
            ),
            wait=min(self.wait, timeout),
            repeat_for=timeout,
            renew=_with_less_time,
        )

    async def serve(
        self, queue: str, function: Handler, *, concurrency: int = 1, grace: float = GRACE
    ) -> None:
        """Answer the requests of a queue with ``function``, until cancelled or closed.

        The function takes a Delivery and returns the reply's payload (None is empty); it may be
        a coroutine function, else it runs in one of ``concurrency`` threads. What it raises the
        caller gets as a RemoteError, with the exception's name as code.
        It waits for a switch that is away, and creates the queue. When it stops, running
        functions get ``grace`` seconds; the requests of those that are not done go back.
        Raises NotOwner, InvalidName, TooManyQueues.
        """
        self._check_open()
        transport = self._transport.another()
        session = Session(transport, self.name, self.lease)
        server = Server(session, queue, function, concurrency, grace)

        async def run() -> None:
            try:
                await server.run()
            finally:
                if transport is not self._transport:
                    await transport.close()

        task = asyncio.create_task(run(), name=f"serve {queue}")
        self._serving.add(task)
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
                task.cancel()  # the first time it stops, the second time at once
        self._serving.discard(task)
        if cancelled is not None:
            raise cancelled
        if not task.cancelled():
            task.result()

    # -- looking ------------------------------------------------------------------------------

    async def explain(self, id: int) -> MessageReport:
        """Where a message is, since when, who holds it, and why. Raises MessageNotFound."""
        return await self._perform(Operation(name="explain", answer=MessageReport, id=id))

    async def session(self, id: int) -> SessionInfo:
        """A session by the id that diagnostics show: what it holds and waits for, and why.

        Raises SessionNotFound.
        """
        return await self._perform(Operation(name="explain_session", answer=SessionInfo, id=id))

    async def end_session(self, id: int) -> None:
        """End somebody's session: what it holds goes to others. Raises SessionNotFound."""
        await self._perform(Operation(name="end_session", answer=NOTHING, id=id, repeatable=False))

    async def waits_for(self) -> WaitGraph:
        """Who waits for whom, deadlocks marked."""
        return await self._perform(Operation(name="waits_for", answer=WaitGraph))

    async def health(self) -> Health:
        """How the switch itself is doing: its process, its event loop, its limits."""
        return await self._perform(Operation(name="health", answer=Health))

    async def incident(self) -> dict[str, Any]:
        """All that the switch knows of itself, without what messages carry, to attach to a report;
        docs/operations.md says what is in it."""
        return await self._perform(Operation(name="incident", answer=dict[str, Any]))

    async def diagnostics(self) -> Diagnostics:
        """The whole switch at one instant."""
        return await self._perform(Operation(name="diagnostics", answer=Diagnostics))

    async def trace(self, *, after: int = 0, limit: int = 100, timeout: float = 0.0) -> TraceReport:
        """Events after number ``after``, oldest first; wait ``timeout`` seconds for one."""
        form = forms.TraceQuery(after=after, limit=limit, timeout=timeout)
        return await self._perform(
            Operation(name="trace", answer=TraceReport, form=form, wait=timeout)
        )
