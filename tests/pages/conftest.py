from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.running import Do, running_switch


@pytest.fixture
def do() -> Iterator[Do[Any]]:
    """A running switch, and how to do something with it."""
    with running_switch() as do:
        yield do
