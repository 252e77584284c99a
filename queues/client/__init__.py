"""The client library: ``Client`` blocks and is safe for threads, ``AsyncClient`` is for asyncio.

It needs no Django. See docs/client.md.
"""

from queues.core.messages import Delivery, Response
from queues.protocol.operations import Error, Send

from .asynchronous import DEFAULT_URL, AsyncClient
from .errors import (
    BadAnswer,
    CallTimeout,
    HandlerError,
    NoServer,
    OutcomeUnknown,
    QueueFull,
    RemoteError,
    Unreachable,
)
from .serving import Handler
from .synchronous import Client

__all__ = [
    "DEFAULT_URL",
    "AsyncClient",
    "BadAnswer",
    "CallTimeout",
    "Client",
    "Delivery",
    "Error",
    "Handler",
    "HandlerError",
    "NoServer",
    "OutcomeUnknown",
    "QueueFull",
    "RemoteError",
    "Response",
    "Send",
    "Unreachable",
]
