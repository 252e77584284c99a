from __future__ import annotations

import pytest

from queues.core.answers import Usage
from queues.core.events import Event
from queues.templatetags import switch


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("<b>&'\"", "&lt;b&gt;&amp;&#x27;&quot;"),
        ("a\x00b", 'a<span class="control">U+0000</span>b'),
        ("\u202e", '<span class="control">U+202E</span>'),
        ("\U000e0041", '<span class="control">U+E0041</span>'),
        ("tab\tand\nline", "tab\tand\nline"),
        ("Größe 日本 👩\u200d💻", "Größe 日本 👩\u200d💻"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert switch.visible(text) == shown


def test_a_duration_or_none() -> None:
    assert switch.duration(None) == "no limit"
    assert switch.duration(200) == "3 min 20 s"


def test_a_time_carries_its_machine_form() -> None:
    expected = (
        '<time datetime="1970-01-01T00:01:40.500+00:00" title="1970-01-01 00:01:40 UTC">{}</time>'
    )
    assert switch.distance(100.5, 160.5) == expected.format("1 min")
    assert switch.distance(100.5, 40.5) == expected.format("1 min")
    assert switch.clock(100.5) == expected.format("00:01:40")
    assert switch.precise_clock(100.5) == expected.format("00:01:40.500")


def test_amounts() -> None:
    assert switch.amount(Usage(name="queues", used=1234, limit=5), "used") == "1,234"
    assert switch.amount(Usage(name="trace_bytes", used=0, limit=2**20), "limit") == "1.0\xa0MB"


def test_a_timeline_shows_gaps_that_matter() -> None:
    events = [
        Event(1, 10.0, "sent"),
        Event(2, 10.01, "delivered"),
        Event(3, 12.01, "released"),
        Event(4, 12.01, "login"),
    ]
    moments = list(switch.timeline(events))
    assert [moment.gap for moment in moments] == [None, None, pytest.approx(2.0), None]
    assert [moment.word for moment in moments] == ["Sent", "Handed over", "Given back", "login"]


def test_evidence_tells_times_from_texts() -> None:
    facts = {
        "at": 5.0,
        "sent_at": 6.0,
        "last_seen": 7.0,
        "ack_timeout": 90.0,
        "consumers": ["a", "b"],
        "ready": 0,
        "client": None,
    }
    assert list(switch.evidence(facts)) == [
        switch.Evidence("time", 5.0, ""),
        switch.Evidence("sent", 6.0, ""),
        switch.Evidence("last seen", 7.0, ""),
        switch.Evidence("ack timeout", None, "1 min 30 s"),
        switch.Evidence("consumers", None, "a, b"),
        switch.Evidence("ready", None, "0"),
    ]
