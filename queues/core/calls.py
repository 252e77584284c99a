"""Calls in progress: requests whose caller waits inside the switch for the reply."""

from __future__ import annotations

from msgspec import Struct, field

from .messages import Response
from .waits import CallWait


class Call(Struct, eq=False):
    """A request sent by ``call`` and the private address that its reply goes to.

    A call with a key may be joined again after its caller lost the connection, and keeps its
    response for as long as the key is remembered; one without a key ends with its only wait.
    """

    request: int
    queue: str
    reply_to: str
    key: str | None
    parent: int | None = None
    """The request that the caller is serving, as it says."""
    caller: str | None = None
    """Client name of who asked first."""
    response: Response | None = None
    position: int = 0
    """The change that must be safe before the response may be told."""
    lost: bool = False
    """Whether the request expired, or was dropped or purged: no reply will come."""
    waits: dict[CallWait, None] = field(default_factory=dict)
