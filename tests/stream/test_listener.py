"""Where plain sockets listen, and what is said where they cannot."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from queues.engines import install
from queues.engines.memory import MemoryEngine
from queues.protocol.frames import JSON
from queues.stream.accepting import Accepting
from queues.stream.listener import Listener

Found = Callable[[list[Any]], None]


def entry(address: tuple[Any, ...], family: int = socket.AF_INET) -> tuple[Any, ...]:
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address


@pytest.fixture
async def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    """Sets what the name of the host stands for."""

    def found(entries: list[Any]) -> None:
        async def getaddrinfo(*_: object, **__: object) -> list[Any]:
            return entries

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)

    return found


def free() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address: tuple[str, int] = probe.getsockname()
        return address


async def test_it_listens_at_each_address_of_a_name_that_there_is(found: Found) -> None:
    first, second = free(), ("127.0.0.2", free()[1])
    elsewhere = entry(("192.0.2.1", 1))
    of_no_family = entry(("x", 1), socket.AF_APPLETALK)
    found([elsewhere, entry(first), of_no_family, entry(second), entry(first)])
    listener = Listener(["tcp://name:1"], Accepting())
    await listener.start()
    for address in (first, second):
        socket.create_connection(address).close()
    listener.stop()
    for address in (first, second):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


async def test_an_address_that_is_taken_is_named_and_nothing_is_left(found: Found) -> None:
    first = free()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found([entry(first), entry(taken.getsockname())])
        with pytest.raises(OSError, match="tcp://name:1: Address already in use") as caught:
            await Listener(["tcp://name:1"], Accepting()).start()
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(first)


async def test_a_host_that_is_elsewhere_is_named(found: Found) -> None:
    found([entry(("192.0.2.1", 1))])
    with pytest.raises(OSError, match="tcp://name:1: Cannot assign requested address"):
        await Listener(["tcp://name:1"], Accepting()).start()


async def test_a_host_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError, match="tcp://name:1: Name or service not known"):
        await Listener(["tcp://name:1"], Accepting()).start()


async def test_one_that_is_stopped_while_it_looks_for_the_host_listens_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = free(), tmp_path / "switch.sock"

    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        listener.stop()
        return [entry(first)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    listener = Listener(["tcp://name:1", f"unix://{second}"], Accepting())
    await listener.start()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(first)
    assert not second.exists()


async def test_who_comes_while_the_switch_stops_is_told(tmp_path: Path) -> None:
    engine = MemoryEngine()
    install(engine)
    listener = Listener([f"unix://{tmp_path / 'switch.sock'}"], Accepting())
    await listener.start()
    engine.close()
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "switch.sock"))
            said = await reader.read()
    finally:
        listener.stop()
        install(None)
    writer.close()
    last: Any = JSON.read_anything(said[4:].decode())
    assert last["closing"]["code"] == "shutting_down"
