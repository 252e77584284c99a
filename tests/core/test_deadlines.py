import pytest

from queues.core.deadlines import Deadlines, Due


@pytest.fixture
def waits() -> set[int]:
    """Numbers of those that wait."""
    return set()


@pytest.fixture
def deadlines(waits: set[int]) -> Deadlines:
    return Deadlines(waits)


def popped(deadlines: Deadlines, now: float) -> list[object]:
    """What is due at ``now``, in order."""
    keys = []
    while (entry := deadlines.pop(now)) is not None:
        _, (_, what) = entry
        keys.append(what)
    return keys


def test_nothing_is_due_before_its_time(deadlines: Deadlines) -> None:
    deadlines.set((Due.EXPIRY, 1), 10.0)
    assert deadlines.pop(9.9) is None
    assert deadlines.pop(10.0) == (10.0, (Due.EXPIRY, 1))
    assert deadlines.pop(10.0) is None


def test_the_earliest_comes_first(deadlines: Deadlines) -> None:
    for when in (3.0, 1.0, 2.0):
        deadlines.set((Due.EXPIRY, int(when)), when)
    assert popped(deadlines, 5.0) == [1, 2, 3]


def test_of_one_instant_the_wait_ends_first_and_keys_and_undo_last(
    deadlines: Deadlines, waits: set[int]
) -> None:
    kinds = [Due.KEY_FORGOTTEN, Due.LEASE_ENDS, Due.ACK_TIMEOUT, Due.DELAY_ENDS, Due.EXPIRY]
    for kind in [Due.UNDO_ENDS, *kinds]:
        deadlines.set((kind, kind.name), 1.0)
    waits.add(7)
    deadlines.set_end(7, 1.0)
    assert popped(deadlines, 1.0) == [7, *(kind.name for kind in Due if kind is not Due.WAIT_ENDS)]


def test_the_end_of_a_wait_that_is_over_never_comes(deadlines: Deadlines, waits: set[int]) -> None:
    waits |= {1, 2}
    for number in waits:
        deadlines.set_end(number, float(number))
    waits.remove(1)
    assert deadlines.next() == 2.0
    waits.remove(2)
    assert len(deadlines) == 0
    assert popped(deadlines, 9.0) == []
    assert deadlines.next() is None


def test_ends_of_waits_that_are_over_take_no_room_for_long(
    deadlines: Deadlines, waits: set[int]
) -> None:
    waits.add(-1)
    deadlines.set_end(-1, 1e6)
    deadlines.set((Due.EXPIRY, 1), 1.0)
    for number in range(10_000):
        waits.add(number)
        deadlines.set_end(number, 100.0 + number)
        waits.remove(number)
    assert len(deadlines._heap) < 300
    assert popped(deadlines, 1e6) == [1, -1]


def test_moved_to_a_later_time_it_comes_then(deadlines: Deadlines) -> None:
    deadlines.set((Due.LEASE_ENDS, "a"), 1.0)
    deadlines.set((Due.LEASE_ENDS, "a"), 5.0)
    assert popped(deadlines, 4.0) == []
    assert popped(deadlines, 5.0) == ["a"]


def test_moved_to_a_later_time_it_comes_after_what_is_due_before(deadlines: Deadlines) -> None:
    deadlines.set((Due.LEASE_ENDS, "moved"), 1.0)
    deadlines.set((Due.LEASE_ENDS, "moved"), 5.0)
    deadlines.set((Due.EXPIRY, "between"), 3.0)
    assert popped(deadlines, 9.0) == ["between", "moved"]


def test_moved_to_an_earlier_time_it_comes_once(deadlines: Deadlines) -> None:
    deadlines.set((Due.EXPIRY, 1), 5.0)
    deadlines.set((Due.EXPIRY, 1), 2.0)
    assert deadlines.next() == 2.0
    assert popped(deadlines, 9.0) == [1]


def test_cancelled_it_never_comes(deadlines: Deadlines) -> None:
    deadlines.set((Due.EXPIRY, 1), 1.0)
    deadlines.cancel((Due.EXPIRY, 1))
    assert deadlines.next() is None
    assert popped(deadlines, 9.0) == []


def test_cancelling_what_is_not_set_is_no_error(deadlines: Deadlines) -> None:
    deadlines.cancel((Due.EXPIRY, 1))
    assert len(deadlines) == 0


def test_cancelled_and_set_again_it_comes_once(deadlines: Deadlines) -> None:
    for _ in range(3):
        deadlines.cancel((Due.EXPIRY, 1))
        deadlines.set((Due.EXPIRY, 1), 1.0)
    assert popped(deadlines, 1.0) == [1]
    deadlines.set((Due.EXPIRY, 1), 2.0)
    assert popped(deadlines, 1.5) == []


def test_next_is_never_too_late(deadlines: Deadlines) -> None:
    deadlines.set((Due.LEASE_ENDS, "a"), 1.0)
    deadlines.set((Due.EXPIRY, 1), 3.0)
    deadlines.set((Due.LEASE_ENDS, "a"), 5.0)
    first = deadlines.next()
    assert first is not None
    assert first <= 3.0
    deadlines.cancel((Due.LEASE_ENDS, "a"))
    assert deadlines.next() == 3.0


def test_cancelled_deadlines_take_no_room_for_long(deadlines: Deadlines) -> None:
    deadlines.set((Due.EXPIRY, -1), 1.0)
    for number in range(10_000):
        deadlines.set((Due.EXPIRY, number), 100.0 + number)
        deadlines.cancel((Due.EXPIRY, number))
    assert len(deadlines) == 1
    assert len(deadlines._heap) < 200
    assert popped(deadlines, 1.0) == [-1]
