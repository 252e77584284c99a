"""The client for programs without asyncio, safe to use from many threads."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from queues.core.messages import Delivery

from .asynchronous import DEFAULT_URL, AsyncClient
from .serving import GRACE, Handler

P = ParamSpec("P")
T = TypeVar("T")

#: Makes the coroutine that does something.
Work = Callable[[], Coroutine[Any, Any, T]]


def _waits_for(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Client, P], T]:
    """The same method, waiting for the result."""

    def wait(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(lambda: method(self._client, *args, **kwargs))

    functools.update_wrapper(wait, method)
    return wait


class Client:
    """A client of the switch at ``url``. Its methods block; any thread may use it.

    The parameters are those of AsyncClient, which does the work on a thread of its own.
    Use it as ``with Client() as client:``, or ``close`` it at the end. After a fork the child
    needs a client of its own; using the parent's raises RuntimeError.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        name: str | None = None,
        lease: float | None = None,
        wait: float = 0.0,
    ) -> None:
        self._client = AsyncClient(url, name=name, lease=lease, wait=wait)
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        self._dead = False
        self._jobs: set[_Job[Any]] = set()
        """What somebody waits for."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run_loop, name=f"switch client {self._client.name}", daemon=True
        )
        self._thread.start()

    @property
    def name(self) -> str:
        """What operators see."""
        return self._client.name

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving, log out and close all connections. What is held goes back.

        Other threads that wait for something get a RuntimeError.
        """
        if os.getpid() != self._process:
            return
        self._check_thread()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            job = None if self._dead else self._start(self._shut_down)
        if job is not None:
            with suppress(ThreadDied):
                self._wait_for(job)
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run_loop(self) -> None:
        try:
            self._loop.run_forever()
        except BaseException:
            with self._lock:
                self._dead = True
                for job in self._jobs:
                    job.abandon()
            # What the client holds goes back.
            self._loop.run_until_complete(self._shut_down())
            raise

    async def _shut_down(self) -> None:
        await self._client.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)

    def _run(self, work: Work[T]) -> T:
        """Let the client's thread do some work, and wait for it."""
        if os.getpid() != self._process:
            raise RuntimeError(
                "This client belongs to the parent process; make a new one after a fork."
            )
        self._check_thread()
        with self._lock:
            if self._closed:
                raise RuntimeError("The client is closed.")
            if self._dead:
                raise ThreadDied
            job = self._start(work)
        return self._wait_for(job)

    def _check_thread(self) -> None:
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "A coroutine must not use the blocking Client; give it an AsyncClient."
            )

    def _start(self, work: Work[T]) -> _Job[T]:
        """Begin a job, with the lock held."""
        job = _Job(self._loop, work)
        self._jobs.add(job)
        self._loop.call_soon_threadsafe(job.start)
        return job

    def _wait_for(self, job: _Job[T]) -> T:
        """The job's result. An interruption cancels it, and is raised once it has cleaned up."""
        interruption: BaseException | None = None
        while not job.finished.is_set():
            try:
                job.finished.wait()
            except BaseException as error:
                interruption = error
                self._loop.call_soon_threadsafe(job.cancel)
        with self._lock:
            self._jobs.discard(job)
        if interruption is not None:
            raise interruption
        return job.result()

    login = _waits_for(AsyncClient.login)
    touch = _waits_for(AsyncClient.touch)
    create = _waits_for(AsyncClient.create)
    change = _waits_for(AsyncClient.change)
    destroy = _waits_for(AsyncClient.destroy)
    purge = _waits_for(AsyncClient.purge)
    replay = _waits_for(AsyncClient.replay)
    pause = _waits_for(AsyncClient.pause)
    resume = _waits_for(AsyncClient.resume)
    requeue = _waits_for(AsyncClient.requeue)
    move = _waits_for(AsyncClient.move)
    list = _waits_for(AsyncClient.list)
    inspect = _waits_for(AsyncClient.inspect)
    browse = _waits_for(AsyncClient.browse)
    send = _waits_for(AsyncClient.send)
    send_many = _waits_for(AsyncClient.send_many)
    drop = _waits_for(AsyncClient.drop)
    subscribe = _waits_for(AsyncClient.subscribe)
    unsubscribe = _waits_for(AsyncClient.unsubscribe)
    receive = _waits_for(AsyncClient.receive)
    ack = _waits_for(AsyncClient.ack)
    nack = _waits_for(AsyncClient.nack)
    reply = _waits_for(AsyncClient.reply)
    call = _waits_for(AsyncClient.call)
    explain = _waits_for(AsyncClient.explain)
    session = _waits_for(AsyncClient.session)
    end_session = _waits_for(AsyncClient.end_session)
    waits_for = _waits_for(AsyncClient.waits_for)
    health = _waits_for(AsyncClient.health)
    incident = _waits_for(AsyncClient.incident)
    diagnostics = _waits_for(AsyncClient.diagnostics)
    trace = _waits_for(AsyncClient.trace)

    def transfer(self, *, limit: int = 1, timeout: float | None = None) -> Iterator[Delivery]:
        """Iterate over the messages of the subscribed queues. See AsyncClient.transfer."""
        while (message := self.receive(limit=limit, timeout=timeout)) is not None:
            yield message

    def serve(
        self, queue: str, function: Handler, *, concurrency: int = 1, grace: float = GRACE
    ) -> None:
        """Answer the requests of a queue until interrupted, or closed by another thread.

        See AsyncClient.serve; ``concurrency`` threads run the function.
        """
        self._run(lambda: self._client.serve(queue, function, concurrency=concurrency, grace=grace))


class ThreadDied(RuntimeError):
    """The thread of a Client ended before the client was closed."""

    def __init__(self) -> None:
        super().__init__("The client's thread has died; make a new client.")


class _Job(Generic[T]):
    """Work on its way through the client's thread.

    The coroutine is made there too: an interruption never hits between its making and its start.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Work[T]) -> None:
        self._loop = loop
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._abandoned = False
        self.finished = threading.Event()

    def start(self) -> None:
        """Begin. Like ``cancel``, called on the loop."""
        self._task = self._loop.create_task(self._perform())
        self._task.add_done_callback(lambda _: self.finished.set())

    async def _perform(self) -> T:
        return await self._work()

    def cancel(self) -> None:
        """Ask it to stop."""
        if self._task is not None:
            self._task.cancel()

    def abandon(self) -> None:
        """Let nobody wait for it any more."""
        if not self.finished.is_set():
            self._abandoned = True
            self.finished.set()

    def result(self) -> T:
        """What it returned or raised."""
        if self._abandoned:
            raise ThreadDied
        assert self._task is not None
        if self._task.cancelled():
            raise RuntimeError("The client was closed meanwhile.")
        return self._task.result()
