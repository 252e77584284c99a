"""The ground of all protocol views: asynchronous dispatch, strict forms, the cross-site guard."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from queues.core.errors import InvalidRequest
from queues.protocol.operations import NoQuery, decode, decode_query
from queues.sites import CrossSite

from .authentication import BearerToken
from .errors import LengthRequired, exception_handler
from .operation import Operation
from .parsers import ProtocolParser, is_json
from .renderers import OnlyOne, ProtocolRenderer
from .schema import OperationSchema


class ProtocolView(APIView):
    """A view whose methods are coroutines, each with its Operation.

    REST framework has no asynchronous views; apart from awaiting the method, ``dispatch`` does
    what its own does. Nothing here blocks, and nothing touches the ORM.
    """

    authentication_classes = (BearerToken,)
    permission_classes = ()
    throttle_classes = ()
    parser_classes = (ProtocolParser,)
    renderer_classes = (ProtocolRenderer,)
    content_negotiation_class = OnlyOne
    schema = OperationSchema()
    http_method_names = [  # noqa: RUF012
        "get",
        "head",
        "post",
        "put",
        "patch",
        "delete",
    ]

    async def dispatch(  # type: ignore[override]
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Run the method for the request; every exception becomes a coded answer."""
        self.args, self.kwargs = args, kwargs
        self.request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        # REST framework's objects all know each other: some forty for the collector to find, each
        # time, also of a poll whose client went away.
        try:
            response = await self._answer(request, *args, **kwargs)
            if isinstance(response, Response):
                response.render()
                response.renderer_context.clear()  # type: ignore[attr-defined]
        finally:
            self.request.parser_context.clear()
            vars(self).clear()
        return response

    async def _answer(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            refuse_other_sites(request)
            self.initial(self.request, *args, **kwargs)
            verb = str(request.method).lower()
            if verb not in self.http_method_names or not hasattr(self, verb):
                self.http_method_not_allowed(self.request)
            method: Any = getattr(self, verb)
            response = await method(self.request, **kwargs, **self._forms(method.operation))
        except Exception as error:
            response = self.handle_exception(error)
        response = self.finalize_response(self.request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        response["X-Content-Type-Options"] = "nosniff"
        return response

    def _forms(self, declared: Operation) -> dict[str, Any]:
        """What the method gets: ``body`` and ``query``, as far as it has declared them."""
        forms: dict[str, Any] = {}
        request = self.request
        if "HTTP_TRANSFER_ENCODING" in request.META and "CONTENT_LENGTH" not in request.META:
            # A server that is not ours to know passes it on, and Django takes it for empty.
            raise LengthRequired("The body needs a Content-Length here.")
        bare = declared.payload_form is not None and not is_json(request.content_type)
        if declared.body is not None:
            request.parser_context["operation"] = declared
            if request.stream is not None:
                forms["body"] = request.data
            elif bare:
                forms["body"] = ProtocolParser().parse(BytesIO(), None, request.parser_context)
            else:
                # Where every field has a default, an empty body says so.
                forms["body"] = decode(b"{}", declared.body)
        elif request.stream is not None:
            raise InvalidRequest("This operation takes no body.")
        if not bare:
            query = decode_query(request.META.get("QUERY_STRING", ""), declared.query)
            if declared.query is not NoQuery:
                forms["query"] = query
        return forms

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Any]:
        """The project's REST framework settings do not matter here."""
        return exception_handler


def refuse_other_sites(request: HttpRequest) -> None:
    """Refuse what a browser sends for a page of another site.

    Such a page may post plain text to a loopback address without asking, and by DNS rebinding
    read the answer too. Raises CrossSite, DisallowedHost.
    """
    host = request.get_host()
    origin = request.META.get("HTTP_ORIGIN")
    same = origin is None or origin.partition("://")[2] == host
    if not same or request.META.get("HTTP_SEC_FETCH_SITE", "none") not in ("same-origin", "none"):
        raise CrossSite("Requests from pages of another site are refused.")


def token(request: Request) -> str | None:
    """The session token that the request carries."""
    auth: str | None = request.auth  # type: ignore[assignment]
    return auth
