"""Group commit: what must survive is written in batches, one transaction after another.

While a thread writes one batch the next one gathers. In commit mode no answer and no delivery
leaves before the batch is safe that it depends on: an operation waits for ``safe``, and whoever
hands messages over asks for ``position``. With an interval nobody waits, and a crash loses what
came since the last batch.

A batch that fails is tried again until it succeeds; those who wait for it are told that the
outcome is unknown, and nothing that must survive is begun meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from queues.core.changes import Changes
from queues.core.errors import StoreUnavailable
from queues.core.switch import Switch

from .store import Batch, Store, batch_of

logger = logging.getLogger("queues.journal")

#: Numbers that are reserved ahead, some minutes of a busy switch.
BLOCK = 2**24
#: Seconds between two tries of a batch.
RETRY = 0.25
#: Seconds after which a batch that is neither written nor refused counts as failed.
PATIENCE = 10.0
#: Seconds that a stop waits for the last batch.
LAST_WORDS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalMode:
    """How safe what is: ``interval`` is None if every answer waits for its transaction, else the
    seconds between two batches."""

    interval: float | None
    database: str = "default"


class Journal:
    """Keeps a switch's changes in ``store``. Used on one event loop.

    ``on_safe`` is called when more has become safe, ``on_trouble`` when a batch has failed.
    """

    def __init__(
        self,
        mode: JournalMode,
        store: Store,
        on_safe: Callable[[], None],
        on_trouble: Callable[[], None],
    ) -> None:
        self._mode = mode
        self._store = store
        self._on_safe = on_safe
        self._on_trouble = on_trouble
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._batch: Batch | None = None
        """The batch that is being written, or is to be tried again."""
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._reserved = 0
        self._closing: asyncio.Future[None] | None = None
        self.position: float = 0
        """Changes up to this one may be told."""
        self.failing = False

    # -- starting -----------------------------------------------------------------------------

    def open(self, now: float) -> int:
        """The number that a switch may begin with. Blocks; raises StoreRefused."""

        def reserve() -> int:
            self._store.check()
            first = max(int(now * 2**20), self._store.mark())
            self._store.write(Batch(0, mark=first + BLOCK))
            return first

        first = self._thread.submit(reserve).result()
        self._reserved = first + BLOCK
        return first

    def load(self, switch: Switch) -> None:
        """Put back what was kept. Blocks; raises StoreRefused."""
        self._thread.submit(self._store.load, switch).result()
        self._switch = switch
        switch.changes = Changes()
        if self._mode.interval is not None:
            self.position = math.inf

    # -- writing ------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Something may have changed."""
        changes = self._switch.changes
        assert changes is not None
        if self._batch is not None or self._timer is not None:
            return
        if not changes and self._switch.next_id < self._reserved - BLOCK // 2:
            return
        if self._mode.interval is None:
            # At the end of this turn of the loop, together with what else happens in it.
            self._timer = self._loop.call_soon(self._begin)
        else:
            self._timer = self._loop.call_later(self._mode.interval, self._begin)

    def _begin(self) -> None:
        """Take what has changed and have it written."""
        self._timer = None
        switch = self._switch
        changes = switch.changes
        assert changes is not None
        switch.changes = Changes(changes.position)
        mark = None
        if switch.next_id >= self._reserved - BLOCK // 2:
            mark = switch.next_id + BLOCK
        self._batch = batch_of(changes, mark)
        self._write()

    def _write(self) -> None:
        self._timer = None
        batch = self._batch
        assert batch is not None
        if not self.failing:
            self._patience = self._loop.call_later(PATIENCE, self._fail, "It does not answer.")
        future = self._loop.run_in_executor(self._thread, self._store.write, batch)
        future.add_done_callback(self._written)

    def _written(self, future: asyncio.Future[None]) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        batch = self._batch
        assert batch is not None
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self._fail(str(error))
            self._timer = self._loop.call_later(RETRY, self._write)
            return
        self._batch = None
        if batch.mark is not None:
            self._reserved = batch.mark
        if self._mode.interval is None:
            self.position = batch.position
        if self.failing:
            self.failing = False
            self._switch.store_down = False
            logger.warning("The journal is written again.")
        while self._waiting and self._waiting[0][0] <= batch.position:
            _, waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
        self._on_safe()
        if self._closing is not None and not self._switch.changes:
            if not self._closing.done():
                self._closing.set_result(None)
        else:
            self.nudge()

    def _fail(self, why: str) -> None:
        """Tell everybody who waits that the outcome is unknown."""
        if not self.failing:
            self.failing = True
            self._switch.store_down = True
            logger.error("The journal cannot be written, and is tried again: %s", why)
        while self._waiting:
            _, waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(unavailable())
        self._on_trouble()

    # -- waiting ------------------------------------------------------------------------------

    async def safe(self, position: int) -> None:
        """Wait until a change may be told. Raises StoreUnavailable."""
        if position <= self.position:
            return
        if self.failing:
            raise unavailable()
        future = self._loop.create_future()
        self._waiting.append((position, future))
        self.nudge()
        await future

    async def flush(self) -> None:
        """Write what there is, and no more. Gives up after a while if that cannot be done."""
        changes = self._switch.changes
        if self._batch is not None or changes:
            self._closing = self._loop.create_future()
            if self._batch is None:
                if self._timer is not None:
                    self._timer.cancel()
                self._begin()
            done, _ = await asyncio.wait([self._closing], timeout=LAST_WORDS)
            if not done:
                logger.error("The last changes could not be written before the stop.")
        if self._timer is not None:
            self._timer.cancel()
        self._thread.submit(self._store.close)
        self._thread.shutdown(wait=False)


def unavailable() -> StoreUnavailable:
    """What those are told who wait for a batch that has failed."""
    return StoreUnavailable(
        "The database does not take it now, so the outcome is unknown: retry with the same key."
    )
