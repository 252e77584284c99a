"""The theatre: twelve ways in which things get stuck, played by real processes.

Each is explained by the same sentence wherever one may look: in the API, by ``message-cli why``, in
the exception that the caller gets, and on the page.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.request import urlopen

import msgspec
import pytest

from queues.client import Client, NoServer, QueueFull

from .conftest import ROOT, Server, until

#: Seconds that a caller waits for whom nobody will answer: time enough to look everywhere.
PATIENCE = 8.0

OPERATIONS = (ROOT / "docs" / "operations.md").read_text()

#: A service. What it does with a request: ``sleep``, or the name of the service that it calls.
SERVICE = """
import asyncio, sys, time
from queues.client import AsyncClient, Client
from queues.client.http import HttpTransport
url, name, queue, does, lease = sys.argv[1:]

def handle(request):
    if does == "sleep":
        time.sleep(600)
    return client.call(does, request.payload, timeout=300, wait_for_server=True).payload

async def over_http():
    async with AsyncClient(name=name, lease=float(lease), transport=HttpTransport(url)) as client:
        async def handle(request):
            await asyncio.sleep(600)
        await client.serve(queue, handle)

if lease:
    asyncio.run(over_http())
client = Client(url, name=name)
client.serve(queue, handle)
"""

#: A consumer that falls over each message that it gets.
CRASHES = """
import os, sys
from queues.client import Client
url, name, queue = sys.argv[1:]
client = Client(url, name=name)
client.subscribe(queue)
client.receive()
os.abort()
"""

#: A caller. It writes what its exception says.
CALLER = """
import sys, msgspec
from queues.client import Client
from queues.core.errors import SwitchError
url, name, queue, timeout = sys.argv[1:]
with Client(url, name=name) as client:
    try:
        client.call(queue, "hello", timeout=float(timeout), wait_for_server=True)
    except SwitchError as error:
        told = {"code": error.code, "text": str(error), "verdict": error.verdict}
        print(msgspec.json.encode(told).decode())
"""


@dataclass
class Situation:
    """A message, or a queue, that is stuck, and what is to be said about it."""

    path: str
    """``messages/ID`` or ``queues/NAME``."""
    code: str
    names: list[str]
    """What the sentence has to name."""
    evidence: Mapping[str, object]
    """What it has to rest on."""
    level: str
    also: set[str] = field(default_factory=set)
    """Codes of what else is true."""
    exception: Callable[[], Mapping[str, Any]] | None = None
    """Waits for the exception that a client gets."""


class Stage:
    """Where a situation is built, of queues that no other has."""

    def __init__(self, server: Server, stack: ExitStack, play: str) -> None:
        self.url = server.url
        self.stack = stack
        self.client = stack.enter_context(Client(server.url, name="operator"))
        self.orders = f"orders.{play}"
        self.payments = f"payments.{play}"
        self.stock = f"stock.{play}"

    def process(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, self.url, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.stack.enter_context(process)
        self.stack.callback(process.kill)
        return process

    def service(
        self, name: str, queue: str, does: str = "sleep", lease: str = ""
    ) -> subprocess.Popen[str]:
        """A service that is there."""
        self.client.create(queue)
        process = self.process(SERVICE, name, queue, does, lease)
        until(lambda: self.client.inspect(queue).consumers, f"{name} serves {queue}")
        return process

    def crash(self, name: str, queue: str) -> None:
        """A consumer takes a message and dies."""
        before = self.client.inspect(queue)
        process = self.process(CRASHES, name, queue)
        assert process.wait(30) == -signal.SIGABRT
        until(
            lambda: (
                (now := self.client.inspect(queue)).delivered > before.delivered and not now.held
            ),
            f"{name} has crashed",
        )

    def call(self, queue: str, caller: str = "web", *, patience: float = PATIENCE) -> Call:
        """A caller that waits, and its message."""
        process = self.process(CALLER, caller, queue, str(patience))
        return Call(process, self.sent(queue, caller))

    def sent(self, queue: str, sender: str) -> int:
        """The message that somebody has sent to a queue."""
        found: list[int] = []

        def is_there() -> bool:
            if any(each.name == queue for each in self.client.list(queue)):
                messages = self.client.browse(queue).messages
                found.extend(m.id for m in messages if m.sender == sender)
            return bool(found)

        until(is_there, f"{sender} has called {queue}")
        return found[0]

    def until_it_is(self, id: int, code: str) -> None:
        """Wait until the verdict on a message is there."""
        until(lambda: self.client.explain(id).verdict.code == code, f"{id} is {code}")


@dataclass
class Call:
    """A call in progress."""

    process: subprocess.Popen[str]
    id: int

    @property
    def path(self) -> str:
        return f"messages/{self.id}"

    def exception(self) -> Mapping[str, Any]:
        """What the caller's exception says in the end."""
        out, _ = self.process.communicate(timeout=PATIENCE + 30)
        told: dict[str, Any] = json.loads(out)
        assert told["code"] == "timeout"
        return told


