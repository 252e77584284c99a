import pytest

from queues.core.events import EVENT_OVERHEAD, SUMMARY_LENGTH, Event, Trace, summary

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
    assert trace.bytes == 2 * EVENT_OVERHEAD + 5


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
    trace = Trace(first=1, max_events=9, max_bytes=ROOMY)
    trace.add(1.0, "sent", "p", 5, "cli", "x")
    trace.add(2.0, "sent", "q", 7, "server", "x", 5)
    trace.add(3.0, "delivered", "q", 7, "other")
    assert trace.parents() == {7: 5}
    assert trace.sent({7, 8}) == {7: Event(2, 2.0, "sent", "q", 7, "server", "x", 5)}


def test_last_is_that_of_the_newest_or_before_the_first() -> None:
    assert filled(0).last == 9
    assert filled(4, max_events=2).last == 13


def test_a_summary_is_short() -> None:
    assert summary("x" * SUMMARY_LENGTH) == "x" * SUMMARY_LENGTH
    cut = summary("x" * (SUMMARY_LENGTH + 1))
    assert cut == "x" * (SUMMARY_LENGTH - 1) + "…"
