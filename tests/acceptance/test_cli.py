"""The commands as processes: signals, pipes, programs, exit codes."""

import array
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import pytest

from queues.client import Client
from queues.core.errors import QueueNotFound

from .conftest import ROOT, Server, until

Start = Callable[..., subprocess.Popen[bytes]]


def arguments(verb: str, *options: str) -> list[str]:
    return [sys.executable, "-X", "dev", "-m", "queues.cli", verb, *options]


def environment(server: Server) -> dict[str, str]:
    return {**os.environ, "SWITCH_URL": server.url}


def run(server: Server, verb: str, *options: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr of a command."""
    done = subprocess.run(
        arguments(verb, *options),
        cwd=ROOT,
        env=environment(server),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command in the background; a failed test leaves none behind."""
    with ExitStack() as stack:

        def start(server: Server, verb: str, *options: str) -> subprocess.Popen[bytes]:
            process = stack.enter_context(
                subprocess.Popen(
                    arguments(verb, *options),
                    cwd=ROOT,
                    env=environment(server),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
            stack.callback(process.kill)
            return process

        yield start


def finish(process: subprocess.Popen[bytes], number: int) -> tuple[int, bytes, bytes]:
    """Send a signal; exit code, and what was not read yet of stdout and stderr."""
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def serves(server: Server, queue: str) -> bool:
    with Client(server.url) as client, suppress(QueueNotFound):
        return client.inspect(queue).consumers > 0
    return False


#: Makes stdin the controlling terminal of a program, so that Ctrl-C is a signal.
TAKE_THE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, server: Server, verb: str, *options: str) -> None:
        self.master, slave = pty.openpty()
        self.resize(columns=200, lines=10)
        self.modes = termios.tcgetattr(self.master)
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_THE_TERMINAL, *arguments(verb, *options)],
            cwd=ROOT,
            env=environment(server),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self) -> None:
        """Take what the command has shown by now."""
        with suppress(OSError):  # how Linux says that nobody has the terminal open any more
            while select.select([self.master], [], [], 0)[0]:
                content = os.read(self.master, 65_536)
                if not content:
                    break
                self.shown += content.decode(errors="replace")

    def shows(self, text: str) -> None:
        """Wait until it shows a text; what was before it is forgotten."""

        def there() -> bool:
            self.read()
            assert text in self.shown or self.process.poll() is None, self.shown
            return text in self.shown

        until(there, f"the terminal shows {text!r}")
        self.shown = self.shown.partition(text)[2]

    def ends(self) -> int:
        """The exit code."""

        def ended() -> bool:
            self.read()
            return self.process.poll() is not None

        until(ended, "the command ends")
        self.read()
        return self.process.returncode


# -- call -----------------------------------------------------------------------------------------


def test_call_waits_for_a_server_and_says_so(server: Server, start: Start):
    call = start(server, "call", "later", "--body", "hello")
    assert call.stderr is not None
    assert call.stderr.readline() == b"waiting: nobody serves later yet\n"
    serve = start(server, "serve", "later", "--program", "/bin/cat")
    out, err = call.communicate(timeout=30)
    assert (call.returncode, out, err) == (0, b"hello", b"")
    assert finish(serve, signal.SIGTERM)[0] == 0


def test_call_interrupted(server: Server, start: Start):
    call = start(server, "call", "interrupted", "x")
    assert call.stderr is not None
    call.stderr.readline()
    with Client(server.url) as client:
        assert [m.caller for m in client.browse("interrupted").messages] == ["waiting"]
        assert finish(call, signal.SIGINT) == (130, b"", b"")
        until(
            lambda: client.browse("interrupted").messages == [],
            "the request goes with its caller",
        )