# -- the twelve -----------------------------------------------------------------------------------


def server_never_started(stage: Stage) -> Situation:
    call = stage.call(stage.orders)
    return Situation(
        call.path,
        "never_started",
        names=[stage.orders],
        evidence={"queue": stage.orders},
        level="stuck",
        exception=call.exception,
    )


def server_killed_while_holding(stage: Stage) -> Situation:
    service = stage.service("order-server", stage.orders)
    call = stage.call(stage.orders)
    stage.until_it_is(call.id, "held")
    os.kill(service.pid, signal.SIGKILL)
    stage.until_it_is(call.id, "server_left")
    return Situation(
        call.path,
        "server_left",
        names=[stage.orders, "order-server"],
        evidence={"queue": stage.orders, "client": "order-server", "servers_ever": 1},
        level="stuck",
        also={"redelivered"},
        exception=call.exception,
    )


def server_killed_while_it_has_a_lease(stage: Stage) -> Situation:
    service = stage.service("order-server", stage.orders, lease="60")
    call = stage.call(stage.orders)
    stage.until_it_is(call.id, "held")
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    return Situation(
        call.path,
        "held",
        names=["order-server", "last heard of"],
        evidence={"holder": "order-server", "delivery_count": 1},
        level="ok",
        exception=call.exception,
    )


def lease_of_a_killed_server_has_run_out(stage: Stage) -> Situation:
    service = stage.service("order-server", stage.orders, lease="1")
    call = stage.call(stage.orders)
    stage.until_it_is(call.id, "held")
    os.kill(service.pid, signal.SIGKILL)
    stage.until_it_is(call.id, "server_left")
    return Situation(
        call.path,
        "server_left",
        names=[stage.orders, "order-server", "lease ended"],
        evidence={"client": "order-server", "reason": "lease_expired"},
        level="stuck",
        also={"redelivered"},
        exception=call.exception,
    )


def handler_asleep(stage: Stage) -> Situation:
    stage.service("order-server", stage.orders)
    call = stage.call(stage.orders)
    stage.until_it_is(call.id, "held")
    return Situation(
        call.path,
        "held",
        names=["order-server", "connected"],
        evidence={"holder": "order-server", "delivery_count": 1},
        level="ok",
        exception=call.exception,
    )


def handler_calls_a_dead_service(stage: Stage) -> Situation:
    payments = stage.service("payment-server", stage.payments)
    os.kill(payments.pid, signal.SIGKILL)
    stage.service("order-server", stage.orders, stage.payments)
    call = stage.call(stage.orders)
    stage.until_it_is(call.id, "waiting_on_call")
    inner = stage.sent(stage.payments, "order-server")
    until(lambda: stage.client.inspect(stage.payments).consumers == 0, "payments is dead")
    return Situation(
        call.path,
        "waiting_on_call",
        names=["order-server", stage.payments, "payment-server"],
        evidence={
            "holder": "order-server",
            "end": "server_left",
            "chain": [
                {
                    "message": call.id,
                    "queue": stage.orders,
                    "state": "held",
                    "holder": "order-server",
                },
                {"message": inner, "queue": stage.payments, "state": "ready", "holder": None},
            ],
        },
        level="stuck",
        exception=call.exception,
    )


def _circle(stage: Stage, *queues: str) -> Situation:
    servers = [f"{queue}-server" for queue in queues]
    for queue, calls, server in zip(queues, (*queues[1:], queues[0]), servers, strict=True):
        stage.service(server, queue, calls)
    call = stage.call(queues[0])
    stage.until_it_is(call.id, "deadlock")
    last = stage.sent(queues[0], servers[-1])
    verdict = stage.client.explain(call.id).verdict
    circle = verdict.evidence["circle"]
    # From the first request round to the one that waits behind it.
    assert [link["queue"] for link in circle] == [*queues, queues[0]]
    assert [link["holder"] for link in circle] == [*servers, None]
    assert (circle[0]["message"], circle[-1]["message"]) == (call.id, last)
    return Situation(
        call.path,
        "deadlock",
        names=[*queues, *servers, str(call.id)],
        evidence={"circle": circle},
        level="stuck",
        exception=call.exception,
    )


