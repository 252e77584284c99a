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

_inherited: ContextVar[dict[str, str] | None] = ContextVar("inherited", default=None)


def work_on(request: Delivery) -> None:
    """Let what is called in this context from now on be called for ``request``."""
    headers = {PARENT: str(request.id)}
    if request.headers:
        headers |= {name: request.headers[name] for name in TRACE if name in request.headers}
    _inherited.set(headers)


def with_inherited(headers: dict[str, str]) -> dict[str, str]:
    """``headers``, and those that are inherited here.

    The caller's own win, also over half a trace; what has no room is left out.
    """
    inherited = _inherited.get()
    if inherited is None:
        return headers
    if not headers:
        return inherited
    own_trace = any(name in headers for name in TRACE)
    both = dict(headers)
    room = MAX_BYTES - sum(_size(name) + _size(value) for name, value in headers.items())
    for name, value in inherited.items():
        if name in headers or (own_trace and name in TRACE):
            continue
        room -= _size(name) + _size(value)
        if room < 0 or len(both) >= MAX_HEADERS:
            break
        both[name] = value
    return both


def _size(text: object) -> int:
    """Bytes of what may yet turn out to be no text that can be sent."""
    return len(str(text).encode(errors="replace"))
