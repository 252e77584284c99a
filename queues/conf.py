"""The settings of the switch.

``SWITCH_LIMITS`` maps names of fields of ``queues.core.limits.Limits`` to other values than their
defaults, for example ``SWITCH_LIMITS = {"payload_bytes": 65536}``.

``SWITCH_LISTEN`` lists the plain stream sockets to serve beside the web server's address:
``unix:///path``, usable by its owner only, and ``tcp://host:port``.
"""

from __future__ import annotations

from dataclasses import fields

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from queues.core.limits import Limits
from queues.stream.listener import parse_address


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


def listen() -> list[str]:
    """The addresses of the plain stream sockets. Raises ImproperlyConfigured."""
    addresses = list(getattr(settings, "SWITCH_LISTEN", []))
    for address in addresses:
        try:
            parse_address(address)
        except ValueError as error:
            raise ImproperlyConfigured(f"SWITCH_LISTEN: {error}") from error
    return addresses
