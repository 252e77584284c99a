"""What Schemathesis is told of the switch: how to log in, what the document cannot say, and one
check. The ``schemathesis`` command imports it; SWITCH_UNDER_TEST is the address.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure

#: Longest time that a request may wait, in seconds: there are very many.
MOST_WAIT = 0.02
#: Operations whose body may be the bare payload, with the other fields in the query.
BARE = ("send", "call")


class _Session:
    """The session of the run; another one when something has ended it."""

    token: str | None = None


@schemathesis.auth(refresh_interval=None)
class Bearer:
    """Logs in when there is no session."""

    def get(self, case: Any, context: Any) -> str:
        if _Session.token is None:
            url = os.environ["SWITCH_UNDER_TEST"]
            login = {"client": "schemathesis", "lease": 3600}
            answer = requests.post(f"{url}/api/v1/login", json=login, timeout=10)
            _Session.token = answer.json()["session"]
        return _Session.token

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Wait shortly; keep to what the document can say only in words."""
    body = _plain(case.body)
    if repr(body) != repr(case.body):
        # To set it makes Schemathesis judge anew what is wrong with the case.
        case.body = body
    for fields in (case.query, case.body):
        if isinstance(fields, dict) and "timeout" in fields:
            with suppress(TypeError, ValueError):
                if MOST_WAIT < float(fields["timeout"]) <= 300:
                    fields["timeout"] = MOST_WAIT
    operation = case.operation.definition.raw.get("operationId")
    if operation in BARE and case.media_type == "application/json":
        # "Only with the payload as the body."
        mode = case.meta.generation.mode if case.meta is not None else GenerationMode.POSITIVE
        if mode is GenerationMode.POSITIVE:
            case.query = {}
        if operation == "call" and isinstance(case.body, dict):
            case.body.setdefault("timeout", MOST_WAIT)
    elif operation == "call":
        case.query = {"timeout": MOST_WAIT, **(case.query or {})}


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """A session that has ended is not used again."""
    if response.status_code == 401 or case.operation.path.endswith("/logout"):
        _Session.token = None


class Broken(Failure):
    """The switch answered 500."""


@schemathesis.check
def no_internal_error(ctx: Any, response: Any, case: Any) -> None:
    """Other 5xx are what the document says; ``status_code_conformance`` looks after that."""
    if response.status_code == 500:
        raise Broken(operation=case.operation.label, title="Internal error", message=response.text)


def _plain(value: Any) -> Any:
    """Numbers without a fraction written as such: for JSON Schema 1.0 is an integer."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
