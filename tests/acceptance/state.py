"""What a switch holds on to: to see that those who leave leave nothing behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from .conftest import Server
from .wire import Wire


@dataclass(frozen=True)
class State:
    """A switch at one instant."""

    descriptors: int
    threads: int
    tasks: int
    sessions: int
    queues: int
    memory: int

    @classmethod
    async def of(cls, server: Server) -> State:
        """What it says of itself, on a connection of its own."""
        wire = await Wire.open(server.port)
        try:
            health: Any = await wire.ask("GET", "health")
        finally:
            wire.close()
            await wire.writer.wait_closed()
        used = {each["name"]: each["used"] for each in health["usage"]}
        return cls(
            descriptors=health["descriptors"],
            threads=health["threads"],
            tasks=health["tasks"],
            sessions=used["sessions"],
            queues=used["queues"],
            memory=health["memory"],
        )

    def is_back(self, before: State) -> bool:
        """Whether all is as it was ``before``, but for memory. A thread that serves pages stays,
        and so may a connection that a server has just closed."""
        return (
            self.descriptors <= before.descriptors + 3
            and self.threads <= before.threads + 3
            and self.tasks <= before.tasks + 3
            and self.sessions == before.sessions
            and self.queues == before.queues
        )


async def until_back(server: Server, before: State, timeout: float = 30.0) -> State:
    """Wait until all is as it was ``before``; the state then."""
    now = before
    try:
        async with asyncio.timeout(timeout):
            while not (now := await State.of(server)).is_back(before):
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"before: {before}\nnow:    {now}") from None
    return now
