"""The incident bundle: all that the switch knows of itself, to attach to a report.

What it carries for others is not in it. Payloads are told by their length and the beginning of
their SHA-256, so that who has one can recognise it; values of headers, deduplication keys, details
of errors and the payloads in the trace are left out. Names of queues, clients and headers, and the
ids that say which message answers which, are kept. Tokens of sessions are in no answer of the
switch.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from django.conf import settings
from msgspec.structs import replace

from queues.core.answers import (
    Diagnostics,
    Health,
    MessageInfo,
    QueueInfo,
    ServiceInfo,
    Timing,
    WaitGraph,
)
from queues.core.events import Event, EventKind
from queues.core.limits import Limits
from queues.core.messages import PARENT, parent_of
from queues.engines.base import Engine

#: The form of the bundle; it grows when what is there changes its meaning.
FORMAT = 1
#: The last events that are in it.
MOST_EVENTS = 2_000
#: Queues that are in it.
MOST_QUEUES = 1_000
#: Hexadecimal digits of a SHA-256.
DIGITS = 12

#: Packages whose versions matter.
_PACKAGES = (
    "django-message-switch",
    "django",
    "djangorestframework",
    "channels",
    "msgspec",
    "daphne",
    "twisted",
    "uvicorn",
    "uvloop",
    "granian",
)
#: Events whose details are words of the switch itself. Any other may hold a payload.
_OWN_WORDS: frozenset[EventKind] = frozenset(
    (
        "queue_destroyed",
        "purged",
        "released",
        "died",
        "dropped",
        "moved",
        "restored",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the switch runs in. ``packages`` are their versions; ``servers`` those that are loaded;
    ``listen`` its plain sockets."""

    python: str
    system: str
    packages: dict[str, str]
    servers: list[str]
    debug: bool
    listen: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """The bundle. Times are seconds since the epoch."""

    format: int
    at: float
    surroundings: Surroundings
    limits: Limits
    health: Health
    diagnostics: Diagnostics
    waits_for: WaitGraph
    queues: list[QueueInfo]
    more_queues: bool
    """Whether there are persistent queues beyond these."""
    trace: list[Event]


async def collect(engine: Engine) -> Incident:
    """The bundle of a running switch, of one instant."""
    trace = await engine.trace_back(limit=MOST_EVENTS)
    page = await engine.list_queues(kind="persistent", limit=MOST_QUEUES)
    return Incident(
        format=FORMAT,
        at=engine.now(),
        surroundings=_surroundings(),
        limits=engine.limits,
        health=await engine.health(),
        diagnostics=_diagnostics(await engine.diagnostics()),
        waits_for=await engine.waits_for(),
        queues=page.queues,
        more_queues=page.next is not None,
        trace=[_event(event) for event in reversed(trace.events)],
    )


def _surroundings() -> Surroundings:
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return Surroundings(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        packages=packages,
        servers=[name for name in ("daphne", "uvicorn", "granian") if name in sys.modules],
        debug=settings.DEBUG,
        listen=list(getattr(settings, "SWITCH_LISTEN", [])),
    )


# -- leaving out ----------------------------------------------------------------------------------


def digest(text: str, *, cut: bool = False) -> str:
    """What stands for a payload; ``cut`` says that ``text`` is only its beginning."""
    data = text.encode()
    length = f"{'the first ' if cut else ''}{len(data)} bytes"
    return f"({length}, SHA-256 {hashlib.sha256(data).hexdigest()[:DIGITS]}…)"


def _left_out(text: str) -> str:
    return f"({len(text)} characters)"


def _diagnostics(found: Diagnostics) -> Diagnostics:
    return replace(found, services=[_service(service) for service in found.services])


def _service(service: ServiceInfo) -> ServiceInfo:
    return replace(
        service,
        messages=[message_without_secrets(message) for message in service.messages],
        timing=None if service.timing is None else _timing(service.timing),
    )


def _timing(timing: Timing) -> Timing:
    # The names of methods come from payloads.
    methods = [replace(each, method=digest(each.method)) for each in timing.methods]
    return replace(timing, methods=methods)


def message_without_secrets(message: MessageInfo) -> MessageInfo:
    """A message without what it carries."""
    error = message.error
    return replace(
        message,
        payload=digest(message.payload, cut=message.payload_cut),
        headers={name: _header(name, value) for name, value in message.headers.items()},
        key=None if message.key is None else _left_out(message.key),
        error=None if error is None else replace(error, detail=_left_out(error.detail)),
    )


def _header(name: str, value: str) -> str:
    """A value left out, unless it is the id of the request that the message was sent for."""
    if name == PARENT and parent_of({name: value}) is not None:
        return value
    return _left_out(value)


def _event(event: Event) -> Event:
    if event.detail is None or event.kind in _OWN_WORDS:
        return event
    return replace(event, detail="(left out)")
