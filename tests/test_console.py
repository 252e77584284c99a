import errno
import io
import json

import pytest

from queues.console import Console, OutputError
from queues.core.errors import QueueFull


class Broken(io.StringIO):
    """A stream that cannot be written to."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def flush(self) -> None:
        raise self._error


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("closed", [True, False])
def test_results_that_cannot_be_written_are_an_error(
    monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    monkeypatch.setattr("sys.stdout", None if closed else Broken(FULL))
    console = Console(err=io.StringIO())
    assert not console.terminal
    words = "stdout is closed" if closed else "stdout: No space left on device"
    for write in (
        lambda: console.lines(["x"]),
        lambda: console.answer({}),
        lambda: console.payload("x"),
    ):
        with pytest.raises(OutputError, match=words):
            write()


def test_a_payload_that_cannot_be_written_is_an_error() -> None:
    class Full(io.BytesIO):
        def write(self, content: object) -> int:
            raise FULL

    console = Console(io.TextIOWrapper(Full()), io.StringIO())
    with pytest.raises(OutputError, match="No space left"):
        console.payload("x")


def test_a_reader_that_has_gone_is_another_thing() -> None:
    with pytest.raises(BrokenPipeError):
        Console(Broken(BrokenPipeError()), io.StringIO()).lines(["x"])


def test_remarks_that_nobody_can_read_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    Console(io.StringIO(), Broken(FULL)).say("x")
    monkeypatch.setattr("sys.stderr", None)
    Console(io.StringIO()).fail("usage", "x")


def test_what_goes_wrong_is_a_line_or_json() -> None:
    error = QueueFull("q is full.", verdict={"sentence": "It holds 3.", "next_step": "Wait\x1b."})
    err = io.StringIO()
    console = Console(io.StringIO(), err)
    console.refuse(error)
    console.fail("usage", "No\x1b.")
    assert err.getvalue().splitlines() == [
        "error: queue_full: q is full. It holds 3. Wait\\x1b.",
        "error: usage: No\\x1b.",
    ]
    err = io.StringIO()
    console = Console(io.StringIO(), err, json=True)
    console.refuse(error)
    console.fail("usage", "No.")
    refused, failed = map(json.loads, err.getvalue().splitlines())
    assert refused["verdict"]["sentence"] == "It holds 3."
    assert failed == {"code": "usage", "detail": "No."}
