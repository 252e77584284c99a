import asyncio
import socket

import pytest

from queues.client.connection import Connection

from .fakes import Request, http_server

HEADERS = [(b"Host", b"switch"), (b"Content-Length", b"5")]


async def _echo(request: Request) -> tuple[int, bytes]:
    return 200, request.body


async def _open(url: str) -> Connection:
    host, _, port = url.removeprefix("http://").partition(":")
    return await Connection.open(host, int(port), None)


@pytest.mark.parametrize("chunked", [False, True])
async def test_one_connection_carries_many_requests(chunked):
    async with http_server(_echo) as server:
        server.chunked = chunked
        connection = await _open(server.url)
        for _ in range(3):
            answer = await connection.request("POST", "/", HEADERS, b"hello")
            assert (answer.status, answer.body) == (200, b"hello")
            assert connection.usable
        assert {request.connection for request in server.requests} == {1}
        await connection.close()


async def test_it_is_not_usable_once_the_server_closed_it():
    async with http_server(_echo) as server:
        connection = await _open(server.url)
        await connection.request("POST", "/", HEADERS, b"hello")
        assert connection.usable
        server.connections[0].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        # Without a turn of the event loop, which has not seen it yet.
        assert not connection.usable
        await connection.close()


async def test_a_server_that_closes_after_its_answer_is_believed():
    async with http_server(_echo) as server:
        server.close_after_answer = True
        connection = await _open(server.url)
        assert (await connection.request("POST", "/", HEADERS, b"hello")).body == b"hello"
        while connection.usable:
            await asyncio.sleep(0)
        await connection.close()


async def test_a_cancelled_request_leaves_nothing_behind():
    asked = asyncio.Event()

    async def hang(request: Request) -> tuple[int, bytes]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with http_server(hang) as server:
        connection = await _open(server.url)
        request = asyncio.create_task(connection.request("POST", "/", HEADERS, b"hello"))
        await asked.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert not connection.usable
        await connection.close()


async def test_nonsense_is_a_broken_connection():
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hello")
        writer.write(b"what?\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(nonsense, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = await Connection.open("127.0.0.1", port, None)
        with pytest.raises(EOFError):
            await connection.request("POST", "/", HEADERS, b"hello")
        assert not connection.usable
