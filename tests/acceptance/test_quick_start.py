"""The quick start, from its first line to its last, with real stack.

It reads as a transcript: once with message-cli, once through manage.py.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from .conftest import ROOT, Server, until

Command = Callable[..., list[str]]


def message_cli(verb: str, *arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("message-cli")), verb, *arguments]


def manage(verb: str, *arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), f"switch_{verb}", *arguments]


@pytest.mark.parametrize("command", [message_cli, manage])
def test_the_quick_start(
    command: Command, fresh_server: Server, tmp_path: Path, stack: ExitStack
) -> None:
    environment = {
        **os.environ,
        "SWITCH_URL": fresh_server.url,
        "SWITCH_STATE_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "switchproject.settings",
    }

    def run(verb: str, *arguments: str) -> str:
        done = subprocess.run(
            command(verb, *arguments),
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def start(verb: str, *arguments: str) -> subprocess.Popen[str]:
        process = stack.enter_context(
            subprocess.Popen(
                command(verb, *arguments),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        return process

    # Use the CLI to list the available queues (there will be none)
    assert run("list") == ""

    # Use the CLI to execute an RPC against a service with queue name "foo" (this will block)
    call = start("call", "foo", "hello")
    until(lambda: "foo" in run("list"), "the call has made its queue")

    # Use the diagnostics command to see the queued message
    text = run("diagnostics")
    assert re.search(r"never started.*foo", text, re.IGNORECASE | re.DOTALL)
    assert "hello" in text
    [service] = json.loads(run("diagnostics", "--json"))["services"]
    assert service["queue"]["status"] == "never_started"
    [message] = service["messages"]
    assert (message["payload"], message["state"], message["caller"]) == (
        "hello",
        "ready",
        "waiting",
    )
    assert call.stderr is not None
    assert "nobody serves foo" in call.stderr.readline()
    assert call.poll() is None

    # Use the CLI to start an RPC server servicing the queue name "foo"
    serve = start("serve", "foo", "--program", "/bin/cat")

    # At this point the original RPC call will unblock and print "hello"
    out, err = call.communicate(timeout=60)
    assert (call.returncode, out.strip()) == (0, "hello"), err

    # Use the diagnostics command to see the message has been removed
    [service] = json.loads(run("diagnostics", "--json"))["services"]
    assert (service["messages"], service["queue"]["status"]) == ([], "running")
    assert "hello" not in run("diagnostics")

    serve.send_signal(signal.SIGINT)
    serve.communicate(timeout=60)
    assert serve.returncode == 130
    until(
        lambda: (
            json.loads(run("diagnostics", "--json"))["services"][0]["queue"]["status"] == "stopped"
        ),
        "the server has logged out",
    )
