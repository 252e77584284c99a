"""The admin in a real browser: every action with its confirmation, its log entry and its undo."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from .browsing import SCRIPT, Watch, api, fill, fill_hostile, manage, messages
from .conftest import Server, until

SIZES = {"phone": (360, 740), "desktop": (1280, 800)}
PASSWORD = "only for tests"
HOME = "/admin/queues/diagnostics/"

USERS = f"""
from django.contrib.auth.models import Permission, User
def add(name, *codenames):
    user = User.objects.create_user(name, password={PASSWORD!r}, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
add("operator", "view_diagnostics", "operate_switch")
add("viewer", "view_diagnostics")
add("clerk")
"""


def _start(state_dir: Path) -> Server:
    manage(state_dir, "migrate", "--verbosity", "0")
    manage(state_dir, "shell", "--command", USERS)
    server = Server(state_dir)
    server.start()
    return server


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A switch with something to see, and its users."""
    server = _start(tmp_path_factory.mktemp("switch"))
    fill(server.url)
    fill_hostile(server.url)
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def logins() -> dict[tuple[str, str], Any]:
    """The cookies of those who have logged in, since a login takes long."""
    return {}


def log_in(browser: Browser, user: str, url: str) -> Any:
    """The cookies that a user gets."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}/admin/login/")
    page.fill("#id_username", user)
    page.fill("#id_password", PASSWORD)
    page.click("[type=submit]")
    expect(page.get_by_role("heading", name="Site administration")).to_be_visible()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def visit(
    browser: Browser, url: str, logins: dict[tuple[str, str], Any]
) -> Iterator[Callable[..., Page]]:
    """A page of a new browser, logged in as somebody; it does nothing that it should not."""
    watches, contexts = [], []

    def open(user: str, url: str = url, **options: Any) -> Page:
        if (user, url) not in logins:
            logins[user, url] = log_in(browser, user, url)
        options = {"viewport": {"width": 1280, "height": 800}, **options}
        context = browser.new_context(storage_state=logins[user, url], **options)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{url}/admin/")
        watches.append(Watch(page))
        return page

    yield open
    for context in contexts:
        context.close()
    assert [watch.seen for watch in watches] == [[] for _ in watches]


@pytest.fixture(params=["with JavaScript", "without"])
def operator(visit: Callable[..., Page], request: pytest.FixtureRequest) -> Page:
    """A page of somebody who may act."""
    return visit("operator", java_script_enabled=request.param == "with JavaScript")


_numbers = count()


@dataclass
class Stock:
    """A queue with two ready messages, of which one is a call's, a delayed, a held and a dead."""

    url: str
    name: str
    other: str
    session: int

    def ids(self, state: str = "") -> list[int]:
        """The messages in one state, or in any."""
        return [message["id"] for message in messages(self.url, self.name, state)]

    def counts(self, name: str = "") -> dict[str, int]:
        """How many messages a queue has in each state."""
        info = api(self.url, "GET", f"queues/{name or self.name}")
        return {state: info[state] for state in ("ready", "delayed", "held", "dead")}


@pytest.fixture
def stock(url: str) -> Stock:
    """A queue for one test."""
    return stocked(url)


def stocked(url: str) -> Stock:
    """A new queue, with another to move to."""
    number = next(_numbers)
    name, other, client = f"stock.{number}", f"other.{number}", f"holder-{number}"
    for each in (name, other):
        api(url, "PUT", f"queues/{each}", {})
    token = api(url, "POST", "login", {"client": client, "lease": 600})["session"]
    api(url, "PUT", f"subscriptions/{name}", token=token)
    for payload in ("dead", "held"):
        api(url, "POST", f"queues/{name}/messages", {"payload": payload})
    dead, _ = api(url, "POST", "transfer", {"limit": 2}, token)["messages"]
    api(url, "POST", "nack", {"ids": [dead["id"]], "requeue": False}, token)
    waiting = api(url, "POST", "queues", {}, token)["name"]
    for fields in ({"reply_to": waiting}, {}, {"delay": 600}):
        api(url, "POST", f"queues/{name}/messages", {"payload": "work", **fields})
    sessions = api(url, "GET", "diagnostics")["sessions"]
    (id,) = (session["id"] for session in sessions if session["client"] == client)
    return Stock(url, name, other, id)


def go(page: Page, stock: Stock, query: str = "") -> None:
    """To the page of the queue."""
    page.goto(f"{stock.url}{HOME}queues/{stock.name}/{query}")


def choose(page: Page, ids: list[int]) -> None:
    """Check the boxes of messages."""
    for id in ids:
        page.get_by_role("checkbox", name=f"Choose message {id}").check()


def asked(page: Page, question: str, touched: int, callers: int) -> None:
    """The confirmation says what would be touched."""
    expect(page.get_by_role("heading", level=1)).to_have_text(question)
    facts = page.locator(".cells")
    expect(facts).to_contain_text(f"Messages touched{touched}")
    expect(facts).to_contain_text(f"Callers that wait for them{callers}")


def confirm(page: Page) -> None:
    """Say yes."""
    page.get_by_role("button", name=re.compile("^Yes, ")).click()


def told(page: Page, text: str) -> None:
    """What was done is said at the top of the page."""
    expect(page.locator(".messagelist li").first).to_have_text(re.compile(text))


def logged(page: Page, url: str, target: str, text: str) -> None:
    """The newest entry of the log says who did what to what."""
    page.goto(f"{url}{HOME}log/?of={target}")
    row = page.locator("table.log tbody tr").first
    expect(row.get_by_role("cell").nth(1)).to_have_text("operator")
    expect(row.get_by_role("cell").last).to_have_text(re.compile(text))


# -- actions ----------------------------------------------------------------------------------


def test_pause_and_resume(operator: Page, stock: Stock) -> None:
    go(operator, stock)
    operator.get_by_role("link", name="Pause the queue").click()
    asked(operator, f"Pause {stock.name}?", 3, 1)
    assert not api(stock.url, "GET", f"queues/{stock.name}")["paused"]
    confirm(operator)
    told(operator, f"^Paused {stock.name}; 3 messages in it.$")
    assert api(stock.url, "GET", f"queues/{stock.name}")["paused"]
    expect(operator.get_by_label("Verdict")).to_contain_text("An operator paused")
    operator.get_by_role("link", name="Resume the queue").click()
    asked(operator, f"Resume {stock.name}?", 3, 1)
    confirm(operator)
    told(operator, f"^Resumed {stock.name}; 3 messages in it.$")
    assert not api(stock.url, "GET", f"queues/{stock.name}")["paused"]
    logged(operator, stock.url, f"queue/{stock.name}", "^Resumed")


def test_drop_as_if_acked(operator: Page, stock: Stock) -> None:
    go(operator, stock)
    chosen = [stock.ids("held")[0], stock.ids("ready")[0]]
    choose(operator, chosen)
    operator.get_by_role("button", name="Drop the chosen messages").click()
    asked(operator, f"Drop 2 messages of {stock.name}?", 2, 1)
    expect(operator.get_by_text("This cannot be undone.")).to_be_visible()
    assert len(stock.ids()) == 5
    confirm(operator)
    told(operator, f"^Dropped 2 messages of {stock.name}")
    assert not {*chosen} & {*stock.ids()}
    assert stock.counts() == {"ready": 1, "delayed": 1, "held": 0, "dead": 1}
    logged(operator, stock.url, f"queue/{stock.name}", f"^Dropped 2 .*{chosen[0]}")


def test_requeue_what_is_held(operator: Page, stock: Stock) -> None:
    go(operator, stock, "?state=held")
    operator.get_by_role("link", name="Requeue all held messages").click()
    asked(operator, f"Requeue 1 held message of {stock.name}?", 1, 0)
    confirm(operator)
    told(operator, f"^Requeued 1 held message of {stock.name}.$")
    assert "?state=held" in operator.url
    assert stock.counts() == {"ready": 3, "delayed": 1, "held": 0, "dead": 1}
    logged(operator, stock.url, f"queue/{stock.name}", "^Requeued 1 held message")


def test_replay_the_dead(operator: Page, stock: Stock) -> None:
    go(operator, stock, "?state=dead")
    operator.get_by_role("link", name="Replay all dead messages").click()
    asked(operator, f"Replay 1 dead message of {stock.name}?", 1, 0)
    confirm(operator)
    told(operator, f"^Replayed 1 dead message of {stock.name}.$")
    assert stock.counts() == {"ready": 3, "delayed": 1, "held": 1, "dead": 0}
    logged(operator, stock.url, f"queue/{stock.name}", "^Replayed 1 dead message")


def test_move_to_another_queue(operator: Page, stock: Stock) -> None:
    go(operator, stock)
    operator.get_by_role("link", name="Choose all on this page").click()
    operator.get_by_role("button", name="Move the chosen messages").click()
    asked(operator, f"Move 4 messages of {stock.name}?", 4, 1)
    expect(operator.get_by_text("1 message, not ready, delayed or dead")).to_be_visible()
    operator.get_by_label("To queue").fill("nobody.made.this")
    confirm(operator)
    told(operator, "^There is no queue 'nobody.made.this'.$")
    assert len(stock.ids()) == 5
    operator.get_by_label("To queue").fill(stock.other)
    confirm(operator)
    told(operator, f"^Moved 4 messages of {stock.name} to {stock.other}")
    left = operator.locator(".messagelist .warning")
    expect(left).to_have_text(re.compile("^Left as they are: 1 message"))
    assert stock.counts() == {"ready": 0, "delayed": 0, "held": 1, "dead": 0}
    assert stock.counts(stock.other) == {"ready": 3, "delayed": 1, "held": 0, "dead": 0}
    logged(operator, stock.url, f"queue/{stock.name}", "^Moved 4 .*Left as they are: 1")


def test_purge_and_undo(operator: Page, stock: Stock) -> None:
    before = stock.counts()
    go(operator, stock)
    operator.get_by_role("link", name="Purge all ready and delayed messages").click()
    asked(operator, f"Purge 3 ready and delayed messages of {stock.name}?", 3, 1)
    expect(operator.get_by_text("This can be undone for 10 min.")).to_be_visible()
    confirm(operator)
    told(
        operator, f"^Purged 3 ready and delayed messages of {stock.name}. This can be undone until"
    )
    assert stock.counts() == {"ready": 0, "delayed": 0, "held": 1, "dead": 1}
    logged(operator, stock.url, f"queue/{stock.name}", "^Purged 3 ready and delayed messages")

    go(operator, stock)
    undo = operator.get_by_role("row").filter(has_text="Purged, 3 messages")
    expect(undo).to_contain_text(re.compile(r"(10|9) min"))
    undo.get_by_role("button", name="Undo").click()
    told(operator, f"^Restored 3 messages of {stock.name}.$")
    assert stock.counts() == before
    expect(operator.get_by_role("button", name="Undo")).to_have_count(0)
    logged(operator, stock.url, f"queue/{stock.name}", "^Restored 3 messages")


def test_destroy_and_undo(operator: Page, stock: Stock) -> None:
    go(operator, stock)
    operator.get_by_role("link", name="Destroy the queue").click()
    asked(operator, f"Destroy {stock.name} and 5 messages?", 5, 1)
    confirm(operator)
    told(operator, f"^Destroyed {stock.name} and 5 messages. This can be undone until")
    assert operator.url == stock.url + HOME
    assert api(stock.url, "GET", f"queues/{stock.name}")["code"] == "queue_not_found"
    logged(operator, stock.url, f"queue/{stock.name}", "^Destroyed")

    operator.goto(stock.url + HOME)
    undo = operator.get_by_role("row").filter(has_text=stock.name)
    undo.get_by_role("button", name="Undo").click()
    told(operator, f"^Restored 5 messages of {stock.name}, which was made again.$")
    assert stock.counts() == {"ready": 3, "delayed": 1, "held": 0, "dead": 1}
    logged(operator, stock.url, f"queue/{stock.name}", "^Restored 5 messages")


def test_end_a_session(operator: Page, stock: Stock) -> None:
    operator.goto(f"{stock.url}{HOME}sessions/{stock.session}/")
    operator.get_by_role("link", name="End session").click()
    asked(operator, f"End session {stock.session} of {_client(stock)}?", 1, 0)
    confirm(operator)
    told(operator, f"^Ended session {stock.session} .*: 1 held message given back")
    assert api(stock.url, "GET", f"queues/{stock.name}")["consumers"] == 0
    assert stock.counts()["held"] == 0
    logged(operator, stock.url, f"session/{stock.session}", "^Ended session")


def _client(stock: Stock) -> str:
    return f"holder-{stock.name.partition('.')[2]}"


def test_one_message_is_acted_on_from_its_own_page(operator: Page, stock: Stock) -> None:
    (id,) = stock.ids("dead")
    operator.goto(f"{stock.url}{HOME}messages/{id}/")
    operator.get_by_role("link", name="Replay").click()
    asked(operator, f"Replay 1 message of {stock.name}?", 1, 0)
    operator.get_by_role("link", name="No, go back").click()
    assert stock.counts()["dead"] == 1
    operator.get_by_role("link", name="Replay").click()
    confirm(operator)
    told(operator, f"^Replayed 1 message of {stock.name}")
    assert operator.url == f"{stock.url}{HOME}messages/{id}/"
    expect(operator.get_by_label("Verdict")).to_contain_text("as the next one")
    operator.get_by_role("link", name="Drop").click()
    confirm(operator)
    told(operator, f"^Dropped 1 message of {stock.name}")
    expect(operator.get_by_label("Verdict")).to_contain_text("The message was dropped")
    logged(operator, stock.url, f"queue/{stock.name}/message/{id}", f"^Dropped .*{id}")


def test_what_changes_between_question_and_answer_is_said(operator: Page, stock: Stock) -> None:
    go(operator, stock)
    operator.get_by_role("link", name="Purge all ready and delayed messages").click()
    asked(operator, f"Purge 3 ready and delayed messages of {stock.name}?", 3, 1)
    api(stock.url, "POST", f"queues/{stock.name}/messages", {"payload": "late"})
    confirm(operator)
    told(operator, "^Purged 4 ready and delayed messages .* The confirmation said 3.$")


def test_the_keyboard_alone_drops_a_message(visit: Callable[..., Page], stock: Stock) -> None:
    page = visit("operator")
    go(page, stock, "?state=ready")

    def tab_to(role: Any, name: str) -> None:
        wanted = page.get_by_role(role, name=name, exact=True)
        for _ in range(100):
            page.keyboard.press("Tab")
            if wanted.evaluate("element => element === document.activeElement"):
                break
        expect(wanted).to_be_focused()
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"

    (id, _) = stock.ids("ready")
    tab_to("checkbox", f"Choose message {id}")
    page.keyboard.press("Space")
    tab_to("button", "Drop the chosen messages")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Drop 1 message of {stock.name}?")
    tab_to("button", "Yes, drop")
    page.keyboard.press("Enter")
    told(page, f"^Dropped 1 message of {stock.name}")
    assert id not in stock.ids()


@pytest.fixture
def hasty_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A switch that keeps an undo for no more than five seconds."""
    monkeypatch.setenv("SWITCH_UNDO_SECONDS", "5")
    server = _start(tmp_path)
    yield server.url
    server.stop()


def test_an_undo_ends_with_its_time(hasty_url: str, visit: Callable[..., Page]) -> None:
    stock = stocked(hasty_url)
    page = visit("operator", hasty_url)
    go(page, stock)
    page.get_by_role("link", name="Purge all ready and delayed messages").click()
    expect(page.get_by_text("This can be undone for 5.0 s.")).to_be_visible()
    confirm(page)
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    later = page.context.new_page()

    def ended() -> bool:
        go(later, stock)
        return later.get_by_text("May be undone").count() == 0

    until(ended, "the time is over")
    page.get_by_role("button", name="Undo").click()
    told(page, "^It can no longer be undone.$")
    assert stock.counts() == {"ready": 0, "delayed": 0, "held": 1, "dead": 1}


# -- who may ----------------------------------------------------------------------------------


def test_who_may_only_look_finds_no_actions_and_is_refused(
    visit: Callable[..., Page], stock: Stock
) -> None:
    page = visit("viewer")
    paths = ["", "log/", f"sessions/{stock.session}/", f"messages/{stock.ids('dead')[0]}/"]
    for path in [*paths, f"queues/{stock.name}/"]:
        page.goto(stock.url + HOME + path)
        assert page.locator("#content [type=checkbox], #content form[method=post]").count() == 0
        assert page.locator("#content .actions").count() == 0
    for path in (
        f"queues/{stock.name}/purge/?group=ready",
        f"queues/{stock.name}/destroy/",
        f"sessions/{stock.session}/end/",
    ):
        address = stock.url + HOME + path
        token = next(c["value"] for c in page.context.cookies() if c["name"] == "csrftoken")
        headers = {"X-CSRFToken": token}
        assert page.request.get(address).status == 403, path
        assert page.request.post(address, headers=headers).status == 403, path
    assert len(stock.ids()) == 5


def test_staff_without_any_permission_are_refused(visit: Callable[..., Page], stock: Stock) -> None:
    page = visit("clerk")
    for path in ("", "log/", f"queues/{stock.name}/", f"queues/{stock.name}/destroy/"):
        assert page.request.get(stock.url + HOME + path).status == 403, path
    assert page.get_by_role("link", name="Diagnostics").count() == 0


def test_a_form_of_another_site_does_nothing(visit: Callable[..., Page], stock: Stock) -> None:
    page = visit("operator")
    address = f"{stock.url}{HOME}queues/{stock.name}/destroy/"
    assert page.request.get(address).status == 200
    assert page.request.post(address).status == 403
    assert len(stock.ids()) == 5


# -- how it looks -----------------------------------------------------------------------------


def paths(stock: Stock) -> dict[str, str]:
    """Every page by a name for its screenshot."""
    queue = f"queues/{stock.name}/"
    ready = stock.ids("ready")
    return {
        "overview": "",
        "queues": "queues/?kind=all",
        "queue": queue,
        "queue-chosen": f"{queue}?state=ready&choose=all&search=work",
        "queue-empty": f"{queue}?search=nothing+has+this",
        "queue-of-many": "queues/audit.log/",
        "queue-of-hostile-messages": "queues/hostile/",
        **{f"message-{s}": f"messages/{stock.ids(s)[0]}/" for s in ("ready", "held", "dead")},
        "message-hostile": f"messages/{messages(stock.url, 'hostile')[0]['id']}/",
        "sessions": "sessions/",
        "session": f"sessions/{stock.session}/",
        "log": "log/",
        "log-empty": "log/?of=queue/nothing",
        "not-here": "queues/nobody.made.this/",
        "confirm-pause": f"{queue}pause/",
        "confirm-nothing-to-do": f"{queue}resume/",
        "confirm-purge": f"{queue}purge/?group=held",
        "confirm-move": f"{queue}move/?id={ready[0]}&id={ready[1]}",
        "confirm-destroy": f"{queue}destroy/",
        "confirm-end": f"sessions/{stock.session}/end/",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_and_is_accessible(
    visit: Callable[..., Page], stock: Stock, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    page = visit("operator", viewport={"width": width, "height": height}, color_scheme=scheme)
    go(page, stock)
    page.get_by_role("link", name="Purge all dead messages").click()
    confirm(page)
    for name, path in {"done": None, **paths(stocked(stock.url))}.items():
        if path is not None:
            page.goto(stock.url + HOME + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [n["html"] for n in each["nodes"]]) for each in found] == [], name


def test_hostile_texts_are_shown_and_do_nothing(visit: Callable[..., Page], url: str) -> None:
    page = visit("operator")
    sessions = api(url, "GET", "diagnostics")["sessions"]
    (id,) = (session["id"] for session in sessions if session["client"] == SCRIPT)
    everywhere = ["queues/hostile/", "queues/?kind=all", "sessions/", f"sessions/{id}/"]
    everywhere += [f"sessions/{id}/end/"]
    everywhere += [f"messages/{each['id']}/" for each in messages(url, "hostile")]
    for path in everywhere:
        page.goto(url + HOME + path)
        expect(page.get_by_text(SCRIPT).locator("visible=true").first).to_be_visible()
        assert page.locator("#content script, #content img").count() == 0, path


def test_the_index_lists_what_was_done_with_links(operator: Page, stock: Stock) -> None:
    go(operator, stock)
    operator.get_by_role("link", name="Pause the queue").click()
    confirm(operator)
    operator.goto(f"{stock.url}/admin/")
    operator.get_by_role("link", name=f"queue {stock.name}").click()
    expect(operator.get_by_role("heading", level=1)).to_have_text(stock.name)
    operator.get_by_role("link", name="Log of this queue").click()
    expect(operator.get_by_role("cell", name=re.compile(f"^Paused {stock.name}"))).to_be_visible()