def test_call_interrupted_while_it_reads_stdin(server: Server):
    with subprocess.Popen(
        arguments("call", "foo"),
        cwd=ROOT,
        env=environment(server),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as call:
        assert call.stdin is not None
        call.stdin.write(b"half a pay")
        call.stdin.flush()
        until(lambda: _unread(call.stdin) == 0, "it reads stdin")
        assert finish(call, signal.SIGINT) == (130, b"", b"")


def _unread(pipe: IO[bytes]) -> int:
    """Bytes in a pipe that its reader has not taken."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def test_call_that_times_out_says_why(server: Server):
    code, out, err = run(server, "call", "slow", "x", "--timeout", "0.2")
    assert (code, out) == (1, b"")
    assert err.startswith(b"error: timeout: No reply within 0.2 s. The message has waited for ")
    assert err.endswith(b"no server has ever subscribed to slow. Start a server for slow.\n")


def test_call_without_a_server(server: Server):
    code, out, err = run(server, "call", "nobody", "x", "--no-wait")
    assert (code, out) == (1, b"")
    assert err.decode() == (
        "error: no_server: Nobody serves nobody. No server has ever subscribed to nobody. "
        "Start a server for nobody.\n"
    )


def test_sending_to_a_queue_that_is_full_says_why(server: Server):
    with Client(server.url) as client:
        client.create("small", max_length=1)
        client.send("small", "x")
        code, out, err = run(server, "send", "small", "y")
        assert (code, out) == (1, b"")
        assert err.startswith(b"error: queue_full: small is full: it holds 1 message, ")
        assert err.endswith(b"or raise max_length: PATCH queues/small.\n")
        client.destroy("small")


def test_nobody_at_the_address(stopped_server: Server):
    for verb in ("list", "diagnostics", "tail"):
        code, out, err = run(stopped_server, verb)
        assert (code, out) == (1, b"")
        line = f"error: unreachable: Cannot reach {stopped_server.url}: Connection refused.\n"
        assert err.decode() == line
    assert run(stopped_server, "call", "foo", "x")[0] == 1


# -- serve ----------------------------------------------------------------------------------------


@pytest.fixture
def serve(start: Start) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a server for a queue, and waits until it serves."""

    def serve(server: Server, queue: str, program: str, *options: str) -> subprocess.Popen[bytes]:
        process = start(server, "serve", queue, "--program", program, *options)
        assert process.stderr is not None
        assert process.stderr.readline() == f"serving {queue}; Ctrl-C ends it\n".encode()
        until(lambda: serves(server, queue), f"{queue} is served")
        return process

    return serve


@pytest.mark.parametrize("payload", [b"", b"hello", b"two\r\nlines\n", "ü\0\U0001f600".encode()])
def test_a_payload_is_passed_on_byte_for_byte(server: Server, serve: Start, payload: bytes):
    process = serve(server, "bytes", "/bin/cat")
    assert run(server, "call", "bytes", stdin=payload) == (0, payload, b"")
    assert finish(process, signal.SIGTERM) == (0, b"", b"")


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("sh -c 'echo broken >&2; exit 3'", "error: handler_failed: exit_3: broken\n"),
        ("sh -c 'kill -9 $$'", "error: handler_failed: signal_9\n"),
        (
            r"printf '\377'",
            "error: handler_failed: not_utf8: The program's output is not UTF-8 text.\n",
        ),
    ],
)
def test_a_program_that_fails_is_not_hidden(server: Server, serve: Start, program: str, line: str):
    process = serve(server, "fails", program)
    assert run(server, "call", "fails", "x") == (1, b"", line.encode())
    code, _, err = finish(process, signal.SIGTERM)
    assert code == 0
    assert line.removeprefix("error: handler_failed: ").encode() in err


def test_programs_run_side_by_side(server: Server, serve: Start, start: Start, tmp_path: Path):
    # Each waits for the other.
    script = f"echo $$ >> {tmp_path}/pids; until [ $(wc -l < {tmp_path}/pids) = 2 ]; do :; done"
    process = serve(server, "both", f"sh -c '{script}'", "--concurrency", "2")
    calls = [start(server, "call", "both", "x", "--timeout", "30") for _ in range(2)]
    for call in calls:
        assert call.wait(40) == 0
    finish(process, signal.SIGTERM)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_serve_interrupted_gives_back_what_it_has(
    server: Server, serve: Start, tmp_path: Path, number: int, code: int
):
    queue = f"given.back.{code}"
    pid_file = tmp_path / "pid"
    script = f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 600"
    process = serve(server, queue, f"sh -c '{script}'")
    with Client(server.url) as client:
        sent = client.send(queue, "x")
        until(pid_file.exists, "the program runs")
        started = time.monotonic()
        assert finish(process, number) == (code, b"", b"")
        assert time.monotonic() - started < 10
        (message,) = client.browse(queue).messages
        assert (message.id, message.state) == (sent.id, "ready")
        assert client.inspect(queue).consumers == 0
        assert not Path(f"/proc/{pid_file.read_text().strip()}").exists()


def test_serve_waits_for_the_switch(stopped_server: Server, start: Start):
    process = start(stopped_server, "serve", "early", "--program", "cat")
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"waiting for the switch: Cannot reach ")
    stopped_server.start()
    assert run(stopped_server, "call", "early", "hello") == (0, b"hello", b"")
    stopped_server.restart()
    assert run(stopped_server, "call", "early", "again") == (0, b"again", b"")
    stopped_server.stop()
    assert finish(process, signal.SIGINT)[0] == 130


def test_serve_as_json(server: Server, serve: Start):
    process = serve(server, "logged", "sh -c 'exit $(cat)'", "--json")
    run(server, "call", "logged", "0")
    run(server, "call", "logged", "7")
    code, out, err = finish(process, signal.SIGTERM)
    assert (code, err) == (0, b"")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["error"] for line in lines] == [None, "exit_7"]
    assert all(line["id"] > 0 and line["seconds"] > 0 for line in lines)


