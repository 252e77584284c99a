"""How the process of the switch is doing: memory, descriptors, and how late its event loop is."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections import deque
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from queues.core import snapshot
from queues.core.answers import Health, HealthSample, Usage
from queues.core.switch import Switch

from .clock import Clock

#: Seconds between two samples, and how many are kept.
INTERVAL = 5.0
SAMPLES = 120


class HealthWatch:
    """Takes a sample of ``switch`` every few seconds, on ``loop``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        switch: Switch,
        clock: Clock,
        journal: Literal["off", "commit", "interval"],
    ) -> None:
        self._loop = loop
        self._switch = switch
        self._clock = clock
        self._journal = journal
        self._samples: deque[HealthSample] = deque(maxlen=SAMPLES)
        self.lag = 0.0
        """Seconds by which the loop was late, when the last sample was due."""
        self._due = loop.time() + INTERVAL
        self._timer = loop.call_at(self._due, self._sample)

    def stop(self) -> None:
        """Take no more samples."""
        self._timer.cancel()

    def _sample(self) -> None:
        now = self._loop.time()
        self.lag = max(0.0, now - self._due)
        switch = self._switch
        self._samples.append(
            HealthSample(
                at=self._clock.now(),
                sent=switch.sent,
                delivered=switch.delivered,
                finished=switch.finished,
                memory=_memory(),
                loop_lag=self.lag,
            )
        )
        self._due = now + INTERVAL
        self._timer = self._loop.call_at(self._due, self._sample)

    @property
    def worst_lag(self) -> float:
        """The same, the worst of the last minutes."""
        return max((sample.loop_lag for sample in self._samples), default=0.0)

    def report(self, now: float, intake: list[Usage]) -> Health:
        """The health of the switch at ``now``, with what of its intake is in use."""
        switch = self._switch
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Health(
            now=now,
            started_at=switch.started_at,
            version=_version(),
            memory=_memory(),
            cpu=used.ru_utime + used.ru_stime,
            descriptors=_descriptors(),
            descriptor_limit=_descriptor_limit(),
            threads=threading.active_count(),
            tasks=len(asyncio.all_tasks(self._loop)),
            loop_lag=self.lag,
            worst_loop_lag=self.worst_lag,
            journal=self._journal,
            store_down_since=switch.store_down_since,
            trace_dropped=switch.trace.dropped,
            usage=[*snapshot.usage(switch), *intake],
            history=list(self._samples),
        )


def _version() -> str:
    try:
        return version("django-message-switch")
    except PackageNotFoundError:
        return "unknown"


def _memory() -> int | None:
    """Resident bytes of this process, where the system tells."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


def _descriptors() -> int | None:
    with suppress(OSError):
        return len(os.listdir("/proc/self/fd"))
    return None


def _descriptor_limit() -> int | None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
