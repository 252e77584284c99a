import pickle

from queues.client.errors import (
    CallTimeout,
    HandlerError,
    OutcomeUnknown,
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
    for error in (refusal(TIMEOUT), Unreachable("Away."), OutcomeUnknown("Cut off.")):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
    copy = pickle.loads(pickle.dumps(HandlerError("boom", "It broke.")))
    assert (copy.code, copy.detail, str(copy)) == ("boom", "It broke.", "boom: It broke.")
