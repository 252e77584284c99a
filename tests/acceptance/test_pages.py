"""The pages in a real browser: every page, on a phone and a desktop, light and dark.

With SWITCH_TEST_SCREENSHOTS=directory each page is also written there as it looks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from .browsing import SCRIPT, Watch, api, chromium, fill, fill_hostile, manage, messages
from .conftest import Server

SIZES = {"phone": (360, 740), "desktop": (1280, 800)}
PASSWORD = "only for tests"

USERS = f"""
from django.contrib.auth.models import Permission, User
view = Permission.objects.get(codename="view_diagnostics")
User.objects.create_superuser("root", password={PASSWORD!r})
operator = User.objects.create_user("operator", password={PASSWORD!r}, is_staff=True)
operator.user_permissions.add(view)
User.objects.create_user("clerk", password={PASSWORD!r}, is_staff=True)
User.objects.create_user("guest", password={PASSWORD!r}).user_permissions.add(view)
"""

#: Texts whose contrast to what is behind them is below WCAG AA, with that contrast.
FAINT = """root => {
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const luminance = color => {
        const [r, g, b] = channels(color).slice(0, 3).map(c => {
            c /= 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        for (; element; element = element.parentElement) {
            const color = getComputedStyle(element).backgroundColor;
            if (channels(color)[3] !== 0) return color;
        }
        return "rgb(255, 255, 255)";
    };
    const faint = [];
    for (const element of document.querySelectorAll(root + " *")) {
        const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (!own || !element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        const pair = [luminance(style.color), luminance(behind(element))];
        const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (ratio < (large ? 3 : 4.5)) faint.push([element.textContent.trim(), ratio]);
    }
    return faint;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A switch with something to see, and its users."""
    state_dir = tmp_path_factory.mktemp("switch")
    manage(state_dir, "migrate", "--verbosity", "0")
    manage(state_dir, "shell", "--command", USERS)
    server = Server(state_dir)
    server.start()
    fill(server.url)
    fill_hostile(server.url)
    yield server.url
    server.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


def log_in(page: Page, url: str, user: str) -> None:
    page.goto(f"{url}/admin/login/")
    page.fill("#id_username", user)
    page.fill("#id_password", PASSWORD)
    page.click("[type=submit]")


def paths(url: str) -> dict[str, str]:
    """Every page by a name for its screenshot."""
    found = {
        "diagnostics": "/",
        "queues": "/queues/?kind=all",
        "queue": "/queues/mail.outgoing/",
        "queue-of-hostile-messages": "/queues/hostile/",
        "sessions": "/sessions/",
        "unknown-queue": "/queues/nobody.made.this/",
        "unknown-message": "/messages/1/",
        "unknown-page": "/nothing/here/",
        "admin": "/admin/queues/diagnostics/",
    }
    for state in ("ready", "held", "delayed", "dead"):
        id = messages(url, "mail.outgoing", state)[0]["id"]
        found[f"message-{state}"] = f"/messages/{id}/"
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_is_legible_and_quiet(
    browser: Browser, url: str, size: str, scheme: Any, tmp_path: Path
) -> None:
    shots = Path(os.environ.get("SWITCH_TEST_SCREENSHOTS", tmp_path))
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    log_in(page, url, "root")
    watch = Watch(page)
    for name, path in paths(url).items():
        page.goto(url + path)
        page.screenshot(path=shots / f"{name}-{size}-{scheme}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.locator("h1:visible").count() >= 1, name
        own = ".switch" if name != "admin" else "#content .switch"
        assert page.evaluate(FAINT, own) == [], name
    context.close()
    assert watch.seen == []


@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_texts_are_shown_and_do_nothing(browser: Browser, url: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 740})
    page = context.new_page()
    log_in(page, url, "root")
    watch = Watch(page)
    everywhere = ["/", "/queues/hostile/", "/queues/?kind=all", "/sessions/"]
    everywhere += [f"/messages/{each['id']}/" for each in messages(url, "hostile")]
    for path in [*everywhere, "/admin/queues/diagnostics/", f"/queues/{SCRIPT}/"]:
        page.goto(url + path)
        if not path.endswith("script>/"):  # a slash is in no queue's name, nor in its path
            expect(page.get_by_text(SCRIPT).locator("visible=true").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.locator("main script, main img, .switch td img").count() == 0, path
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
            new Image().src = "http://other.invalid/";
        }"""
    )
    page.wait_for_timeout(100)
    seen = " ".join(watch.seen)
    assert "Content Security Policy" in seen
    assert "dialog" not in seen


def test_everything_is_there_without_javascript(browser: Browser, url: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(url)
    for text in (
        "Called but never started",
        "Crashed or deadlocked",
        "billing.invoices",
        "reports.nightly",
        "Callers waiting",
        "Limits in use",
        '{"customer": 1187, "month": "2026-10"}',
    ):
        expect(page.get_by_text(text).locator("visible=true").first).to_be_visible()
    row = page.locator("tr", has_text="1187")
    expect(row.get_by_text("Waits")).to_be_visible()
    expect(page.locator("tr", has_text="1188").get_by_text("Gone")).to_be_visible()

    row.get_by_role("link").click()
    expect(page.get_by_text("no server has ever subscribed to billing.invoices")).to_be_visible()
    expect(page.get_by_text("Start a server for billing.invoices.")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="Sent by web-frontend")).to_be_visible()

    page.get_by_role("link", name="Queues").first.click()
    page.get_by_label("Name starts with").fill("audit")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="audit.log").click()
    expect(page.get_by_text("entry 0", exact=True)).to_be_visible()
    page.get_by_role("link", name="Next page").click()
    expect(page.get_by_text("entry 129", exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    page.get_by_role("link", name="First page").click()
    page.get_by_role("link", name="Dead 0").click()
    expect(page.get_by_text("No dead messages.")).to_be_visible()
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
    expect(page.get_by_role("link", name="Refresh")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_admin_page_asks_for_its_permission(browser: Browser, url: str) -> None:
    def visit(user: str | None) -> tuple[int, Page]:
        page = browser.new_context().new_page()
        if user is not None:
            log_in(page, url, user)
        answer = page.goto(f"{url}/admin/queues/diagnostics/")
        assert answer is not None
        return answer.status, page

    for user in (None, "guest"):
        _, page = visit(user)
        assert "/admin/login/?next=" in page.url, user
        page.context.close()

    status, page = visit("clerk")
    assert status == 403
    expect(page.get_by_role("heading", name="Not allowed")).to_be_visible()
    page.context.close()

    for user in ("operator", "root"):
        status, page = visit(user)
        assert status == 200
        expect(page.get_by_role("link", name="billing.invoices", exact=True)).to_be_visible()
        page.goto(f"{url}/admin/")
        section = page.locator(".app-queues")
        expect(section.get_by_role("link", name="Diagnostics")).to_be_visible()
        assert section.get_by_role("link", name=re.compile("Add|Change")).count() == 0
        page.context.close()


def test_the_admin_is_quiet_under_the_policy(page: Page, url: str) -> None:
    watch = Watch(page)
    page.goto(f"{url}/admin/")
    log_in(page, url, "root")
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


def test_a_page_can_be_framed_by_nobody(page: Page, url: str) -> None:
    answer = page.goto(url)
    assert answer is not None
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert "no-store" in answer.headers["cache-control"]


def test_an_ended_message_is_explained(page: Page, url: str) -> None:
    client = api(url, "POST", "login", {"client": "short-lived"})["session"]
    api(url, "PUT", "queues/brief", {})
    id = api(url, "POST", "queues/brief/messages", {"payload": "hello"})["id"]
    api(url, "PUT", "subscriptions/brief", token=client)
    api(url, "POST", "transfer", {}, client)
    api(url, "POST", "ack", {"ids": [id]}, client)
    page.goto(f"{url}/messages/{id}/")
    expect(page.get_by_text("Ended")).to_be_visible()
    expect(page.get_by_text("short-lived acknowledged the message")).to_be_visible()
