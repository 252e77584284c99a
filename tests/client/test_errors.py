import pickle

import pytest

from queues.client.errors import (
    CallTimeout,
    HandlerError,
    NoServer,
    OutcomeUnknown,
    QueueFull,
    RemoteError,
    Unreachable,
    refusal,
)
from queues.core import errors
from queues.core.verdict import Verdict

TIMEOUT = {
    "code": "timeout",
    "detail": "No reply within 3 s.",
    "id": 7,
    "verdict": {
        "code": "never_started",
        "level": "stuck",
        "sentence": "Nobody has ever served foo.",
        "next_step": "Start a server.",
        "evidence": {"ready": 1},
    },
}


def test_every_code_of_the_switch_becomes_its_own_class():
    for code, kind in errors.BY_CODE.items():
        error = refusal({"code": code, "detail": "Because.", "retry_after": 2})
        assert isinstance(error, kind)
        assert error.code == code
        assert error.detail == "Because."
        assert error.extra == {"retry_after": 2}


def test_a_code_from_the_future_is_a_plain_refusal():
    error = refusal({"code": "tomorrow", "detail": "New."})
    assert type(error) is errors.SwitchError
    assert error.code == "tomorrow"


def test_a_timed_out_call_says_where_its_message_is_and_why():
    error = refusal(TIMEOUT)
    assert isinstance(error, CallTimeout)
    assert isinstance(error, errors.CallTimeout)
    assert error.id == 7
    assert error.verdict == Verdict(**TIMEOUT["verdict"])
    assert str(error) == "No reply within 3 s. Nobody has ever served foo. Start a server."
    assert str(refusal({"code": "timeout", "detail": "No reply."})) == "No reply."


def test_a_call_that_nobody_serves_says_whether_anybody_did():
    error = refusal({**TIMEOUT, "code": "no_server", "detail": "Nobody serves foo."})
    assert isinstance(error, NoServer)
    assert isinstance(error, errors.NoServer)
    assert error.verdict == Verdict(**TIMEOUT["verdict"])
    assert str(error) == "Nobody serves foo. Nobody has ever served foo. Start a server."


def test_a_full_queue_says_so_once():
    verdict = {
        "code": "queue_full",
        "level": "stuck",
        "sentence": "foo is full: it holds 5 messages, its max_length; 1 message was refused.",
        "next_step": "Start more servers.",
        "evidence": {"length": 5},
    }
    detail = "foo holds 5 messages, its max_length."
    error = refusal({"code": "queue_full", "detail": detail, "retry_after": 3, "verdict": verdict})
    assert isinstance(error, QueueFull)
    assert isinstance(error, errors.QueueFull)
    assert error.extra["retry_after"] == 3
    assert error.verdict == Verdict(**verdict)
    assert str(error) == f"{verdict['sentence']} Start more servers."
    assert str(refusal({"code": "queue_full", "detail": detail})) == detail


@pytest.mark.parametrize("verdict", [None, {}, {"code": 5}, "never_started", []])
def test_a_verdict_that_is_not_understood_is_none(verdict):
    for code in ("timeout", "no_server", "queue_full"):
        error = refusal({"code": code, "detail": "No.", "verdict": verdict})
        assert error.verdict is None
        assert str(error) == "No."


def test_a_failed_handler_has_its_own_code_beside_that_of_the_switch():
    fields = {
        "code": "handler_failed",
        "detail": "The server answered with an error: boom.",
        "id": 7,
        "error": {"code": "boom", "detail": "It broke."},
    }
    error = refusal(fields)
    assert isinstance(error, RemoteError)
    assert error.code == "handler_failed"
    assert (error.error.code, error.error.detail, error.id) == ("boom", "It broke.", 7)
    assert str(error) == "boom: It broke."


def test_errors_survive_pickling():
    others = [refusal({**TIMEOUT, "code": code}) for code in ("timeout", "no_server", "queue_full")]
    for error in (*others, Unreachable("Away."), OutcomeUnknown("Cut off.")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
    copy = pickle.loads(pickle.dumps(HandlerError("boom", "It broke.")))
    assert (copy.code, copy.detail, str(copy)) == ("boom", "It broke.", "boom: It broke.")
