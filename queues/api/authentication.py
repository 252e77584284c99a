"""The session token of a request."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request


class BearerToken(BaseAuthentication):
    """Takes the token from ``Authorization: Bearer ...``; the switch judges it.

    Other schemes are left alone: they may be a proxy's.
    """

    def authenticate(self, request: Request) -> tuple[None, str] | None:
        """The token as ``request.auth``."""
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        return (None, token.strip()) if scheme.lower() == "bearer" else None

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return 'Bearer realm="switch"'
