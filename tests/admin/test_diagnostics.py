from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client

from queues.admin import diagnostics, log
from queues.core.errors import ShuttingDown
from queues.core.messages import Draft
from queues.models import Diagnostics
from tests.running import Do

from .conftest import HOME, OPERATE, USERS, VIEW, Scene

pytestmark = pytest.mark.django_db

AsUser = Callable[..., Client]

#: Every action: its address and the fields of its form.
ACTIONS: dict[str, Callable[[Scene], tuple[str, dict[str, Any]]]] = {
    "pause": lambda s: ("queues/foo/pause/", {}),
    "resume": lambda s: ("queues/foo/resume/", {}),
    "purge": lambda s: ("queues/foo/purge/", {"group": "waiting"}),
    "destroy": lambda s: ("queues/foo/destroy/", {}),
    "drop": lambda s: ("queues/foo/drop/", {"id": [s.held, s.ready]}),
    "requeue": lambda s: ("queues/foo/requeue/", {"group": "held"}),
    "replay": lambda s: ("queues/foo/replay/", {"group": "dead"}),
    "move": lambda s: ("queues/foo/move/", {"id": [s.ready], "target": "bar"}),
    "end": lambda s: (f"sessions/{s.session}/end/", {}),
    "undo": lambda s: (f"undo/{s.undo}/", {}),
}
#: Every page to look at.
PAGES: dict[str, Callable[[Scene], str]] = {
    "overview": lambda s: "",
    "queues": lambda s: "queues/?kind=all",
    "queue": lambda s: "queues/foo/",
    "dead": lambda s: "queues/foo/?state=dead&search=dead&choose=all",
    "message": lambda s: f"messages/{s.held}/",
    "sessions": lambda s: "sessions/",
    "session": lambda s: f"sessions/{s.session}/",
    "log": lambda s: "log/",
}
#: What a user of conftest gets: the login, a refusal, or the page.
LOOKING = {"": 302, "guest": 302, "clerk": 403, "viewer": 200, "blind": 403, "operator": 200}
ACTING = {**LOOKING, "viewer": 403}


def get(client: Client, path: str, fields: dict[str, Any] | None = None) -> HttpResponse:
    query = f"?{urlencode(fields, doseq=True)}" if fields else ""
    answer: Any = client.get(HOME + path + query)
    return answer  # type: ignore[no-any-return]


def notices(client: Client, answer: Any) -> list[str]:
    """What the page that an action leads to says of it."""
    assert answer.status_code == 302
    page: Any = client.get(answer["Location"])
    return [str(message) for message in page.context["messages"]]


# -- who may ----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("user", [*LOOKING, "root"])
def test_who_may_look(as_user: AsUser, scene: Scene, user: str, page: str) -> None:
    path = PAGES[page](scene)
    answer = as_user(user).get(HOME + path)
    assert answer.status_code == LOOKING.get(user, 200)
    if answer.status_code == 302:
        assert answer["Location"].startswith("/admin/login/?next=")


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("user", [*ACTING, "root"])
def test_who_may_act(as_user: AsUser, scene: Scene, user: str, action: str) -> None:
    client, before = as_user(user), scene.fingerprint()
    path, fields = ACTIONS[action](scene)
    expected = ACTING.get(user, 200)
    assert get(client, path, fields).status_code == expected
    answer = client.post(HOME + path, fields)
    if expected == 200:
        assert answer.status_code == 302
        assert answer["Location"].startswith(HOME)
        assert LogEntry.objects.count() == 1
        assert (scene.fingerprint() != before) == (action != "resume")  # it is not paused
    else:
        assert answer.status_code == expected
        assert expected == 403 or answer["Location"].startswith("/admin/login/?next=")
        assert LogEntry.objects.count() == 0
        assert scene.fingerprint() == before


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_needs_the_token_of_its_form(as_user: AsUser, scene: Scene, action: str) -> None:
    client, before = as_user("root", enforce_csrf_checks=True), scene.fingerprint()
    path, fields = ACTIONS[action](scene)
    assert client.post(HOME + path, fields).status_code == 403
    assert scene.fingerprint() == before
    assert LogEntry.objects.count() == 0
    page = get(client, path, fields)
    token = page.context["csrf_token"]  # type: ignore[attr-defined]
    answer = client.post(HOME + path, {**fields, "csrfmiddlewaretoken": str(token)})
    assert answer.status_code == 302
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize("method", ["get", "head"])
def test_looking_and_asking_change_nothing(operator: Client, scene: Scene, method: str) -> None:
    before = scene.fingerprint()
    paths = [page(scene) for page in PAGES.values()]
    for path, fields in (action(scene) for action in ACTIONS.values()):
        paths.append(f"{path}?{urlencode({**fields, 'said': 1}, doseq=True)}")
    for path in paths:
        assert getattr(operator, method)(HOME + path).status_code == 200, path
    assert scene.fingerprint() == before
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_pages_to_look_at_take_no_other_method(operator: Client, scene: Scene, method: str) -> None:
    for page in PAGES.values():
        assert getattr(operator, method)(HOME + page(scene)).status_code == 405


