"""How refusals are answered, and those that only HTTP knows."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import DisallowedHost
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from queues.core.errors import InternalError, SwitchError

logger = logging.getLogger("queues.api")


class NotFound(SwitchError):
    """There is nothing at this path."""

    code = "not_found"
    status = 404


class MethodNotAllowed(SwitchError):
    """The path is right, the method is not; the Allow header says which are."""

    code = "method_not_allowed"
    status = 405


class LengthRequired(SwitchError):
    """A chunked body, where the server in front of Django does not read it whole."""

    code = "length_required"
    status = 411


class UnsupportedMediaType(SwitchError):
    """The body must be application/json."""

    code = "unsupported_media_type"
    status = 415


class InvalidHost(SwitchError):
    """The Host header names a host that ALLOWED_HOSTS does not."""

    code = "invalid_host"
    status = 400


def as_switch_error(error: Exception) -> SwitchError:
    """The refusal that an exception of Django or REST framework stands for."""
    if isinstance(error, SwitchError):
        return error
    if isinstance(error, (Http404, exceptions.NotFound)):
        return NotFound("There is nothing at this path.")
    if isinstance(error, exceptions.MethodNotAllowed):
        return MethodNotAllowed("This path does not take this method.")
    if isinstance(error, DisallowedHost):
        return InvalidHost("This host is not served here; ALLOWED_HOSTS says which are.")
    logger.error("A request failed.", exc_info=error)
    return InternalError("The switch failed to handle the request; its log says why.")


def answer(error: SwitchError) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and content of the answer that a refusal gets."""
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="switch"'
    if "retry_after" in error.extra:
        headers["Retry-After"] = str(error.extra["retry_after"])
    return error.status, headers, {"code": error.code, "detail": error.detail, **error.extra}


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """REST framework's hook: every exception of a view becomes a coded answer."""
    status, headers, content = answer(as_switch_error(error))
    return Response(content, status=status, headers=headers)
