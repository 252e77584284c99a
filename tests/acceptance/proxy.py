"""A TCP proxy that loses answers on request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Passes bytes on. With ``lose`` set, the next answer is swallowed and its connection cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.lose = False
        self.lost = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._port)
        requests = asyncio.create_task(self._pass_on(reader, to_writer))
        try:
            while data := await to_reader.read(65_536):
                if self.lose:
                    self.lose = False
                    self.lost += 1
                    return
                writer.write(data)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            requests.cancel()
            for each in (writer, to_writer):
                each.close()
                with suppress(OSError):
                    await each.wait_closed()
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
            writer.close()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


@asynccontextmanager
async def proxy(port: int) -> AsyncIterator[Proxy]:
    """A running proxy before a local port."""
    between = Proxy(port)
    listener = await asyncio.start_server(between.serve, "127.0.0.1", 0)
    between.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield between
    finally:
        listener.close()
        await between.close()
        await listener.wait_closed()
