"""What a page of another origin can do to the switch: nothing.

A switch on the loopback address is reachable for every page that its user opens. Browsers send
plain forms, images and some fetches there without asking anybody, and a host name whose address
changes after the page has loaded even makes them same-origin.
"""

from __future__ import annotations

import http.client
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response

from .browsing import api, chromium
from .conftest import Server

#: Where a page would do harm, and with what body. JSON is not among the types of a form, but
#: text/plain is, and a form's fields can be made to read like JSON.
TARGETS = {
    "call/victim": "hello",
    "queues/victim/messages": '{"payload": "hello"}',
    "queues": "{}",
    "queues/victim/purge": "{}",
    "login": '{"client": "intruder"}',
    "touch": "{}",
}
FORM_TYPES = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")

SUBMIT = """([url, type]) => {
    const form = document.createElement("form");
    Object.assign(form, {method: "post", action: url, enctype: type, target: "frame"});
    const field = document.createElement("input");
    Object.assign(field, {name: '{"payload": "', value: 'hello"}'});
    form.append(field);
    document.body.append(form);
    form.submit();
}"""
FETCH = (
    """([url, options]) => fetch(url, options).then(answer => answer.type, error => "refused")"""
)
READ = """([url, body]) => fetch(url, {method: "POST", body}).then(async answer =>
    [answer.status, (await answer.json()).code])"""
IMAGE = """url => new Promise(resolve => {
    const image = new Image();
    image.onload = () => resolve("shown");
    image.onerror = () => resolve("refused");
    image.src = url;
    document.body.append(image);
})"""
XHR = """([url, method, body]) => new Promise(resolve => {
    const request = new XMLHttpRequest();
    request.open(method, url);
    request.onload = () => resolve("answered");
    request.onerror = () => resolve("refused");
    request.send(body);
})"""
SOCKET = """([url, protocols]) => new Promise(resolve => {
    const socket = new WebSocket(url, protocols);
    socket.onopen = () => resolve("open");
    socket.onclose = () => resolve("refused");
})"""


class OtherSite(http.server.BaseHTTPRequestHandler):
    """A page with a frame to aim forms at."""

    def do_GET(self) -> None:
        content = b"<!doctype html><title>Elsewhere</title><iframe name=frame></iframe>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser to which rebound.example is this machine."""
    with chromium("--host-resolver-rules=MAP rebound.example 127.0.0.1") as browser:
        yield browser


@pytest.fixture(scope="module")
def other_port() -> Iterator[int]:
    other = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherSite)
    thread = threading.Thread(target=other.serve_forever)
    thread.start()
    yield other.server_port
    other.shutdown()
    other.server_close()
    thread.join()


