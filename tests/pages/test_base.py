"""What all pages have in common."""

from __future__ import annotations

import re
from concurrent.futures import CancelledError
from typing import Any

import pytest
from django.test import Client

from queues.pages import services
from tests.running import Do

from .showing import text

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
