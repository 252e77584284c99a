"""The pages in a real browser: on a phone and a desktop, light and dark, live and without
JavaScript."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Request, Route, expect

from .browsing import (
    SCRIPT,
    Watch,
    api,
    fill,
    fill_calls,
    fill_hostile,
    manage,
    messages,
)
from .conftest import Server

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}
PASSWORD = "only for tests"
USERS = f"""
from django.contrib.auth.models import User
User.objects.create_superuser("root", password={PASSWORD!r})
"""
#: Seconds within which a page shows what has happened.
SOON = 1.0
#: Seconds after which a page may look again in any case.
QUIET = 3.0


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """A page that looks again rarely, since looks take long, is no failure."""
    expect.set_options(timeout=20_000)
    yield
    expect.set_options(timeout=5_000)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A switch with something to see, and its users."""
    state_dir = tmp_path_factory.mktemp("switch")
    manage(state_dir, "migrate", "--verbosity", "0")
    manage(state_dir, "shell", "--command", USERS)
    server = Server(state_dir)
    server.start()
    fill(server.url)
    fill_calls(server.url)
    fill_hostile(server.url)
    yield server.url
    server.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


def log_in(page: Page, url: str) -> None:
    page.goto(f"{url}/admin/login/")
    page.fill("#id_username", "root")
    page.fill("#id_password", PASSWORD)
    page.click("[type=submit]")


def state(page: Page) -> Locator:
    """Whether a page is live."""
    return page.locator("#live-status").get_by_role("status")


def session_of(url: str, client: str) -> int:
    sessions = api(url, "GET", "diagnostics")["sessions"]
    return int(next(s["id"] for s in sessions if s["client"] == client))


def paths(url: str) -> dict[str, str]:
    """Every page by a name for its screenshot."""
    held = messages(url, "stock", "held")[0]["id"]
    found = {
        "overview": "/",
        "queues": "/queues/?kind=all",
        "queue": "/queues/mail.outgoing/",
        "queue-timing": "/queues/prices/",
        "queue-search": "/queues/audit.log/?search=entry+12",
        "queue-of-hostile-messages": "/queues/hostile/",
        "message-call": f"/messages/{held}/",
        "message-hex": f"/messages/{held}/?as=hex",
        "message-hostile": f"/messages/{messages(url, 'hostile')[0]['id']}/",
        "sessions": "/sessions/",
        "session": f"/sessions/{session_of(url, 'order-service')}/",
        "waits": "/waits/",
        "trace": "/trace/",
        "health": "/health/",
        "unknown-queue": "/queues/nobody.made.this/",
        "unknown-message": "/messages/1/",
        "unknown-page": "/nothing/here/",
    }
    for state in ("ready", "held", "delayed", "dead"):
        id = messages(url, "mail.outgoing", state)[0]["id"]
        found[f"message-{state}"] = f"/messages/{id}/"
    return found


