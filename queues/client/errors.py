"""What can go wrong for a client, beside the refusals of the switch.

Every refusal arrives as the class of ``queues.core.errors`` that has its code. These join them::

    SwitchError
     +-- Unreachable      unreachable       nothing was sent: the switch cannot be reached
     +-- OutcomeUnknown   outcome_unknown   it was sent, and the connection broke before the answer
     +-- BadAnswer        bad_answer        what answered is not a switch
     +-- HandlerFailed    handler_failed
     |    +-- RemoteError                   the server's handler failed; ``error`` says how
     +-- Explained        (abstract)        ``verdict`` says why
          +-- CallTimeout timeout           no reply in time
          +-- NoServer    no_server         nobody serves the called queue
          +-- QueueFull   queue_full        the queue takes no more messages

A handler raises ``HandlerError`` to answer its caller with a code of its own.
"""

from __future__ import annotations

from contextlib import suppress
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


class Explained(SwitchError):
    """A refusal that says why. ``verdict`` is the switch's explanation; the text has it too."""

    @property
    def verdict(self) -> Verdict | None:
        """Why; None where the switch gave no explanation, or none that is understood here."""
        with suppress(msgspec.ValidationError):
            return msgspec.convert(self.extra.get("verdict"), Verdict | None)
        return None

    def __str__(self) -> str:
        verdict = self.verdict
        if verdict is None:
            return self.detail
        return f"{self.detail} {verdict.sentence} {verdict.next_step}"


class CallTimeout(Explained, errors.CallTimeout):
    """No reply came in time. ``verdict`` says where the request was and why, at the instant before
    the call expired. ``id`` is its message id.
    """

    @property
    def id(self) -> int | None:
        """Message id of the request."""
        id: int | None = self.extra.get("id")
        return id


class NoServer(Explained, errors.NoServer):
    """Nobody serves the called queue, and the call asked not to wait for somebody.

    ``verdict`` says whether anybody ever did, and who left when.
    """


class QueueFull(Explained, errors.QueueFull):
    """The queue takes no more messages. ``verdict`` says how many it holds and has refused.

    ``extra["retry_after"]`` is in seconds.
    """

    def __str__(self) -> str:
        verdict = self.verdict
        # Its sentence begins with what the detail says.
        return self.detail if verdict is None else f"{verdict.sentence} {verdict.next_step}"


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
    for kind in (CallTimeout, NoServer, QueueFull):
        if code == kind.code:
            return kind(detail, **extra)
    return errors.from_code(code, detail, **extra)
