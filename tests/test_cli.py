"""The commands in this process, with a client that is made up."""

import argparse
import io
import json
import subprocess
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class

from queues import cli, console
from queues.client import CallTimeout, OutcomeUnknown, RemoteError, Unreachable
from queues.client.errors import refusal
from queues.core.answers import (
    MessageReport,
    MoveResult,
    PurgeResult,
    QueueInfo,
    ReplayResult,
    ReplyResult,
    RequeueResult,
    SendResult,
)
from queues.core.errors import MessageNotFound, NotHolder, QueueNotFound
from queues.core.events import Event, TraceReport
from queues.core.messages import Response
from queues.core.verdict import Verdict
from queues.verbs import calling, common, looking

from .client.fakes import delivery, queue_info
from .test_text import diagnosed, session


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

    monkeypatch.setattr(common, "Client", Scripted)
    monkeypatch.delenv("SWITCH_URL", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Scripted


class Ran:
    """What a command did."""

    def __init__(self, code: int, out: bytes, err: bytes) -> None:
        self.code, self.out, self.err = code, out.decode(), err.decode()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, client: type[FakeClient]):
    def run(*arguments: str, stdin: bytes | None = b"", terminal: bool = False) -> Ran:
        out, err = Stream(terminal=terminal), Stream()
        monkeypatch.setattr(sys, "stdin", None if stdin is None else Stream(stdin))
        monkeypatch.setattr(console, "hold_number", lambda: None)
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
    monkeypatch.setattr(calling, "PATIENCE", 0.0)
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
    monkeypatch.setattr(looking, "PATIENCE", 0.0)
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


@pytest.mark.parametrize(
    ("arguments", "asked", "answer", "lines"),
    [
        (("pause", "foo"), ("pause", "foo"), queue_info("foo"), "paused foo\n"),
        (("resume", "foo"), ("resume", "foo"), queue_info("foo"), "resumed foo\n"),
        (
            ("requeue", "foo"),
            ("requeue", "foo", None),
            RequeueResult(requeued=2, not_held=0),
            "requeued 2\n",
        ),
        (
            ("requeue", "foo", "7", "8"),
            ("requeue", "foo", [7, 8]),
            RequeueResult(requeued=1, not_held=1),
            "requeued 1\n1 not held\n",
        ),
        (
            ("replay", "foo", "7"),
            ("replay", "foo", [7]),
            ReplayResult(replayed=0, not_dead=1, no_room=2),
            "replayed 0\n1 not dead\n2 without room\n",
        ),
        (
            ("move", "foo", "bar"),
            ("move", "foo", "bar", None, {"state": None}),
            MoveResult(moved=3, not_movable=0, no_room=0),
            "moved 3\n",
        ),
        (
            ("move", "foo", "bar", "--state", "dead"),
            ("move", "foo", "bar", None, {"state": "dead"}),
            MoveResult(moved=0, not_movable=1, no_room=2),
            "moved 0\n1 not movable\n2 without room\n",
        ),
        (("end-session", "7"), ("end_session", 7), None, "ended 7\n"),
    ],
)
def test_the_verbs_of_an_operator(run, client, arguments, asked, answer, lines):
    client.answers = {asked[0]: answer}
    ran = run(*arguments)
    assert (ran.code, ran.out, ran.err) == (0, lines, "")
    assert client.asked[0] == asked
    assert json.loads(run(*arguments, "--json").out)


NOT_FOUND = MessageNotFound("No message 7 is here.")


def test_why_takes_a_name_or_an_id(run, client):
    verdict = Verdict(code="acked", level="ok", sentence="It is done.", next_step="Nothing.")
    report = MessageReport(id=7, message=None, verdict=verdict, events=[])
    client.answers = {"explain": report, "inspect": queue_info("foo")}
    assert run("why", "7").out == "It is done.\nNothing.\n"
    assert run("why", "foo").out.startswith("All is well.\nNothing.\nQueue foo, running: ")
    assert json.loads(run("why", "foo", "--json").out)["name"] == "foo"
    # A queue may be called as a message is.
    client.answers = {"explain": NOT_FOUND, "inspect": queue_info("7")}
    assert "Queue 7" in run("why", "7").out


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("7", "error: message_not_found: No message 7 is here.\n"),
        ("foo", "error: queue_not_found: There is no queue.\n"),
        ("9" * 30, "error: queue_not_found: There is no queue.\n"),
    ],
)
def test_why_of_what_is_not_there(run, client, what, line):
    client.answers = {"explain": NOT_FOUND, "inspect": QueueNotFound("There is no queue.")}
    ran = run("why", what)
    assert (ran.code, ran.out, ran.err) == (1, "", line)


def test_sessions_in_a_table(run, client):
    client.answers = {
        "diagnostics": diagnosed(sessions=[session(7, "worker")], sessions_left_out=3)
    }
    ran = run("sessions")
    assert ran.out.splitlines()[1].split()[:3] == ["7", "worker", "ok"]
    assert ran.out.endswith("3 more sessions are not shown.\n")
    assert json.loads(run("sessions", "--json").out)[0]["client"] == "worker"