def test_who_may_not_act_finds_no_controls(as_user: AsUser, scene: Scene) -> None:
    pages = [*PAGES.values(), lambda s: f"messages/{s.dead}/"]
    actions = [action(scene)[0] for action in ACTIONS.values()]
    found = {"viewer": "", "operator": ""}
    for user in found:
        for page in pages:
            content = get(as_user(user), page(scene)).text
            found[user] += content.partition('id="content"')[2]
    shown = {user: [path for path in actions if HOME + path in found[user]] for user in found}
    hidden = [path for path in actions if path not in shown["operator"]]
    assert hidden == ["queues/foo/resume/"]  # it is not paused
    assert shown["viewer"] == []
    assert "checkbox" in found["operator"]
    assert "checkbox" not in found["viewer"]
    assert "May be undone" in found["viewer"]


def test_the_index_links_the_pages_for_those_who_may_look(as_user: AsUser, scene: Scene) -> None:
    for user in USERS:
        index = as_user(user).get("/admin/")
        linked = index.status_code == 200 and f'href="{HOME}"' in index.text
        assert linked == (LOOKING.get(user, 200) == 200), user
        assert f'href="{HOME}add/"' not in (index.text if linked else "")


def test_there_are_two_permissions() -> None:
    found = Permission.objects.filter(content_type__app_label="queues")
    assert {permission.codename for permission in found} == {VIEW, OPERATE}


# -- pages ------------------------------------------------------------------------------------


def test_texts_of_clients_are_escaped_and_made_visible(operator: Client, scene: Scene) -> None:
    script = "<script>alert(1)</script>\u202e"
    token = scene.do(lambda e: e.login(script, 60)).session
    scene.do(lambda e: e.subscribe("bar", session=token))
    draft = Draft(payload=script, correlation_id=script, headers={script: script})
    id = scene.do(lambda e: e.send("bar", draft, session=token)).id
    scene.do(lambda e: e.transfer(session=token))
    sessions = scene.do(lambda e: e.diagnostics()).sessions
    session = next(each.id for each in sessions if each.client == script)
    pages = ["queues/bar/", f"messages/{id}/", "sessions/", f"sessions/{session}/"]
    pages += [f"sessions/{session}/end/"]
    for path in pages:
        text = get(operator, path).text
        assert "<script>alert" not in text, path
        assert "\u202e" not in text, path
        assert "&lt;script&gt;alert" in text, path
    operator.post(f"{HOME}sessions/{session}/end/")
    text = get(operator, "log/").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e" in text
    search = urlencode({"search": script})
    assert "<script>alert" not in get(operator, f"queues/foo/?{search}").text
    assert "<script>alert" not in get(operator, f"log/?{urlencode({'of': script})}").text


