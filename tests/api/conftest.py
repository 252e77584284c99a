"""The lean handler over a switch in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from queues.api.handler import ApiHandler
from queues.engines.memory import MemoryEngine
from queues.testing import FakeClock, running_switch

from .asgi import Answer, ask

Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def engine(clock: FakeClock) -> AsyncIterator[MemoryEngine]:
    async with running_switch(clock) as engine:
        yield engine


@pytest.fixture
def handler() -> ApiHandler:
    return ApiHandler("queues.api.urls")


@pytest.fixture
def api(engine: MemoryEngine, handler: ApiHandler) -> Ask:
    """Ask for a path below /api/v1/."""

    async def request(method: str, path: str, *args: Any, **fields: Any) -> Answer:
        return await ask(handler, method, f"/api/v1/{path}", *args, **fields)

    return request


@pytest.fixture
async def token(api: Ask) -> str:
    """A session."""
    answer = await api("POST", "login", json={"client": "tester"})
    session: str = answer.json["session"]
    return session