def test_top_is_one_table_where_it_cannot_be_live(run, client):
    client.answers = {"diagnostics": diagnosed()}
    for arguments in ((), ("--once",)):
        assert run("top", *arguments).out.splitlines()[0].startswith("Up 3 min 20 s: ")
    assert "\x1b[?1049h" not in run("top", "--once", terminal=True).out
    assert json.loads(run("top", "--json").out)["now"] == 1_000


def test_a_chart_for_mscgen(run, client):
    pages = [
        TraceReport(
            events=[event(1), Event(2, 0.0, "sent", "other", 9, "cli", "x"), event(3)],
            next=3,
            dropped=0,
        ),
        TraceReport(events=[], next=3, dropped=0),
    ]

    def chart(*arguments: str) -> str:
        left = list(pages)
        client.answers = {"trace": lambda: left.pop(0)}
        return run("mscgen", *arguments).out

    assert chart().count("=>") == 3
    assert chart("--queue", "q").count("=>") == 2
    assert chart("--message", "9").count("=>") == 1
    assert chart("--limit", "1").count("=>") == 1
    assert chart("--limit", "0").count("=>") == 0
    assert chart("--queue", "q").startswith("# A message sequence chart")
    assert json.loads(chart("--json"))["mscgen"].endswith("}\n")


def test_the_incident_bundle_is_written_where_asked(run, client, tmp_path):
    client.answers = {"incident": {"format": 1}}
    assert run("incident").out == '{\n  "format": 1\n}\n'
    file = tmp_path / "bundle.json"
    ran = run("incident", "-o", str(file))
    assert (ran.code, ran.out, ran.err) == (0, "", f"wrote {file}\n")
    assert json.loads(file.read_text()) == {"format": 1}
    ran = run("incident", "-o", str(tmp_path))
    assert (ran.code, ran.out) == (74, "")
    assert ran.err == (
        f"error: output: The results cannot be written: {tmp_path}: Is a directory.\n"
    )


# -- serving by hand ------------------------------------------------------------------------------


def replies(client: type[FakeClient]) -> list[tuple[Any, ...]]:
    return [asked for asked in client.asked if asked[0] in ("reply", "nack")]


def test_serving_by_hand_reads_a_line_for_each_request(run, client):
    requests = [delivery(7, "two\nlines"), None, delivery(8, "x\n")]
    client.answers = {"receive": lambda: requests.pop(0), "reply": ReplyResult(id=1)}
    ran = run("serve", "foo", stdin="first\nsecond ü\n".encode())
    assert (ran.code, ran.out) == (0, "two\nlines\nx\n")
    assert replies(client) == [("reply", 7, "first"), ("reply", 8, "second ü")]
    assert "request 7 from somebody:" in ran.err


def test_on_a_terminal_the_request_is_shown_escaped(run, client):
    client.answers = {"receive": delivery(7, "\x1b[2J\nx"), "reply": ReplyResult(id=1)}
    ran = run("serve", "foo", stdin=b"y\n", terminal=True)
    assert ran.out == "\\x1b[2J\nx\n"


def test_serving_by_hand_as_json(run, client):
    client.answers = {"receive": delivery(7, "x"), "reply": ReplyResult(id=1)}
    ran = run("serve", "foo", "--json", stdin=b"y\n")
    assert json.loads(ran.out)["payload"] == "x"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (NotHolder("Gone."), "7 has gone to another meanwhile\n"),
        (ReplyResult(id=None, state="caller_gone"), "nobody gets the reply to 7: caller_gone\n"),
    ],
)
def test_a_reply_that_nobody_gets_is_said(run, client, answer, line):
    client.answers = {"receive": delivery(7, "x"), "reply": answer}
    ran = run("serve", "foo", stdin=b"y\n")
    assert ran.code == 0
    assert ran.err.endswith(line)


@pytest.mark.parametrize("stdin", [b"\xff\n", None])
def test_a_reply_that_cannot_be_read(run, client, stdin):
    client.answers = {"receive": delivery(7, "x"), "reply": ReplyResult(id=1)}
    ran = run("serve", "foo", stdin=stdin)
    assert (ran.code, replies(client)) == (2, [])
    assert ran.err.splitlines()[-1].startswith("error: usage: ")


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
        ("serve", "foo", "--program", "cat", "--concurrency", "0"),
        ("serve", "foo", "--program", "/nowhere/at/all"),
        ("serve", "foo", "--program", "'"),
        ("serve", "foo", "--program", ""),
        ("serve", "foo", "--concurrency", "2"),
        ("list", "--url", "nowhere"),
        ("list", "--url", "http://127.0.0.1:8080/a b"),
        ("list", "--url", "http://ex\u00e4mple:8080"),
        ("list", "--url", f"http://{'a' * 64}.example"),
        ("list", "--url", "http://127.0.0.1:99999"),
        ("list", "--url", "http://[bad"),
        ("list", "--prefix", "\udcff"),
        ("call", "\udcff", "x"),
        ("why", "\udcff"),
        ("ack", "foo", str(2**63)),
        ("requeue", "foo", "-1"),
        ("move", "foo", "bar", "7", "--state", "dead"),
        ("end-session", "foo"),
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
    assert ours == {command(verb) for verb in cli.VERBS}


def command(verb: str) -> str:
    return f"switch_{verb.replace('-', '_')}"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_options_do_not_clash_with_those_of_django(verb):
    loaded = load_command_class("queues", command(verb))
    parser = loaded.create_parser("manage.py", command(verb))
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
