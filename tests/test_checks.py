from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks

from queues.checks import check_limits


def test_the_project_passes_its_checks() -> None:
    assert run_checks(include_deployment_checks=False) == []


def test_good_limits_are_silent(settings: Any) -> None:
    settings.SWITCH_LIMITS = {"payload_bytes": 65_536, "key_window": 1.5}
    assert check_limits() == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"paylod_bytes": 1}, "'paylod_bytes' is none of"), ({"queues": 0}, "a positive number")],
)
def test_wrong_limits_are_an_error(settings: Any, limits: dict[str, Any], words: str) -> None:
    settings.SWITCH_LIMITS = limits
    (error,) = run_checks(tags=["queues"])
    assert error.id == "queues.E001"
    assert words in error.msg


def test_a_wrong_time_for_an_undo_is_an_error(settings: Any) -> None:
    settings.SWITCH_UNDO_SECONDS = "soon"
    (error,) = run_checks(tags=["queues"])
    assert error.id == "queues.E003"
