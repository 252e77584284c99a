"""The pictures of docs/pages.md: each page of a busy switch in light and dark, on a desktop and a
phone.

`make screenshots` runs this with SWITCH_TEST_SCREENSHOTS=directory, and the pictures are written
there. Without it they are taken all the same, so that what the documents show cannot break
unnoticed.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from .browsing import (
    Watch,
    api,
    fill,
    fill_calls,
    invoice,
    lock,
    login,
    manage,
    messages,
)
from .conftest import Server

SIZES = {"desktop": (1280, 840), "phone": (390, 1040)}
#: Of WebP, which takes less than half the bytes of PNG. Playwright asks for no such pictures.
QUALITY = 60
#: Bytes of one picture: they stay in the history of the repository.
AT_MOST = 100_000
WRITE_TO = os.environ.get("SWITCH_TEST_SCREENSHOTS")
#: Seconds of traffic before the pictures: curves of the last minutes need some.
TRAFFIC = 90 if WRITE_TO else 1

PASSWORD = "only for tests"
USERS = f"""
from django.contrib.auth.models import User
User.objects.create_superuser("olivia", password={PASSWORD!r})
"""
ADMIN = "/admin/queues/diagnostics/"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A switch in trouble, and in use."""
    state_dir = tmp_path_factory.mktemp("switch")
    manage(state_dir, "migrate", "--verbosity", "0")
    manage(state_dir, "shell", "--command", USERS)
    server = Server(state_dir)
    server.start()
    fill(server.url)
    fill_calls(server.url)
    lock(server.url, callers=("checkout", "settlement"), services=("payments", "fraud.check"))
    with traffic(server.url) as stop:
        stop.wait(TRAFFIC)
        yield server.url
    server.stop()


@contextmanager
def traffic(url: str) -> Iterator[threading.Event]:
    """Requests that are served, now more and now fewer a second, until the end."""
    stop = threading.Event()
    server = login(url, "price-service-2", "prices")
    methods = itertools.cycle(("price.get", "price.get", "price.list", "price.quote"))

    def batch(size: int) -> None:
        payloads = [json.dumps({"jsonrpc": "2.0", "method": next(methods)}) for _ in range(size)]
        api(url, "POST", "queues/prices/messages", [{"payload": each} for each in payloads])
        taken = api(url, "POST", "transfer", {"limit": size}, server)["messages"]
        stop.wait(0.02)
        api(url, "POST", "ack", {"ids": [message["id"] for message in taken]}, server)

    def run() -> None:
        with suppress(OSError, urllib.error.URLError):
            for size in itertools.cycle((3, 4, 6, 9, 12, 11, 7, 5, 8, 14, 10, 5)):
                for _ in range(20):
                    batch(size)
                    if stop.wait(0.4):
                        return

    thread = threading.Thread(target=run)
    thread.start()
    yield stop
    stop.set()
    thread.join()


@pytest.fixture(scope="module")
def paths(url: str, browser: Browser) -> dict[str, str]:
    """Where each picture is taken, by its name."""
    # The calls go last into the trace, so that they are its newest events.
    tokens = [login(url, "web-frontend"), login(url, "invoice-server", "invoices")]
    tokens.append(login(url, "pdf-maker", "pdf"))
    call = invoice(url, tokens, 1187)
    order = messages(url, "orders", "held")[0]["id"]
    diagnostics = api(url, "GET", "diagnostics")
    session = next(s["id"] for s in diagnostics["sessions"] if s["client"] == "order-service")
    mail = messages(url, "mail.outgoing", "dead")[0]["id"]
    return {
        "overview": "/",
        "queues": "/queues/",
        "queue": "/queues/mail.outgoing/",
        "message": f"/messages/{order}/",
        "sessions": "/sessions/",
        "session": f"/sessions/{session}/",
        "waits": "/waits/",
        "trace": f"/trace/?message={call}",
        "health": "/health/",
        "admin-overview": ADMIN,
        "admin-queues": f"{ADMIN}queues/",
        "admin-queue": f"{ADMIN}queues/mail.outgoing/",
        "admin-message": f"{ADMIN}messages/{mail}/",
        "admin-sessions": f"{ADMIN}sessions/",
        "admin-session": f"{ADMIN}sessions/{session}/",
        "admin-confirm": f"{ADMIN}queues/mail.outgoing/destroy/",
        "admin-log": f"{ADMIN}log/",
    }


@pytest.fixture(scope="module")
def cookies(url: str, browser: Browser) -> Any:
    """Of a user who has done a few things."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}/admin/login/")
    page.fill("#id_username", "olivia")
    page.fill("#id_password", PASSWORD)
    page.click("[type=submit]")
    for path in (
        "queues/thumbnails/pause/",
        "queues/audit.log/purge/?group=ready",
        "queues/thumbnails/resume/",
    ):
        page.goto(url + ADMIN + path)
        page.locator(".answer").click()
        expect(page.locator(".messagelist li")).to_have_count(1)
    state = context.storage_state()
    context.close()
    return state


def picture(page: Page) -> bytes:
    """What the window shows."""
    session = page.context.new_cdp_session(page)
    taken = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    session.detach()
    return base64.b64decode(taken["data"])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_page_has_its_picture(
    browser: Browser,
    url: str,
    cookies: Any,
    paths: dict[str, str],
    size: str,
    scheme: Any,
    tmp_path: Path,
) -> None:
    folder = Path(WRITE_TO or tmp_path)
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, storage_state=cookies
    )
    page = context.new_page()
    watch = Watch(page)
    for name, path in paths.items():
        answer = page.goto(url + path)
        assert answer is not None
        assert answer.ok, name
        if page.locator("#live-status").count():
            expect(page.locator("#live-status").get_by_role("status")).to_have_text("Live")
        taken = picture(page)
        assert len(taken) < AT_MOST, name
        (folder / f"{name}-{size}-{scheme}.webp").write_bytes(taken)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    context.close()
    assert watch.seen == []
