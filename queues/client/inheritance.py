"""What a call inherits from the request that it is made for: its parent, and its trace.

``serve`` says which request a function works on. The function, the tasks that it starts and the
threads that it is run in have a context of their own, and what they call is called for it.
"""

from __future__ import annotations

from contextvars import ContextVar

from queues.core.limits import Limits
from queues.core.messages import PARENT, Delivery
from queues.protocol.operations import MAX_HEADERS

#: Headers of a W3C trace; the second means nothing without the first.
TRACE = ("traceparent", "tracestate")
#: Bytes that all headers of a message may have, where the switch has the default limit.
MAX_BYTES = Limits().header_bytes

#: Id and headers of the request that is worked on. Not all of it: a connection that is made
#: meanwhile keeps its context.
_request: ContextVar[tuple[int, dict[str, str]] | None] = ContextVar("request", default=None)


def work_on(request: Delivery) -> None:
    """Let what is called in this context from now on be called for ``request``."""
    _request.set((request.id, request.headers))


def with_inherited(headers: dict[str, str]) -> dict[str, str]:
    """``headers``, and those that are inherited here.

    The caller's own win, also over half a trace; what has no room is left out.
    """
    request = _request.get()
    if request is None:
        return headers
    id, passed_on = request
    inherited = {PARENT: str(id)}
    if passed_on and not any(name in headers for name in TRACE):
        inherited |= {name: passed_on[name] for name in TRACE if name in passed_on}
    both = dict(headers)
    room = MAX_BYTES - sum(_size(name) + _size(value) for name, value in headers.items())
    for name, value in inherited.items():
        if name in headers:
            continue
        room -= _size(name) + _size(value)
        if room < 0 or len(both) >= MAX_HEADERS:
            break
        both[name] = value
    return both


def _size(text: object) -> int:
    """Bytes of what may yet turn out to be no text that can be sent."""
    return len(str(text).encode(errors="replace"))