def test_serving_by_hand(server: Server, start: Start):
    with Terminal(server, "serve", "hand") as terminal:
        terminal.shows("serving hand: a line is the reply")
        call = start(server, "call", "hand", "what\x1b?")
        terminal.shows("request ")
        terminal.shows("what\\x1b?\r\n")
        terminal.type("this, with \u00fc\n")
        out, err = call.communicate(timeout=30)
        assert (call.returncode, out.decode(), err) == (0, "this, with \u00fc", b"")
        with Client(server.url) as client:
            sent = client.send("hand", "another")
            terminal.shows("another")
            terminal.type("\x04")
            assert terminal.ends() == 0
            (message,) = client.browse("hand").messages
            assert (message.id, message.state) == (sent.id, "ready")
            client.destroy("hand")


def test_serving_by_hand_interrupted_gives_the_request_back(server: Server):
    with Client(server.url) as client, Terminal(server, "serve", "hand") as terminal:
        terminal.shows("serving hand")
        sent = client.send("hand", "what?")
        terminal.shows("what?")
        terminal.type("half an ans\x03")
        assert terminal.ends() == 130
        (message,) = client.browse("hand").messages
        assert (message.id, message.state) == (sent.id, "ready")
        assert client.inspect("hand").consumers == 0
        client.destroy("hand")


def test_serving_by_hand_from_a_pipe_takes_no_more_than_it_answers(server: Server, start: Start):
    with Client(server.url) as client:
        client.create("piped")
        calls = [start(server, "call", "piped", str(number)) for number in range(2)]
        until(lambda: client.inspect("piped").ready == 2, "both wait")
        left = client.send("piped", "third")
        code, out, err = run(server, "serve", "piped", stdin=b"one\ntwo\n")
        assert code == 0, err
        assert out.split() == [b"0", b"1"] or out.split() == [b"1", b"0"]
        assert {call.communicate(timeout=30)[0] for call in calls} == {b"one", b"two"}
        (message,) = client.browse("piped").messages
        assert (message.id, message.delivery_count) == (left.id, 0)


# -- looking --------------------------------------------------------------------------------------


def test_an_operator_looks_and_tidies_up(server: Server):
    with Client(server.url, name="evil\x1b[2J") as client:
        client.create("stuck")
        first = client.send("stuck", "\x1b]0;pwned\x07", reply_to="nowhere").id
        client.send("stuck", "second")
    code, out, err = run(server, "diagnostics")
    assert (code, err) == (0, b"")
    assert b"\x1b" not in out
    assert "its caller is gone" in out.decode()
    assert r"by evil\x1b[2J" in out.decode()
    assert r'"\x1b]0;pwned\x07"' in out.decode()

    code, out, _ = run(server, "why", str(first))
    assert code == 0
    assert b"no server has ever subscribed to stuck" in out
    assert b"\x1b" not in out

    assert run(server, "ack", "stuck", str(first)) == (0, f"dropped {first}\n".encode(), b"")
    assert run(server, "purge", "stuck", "--json") == (
        0,
        b'{"purged":1,"undo":null}\n',
        b"",
    )
    assert run(server, "list", "--prefix", "stuck") == (0, b"stuck\n", b"")
    assert run(server, "destroy", "stuck") == (0, b"destroyed stuck\n", b"")
    assert run(server, "destroy", "stuck")[0] == 1
    code, out, _ = run(server, "why", str(first), "--json")
    assert json.loads(out)["verdict"]["code"] == "dropped"
    report = json.loads(run(server, "diagnostics", "--json")[1])
    assert "stuck" not in [service["queue"]["name"] for service in report["services"]]


ALTERNATE, BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def test_top_is_live(server: Server):
    with Client(server.url) as client, Terminal(server, "top") as terminal:
        terminal.shows(ALTERNATE)
        terminal.shows("LEVEL")
        client.create("tops")
        client.send("tops", "x")
        terminal.shows("stuck")
        terminal.shows("tops")
        terminal.shows("no server has ever subscribed to tops")
        client.destroy("tops")
        terminal.type("q")
        assert terminal.ends() == 0
        assert terminal.shown.endswith(BACK)
        assert termios.tcgetattr(terminal.master) == terminal.modes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_top_interrupted_restores_the_terminal(server: Server, number: int, code: int):
    with Terminal(server, "top") as terminal:
        terminal.shows("LEVEL")
        if number == signal.SIGINT:
            terminal.type("\x03")
        else:
            terminal.process.send_signal(number)
        assert terminal.ends() == code
        assert terminal.shown.endswith(BACK)
        assert "Traceback" not in terminal.shown
        assert termios.tcgetattr(terminal.master) == terminal.modes