def test_a_queue_has_tabs_search_and_pages(operator: Client, scene: Scene) -> None:
    def shown(query: str) -> list[int]:
        page: Any = get(operator, f"queues/foo/?{query}")
        return [message.id for message in page.context["listed"].messages]

    every = sorted(scene.states())
    assert shown("") == shown("state=nonsense") == shown("after=x") == every
    assert shown("state=dead") == [scene.dead]
    assert shown("search=held") == [scene.held]
    assert shown("state=dead&search=held") == []
    assert shown(f"after={every[2]}") == every[3:]
    for number in range(diagnostics.PAGE):
        scene.do(lambda e, text=f"more {number}": e.send("foo", Draft(payload=text)))
    assert len(shown("")) == diagnostics.PAGE
    assert f"after={shown('')[-1]}" in get(operator, "queues/foo/").text


def test_all_on_a_page_can_be_chosen_at_once(operator: Client, scene: Scene) -> None:
    page = get(operator, "queues/foo/?state=ready").text
    assert page.count(" checked") == 0
    assert "?state=ready&amp;choose=all" in page
    assert get(operator, "queues/foo/?state=ready&choose=all").text.count(" checked") == 2


def test_what_is_offered_fits_the_state(operator: Client, scene: Scene) -> None:
    def offered(query: str) -> tuple[list[str], list[str]]:
        page: Any = get(operator, f"queues/foo/?{query}")
        groups = [f"{g}:{a.name}" for g, _, _, actions in page.context["groups"] for a in actions]
        return groups, [action.name for action in page.context["chosen_actions"]]

    assert offered("state=held") == (["held:requeue", "held:purge"], ["requeue", "drop"])
    assert offered("state=dead") == (
        ["dead:replay", "dead:move", "dead:purge"],
        ["replay", "move", "drop"],
    )
    assert offered("state=ready") == (["ready:move", "ready:purge"], ["move", "drop"])
    groups, chosen = offered("")
    assert groups[:2] == ["waiting:move", "waiting:purge"]
    assert chosen == ["requeue", "replay", "move", "drop"]


def test_of_a_transient_queue_single_messages_can_be_dropped(
    operator: Client, scene: Scene
) -> None:
    token = scene.do(lambda e: e.login("owner", 60)).session
    name = scene.do(lambda e: e.create_fresh_queue(session=token)).name
    id = scene.do(lambda e: e.send(name, Draft(payload="x"))).id
    page: Any = get(operator, f"queues/{name}/")
    assert [action.name for action in page.context["chosen_actions"]] == ["drop"]
    assert page.context["groups"] == []
    assert f"{name}/destroy/" not in page.text
    answer = operator.post(f"{HOME}queues/{name}/drop/", {"id": id})
    assert notices(operator, answer) == [f"Dropped 1 message of {name} (chosen: {id})."]
    answer = operator.post(f"{HOME}queues/{name}/destroy/")
    assert notices(operator, answer) == [f"{name} is a transient queue of another session."]
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("queues/none/", "There is no queue &#x27;none&#x27;"),
        ("queues/none/purge/?group=ready", "There is no queue &#x27;none&#x27;"),
        ("messages/1/", "No message 1 is here"),
        ("sessions/1/", "There is no session 1"),
    ],
)
def test_what_is_not_there_has_a_page_that_says_so(
    operator: Client, scene: Scene, path: str, words: str
) -> None:
    answer = get(operator, path)
    assert answer.status_code == 404
    assert words in answer.text


@pytest.mark.parametrize(
    "path", ["add/", "1/", "1/change/", "1/delete/", "1/history/", "queues/foo/steal/"]
)
def test_there_is_nothing_else(operator: Client, scene: Scene, path: str) -> None:
    assert get(operator, path).status_code == 404


