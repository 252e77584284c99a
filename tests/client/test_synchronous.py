import asyncio
import inspect
import os
import signal
import threading
import warnings

import pytest

from queues.client import AsyncClient, Client, Unreachable

from .fakes import Request, http_server

NOBODY = "http://127.0.0.1:1"


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_it_has_the_methods_of_the_asynchronous_client():
    assert public(AsyncClient) - public(Client) == set()
    for name in public(Client) - {"name", "transfer"}:
        mine = inspect.signature(getattr(Client, name))
        its = inspect.signature(getattr(AsyncClient, name))
        assert mine == its, name
        assert getattr(Client, name).__doc__, name


def test_errors_arrive():
    with Client(NOBODY) as client, pytest.raises(Unreachable):
        client.send("q", "hello")


def test_wrong_arguments_are_an_error():
    with Client(NOBODY) as client, pytest.raises(TypeError, match="payload"):
        client.send("q")


def test_closing_ends_its_thread():
    before = set(threading.enumerate())
    client = Client(NOBODY, name="tester")
    (thread,) = set(threading.enumerate()) - before
    assert "tester" in thread.name
    assert client.name == "tester"
    client.close()
    client.close()
    assert not thread.is_alive()
    with pytest.raises(RuntimeError, match="closed"):
        client.diagnostics()


def test_a_coroutine_on_its_own_thread_gets_an_error_instead_of_a_deadlock():
    with Client(NOBODY) as client:

        async def inner() -> None:
            client.diagnostics()

        async def closing() -> None:
            client.close()

        for coroutine_function in (inner, closing):
            with pytest.raises(RuntimeError, match="AsyncClient"):
                client._run(coroutine_function)


def test_a_child_process_gets_an_error():
    with Client(NOBODY) as client:
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            # Newer Pythons warn of a fork with threads, which is what this is about.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                client.diagnostics()
            except RuntimeError as error:
                os.write(writer, str(error).encode())
            client.close()
            os._exit(0)
        os.close(writer)
        assert b"after a fork" in os.read(reader, 1000)
        os.close(reader)
        os.waitpid(child, 0)


class Hanging:
    """A switch that never answers, on a thread of its own."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    async def _script(self, request: Request) -> tuple[int, bytes]:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def _run(self) -> None:
        async with http_server(self._script) as server:
            self.url = server.url
            self._started.set()
            await self._stop.wait()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def __enter__(self) -> "Hanging":
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


def test_closing_ends_what_other_threads_wait_for():
    outcomes = []

    def ask(client: Client) -> None:
        try:
            client.diagnostics()
        except RuntimeError as error:
            outcomes.append(str(error))

    with Hanging() as switch, Client(switch.url) as client:
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert switch.asked.wait(10)
        client.close()
        for thread in threads:
            thread.join(10)
    assert len(outcomes) == 3
    assert all("closed" in outcome for outcome in outcomes)


def test_an_interruption_ends_the_request():
    with Hanging() as switch, Client(switch.url) as client:

        def interrupt() -> None:
            switch.asked.wait(10)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.diagnostics()
        thread.join()
        # It is usable still.
        assert client._run(lambda: asyncio.sleep(0, "usable")) == "usable"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_thread_that_died():
    outcomes = []

    def ask(client: Client) -> None:
        try:
            client.diagnostics()
        except RuntimeError as error:
            outcomes.append(str(error))

    def die() -> None:
        raise SystemExit

    with Hanging() as switch:
        client = Client(switch.url)
        thread = threading.Thread(target=ask, args=(client,), daemon=True)
        thread.start()
        assert switch.asked.wait(10)
        client._loop.call_soon_threadsafe(die)
        thread.join(10)
        ask(client)
        client.close()
    assert len(outcomes) == 2
    assert all("died" in outcome for outcome in outcomes)