# -- how they look ----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_is_accessible_and_quiet(
    browser: Browser, url: str, size: str, scheme: Any
) -> None:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    watch = Watch(page)
    for name, path in paths(url).items():
        page.goto(url + path)
        if page.locator("#live-status").count():
            expect(state(page)).to_have_text("Live")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.locator("h1:visible").count() == 1, name
        found = Axe().run(page).response["violations"]
        assert [(each["id"], [n["html"] for n in each["nodes"]]) for each in found] == [], name
    context.close()
    assert watch.seen == []


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_texts_are_shown_and_do_nothing(browser: Browser, url: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 740})
    page = context.new_page()
    watch = Watch(page)
    everywhere = ["/queues/hostile/", "/sessions/", f"/sessions/{session_of(url, SCRIPT)}/"]
    everywhere += [f"/queues/?prefix={SCRIPT}", f"/queues/hostile/?search={SCRIPT}"]
    everywhere += [f"/messages/{each['id']}/" for each in messages(url, "hostile")]
    for path in everywhere:
        page.goto(url + path)
        expect(page.get_by_text(SCRIPT).locator("visible=true").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.locator("main script, main img").count() == 0, path
    page.goto(f"{url}/queues/{SCRIPT}/")  # a slash is in no queue's name, nor in its path
    page.goto(f"{url}/queues/?prefix={SCRIPT}")
    expect(page.get_by_label("Name starts with")).to_have_value(SCRIPT)
    context.close()
    assert watch.seen == []


def test_what_would_not_show_is_named(page: Page, url: str) -> None:
    for each in messages(url, "hostile")[1:3]:
        page.goto(f"{url}/messages/{each['id']}/")
        shown = page.locator("pre.payload").inner_text()
        assert "\u202e" not in shown
        assert "\x00" not in shown
        assert re.search(r"U\+0000.*red|U\+202E.*gnp\.exe", shown)


def test_the_watch_sees_what_the_policy_refuses(page: Page, url: str) -> None:
    page.goto(url)
    watch = Watch(page)
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "alert(1)";
            document.body.append(script);
        }"""
    )
    page.wait_for_timeout(100)
    seen = " ".join(watch.seen)
    assert "Content Security Policy" in seen
    assert "dialog" not in seen


def test_a_page_can_be_framed_by_nobody(page: Page, url: str) -> None:
    answer = page.goto(url)
    assert answer is not None
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert "no-store" in answer.headers["cache-control"]


# -- without JavaScript, and by the keyboard --------------------------------------------------


def test_everything_is_there_without_javascript(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    for text in (
        "Stuck calls",
        "no server has ever subscribed to billing.invoices.",
        "Start a server for billing.invoices.",
        "reports.nightly",
        "Callers waiting",
        "Sent a second",
        "Limits in use",
    ):
        expect(page.get_by_text(text).locator("visible=true").first).to_be_visible()
    expect(state(page)).to_have_count(0)
    with page.expect_download() as download:
        page.get_by_role("link", name="Incident bundle").click()
    assert download.value.suggested_filename.startswith("switch-incident-")
    page.get_by_role("link", name="Refresh").click()
    page.get_by_role("button", name="Held").click()
    expect(page.get_by_text("has neither acked nor answered them yet")).to_be_visible()

    page.goto(url)
    stuck = page.get_by_role("listitem").filter(has_text="call").filter(has_text="billing.invoices")
    stuck.get_by_role("link").first.click()
    expect(page.get_by_text("no server has ever subscribed to billing.invoices")).to_be_visible()
    expect(page.get_by_text("Start a server for billing.invoices.")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="Sent by web-frontend")).to_be_visible()
    payload = page.locator("pre.payload")
    expect(payload).to_have_text('{\n  "customer": 1187,\n  "month": "2026-10"\n}')
    page.get_by_role("link", name="Hex").click()
    expect(payload).to_contain_text("7b 22 63 75 73 74")

    page.get_by_role("link", name="Queues").first.click()
    page.get_by_label("Name starts with").fill("audit")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="audit.log").click()
    expect(page.get_by_text("entry 0", exact=True)).to_be_visible()
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_text("entry 129", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    page.get_by_role("link", name="First page").click()
    page.get_by_label("contain").fill("entry 77")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("entry 77", exact=True)).to_be_visible()
    expect(page.get_by_text("entry 0", exact=True)).to_have_count(0)
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("link", name="Dead 0").click()
    expect(page.get_by_text("No dead messages.")).to_be_visible()

    page.get_by_role("link", name="Sessions").first.click()
    page.get_by_role("link", name="order-service").click()
    expect(page.get_by_text("waits for its own call to stock")).to_be_visible()
    held = page.get_by_role("region", name="Holds").get_by_role("row").last
    expect(held).to_contain_text("orders")
    context.close()


def test_the_keyboard_reaches_the_content(page: Page, url: str) -> None:
    page.goto(url)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    page.keyboard.press("Enter")
    expect(state(page)).to_have_text("Paused")
    page.keyboard.press("Enter")
    expect(state(page)).to_have_text("Live")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Refresh")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_word_is_explained_on_hover_focus_and_touch(browser: Browser, url: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(f"{url}/queues/mail.outgoing/")
    word = page.get_by_role("button", name="Handed over")
    meaning = page.get_by_text("Hand-overs to servers since the queue was made.")
    expect(meaning).to_be_hidden()

    word.hover()
    expect(meaning).to_be_visible()
    beside, box = word.bounding_box(), meaning.bounding_box()
    assert beside is not None
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert abs(box["y"] - beside["y"] - beside["height"]) < 12
    meaning.hover()  # it stays while the pointer is on it
    page.wait_for_timeout(400)
    expect(meaning).to_be_visible()
    page.mouse.move(0, 0)
    expect(meaning).to_be_hidden()

    word.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(word).to_be_focused()
    expect(meaning).to_be_visible()
    page.keyboard.press("Escape")
    expect(meaning).to_be_hidden()
    page.keyboard.press("Enter")
    expect(meaning).to_be_visible()
    page.keyboard.press("Tab")
    expect(meaning).to_be_hidden()

    word.tap()
    expect(meaning).to_be_visible()
    page.get_by_role("button", name="Oldest ready").tap()
    expect(meaning).to_be_hidden()
    expect(page.get_by_text("How long ago the oldest ready message was sent.")).to_be_visible()
    assert Axe().run(page).response["violations"] == []
    context.close()


# -- live -------------------------------------------------------------------------------------


@pytest.fixture
def queue(url: str, request: pytest.FixtureRequest) -> str:
    """The name of a queue for one test."""
    name = re.sub(r"\W", ".", request.node.name)[:100]
    api(url, "PUT", f"queues/{name}", {})
    return name


def send(url: str, queue: str, payload: str) -> int:
    return int(api(url, "POST", f"queues/{queue}/messages", {"payload": payload})["id"])


class Looks:
    """The requests by which a page looks again, and its stream."""

    def __init__(self, page: Page) -> None:
        self.count = 0
        self.streams = 0
        page.on("request", self._request)

    def _request(self, request: Request) -> None:
        self.count += "hx-request" in request.headers
        self.streams += "/live/" in request.url


def test_what_happens_is_shown_within_a_second(page: Page, url: str, queue: str) -> None:
    watch, looks = Watch(page), Looks(page)
    page.goto(f"{url}/queues/{queue}/")
    expect(state(page)).to_have_text("Live")
    for number in range(4):
        send(url, queue, f"number {number}")
        expect(page.get_by_text(f"number {number}", exact=True)).to_be_visible(timeout=SOON * 1_000)
        expect(page.get_by_role("link", name=f"Ready {number + 1}")).to_be_visible()
        page.wait_for_timeout(QUIET * 1_000)
    assert looks.streams == 1
    assert watch.seen == []


def test_time_goes_on_when_nothing_happens(page: Page, url: str, queue: str) -> None:
    send(url, queue, "lonely")
    page.goto(f"{url}/queues/{queue}/")
    sentence = page.locator(".verdict .sentence")
    before = sentence.inner_text()
    expect(sentence).not_to_have_text(before, timeout=15_000)


def test_a_page_that_knows_everything_does_not_look_again(page: Page, url: str) -> None:
    for _ in range(10):
        looks = Looks(page)
        page.goto(f"{url}/health/")
        expect(state(page)).to_have_text("Live")
        known = page.locator("#live-status").get_attribute("data-after")
        page.wait_for_timeout(1_500)
        # What other tests have left behind, a session say, may end just now.
        if not api(url, "GET", f"trace?after={known}&limit=1")["events"]:
            break
    assert looks.count == 0


def test_a_queue_appears_where_there_was_none(page: Page, url: str, queue: str) -> None:
    api(url, "DELETE", f"queues/{queue}")
    page.goto(f"{url}/queues/{queue}/")
    expect(page.get_by_role("heading", name="Not here")).to_be_visible()
    api(url, "PUT", f"queues/{queue}", {})
    expect(page.get_by_role("heading", name=queue)).to_be_visible()
    assert page.title().startswith(queue)
    api(url, "DELETE", f"queues/{queue}")
    expect(page.get_by_role("heading", name="Not here")).to_be_visible()
    expect(state(page)).to_have_text("Live")


def test_what_the_reader_does_outlives_a_look(page: Page, url: str, queue: str) -> None:
    first = send(url, queue, "first of all")
    for number in range(60):
        send(url, queue, f"filler {number}")
    page.goto(f"{url}/queues/{queue}/")
    link = page.get_by_role("link", name=str(first), exact=True)
    search = page.get_by_label("contain")
    search.fill("half a wo")
    link.focus()
    page.evaluate(
        """() => {
            const text = [...document.querySelectorAll("td bdi")]
                .find(each => each.textContent === "first of all").firstChild;
            getSelection().setBaseAndExtent(text, 0, text, 5);
            scrollTo(0, 300);
        }"""
    )
    scrolled = page.evaluate("scrollY")

    send(url, queue, "brand new")
    expect(page.get_by_role("link", name="Ready 62")).to_be_visible()
    expect(link).to_be_focused()
    expect(search).to_have_value("half a wo")
    assert page.evaluate("getSelection().toString()") == "first"
    assert page.evaluate("scrollY") == scrolled > 0

    search.focus()
    page.keyboard.type("rd")
    send(url, queue, "newer still")
    expect(page.get_by_role("link", name="Ready 63")).to_be_visible()
    page.keyboard.type("s")
    expect(search).to_have_value("half a words")

    word = page.get_by_role("button", name="Oldest ready")
    word.click()
    meaning = page.get_by_text("How long ago the oldest ready message was sent.")
    api(url, "DELETE", f"queues/{queue}/messages/{first}")
    expect(link).to_have_count(0)
    expect(meaning).to_be_visible()


def test_where_the_focus_was_is_gone_it_stays_in_the_page(page: Page, url: str, queue: str) -> None:
    id = send(url, queue, "short-lived")
    page.goto(f"{url}/queues/{queue}/")
    page.get_by_role("link", name=str(id), exact=True).focus()
    api(url, "DELETE", f"queues/{queue}/messages/{id}")
    expect(page.get_by_text("No messages.")).to_be_visible()
    expect(page.locator("main")).to_be_focused()


MORPH = """async ([before, after, touch]) => {
    const { morph } = await import("/static/queues/morph.js");
    const old = document.createElement("div");
    const fresh = document.createElement("div");
    old.innerHTML = before;
    fresh.innerHTML = after;
    document.body.append(old);
    const known = new Map([...old.querySelectorAll("*")].map((each, at) => [each, at]));
    if (touch === "open") old.querySelector("details").open = true;
    if (touch === "type") old.querySelector("input").value = "typed";
    if (touch === "close") old.querySelector("details").open = false;
    morph(old, fresh);
    const kept = [...old.querySelectorAll("*")].map(each => known.get(each) ?? null);
    const state = {
        open: old.querySelector("details")?.open, value: old.querySelector("input")?.value,
    };
    old.remove();
    return [old.innerHTML, kept, state];
}"""


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("<p>a</p>", "<p>b</p>", [0]),
        ("<p>a</p> ", " <p class='x'>a</p>", [0]),
        ("<p id='a'>1</p><p id='b'>2</p>", "<p id='b'>2</p>", [1]),
        ("<p id='b'>2</p>", "<p id='a'>1</p><p id='b'>3</p>", [None, 0]),
        ("<p id='a'></p><p id='b'></p>", "<p id='b'></p><p id='a'></p>", [1, 0]),
        ("<i data-key='1'>a</i><i data-key='2'>b</i>", "<i data-key='2'>b</i><i>c</i>", [1, None]),
        ("<h2>a</h2><p>b</p>", "<h2>a</h2><ul><li>c</li></ul><p>b</p>", [0, None, None, 1]),
        ("<h2>a</h2><ul><li>c</li></ul><p>b</p>", "<h2>a</h2><p>b</p>", [0, 3]),
        ("<b title='x' lang='y'></b>", "<b title='z'></b>", [0]),
        ("text<!--note--><br>", "<br>other", [None]),
        ("<p id='a'></p>", "<b id='a'></b>", [None]),
        ("", "<p>new</p>", [None]),
        ("<p>old</p>", "", []),
    ],
)
def test_one_tree_becomes_another_and_keeps_what_it_can(
    page: Page, url: str, before: str, after: str, kept: list[int | None]
) -> None:
    page.goto(f"{url}/health/")
    markup, found, _ = page.evaluate(MORPH, [before, after, None])
    assert markup.replace('"', "'") == after
    assert found == kept


def test_what_the_reader_opened_or_typed_is_the_readers(page: Page, url: str) -> None:
    page.goto(f"{url}/health/")
    closed, opened = "<details>{}</details>", "<details open>{}</details>"
    for before, touch, kept in ((closed, "open", True), (opened, "close", False)):
        _, _, state = page.evaluate(MORPH, [before.format(1), before.format(2), touch])
        assert state["open"] is kept
    _, _, state = page.evaluate(MORPH, ["<input value='a'>", "<input value='b'>", "type"])
    assert state["value"] == "typed"
    _, _, state = page.evaluate(MORPH, ["<input value='a'>", "<input value='b'>", None])
    assert state["value"] == "b"


def test_a_paused_page_stays_as_it_is(page: Page, url: str, queue: str) -> None:
    page.goto(f"{url}/queues/{queue}/")
    page.get_by_role("button", name="Pause").click()
    looks = Looks(page)
    send(url, queue, "unseen")
    page.wait_for_timeout(1_500)
    expect(page.get_by_text("No messages.")).to_be_visible()
    assert looks.count == 0
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("unseen")).to_be_visible(timeout=SOON * 1_000)
    expect(state(page)).to_have_text("Live")


SEEN = """state => {
    const hidden = state === "hidden";
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_page_that_nobody_sees_asks_for_nothing(page: Page, url: str, queue: str) -> None:
    page.goto(f"{url}/queues/{queue}/")
    expect(state(page)).to_have_text("Live")
    with page.expect_event("requestfailed", lambda request: "/live/" in request.url):
        page.evaluate(SEEN, "hidden")
    looks = Looks(page)
    send(url, queue, "unseen")
    page.wait_for_timeout(1_500)
    assert (looks.count, looks.streams) == (0, 0)
    page.evaluate(SEEN, "visible")
    expect(page.get_by_text("unseen")).to_be_visible(timeout=SOON * 1_000)
    send(url, queue, "seen")
    expect(page.get_by_text("seen", exact=True)).to_be_visible()


def test_a_page_says_since_when_it_is_stale(page: Page, fresh_server: Server) -> None:
    url = fresh_server.url
    page.goto(url)
    status = state(page)
    expect(status).to_have_text("Live")
    fresh_server.kill()
    expect(status).to_have_text(re.compile(r"^Stale since \d\d:\d\d:\d\d$"))
    since = status.inner_text()
    page.wait_for_timeout(1_500)
    assert status.inner_text() == since
    expect(page.get_by_text("No service has a queue yet")).to_be_visible()
    fresh_server.start()
    api(url, "PUT", "queues/reborn", {})
    expect(status).to_have_text("Live", timeout=20_000)
    expect(page.get_by_role("link", name="reborn")).to_be_visible()


def test_a_look_that_fails_makes_a_page_stale(page: Page, url: str, queue: str) -> None:
    page.goto(f"{url}/queues/{queue}/")
    page.route(f"**/queues/{queue}/", lambda route: route.fulfill(status=503, body="no"))
    send(url, queue, "first")
    status = state(page)
    expect(status).to_have_text(re.compile("Stale since"))
    expect(page.get_by_text("No messages.")).to_be_visible()
    page.unroute_all()
    expect(status).to_have_text("Live", timeout=15_000)
    expect(page.get_by_text("first", exact=True)).to_be_visible()


def test_the_dearer_a_look_the_rarer(page: Page, url: str, queue: str) -> None:
    """At most a twentieth of the time."""
    page.goto(f"{url}/queues/{queue}/")
    began: list[float] = []

    def slow(route: Route) -> None:
        began.append(time.monotonic())
        time.sleep(0.1)
        route.continue_()

    page.route(f"**/queues/{queue}/", slow)
    ends = time.monotonic() + 6
    while time.monotonic() < ends:
        send(url, queue, "again")
        page.wait_for_timeout(50)
    assert len(began) in (2, 3)
    for before, after in pairwise(began):
        assert after - before >= 2.0


# -- size -------------------------------------------------------------------------------------

PAINTED = """() => new Promise(resolve => {
    const found = performance.getEntriesByName("first-contentful-paint");
    if (found.length) resolve(found[0].startTime);
    else new PerformanceObserver(list => resolve(list.getEntries()[0].startTime))
        .observe({ type: "paint", buffered: true });
})"""


def test_a_thousand_queues_and_a_hundred_thousand_messages(
    page: Page, fresh_server: Server
) -> None:
    url = fresh_server.url
    for number in range(1_000):
        api(url, "PUT", f"queues/service.{number:03}", {})
    for thousand in range(98):
        batch = [
            {"payload": json.dumps({"order": 1_000 * thousand + each})} for each in range(1_000)
        ]
        api(url, "POST", "queues/service.500/messages", batch)
    for number in range(200):
        ten = [{"payload": "x"}] * 10
        api(url, "POST", f"queues/service.{number:03}/messages", ten)
    last = api(url, "POST", "queues/service.500/messages", {"payload": "the last"})["id"]
    watch = Watch(page)
    for path, text in {
        "/": "Stuck",
        "/queues/": "service.099",
        "/queues/service.500/": "98,001",
        f"/queues/service.500/?after={last - 1}": "the last",
        "/queues/service.500/?search=17171}": '{"order": 17171}',
        f"/messages/{last}/": "the last",
        "/health/": "Limits in use",
    }.items():
        page.goto(url + path)
        assert page.evaluate(PAINTED) < 1_000, path
        expect(page.get_by_text(text).locator("visible=true").first).to_be_visible()
    assert watch.seen == []


# -- what is around them ----------------------------------------------------------------------


def test_the_admin_is_quiet_under_the_policy(page: Page, url: str) -> None:
    watch = Watch(page)
    page.goto(f"{url}/admin/")
    log_in(page, url)
    for path in ("/admin/", "/admin/auth/user/", "/admin/auth/user/add/", "/admin/queues/"):
        page.goto(url + path)
    assert watch.seen == []


def test_the_api_documentation_works_offline(page: Page, url: str) -> None:
    watch = Watch(page)
    page.goto(f"{url}/api/v1/docs/")
    expect(page.locator(".opblock").first).to_be_visible()
    assert page.locator(".opblock").count() >= 20

    operation = page.locator(".opblock", has_text="List queues")
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table .response-col_status").last).to_have_text("200")
    expect(operation.locator(".live-responses-table")).to_contain_text("audit.log")

    operation = page.locator(".opblock", has_text="/api/v1/login")
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table .response-col_status").last).to_have_text("201")
    assert watch.seen == []


def test_an_ended_message_is_explained(page: Page, url: str) -> None:
    client = api(url, "POST", "login", {"client": "short-lived"})["session"]
    api(url, "PUT", "queues/brief", {})
    id = send(url, "brief", "hello")
    api(url, "PUT", "subscriptions/brief", token=client)
    api(url, "POST", "transfer", {}, client)
    api(url, "POST", "ack", {"ids": [id]}, client)
    page.goto(f"{url}/messages/{id}/")
    expect(page.get_by_text("Ended").first).to_be_visible()
    expect(page.get_by_text("short-lived acknowledged the message")).to_be_visible()
