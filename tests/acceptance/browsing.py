"""A real browser, and what the tests show it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, sync_playwright

from .conftest import ROOT, until

SCRIPT = "<script>alert(1)</script>"
#: Payloads that would break a careless page.
HOSTILE = (
    SCRIPT,
    "\x00\x01\x1b[31mred\x7f",
    "\u202egnp.exe\u202c abc",
    "W" * 5_000,
    "Z\u0338\u0327\u0322\u031b\u0317\u0329\u0353\u0318\u0350" * 50,
    "<img src=x onerror=alert(1)>\n\"'&amp;{{ 7 }}{% now %}",
    "",
)


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """The browser of this machine."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail("These tests need Chromium. Install it with `make tools`.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                *arguments,
            ],
        )
        yield browser
        browser.close()


class Watch:
    """What a page did that it should not: errors, dialogs, requests to other hosts.

    A violation of the content security policy is an error on the console.
    """

    def __init__(self, page: Page) -> None:
        self.seen: list[str] = []
        self._page = page
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.seen.append(f"exception: {error}"))
        page.on("dialog", self._dialog)
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium reports the status of a page that is rightly not found as an error, too.
        about_itself = message.location.get("url") == self._page.url
        if message.type in ("error", "warning") and not (about_itself and "404" in message.text):
            self.seen.append(f"console: {message.text}")

    def _dialog(self, dialog: Dialog) -> None:
        self.seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        here = urlsplit(self._page.url)
        there = urlsplit(request.url)
        if here.netloc and there.scheme not in ("data", "blob") and there.netloc != here.netloc:
            self.seen.append(f"request: {request.url}")


