"""The trace, its sequence chart and the graph of waits, in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from .browsing import (
    SCRIPT,
    Watch,
    api,
    call,
    fill_hostile,
    in_background,
    invoice,
    lock,
    login,
    reply,
    take,
)
from .conftest import Server

SIZES = {"phone": (360, 740), "desktop": (1280, 800)}
AXE = Axe()


@pytest.fixture(scope="module")
def tokens(server: Server) -> list[str]:
    """web-frontend, invoice-server and pdf-maker, with a few calls behind them."""
    url = server.url
    found = [
        login(url, "web-frontend"),
        login(url, "invoice-server", "invoices"),
        login(url, "pdf-maker", "pdf"),
    ]
    for customer in (1186, 1187, 1188):
        invoice(url, found, customer)
    return found


@pytest.fixture(scope="module")
def deadlock(server: Server) -> None:
    lock(server.url, callers=("shop", "cron"), services=("stock", "prices"))


@pytest.fixture
def page(browser: Browser, tokens: list[str]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(20_000)
    yield page
    context.close()


def steps(page: Page) -> list[str]:
    """What the steps of the chart say of themselves, without times and numbers."""
    titles = page.locator(".chart .step > title").all_text_contents()
    return [re.sub(r"^[\d:.]+ (\d+ )?", "", title) for title in titles]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_pages_fit_are_accessible_and_quiet(
    browser: Browser,
    server: Server,
    tokens: list[str],
    deadlock: None,
    size: str,
    scheme: Any,
) -> None:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    watch = Watch(page)
    for name, path in {
        "waits": "/waits/",
        "trace": "/trace/",
        "trace-of-a-queue": "/trace/?queue=invoices",
        "trace-at-a-step": "/trace/?queue=invoices&step=5",
        "trace-of-nothing": "/trace/?queue=nobody.made.this",
    }.items():
        page.goto(server.url + path)
        expect(page.locator("#live-status")).to_contain_text(re.compile("Live|Paused"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        found = AXE.run(page).response["violations"]
        assert [(each["id"], [n["html"] for n in each["nodes"]]) for each in found] == [], name
    context.close()
    assert watch.seen == []


def test_an_event_is_shown_within_a_second(page: Page, server: Server, tokens: list[str]) -> None:
    page.goto(f"{server.url}/trace/?text=urgent")
    expect(page.get_by_text("No event matches.")).to_be_visible()
    expect(page.locator("#live-status")).to_contain_text("Live")
    page.wait_for_timeout(1_500)  # the page is at rest
    api(server.url, "POST", "queues/invoices/messages", {"payload": "urgent"})
    row = page.locator("table.events tr", has_text="urgent")
    expect(row).to_be_visible(timeout=1_000)
    expect(page.locator(".chart .step")).to_have_count(1)
    # The chart has come with it, and can be used.
    page.get_by_role("button", name="One step back").click()
    expect(page.locator("#moment")).to_contain_text("1 of 1")
    api(server.url, "POST", "queues/invoices/purge", {})


def test_the_newest_step_stays_in_sight_while_the_page_is_live(
    page: Page, server: Server, tokens: list[str]
) -> None:
    page.goto(f"{server.url}/trace/")
    last = page.locator(".chart .step").last
    expect(last).to_be_in_viewport(ratio=0.2)
    invoice(server.url, tokens, 4711)
    expect(page.locator(".chart .step").last).to_contain_text("R-2026-4711")
    expect(page.locator(".chart .step").last).to_be_in_viewport(ratio=0.2)


def test_the_slider_stops_time(page: Page, server: Server) -> None:
    watch = Watch(page)
    page.goto(f"{server.url}/trace/?queue=invoices&show=25")
    expect(page.locator("#live-status")).to_contain_text("Live")
    count = len(steps(page))
    slider = page.get_by_role("slider", name="Stop at")
    expect(slider).to_have_value(str(count))

    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#live-status")).to_contain_text("Paused")
    expect(page.locator("#moment")).to_contain_text(f"1 of {count}")
    expect(page.locator(".chart .step.current")).to_have_count(1)
    expect(page.locator(".chart .step.later")).to_have_count(count - 1)

    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="One step on").click()
    expect(page.locator("#moment")).to_contain_text(f"3 of {count}")
    expect(slider).to_have_value("3")
    expect(page.locator(".chart .step.current")).to_be_in_viewport(ratio=0.2)

    page.locator(".chart .step").nth(4).click()
    expect(page.locator("#moment")).to_contain_text(f"5 of {count}")
    title = page.locator(".chart .step.current > title").text_content()
    expect(page.locator("#moment")).to_contain_text(title or "?")

    # What happens meanwhile does not disturb, and is there when time goes on.
    api(server.url, "POST", "queues/invoices/messages", {"payload": "meanwhile"})
    page.wait_for_timeout(1_500)
    expect(page.locator("#moment")).to_contain_text(f"5 of {count}")
    expect(page.locator("table.events")).not_to_contain_text("meanwhile")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("table.events")).to_contain_text("meanwhile")
    expect(page.locator(".chart .step.later")).to_have_count(0)
    expect(page.locator(".chart .step.current")).to_have_count(0)
    expect(page.locator("#moment")).to_contain_text("The slider stops time.")
    api(server.url, "POST", "queues/invoices/purge", {})
    assert watch.seen == []


def test_the_link_at_a_step_leads_to_its_message(
    page: Page, server: Server, tokens: list[str]
) -> None:
    outer = invoice(server.url, tokens, 77)
    page.goto(f"{server.url}/trace/?message={outer}")
    page.get_by_role("button", name="One step on").click()
    page.locator("#moment").get_by_role("link", name="Message").click()
    expect(page).to_have_url(f"{server.url}/messages/{outer}/")


def test_the_steps_of_one_message_light_up_together(
    page: Page, server: Server, tokens: list[str]
) -> None:
    outer = invoice(server.url, tokens, 78)
    page.goto(f"{server.url}/trace/?message={outer}")
    page.locator(".chart .step").first.hover()
    expect(page.locator(".chart .step.same")).to_have_count(3)
    expect(page.locator(f".chart .step.same[data-message='{outer}']")).to_have_count(3)
    page.get_by_role("heading", name="Trace").hover()
    expect(page.locator(".chart .step.same")).to_have_count(0)


def test_a_call_is_followed_through_all_its_services(
    page: Page, server: Server, tokens: list[str]
) -> None:
    outer = invoice(server.url, tokens, 79)
    page.goto(f"{server.url}/trace/?queue=pdf")
    page.locator("table.events tr", has_text="79").first.get_by_role(
        "link", name="Call of message"
    ).click()
    assert steps(page) == [
        'sent: web-frontend → invoices: {"method": "invoice.make", "customer": 79}',
        "handed over: invoices → invoice-server",
        'sent: invoice-server → pdf: {"method": "render", "customer": 79}',
        "handed over: pdf → pdf-maker",
        "given back: pdf-maker → pdf: nack",
        "handed over: pdf → pdf-maker",
        'answered: pdf-maker → invoice-server: {"pages": 3}',
        'answered: invoice-server → web-frontend: {"invoice": "R-2026-79"}',
    ]
    heads = page.locator(".chart-heads title").all_text_contents()
    assert heads == [
        "client web-frontend",
        "queue invoices",
        "client invoice-server",
        "queue pdf",
        "client pdf-maker",
    ]
    assert str(outer) in page.locator("table.events").inner_text()


def test_the_chart_is_saved_as_svg_and_for_mscgen(
    page: Page, server: Server, tokens: list[str], tmp_path: Path
) -> None:
    outer = invoice(server.url, tokens, 80)
    page.goto(f"{server.url}/trace/?message={outer}")
    for name, file in (("SVG", "trace.svg"), ("mscgen", "trace.msc")):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename == file
        download.value.save_as(tmp_path / file)

    # As a page of its own its style applies, and nothing else would.
    watch = Watch(page)
    page.goto(page.get_by_role("link", name="SVG").evaluate("link => link.href"))
    colour = "getComputedStyle(document.querySelector('.good')).color"
    assert page.evaluate(colour) == "rgb(24, 121, 74)"
    assert watch.seen == []
    # As a file, too.
    page.goto((tmp_path / "trace.svg").as_uri())
    assert page.evaluate(colour) == "rgb(24, 121, 74)"

    program = shutil.which("mscgen")
    if program is None:
        pytest.skip("mscgen is not installed; `make tools` installs it")
    subprocess.run([program, "-T", "svg", "-i", str(tmp_path / "trace.msc")], check=True)


def test_a_deadlock_can_be_followed_round(page: Page, server: Server, deadlock: None) -> None:
    watch = Watch(page)
    page.goto(f"{server.url}/waits/")
    circle = page.get_by_role("region", name="Deadlock")
    expect(circle).to_be_visible()
    expect(circle.get_by_role("listitem")).to_have_count(4)
    expect(page.get_by_role("row").filter(has_text="Locked")).to_have_count(6)
    arrows = page.locator(".graph .wait > title")
    expect(arrows.filter(has_text=re.compile("price-server → stock: .*, locked"))).to_have_count(1)

    # The boxes lead on, with the keyboard, too.
    box = page.locator(".graph").get_by_role("link", name="stock-server")
    box.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/sessions/"))
    page.go_back()
    page.locator(".graph").get_by_role("link", name="shop").click()
    expect(page).to_have_url(f"{server.url}/trace/?client=shop")
    assert watch.seen == []


def test_a_wait_that_ends_leaves_the_page(page: Page, server: Server, tokens: list[str]) -> None:
    web, invoicing, _ = tokens
    page.goto(f"{server.url}/waits/")
    call(server.url, "invoices", "brief", web)
    id = take(server.url, invoicing)
    rows = page.get_by_role("row").filter(has_text=str(id))
    expect(rows).to_have_count(2, timeout=5_000)
    reply(server.url, id, "done", invoicing)
    expect(rows).to_have_count(0, timeout=5_000)


def test_everything_is_there_without_javascript(
    browser: Browser, server: Server, tokens: list[str], deadlock: None
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server.url}/trace/")
    page.get_by_label("Queue", exact=True).fill("invoices")
    page.get_by_label("Event", exact=True).select_option("Handed over")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("table.events tbody tr").first).to_contain_text("Handed over")
    assert set(steps(page)) == {"handed over: invoices → invoice-server"}
    page.get_by_role("link", name="Clear").click()

    page.get_by_label("At most").select_option("25")
    page.get_by_role("button", name="Show").click()
    count = len(steps(page))
    for at in (count - 1, count - 2):
        page.get_by_role("button", name="One step back").click()
        expect(page.locator("#moment")).to_contain_text(f"{at} of {count}")
        expect(page.locator(".chart .step.later")).to_have_count(count - at)
    page.get_by_role("slider").press("Home")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#moment")).to_contain_text(f"1 of {count}")
    while (older := page.get_by_role("link", name="Older")).count():
        older.click()
    expect(page.locator("table.events")).to_contain_text("Logged in")
    page.get_by_role("link", name="Newest").click()

    page.goto(f"{server.url}/waits/")
    expect(page.locator(".graph .wait")).not_to_have_count(0)
    expect(page.get_by_role("row").filter(has_text="Locked").first).to_be_visible()
    context.close()


def test_hostile_texts_are_shown_and_do_nothing(browser: Browser, fresh_server: Server) -> None:
    url = fresh_server.url
    fill_hostile(url)
    hostile = login(url, SCRIPT)
    api(url, "PUT", "queues/waiting", {})
    body = {"payload": SCRIPT, "timeout": 300, "wait_for_server": True}
    in_background(url, "POST", "call/waiting", body, hostile)
    for width in (360, 1280):
        context = browser.new_context(viewport={"width": width, "height": 740})
        page = context.new_page()
        watch = Watch(page)
        for path in ("/trace/", "/trace/?client=" + SCRIPT, "/trace/?text=%3Cimg", "/waits/"):
            page.goto(url + path)
            expect(page.get_by_text(re.compile(r"<(script|img)")).first).to_be_attached()
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.locator("main script, main img").count() == 0, path
        page.goto(f"{url}/trace/chart.svg")
        assert page.evaluate("document.querySelectorAll('script').length") == 0
        context.close()
        assert watch.seen == []
