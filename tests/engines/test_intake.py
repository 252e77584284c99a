"""What is taken on: rates by address, connections at once."""

from __future__ import annotations

from typing import Any

import pytest

from queues.core.errors import RateLimited, TooManyConnections
from queues.engines import intake as module
from queues.engines.intake import Intake, IntakeLimits, Pace


def new_intake(**limits: Any) -> Intake:
    return Intake(IntakeLimits(**limits), lambda call: None)


def test_a_pace_allows_a_second_at_once_and_then_its_rate() -> None:
    pace = Pace(10)
    assert [pace.take(100.0) for _ in range(10)] == [0.0] * 10
    assert pace.take(100.0) == pytest.approx(0.1)
    assert pace.take(100.05) == pytest.approx(0.05)
    assert pace.take(100.1001) == 0.0
    assert pace.take(100.1001) > 0
    assert [pace.take(200.0) for _ in range(10)] == [0.0] * 10, "a long pause allows no more"
    assert pace.take(200.0) > 0


def test_a_slow_pace_allows_one() -> None:
    pace = Pace(0.1)
    assert pace.take(0.0) == 0.0
    assert pace.take(5.0) == pytest.approx(5.0)
    assert pace.take(10.0) == 0.0


def test_no_rate_is_no_limit() -> None:
    pace = Pace(0)
    assert not any(pace.take(0.0) for _ in range(10_000))
    assert pace.spend(10**9, 0.0) == 0.0


def test_what_is_spent_beyond_the_pace_is_waited_for() -> None:
    pace = Pace(10)
    assert pace.spend(8, 0.0) == 0.0
    assert pace.spend(22, 0.0) == pytest.approx(2.0)
    assert pace.spend(1, 2.0) == pytest.approx(0.1)


def test_an_address_that_asks_too_much_is_refused_and_others_are_not() -> None:
    intake = new_intake(request_rate=2)
    for _ in range(2):
        intake.enter("10.0.0.1", 0.0)
    with pytest.raises(RateLimited) as refused:
        intake.enter("10.0.0.1", 0.0)
    assert refused.value.extra["retry_after"] == 1
    intake.enter("10.0.0.2", 0.0)
    intake.login("10.0.0.1", 0.0)  # which is another matter
    assert intake.open == 3, "what is refused does not count"


def test_logins_and_connections_have_a_rate_each() -> None:
    intake = new_intake(login_rate=1, connection_rate=0.25)
    intake.login("", 0.0)
    with pytest.raises(RateLimited):
        intake.login("", 0.5)
    intake.connect("", 0.0)
    with pytest.raises(RateLimited) as refused:
        intake.connect("", 0.5)
    assert refused.value.extra["retry_after"] == 4


def test_connections_and_requests_count_together() -> None:
    intake = new_intake(connections=2)
    intake.connect("a", 0.0)
    intake.enter("b", 0.0)
    for enter in (intake.connect, intake.enter):
        with pytest.raises(TooManyConnections) as refused:
            enter("c", 0.0)
        assert (refused.value.status, refused.value.extra) == (503, {"retry_after": 1})
    intake.leave()
    intake.enter("c", 0.0)


def test_not_all_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SOURCES", 3)
    intake = new_intake(login_rate=1)
    for address in "abcd":
        intake.login(address, 0.0)
    assert len(intake._sources) == 3
    intake.login("a", 0.0)
    with pytest.raises(RateLimited):
        intake.login("d", 0.0)
