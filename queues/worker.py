"""The ASGI worker: starts the switch in its process, guards its address, stops it in order."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from queues.api.handler import Receive, Scope, Send, error_response, send_response
from queues.core.errors import SecondWorker, ShuttingDown
from queues.core.limits import Limits
from queues.engines import running_engine, start_engine
from queues.engines.intake import IntakeLimits
from queues.engines.journal import JournalMode
from queues.engines.store import StoreRefused
from queues.stream.accepting import Accepting
from queues.stream.listener import Listener

logger = logging.getLogger("queues.worker")

App = Callable[[Any, Any, Any], Awaitable[None]]

#: Seconds that answers to requests cut short by a stop may take.
ANSWER_TIME = 0.5
#: Seconds for the server to write them out before it closes its connections.
FLUSH_TIME = 0.1
#: Seconds between two rests of a loop that has always work.
REST_EVERY = 0.001
STREAM_PATH = "/ws/v1"
LIVE_PATH = "/live/"
API_PATHS = ("/api/v1/", "/healthz", "/readyz", "/metrics")
PAGE_PATHS = ("/api/v1/schema", "/api/v1/docs")


class Worker:
    """The HTTP side of the one process that holds the switch.

    ``api`` serves the protocol, ``stream`` its WebSockets, ``live`` the events that keep pages up
    to date, ``pages`` everything else. The switch starts on the event loop with the first request
    (or the server's lifespan) and closes when the server stops: every waiting request then gets
    its ``shutting_down`` answer before the server closes connections.
    """

    def __init__(
        self,
        *,
        api: App,
        pages: App,
        stream: App,
        live: App,
        limits: Callable[[], Limits],
        journal: Callable[[], JournalMode | None],
        intake: Callable[[], IntakeLimits],
        addresses: Callable[[], Sequence[str]],
    ) -> None:
        self._api = api
        self._pages = pages
        self._stream = stream
        self._live = live
        self._limits = limits
        self._journal = journal
        self._intake = intake
        self._addresses = addresses
        self._accepting = Accepting()
        self._listener: Listener | None = None
        self._listening: asyncio.Future[None] | None = None
        self._requests: set[asyncio.Task[Any]] = set()
        self._claims: dict[Any, int] = {}
        self._stopping: asyncio.Task[None] | None = None
        self._granian: Any = None
        """What tells a worker of granian to stop."""
        self._rest: Callable[[], None] | None = None
        """Lets its threads in."""
        if "daphne.server" in sys.modules:
            self._stop_with_daphne()
        if "granian._signals" in sys.modules:
            self._find_granian()
        if "uvicorn.server" in sys.modules:
            # What it loads, and whether it has that at all, depends on its version.
            with suppress(ImportError):
                from queues import uvicorn

                uvicorn.adapt()

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request."""
        task = asyncio.current_task()
        assert task is not None
        self._start()
        self._requests.add(task)
        try:
            path = _path(scope)
            if self._listening is not None and not self._listening.done():
                # Who hears that the switch is ready may use every address of it.
                await asyncio.shield(self._listening)
            if not self._claim(scope.get("server")) and path != "/healthz":
                error = SecondWorker("Another process serves this address; see the log.")
                await send_response(error_response(error), send)
            elif path.startswith(API_PATHS) and not path.startswith(PAGE_PATHS):
                await self._api(scope, receive, send)
            elif path == LIVE_PATH and scope["method"] == "GET":
                await self._live(scope, receive, send)
            elif self._stopping is not None:
                # A page needs a thread, and that could outlive the loop it comes back to.
                await send_response(error_response(ShuttingDown("The switch is stopping.")), send)
            else:
                await self._pages(scope, receive, send)
        finally:
            self._requests.discard(task)

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        task = asyncio.current_task()
        assert task is not None
        self._start()
        self._requests.add(task)
        try:
            if _path(scope) == STREAM_PATH and self._claim(scope.get("server")):
                await self._stream(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close"})
        except asyncio.CancelledError:
            # If by us, at the end of a stop, that is no error for a server to log.
            if self._stopping is None:
                raise
        finally:
            self._requests.discard(task)

    async def lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and stop with a server that has a lifespan (uvicorn, hypercorn, granian)."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._start()
                if self._listening is not None:
                    await self._listening
                self._stop_with_signals()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def stop(self) -> asyncio.Future[None]:
        """Close the switch at once; done when the requests that it cut short are answered."""
        if self._stopping is None:
            engine = running_engine()
            if engine is not None:
                engine.close()
            if self._listener is not None:
                self._listener.stop()
            self._stopping = asyncio.ensure_future(self._answer_all())
        return asyncio.shield(self._stopping)

    def _start(self) -> None:
        if running_engine() is None:
            try:
                engine = start_engine(self._limits(), self._journal(), self._intake())
            except Exception as error:
                # Servers differ in what they make of an exception here; none may go on without
                # what was kept.
                known = isinstance(error, StoreRefused | ImproperlyConfigured)
                logger.critical("The switch does not start. %s", error, exc_info=not known)
                logging.shutdown()
                os._exit(1)
            _tune_collector()
            engine.intake.streams.rest = self._rest
        if self._listener is None:
            self._listener = Listener(self._addresses(), self._accepting)
            task = asyncio.ensure_future(self._listen(self._listener))
            self._listening = task

    async def _answer_all(self) -> None:
        engine = running_engine()
        if engine is not None:
            # What has been done is answered as soon as it is safe.
            await engine.drain()
        if self._requests:
            _, late = await asyncio.wait(self._requests, timeout=ANSWER_TIME)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=ANSWER_TIME)
        await asyncio.sleep(FLUSH_TIME)

    async def _listen(self, listener: Listener) -> None:
        try:
            await listener.start()
        except OSError as error:
            # HTTP goes on; the log says what is missing.
            logger.error("A stream socket of SWITCH_LISTEN is not served: %s", error)

    def _stop_with_daphne(self) -> None:
        """Start and stop with Daphne's reactor, since Daphne has no lifespan.

        It cancels its applications when the reactor stops, but drops what they answer if it trips
        over a request that is not complete; holding the reactor in the phase before lets every
        answer out.
        """
        from twisted.internet import reactor
        from twisted.internet.defer import Deferred

        from queues import daphne

        def stopped() -> Any:
            return Deferred.fromFuture(self.stop())

        add: Any = reactor.addSystemEventTrigger  # the stubs do not know its first form
        add("before", "shutdown", stopped)
        # Once its loop runs, which is a little later.
        reactor.callWhenRunning(reactor.callLater, 0, self._start)
        daphne.adapt(self._accepting)

    def _find_granian(self) -> None:
        """Keep the event that granian makes for a worker once it has imported the application.

        Nothing public leads to it.
        """
        from granian import _signals

        make: Any = _signals.set_loop_signals

        def set_loop_signals(loop: asyncio.AbstractEventLoop) -> Any:
            self._granian = make(loop)
            return self._granian

        _signals.set_loop_signals = set_loop_signals
        self._rest = _brief_rests()

    def _stop_with_granian(self) -> None:
        """Let granian hear of a signal when all is said: it closes WebSockets at once, and what is
        sent on them from then on is lost."""
        # Once: it takes no third event, and setting that would block.
        if self._stopping is None:
            self.stop().add_done_callback(lambda _: self._granian.set())

    def _stop_with_signals(self) -> None:
        """Servers with a lifespan end it only when all requests are done, and a pending poll may
        take minutes: begin at the signal instead."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        if self._granian is not None:
            for number in numbers:
                loop.add_signal_handler(number, self._stop_with_granian)
            return

        def chain(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.stop)
            before = previous[number]
            if callable(before):
                before(number, frame)

        previous: dict[int, Any] = {}
        # Outside the main thread signals are somebody else's business.
        with suppress(ValueError):
            for number in numbers:
                previous[number] = signal.getsignal(number)
                signal.signal(number, chain)

    def _claim(self, address: Any) -> bool:
        """Whether this process is the only one to serve ``address``, as ASGI's scope names it.

        The lock goes with the process, however that ends. An address without a name (Daphne on
        a Unix socket) is not guarded: who binds it last has it to itself.
        """
        key = tuple(address or ())
        if not key or key in self._claims:
            return True
        name = "-".join(str(part).replace("/", "_") for part in key)
        path = Path(tempfile.gettempdir()) / f"django-message-switch-{os.getuid()}-{name}.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            lock = os.open(path, flags, 0o600)
        except OSError as error:
            # Somebody else's file: better unguarded than not serving.
            logger.warning(
                "%s is served, but not guarded against a second process: %s", name, error
            )
            self._claims[key] = -1
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            logger.error(
                "Another process serves %s. The switch lives in the memory of one process: "
                "run one worker for each address.",
                name,
            )
            return False
        self._claims[key] = lock
        return True


def _brief_rests() -> Callable[[], None]:
    """What lets granian's threads come in, now and then.

    They take requests, and need the interpreter's lock for it. A loop that has work without end
    hardly lets go of that; whatever the switch interval, a request waited for 50 ms beside a flood
    of operations. A sleep of no time at all takes Linux some 75 µs.
    """
    last = -REST_EVERY

    def rest() -> None:
        nonlocal last
        if time.monotonic() - last > REST_EVERY:
            time.sleep(0)
            last = time.monotonic()

    return rest


def _tune_collector() -> None:
    """Let the cyclic collector leave alone what was loaded at the start, and look less often.

    Who goes leaves it next to nothing (``tests/acceptance/test_collector.py``): a plain socket of
    asyncio seven objects, which are found while they are young. To look at all that is old stops
    everybody, for 20 ms with 5,000 connections: that is done after some 600,000 new objects, if
    these are a quarter of all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 5, 20)


def _path(scope: Scope) -> str:
    """The path below the root path that the server has."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path