def two_services_call_each_other(stage: Stage) -> Situation:
    return _circle(stage, stage.orders, stage.payments)


def three_services_call_in_a_circle(stage: Stage) -> Situation:
    return _circle(stage, stage.orders, stage.payments, stage.stock)


def message_that_has_failed_twice(stage: Stage) -> Situation:
    stage.client.create(stage.orders, max_deliveries=5)
    id = stage.client.send(stage.orders, "poison").id
    for number in (1, 2):
        stage.crash(f"consumer-{number}", stage.orders)
    stage.service("consumer-3", stage.orders)
    stage.until_it_is(id, "redelivered")
    return Situation(
        f"messages/{id}",
        "redelivered",
        names=["3 times", "consumer-2", "consumer-3"],
        evidence={
            "delivery_count": 3,
            "holder": "consumer-3",
            "last_holders": ["consumer-2 (disconnected)", "consumer-1 (disconnected)"],
        },
        level="warning",
    )


def message_that_fails_every_time(stage: Stage) -> Situation:
    stage.client.create(stage.orders, max_deliveries=2)
    id = stage.client.send(stage.orders, "poison").id
    stage.crash("consumer-1", stage.orders)
    assert "about_to_die" in {also.code for also in stage.client.explain(id).verdict.also}
    stage.crash("consumer-2", stage.orders)
    return Situation(
        f"messages/{id}",
        "dead",
        names=["2 times"],
        evidence={
            "cause": "max_deliveries",
            "delivery_count": 2,
            "last_holders": ["consumer-2 (disconnected)", "consumer-1 (disconnected)"],
        },
        level="warning",
    )


def full_queue(stage: Stage) -> Situation:
    stage.client.create(stage.orders, max_length=2)
    for payload in ("first", "second"):
        stage.client.send(stage.orders, payload)

    with pytest.raises(QueueFull) as caught:
        stage.client.send(stage.orders, "third")
    verdict = msgspec.to_builtins(caught.value.verdict)
    return Situation(
        f"queues/{stage.orders}",
        "queue_full",
        names=[stage.orders, "2 messages", "1 message was refused"],
        evidence={"queue": stage.orders, "length": 2, "max_length": 2, "refused": 1},
        level="stuck",
        also={"never_started"},
        exception=lambda: {"text": str(caught.value), "verdict": verdict},
    )


def expired_message(stage: Stage) -> Situation:
    stage.client.create(stage.orders)
    id = stage.client.send(stage.orders, "too late", ttl=0.2).id
    stage.until_it_is(id, "expired")
    return Situation(
        f"messages/{id}",
        "expired",
        names=["time to live"],
        evidence={"detail": "expired"},
        level="warning",
    )


def delayed_message(stage: Stage) -> Situation:
    stage.client.create(stage.orders)
    id = stage.client.send(stage.orders, "later", delay=600).id
    return Situation(
        f"messages/{id}",
        "delayed",
        names=["sender"],
        evidence={"delivery_count": 0},
        level="ok",
    )


def paused_queue(stage: Stage) -> Situation:
    stage.service("order-server", stage.orders)
    stage.client.pause(stage.orders)
    call = stage.call(stage.orders)
    return Situation(
        call.path,
        "paused",
        names=[stage.orders, "operator"],
        evidence={"queue": stage.orders, "ready": 1},
        level="warning",
        exception=call.exception,
    )


def caller_gone(stage: Stage) -> Situation:
    stage.service("order-server", stage.orders)
    call = stage.call(stage.orders, patience=300)
    stage.until_it_is(call.id, "held")
    os.kill(call.process.pid, signal.SIGKILL)
    stage.until_it_is(call.id, "caller_gone")
    return Situation(
        call.path,
        "caller_gone",
        names=["web"],
        evidence={"caller": "web"},
        level="warning",
        also={"held"},
    )


