from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from queues.core.messages import Draft
from queues.core.queue import Policy
from queues.pages import services
from tests.running import Do, running_switch

SCRIPT = "<script>alert(1)</script>"
PAGES = ["/", "/queues/", "/queues/foo/", "/messages/1/", "/sessions/"]


@pytest.fixture
def do() -> Iterator[Do[Any]]:
    with running_switch() as do:
        yield do


def text(client: Client, path: str, status: int = 200) -> str:
    """A page without its tags, every white space a single blank."""
    answer = client.get(path)
    assert answer.status_code == status, path
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def send(do: Do[Any], queue: str, payload: str = "hello", **fields: Any) -> int:
    sent = do(lambda e: e.send(queue, Draft(payload=payload, **fields)))
    return int(sent.id)


@pytest.mark.parametrize("path", PAGES)
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


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_pages_are_for_looking_only(client: Client, do: Do[Any], path: str, method: str) -> None:
    assert getattr(client, method)(path).status_code == 405


def test_pages_are_never_cached(client: Client, do: Do[Any]) -> None:
    assert "no-store" in client.get("/")["Cache-Control"]


def test_an_empty_switch(client: Client, do: Do[Any]) -> None:
    assert "No service has a queue yet" in text(client, "/")
    assert "No persistent queue is here" in text(client, "/queues/")
    assert "Nobody is logged in" in text(client, "/sessions/")


def test_services_are_grouped_by_what_they_need(client: Client, do: Do[Any]) -> None:
    for name in ("called", "left", "served", "unused"):
        do(lambda e, name=name: e.create_queue(name))
    send(do, "called")
    worker = do(lambda e: e.login("worker-1", 60)).session
    for name in ("left", "served"):
        do(lambda e, name=name: e.subscribe(name, session=worker))
    do(lambda e: e.unsubscribe("left", session=worker))
    shown = text(client, "/")
    order = [
        shown.index(words)
        for words in (
            "no server has ever subscribed. Start one.",
            "called 1 ready",
            "The last server left in order.",
            "left 0 ready",
            "At least one server asks for messages.",
            "served 0 ready · 0 held Served by worker-1",
            "nobody has sent to it or subscribed.",
            "unused",
        )
    ]
    assert order == sorted(order)


