from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from queues.conf import limits, undo_seconds
from queues.core.limits import Limits


def test_without_a_setting_the_defaults_hold(settings: Any) -> None:
    del settings.SWITCH_LIMITS
    assert limits() == Limits()


def test_a_setting_changes_what_it_names(settings: Any) -> None:
    settings.SWITCH_LIMITS = {"queues": 7, "key_window": 0.5}
    assert limits() == Limits(queues=7, key_window=0.5)


def test_seconds_may_be_whole(settings: Any) -> None:
    settings.SWITCH_LIMITS = {"key_window": 60}
    assert limits().key_window == 60


@pytest.mark.parametrize("value", [0, -1, "7", None, True, 1.5])
def test_a_count_is_a_positive_whole_number(settings: Any, value: object) -> None:
    settings.SWITCH_LIMITS = {"queues": value}
    with pytest.raises(ImproperlyConfigured, match="queues must be a positive"):
        limits()


def test_an_unknown_name_is_refused_with_those_that_are_known(settings: Any) -> None:
    settings.SWITCH_LIMITS = {"letters": 1}
    with pytest.raises(ImproperlyConfigured, match=r"'letters' is none of .*payload_bytes"):
        limits()


@pytest.mark.parametrize(("value", "seconds"), [("600", 600), ("0", 0), (1.5, 1.5), (" 7 ", 7)])
def test_the_time_for_an_undo_is_a_number_of_seconds(
    settings: Any, value: object, seconds: float
) -> None:
    settings.SWITCH_UNDO_SECONDS = value
    assert undo_seconds() == seconds


def test_a_removal_can_be_undone_for_ten_minutes_by_default(settings: Any) -> None:
    del settings.SWITCH_UNDO_SECONDS
    assert undo_seconds() == 600


@pytest.mark.parametrize("value", ["", "soon", "-1", -1, "nan", "inf", "1e9", None, True, [1]])
def test_a_wrong_time_for_an_undo_is_refused(settings: Any, value: object) -> None:
    settings.SWITCH_UNDO_SECONDS = value
    with pytest.raises(ImproperlyConfigured, match=r"SWITCH_UNDO_SECONDS: .* is not a number"):
        undo_seconds()


def test_a_wrong_time_for_an_undo_stops_the_start(tmp_path: Path) -> None:
    environment = {**os.environ, "SWITCH_STATE_DIR": str(tmp_path), "SWITCH_UNDO_SECONDS": "soon"}
    started = subprocess.run(
        [sys.executable, "-c", "import switchproject.asgi"],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert started.returncode != 0
    assert "SWITCH_UNDO_SECONDS: 'soon' is not a number of seconds" in started.stderr