def test_top_follows_the_size_of_the_terminal(server: Server, start: Start):
    with Client(server.url) as client:
        for number in range(30):
            client.create(f"many.{number:02}")
        with Terminal(server, "top") as terminal:
            terminal.resize(columns=200, lines=5)
            terminal.shows("LEVEL")
            terminal.shows("\x1b[H")
            terminal.read()
            assert "many.29" not in terminal.shown
            terminal.resize(columns=200, lines=60)
            terminal.process.send_signal(signal.SIGWINCH)
            terminal.shows("many.29")
            terminal.type("q")
            assert terminal.ends() == 0
        for number in range(30):
            client.destroy(f"many.{number:02}")


def test_top_waits_for_a_switch_that_is_away(fresh_server: Server):
    with Terminal(fresh_server, "top") as terminal:
        terminal.shows("LEVEL")
        fresh_server.stop()
        terminal.shows("Waiting for the switch: ")
        terminal.shows("LEVEL")  # what was known last
        fresh_server.start()
        terminal.shows("Up ")
        terminal.type("q")
        assert terminal.ends() == 0


def test_top_that_is_no_terminal_writes_one_table(server: Server):
    code, out, err = run(server, "top")
    assert (code, err) == (0, b"")
    assert b"LEVEL" in out
    assert b"\x1b" not in out


def test_transient_queues_are_hidden(server: Server):
    with Client(server.url) as client:
        name = client.create().name
        assert name.encode() not in run(server, "list")[1]
        assert name.encode() in run(server, "list", "--all")[1]


def test_tail_follows(server: Server, start: Start):
    tail = start(server, "tail", "--follow", "--lines", "0", "--json")
    assert tail.stdout is not None
    with Client(server.url) as client:
        queue = client.create().name
        until(
            lambda: client.send(queue, "tick").created and _readable(tail), "tail shows something"
        )
    line = json.loads(tail.stdout.readline())
    assert line["number"] > 0
    code, _, err = finish(tail, signal.SIGINT)
    assert (code, err) == (130, b"")


def _readable(process: subprocess.Popen[bytes]) -> bool:
    return bool(select.select([process.stdout], [], [], 0)[0])


def test_a_reader_that_leaves_is_no_error(server: Server):
    with Client(server.url) as client:
        queue = client.create().name
        for _ in range(200):
            client.send(queue, "x" * 80)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        done = subprocess.run(
            arguments("tail", "--lines", "1000"),
            cwd=ROOT,
            env=environment(server),
            stdout=gone,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("verb", [["list"], ["diagnostics"], ["top"], ["incident"]])
def test_a_disk_that_is_full_is_one_line(server: Server, verb: list[str]):
    with Client(server.url) as client:
        client.create("something")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            arguments(*verb),
            cwd=ROOT,
            env=environment(server),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr == (
        b"error: output: The results cannot be written: stdout: No space left on device.\n"
    )


@pytest.mark.parametrize(
    ("closed", "command", "code", "err"),
    [
        (
            "<&-",
            "call foo",
            2,
            "error: usage: There is no payload: stdin is closed.\n",
        ),
        (
            "<&-",
            "serve foo",
            2,
            "error: usage: Replies are read from stdin, and it is closed.\n",
        ),
        ("<&-", "list", 0, ""),
        (
            ">&-",
            "list --all",
            74,
            "error: output: The results cannot be written: stdout is closed.\n",
        ),
        ("2>&-", "why nobody", 1, ""),
        ("<&- >&- 2>&-", "list --all", 74, ""),
        ("", "list --prefix $'\\xff'", 2, "error: usage: prefix is not UTF-8 text.\n"),
    ],
)
@pytest.mark.parametrize("program", ["-m queues.cli ", "manage.py switch_"])
def test_streams_that_are_closed(
    server: Server,
    tmp_path: Path,
    program: str,
    closed: str,
    command: str,
    code: int,
    err: str,
):
    with Client(server.url) as client:
        client.create("something")
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {program}{command} {closed}"],
        cwd=ROOT,
        env={**environment(server), "SWITCH_STATE_DIR": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (code, err)


def test_the_same_through_manage_py(server: Server, tmp_path: Path):
    def manage(*options: str) -> tuple[int, bytes, bytes]:
        done = subprocess.run(
            [sys.executable, ROOT / "manage.py", *options],
            env={**environment(server), "SWITCH_STATE_DIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    code, out, err = manage("switch_call", "foo", "x", "--no-wait")
    assert (code, out) == (1, b"")
    assert err.startswith(b"error: no_server: Nobody serves foo. ")
    with Client(server.url) as client:
        client.create("managed")
    assert manage("switch_send", "managed", "x")[0] == 0
    assert manage("switch_purge", "managed") == (0, b"purged 1\n", b"")
