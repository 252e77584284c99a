"""The commands in this process, with a client that is made up."""

import argparse
import io
import json
import subprocess
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class

from queues import cli
from queues.client import CallTimeout, OutcomeUnknown, RemoteError, Unreachable
from queues.client.errors import refusal
from queues.core.answers import PurgeResult, QueueInfo, SendResult
from queues.core.errors import QueueNotFound
from queues.core.events import Event, TraceReport
from queues.core.messages import Response

from .client.fakes import queue_info


class Stream(io.TextIOWrapper):
    """A text stream that keeps its bytes; a terminal if it shall be."""

    def __init__(self, content: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8", newline="")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def written(self) -> bytes:
        self.flush()
        buffer: Any = self.buffer
        return buffer.getvalue()


class FakeClient:
    """Answers what the test says, and keeps what it was asked."""

    answers: dict[str, Any]
    asked: list[tuple[Any, ...]]

    def __init__(self, url: str) -> None:
        if not url.startswith("http"):
            raise ValueError(f"{url} is no URL.")

    def __enter__(self) -> "FakeClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.asked.append(("close",))

    def __getattr__(self, name: str) -> Any:
        def method(*args: Any, **kwargs: Any) -> Any:
            self.asked.append((name, *args, kwargs) if kwargs else (name, *args))
            answer = self.answers.get(name)
            if callable(answer) and not isinstance(answer, type):
                answer = answer()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return method


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    class Scripted(FakeClient):
        answers: dict[str, Any] = {}  # noqa: RUF012
        asked: list[tuple[Any, ...]] = []  # noqa: RUF012

    monkeypatch.setattr(cli, "Client", Scripted)
    monkeypatch.delenv("SWITCH_URL", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Scripted


class Ran:
    """What a command did."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, client: type[FakeClient]):
    def run(*arguments: str, stdin: bytes = b"", terminal: bool = False) -> Ran:
        out, err = Stream(terminal=terminal), Stream()
        monkeypatch.setattr(sys, "stdin", Stream(stdin))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        try:
            code = cli.main(arguments)
        except SystemExit as error:
            code = error.code
        return Ran(code, out.written, err.written)

    return run


def replied(payload: str) -> Response:
    return Response(id=2, request=1, payload=payload, correlation_id="1", sent_at=0.0)


# -- list -----------------------------------------------------------------------------------------


def test_list_writes_names(run, client):
    client.answers = {"list": [queue_info("a"), queue_info("b")]}
    ran = run("list", "--prefix", "x")
    assert (ran.code, ran.out, ran.err) == (0, "a\nb\n", "")
    assert client.asked[0] == ("list", "x", {"kind": "persistent"})


def test_list_all_shows_transient_queues_too(run, client):
    client.answers = {"list": []}
    assert run("list", "--all").out == ""
    assert client.asked[0] == ("list", "", {"kind": None})


def test_list_draws_a_table_on_a_terminal(run, client):
    client.answers = {"list": [queue_info("a")]}
    out = run("list", terminal=True).out
    assert "CONSUMERS" in out
    assert "\x1b[" in out


def test_no_color_means_no_colour(run, client, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    client.answers = {"list": [queue_info("a")]}
    out = run("list", terminal=True).out
    assert "CONSUMERS" in out
    assert "\x1b[" not in out


def test_list_as_json(run, client):
    client.answers = {"list": [queue_info("a")]}
    for terminal in (False, True):
        (queue,) = json.loads(run("list", "--json", terminal=terminal).out)
        assert queue["name"] == "a"
        assert set(queue) == set(QueueInfo.__slots__)


# -- call and send --------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", ["hello", "hello\n", "", "\x1b\0é"])
def test_call_writes_the_reply_byte_for_byte(run, client, payload):
    client.answers = {"call": replied(payload)}
    ran = run("call", "foo", "x")
    assert (ran.code, ran.out, ran.err) == (0, payload, "")


def test_on_a_terminal_the_reply_ends_with_a_newline(run, client):
    for payload in ("hello", "hello\n"):
        client.answers = {"call": replied(payload)}
        assert run("call", "foo", "x", terminal=True).out == "hello\n"


@pytest.mark.parametrize(
    "arguments",
    [("foo", "hello"), ("foo", "--body", "hello"), ("foo", "--file", "FILE"), ("foo",)],
)
@pytest.mark.parametrize("verb", ["call", "send"])
def test_the_body_comes_from_where_it_is(run, client, tmp_path, verb, arguments):
    (tmp_path / "body").write_text("hello")
    arguments = [str(tmp_path / "body") if word == "FILE" else word for word in arguments]
    client.answers = {"call": replied(""), "send": SendResult(id=5, created=True)}
    assert run(verb, *arguments, stdin=b"hello").code == 0
    assert client.asked[0][:3] == (verb, "foo", "hello")


def test_an_empty_body_is_not_stdin(run, client):
    client.answers = {"call": replied("")}
    run("call", "foo", "", stdin=b"never")
    assert client.asked[0][2] == ""


@pytest.mark.parametrize(
    ("arguments", "stdin", "complaint"),
    [
        (("foo",), b"\xff", "The payload is not UTF-8 text."),
        (("foo", "\udcff"), b"", "The payload is not UTF-8 text."),
        (("foo", "--file", "/nowhere"), b"", "/nowhere: No such file or directory"),
    ],
)
def test_a_body_that_cannot_be_sent(run, client, arguments, stdin, complaint):
    ran = run("call", *arguments, stdin=stdin)
    assert (ran.code, ran.out, ran.err) == (2, "", f"error: usage: {complaint}\n")
    assert client.asked == []


def test_call_waits_for_a_server_unless_told_not_to(run, client):
    client.answers = {"call": replied("")}
    run("call", "foo", "x")
    run("call", "foo", "x", "--no-wait", "--timeout", "3")
    calls = [asked[-1] for asked in client.asked if asked[0] == "call"]
    assert calls == [
        {"timeout": 300, "wait_for_server": True},
        {"timeout": 3, "wait_for_server": False},
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            RemoteError("Failed.", error={"code": "exit_3", "detail": "Boom\x1b"}),
            "error: handler_failed: exit_3: Boom\\x1b\n",
        ),
        (
            refusal(
                {
                    "code": "timeout",
                    "detail": "No reply within 3 s.",
                    "id": 7,
                    "verdict": {
                        "code": "never_started",
                        "level": "stuck",
                        "sentence": "Nobody serves foo.",
                        "next_step": "Start a server for foo.",
                        "evidence": {},
                    },
                }
            ),
            "error: timeout: No reply within 3 s. Nobody serves foo. Start a server for foo.\n",
        ),
        (Unreachable("Cannot reach it."), "error: unreachable: Cannot reach it.\n"),
        (OutcomeUnknown("Cut off."), "error: outcome_unknown: Cut off.\n"),
    ],
)
def test_what_goes_wrong_is_one_line(run, client, error, line):
    client.answers = {"call": error}
    ran = run("call", "foo", "x")
    assert (ran.code, ran.out, ran.err) == (1, "", line)
    assert client.asked[-1] == ("close",)


def test_errors_as_json(run, client):
    client.answers = {"call": CallTimeout("No reply.", id=7, verdict=None)}
    ran = run("call", "foo", "x", "--json")
    assert ran.code == 1
    expected = {"code": "timeout", "detail": "No reply.", "id": 7, "verdict": None}
    assert json.loads(ran.err) == expected


@pytest.mark.parametrize(
    ("consumers", "line"),
    [(0, "waiting: nobody serves foo yet\n"), (1, "waiting: foo has 0 ready and 0 held\n")],
)
def test_a_call_that_takes_long_says_what_it_waits_for(run, client, monkeypatch, consumers, line):
    monkeypatch.setattr(cli, "PATIENCE", 0.0)
    info = queue_info("foo")
    info.consumers = consumers

    def call() -> Response:
        while ("inspect", "foo") not in client.asked or not sys.stderr.written:
            pass
        return replied("hello")

    client.answers = {"call": call, "inspect": info}
    ran = run("call", "foo", "x")
    assert (ran.code, ran.out, ran.err) == (0, "hello", line)


def test_send_writes_the_id(run, client):
    client.answers = {"send": SendResult(id=5, created=True)}
    assert run("send", "foo", "x").out == "5\n"
    assert json.loads(run("send", "foo", "x", "--json").out) == {"id": 5, "created": True}


# -- looking and tidying up -----------------------------------------------------------------------


def event(number: int) -> Event:
    return Event(number, 0.0, "sent", "q", number, "cli\x1b", "hello")


def test_tail_shows_the_last_events(run, client):
    pages = [
        TraceReport(events=[event(n) for n in range(1, 4)], next=3, dropped=0),
        TraceReport(events=[event(4)], next=4, dropped=0),
        TraceReport(events=[], next=4, dropped=0),
    ]
    client.answers = {"trace": lambda: pages.pop(0)}
    lines = run("tail", "-n", "2").out.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        'sent 3 q by cli\\x1b "hello"',
        'sent 4 q by cli\\x1b "hello"',
    ]
    assert [asked[1]["after"] for asked in client.asked[:3]] == [0, 3, 4]


def test_tail_follows_over_a_restart_and_tells_of_gaps(run, client, monkeypatch):
    monkeypatch.setattr(cli, "PATIENCE", 0.0)
    pages = [
        TraceReport(events=[], next=0, dropped=0),
        TraceReport(events=[event(4)], next=4, dropped=0),
        Unreachable("Away."),
        Unreachable("Away."),
        TraceReport(events=[event(9)], next=9, dropped=4),
        KeyboardInterrupt(),
    ]
    client.answers = {"trace": lambda: pages.pop(0)}
    ran = run("tail", "--follow", "--json")
    assert ran.code == 130
    assert [json.loads(line)["number"] for line in ran.out.splitlines()] == [4, 9]
    assert ran.err == "waiting for the switch: Away.\n4 events were lost in between\n"


def test_the_verbs_that_change_something(run, client):
    client.answers = {"purge": PurgeResult(purged=3)}
    assert run("purge", "foo").out == "purged 3\n"
    assert run("purge", "foo", "--state", "dead", "--json").out == '{"purged":3,"undo":null}\n'
    assert run("destroy", "foo").out == "destroyed foo\n"
    assert run("ack", "foo", "7").out == "dropped 7\n"
    assert [asked for asked in client.asked if asked != ("close",)] == [
        ("purge", "foo", None),
        ("purge", "foo", "dead"),
        ("destroy", "foo"),
        ("drop", "foo", 7),
    ]


def test_refusals_have_code_and_detail(run, client):
    client.answers = {"destroy": QueueNotFound("There is no queue 'foo'.")}
    ran = run("destroy", "foo")
    assert (ran.code, ran.err) == (1, "error: queue_not_found: There is no queue 'foo'.\n")


# -- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("fly",),
        ("call",),
        ("call", "foo", "x", "--body", "y"),
        ("call", "foo", "x", "--timeout", "soon"),
        ("call", "foo", "x", "--timeout", "inf"),
        ("call", "foo", "x", "--timeout", "nan"),
        ("call", "foo", "x", "--timeout", "0"),
        ("call", "foo", "x", "--timeout=-1"),
        ("call", "foo", "x", "--timeout", "301"),
        ("ack", "foo", "seven"),
        ("purge", "foo", "--state", "odd"),
        ("serve", "foo"),
        ("serve", "foo", "--program", "cat", "--concurrency", "0"),
        ("serve", "foo", "--program", "/nowhere/at/all"),
        ("serve", "foo", "--program", "'"),
        ("serve", "foo", "--program", ""),
        ("list", "--url", "nowhere"),
    ],
)
def test_wrong_usage_is_2(run, arguments):
    ran = run(*arguments)
    assert ran.code == 2
    assert "error: " in ran.err
    assert "Traceback" not in ran.err


def test_an_interruption_is_130_without_a_word(run, client):
    client.answers = {"call": KeyboardInterrupt()}
    ran = run("call", "foo", "x")
    assert (ran.code, ran.out, ran.err) == (130, "", "")


@pytest.mark.parametrize(("environment", "url"), [(None, "8080"), ("http://x:1", "http://x:1")])
def test_the_address_comes_from_the_environment(monkeypatch, environment, url):
    if environment is None:
        monkeypatch.delenv("SWITCH_URL", raising=False)
    else:
        monkeypatch.setenv("SWITCH_URL", environment)
    parser = argparse.ArgumentParser()
    cli.add_arguments(cli.VERBS["list"], parser)
    assert parser.parse_args([]).url.endswith(url)
    assert parser.parse_args(["--url", "http://y"]).url == "http://y"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself(run, verb):
    ran = run(verb, "--help")
    assert ran.code == 0
    assert cli.VERBS[verb].help in ran.out
    assert "--json" in ran.out


# -- manage.py ------------------------------------------------------------------------------------


def test_every_verb_is_a_management_command():
    ours = {name for name, app in get_commands().items() if app == "queues"}
    assert ours == {f"switch_{verb}" for verb in cli.VERBS}


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_options_do_not_clash_with_those_of_django(verb):
    command = load_command_class("queues", f"switch_{verb}")
    parser = command.create_parser("manage.py", f"switch_{verb}")
    assert cli.VERBS[verb].help in parser.format_help()


def test_management_commands_do_the_same(client):
    client.answers = {"call": replied("hello"), "list": [queue_info("a")]}
    out = io.StringIO()
    call_command("switch_call", "foo", "x", stdout=out)
    call_command("switch_list", stdout=out, no_color=True)
    assert out.getvalue() == "helloa\n"


def test_management_commands_exit_alike(client):
    client.answers = {"call": QueueNotFound("None.")}
    err = io.StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("switch_call", "foo", "x", stderr=err)
    assert caught.value.code == 1
    assert err.getvalue() == "error: queue_not_found: None.\n"
    with pytest.raises(CommandError):
        call_command("switch_call")


def test_the_client_side_needs_no_django():
    """Also held by import-linter; here for who runs only the tests."""
    code = (
        "import sys, queues.cli\n"
        "assert not {'django', 'channels', 'rest_framework'} & set(sys.modules), sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
