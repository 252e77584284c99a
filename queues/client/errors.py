"""What can go wrong for a client, beside the refusals of the switch.

Every refusal arrives as the class of ``queues.core.errors`` that has its code. These join them::

    SwitchError
     +-- Unreachable      unreachable       nothing was sent: the switch cannot be reached
     +-- OutcomeUnknown   outcome_unknown   it was sent, and the connection broke before the answer
     +-- BadAnswer        bad_answer        what answered is not a switch
     +-- HandlerFailed    handler_failed
     |    +-- RemoteError                   the server's handler failed; ``error`` says how
     +-- CallTimeout      timeout           no reply in time; ``verdict`` says why

A handler raises ``HandlerError`` to answer its caller with a code of its own.
"""

from __future__ import annotations

from typing import Any

import msgspec

from queues.core import errors
from queues.core.errors import SwitchError
from queues.core.messages import Failure
from queues.core.verdict import Verdict


class Unreachable(SwitchError):
    """The switch cannot be reached. The request was not sent, so nothing happened."""

    code = "unreachable"


class OutcomeUnknown(SwitchError):
    """The request was sent, but the connection broke before the answer came.

    The switch may have carried it out or not. With a ``key`` the client repeats a send or a call
    by itself, because the switch then does it once only.
    """

    code = "outcome_unknown"


class BadAnswer(SwitchError):
    """What answered is not a switch, or speaks another version of the protocol."""

    code = "bad_answer"


class RemoteError(errors.HandlerFailed):
    """The server's handler failed. ``error`` holds its own code and detail.

    ``id`` is the message id of the request; ``code`` is always ``handler_failed``.
    """

    @property
    def error(self) -> Failure:
        """How the handler failed."""
        return msgspec.convert(self.extra["error"], Failure)

    @property
    def id(self) -> int | None:
        """Message id of the request."""
        id: int | None = self.extra.get("id")
        return id

    def __str__(self) -> str:
        error = self.error
        return f"{error.code}: {error.detail}" if error.detail else error.code


class CallTimeout(errors.CallTimeout):
    """No reply came in time. ``verdict`` says where the request was and why.

    ``id`` is its message id.
    """

    @property
    def verdict(self) -> Verdict | None:
        """The explanation of the instant before the call expired."""
        verdict = self.extra.get("verdict")
        return None if verdict is None else msgspec.convert(verdict, Verdict)

    @property
    def id(self) -> int | None:
        """Message id of the request."""
        id: int | None = self.extra.get("id")
        return id

    def __str__(self) -> str:
        verdict = self.verdict
        if verdict is None:
            return self.detail
        return f"{self.detail} {verdict.sentence} {verdict.next_step}"


class HandlerError(Exception):
    """Raise it in a handler to answer the caller with a code of your own.

    ``code`` has 1 to 255 characters; the caller gets both in a RemoteError.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code


def refusal(fields: dict[str, Any]) -> SwitchError:
    """The exception for the fields of a refusal: ``code``, ``detail`` and what else it has."""
    extra = dict(fields)
    code, detail = str(extra.pop("code")), str(extra.pop("detail", ""))
    if code == RemoteError.code and "error" in extra:
        return RemoteError(detail, **extra)
    if code == CallTimeout.code:
        return CallTimeout(detail, **extra)
    return errors.from_code(code, detail, **extra)
