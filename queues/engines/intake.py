"""What the switch takes on: how many connections, and how fast. Shared by all transports.

The cost of each question is constant, and so is that of a refusal. Time is a parameter, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from queues.core.answers import Usage
from queues.core.errors import RateLimited, TooManyConnections

from .turns import Turns

#: Operations of streams that are begun in one turn of the loop; some 3 ms.
STREAM_ROUND = 256
#: HTTP requests that are begun in one turn of the loop; some 10 ms.
HTTP_ROUND = 16
#: Addresses that are remembered; the one known longest is forgotten for the next.
MOST_SOURCES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLimits:
    """How much may come in. A rate of 0 is no limit. What comes by Unix sockets has one address."""

    connections: int = 20_000
    """Streams that are open and HTTP requests under way, together."""
    receiving_bytes: int = 256 * 2**20
    """What has come of requests and frames that are not complete, together."""
    connection_rate: float = 2_000.0
    """Streams that one address may open in a second."""
    login_rate: float = 1_000.0
    """Sessions that one address may begin in a second."""
    request_rate: float = 20_000.0
    """HTTP requests that one address may make in a second."""
    operation_rate: float = 200_000.0
    """Operations that one stream may begin in a second; more have to wait."""


class Pace:
    """At most ``rate`` in a second, and after a pause what one second allows at once."""

    __slots__ = ("_due", "_each", "_pause")

    def __init__(self, rate: float) -> None:
        self._each = 1.0 / rate if rate else 0.0
        self._pause = max(1.0, self._each)
        self._due = -math.inf

    def take(self, now: float) -> float:
        """Take one if there is one: 0.0. Else the seconds until there is."""
        due = max(self._due, now - self._pause) + self._each
        if due > now:
            return due - now
        self._due = due
        return 0.0

    def spend(self, count: int, now: float) -> float:
        """Take ``count``, be there so many or not; the seconds until there is one again."""
        self._due = due = max(self._due, now - self._pause) + count * self._each
        return max(0.0, due - now)


class _Source:
    """What one address has done."""

    __slots__ = ("connections", "logins", "requests")

    def __init__(self, limits: IntakeLimits) -> None:
        self.connections = Pace(limits.connection_rate)
        self.logins = Pace(limits.login_rate)
        self.requests = Pace(limits.request_rate)


class Intake:
    """The limits of one switch, and what counts against them.

    ``source`` is the address of a client without its port, empty where it has none.
    """

    def __init__(
        self, limits: IntakeLimits | None, soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self.limits = limits or IntakeLimits()
        self.streams = Turns(STREAM_ROUND, soon)
        """The turns of operations on streams."""
        self.requests = Turns(HTTP_ROUND, soon)
        """The turns of HTTP requests."""
        self.open = 0
        """Streams and HTTP requests now."""
        self.receiving = 0
        """Bytes that are kept until there are more."""
        self._sources: dict[str, _Source] = {}

    def connect(self, source: str, now: float) -> None:
        """A stream is opened; ``leave`` when it ends. Raises TooManyConnections, RateLimited."""
        self._check_room()
        self._check(self._source(source).connections, "connections", now)
        self.open += 1

    def enter(self, source: str, now: float) -> None:
        """An HTTP request has come; ``leave`` when it is answered. Raises TooManyConnections,
        RateLimited."""
        self._check_room()
        self._check(self._source(source).requests, "requests", now)
        self.open += 1

    def leave(self) -> None:
        """What was let in has ended."""
        self.open -= 1

    def login(self, source: str, now: float) -> None:
        """A session is to begin. Raises RateLimited."""
        self._check(self._source(source).logins, "logins", now)

    def receive(self, more: int) -> None:
        """So many bytes more, or less, of what is not complete are kept.

        Raises TooManyConnections if that is too much; they count all the same.
        """
        self.receiving += more
        if more > 0 and self.receiving > self.limits.receiving_bytes:
            raise TooManyConnections("Too much is being received at once.", retry_after=1)

    def usage(self) -> list[Usage]:
        """The limits that something counts against now."""
        return [
            Usage(name="connections", used=self.open, limit=self.limits.connections),
            Usage(name="receiving_bytes", used=self.receiving, limit=self.limits.receiving_bytes),
        ]

    def operations(self) -> Pace:
        """The pace of a new stream."""
        return Pace(self.limits.operation_rate)

    def _check_room(self) -> None:
        if self.open >= self.limits.connections:
            raise TooManyConnections(
                f"{self.limits.connections} connections are open.", retry_after=1
            )

    def _check(self, pace: Pace, what: str, now: float) -> None:
        if wait := pace.take(now):
            raise RateLimited(
                f"Too many {what} in a short time from this address.", retry_after=math.ceil(wait)
            )

    def _source(self, address: str) -> _Source:
        source = self._sources.get(address)
        if source is None:
            if len(self._sources) >= MOST_SOURCES:
                del self._sources[next(iter(self._sources))]
            source = self._sources[address] = _Source(self.limits)
        return source
