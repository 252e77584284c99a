from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import pytest
from django.test import Client

from queues.core.events import Event
from queues.core.limits import Limits
from queues.core.messages import PARENT, Draft, Reply
from queues.pages import trace as pages
from queues.pages.trace import Filter
from tests.running import Do, running_switch

SCRIPT = "<script>alert(1)</script>"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def do() -> Iterator[Do[Any]]:
    with running_switch() as do:
        yield do


def page(client: Client, query: str = "") -> str:
    answer = client.get(f"/trace/{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def text(content: str) -> str:
    """A page without its tags, every white space a single blank."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", content))


def rows(client: Client, query: str = "") -> list[str]:
    """The listed events, newest first, as text without their times."""
    content = page(client, query)
    found = re.findall(r"<tr data-key.*?</tr>", content, re.DOTALL)
    return [re.sub(r"^ ?[\d:.]+ ", "", text(row)).strip() for row in found]


def steps(client: Client, query: str = "") -> list[str]:
    """The steps of the chart, as they say themselves, without their times."""
    found = re.findall(r'<g class="step[^>]*><title>[\d:.]+ (.*?)</title>', page(client, query))
    return [step.replace("&quot;", '"') for step in found]


def logged_in(do: Do[Any], client: str, *queues: str) -> str:
    token = str(do(lambda e: e.login(client, 60)).session)
    for name in queues:
        do(lambda e, name=name: e.create_queue(name))
        do(lambda e, name=name: e.subscribe(name, session=token))
    return token


def take(do: Do[Any], token: str) -> int:
    (message,) = do(lambda e: e.transfer(session=token)).messages
    return int(message.id)


def calling(
    do: Do[Any], queue: str, payload: str, token: str | None, parent: int | None = None
) -> None:
    """A call that waits for its reply."""

    async def start(engine: Any) -> None:
        headers = None if parent is None else {PARENT: str(parent)}
        draft = Draft(payload, headers=headers)
        engine.start_call(
            queue,
            draft,
            timeout=60,
            wait_for_server=True,
            then=lambda wait: None,
            session=token,
        )

    do(start)


def nested(do: Do[Any]) -> tuple[int, int]:
    """web calls foo; the handler, cat, calls bar, served by dog. Both are answered."""
    web, cat, dog = logged_in(do, "web"), logged_in(do, "cat", "foo"), logged_in(do, "dog", "bar")
    calling(do, "foo", "hello", web)
    outer = take(do, cat)
    calling(do, "bar", "inner", cat, parent=outer)
    inner = take(do, dog)
    do(lambda e: e.reply(Reply(id=inner, payload="INNER"), session=dog))
    do(lambda e: e.reply(Reply(id=outer, payload="HELLO"), session=cat))
    return outer, inner


def test_nothing_has_happened(client: Client, do: Do[Any]) -> None:
    shown = text(page(client))
    assert "Nothing has happened yet." in shown
    assert "The trace has 0 events. None has been dropped." in shown
    assert "<svg" not in page(client)


def test_events_newest_first(client: Client, do: Do[Any]) -> None:
    outer, _ = nested(do)
    listed = rows(client)
    assert listed[0] == f"Answered {outer} call foo cat"
    assert re.fullmatch(r"Sent \d+ call to the caller cat HELLO", listed[1])
    assert listed[-1] == "Logged in web"
    assert len(listed) == 15


def test_the_chart_has_the_same_events_in_order(client: Client, do: Do[Any]) -> None:
    outer, inner = nested(do)
    assert steps(client)[-6:] == [
        f"{outer} sent: web → foo: hello",
        f"{outer} handed over: foo → cat",
        f"{inner} sent: cat → bar: inner",
        f"{inner} handed over: bar → dog",
        f"{inner} answered: dog → cat: INNER",
        f"{outer} answered: cat → web: HELLO",
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("queue=bar", ["replied", "sent", "delivered", "sent", "subscribed", "queue_created"]),
        ("client=web", ["sent", "login"]),
        ("kind=login", ["login", "login", "login"]),
        ("text=INNER", ["sent", "sent"]),
        ("text=handed", ["delivered", "delivered"]),
        ("queue=bar&client=dog&kind=sent", ["sent"]),
        ("queue=ba", []),
        ("kind=nonsense&queue=foo&text=HELLO", ["sent", "sent"]),
    ],
)
def test_filters(client: Client, do: Do[Any], query: str, found: list[str]) -> None:
    nested(do)
    shown = page(client, f"?{query}")
    assert re.findall(r'class="kind kind-(\w+)"', shown) == found
    assert ("No event matches." in shown) == (found == [])


def test_a_filter_by_message_shows_its_whole_call(client: Client, do: Do[Any]) -> None:
    outer, inner = nested(do)
    do(lambda e: e.send("foo", Draft("other")))
    for message in (outer, inner):
        assert steps(client, f"?message={message}") == steps(client, "?")[-7:-1]
    assert rows(client, "?message=abc") == []
    assert f'value="{outer}"' in page(client, f"?message={outer}")


def test_the_caller_is_known_although_only_the_answer_is_chosen(
    client: Client, do: Do[Any]
) -> None:
    outer, inner = nested(do)
    assert steps(client, "?kind=replied") == [
        f"{inner} answered: dog → cat: INNER",
        f"{outer} answered: cat → web: HELLO",
    ]


def test_the_form_keeps_what_was_asked_for(client: Client, do: Do[Any]) -> None:
    nested(do)
    shown = page(client, "?queue=foo&kind=sent&client=c&text=t&show=25")
    for part in (
        'name="queue" value="foo"',
        '<option value="sent" selected>Sent</option>',
        'name="client" value="c"',
        'name="text" value="t"',
        "<option selected>25</option>",
    ):
        assert part in shown, part


def test_paging_back_in_time(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    for order in range(60):
        do(lambda e, order=order: e.send("foo", Draft(f"order {order}")))
    query = "?text=order&show=25"
    seen: list[str] = []
    for pages_left in (2, 1, 0):
        shown = page(client, query)
        seen += re.findall(r"<bdi>(order \d+)</bdi></td>", shown)
        assert ("Newest" in shown) == (pages_left < 2)
        older = re.search(r'href="([^"]+)">Older', shown)
        assert (older is not None) == (pages_left > 0)
        query = older[1].replace("&amp;", "&") if older else ""
    assert seen == [f"order {order}" for order in range(59, -1, -1)]


def test_older_than_all(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    assert "The trace has nothing older." in page(client, "?before=1")


@pytest.mark.parametrize(
    "query", ["before=x", "show=7", "step=x", "step=99", "step=-1", "kind=x", "move=1"]
)
def test_a_query_that_makes_no_sense_shows_everything(
    client: Client, do: Do[Any], query: str
) -> None:
    nested(do)
    assert len(rows(client, f"?{query}")) == 15
    assert "step current" not in page(client, f"?{query}")


def test_dropped_events_are_counted(client: Client) -> None:
    with running_switch(Limits(trace_events=10)) as do:
        do(lambda e: e.create_queue("foo"))
        for _ in range(1_010):
            do(lambda e: e.send("foo", Draft("x")))
        shown = text(page(client))
    assert "The trace has 10 events. 1,001 older ones had to be dropped" in shown


def test_a_search_goes_through_the_whole_trace(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    do(lambda e: e.send("foo", Draft("needle")))
    drafts = [Draft("hay")] * 1_000
    for _ in range(5):
        do(lambda e: e.send_many("foo", drafts))
    assert len(rows(client, "?text=needle")) == 1


def test_a_search_that_takes_long_stops_and_says_so(
    client: Client, do: Do[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "SEARCH_TIME", -1.0)
    do(lambda e: e.create_queue("foo"))
    do(lambda e: e.send("foo", Draft("needle")))
    for _ in range(3):
        do(lambda e: e.send_many("foo", [Draft("hay")] * 1_000))
    shown = page(client, "?text=needle")
    assert "No event matches among the 2,000 looked at." in text(shown)
    assert "stopped after 2,000 events" in text(shown)
    older = re.search(r'href="([^"]+)">Older', shown)
    assert older is not None
    assert len(rows(client, older[1].replace("&amp;", "&"))) == 1


def test_time_stands_still_at_a_step(client: Client, do: Do[Any]) -> None:
    outer, _ = nested(do)
    shown = page(client, "?queue=foo&step=3")
    assert re.findall(r'<g class="(step[^"]*)"', shown) == [
        "step",
        "step",
        "step current",
        "step later",
        "step later",
    ]
    assert f"3 of 5 {outer} sent: web → foo: hello Message" in re.sub(
        r"[\d:]+\.\d{3} ", "", text(shown)
    )
    assert 'min="1" max="5" value="3"' in shown


@pytest.mark.parametrize(
    ("query", "at"),
    [("step=3&move=-1", 2), ("step=3&move=1", 4), ("step=1&move=-1", 1), ("step=5&move=1", 5)],
)
def test_a_step_back_and_on(client: Client, do: Do[Any], query: str, at: int) -> None:
    nested(do)
    shown = page(client, f"?queue=foo&{query}")
    assert f"<b>{at} of 5</b>" in shown
    assert shown.count("step later") == 5 - at


def test_what_is_exported_stays_the_same_while_things_go_on(client: Client, do: Do[Any]) -> None:
    nested(do)
    shown = page(client, "?queue=foo")
    (address,) = re.findall(r'href="(/trace/chart.mscgen[^"]+)"', shown)
    address = address.replace("&amp;", "&")
    before = client.get(address).content
    do(lambda e: e.send("foo", Draft("later")))
    assert client.get(address).content == before
    assert b"later" not in before


def test_the_chart_as_a_file(client: Client, do: Do[Any]) -> None:
    outer, _ = nested(do)
    answer = client.get(f"/trace/chart.svg?message={outer}")
    assert answer["Content-Type"] == "image/svg+xml; charset=utf-8"
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]+'; frame-ancestors 'none'",
        answer["Content-Security-Policy"],
    )
    root = ElementTree.fromstring(answer.content.decode())
    assert root.findtext(f"{SVG}title") == f"Events of the call that message {outer} belongs to"
    assert len([g for g in root.iter(f"{SVG}g") if g.get("class") == "step"]) == 6


def test_the_chart_for_mscgen(client: Client, do: Do[Any]) -> None:
    outer, _ = nested(do)
    answer = client.get(f"/trace/chart.mscgen?message={outer}")
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    content = answer.content.decode()
    assert content.count("=>") == 4
    assert 'label="client\\nweb"' in content


@pytest.mark.parametrize("path", ["/trace/", "/trace/chart.svg", "/trace/chart.mscgen"])
def test_pages_are_for_looking_only_and_need_a_switch(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
    assert client.get(path).status_code == 503


def test_hostile_texts_are_escaped(client: Client, do: Do[Any]) -> None:
    session = logged_in(do, SCRIPT, "foo")
    do(lambda e: e.send("foo", Draft(SCRIPT + "\x00\u202e"), session=session))
    query = "?client=" + SCRIPT.replace("<", "%3C")
    for path in (
        "/trace/",
        f"/trace/{query}",
        f"/trace/chart.svg{query}",
        "/trace/?text=%3Cscript",
    ):
        content = client.get(path).content.decode()
        assert "<script>" not in content
        assert "\x00" not in content
        assert "\u202e" not in content
        assert "&lt;script&gt;" in content, path


def test_labels_say_what_was_chosen() -> None:
    assert pages.label(Filter()) == "Events"
    assert pages.label(Filter("foo", "sent", "web", "7", "x")) == (
        "Events of queue foo of kind sent by web of the call that message 7 belongs to with “x”"
    )


def test_the_response_to_a_call_belongs_to_the_queue_of_its_request() -> None:
    response = Event(1, 1.0, "sent", "call.9", 6, "cat", "HELLO")
    replied = Event(2, 1.0, "replied", "foo", 5, "cat")
    assert Filter(queue="foo").wants(response, replied)
    assert not Filter(queue="bar").wants(response, replied)
    assert not Filter(queue="foo").wants(response, None)
    other = Event(2, 1.0, "replied", "foo", 5, "dog")
    assert not Filter(queue="foo").wants(response, other)
