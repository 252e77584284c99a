"""The README's own lines, run as they stand (but for the port)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from urllib.request import urlopen

import pytest

from .conftest import ROOT, Server, until

README = (ROOT / "README.md").read_text()


def block(after: str) -> str:
    """The first code block after some text of the README."""
    match = re.search(re.escape(after) + r".*?^```\w+\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert match is not None, after
    return match[1]


def shell(script: str, server: Server) -> subprocess.Popen[str]:
    """Run lines of the README against the test's server."""
    assert "http://127.0.0.1:8080" in script
    return subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:8080", server.url)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def waiting(server: Server) -> int:
    """Open Transfers for the queue foo."""
    with urlopen(f"{server.url}/api/v1/queues?prefix=foo") as answer:
        queues = json.load(answer)["queues"]
    return queues[0]["waiting"] if queues else 0


def test_curl_alone_makes_and_serves_a_call(fresh_server: Server) -> None:
    with shell(block("<!-- test: serve-with-curl -->"), fresh_server) as served:
        until(lambda: waiting(fresh_server) == 1, "the server polls")
        with shell(block("Call a service:"), fresh_server) as called:
            out, err = called.communicate(timeout=30)
        assert called.returncode == 0, err
        assert out == "hello to you"
        out, err = served.communicate(timeout=30)
        assert served.returncode == 0, err
    assert out.startswith('{"name":"foo","created":true}')
    with urlopen(f"{fresh_server.url}/api/v1/queues/foo") as answer:
        queue = json.load(answer)
    assert (queue["ready"], queue["held"], queue["acked"]) == (0, 0, 1)


@pytest.mark.parametrize("fails", [False, True])
def test_the_python_client_of_the_readme(fresh_server: Server, fails: bool) -> None:
    serve = block("A server is a function")
    if fails:
        serve = serve.replace("request.payload.upper()", "[][1]")
    python = [sys.executable, "-c"]
    server = subprocess.Popen(
        [*python, serve.replace("http://127.0.0.1:8080", fresh_server.url)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: waiting(fresh_server) == 1, "the server polls")
        call = block("<!-- test: python -->").replace("http://127.0.0.1:8080", fresh_server.url)
        done = subprocess.run(
            [*python, call], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("the server failed:" if fails else "HELLO")
    finally:
        server.terminate()
        server.wait(10)
