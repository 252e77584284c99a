"""What all pages have in common."""

from __future__ import annotations

import re
from concurrent.futures import CancelledError
from typing import Any

import pytest
from django.test import Client

from queues.core.messages import Draft
from queues.pages import services
from tests.running import Do

from .markup import Markup
from .showing import login, send, text

PAGES = [
    "/",
    "/queues/",
    "/queues/foo/",
    "/messages/1/",
    "/sessions/",
    "/sessions/1/",
    "/waits/",
    "/trace/",
    "/health/",
]


@pytest.mark.parametrize("path", [*PAGES, "/live/"])
def test_without_a_switch_every_page_says_so(client: Client, path: str) -> None:
    shown = text(client, path, 503)
    assert "The switch does not answer" in shown
    assert "daphne switchproject.asgi:application" in shown


@pytest.mark.parametrize("error", [TimeoutError(), CancelledError()])
def test_a_stuck_event_loop_is_no_crash(
    client: Client, do: Do[Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def stuck(operation: object) -> None:
        raise error

    monkeypatch.setattr(services, "ask", stuck)
    assert "It did not answer in time" in text(client, "/", 503)


@pytest.mark.parametrize("path", [*PAGES, "/live/"])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_pages_are_for_looking_only(client: Client, do: Do[Any], path: str, method: str) -> None:
    assert getattr(client, method)(path).status_code == 405


def test_pages_are_never_cached(client: Client, do: Do[Any]) -> None:
    assert "no-store" in client.get("/")["Cache-Control"]


def test_a_page_that_fails_says_so(do: Do[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(operation: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(services, "ask", broken)
    answer = Client(raise_request_exception=False).get("/")
    assert answer.status_code == 500
    assert b"Something broke" in answer.content


def test_a_form_that_expired_says_so() -> None:
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "x"})
    assert answer.status_code == 403
    assert b"Form expired" in answer.content


def test_an_address_with_nothing_at_it_says_so(client: Client, do: Do[Any]) -> None:
    for path in ("/nothing/", "/messages/x/", "/sessions/x/"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert b"There is nothing at this address." in answer.content


def test_a_page_follows_from_the_newest_event_that_it_knows_of(client: Client, do: Do[Any]) -> None:
    def after() -> int:
        found = re.search(r'data-url="/live/" data-after="(\d+)"', client.get("/").content.decode())
        assert found is not None
        return int(found[1])

    newest = do(lambda e: e.trace(limit=0)).next
    assert after() == newest
    do(lambda e: e.create_queue("foo"))
    assert after() == newest + 1


def test_the_page_that_one_is_on_is_marked(client: Client, do: Do[Any]) -> None:
    for path, name in {
        "/": "Overview",
        "/queues/": "Queues",
        "/sessions/": "Sessions",
        "/waits/": "Waits",
        "/trace/": "Trace",
        "/health/": "Health",
    }.items():
        marked = re.findall(r'aria-current="page">(\w+)</a>', client.get(path).content.decode())
        assert marked[0] == name, path


def test_nothing_is_inline(client: Client, do: Do[Any]) -> None:
    """A page that had any would be broken by its own policy."""
    do(lambda e: e.create_queue("foo"))
    for path in PAGES:
        content = client.get(path).content.decode()
        assert not re.search(r"<style|<script(?![^>]* src=)|\sstyle=|\son\w+=", content), path


def test_the_markup_is_valid(client: Client, do: Do[Any]) -> None:
    """Pages with something of everything that they may show."""
    worker = login(do, "worker", "foo")
    fresh = do(lambda e: e.create_fresh_queue(session=worker)).name
    held, dead = send(do, "foo", '{"method": "m"}'), send(do, "foo")
    do(lambda e: e.transfer(session=worker, limit=2))
    do(lambda e: e.nack([dead], session=worker, requeue=False))
    ended = send(do, "foo", "hello", headers={"switch-parent": str(held)}, key="k")
    do(lambda e: e.drop_message("foo", ended))
    do(lambda e: e.create_queue("called"))

    async def call(engine: Any) -> None:
        draft = Draft(payload="x", headers={"switch-parent": str(held)})
        options = {"timeout": 60, "wait_for_server": True, "session": worker}
        engine.start_call("called", draft, then=lambda _: None, **options)

    do(call)
    number = do(lambda e: e.diagnostics()).sessions[0].id
    paths = [*PAGES, "/queues/called/", f"/queues/{fresh}/", "/queues/?kind=all&after=a"]
    paths += ["/queues/foo/?state=dead&search=x", "/queues/foo/?search=nothing", "/nothing/"]
    paths += [f"/messages/{id}/" for id in (held, dead, ended)] + [f"/messages/{dead}/?as=json"]
    paths += [f"/sessions/{number}/", f"/trace/?message={held}"]
    for path in paths:
        content = client.get(path).content.decode()
        assert Markup(content).problems == [], path


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("<p>a<div>b</div></p>", "<div> in"),
        ("<ul><p>a</p></ul>", "<p> in <ul>"),
        ("<table><tr></tr></table>", "<tr> in <table>"),
        ("<b>a", "not closed"),
        ("<b><i>a</b></i>", "</b> in"),
        ("<b id=a></b><i id=a></i>", "the id 'a' twice"),
        ("<b id=a id=b></b>", "an attribute twice"),
        ("<a href='#x'>a</a>", "nothing has the id x"),
        ("<a href='/'><button>a</button></a>", "<button> in"),
        ("<dl>a</dl>", "text in <dl>"),
        ("<b/>", "<b/>"),
    ],
)
def test_what_is_wrong_with_markup_is_seen(body: str, problem: str) -> None:
    assert any(problem in each for each in Markup(f"<!doctype html>\n{body}").problems)
    assert Markup("<!doctype html>\n<p id=a>a<br><b>b</b></p>").problems == []
