"""A service and its callers that have nothing to do with what goes on beside them: one calls by
plain HTTP, which asks for /readyz as well, one on a stream. In a process of its own, so that
whoever attacks the switch does not keep them waiting himself.

    python -m tests.acceptance.others PORT TCP_URL UNIX_URL

Says ``[]`` when it is ready. For each line that it is told, it says how long the calls since the
last one took, in seconds. Ends with its input, or when a call fails.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from queues.client import AsyncClient, Delivery

from .wire import Wire

#: Seconds between an answer and the next call.
PAUSE = 0.005
#: Seconds that a call may take.
TIMEOUT = 20.0


async def serve_and_call(port: int, tcp_url: str, unix_url: str) -> None:
    took: list[float] = []

    async def echo(message: Delivery) -> str:
        return message.payload

    async def call_on_a_stream(client: AsyncClient) -> None:
        while True:
            start = time.perf_counter()
            assert (await client.call("echo", "x", timeout=TIMEOUT)).payload == "x"
            took.append(time.perf_counter() - start)
            await asyncio.sleep(PAUSE)

    async def call_by_http(wire: Wire) -> None:
        while True:
            start = time.perf_counter()
            await wire.ask("POST", "call/echo", {"payload": "x", "timeout": TIMEOUT})
            wire.send("GET", "/readyz")
            assert (await wire.answer()).status == 200
            took.append(time.perf_counter() - start)
            await asyncio.sleep(PAUSE)

    async def tell() -> None:
        told = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(told), sys.stdin
        )
        print("[]", flush=True)
        while await told.readline():
            print(json.dumps(took), flush=True)
            took.clear()

    async with AsyncClient(tcp_url) as callee, AsyncClient(unix_url) as client:
        serving = asyncio.create_task(callee.serve("echo", echo, concurrency=8))
        await client.call("echo", "x", wait_for_server=True)
        calling = [call_on_a_stream(client), call_by_http(await Wire.open(port)), tell()]
        tasks = [serving, *map(asyncio.create_task, calling)]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for task in done:
            task.result()


if __name__ == "__main__":
    asyncio.run(serve_and_call(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
