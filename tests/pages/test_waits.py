from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from queues.core.answers import WaitNode
from queues.pages import waits as pages
from queues.pages.waits import address
from tests.acceptance.conftest import until
from tests.running import Do, running_switch

from .test_trace import SCRIPT, calling, logged_in, take, text


@pytest.fixture
def do() -> Iterator[Do[Any]]:
    with running_switch() as do:
        yield do


def page(client: Client) -> str:
    answer = client.get("/waits/")
    assert answer.status_code == 200
    return answer.content.decode()


def rows(client: Client) -> list[str]:
    found = re.findall(r"<tr data-key.*?</tr>", page(client), re.DOTALL)
    return [re.sub(r"\d+\.\d s", "AGE", text(row)).strip() for row in found]


def test_nobody_waits(client: Client, do: Do[Any]) -> None:
    assert "Nobody waits for a reply now." in page(client)


def test_a_call_that_is_served(client: Client, do: Do[Any]) -> None:
    web, cat = logged_in(do, "web"), logged_in(do, "cat", "foo")
    calling(do, "foo", "hello", web)
    message = take(do, cat)
    assert rows(client) == [
        f"caller web service foo {message} AGE Waits",
        f"service foo server cat {message} AGE Waits",
    ]
    shown = page(client)
    assert "Deadlock" not in shown
    assert '<a href="/queues/foo/"><title>service foo</title>' in shown
    assert '<a href="/trace/?client=web"><title>caller web</title>' in shown
    assert re.search(r'<a href="/sessions/\d+/"><title>server cat</title>', shown)


def test_a_deadlock_is_told_first(client: Client, do: Do[Any]) -> None:
    other = logged_in(do, "other")
    calling(do, "slow", "first", other)
    web, cat, dog = logged_in(do, "web"), logged_in(do, "cat", "foo"), logged_in(do, "dog", "bar")
    calling(do, "foo", "hello", web)
    outer = take(do, cat)
    calling(do, "bar", "inner", cat, parent=outer)
    inner = take(do, dog)
    calling(do, "foo", "again", dog, parent=inner)
    # A server that pulls is given a second to ask for more.
    until(lambda: "Deadlock" in page(client), "the switch sees that nothing goes on")
    shown = re.sub(r"\d+\.\d s", "AGE", text(page(client)))
    told = shown[shown.index("Deadlock") : shown.index("Who waits for whom")]
    circle = re.sub(r"\d{10,}", "ID", told).split("itself. ")[1].strip()
    assert re.split(r" \(message ID , AGE \) ?", circle)[:-1] == [
        "service foo waits for server cat",
        "server cat waits for service bar",
        "service bar waits for server dog",
        "server dog waits for service foo",
    ]
    listed = rows(client)
    assert [row.endswith("Locked") for row in listed] == [True] * 5 + [False]
    assert page(client).count("locked</title>") == 5


def test_of_many_deadlocks_the_first_are_told(
    client: Client, do: Do[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_CIRCLES", 1)
    for number in range(3):
        queue = f"foo-{number}"
        server = logged_in(do, f"cat-{number}", queue)
        calling(do, queue, "hello", None)
        held = take(do, server)
        calling(do, queue, "to itself", server, parent=held)
    until(lambda: "2 more deadlocks" in text(page(client)), "the switch sees the deadlocks")
    assert page(client).count('aria-label="Deadlock"') == 1


def test_what_is_left_out_is_counted(client: Client, do: Do[Any]) -> None:
    web = logged_in(do, "web")
    for _ in range(130):
        calling(do, "foo", "hello", web)
    shown = text(page(client))
    assert "30 more waits are not shown." in shown
    assert "100×" in shown


def test_hostile_texts_are_escaped(client: Client, do: Do[Any]) -> None:
    web = logged_in(do, SCRIPT)
    calling(do, "foo", "hello", web)
    shown = page(client)
    assert "<script>alert" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown


def test_it_is_for_looking_only_and_needs_a_switch(client: Client) -> None:
    assert client.post("/waits/").status_code == 405
    assert client.get("/waits/").status_code == 503


def test_callers_that_cannot_be_told_apart_lead_nowhere(client: Client, do: Do[Any]) -> None:
    calling(do, "foo", "hello", None)
    assert "<title>caller a caller without a session</title>" in page(client)
    assert "?client=" not in page(client)
    node = WaitNode(key="caller web", kind="caller", label="web", session=None)
    assert address(node) == "/trace/?client=web"
