"""Request bodies, read by the protocol's own types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from queues.core.errors import InvalidRequest
from queues.protocol.operations import convert, decode, decode_payload, query_fields

from .errors import UnsupportedMediaType


class ProtocolParser(BaseParser):
    """JSON for every operation; any other type is the payload itself where one is sent."""

    media_type = "*/*"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The request's form. Raises InvalidRequest, UnsupportedMediaType."""
        assert parser_context is not None
        operation = parser_context["operation"]
        body = stream.read()
        if is_json(media_type):
            return decode(body, operation.body)
        if operation.payload_form is None:
            raise UnsupportedMediaType("The body must be application/json.")
        fields = query_fields(parser_context["request"].META["QUERY_STRING"])
        if "payload" in fields:
            raise InvalidRequest("The payload is the body; it cannot be a query parameter too.")
        return convert({**fields, "payload": decode_payload(body)}, operation.payload_form)


def is_json(media_type: str | None) -> bool:
    """Whether a Content-Type says JSON."""
    kind = (media_type or "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")
