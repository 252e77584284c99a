import tracemalloc
from collections.abc import Callable

import msgspec
import pytest

from queues.core.events import (
    CALL_OVERHEAD,
    EVENT_OVERHEAD,
    SUMMARY_LENGTH,
    TEXT_OVERHEAD,
    WIDE,
    Origin,
    Trace,
    summary,
)

ROOMY = 2**20


def filled(count: int, *, max_events: int = 100, max_bytes: int = ROOMY) -> Trace:
    trace = Trace(first=10, max_events=max_events, max_bytes=max_bytes)
    for number in range(count):
        trace.add(float(number), "sent", "q", number % 3, None, None)
    return trace


def numbers(trace: Trace, after: int, limit: int = 100) -> list[int]:
    return [event.number for event in trace.after(after, limit).events]


def test_numbers_begin_with_the_first_and_grow_by_one() -> None:
    assert numbers(filled(3), 0) == [10, 11, 12]


def test_an_event_says_what_happened() -> None:
    trace = Trace(first=1, max_events=5, max_bytes=ROOMY)
    trace.add(2.5, "released", "q", 7, "server", "nack")
    (event,) = trace.after(0, 1).events
    assert (event.number, event.at, event.kind) == (1, 2.5, "released")
    assert (event.queue, event.message, event.client) == ("q", 7, "server")
    assert event.detail == "nack"


def test_the_oldest_go_when_there_are_too_many() -> None:
    trace = filled(7, max_events=3)
    assert numbers(trace, 0) == [14, 15, 16]
    assert len(trace) == 3


def test_the_oldest_go_when_they_take_too_many_bytes() -> None:
    trace = Trace(first=1, max_events=100, max_bytes=3 * EVENT_OVERHEAD)
    for _ in range(3):
        trace.add(0.0, "sent", None, None, None, None)
    assert numbers(trace, 0) == [1, 2, 3]
    trace.add(0.0, "sent", "q", None, "éb", "c")
    assert numbers(trace, 0) == [3, 4]
    assert trace.bytes == 2 * EVENT_OVERHEAD + 3 * TEXT_OVERHEAD + 2 + 2 * WIDE


def test_an_event_larger_than_the_bound_is_not_kept() -> None:
    trace = Trace(first=1, max_events=10, max_bytes=EVENT_OVERHEAD)
    trace.add(0.0, "sent", "queue", None, None, None)
    assert (len(trace), trace.bytes, trace.last) == (0, 0, 1)


@pytest.mark.parametrize(
    ("after", "limit", "found", "next"),
    [
        (0, 2, [10, 11], 11),
        (11, 2, [12, 13], 13),
        (13, 9, [14], 14),
        (14, 9, [], 14),
        (99, 9, [], 99),
    ],
)
def test_pages(after: int, limit: int, found: list[int], next: int) -> None:
    trace = filled(5)
    report = trace.after(after, limit)
    assert [event.number for event in report.events] == found
    assert report.next == next


@pytest.mark.parametrize(("after", "dropped"), [(0, 0), (9, 4), (11, 2), (13, 0), (16, 0)])
def test_a_reader_hears_how_many_events_it_missed(after: int, dropped: int) -> None:
    trace = filled(7, max_events=3)  # 14, 15 and 16 are left
    assert trace.after(after, 100).dropped == dropped


def test_the_events_of_a_message_oldest_first() -> None:
    assert [event.number for event in filled(7).of_message(1)] == [11, 14]


def test_events_of_some_kinds_since_another() -> None:
    trace = Trace(first=10, max_events=4, max_bytes=ROOMY)
    for kind in ("purged", "sent", "purged", "acked", "queue_destroyed", "purged"):
        trace.add(0.0, kind, "q")
    assert [e.number for e in trace.since(9, "purged", "queue_destroyed")] == [12, 14, 15]
    assert [e.number for e in trace.since(12, "purged")] == [15]
    assert trace.since(15, "purged") == trace.since(99, "purged") == []


@pytest.mark.parametrize(
    ("before", "limit", "found", "next"),
    [
        (None, 2, [16, 15], 15),
        (15, 9, [14], None),
        (15, 1, [14], None),
        (16, 1, [15], 15),
        (14, 9, [], None),
        (0, 9, [], None),
        (99, 9, [16, 15, 14], None),
    ],
)
def test_pages_back_in_time(
    before: int | None, limit: int, found: list[int], next: int | None
) -> None:
    page = filled(7, max_events=3).before(before, limit)
    assert [event.number for event in page.events] == found
    assert page.next == next
    assert (page.kept, page.dropped) == (3, 4)


