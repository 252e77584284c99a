from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from queues.core.messages import Draft
from queues.core.queue import Policy
from queues.pages import services
from queues.pages.payload import MOST_CHARACTERS
from queues.templatetags.switch import MOST_SERVICES
from tests.running import Do

from .showing import SCRIPT, live, login, plain, send, text


def rows(markup: str) -> list[str]:
    """The rows of the tables, as texts, times of less than a second as AGE."""
    found = re.findall(r"<tr.*?</tr>", markup, re.DOTALL)
    return [re.sub(r"0\.\d s", "AGE", plain(row)).strip() for row in found]


def test_an_empty_switch(client: Client, do: Do[Any]) -> None:
    shown = text(client, "/")
    assert "No service has a queue yet" in shown
    assert "No call is stuck." in shown
    assert "No persistent queue is here" in text(client, "/queues/")
    assert "Nobody is logged in" in text(client, "/sessions/")


# -- the overview -----------------------------------------------------------------------------


def test_services_by_how_urgent_they_are(client: Client, do: Do[Any]) -> None:
    login(do, "worker-1", "served")
    for name in ("called", "unused"):
        do(lambda e, name=name: e.create_queue(name))
    send(do, "called")
    do(lambda e: e.create_queue("stopped"))
    do(lambda e: e.pause_queue("stopped"))
    markup = live(client, "/")
    services = [row for row in rows(markup) if re.match("called|served|unused|stopped", row)]
    assert services[0].startswith("called Stuck Never started 1 0 0 AGE 0")
    assert services[1].startswith("stopped Warning Paused 0 0 0 – 0")
    assert {row[: row.index(" ")] for row in services[2:]} == {"served", "unused"}
    assert "served OK Idle 0 0 0 – 1" in " ".join(services)
    assert "1 Stuck service" in plain(markup)
    assert "1 Warning service" in plain(markup)
    assert "2 OK services" in plain(markup)