def test_without_a_switch_the_pages_say_so(operator: Client) -> None:
    for path in ("", "queues/", "queues/foo/", "queues/foo/pause/", "messages/1/", "undo/1/"):
        answer = get(operator, path)
        assert answer.status_code == 503, path
        assert "No switch runs in this process" in answer.text
    assert get(operator, "log/").status_code == 200


def test_a_stuck_event_loop_is_no_crash(
    operator: Client, do: Do[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(operation: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(diagnostics, "ask", stuck)
    answer = get(operator, "")
    assert answer.status_code == 503
    assert "did not answer in time" in answer.text


# -- actions ----------------------------------------------------------------------------------


def test_a_confirmation_says_what_would_be_touched(operator: Client, scene: Scene) -> None:
    page: Any = get(operator, "queues/foo/purge/", {"group": "waiting", "back": "state=ready"})
    text = " ".join(page.text.split())
    assert "<h1>Purge 3 ready and delayed messages of foo?</h1>" in text
    assert f'<dt>From</dt><dd><a href="{HOME}queues/foo/">queue foo</a></dd>' in text
    assert "<dt>Messages touched</dt><dd>3</dd>" in text
    assert "<dt>Callers that wait for them</dt><dd>1</dd>" in text
    assert "This can be undone for 10 min." in text
    assert f'href="{HOME}queues/foo/?state=ready">No, go back' in text


def test_a_result_is_shown_where_it_was_asked_for_and_written_down(
    operator: Client, scene: Scene
) -> None:
    fields = {"id": [scene.held, scene.ready], "back": "state=held", "said": 2}
    answer = operator.post(f"{HOME}queues/foo/requeue/", fields)
    assert answer["Location"] == f"{HOME}queues/foo/?state=held"
    ids = f"{scene.held}, {scene.ready}"
    left = "Left as they are: 1 message, not held in foo."
    assert notices(operator, answer) == [
        f"Requeued 1 message of foo (chosen: {ids}). The confirmation said 2.",
        left,
    ]
    (entry,) = log.entries()
    assert entry.user.get_username() == "operator"
    assert entry.object_repr == "queue foo"
    assert entry.get_change_message() == f"Requeued 1 message of foo (chosen: {ids}). {left}"
    page = get(operator, "log/").text
    assert entry.get_change_message() in page
    assert f'href="{HOME}queues/foo/"' in page


def test_an_action_on_a_message_leads_back_to_it(operator: Client, scene: Scene) -> None:
    fields = {"id": scene.dead, "from_message": 1}
    page = get(operator, "queues/foo/replay/", fields).text
    assert f'href="{HOME}messages/{scene.dead}/">No, go back' in page
    answer = operator.post(f"{HOME}queues/foo/replay/", fields)
    assert answer["Location"] == f"{HOME}messages/{scene.dead}/"
    assert log.entries(f"queue/foo/message/{scene.dead}").count() == 1


def test_a_purge_is_undone_with_one_button(operator: Client, scene: Scene) -> None:
    before = scene.states()
    answer = operator.post(f"{HOME}queues/foo/purge/", {"group": "waiting"})
    page = operator.get(answer["Location"]).text
    undo = scene.do(lambda e: e.list_undo())[-1]
    assert "May be undone" in page
    assert f'action="{HOME}undo/{undo.id}/"' in page
    answer = operator.post(f"{HOME}undo/{undo.id}/")
    assert notices(operator, answer) == ["Restored 3 messages of foo."]
    assert scene.states() == before
    messages = [entry.get_change_message() for entry in log.entries("queue/foo")]
    assert messages[0] == "Restored 3 messages of foo."
    assert messages[1].startswith("Purged 3 ready and delayed messages of foo. This can be undone")
    answer = operator.post(f"{HOME}undo/{undo.id}/")
    assert answer["Location"] == HOME
    assert notices(operator, answer) == ["It can no longer be undone."]
    assert log.entries().count() == 2


def test_a_destruction_leads_to_the_overview_with_its_undo(operator: Client, scene: Scene) -> None:
    answer = operator.post(f"{HOME}queues/foo/destroy/", {"said": 5})
    assert answer["Location"] == HOME
    page: Any = operator.get(HOME)
    (undo,) = (each for each in page.context["undoable"] if each.queue == "foo")
    answer = operator.post(f"{HOME}undo/{undo.id}/")
    assert answer["Location"] == f"{HOME}queues/foo/"
    assert notices(operator, answer) == ["Restored 5 messages of foo, which was made again."]


def test_the_setting_says_how_long_an_undo_is_kept(
    operator: Client, scene: Scene, settings: Any
) -> None:
    settings.SWITCH_UNDO_SECONDS = "30"
    assert "undone for 30 s" in get(operator, "queues/foo/destroy/").text
    operator.post(f"{HOME}queues/foo/purge/", {"group": "ready"})
    undo = scene.do(lambda e: e.list_undo())[-1]
    assert undo.until - undo.at == 30
    settings.SWITCH_UNDO_SECONDS = 0
    assert "SWITCH_UNDO_SECONDS is 0" in get(operator, "queues/foo/destroy/").text
    answer = operator.post(f"{HOME}queues/foo/destroy/")
    assert "This cannot be undone." in notices(operator, answer)[0]
    assert [each.id for each in scene.do(lambda e: e.list_undo())] == [scene.undo, undo.id]


@pytest.mark.parametrize("target", ["none", "", "foo", "..", "a b"])
def test_a_wrong_queue_to_move_to_is_asked_for_again(
    operator: Client, scene: Scene, target: str
) -> None:
    before = scene.fingerprint()
    fields = {"group": "waiting", "target": target, "back": "state=ready", "said": "3"}
    answer = operator.post(f"{HOME}queues/foo/move/", fields)
    assert answer["Location"].startswith(f"{HOME}queues/foo/move/?group=waiting&target=")
    assert "said" not in answer["Location"]
    page: Any = operator.get(answer["Location"])
    assert page.status_code == 200
    assert len(list(page.context["messages"])) == 1
    assert f'value="{target}"' in page.text
    assert 'name="back" value="state=ready"' in page.text
    assert scene.fingerprint() == before
    assert LogEntry.objects.count() == 0


def test_the_queues_that_are_there_are_proposed(operator: Client, scene: Scene) -> None:
    page = get(operator, "queues/foo/move/", {"group": "waiting"}).text
    assert '<option value="bar">' in page
    assert '<option value="foo">' not in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "No message was chosen."),
        ({"group": "all"}, "No message was chosen."),
        ({"id": "x"}, "The ids of messages are whole numbers."),
    ],
)
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_empty_choice_is_said_and_does_nothing(
    operator: Client, scene: Scene, method: str, fields: dict[str, str], words: str
) -> None:
    before = scene.fingerprint()
    for name in ("drop", "requeue", "replay", "move"):
        answer = getattr(operator, method)(
            f"{HOME}queues/foo/{name}/", {**fields, "back": "state=held"}
        )
        assert answer["Location"] == f"{HOME}queues/foo/?state=held"
        assert notices(operator, answer) == [words]
    assert scene.fingerprint() == before


