"""Every refusal of the switch, as a tree of exceptions.

Each class has a stable ``code``, which is a promise to users, and the HTTP ``status`` that suits
it. The same codes travel in HTTP answers and become these same classes in the client library.

::

    SwitchError
     +-- InvalidRequest             invalid_request         400
     |    +-- InvalidName           invalid_name            400
     +-- SessionRequired            session_required        401
     +-- UnknownSession             unknown_session         401
     +-- NotOwner                   not_owner               403
     +-- QueueNotFound              queue_not_found         404
     +-- MessageNotFound            message_not_found       404
     +-- SessionNotFound            session_not_found       404
     +-- UndoNotFound               undo_not_found          404
     +-- Conflict                   (abstract)              409
     |    +-- PolicyDiffers         policy_differs
     |    +-- KeyReused             key_reused
     |    +-- NotHolder             not_holder
     |    +-- NameTaken             name_taken
     |    +-- Superseded            superseded
     +-- PayloadTooLarge            payload_too_large       413
     +-- LimitReached               (abstract)              429
     |    +-- QueueFull             queue_full
     |    +-- SwitchFull            switch_full
     |    +-- TooManyQueues         too_many_queues
     |    +-- TooManySessions       too_many_sessions
     |    +-- TooManySubscriptions  too_many_subscriptions
     |    +-- TooManyOperations     too_many_operations
     |    +-- RateLimited           rate_limited
     +-- SlowConsumer               slow_consumer           429
     +-- InternalError              internal_error          500
     +-- HandlerFailed              handler_failed          502
     +-- Unavailable                (abstract)              503
     |    +-- NoServer              no_server
     |    +-- ShuttingDown          shutting_down
     |    +-- SecondWorker          second_worker
     |    +-- NotRunning            not_running
     |    +-- StoreUnavailable      store_unavailable
     |    +-- TooManyConnections    too_many_connections
     +-- CallTimeout                timeout                 504
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar


class SwitchError(Exception):
    """The switch refused a request.

    ``detail`` is one plain sentence; ``extra`` holds what else the answer carries beside ``code``
    and ``detail`` (for example ``retry_after``, in seconds).
    """

    code: str = "switch_error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.detail, self.extra, self.code))


def _rebuild(kind: type[SwitchError], detail: str, extra: dict[str, Any], code: str) -> SwitchError:
    error = kind(detail, **extra)
    error.code = code
    return error


class InvalidRequest(SwitchError):
    """The request does not have the declared form, or a value is out of its range."""

    code = "invalid_request"
    status = 400


class InvalidName(InvalidRequest):
    """A queue name is not 1-255 characters of ``A-Za-z0-9._:@+~=-``, or is ``.`` or ``..``."""

    code = "invalid_name"


class SessionRequired(SwitchError):
    """The operation needs a session and the request carried no token."""

    code = "session_required"
    status = 401


class UnknownSession(SwitchError):
    """The token is wrong, or its session has ended (lease, logout, restart of the switch)."""

    code = "unknown_session"
    status = 401


class NotOwner(SwitchError):
    """The queue is transient and belongs to another session."""

    code = "not_owner"
    status = 403


class QueueNotFound(SwitchError):
    """No queue has that name."""

    code = "queue_not_found"
    status = 404


class MessageNotFound(SwitchError):
    """No message has that id, and the trace does not remember one."""

    code = "message_not_found"
    status = 404


class SessionNotFound(SwitchError):
    """No session has that id."""

    code = "session_not_found"
    status = 404


class UndoNotFound(SwitchError):
    """Nothing can be undone under that id: its time is over, or it has been undone."""

    code = "undo_not_found"
    status = 404


class Conflict(SwitchError):
    """The request contradicts what the switch holds."""

    status = 409


class PolicyDiffers(Conflict):
    """The queue exists with another policy; PATCH changes it."""

    code = "policy_differs"


class KeyReused(Conflict):
    """The key was used within its window for another payload or another operation."""

    code = "key_reused"


class NotHolder(Conflict):
    """Nothing was done: the message is not held by this session."""

    code = "not_holder"


class NameTaken(Conflict):
    """The name is the reply address of a call in progress."""

    code = "name_taken"


class PayloadTooLarge(SwitchError):
    """The payload, or the body that carries it, exceeds the limit in the settings."""

    code = "payload_too_large"
    status = 413


class LimitReached(SwitchError):
    """A limit from the settings is reached; ``extra['retry_after']`` is in seconds."""

    status = 429

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail, **{"retry_after": 1, **extra})


class QueueFull(LimitReached):
    """The queue holds ``max_length`` messages; ``extra`` may hold the ``verdict``."""

    code = "queue_full"


class SwitchFull(LimitReached):
    """All messages together would exceed the byte limit of the switch."""

    code = "switch_full"


class TooManyQueues(LimitReached):
    """The switch has as many queues as its settings allow."""

    code = "too_many_queues"


class TooManySessions(LimitReached):
    """The switch has as many sessions as its settings allow."""

    code = "too_many_sessions"


class TooManySubscriptions(LimitReached):
    """The session has as many subscriptions as the settings allow."""

    code = "too_many_subscriptions"


class TooManyOperations(LimitReached):
    """The connection has as many operations under way as one may have."""

    code = "too_many_operations"


class RateLimited(LimitReached):
    """More in a short time than the settings allow to one address."""

    code = "rate_limited"


class HandlerFailed(SwitchError):
    """The server answered the call with an error; ``extra['error']`` is its code and detail."""

    code = "handler_failed"
    status = 502


class Unavailable(SwitchError):
    """The request was fine, but cannot be served now."""

    status = 503


class NoServer(Unavailable):
    """Nobody serves the called queue, and the call asked not to wait for one; ``extra`` holds the
    ``verdict``."""

    code = "no_server"


class ShuttingDown(Unavailable):
    """The switch is stopping."""

    code = "shutting_down"


class SecondWorker(Unavailable):
    """Another process serves the same address with its own memory; this one refuses."""

    code = "second_worker"


class NotRunning(Unavailable):
    """This process runs no switch: the protocol needs an ASGI server."""

    code = "not_running"


class StoreUnavailable(Unavailable):
    """The database does not take what must survive a restart. The outcome is unknown: retry with
    the same key."""

    code = "store_unavailable"


class TooManyConnections(Unavailable):
    """As many connections are open as the settings allow; ``extra`` holds ``retry_after``."""

    code = "too_many_connections"


class InternalError(SwitchError):
    """The switch has a bug; its log says more."""

    code = "internal_error"
    status = 500


class Superseded(Conflict):
    """A newer stream of the same session has closed this one."""

    code = "superseded"


class SlowConsumer(SwitchError):
    """The client of a stream did not read what it was sent, and was cut off."""

    code = "slow_consumer"
    status = 429


class CallTimeout(SwitchError):
    """No reply came in time; ``extra`` holds the request's ``id`` and the ``verdict``."""

    code = "timeout"
    status = 504


def _tree(kind: type[SwitchError]) -> Iterator[type[SwitchError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _tree(child)


#: Every concrete class by its code.
BY_CODE: dict[str, type[SwitchError]] = {
    kind.code: kind for kind in _tree(SwitchError) if "code" in vars(kind)
}


def from_code(code: str, detail: str, **extra: Any) -> SwitchError:
    """Build the exception for a code from an answer; an unknown code gives a plain SwitchError."""
    error = BY_CODE.get(code, SwitchError)(detail, **extra)
    error.code = code
    return error