def test_stuck_calls_come_first(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    caller = login(do, "client-7")
    engine_call = {"timeout": 60, "wait_for_server": True, "session": caller}

    async def call(engine: Any) -> int:
        wait = engine.start_call("foo", Draft(payload="x"), then=lambda _: None, **engine_call)
        return int(wait.call.request)

    id = do(call)
    markup = live(client, "/")
    assert markup.index("Stuck calls") < markup.index('class="cards services"')
    shown = re.sub(r"0\.\d s", "AGE", plain(markup))
    assert f"Stuck never_started call {id} to foo by client-7 waits for AGE" in shown
    assert "no server has ever subscribed to foo. Next Start a server for foo." in shown
    assert "1 stuck · Overview" in client.get("/").content.decode()


def test_only_the_most_urgent_services_are_shown(client: Client, do: Do[Any]) -> None:
    for number in range(110):
        do(lambda e, number=number: e.create_queue(f"queue-{number:03}"))
    send(do, "queue-109")
    markup = live(client, "/")
    assert sum(row.startswith("queue-") for row in rows(markup)) == MOST_SERVICES
    assert "queue-109" in markup
    shown = plain(markup)
    assert "Services 110" in shown
    assert "60 more, none more urgent: see all queues ." in shown
    assert "1+ Stuck service" in shown


def test_the_times_of_a_service(client: Client, do: Do[Any]) -> None:
    worker = login(do, "worker", "foo")
    for _ in range(3):
        id = send(do, "foo", '{"jsonrpc": "2.0", "method": "price.get", "id": 1}')
        do(lambda e: e.transfer(session=worker))
        do(lambda e, ids=[id]: e.ack(ids, session=worker))
    row = next(row for row in rows(live(client, "/")) if row.startswith("foo"))
    times = re.findall(r"\d[\d.]* m?s", row.replace("\xa0", " "))
    assert len(times) >= 3
    shown = text(client, "/queues/foo/").replace("\xa0", " ")
    assert re.search(r"Handled \d[\d.]* m?s \d[\d.]* m?s \d[\d.]* m?s", shown)
    assert re.search(r"price\.get 3 requests \d[\d.]* m?s", shown)


def test_the_oldest_message_is_one_click_away(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    first = send(do, "foo")
    send(do, "foo")
    assert f'href="/messages/{first}/"' in live(client, "/")


def test_limits_in_use(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    send(do, "foo", payload="x" * 2048)
    shown = text(client, "/")
    assert "Queues 1 of 100,000" in shown
    assert "Total bytes 2.0 KB of 1.0 GB" in shown


# -- queues -----------------------------------------------------------------------------------


def test_queues_are_filtered_by_kind_and_prefix(client: Client, do: Do[Any]) -> None:
    owner = login(do, "owner-1")
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
    assert f"No queue starts with {SCRIPT}" in text(client, f"/queues/?kind=all&prefix={SCRIPT}")


def test_a_queue_in_the_list_says_how_it_does(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    send(do, "foo")
    row = rows(live(client, "/queues/"))[1]
    assert row == "foo Stuck Never started Never started 1 0 0 0 0 AGE"


def test_queues_are_paged(client: Client, do: Do[Any]) -> None:
    for number in range(services.PAGE + 1):
        do(lambda e, number=number: e.create_queue(f"queue-{number:03}"))
    first = live(client, "/queues/?prefix=queue")
    assert "queue-099" in first
    assert "queue-100" not in first
    following = re.search(r'href="([^"]+)">Next page', first)
    assert following is not None
    second = text(client, "/queues/" + following[1].replace("&amp;", "&"))
    assert "queue-100" in second
    assert "queue-099" not in second
    assert "First page" in second
    assert "Next page" not in second


# -- one queue --------------------------------------------------------------------------------


def test_a_queue(client: Client, do: Do[Any]) -> None:
    policy = Policy(ttl=90, ack_timeout=5, max_deliveries=3, on_expire="dead", max_length=1234)
    do(lambda e: e.create_queue("foo", policy))
    worker = login(do, "worker-1", "foo")
    held, ready, later = send(do, "foo"), send(do, "foo"), send(do, "foo", delay=60)
    do(lambda e: e.transfer(session=worker))
    shown = text(client, "/queues/foo/")
    for words in (
        "OK queued The message has waited for",
        "Next Wait, or start another server.",
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
        "worker-1 OK Working holds 1, logged in",
        f"{held} Held by worker-1",
        f"{ready} Ready",
        f"{later} Delayed",
    ):
        assert words in shown, words
    assert f"{ready} Ready" not in text(client, "/queues/foo/?state=held")
    assert "No dead messages." in text(client, "/queues/foo/?state=dead")
    assert str(later) in text(client, f"/queues/foo/?after={ready}")
    assert f"{ready} Ready" not in text(client, f"/queues/foo/?after={ready}")


def test_a_message_in_a_list(client: Client, do: Do[Any]) -> None:
    for name in ("foo", "answers"):
        do(lambda e, name=name: e.create_queue(name))
    sender = login(do, "client-7")
    draft = Draft(payload="x" * 100, reply_to="answers")
    id = do(lambda e: e.send("foo", draft, session=sender)).id
    gone = send(do, "foo", reply_to="nowhere")
    bare = send(do, "foo", payload="")
    assert rows(live(client, "/queues/foo/?state=ready"))[1:4] == [
        f"{id} Ready AGE client-7 {'x' * 79}… Waits",
        f"{gone} Ready AGE no session hello Gone",
        f"{bare} Ready AGE no session empty No reply asked",
    ]


def test_a_search_in_a_queue(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    apple, pear = send(do, "foo", payload="an apple"), send(do, "foo", payload="a pear")
    for query, found in (
        ("apple", [apple]),
        (str(pear), [pear]),
        ("", [apple, pear]),
        ("plum", []),
    ):
        shown = live(client, f"/queues/foo/?state=ready&search={query}")
        listed = [id for id in (apple, pear) if f'href="/messages/{id}/">{id}<' in shown]
        assert listed == found, query
        assert f'value="{query}"' in shown
    assert "No ready messages with plum ." in text(client, "/queues/foo/?state=ready&search=plum")
    assert "search=apple" in live(client, "/queues/foo/?search=apple")  # kept by the tabs


def test_a_search_that_found_nothing_yet_can_go_on(
    client: Client, do: Do[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queues.core.snapshot.MAX_SEARCHED", 2)
    do(lambda e: e.create_queue("foo"))
    for _ in range(3):
        send(do, "foo", payload="hay")
    needle = send(do, "foo", payload="needle")
    shown = live(client, "/queues/foo/?search=needle")
    assert "Nothing found so far." in plain(shown)
    assert "The search stops after many messages" in plain(shown)
    following = re.search(r'href="([^"]+)">Next page', shown)
    assert following is not None
    second = live(client, "/queues/foo/" + following[1].replace("&amp;", "&"))
    assert f'href="/messages/{needle}/"' in second
    assert "The search stops" not in plain(second)


@pytest.mark.parametrize("query", ["state=nonsense", "after=x", "after=-1", "after=" + "9" * 5000])
def test_a_query_that_makes_no_sense_shows_everything(
    client: Client, do: Do[Any], query: str
) -> None:
    do(lambda e: e.create_queue("foo"))
    id = send(do, "foo")
    assert str(id) in text(client, f"/queues/foo/?{query}")


# -- one message ------------------------------------------------------------------------------


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
        "Nobody waits for the reply to this message any more",
        "Also",
        "no server has ever subscribed to foo. never_started",
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
    assert f'href="/trace/?message={id}"' in live(client, f"/messages/{id}/")


def test_the_forms_of_a_payload(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    id = send(do, "foo", payload='{"a": [1.10]}')

    def payload(query: str) -> str:
        found = re.search(r"<pre.*?>(.*?)</pre>", live(client, f"/messages/{id}/{query}"), re.S)
        assert found is not None
        return found[1].replace("&quot;", '"')

    assert payload("") == payload("?as=json") == '{\n  "a": [\n    1.10\n  ]\n}'
    assert payload("?as=text") == payload("?as=nonsense&as=text") == '{"a": [1.10]}'
    assert payload("?as=hex").startswith("000000  7b 22 61 22")
    plain_text = send(do, "foo", payload="hello")
    assert "The payload is not JSON" in text(client, f"/messages/{plain_text}/?as=json")


def test_what_is_shown_of_a_payload_is_bounded(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    whole = "x" * (MOST_CHARACTERS - 3) + "end"
    id = send(do, "foo", payload=whole)
    assert whole in live(client, f"/messages/{id}/")
    id = send(do, "foo", payload="y" * (MOST_CHARACTERS + 1))
    markup = live(client, f"/messages/{id}/")
    assert "y" * MOST_CHARACTERS in markup
    assert "y" * (MOST_CHARACTERS + 1) not in markup
    assert "The first 65,536 of 65,537 characters." in plain(markup)


def test_the_calls_that_a_request_has_led_to(client: Client, do: Do[Any]) -> None:
    outer = login(do, "outer-server", "outer")
    login(do, "inner-server", "inner")

    async def call(engine: Any, queue: str, session: str | None, **headers: str) -> int:
        wait = engine.start_call(
            queue,
            Draft(payload="x", headers=headers),
            timeout=60,
            then=lambda _: None,
            session=session,
        )
        return int(wait.call.request)

    first = do(lambda e: call(e, "outer", None))
    do(lambda e: e.transfer(session=outer))
    second = do(lambda e: call(e, "inner", outer, **{"switch-parent": str(first)}))
    shown = re.sub(r"0\.\d s", "AGE", text(client, f"/messages/{second}/"))
    assert (
        f"Call tree {first} to outer Held by outer-server sent AGE ago, who waits for the reply "
        f"{second} to inner Ready sent by outer-server AGE ago, who waits for the reply"
    ) in shown
    assert "outer-server has held" in text(client, f"/messages/{first}/")
    assert f'{first}</a> of <a class="name" href="/queues/outer/"' in live(
        client, f"/messages/{first}/"
    )


def test_a_message_that_ended(client: Client, do: Do[Any]) -> None:
    do(lambda e: e.create_queue("foo"))
    id = send(do, "foo")
    do(lambda e: e.drop_message("foo", id))
    shown = text(client, f"/messages/{id}/")
    assert f"Message {id} Ended" in shown
    assert "OK dropped The message was dropped" in shown


def test_hostile_texts_are_escaped(client: Client, do: Do[Any]) -> None:
    session = login(do, SCRIPT, "foo")
    draft = Draft(payload=SCRIPT, headers={SCRIPT: SCRIPT}, correlation_id=SCRIPT, key=SCRIPT)
    id = do(lambda e: e.send("foo", draft, session=session)).id
    do(lambda e: e.transfer(session=session))
    number = do(lambda e: e.diagnostics()).sessions[0].id
    paths = ["/queues/foo/", f"/queues/foo/?search={SCRIPT}", "/sessions/", f"/sessions/{number}/"]
    paths += [f"/messages/{id}/?as={form}" for form in ("text", "json", "hex")]
    for path in paths:
        content = client.get(path).content.decode()
        assert "<script>" not in content, path
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in content, path


# -- sessions ---------------------------------------------------------------------------------


def test_sessions(client: Client, do: Do[Any]) -> None:
    login(do, "server-1", "foo", lease=90)
    login(do, "onlooker")
    assert rows(live(client, "/sessions/"))[1:] == [
        "server-1 OK Between requests 0 0 AGE ago 1 min 30 s AGE ago foo",
        "onlooker OK Between requests 0 0 AGE ago 1 min AGE ago none",
    ]


def test_a_session(client: Client, do: Do[Any]) -> None:
    server = login(do, "server-1", "foo")
    fresh = do(lambda e: e.create_fresh_queue(session=server)).name
    held = send(do, "foo")
    do(lambda e: e.transfer(session=server))
    number = do(lambda e: e.diagnostics()).sessions[0].id
    assert f'href="/sessions/{number}/"' in live(client, "/sessions/")
    assert f'href="/sessions/{number}/"' in live(client, "/queues/foo/")
    markup = live(client, f"/sessions/{number}/")
    shown = re.sub(r"0\.\d s", "AGE", plain(markup))
    assert "OK working server-1 holds 1 message, the oldest for AGE." in shown
    assert f"Messages that it holds Message Queue For {held} foo AGE" in shown
    assert "It waits for no call that the switch knows of." in shown
    assert "Subscriptions 1 foo" in shown
    assert f"Own queues 1 {fresh}" in shown
    assert server not in client.get(f"/sessions/{number}/").content.decode()


def test_what_is_not_there(client: Client, do: Do[Any]) -> None:
    assert "There is no queue 'foo'." in text(client, "/queues/foo/", 404)
    assert "the trace remembers none" in text(client, "/messages/7/", 404)
    assert "A session ends when its client logs out" in text(client, "/sessions/7/", 404)


def test_the_icon(client: Client) -> None:
    answer = client.get(reverse("queues:icon"))
    assert answer.status_code == 302
    assert client.get(answer["Location"])["Content-Type"] == "image/svg+xml"