def caller_gone_before_a_server_came(stage: Stage) -> Situation:
    call = stage.call(stage.orders, patience=300)
    os.kill(call.process.pid, signal.SIGKILL)
    stage.until_it_is(call.id, "dropped")
    return Situation(
        call.path,
        "dropped",
        names=["nobody waited"],
        evidence={"detail": "caller_gone"},
        level="ok",
    )


SITUATIONS = [
    server_never_started,
    server_killed_while_holding,
    server_killed_while_it_has_a_lease,
    lease_of_a_killed_server_has_run_out,
    handler_asleep,
    handler_calls_a_dead_service,
    two_services_call_each_other,
    three_services_call_in_a_circle,
    message_that_has_failed_twice,
    message_that_fails_every_time,
    full_queue,
    expired_message,
    delayed_message,
    paused_queue,
    caller_gone,
    caller_gone_before_a_server_came,
]


# -- looking --------------------------------------------------------------------------------------

_DURATION = re.compile(r"\d+(?:\.\d)? (?:s|min|h|d)\b(?: \d+ (?:s|min|h)\b)?")


def masked(text: str) -> str:
    """A text without its durations, which pass while one looks."""
    return _DURATION.sub("TIME", " ".join(text.split()))


class _Text(HTMLParser):
    """What a page says."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def in_api(stage: Stage, path: str) -> dict[str, Any]:
    with urlopen(f"{stage.url}/api/v1/{path}") as answer:
        verdict: dict[str, Any] = json.load(answer)["verdict"]
    return verdict


def on_page(stage: Stage, path: str) -> str:
    with urlopen(f"{stage.url}/{path}/") as answer:
        html = answer.read().decode()
    text = _Text()
    text.feed(html)
    return masked("".join(text.parts))


def in_terminal(stage: Stage, path: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "queues.cli", "why", path.partition("/")[2], "--url", stage.url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def shown(value: object) -> Iterator[str]:
    """The words by which a fact is to be recognised, where it is shown."""
    if isinstance(value, Mapping):
        for part in value.values():
            yield from shown(part)
    elif isinstance(value, list):
        for part in value:
            yield from shown(part)
    elif value is not None:
        yield str(value)


@pytest.mark.parametrize("build", SITUATIONS, ids=lambda build: build.__name__)
def test_the_same_explanation_everywhere(
    server: Server, build: Callable[[Stage], Situation], stack: ExitStack
) -> None:
    stage = Stage(server, stack, build.__name__)
    situation = build(stage)

    verdict = in_api(stage, situation.path)
    page = on_page(stage, situation.path)
    terminal = in_terminal(stage, situation.path)

    assert (verdict["code"], verdict["level"]) == (situation.code, situation.level)
    assert f"| `{situation.code}`" in OPERATIONS
    for name in situation.names:
        assert name in verdict["sentence"], name
    assert _DURATION.search(verdict["sentence"])
    assert situation.evidence.items() <= verdict["evidence"].items()
    assert situation.also <= {finding["code"] for finding in verdict["also"]}

    sentence = masked(verdict["sentence"])
    assert sentence in page
    assert masked(terminal.splitlines()[0]) == sentence
    for text in (page, masked(terminal)):
        assert masked(verdict["next_step"]) in text
        for finding in verdict["also"]:
            assert masked(finding["sentence"]) in text
        for fact in shown(situation.evidence):
            assert fact in text, fact

    if situation.exception is not None:
        told = situation.exception()
        assert told["verdict"]["code"] == situation.code
        assert masked(told["verdict"]["sentence"]) == sentence
        assert told["verdict"]["next_step"] == verdict["next_step"]
        assert masked(told["text"]).endswith(f"{sentence} {masked(verdict['next_step'])}")
        assert situation.evidence.items() <= told["verdict"]["evidence"].items()
        assert set(told["verdict"]["evidence"]) == set(verdict["evidence"])


def test_a_call_that_does_not_wait_says_why_nobody_serves(server: Server, stack: ExitStack) -> None:
    stage = Stage(server, stack, "no_server")
    call = stage.call(stage.orders)
    with pytest.raises(NoServer) as caught:
        stage.client.call(stage.orders, "hello")
    verdict, waiting = caught.value.verdict, in_api(stage, call.path)
    assert verdict is not None
    assert verdict.code == waiting["code"] == "never_started"
    assert waiting["sentence"].lower().endswith(verdict.sentence.lower())
    assert verdict.next_step == waiting["next_step"]
    assert str(caught.value).endswith(f"{verdict.sentence} {verdict.next_step}")
