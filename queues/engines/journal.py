"""Group commit: what must survive is written in batches, one transaction after another.

While a thread writes one batch the next one gathers. In commit mode no answer and no delivery
leaves before the batch is safe that it depends on: an operation waits for ``safe``, and the switch
hands messages over as ``on_safe`` tells it. With an interval nobody waits, and a crash loses what
came since the last batch.

A batch that fails is tried again until it succeeds; those who wait for it are told that the
outcome is unknown, and nothing that must survive is begun meanwhile. So what gathers is bounded by
what the switch holds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

from queues.core.changes import Changes
from queues.core.errors import StoreUnavailable
from queues.core.switch import Switch

from .clock import Clock
from .store import Batch, Store, batch_of

T = TypeVar("T")
Then = Callable[[BaseException | None], None]

logger = logging.getLogger("queues.journal")

#: Numbers that are reserved ahead: some four minutes of the clock that new ones start from, and
#: far more than a switch uses in that time.
BLOCK = 2**28
#: Seconds between two tries of a batch.
RETRY = 0.25
#: Seconds after which a batch that is neither written nor refused counts as failed.
PATIENCE = 10.0
#: Seconds that a stop waits for the last batch, and how many if the database refuses it.
LAST_WORDS = 10.0
LAST_TRIES = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalMode:
    """How safe what is: ``interval`` is None if every answer waits for its transaction, else the
    seconds between two batches."""

    interval: float | None
    database: str = "default"

    @property
    def name(self) -> Literal["commit", "interval"]:
        """As the setting has it."""
        return "commit" if self.interval is None else "interval"


class Journal:
    """Keeps a switch's changes in ``store``. Used on one event loop.

    ``on_safe`` is called when more has become safe, ``on_trouble`` when a batch has failed.
    """

    def __init__(
        self,
        mode: JournalMode,
        store: Store,
        clock: Clock,
        on_safe: Callable[[], None],
        on_trouble: Callable[[], None],
    ) -> None:
        self._mode = mode
        self._store = store
        self._clock = clock
        self._on_safe = on_safe
        self._on_trouble = on_trouble
        self._loop = asyncio.get_running_loop()
        self._thread = _Thread()
        self._writing: Changes | None = None
        """What is being written, or is to be tried again,"""
        self._batch: Batch | None = None
        """the same as rows,"""
        self._waiting: list[asyncio.Future[None]] = []
        """and who waits for it."""
        self._waiting_for_next: list[asyncio.Future[None]] = []
        self._taken = 0
        """The last change that a batch has taken."""
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._reserved = 0
        self._why: str | None = None
        self._stopping: asyncio.Future[None] | None = None
        self._stopped = False
        self.position: float = 0
        """Changes up to this one may be told."""

    # -- starting -----------------------------------------------------------------------------

    def open(self, now: float) -> int:
        """The number that a switch may begin with. Blocks; raises StoreRefused."""

        def reserve() -> tuple[int, int]:
            first = max(int(now * 2**20), self._store.open())
            return first, self._store.begin(first, first + BLOCK)

        first, self._name = self._ask(reserve)
        self._reserved = first + BLOCK
        return first

    def load(self, switch: Switch) -> None:
        """Put back what was kept. Blocks; raises StoreRefused."""
        self._ask(lambda: self._store.load(switch))
        self._switch = switch
        switch.changes = Changes()
        if self._mode.interval is None:
            switch.safe = 0
            switch.instance = self._name
        else:
            self.position = math.inf

    def _ask(self, job: Callable[[], T]) -> T:
        try:
            return self._thread.ask(job)
        except BaseException:
            self._thread.end(self._store.close)
            raise

    # -- writing ------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Something may have changed."""
        if self._batch is not None or self._stopped:
            return
        hurry = self._stopping is not None
        if self._timer is not None and not hurry:
            return
        changes = self._switch.changes
        assert changes is not None
        # What came and went leaves nothing to write, but somebody may wait for it.
        if changes.position == self._taken and (hurry or not self._uses_up()):
            return
        if hurry:
            self._begin()
        elif self._mode.interval is None:
            # At the end of this turn of the loop, together with what else happens in it.
            self._timer = self._loop.call_soon(self._begin)
        else:
            self._timer = self._loop.call_later(self._mode.interval, self._begin)

    @property
    def failing(self) -> bool:
        """Whether the last try of a batch came to nothing."""
        return self._switch.store_down_since is not None

    def _highest(self) -> int:
        """The highest number in use: events have numbers of their own from the same start."""
        return max(self._switch.next_id, self._switch.trace.last)

    def _uses_up(self) -> bool:
        """Whether more numbers should be reserved."""
        return self._highest() >= self._reserved - BLOCK // 4 * 3

    def _begin(self) -> None:
        """Take what has changed and have it written."""
        if self._timer is not None:
            self._timer.cancel()
        switch = self._switch
        changes = switch.changes
        assert changes is not None
        self._batch = batch_of(changes, self._highest() + BLOCK if self._uses_up() else None)
        self._writing = changes
        self._taken = changes.position
        switch.changes = Changes(changes.position)
        self._waiting, self._waiting_for_next = self._waiting_for_next, []
        self._write()

    def _write(self) -> None:
        self._timer = None
        batch = self._batch
        assert batch is not None
        if not self.failing:
            self._patience = self._loop.call_later(PATIENCE, self._fail, "It does not answer.")
        self._thread.start(lambda: self._store.write(batch), self._tell)

    def _tell(self, error: BaseException | None) -> None:
        """The thread is done with the batch."""
        # Where the loop has ended nobody is there to be told.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._written, error)

    def _written(self, error: BaseException | None) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._stopped:
            return
        batch = self._batch
        assert batch is not None
        if error is not None:
            self._fail(str(error).strip() or repr(error))
            self._timer = self._loop.call_later(RETRY, self._write)
            return
        self._batch = self._writing = None
        if batch.mark is not None:
            self._reserved = batch.mark
        if self._mode.interval is None:
            self.position = batch.position
        if self.failing:
            self._why = None
            self._switch.store_down_since = None
            logger.warning("The journal is written again.")
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting = []
        self._on_safe()
        self.nudge()
        if self._stopping is not None and self._batch is None and not self._stopping.done():
            self._stopping.set_result(None)

    def _fail(self, why: str) -> None:
        """Tell everybody who waits that the outcome is unknown."""
        if not self.failing:
            self._switch.store_down_since = self._clock.now()
        if why != self._why:
            self._why = why
            logger.error("The journal cannot be written, and is tried again: %s", why)
        self._refuse_all()
        self._on_trouble()

    def _refuse_all(self) -> None:
        for waiting in (*self._waiting, *self._waiting_for_next):
            if not waiting.done():
                waiting.set_exception(unavailable())
        self._waiting, self._waiting_for_next = [], []

    # -- waiting ------------------------------------------------------------------------------

    async def safe(self, position: int) -> None:
        """Wait until a change may be told. Raises StoreUnavailable."""
        if position <= self.position:
            return
        if self.failing or self._stopped:
            raise unavailable()
        future = self._loop.create_future()
        if position <= self._taken:
            self._waiting.append(future)
        else:
            self._waiting_for_next.append(future)
            self.nudge()
        await future

    def changed_queue(self, name: str) -> int:
        """The last change of a queue, as far as that may not be safe; else 0."""
        return self._last(lambda changes: name in changes.queues)

    def changed_key(self, queue_name: str, key: str | None) -> int:
        """The same of a key."""
        return self._last(lambda changes: (queue_name, key) in changes.keys)

    def removed(self, ids: Iterable[int]) -> int:
        """The same of the removal of some messages."""
        ids = set(ids)
        return self._last(lambda changes: not changes.removed.isdisjoint(ids))

    def _last(self, concerned: Callable[[Changes], bool]) -> int:
        for changes in (self._switch.changes, self._writing):
            if changes is not None and concerned(changes):
                return changes.position
        return 0

    # -- stopping -----------------------------------------------------------------------------

    async def flush(self) -> None:
        """Write what there is, and nothing more. Gives up where the database does not take it."""
        if self._stopping is None:
            self._stopping = self._loop.create_future()
            self.nudge()
            if self._batch is None:
                self._stopping.set_result(None)
        began = self._loop.time()
        while not self._stopping.done():
            await asyncio.wait([self._stopping], timeout=0.05)
            if self._loop.time() - began > (LAST_TRIES if self.failing else LAST_WORDS):
                logger.error("The last changes could not be written before the stop.")
                break
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._patience is not None:
            self._patience.cancel()
        self._refuse_all()
        self._thread.end(self._store.close)


def unavailable() -> StoreUnavailable:
    """What those are told who wait for a batch that has failed."""
    return StoreUnavailable(
        "The database does not take it now, so the outcome is unknown: retry with the same key."
    )


class _Thread:
    """Does one thing after another. The process ends without waiting for it: a database may take
    for ever."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], Then] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="journal", daemon=True).start()

    def start(self, job: Callable[[], None], then: Then) -> None:
        """Do something; ``then`` is called in the thread, with the error if there was one."""
        self._jobs.put((job, then))

    def ask(self, job: Callable[[], T]) -> T:
        """Do something and wait for its result."""
        future: Future[T] = Future()

        def answer() -> None:
            future.set_result(job())

        def failed(error: BaseException | None) -> None:
            if error is not None:
                future.set_exception(error)

        self.start(answer, failed)
        return future.result()

    def end(self, job: Callable[[], None]) -> None:
        """Do something last."""
        self.start(job, lambda error: None)
        self._jobs.put(None)

    def _run(self) -> None:
        while (next_one := self._jobs.get()) is not None:
            job, then = next_one
            error: BaseException | None = None
            try:
                job()
            except BaseException as caught:
                error = caught
            then(error)
