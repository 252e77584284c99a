"""The server side of RPC: receive requests, run a function on each, send back what it returns.

On a stream requests are pushed, as many as the server can work on at once, and a reply is sent as
soon as it is ready.

Over HTTP a Transfer asks for them, and a served request costs one round trip where that is
possible: the reply travels in the Transfer that asks for the next request. A reply must never wait
for a Transfer that is open already, so one that becomes ready meanwhile is sent at once by a
request of its own. Before a Transfer is opened while functions are running, they get a moment to
finish, so that the quick ones need no such extra request.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import math
import re
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from queues.core.answers import NackResult, ReplyOutcome, ReplyResult
from queues.core.errors import LimitReached, NotHolder, PayloadTooLarge, SwitchError
from queues.core.limits import MAX_BATCH
from queues.core.messages import Delivery
from queues.protocol import operations as forms
from queues.protocol.operations import MAX_LIST

from .errors import HandlerError, OutcomeUnknown, Unreachable
from .inheritance import work_on
from .session import Session
from .transport import Operation

#: What answers requests: gets the request, returns the reply's payload; None is empty.
Handler = Callable[[Delivery], str | None] | Callable[[Delivery], Awaitable[str | None]]

logger = logging.getLogger("queues.client")

#: Seconds that running functions get to finish when serving stops.
GRACE = 5.0
#: Seconds for which the next Transfer waits for functions that have just begun.
LINGER = 0.002
#: Characters of payloads and errors that one Transfer carries; a larger reply travels alone.
MAX_CARRIED = 256 * 2**10
#: Characters of an error's detail that the protocol takes.
MAX_DETAIL = 10_000


class Server:
    """Serves one queue with one function, in a session of its own."""

    def __init__(
        self, session: Session, queue: str, function: Handler, concurrency: int, grace: float
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1.")
        self._session = session
        self._queue = queue
        self._function = function
        self._concurrency = concurrency
        self._grace = grace
        # Asking for it is a system call on Python 3.11: too dear for each message.
        self._loop: asyncio.AbstractEventLoop
        self._threads: ThreadPoolExecutor | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        """Whether no request may be begun any more."""
        self._stopped = False
        """Whether no reply may be sent any more."""
        self._ready: list[forms.TransferReply] = []
        """Replies that the next Transfer carries."""
        self._waiting = False
        """Whether replies may not wait for a Transfer: one is open, or none follows."""

    async def run(self) -> None:
        """Serve until cancelled; then let functions finish, give back the rest, and log out."""
        self._loop = asyncio.get_running_loop()
        if not _is_coroutine_function(self._function):
            self._threads = ThreadPoolExecutor(
                self._concurrency, thread_name_prefix=f"serve {self._queue}"
            )
        try:
            await self._session.create(self._queue, None, wait=math.inf)
            self._session.on_delivery(self._pushed)
            credit = min(self._concurrency, MAX_LIST)
            await self._session.subscribe(self._queue, credit=credit, wait=math.inf)
            while True:
                if self._session.pushes:
                    self._waiting = True
                    self._send_ready()
                    await self._session.stay_connected()
                else:
                    await self._receive()
        finally:
            await self._stop()

    def _pushed(self, message: Delivery) -> None:
        """A request has come on the stream."""
        if self._stopping:
            # It was on its way, or pushed again after a break; another server shall have it.
            self._session.pause(self._queue)
            nack = forms.Nack(ids=[message.id])
            self._session.tell(
                Operation(name="nack", answer=NackResult, form=nack, login=True), _ignore
            )
        elif message.id not in self._session.in_hand:
            self._begin(message)

    async def _receive(self) -> None:
        """One Transfer: send the replies that are ready, start work on what arrives."""
        while len(self._tasks) >= self._concurrency:
            self._send_ready()
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        replies = self._take_ready()
        room = self._concurrency - len(self._tasks)
        self._waiting = True
        self._send_ready()
        result = await self._session.transfer(limit=min(room, MAX_BATCH), replies=replies)
        self._waiting = False
        sent = {reply.id: reply for reply in replies}
        for outcome in result.replies:
            if outcome.request in sent:
                self._judge(sent[outcome.request], outcome)
        begun = [self._begin(message) for message in result.messages]
        if begun and len(self._tasks) < self._concurrency:
            await asyncio.wait(begun, timeout=LINGER)

    def _take_ready(self) -> list[forms.TransferReply]:
        replies: list[forms.TransferReply] = []
        room = MAX_CARRIED
        while self._ready and (not replies or _size(self._ready[0]) <= room):
            room -= _size(self._ready[0])
            replies.append(self._ready.pop(0))
        return replies

    def _send_ready(self) -> None:
        """Send what the next Transfer has no room for, or would carry too late."""
        while self._ready:
            reply = self._ready.pop(0)
            self._spawn(self._send(reply))

    def _begin(self, message: Delivery) -> asyncio.Task[None]:
        self._session.in_hand.add(message.id)
        return self._spawn(self._work(message))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _work(self, message: Delivery) -> None:
        reply = await self._reply_to(message)
        if self._session.pushes and self._tell(reply):
            return
        if self._waiting or _size(reply) > MAX_CARRIED:
            await self._send(reply)
        else:
            self._ready.append(reply)

    async def _reply_to(self, message: Delivery) -> forms.TransferReply:
        """Run the function; whatever it raises is the reply."""
        try:
            payload = await self._call(message)
            if payload is None:
                payload = ""
            if not isinstance(payload, str):
                raise TypeError(f"The handler returned {type(payload).__name__}, not str.")
            payload.encode()
            # The protocol cannot write a class derived from it.
            payload = str.__str__(payload)
        except GeneratorExit:
            raise
        except BaseException as error:
            # A function may end the program or be cancelled only for itself, not for the server.
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            if not isinstance(error, HandlerError):
                logger.warning("Request %d of %s failed.", message.id, self._queue, exc_info=error)
            return forms.TransferReply(id=message.id, error=_error(error))
        return forms.TransferReply(id=message.id, payload=payload)

    async def _call(self, message: Delivery) -> object:
        # In the task of this one request, which has a context of its own.
        work_on(message)
        if self._threads is None:
            return await self._function(message)  # type: ignore[misc]
        context = contextvars.copy_context()
        return await self._loop.run_in_executor(
            self._threads, context.run, _call_blocking, self._function, message
        )

    def _tell(self, reply: forms.TransferReply) -> bool:
        """Send a reply on the stream; only a refusal needs more attention."""

        def refused(error: SwitchError) -> None:
            lost = isinstance(error, (OutcomeUnknown, Unreachable))
            if (
                self._stopped
                or isinstance(error, NotHolder)
                # Without a lease the session ended with the connection, and the request went back.
                or (lost and not self._session.survives)
            ):
                self._done(reply.id, str(error))
            else:
                # By an operation of its own the same refusal comes again, and is dealt with there.
                self._session.in_hand.add(reply.id)
                self._spawn(self._send(reply))

        if not self._session.tell(_operation(reply), refused):
            return False
        self._session.in_hand.discard(reply.id)
        return True

    # -- replies ------------------------------------------------------------------------------

    async def _send(self, reply: forms.TransferReply) -> None:
        """Send a reply by a request of its own; wait while its queue is full."""
        while True:
            try:
                result = await self._session.perform(_operation(reply), wait=math.inf)
            except LimitReached as error:
                await asyncio.sleep(float(error.extra.get("retry_after", 1)))
            except PayloadTooLarge as error:
                reply = forms.TransferReply(id=reply.id, error=_error(error))
            except SwitchError as error:
                self._done(reply.id, str(error))
                return
            else:
                self._done(reply.id, result.state)
                return

    def _judge(self, reply: forms.TransferReply, outcome: ReplyOutcome) -> None:
        """See what became of a reply that a Transfer carried."""
        if outcome.code is None or outcome.code == NotHolder.code:
            self._done(reply.id, outcome.state or outcome.detail)
        else:
            # By a request of its own the same refusal comes again, and is dealt with there.
            self._spawn(self._send(reply))

    def _done(self, id: int, trouble: str | None) -> None:
        self._session.in_hand.discard(id)
        if trouble is not None:
            logger.info("The reply to %d of %s did not arrive: %s", id, self._queue, trouble)

    # -- stopping -----------------------------------------------------------------------------

    async def _stop(self) -> None:
        """Give functions time to finish, then give back what they have not done."""
        self._stopping = True
        self._waiting = True
        try:
            self._session.pause(self._queue)
            self._send_ready()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._grace)
        finally:
            self._stopped = True
            for task in self._tasks:
                task.cancel()
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)
            if self._tasks:
                await asyncio.wait(self._tasks)
            # The end of the session makes ready again what it still holds.
            await self._session.close()


def _operation(reply: forms.TransferReply) -> Operation[ReplyResult]:
    form = forms.ReplyBody(payload=reply.payload, headers=reply.headers, error=reply.error)
    return Operation(name="reply", answer=ReplyResult, id=reply.id, form=form, login=True)


def _call_blocking(function: Handler, message: Delivery) -> object:
    try:
        return function(message)
    except StopIteration as error:
        # A future cannot carry it.
        raise RuntimeError("The handler raised StopIteration.") from error


def _is_coroutine_function(function: Handler) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


def _is_cancelled() -> bool:
    """Whether somebody asked the current task to stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _size(reply: forms.TransferReply) -> int:
    """Characters that a reply brings."""
    return len(reply.payload) + (0 if reply.error is None else len(reply.error.detail))


def _error(error: BaseException) -> forms.Error:
    """How an exception is told to the caller, even one whose parts are no text."""
    try:
        if isinstance(error, HandlerError):
            code, detail = _text(error.code), _text(error.detail)
        elif isinstance(error, SwitchError):
            code, detail = error.code, _text(error)
        else:
            code, detail = _snake(type(error).__name__), _text(error)
    except Exception as another:
        code = _snake(type(error).__name__)
        detail = f"The exception has no text: {type(another).__name__}."
    return forms.Error(code=_text(code)[:255] or "handler_error", detail=detail[:MAX_DETAIL])


def _text(value: object) -> str:
    return "" if value is None else str(value).encode(errors="replace").decode()


def _ignore(refused: SwitchError) -> None:
    pass


def _snake(name: str) -> str:
    """``ValueError`` as ``value_error``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