def test_a_message_in_the_overview(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    do(lambda e: e.create_queue("answers"))
    sender = do(lambda e: e.login("client-7", 60)).session
    draft = Draft(payload="x" * 100, reply_to="answers")
    id = do(lambda e: e.send("foo", draft, session=sender)).id
    gone = send(do, "foo", reply_to="nowhere")
    plain = send(do, "foo", payload="")
    shown = re.sub(r"\d\.\d s", "AGE", text(client, "/"))
    assert f"{id} Ready AGE client-7 {'x' * 79}… Waits" in shown
    assert f"{gone} Ready AGE no session hello Gone" in shown
    assert f"{plain} Ready AGE no session empty No reply asked" in shown


def test_the_overview_shows_the_oldest_and_counts_the_rest(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    for _ in range(25):
        send(do, "foo")
    assert "5 more in foo" in text(client, "/")


def test_limits_in_use(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    send(do, "foo", payload="x" * 2048)
    shown = text(client, "/")
    assert "Queues 1 100,000" in shown
    assert "Total bytes 2.0\xa0KB 1.0\xa0GB" in shown or "Total bytes 2.0 KB 1.0 GB" in shown


def test_queues_are_filtered_by_kind_and_prefix(client: Client, do: Do[Any]) -> None:
    owner = do(lambda e: e.login("owner-1", 60)).session
    for name in ("apple", "apricot", "pear"):
        do(lambda e, name=name: e.create_queue(name))
    fresh = do(lambda e: e.create_fresh_queue(session=owner)).name
    assert fresh not in text(client, "/queues/")
    shown = text(client, "/queues/?kind=transient")
    assert f"{fresh} of owner-1" in shown
    assert "apple" not in shown
    shown = text(client, "/queues/?kind=all&prefix=ap")
    assert "apricot" in shown
    assert "pear" not in shown
    assert f"No queue starts with {SCRIPT}".replace("<", "&lt;").replace(">", "&gt;") in text(
        client, f"/queues/?kind=all&prefix={SCRIPT}"
    )


def test_queues_are_paged(client: Client, do: Do[Any]) -> None:
    for number in range(services.PAGE + 1):
        do(lambda e, number=number: e.create_queue(f"queue-{number:03}"))
    first = client.get("/queues/?prefix=queue").content.decode()
    assert "queue-099" in first
    assert "queue-100" not in first
    following = re.search(r'href="([^"]+)">Next page', first)
    assert following is not None
    second = text(client, "/queues/" + following[1].replace("&amp;", "&"))
    assert "queue-100" in second
    assert "queue-099" not in second
    assert "First page" in second
    assert "Next page" not in second


def test_a_queue(client: Client, do: Do[Any]) -> None:
    policy = Policy(ttl=90, ack_timeout=5, max_deliveries=3, on_expire="dead", max_length=1234)
    do(lambda e: e.create_queue("foo", policy))
    worker = do(lambda e: e.login("worker-1", 60)).session
    do(lambda e: e.subscribe("foo", session=worker))
    held, ready, later = send(do, "foo"), send(do, "foo"), send(do, "foo", delay=60)
    do(lambda e: e.transfer(session=worker))
    shown = text(client, "/queues/foo/")
    for words in (
        "Service Running",
        "Servers 1, 0 asking now",
        "Sent 3",
        "Handed over 1",
        "Kind Persistent",
        "Most messages 1,234",
        "Time to live 1 min 30 s",
        "When that ends kept as dead",
        "Ack timeout 5.0 s",
        "Most deliveries 3",
        f"{held} Held by worker-1",
        f"{ready} Ready",
        f"{later} Delayed",
    ):
        assert words in shown, words
    assert str(ready) not in text(client, "/queues/foo/?state=held")
    assert "No dead messages." in text(client, "/queues/foo/?state=dead")
    assert str(later) in text(client, f"/queues/foo/?after={ready}")
    assert str(ready) not in text(client, f"/queues/foo/?after={ready}")


@pytest.mark.parametrize("query", ["state=nonsense", "after=x", "after=-1", "after=" + "9" * 5000])
def test_a_query_that_makes_no_sense_shows_everything(
    client: Client, do: Do[Any], query: str
) -> None:
    do(lambda e: e.create_queue("foo"))
    id = send(do, "foo")
    assert str(id) in text(client, f"/queues/foo/?{query}")


def test_a_message(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    id = send(
        do,
        "foo",
        payload="line one\nline two",
        headers={"trace-id": "abc"},
        correlation_id="c-1",
        reply_to="back",
        key="k-1",
        ttl=60,
    )
    shown = text(client, f"/messages/{id}/")
    for words in (
        "no server has ever subscribed to foo.",
        "Next Start a server for foo.",
        "Delivery count 0",
        "Payload 17 characters",
        "line one line two",
        "trace-id abc",
        "Sent line one line two",
        "Correlation id c-1",
        "Reply to back",
        "Key k-1",
        "Caller Gone",
        "Sender no session",
        "Expires in ",
    ):
        assert words in shown, words


def test_a_long_payload_is_shown_whole(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    id = send(do, "foo", payload="x" * 10_000 + "end")
    assert "x" * 10_000 + "end" in client.get(f"/messages/{id}/").content.decode()


def test_a_message_that_ended(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    id = send(do, "foo")
    do(lambda e: e.drop_message("foo", id))
    shown = text(client, f"/messages/{id}/")
    assert "Ended dropped" in shown
    assert "Dropped" in shown


def test_hostile_texts_are_escaped(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    session = do(lambda e: e.login(SCRIPT, 60)).session
    do(lambda e: e.subscribe("foo", session=session))
    draft = Draft(payload=SCRIPT, headers={SCRIPT: SCRIPT}, correlation_id=SCRIPT, key=SCRIPT)
    id = do(lambda e: e.send("foo", draft, session=session)).id
    do(lambda e: e.transfer(session=session))
    for path in ("/", "/queues/foo/", f"/messages/{id}/", "/sessions/"):
        content = client.get(path).content.decode()
        assert "<script>" not in content, path
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content, path


def test_sessions(client: Client, do: Do[Any]) -> None:
    server = do(lambda e: e.login("server-1", 90)).session
    do(lambda e: e.create_queue("foo"))
    do(lambda e: e.subscribe("foo", session=server))
    do(lambda e: e.login("onlooker", 60))
    shown = text(client, "/sessions/")
    assert re.search(r"server-1 Working 0\.\d s ago 1 min 30 s 0\.\d s ago 0 foo none", shown)
    assert re.search(r"onlooker not a server 0\.\d s ago 1 min 0\.\d s ago 0 none none", shown)


def test_what_is_not_there(client: Client, do: Do[Any]) -> None:
    assert "There is no queue &#x27;foo&#x27;." in text(client, "/queues/foo/", 404)
    assert "the trace remembers none" in text(client, "/messages/7/", 404)
    assert "There is nothing at this address." in text(client, "/nothing/", 404)
    assert "There is nothing at this address." in text(client, "/messages/x/", 404)


def test_the_icon(client: Client) -> None:
    answer = client.get(reverse("queues:icon"))
    assert answer.status_code == 302
    assert client.get(answer["Location"])["Content-Type"] == "image/svg+xml"


def test_a_page_that_fails_says_so(do: Do[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(operation: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(services, "ask", broken)
    assert "Something broke" in text(Client(raise_request_exception=False), "/", 500)


def test_a_form_that_expired_says_so() -> None:
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "x"})
    assert answer.status_code == 403
    assert b"Form expired" in answer.content
