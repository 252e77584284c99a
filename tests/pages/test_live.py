"""The stream of events, told when something happens and ended with its page or the switch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from queues.engines import install
from queues.engines.base import Engine
from queues.pages import live
from queues.pages.live import LiveStream
from queues.testing import running_switch
from tests.api.asgi import Exchange, ask


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with running_switch() as engine:
        yield engine


class Page:
    """A page that follows the switch."""

    def __init__(self, stream: LiveStream, query: str = "", **headers: str) -> None:
        self._exchange = Exchange(stream, "GET", f"/live/{query}", headers=headers)
        self._read = 0
        self.task = asyncio.ensure_future(self._exchange.run())

    @property
    def status(self) -> int:
        return self._exchange.answer.status

    async def event(self) -> tuple[str, dict[str, Any]]:
        """The name and the data of the next event."""
        async with asyncio.timeout(5):
            while True:
                text = self._exchange.answer.body.decode()[self._read :]
                end = text.find("\n\n")
                if end < 0:
                    await asyncio.sleep(0.001)
                    continue
                self._read += end + 2
                fields = dict(line.split(": ", 1) for line in text[:end].split("\n"))
                if "event" in fields:
                    data = json.loads(fields["data"])
                    assert fields.get("id", str(data["number"])) == str(data["number"])
                    return fields["event"], data

    async def leave(self) -> None:
        self._exchange.leave()
        async with asyncio.timeout(5):
            await self.task


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The times of the stream, a hundredth of what they are."""
    monkeypatch.setattr(live, "PAUSE", live.PAUSE / 100)
    monkeypatch.setattr(live, "BEAT", live.BEAT / 100)


async def newest(engine: Engine) -> int:
    return (await engine.trace(limit=0)).next


async def test_a_page_is_told_at_once_what_happened_before_it_asked(engine: Engine) -> None:
    await engine.create_queue("foo")
    last = await newest(engine)
    for query, headers in (
        ("", {}),
        (f"?after={last - 1}", {}),
        (f"?after={last}", {"last-event-id": str(last - 1)}),
        ("?after=x", {}),
        ("", {"last-event-id": "x"}),
        ("?after=" + "9" * 5_000, {"last-event-id": "0"}),
    ):
        page = Page(LiveStream(), query, **headers)
        name, data = await page.event()
        assert (name, data["number"]) == ("changed", last), (query, headers)
        assert data["now"] == pytest.approx(engine.now(), abs=5)
        await page.leave()


@pytest.mark.usefixtures("quick")
async def test_a_page_that_knows_everything_hears_a_beat(engine: Engine) -> None:
    await engine.create_queue("foo")
    last = await newest(engine)
    for known in (last, 10 * last):
        page = Page(LiveStream(), f"?after={known}")
        for _ in range(2):
            assert (await page.event())[0] == "beat"
        await engine.create_queue("bar")
        await engine.destroy_queue("bar")
        name, data = await page.event()
        assert (name, data["number"] > last) == ("changed", True)
        last = await newest(engine)
        await page.leave()


async def test_many_events_are_told_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSE", 0.2)
    page = Page(LiveStream(), f"?after={await newest(engine)}")
    await asyncio.sleep(0.01)
    began = asyncio.get_running_loop().time()
    await engine.create_queue("first")
    assert (await page.event())[1]["number"] == await newest(engine)
    for number in range(100):
        await engine.create_queue(f"foo-{number}")
    assert (await page.event())[1]["number"] == await newest(engine)
    assert asyncio.get_running_loop().time() - began >= 0.2
    await page.leave()


async def test_a_stream_is_never_stored(engine: Engine) -> None:
    page = Page(LiveStream())
    await asyncio.sleep(0.01)
    headers = page._exchange.answer.headers
    assert headers["content-type"] == "text/event-stream"
    assert headers["cache-control"] == "no-store"
    await page.leave()


@pytest.mark.parametrize("busy", [False, True])
async def test_the_end_of_the_switch_ends_it(engine: Engine, busy: bool) -> None:
    if busy:
        await engine.create_queue("foo")
    page = Page(LiveStream())
    if busy:
        await page.event()  # it pauses now
    else:
        await asyncio.sleep(0.01)
    engine.close()
    await asyncio.wait_for(page.task, 0.5)
    assert page.status == 200
    answer = await ask(LiveStream(), "GET", "/live/")
    assert (answer.status, answer.code) == (503, "shutting_down")


async def test_nothing_is_left_behind(engine: Engine) -> None:
    before = set(engine.on_close)
    tasks = asyncio.all_tasks()
    pages = [Page(LiveStream()) for _ in range(3)]
    await asyncio.sleep(0.01)
    for page in pages:
        await page.leave()
    cut = Page(LiveStream())
    await asyncio.sleep(0.01)
    cut.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut.task
    await asyncio.sleep(0)
    assert engine.on_close == before
    assert asyncio.all_tasks() == tasks


async def test_only_so_many_pages_may_follow(engine: Engine) -> None:
    stream = LiveStream(most=2)
    pages = [Page(stream), Page(stream)]
    await asyncio.sleep(0.01)
    answer = await ask(stream, "GET", "/live/")
    assert (answer.status, answer.code) == (503, "too_many_pages")
    await pages.pop().leave()
    pages.append(Page(stream))
    await asyncio.sleep(0.01)
    assert pages[-1].status == 200
    for page in pages:
        await page.leave()


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "http://evil.example"},
        {"sec-fetch-site": "cross-site"},
    ],
)
async def test_pages_of_other_sites_hear_nothing(engine: Engine, headers: dict[str, str]) -> None:
    answer = await ask(LiveStream(), "GET", "/live/", headers=headers)
    assert (answer.status, answer.code) == (403, "cross_site")


async def test_a_page_whose_connection_breaks_is_no_error(engine: Engine) -> None:
    await engine.create_queue("foo")

    class Broken(Exchange):
        async def _send(self, message: Any) -> None:
            if message["type"] == "http.response.body":
                raise OSError
            await super()._send(message)

    await asyncio.wait_for(Broken(LiveStream(), "GET", "/live/").run(), 5)


async def test_without_a_switch_there_is_nothing_to_follow() -> None:
    install(None)
    answer = await ask(LiveStream(), "GET", "/live/")
    assert (answer.status, answer.code) == (503, "not_running")
