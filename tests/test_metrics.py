"""The numbers of a switch as a monitoring system gets them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from queues import metrics
from queues.api.handler import ApiHandler
from queues.core import metrics as core_metrics
from queues.core.messages import Draft
from queues.engines.memory import MemoryEngine
from queues.testing import FakeClock, running_switch

from .api.asgi import Answer, ask

ROOT = Path(__file__).resolve().parent.parent
Labels = dict[str, str]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(clock: FakeClock) -> AsyncIterator[MemoryEngine]:
    async with running_switch(clock) as engine:
        yield engine


async def scrape(**headers: str) -> Answer:
    return await ask(ApiHandler("queues.api.urls"), "GET", "/metrics", headers=headers)


async def families(*, as_openmetrics: bool = False) -> dict[str, Metric]:
    """What a scrape gives, read as Prometheus reads it."""
    if as_openmetrics:
        text = (await scrape(accept="application/openmetrics-text")).body.decode()
        return {family.name: family for family in parse_openmetrics(text)}
    return {family.name: family for family in parse_text((await scrape()).body.decode())}


async def value(name: str, **labels: str) -> float:
    """The only sample of that name that has these labels."""
    samples = [
        sample
        for family in (await families()).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(samples) == 1, samples
    return float(samples[0].value)


async def some_work(engine: MemoryEngine, clock: FakeClock, name: str = "jobs") -> None:
    """One message done, one held, one ready, one dead."""
    session = (await engine.login("worker", 30)).session
    await engine.create_queue(name)
    await engine.subscribe(name, session=session)
    for _ in range(4):
        await engine.send(name, Draft("x"))
    clock.advance(3)
    done, dead, _ = (await engine.transfer(session=session, limit=3)).messages
    clock.advance(2)
    await engine.ack([done.id], session=session)
    await engine.nack([dead.id], requeue=False, session=session)


async def test_a_queue(engine: MemoryEngine, clock: FakeClock) -> None:
    await some_work(engine, clock)
    for state in ("ready", "held", "dead"):
        assert await value("switch_queue_messages", queue="jobs", state=state) == 1
    assert await value("switch_queue_messages", queue="jobs", state="delayed") == 0
    assert await value("switch_queue_sent_total", queue="jobs") == 4
    assert await value("switch_queue_delivered_total", queue="jobs") == 3
    assert await value("switch_queue_finished_total", queue="jobs") == 1
    assert await value("switch_queue_refused_total", queue="jobs") == 0
    assert await value("switch_queue_consumers", queue="jobs") == 1
    assert await value("switch_queue_oldest_seconds", queue="jobs") == 5
    assert await value("switch_queue_level", queue="jobs") == 0
    assert await value("switch_queue_bytes", queue="jobs") > 0
    for quantile in ("0.5", "0.95", "0.99"):
        assert await value("switch_queue_queued_seconds", quantile=quantile) == pytest.approx(3)
        assert await value("switch_queue_handled_seconds", quantile=quantile) == pytest.approx(2)


async def test_how_urgent_a_verdict_is(engine: MemoryEngine) -> None:
    await engine.create_queue("jobs")
    assert await value("switch_queue_level", queue="jobs") == 0
    await engine.send("jobs", Draft("x"))
    assert await value("switch_queue_level", queue="jobs") == 2
    await engine.pause_queue("jobs")
    assert await value("switch_queue_level", queue="jobs") == 1


async def test_the_switch(engine: MemoryEngine, clock: FakeClock) -> None:
    await some_work(engine, clock)
    call = asyncio.create_task(engine.call("jobs", Draft("x"), timeout=30))
    await asyncio.sleep(0)
    assert await value("switch_sent_total") == 5
    assert await value("switch_delivered_total") == 3
    assert await value("switch_finished_total") == 1
    assert await value("switch_sessions") == 1
    assert await value("switch_calls_waiting") == 1
    assert await value("switch_trace_dropped_total") == 0
    assert await value("switch_limit_used", limit="queues") == 1
    assert await value("switch_limit", limit="queues") == 100_000
    assert await value("switch_start_time_seconds") == clock.now() - 5
    assert await value("switch_loop_lag_seconds") >= 0
    assert await value("process_resident_memory_bytes") > 2**20
    call.cancel()


@pytest.mark.parametrize("as_openmetrics", [False, True])
async def test_transient_queues_are_no_labels(engine: MemoryEngine, as_openmetrics: bool) -> None:
    session = (await engine.login("owner", 30)).session
    names = [(await engine.create_fresh_queue(session=session)).name for _ in range(3)]
    await engine.send(names[0], Draft("x"))
    found = await families(as_openmetrics=as_openmetrics)
    labels = [sample.labels for family in found.values() for sample in family.samples]
    assert not any("queue" in each for each in labels)
    assert await value("switch_other_queues", group="transient") == 3
    assert await value("switch_other_messages", group="transient", state="ready") == 1
    assert await value("switch_other_queues", group="left_out") == 0


async def test_queues_beyond_the_busiest_are_summed(
    engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_metrics, "MOST_QUEUES", 2)
    for name, number in {"a": 1, "b": 3, "c": 2, "d": 4}.items():
        await engine.create_queue(name)
        for _ in range(number):
            await engine.send(name, Draft("x"))
    sent = (await families())["switch_queue_sent"].samples
    assert {sample.labels["queue"]: sample.value for sample in sent} == {"b": 3, "d": 4}
    assert await value("switch_other_queues", group="left_out") == 2
    assert await value("switch_other_messages", group="left_out", state="ready") == 3


async def test_both_forms_say_the_same(engine: MemoryEngine, clock: FakeClock) -> None:
    await some_work(engine, clock, "jobs.of:all+kinds@here=~-_")

    def samples(found: dict[str, Metric]) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        return {
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in found.values()
            for sample in family.samples
        }

    text, openmetrics = await families(), await families(as_openmetrics=True)
    assert samples(text) == samples(openmetrics)
    assert {name: family.type for name, family in text.items()} == {
        name: family.type for name, family in openmetrics.items()
    }


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", metrics.TEXT),
        ("*/*", metrics.TEXT),
        ("text/plain;version=0.0.4;q=0.3", metrics.TEXT),
        ("application/openmetrics-text; version=1.0.0,text/plain;q=0.5", metrics.OPENMETRICS),
        ("text/html, application/openmetrics-text;version=nonsense", metrics.OPENMETRICS),
    ],
)
async def test_the_form_follows_accept(engine: MemoryEngine, accept: str, kind: str) -> None:
    answer = await scrape(accept=accept)
    assert (answer.status, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.body.endswith(b"# EOF\n") == (kind == metrics.OPENMETRICS)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 400),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "127.0.0.1:8080"}, 200),
    ],
)
async def test_pages_of_other_sites_get_nothing(
    engine: MemoryEngine, headers: dict[str, str], status: int
) -> None:
    assert (await scrape(**headers)).status == status


async def test_a_stopping_switch_says_so(engine: MemoryEngine) -> None:
    engine.close()
    answer = await scrape()
    assert (answer.status, answer.body) == (503, b"shutting_down\n")


async def test_others_get_their_turn_while_many_queues_are_counted(engine: MemoryEngine) -> None:
    for number in range(1_000):
        await engine.create_queue(f"service.{number}")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    assert len((await families())["switch_queue_sent"].samples) == 1_000
    task.cancel()
    assert turns > 1_000 / core_metrics.EXPLAINED + len(metrics.QUEUE_FAMILIES)


async def test_every_metric_is_documented(engine: MemoryEngine) -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    documented = set(re.findall(r"^\| `(switch_\w+)`", text, re.MULTILINE))
    given = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in (await families()).values()
        if not family.name.startswith("process_")
    }
    assert documented == given