def test_where_to_go_back_to_is_never_another_site(operator: Client, scene: Scene) -> None:
    for back in ("//evil.example/", "https://evil.example/", "\r\nLocation: x", "&?#/.."):
        answer = operator.post(f"{HOME}queues/foo/pause/", {"back": back})
        assert answer["Location"].startswith(f"{HOME}queues/foo/?"), back


@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_gone_when_it_is_confirmed_is_said(
    operator: Client, scene: Scene, action: str
) -> None:
    path, fields = ACTIONS[action](scene)
    scene.do(lambda e: e.destroy_queue("foo"))
    scene.do(lambda e: e.end_session(scene.session))
    scene.do(lambda e: e.undo(scene.undo))
    answer = operator.post(HOME + path, fields)
    (notice,) = notices(operator, answer)
    assert notice.startswith(
        ("There is no queue 'foo'", "There is no session", "It can no longer be undone")
    )
    assert LogEntry.objects.count() == 0


def test_an_undo_without_room_is_refused_and_can_be_tried_again(
    operator: Client, scene: Scene
) -> None:
    scene.do(lambda e: e.change_queue("bar", {"max_length": 1}))
    scene.do(lambda e: e.send("bar", Draft(payload="new")))
    answer = operator.post(f"{HOME}undo/{scene.undo}/")
    assert notices(operator, answer) == ["bar has no room for 1 message."]
    assert [undo.id for undo in scene.do(lambda e: e.list_undo())] == [scene.undo]


