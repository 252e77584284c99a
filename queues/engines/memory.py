"""The engine that keeps everything in the memory of one process."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from queues.core.answers import (
    AckResult,
    Diagnostics,
    LoginResult,
    MessageList,
    MessageReport,
    NackResult,
    PurgeResult,
    QueueCreated,
    QueueInfo,
    QueueKind,
    QueueList,
    ReplayResult,
    ReplyResult,
    SendResult,
    TouchResult,
    TransferResult,
)
from queues.core.errors import CallTimeout, HandlerFailed, NotRunning, ShuttingDown
from queues.core.events import TraceReport
from queues.core.limits import Limits
from queues.core.messages import Draft, Reply, Response, State
from queues.core.queue import Policy
from queues.core.switch import Switch
from queues.core.waits import Wait

from .base import Engine
from .clock import Clock, SystemClock, Timer

T = TypeVar("T")


class MemoryEngine(Engine):
    """A switch, its clock, and the requests that wait. Create it on the event loop.

    One timer is armed, for the switch's next deadline. After each operation the waits that the
    switch has ended are resumed; each resumes exactly one request.
    """

    def __init__(self, limits: Limits | None = None, clock: Clock | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock or SystemClock()
        now = self._clock.now()
        # About a million numbers for each second since 1970: more than a switch ever uses, so
        # that a restarted one begins above every number it gave out before.
        self._switch = Switch(first_id=int(now * 2**20), now=now, limits=limits)
        self._waiting: dict[Wait, asyncio.Future[None]] = {}
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self._closed = False

    # -- waiting ------------------------------------------------------------------------------

    def _do(self, operation: Callable[..., T], *args: Any, **fields: Any) -> T:
        """Let the switch do something now, then whatever follows from it."""
        self.check()
        try:
            return operation(*args, now=self._clock.now(), **fields)
        finally:
            self._settle()

    def _settle(self) -> None:
        """Resume the requests whose wait has ended, and arm the timer for the next deadline."""
        woken = self._switch.woken
        if woken:
            for wait in woken:
                future = self._waiting.get(wait)
                if future is not None and not future.done():
                    future.set_result(None)
            woken.clear()
        due = self._switch.next_deadline()
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
        future = self._waiting[wait] = self._loop.create_future()
        try:
            await future
        finally:
            del self._waiting[wait]
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
        for future in self._waiting.values():
            if not future.done():
                future.set_result(None)

    def now(self) -> float:
        return self._clock.now()

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
        replies: Sequence[Reply] = (),
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

    async def call(
        self,
        name: str,
        draft: Draft,
        *,
        timeout: float,
        wait_for_server: bool = False,
        session: str | None = None,
    ) -> Response:
        switch = self._switch
        wait = self._do(
            switch.call,
            name,
            draft,
            timeout=timeout,
            wait_for_server=wait_for_server,
            token=session,
        )
        try:
            await self._until_done(wait)
        finally:
            switch.leave_call(wait, now=self._clock.now())
            self._settle()
        request = wait.call.request
        response = wait.response
        if response is None:
            raise CallTimeout(f"No reply within {timeout:g} s.", id=request, verdict=wait.verdict)
        if response.error is not None:
            raise HandlerFailed(
                f"The server answered with an error: {response.error.code}.",
                id=request,
                error=response.error,
            )
        return response

    async def trace(self, *, after: int = 0, limit: int = 100, timeout: float = 0.0) -> TraceReport:
        wait = self._do(self._switch.watch, after=after, limit=limit, timeout=timeout)
        try:
            await self._until_done(wait)
        finally:
            report = self._switch.leave_trace(wait, now=self._clock.now())
            self._settle()
        return report

    # -- requests that do not wait -------------------------------------------------------------

    async def login(self, client: str, lease: float) -> LoginResult:
        return self._do(self._switch.login, secrets.token_urlsafe(24), client, lease)

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

    async def destroy_queue(self, name: str, *, session: str | None = None) -> None:
        self._do(self._switch.destroy_queue, name, token=session)

    async def purge_queue(
        self, name: str, state: State | None = None, *, session: str | None = None
    ) -> PurgeResult:
        return self._do(self._switch.purge_queue, name, state, token=session)

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

    async def send(self, name: str, draft: Draft, *, session: str | None = None) -> SendResult:
        return self._do(self._switch.send, name, draft, token=session)

    async def subscribe(self, name: str, *, session: str | None) -> None:
        self._do(self._switch.subscribe, name, token=session)

    async def unsubscribe(self, name: str, *, session: str | None) -> None:
        self._do(self._switch.unsubscribe, name, token=session)

    async def ack(self, ids: Sequence[int], *, session: str | None) -> AckResult:
        return self._do(self._switch.ack, ids, token=session)

    async def nack(
        self, ids: Sequence[int], *, session: str | None, delay: float = 0.0, requeue: bool = True
    ) -> NackResult:
        return self._do(self._switch.nack, ids, token=session, delay=delay, requeue=requeue)

    async def reply(self, reply: Reply, *, session: str | None) -> ReplyResult:
        return self._do(self._switch.reply, reply, token=session)

    async def browse(
        self, name: str, *, state: State | None = None, after: int = 0, limit: int = 100
    ) -> MessageList:
        return self._do(self._switch.browse, name, state=state, after=after, limit=limit)

    async def drop_message(self, name: str, id: int, *, session: str | None = None) -> None:
        self._do(self._switch.drop_message, name, id, token=session)

    async def explain(self, id: int) -> MessageReport:
        return self._do(self._switch.explain, id)

    async def diagnostics(self) -> Diagnostics:
        return self._do(self._switch.diagnostics)