def api(url: str, method: str, path: str, body: object = None, token: str | None = None) -> Any:
    """One request of the protocol; a refusal is an answer, too."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{url}/api/v1/{path}", data=data, method=method, headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=330) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            content = error.read()
    return json.loads(content) if content else None


def in_background(*arguments: Any) -> None:
    """A request that waits; it ends with the server."""

    def wait() -> None:
        with suppress(OSError):
            api(*arguments)

    threading.Thread(target=wait, daemon=True).start()


def login(url: str, client: str, *queues: str) -> str:
    """The token of a new session that serves queues."""
    token = str(api(url, "POST", "login", {"client": client, "lease": 600})["session"])
    for name in queues:
        api(url, "PUT", f"queues/{name}", {})
        api(url, "PUT", f"subscriptions/{name}", token=token)
    return token


def call(url: str, queue: str, payload: str, token: str, parent: int | None = None) -> None:
    """A call that waits."""
    headers = {} if parent is None else {"switch-parent": str(parent)}
    body = {"payload": payload, "timeout": 300, "headers": headers}
    in_background(url, "POST", f"call/{queue}", body, token)


def take(url: str, token: str) -> int:
    """The next message for a server; it holds it."""
    (message,) = api(url, "POST", "transfer", {"timeout": 20}, token)["messages"]
    return int(message["id"])


def reply(url: str, id: int, payload: str, token: str) -> None:
    api(url, "POST", f"messages/{id}/reply", {"payload": payload}, token)


def invoice(url: str, tokens: list[str], customer: int) -> int:
    """A call whose handler makes a call itself; both are answered. The first request."""
    web, invoicing, drawing = tokens
    call(url, "invoices", json.dumps({"method": "invoice.make", "customer": customer}), web)
    outer = take(url, invoicing)
    call(url, "pdf", json.dumps({"method": "render", "customer": customer}), invoicing, outer)
    inner = take(url, drawing)
    if customer % 2:
        api(url, "POST", "nack", {"ids": [inner]}, drawing)
        assert take(url, drawing) == inner
    reply(url, inner, '{"pages": 3}', drawing)
    reply(url, outer, json.dumps({"invoice": f"R-2026-{customer}"}), invoicing)
    return outer


def lock(url: str, callers: tuple[str, str], services: tuple[str, str]) -> None:
    """Two servers that wait for each other, and two callers who wait with them."""
    first, second = services
    shop, cron = (login(url, name) for name in callers)
    stock, prices = (login(url, f"{name.removesuffix('s')}-server", name) for name in services)
    call(url, first, "how many?", shop)
    outer = take(url, stock)
    call(url, second, "how much?", stock, outer)
    inner = take(url, prices)
    call(url, first, "how many again?", prices, inner)
    call(url, second, "nightly", cron)
    # It is told only when the servers had time to take what would open the circle.
    until(lambda: api(url, "GET", f"messages/{outer}")["verdict"]["code"] == "deadlock", "locked")


def fill(url: str) -> None:
    """Services in every status, messages in every state, and hostile texts wherever they fit."""

    def login(client: str, lease: float = 600) -> str:
        return str(api(url, "POST", "login", {"client": client, "lease": lease})["session"])

    def send(queue: str, **fields: Any) -> None:
        assert "id" in api(url, "POST", f"queues/{queue}/messages", fields, web), queue

    web = login("web-frontend")
    for name in ("billing.invoices", "mail.outgoing", "reports.nightly", "thumbnails"):
        api(url, "PUT", f"queues/{name}", {})
    api(url, "PUT", "queues/audit.log", {})

    mailer, second = login("mailer-1"), login("mailer-2")
    for worker in (mailer, second):
        api(url, "PUT", "subscriptions/mail.outgoing", token=worker)
    for order in range(4_200, 4_206):
        mail = {"to": f"customer{order % 10}@example.com", "template": "receipt", "order": order}
        send("mail.outgoing", payload=json.dumps(mail))
    got = api(url, "POST", "transfer", {"limit": 2}, mailer)["messages"]
    api(url, "POST", "transfer", {}, second)
    send("mail.outgoing", payload='{"to": "later@example.com"}', delay=3_600)
    api(url, "POST", "nack", {"ids": [got[0]["id"]], "requeue": False}, mailer)

    indexer = login("indexer")
    api(url, "PUT", "queues/search.index", {})
    api(url, "PUT", "subscriptions/search.index", token=indexer)
    in_background(url, "POST", "transfer", {"timeout": 300}, indexer)

    bill = {"payload": '{"customer": 1187, "month": "2026-10"}', "timeout": 300}
    in_background(url, "POST", "call/billing.invoices", {**bill, "wait_for_server": True}, web)
    send("billing.invoices", payload='{"customer": 1188, "month": "2026-10"}', reply_to="left")

    thumbnailer = login("thumbnailer")
    api(url, "PUT", "subscriptions/thumbnails", token=thumbnailer)
    api(url, "POST", "logout", token=thumbnailer)
    send("thumbnails", payload="s3://pictures/2026/11/25/IMG_2213.jpeg")

    reporter = login("reporter (pid 4711)", lease=1)
    api(url, "PUT", "subscriptions/reports.nightly", token=reporter)
    report = {"payload": '{"report": "revenue", "day": "2026-11-24"}', "timeout": 300}
    in_background(url, "POST", "call/reports.nightly", report, web)
    until(
        lambda: api(url, "POST", "transfer", {"timeout": 5}, reporter)["messages"],
        "the report is asked for",
    )

    for number in range(130):
        send("audit.log", payload=f"entry {number}")

    until(lambda: _status(url, "reports.nightly") == "crashed_or_deadlocked", "the lease ends")


def fill_calls(url: str) -> None:
    """Calls made while serving others, and services whose times are known."""

    def login(client: str, *queues: str) -> str:
        token = str(api(url, "POST", "login", {"client": client, "lease": 600})["session"])
        for queue in queues:
            api(url, "PUT", f"queues/{queue}", {})
            api(url, "PUT", f"subscriptions/{queue}", token=token)
        return token

    def served(queue: str, method: str, caller: str, server: str, parent: int | None) -> int:
        """Call a service; its server takes the request, and keeps it. The id of the request."""
        request = {"jsonrpc": "2.0", "method": method, "params": {"sku": "A-113"}, "id": 1}
        headers = {} if parent is None else {"switch-parent": str(parent)}
        call = {"payload": json.dumps(request), "timeout": 300, "headers": headers}
        in_background(url, "POST", f"call/{queue}", call, caller)
        taken = api(url, "POST", "transfer", {"timeout": 20}, server)["messages"]
        return int(taken[0]["id"])

    shop = login("shop")
    orders, stock = login("order-service", "orders"), login("stock-service", "stock")
    first = served("orders", "order.place", shop, orders, None)
    served("stock", "stock.reserve", orders, stock, first)

    prices = login("price-service", "prices")
    for number in range(30):
        method = "price.list" if number % 3 else "price.get"
        payload = json.dumps({"jsonrpc": "2.0", "method": method, "id": number})
        api(url, "POST", "queues/prices/messages", {"payload": payload})
        taken = api(url, "POST", "transfer", {}, prices)["messages"]
        api(url, "POST", "ack", {"ids": [message["id"] for message in taken]}, prices)


def fill_hostile(url: str) -> None:
    """Hostile texts wherever a client may put text, and names as long as they may be."""
    attacker = str(api(url, "POST", "login", {"client": SCRIPT, "lease": 600})["session"])
    api(url, "PUT", "queues/hostile", {})
    api(url, "PUT", "subscriptions/hostile", token=attacker)
    for number, payload in enumerate(HOSTILE):
        message = {
            "payload": payload,
            "headers": {SCRIPT: SCRIPT, "long": "H" * 2_000, "turned\u202e": "\x00\u202e"},
            "correlation_id": (SCRIPT + payload)[:1_000],
            "key": f"{SCRIPT}{number}",
        }
        assert api(url, "POST", "queues/hostile/messages", message, attacker)["created"]
    api(url, "POST", "transfer", {}, attacker)
    api(url, "POST", "queues", {}, attacker)
    longest = "L" * 255
    api(url, "PUT", f"queues/{longest}", {})
    api(url, "POST", f"queues/{longest}/messages", {"payload": "x", "reply_to": longest}, attacker)
    api(url, "PUT", f"queues/{'M' * 255}", {})


def _status(url: str, queue: str) -> str:
    return str(api(url, "GET", f"queues/{queue}")["status"])


def messages(url: str, queue: str, state: str = "") -> list[dict[str, Any]]:
    """The messages of a queue."""
    query = f"?state={state}" if state else ""
    return list(api(url, "GET", f"queues/{queue}/messages{query}")["messages"])


def manage(state_dir: Path, *arguments: str) -> None:
    """Run a management command on the server's database."""
    subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "SWITCH_STATE_DIR": str(state_dir)},
        check=True,
        capture_output=True,
    )