def test_how_messages_were_sent_and_for_what() -> None:
    trace = Trace(first=1, max_events=4, max_bytes=ROOMY)
    trace.add(1.0, "sent", "p", 5, "cli", "x")
    trace.add(2.0, "sent", "q", 7, "server", "x", 5)
    trace.add(3.0, "delivered", "q", 7, "other")
    trace.add(4.0, "sent", "q", 9, "server", "x", 5)
    assert trace.made_for(5) == [7, 9]
    assert trace.made_for(7) == []
    assert trace.origin(7) == trace.sent(7) == Origin(2.0, "q", "server", 5)
    assert trace.origin(5) is None
    assert trace.sent(5) == Origin(1.0, "p", "cli", None)
    assert trace.bytes > 4 * EVENT_OVERHEAD + 2 * CALL_OVERHEAD
    for _ in range(2):
        trace.add(5.0, "acked")
    assert trace.made_for(5) == [9]
    assert trace.origin(7) is None
    assert trace.sent(7) is None
    for _ in range(2):
        trace.add(6.0, "acked")
    assert trace.made_for(5) == []
    assert trace.origin(9) is None


def test_last_is_that_of_the_newest_or_before_the_first() -> None:
    assert filled(0).last == 9
    assert filled(4, max_events=2).last == 13


def test_a_summary_is_short() -> None:
    assert summary("x" * SUMMARY_LENGTH) == "x" * SUMMARY_LENGTH
    cut = summary("x" * (SUMMARY_LENGTH + 1))
    assert cut == "x" * (SUMMARY_LENGTH - 1) + "…"


# -- the budget -----------------------------------------------------------------------------------

#: The first id of a switch is larger, and so an object of its own.
IDS = 2**51
SMILE = "\N{GRINNING FACE}"


def short(trace: Trace, number: int) -> None:
    trace.add(number + 0.5, "login")


def shared(trace: Trace, number: int) -> None:
    trace.add(number + 0.5, "delivered", "orders", IDS + number, "server")


def all_its_own(trace: Trace, number: int) -> None:
    name = f"call.{IDS + number}"
    trace.add(number + 0.5, "sent", name, IDS + number, f"client {number}", f"payload {number}")


def wide(trace: Trace, number: int) -> None:
    detail = "x" * SUMMARY_LENGTH + chr(ord(SMILE) + number % 50)
    trace.add(number + 0.5, "sent", "orders", IDS + number, f"{number}{SMILE}", detail)


def latin(trace: Trace, number: int) -> None:
    trace.add(number + 0.5, "sent", "orders", IDS + number, f"é {number}", "é" * SUMMARY_LENGTH)


def called(trace: Trace, number: int) -> None:
    all_its_own(trace, 2 * number)
    text = str(number)
    trace.add(number + 0.5, "sent", text, IDS + 2 * number + 1, text, text, IDS + 2 * number)


def called_by_one(trace: Trace, number: int) -> None:
    text = str(number)
    trace.add(number + 0.5, "sent", text, IDS + number, text, text, IDS - 1)


@pytest.mark.parametrize(
    "add",
    [short, shared, all_its_own, wide, latin, called, called_by_one],
    ids=lambda f: f.__name__,
)
def test_the_trace_takes_no_more_memory_than_it_counts(
    add: Callable[[Trace, int], None],
) -> None:
    """Twice as many events pass as there is room for: what was dropped is given back, too."""
    budget = 2**20
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        trace = Trace(first=IDS, max_events=10**6, max_bytes=budget)
        most = 0
        for number in range(2 * budget // EVENT_OVERHEAD):
            add(trace, number)
            assert trace.bytes <= budget
            # A text that is not ASCII keeps its UTF-8 form once it has been encoded.
            msgspec.json.encode(trace.before(None, 2).events)
            if number % 64 == 0:
                most = max(most, tracemalloc.get_traced_memory()[0] - before - trace.bytes)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    slack = 16 * 2**10  # blocks of the ring, and what the test itself keeps
    assert most <= slack
    assert after - before <= budget + slack
    assert trace.bytes > budget - 2_000
    assert trace.dropped > 0
