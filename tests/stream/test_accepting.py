"""Who accepts connections when, and what becomes of sockets that do."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from queues.stream import accepting as module
from queues.stream.accepting import EVERY, Accepting, AcceptingSocket


async def turn() -> None:
    await asyncio.sleep(0)


async def test_one_connection_is_accepted_in_some_turns() -> None:
    accepting = Accepting()
    said = []
    for _ in range(3 * EVERY):
        said.append(accepting.may("a"))
        await turn()
    assert said == 3 * [True, *(EVERY - 1) * [False]]


async def test_who_comes_after_a_quiet_time_is_accepted_at_once() -> None:
    accepting = Accepting()
    assert accepting.may("a")
    for _ in range(EVERY):
        await turn()
    assert accepting.may("b")


async def test_sockets_take_turns() -> None:
    accepting = Accepting()
    accepted: Counter[str] = Counter()
    for _ in range(30 * EVERY):
        # The loop always tells them in the same order.
        accepted.update(name for name in "abc" if accepting.may(name))
        await turn()
    assert [accepted[name] for name in "abc"] == [10, 10, 10]


async def test_who_was_refused_and_asks_no_more_keeps_nobody_back() -> None:
    accepting = Accepting()
    assert accepting.may("a")
    assert not accepting.may("gone")
    for _ in range(EVERY):
        await turn()
    assert not accepting.may("a")
    await turn()
    assert accepting.may("a")


class Listening:
    """A socket on the loopback, and who came to it."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen()
        self.address = self.socket.getsockname()
        self.came: list[Any] = []
        self.accepting = AcceptingSocket(self.socket, self._connection, Accepting())

    def _connection(self, address: Any) -> asyncio.Protocol:
        self.came.append(address)
        return asyncio.Protocol()

    async def until_came(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.came) < count:
                await asyncio.sleep(0.001)


@pytest.fixture
async def listening() -> Any:
    listening = Listening()
    yield listening
    listening.accepting.close()


@pytest.fixture
def clients(listening: Listening) -> Iterator[list[socket.socket]]:
    clients = [socket.create_connection(listening.address) for _ in range(20)]
    yield clients
    for client in clients:
        client.close()


async def test_all_who_come_are_accepted_with_their_addresses(
    listening: Listening, clients: list[socket.socket]
) -> None:
    await listening.until_came(len(clients))
    assert sorted(listening.came) == sorted(client.getsockname() for client in clients)


async def test_one_without_descriptors_tries_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY", 0.01)
    listening = Listening()
    own = socket.socket.accept
    tries = 0

    def accept(self: socket.socket) -> Any:
        nonlocal tries
        tries += 1
        if tries <= 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return own(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with socket.create_connection(listening.address):
        await listening.until_came(1)
    listening.accepting.close()
    assert tries == 4
    assert caplog.text.count("Too many open files") == 3


async def test_a_closed_one_accepts_no_more() -> None:
    listening = Listening()
    listening.accepting.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(listening.address)
