"""Killed at random moments under a mixed load, the switch keeps what it has answered.

SWITCH_CRASH_KILLS and SWITCH_CRASH_POSTGRES_KILLS say how often; ``make crash`` for long. A failure
prints its seed; SWITCH_CRASH_SEED repeats its choices, though not the moments.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import postgres
from .conftest import Server
from .crash import kill_again_and_again

KILLS = int(os.environ.get("SWITCH_CRASH_KILLS", "20"))
POSTGRES_KILLS = int(os.environ.get("SWITCH_CRASH_POSTGRES_KILLS", "5"))
SEED = int(os.environ.get("SWITCH_CRASH_SEED", random.randrange(2**32)))


@pytest.fixture
def database() -> Iterator[postgres.Postgres]:
    if (reason := postgres.missing()) is not None:
        pytest.skip(reason)
    database = postgres.Postgres()
    database.start()
    yield database
    database.remove()


async def crash(server: Server, kills: int) -> None:
    server.migrate()
    try:
        done = await kill_again_and_again(server, SEED, kills)
    finally:
        server.kill()
    print(f"crash test: seed {SEED}, {dict(done)}")
    assert done["kills"] == kills
    assert done["answered"] > 20 * kills, "hardly anything was done"
    assert "Traceback" not in server.log


@pytest.mark.timeout(120 + 15 * KILLS)
async def test_nothing_answered_is_lost(tmp_path: Path) -> None:
    await crash(Server(tmp_path, "daphne", SWITCH_JOURNAL="commit"), KILLS)


@pytest.mark.timeout(120 + 15 * POSTGRES_KILLS)
async def test_nothing_answered_is_lost_with_postgresql(
    tmp_path: Path, database: postgres.Postgres
) -> None:
    server = Server(tmp_path, "daphne", SWITCH_JOURNAL="commit", **database.environment)
    await crash(server, POSTGRES_KILLS)