@pytest.fixture(params=["127.0.0.1", "localhost", "rebound.example"])
def other(request: pytest.FixtureRequest, browser: Browser, other_port: int) -> Iterator[Page]:
    """A page of another origin: the same host at another port (the same site), and other hosts."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://{request.param}:{other_port}/")
    yield page
    context.close()


@pytest.fixture
def victim(server: Server) -> Iterator[Server]:
    """A switch with a queue, which a test must leave exactly as it is."""
    api(server.url, "PUT", "queues/victim", {})
    api(server.url, "POST", "queues/victim/messages", {"payload": "precious"})
    before = state(server)
    yield server
    assert state(server) == before


def state(server: Server) -> Any:
    """All that the switch holds, and all that ever happened in it."""
    sessions = api(server.url, "GET", "diagnostics")["sessions"]
    for session in sessions:
        # It says how long ago the session was last heard of.
        del session["verdict"]
    return [
        api(server.url, "GET", "trace?limit=1000"),
        api(server.url, "GET", "queues/victim/messages"),
        [queue["name"] for queue in api(server.url, "GET", "queues")["queues"]],
        sessions,
    ]


def refused(response: Response) -> bool:
    return response.status == 403 and response.json()["code"] == "cross_site"


def test_the_same_request_from_the_switch_itself_works(browser: Browser, server: Server) -> None:
    api(server.url, "PUT", "queues/open", {})
    page = browser.new_page()
    page.goto(server.url)
    # A lease that does not end while another test sees to it that nothing changes.
    login = '{"client": "x", "lease": 3600}'
    for path, body in (("queues/open/messages", "hello"), ("login", login)):
        options = {"method": "POST", "body": body}
        if path == "login":
            options["headers"] = {"Content-Type": "application/json"}  # type: ignore[assignment]
        with page.expect_response("**/api/v1/**") as sent:
            page.evaluate(FETCH, [f"{server.url}/api/v1/{path}", options])
        assert sent.value.status == 201
    page.close()
    assert api(server.url, "GET", "queues/open")["ready"] == 1


@pytest.mark.parametrize("type", FORM_TYPES)
def test_a_form_of_another_page_is_refused(other: Page, victim: Server, type: str) -> None:
    for path in TARGETS:
        with other.expect_response(f"**/{path}") as answer:
            other.evaluate(SUBMIT, [f"{victim.url}/api/v1/{path}", type])
        assert refused(answer.value), path


def test_a_fetch_without_cors_is_refused(other: Page, victim: Server) -> None:
    for path, body in TARGETS.items():
        options = {"method": "POST", "mode": "no-cors", "body": body, "credentials": "include"}
        with other.expect_response(f"**/{path}") as answer:
            read = other.evaluate(FETCH, [f"{victim.url}/api/v1/{path}", options])
        assert answer.value.status == 403, path
        assert read == "opaque", path


def test_a_fetch_with_cors_is_refused(other: Page, victim: Server) -> None:
    for path, body in TARGETS.items():
        for headers in ({}, {"Content-Type": "application/json"}, {"Authorization": "Bearer x"}):
            options = {"method": "POST", "body": body, "headers": headers}
            assert other.evaluate(FETCH, [f"{victim.url}/api/v1/{path}", options]) == "refused"
    for method, path in (
        ("PUT", "queues/intruded"),
        ("PATCH", "queues/victim"),
        ("DELETE", "queues/victim"),
        ("GET", "queues/victim/messages"),
        ("GET", "diagnostics"),
    ):
        url = f"{victim.url}/api/v1/{path}"
        assert other.evaluate(FETCH, [url, {"method": method}]) == "refused", path
        assert other.evaluate(XHR, [url, method, None]) == "refused", path


def test_an_image_is_refused(other: Page, victim: Server) -> None:
    # Chromium hides an answer that is no image; below that, it says what it got.
    asked: dict[str, str] = {}
    statuses: dict[str, int] = {}

    def sent(event: dict[str, Any]) -> None:
        asked[event["request"]["url"]] = event["requestId"]

    def answered(event: dict[str, Any]) -> None:
        statuses[event["requestId"]] = event["statusCode"]

    network = other.context.new_cdp_session(other)
    network.on("Network.requestWillBeSent", sent)
    network.on("Network.responseReceivedExtraInfo", answered)
    network.send("Network.enable")
    for path in ("queues", "queues/victim/messages", "call/victim", "diagnostics", "trace"):
        url = f"{victim.url}/api/v1/{path}"
        assert other.evaluate(IMAGE, url) == "refused", path
        while asked.get(url) not in statuses:
            other.wait_for_timeout(10)
        assert statuses[asked[url]] == 403, path


@pytest.mark.parametrize("protocols", [[], ["switch.v1.json"], ["switch.v1.msgpack"]])
def test_a_websocket_is_refused(other: Page, victim: Server, protocols: list[str]) -> None:
    url = victim.url.replace("http", "ws") + "/ws/v1"
    assert other.evaluate(SOCKET, [url, protocols]) == "refused"


def test_a_frame_shows_no_page(other: Page, victim: Server) -> None:
    with other.expect_response(f"{victim.url}/"):
        other.evaluate("url => { document.querySelector('iframe').src = url }", f"{victim.url}/")
    other.wait_for_timeout(200)
    frame = other.frame("frame")
    assert frame is not None
    assert frame.get_by_text("Diagnostics").count() == 0


def test_a_name_that_was_rebound_is_refused(browser: Browser, victim: Server) -> None:
    """The page and the switch now have one origin, and no preflight, Origin or Sec-Fetch-Site
    tells them apart: only the Host does."""
    page = browser.new_page()
    rebound = victim.url.replace("127.0.0.1", "rebound.example")
    for path in ("/", "/queues/victim/", "/admin/", "/api/v1/docs/", "/nothing"):
        answer = page.goto(rebound + path)
        assert answer is not None
        assert answer.status == 400, path
    for path, body in TARGETS.items():
        answered = page.evaluate(READ, [f"{rebound}/api/v1/{path}", body])
        assert answered == [400, "invalid_host"], path
    assert page.evaluate(SOCKET, [rebound.replace("http", "ws") + "/ws/v1", []]) == "refused"
    page.close()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_foreign_host_is_refused(victim: Server, host: str) -> None:
    def ask(method: str, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", victim.port, timeout=10)
        connection.request(method, path, headers={"Host": host})
        answer = connection.getresponse()
        content = answer.read().decode()
        connection.close()
        return answer.status, content

    for method, path in (("GET", "/api/v1/queues"), ("POST", "/api/v1/call/victim")):
        status, content = ask(method, path)
        assert status == 400
        assert json.loads(content)["code"] == "invalid_host"
    for path in ("/", "/admin/", "/queues/victim/"):
        status, content = ask("GET", path)
        assert status == 400
        assert "precious" not in content
