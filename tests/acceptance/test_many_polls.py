"""Pending Transfers are cheap, and leave nothing behind."""

from __future__ import annotations

import asyncio
import resource

import psutil
import pytest

from .conftest import Server
from .wire import Wire

POLLS = 2_000


@pytest.fixture(autouse=True)
def many_descriptors() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def test_two_thousand_pending_transfers(fresh_server: Server) -> None:
    if fresh_server.kind != "daphne":
        pytest.skip("The figures are promised for Daphne.")
    process = psutil.Process(fresh_server.process.pid)
    control = await Wire.open(fresh_server.port)
    token = (await control.ask("POST", "login", {"client": "many", "lease": 600}))["session"]
    await control.ask("PUT", "queues/q")
    await control.ask("PUT", "subscriptions/q", token=token)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def waiting(number: int) -> None:
        while (await control.ask("GET", "queues/q"))["waiting"] != number:
            await asyncio.sleep(0.05)

    async def poll() -> Wire:
        wire = await Wire.open(fresh_server.port)
        wire.send("POST", "transfer", b'{"timeout": 300}', headers)
        return wire

    before = process.memory_info().rss
    ends: list[int] = []
    for _ in range(3):
        polls: list[Wire] = []
        while len(polls) < POLLS:
            polls += await asyncio.gather(*(poll() for _ in range(50)))
        await waiting(POLLS)
        assert process.num_threads() <= 8
        if not ends:
            assert (process.memory_info().rss - before) / POLLS <= 40_000
        for wire in polls:
            wire.close()
        await waiting(0)
        # A poll that is still there in secret would take it.
        sent = await control.ask("POST", "queues/q/messages", {"payload": "x"})
        queue = await control.ask("GET", "queues/q")
        assert (queue["ready"], queue["held"]) == (1, 0)
        [message] = (await control.ask("POST", "transfer", {}, token))["messages"]
        assert (message["id"], message["delivery_count"]) == (sent["id"], 1)
        await control.ask("POST", "ack", {"ids": [message["id"]]}, token)
        while process.num_fds() > 50:
            await asyncio.sleep(0.05)
        # Daphne forgets a closed connection in its housekeeping, once a second.
        await asyncio.sleep(2.5)
        ends.append(process.memory_info().rss)
    assert max(ends[1:]) <= ends[0] * 1.05
    control.close()
