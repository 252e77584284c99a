"""Who may ask: the guard against pages of other sites, for applications below Django's own."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from queues.core.errors import SwitchError


class CrossSite(SwitchError):
    """The request comes from a page of another site."""

    code = "cross_site"
    status = 403


def header(scope: Any, name: bytes) -> str | None:
    """A header of a connection, as ASGI's scope has it."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def is_foreign(scope: Any) -> bool:
    """Whether a browser asks for a page of another site, or under a name that is not ours."""
    host = header(scope, b"host") or ""
    domain, _ = split_domain_port(host)
    allowed = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed:
        allowed = [".localhost", "127.0.0.1", "[::1]"]
    if not domain or not validate_host(domain, allowed):
        return True
    origin = header(scope, b"origin")
    if origin is not None and origin.partition("://")[2] != host:
        return True
    return header(scope, b"sec-fetch-site") not in (None, "same-origin", "none")
