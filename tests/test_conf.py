from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from queues.conf import limits
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
    settings.SWITCH_LIMITS = {"messages": 1}
    with pytest.raises(ImproperlyConfigured, match=r"'messages' is none of .*payload_bytes"):
        limits()
