from __future__ import annotations

import pytest
from django.test.utils import override_script_prefix
from django.urls import reverse

from queues.core.answers import Health, HealthSample, Usage
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


def test_evidence_tells_times_from_texts_and_messages() -> None:
    chain = [{"message": 1, "queue": "foo", "state": "held", "holder": "a"}]
    facts = {
        "at": 5.0,
        "sent_at": 6.0,
        "last_seen": 7.0,
        "ack_timeout": 90.0,
        "consumers": ["a", "b"],
        "ready": 0,
        "client": None,
        "queue": "foo",
        "oldest_held": 17,
        "chain": chain,
        "end": "held",
        "end_evidence": {"since": 8.0, "holder": "b"},
        "nobody": [],
    }
    assert list(switch.evidence(facts)) == [
        switch.Evidence("time", at=5.0),
        switch.Evidence("sent", at=6.0),
        switch.Evidence("last seen", at=7.0),
        switch.Evidence("ack timeout", text="1 min 30 s"),
        switch.Evidence("consumers", text="a, b"),
        switch.Evidence("ready", text="0"),
        switch.Evidence("oldest held", message=17),
        switch.Evidence("chain", steps=chain),
        switch.Evidence("verdict at the end", text="held"),
        switch.Evidence("since at the end", at=8.0),
        switch.Evidence("holder at the end", text="b"),
    ]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0.0, "0.00 ms"),
        (0.000_412, "0.41 ms"),
        (0.009_996, "10.0 ms"),
        (0.012_34, "12.3 ms"),
        (0.099_96, "100 ms"),
        (0.184_2, "184 ms"),
        (0.999_6, "1.00 s"),
        (1.237, "1.24 s"),
        (12.37, "12.4 s"),
        (99.96, "100 s"),
        (200.0, "3 min 20 s"),
    ],
)
def test_how_long_something_took(seconds: float | None, shown: str) -> None:
    assert switch.took(seconds).replace("\xa0", " ") == shown


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(0, "0"), (0.004, "0"), (0.25, "0.25"), (0.996, "1.0"), (9.96, "10"), (1_250.4, "1,250")],
)
def test_rates(rate: float, shown: str) -> None:
    assert switch.rate(rate) == shown


def test_links_lead_to_their_pages() -> None:
    assert switch.queue_link("a+b@c~d") == '<a class="name" href="/queues/a+b@c~d/">a+b@c~d</a>'
    assert switch.message_link(10) == '<a class="id" href="/messages/10/">10</a>'
    for name in ("a+b@c~d", "a.b-c_d:e=f"):
        assert f'href="{reverse("queues:queue", args=[name])}"' in switch.queue_link(name)
    assert "&lt;b&gt;" in switch.queue_link("<b>")


def test_links_keep_what_the_pages_are_below() -> None:
    with override_script_prefix("/sw/"):
        assert 'href="/sw/messages/10/"' in switch.message_link(10)
    assert 'href="/messages/10/"' in switch.message_link(10)


def test_links_lead_to_other_pages_for_a_while() -> None:
    with switch.links_into("admin:queues_diagnostics_"):
        assert 'href="/admin/queues/diagnostics/messages/10/"' in switch.message_link(10)
        assert switch.page("queues") == "/admin/queues/diagnostics/queues/"
    assert 'href="/messages/10/"' in switch.message_link(10)
    assert switch.page("queues") == "/queues/"


def test_a_word_and_its_meaning_belong_together() -> None:
    button = switch.term("p95", "95 %")
    assert 'popovertarget="word-p95"' in button
    assert button.endswith(">95 %</button>")
    assert '<div class="word" id="word-p95" popover><b>p95</b>' in switch.glossary()


def health(*sent: int) -> Health:
    history = [
        HealthSample(
            at=100.0 + 5 * n, sent=s, delivered=0, finished=0, memory=None, loop_lag=0.001 * n
        )
        for n, s in enumerate(sent)
    ]
    return Health(
        now=200.0,
        started_at=0.0,
        version="1",
        memory=None,
        cpu=0.0,
        descriptors=None,
        descriptor_limit=None,
        threads=1,
        tasks=1,
        loop_lag=0.0,
        worst_loop_lag=0.0,
        journal="off",
        store_down_since=None,
        trace_dropped=0,
        usage=[],
        history=history,
    )


def test_curves_of_what_grows_show_how_quickly() -> None:
    assert switch.last_rate(health(0, 50, 150), "sent") == "20"
    assert switch.highest_rate(health(0, 150, 200), "sent") == "30"
    assert "Sent: 20 now, lowest 10, highest 20" in switch.rate_curve(
        health(0, 50, 150), "sent", "Sent"
    )
    for short in (health(), health(5)):
        assert switch.last_rate(short, "sent") == switch.highest_rate(short, "sent") == "–"
        assert "Sent: nothing yet" in switch.rate_curve(short, "sent", "Sent")


def test_curves_of_what_is_now() -> None:
    drawn = switch.curve(health(0, 0, 0), "loop_lag", "Lag").replace("\xa0", " ")
    assert "Lag: 2.00 ms now, lowest 0.00 ms, highest 2.00 ms" in drawn
    assert "Memory: nothing yet" in switch.curve(health(0, 0), "memory", "Memory")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.049, "On time"), (0.05, "Late"), (0.9, "Late"), (1.0, "Very late")]
)
def test_a_late_event_loop(seconds: float, shown: str) -> None:
    assert f">{shown}<" in switch.lag(seconds)