def test_nothing_is_done_that_cannot_be_written_down(
    operator: Client, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise OSError("no space left")

    before = scene.fingerprint()
    monkeypatch.setattr(log, "begin", broken)
    with pytest.raises(OSError, match="no space left"):
        operator.post(f"{HOME}queues/foo/destroy/")
    assert scene.fingerprint() == before


@pytest.mark.parametrize(
    ("error", "words", "entries"),
    [(TimeoutError(), "look whether it was done", 1), (ShuttingDown("It stops."), "It stops.", 0)],
)
def test_an_outcome_that_is_not_known_is_written_down_as_such(
    operator: Client,
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    words: str,
    entries: int,
) -> None:
    def fail(operation: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(diagnostics, "ask", fail)
        answer = operator.post(f"{HOME}queues/foo/pause/")
    assert words in notices(operator, answer)[0]
    assert [entry.get_change_message() for entry in log.entries()] == [
        "Pause: its outcome is not known."
    ][:entries]


# -- the log ----------------------------------------------------------------------------------


def test_the_log_has_pages_and_can_be_narrowed(operator: Client, scene: Scene) -> None:
    for _ in range(diagnostics.PAGE // 2 + 1):
        operator.post(f"{HOME}queues/foo/pause/")
        operator.post(f"{HOME}queues/bar/pause/")
    first = get(operator, "log/").text
    assert "Page 1 of 2" in first
    assert "?page=2" in first
    only = get(operator, "log/?of=queue/bar").text
    assert "Page 1" not in only
    assert "Paused bar" in only
    assert "Paused foo" not in only


def test_the_admins_own_lists_link_what_was_acted_on(operator: Client, scene: Scene) -> None:
    operator.post(f"{HOME}queues/foo/pause/")
    (entry,) = log.entries()
    url = entry.get_admin_url()
    assert url is not None
    assert f'href="{url}"' in operator.get("/admin/").text
    assert operator.get(url)["Location"] == f"{HOME}queues/foo/"
    history: Any = operator.get(url.replace("/change/", "/history/"))
    assert "Paused foo" in operator.get(history["Location"]).text


def test_the_pages_link_their_part_of_the_log(operator: Client, scene: Scene) -> None:
    for path, key in (
        ("queues/foo/", "queue/foo"),
        (f"messages/{scene.held}/", f"queue/foo/message/{scene.held}"),
        (f"sessions/{scene.session}/", f"session/{scene.session}"),
    ):
        assert f'href="{HOME}log/?of={key}"' in get(operator, path).text


# -- the model --------------------------------------------------------------------------------


def test_the_model_has_no_rows_and_needs_no_table() -> None:
    assert list(Diagnostics.objects.all()) == []
    assert str(Diagnostics()) == "diagnostics"
    for arguments in (["queues"], ["queues", "--all"]):
        out = StringIO()
        call_command("dumpdata", *arguments, stdout=out)
        assert out.getvalue() == "[]\n" or out.getvalue() == "[]"


def test_the_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
