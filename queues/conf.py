"""The settings of the switch.

``SWITCH_LIMITS`` maps names of fields of ``queues.core.limits.Limits`` to other values than their
defaults, for example ``SWITCH_LIMITS = {"payload_bytes": 65536}``.

``SWITCH_INTAKE`` does the same for ``queues.engines.intake.IntakeLimits``: how many connections
there may be, and how fast clients may connect, log in and ask. A rate of 0 is no limit.

``SWITCH_LISTEN`` lists the plain stream sockets to serve beside the web server's address:
``unix:///path``, usable by its owner only, and ``tcp://host:port``.

``SWITCH_UNDO_SECONDS`` is for how many seconds a purge or a destruction in the admin can be undone;
0 turns that off.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from queues.core.limits import MAX_SECONDS, Limits
from queues.engines.intake import IntakeLimits
from queues.engines.journal import JournalMode
from queues.stream.listener import parse_address

DEFAULT_UNDO_SECONDS = 600.0
#: Highest number of connections, and rate.
MOST_INTAKE = 2**40


def limits() -> Limits:
    """The limits of the settings. Raises ImproperlyConfigured."""
    given = getattr(settings, "SWITCH_LIMITS", {})
    known = {field.name: field.type for field in fields(Limits)}
    for name, value in given.items():
        if name not in known:
            raise ImproperlyConfigured(
                f"SWITCH_LIMITS: {name!r} is none of {', '.join(sorted(known))}."
            )
        number = isinstance(value, int) or (known[name] == "float" and isinstance(value, float))
        if not number or isinstance(value, bool) or value <= 0:
            raise ImproperlyConfigured(f"SWITCH_LIMITS: {name} must be a positive number.")
    return Limits(**given)


def intake() -> IntakeLimits:
    """The limits of the settings to what comes in. Raises ImproperlyConfigured."""
    given = getattr(settings, "SWITCH_INTAKE", {})
    known = {field.name for field in fields(IntakeLimits)}
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise ImproperlyConfigured(
                f"SWITCH_INTAKE: {name!r} is none of {', '.join(sorted(known))}."
            )
        count = name in ("connections", "receiving_bytes")
        try:
            number = int(value) if count else float(value)
        except (TypeError, ValueError, OverflowError):
            number = -1
        if isinstance(value, bool) or not (1 if count else 0) <= number <= MOST_INTAKE:
            wanted = "a positive whole number" if count else "a rate a second, or 0 for none"
            raise ImproperlyConfigured(f"SWITCH_INTAKE: {name} must be {wanted}, not {value!r}.")
        found[name] = number
    return IntakeLimits(**found)


def listen() -> list[str]:
    """The addresses of the plain stream sockets. Raises ImproperlyConfigured."""
    addresses = list(getattr(settings, "SWITCH_LISTEN", []))
    for address in addresses:
        try:
            parse_address(address)
        except ValueError as error:
            raise ImproperlyConfigured(f"SWITCH_LISTEN: {error}") from error
    return addresses


def undo_seconds() -> float:
    """For how long removals in the admin can be undone. Raises ImproperlyConfigured."""
    value = getattr(settings, "SWITCH_UNDO_SECONDS", DEFAULT_UNDO_SECONDS)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds <= MAX_SECONDS or isinstance(value, bool):
        raise ImproperlyConfigured(
            f"SWITCH_UNDO_SECONDS: {value!r} is not a number of seconds, 0 or more."
        )
    return seconds


def journal() -> JournalMode | None:
    """How the journal is kept; None if it is not. Raises ImproperlyConfigured."""
    mode = getattr(settings, "SWITCH_JOURNAL", "off")
    seconds = getattr(settings, "SWITCH_JOURNAL_INTERVAL", 1.0)
    database = getattr(settings, "SWITCH_JOURNAL_DATABASE", "default")
    if mode not in ("off", "commit", "interval"):
        raise ImproperlyConfigured(f"SWITCH_JOURNAL: {mode!r} is none of off, commit, interval.")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise ImproperlyConfigured("SWITCH_JOURNAL_INTERVAL must be a positive number of seconds.")
    if database not in settings.DATABASES:
        raise ImproperlyConfigured(f"SWITCH_JOURNAL_DATABASE: there is no database {database!r}.")
    if mode == "off":
        return None
    return JournalMode(interval=float(seconds) if mode == "interval" else None, database=database)
