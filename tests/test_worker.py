"""The worker: one switch for an address, and what its stop leaves unanswered: nothing."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from queues.api.handler import ApiHandler
from queues.core.limits import Limits
from queues.engines import install, running_engine
from queues.engines.intake import IntakeLimits
from queues.worker import Worker

from .api.asgi import Exchange, ask


async def pages(scope: Any, receive: Any, send: Any) -> None:
    """Stands for Django."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"page"})


async def live(scope: Any, receive: Any, send: Any) -> None:
    """Stands for the events of pages."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"events"})


def new_worker() -> Worker:
    return Worker(
        api=ApiHandler("queues.api.urls"),
        pages=pages,
        stream=pages,
        live=live,
        limits=Limits,
        journal=lambda: None,
        intake=IntakeLimits,
        addresses=list,
    )


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield new_worker()
    install(None)


async def test_the_first_request_starts_the_switch(worker: Worker) -> None:
    assert running_engine() is None
    assert (await ask(worker.http, "GET", "/api/v1/queues")).status == 200
    assert running_engine() is not None


@pytest.mark.parametrize(
    "path", ["/", "/admin/", "/api/v1/schema/", "/api/v1/docs/", "/static/x.css"]
)
async def test_pages_go_to_django(worker: Worker, path: str) -> None:
    assert (await ask(worker.http, "GET", path)).body == b"page"


async def test_the_events_of_pages_do_not(worker: Worker) -> None:
    assert (await ask(worker.http, "GET", "/live/")).body == b"events"
    for method, path in (("POST", "/live/"), ("HEAD", "/live/"), ("GET", "/live/x")):
        assert (await ask(worker.http, method, path)).body == b"page", (method, path)


async def test_a_second_process_on_the_address_refuses(
    worker: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"django-message-switch-{os.getuid()}-127.0.0.1-8080.lock"
    other = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(other, fcntl.LOCK_EX)
    with caplog.at_level(logging.ERROR, logger="queues.worker"):
        for target in ("/api/v1/queues", "/", "/readyz"):
            answer = await ask(worker.http, "GET", target)
            assert (answer.status, answer.code) == (503, "second_worker")
    assert "one worker" in caplog.text
    assert (await ask(worker.http, "GET", "/healthz")).status == 200
    os.close(other)  # the other process is gone
    assert (await ask(worker.http, "GET", "/api/v1/queues")).status == 200


@pytest.mark.parametrize("root", ["", "/sw"])
async def test_a_root_path_is_no_part_of_the_protocol(worker: Worker, root: str) -> None:
    exchange = Exchange(worker.http, "GET", f"{root}/api/v1/queues")
    exchange.scope["root_path"] = root
    assert (await exchange.run()).json == {"queues": [], "next": None}


async def test_an_address_without_a_name_is_not_guarded(worker: Worker) -> None:
    exchange = Exchange(worker.http, "GET", "/api/v1/queues")
    exchange.scope["server"] = None
    assert (await exchange.run()).status == 200


async def test_a_lock_that_cannot_be_made_is_no_reason_to_refuse(
    worker: Worker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"django-message-switch-{os.getuid()}-127.0.0.1-8080.lock").mkdir()
    for _ in range(2):
        assert (await ask(worker.http, "GET", "/api/v1/queues")).status == 200
    assert caplog.text.count("not guarded") == 1


async def test_a_stop_answers_what_waits(worker: Worker) -> None:
    login = await ask(worker.http, "POST", "/api/v1/login", json={"client": "a"})
    headers = {
        "authorization": f"Bearer {login.json['session']}",
        "content-type": "application/json",
    }
    waiting = [
        asyncio.ensure_future(
            Exchange(worker.http, "POST", "/api/v1/transfer", b'{"timeout": 100}', headers).run()
        )
        for _ in range(20)
    ]
    half = Exchange(worker.http, "POST", "/api/v1/call/q", [b"half"], complete=False)
    reading = asyncio.ensure_future(half.run())
    await asyncio.sleep(0.01)
    await asyncio.wait_for(worker.stop(), 5)
    for task in waiting:
        answer = await task
        assert (answer.status, answer.code) == (503, "shutting_down")
    assert (await reading).code == "shutting_down"
    late = await ask(worker.http, "GET", "/api/v1/queues")
    assert (late.status, late.code) == (503, "shutting_down")


@pytest.fixture
def signals() -> Iterator[None]:
    """Puts back what a test does to the signals of a stop."""
    saved = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in saved.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
async def test_the_lifespan_starts_and_stops(worker: Worker) -> None:
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[str] = []

    async def receive() -> Any:
        return next(events)

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "lifespan.startup.complete":
            assert running_engine() is not None

    await worker.lifespan({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.usefixtures("worker", "signals")
async def test_granian_hears_of_a_signal_once_and_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has made its event after it loaded the application; at a signal it would set it."""
    happened: list[str] = []
    event = SimpleNamespace(set=lambda: happened.append("event"))
    granian = SimpleNamespace(set_loop_signals=lambda loop: event)
    monkeypatch.setitem(sys.modules, "granian", SimpleNamespace(_signals=granian))
    monkeypatch.setitem(sys.modules, "granian._signals", granian)
    worker = new_worker()
    assert granian.set_loop_signals(asyncio.get_running_loop()) is event
    events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    started = asyncio.Event()

    async def send(message: Any) -> None:
        started.set()

    events.put_nowait({"type": "lifespan.startup"})
    lifespan = asyncio.ensure_future(worker.lifespan({"type": "lifespan"}, events.get, send))
    await started.wait()
    half = Exchange(worker.http, "POST", "/api/v1/call/q", [b"half"], complete=False)
    reading = asyncio.ensure_future(half.run())
    reading.add_done_callback(lambda _: happened.append("answer"))
    await asyncio.sleep(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)
    async with asyncio.timeout(5):
        while "event" not in happened:
            await asyncio.sleep(0.01)
        events.put_nowait({"type": "lifespan.shutdown"})
        await lifespan
    assert (await reading).code == "shutting_down"
    assert happened == ["answer", "event"]


async def test_a_websocket_cut_off_by_a_stop_is_no_error(worker: Worker) -> None:
    async def stuck(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    worker._stream = stuck
    scope = {"type": "websocket", "path": "/ws/v1"}
    task = asyncio.ensure_future(worker.websocket(scope, None, None))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await asyncio.wait_for(worker.stop(), 5)
    await task
