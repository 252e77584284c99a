"""Answers, written by the protocol's encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from queues.protocol.operations import encode


class ProtocolRenderer(BaseRenderer):
    """JSON, straight from the answer."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The body; empty for an answer without content."""
        return b"" if data is None else encode(data)


class OnlyOne(BaseContentNegotiation):
    """An operation has one form of request and one of answer, whatever Accept says."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        """The only parser."""
        return next(iter(parsers))

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """The only renderer."""
        renderer = next(iter(renderers))
        return renderer, renderer.media_type
