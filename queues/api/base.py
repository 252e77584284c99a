"""The ground of all protocol views: asynchronous dispatch, strict forms, the cross-site guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponseBase
from rest_framework.request import Request
from rest_framework.views import APIView

from queues.core.errors import SwitchError
from queues.core.queue import check_name
from queues.protocol.operations import NoQuery, decode, decode_query

from .authentication import BearerToken
from .errors import CrossSite, exception_handler
from .parsers import ProtocolParser, is_json
from .renderers import OnlyOne, ProtocolRenderer

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What a view method takes and answers: the view is run by it and documented from it."""

    id: str
    summary: str
    answers: dict[int, Any]
    """Answer type by status; None for an empty answer."""
    session: Literal["required", "optional", "unused"] = "optional"
    errors: tuple[type[SwitchError], ...] = ()
    body: Any = None
    """The JSON form, or None where there is no body."""
    query: Any = NoQuery
    payload_form: Any = None
    """Where the body may be the bare payload: the form that its query fields fill."""
    request_example: Any = None
    answer_example: Any = None
    description: str = field(default="", kw_only=True)


def operation(**fields: Any) -> Callable[[F], F]:
    """Declare the operation that a view method performs; the method gets ``body`` or ``query``."""

    def declare(method: F) -> F:
        declared = Operation(description=method.__doc__ or "", **fields)
        method.operation = declared  # type: ignore[attr-defined]
        return method

    return declare


def operation_of(method: Any) -> Operation | None:
    """The declaration of a view method, or None."""
    declared: Operation | None = getattr(method, "operation", None)
    return declared


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
    http_method_names: ClassVar[list[str]] = ["get", "head", "post", "put", "patch", "delete"]

    async def dispatch(  # type: ignore[override]
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Run the method for the request; every exception becomes a coded answer."""
        self.args, self.kwargs = args, kwargs
        self.request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        try:
            refuse_other_sites(request)
            self.initial(self.request, *args, **kwargs)
            method = getattr(self, str(request.method).lower(), self.http_method_not_allowed)
            if "name" in kwargs:
                check_name(kwargs["name"])
            response = await method(self.request, **kwargs, **self._forms(method))
        except Exception as error:  # noqa: BLE001
            response = self.handle_exception(error)
        self.response = self.finalize_response(self.request, response, *args, **kwargs)
        self.response["Cache-Control"] = "no-store"
        self.response["X-Content-Type-Options"] = "nosniff"
        return self.response

    def _forms(self, method: Any) -> dict[str, Any]:
        declared = operation_of(method)
        if declared is None:  # the method is not allowed, and says so itself
            return {}
        forms: dict[str, Any] = {}
        request = self.request
        query = request.META.get("QUERY_STRING", "")
        bare = declared.payload_form is not None and not is_json(request.content_type)
        if declared.body is not None:
            request.parser_context["operation"] = declared
            if request.stream is not None:
                forms["body"] = request.data
            elif bare:
                forms["body"] = ProtocolParser().parse(request, "", request.parser_context)
            else:
                forms["body"] = decode(b"" if declared.payload_form else b"{}", declared.body)
        if not bare:
            read = decode_query(query, declared.query)
            if declared.query is not NoQuery:
                forms["query"] = read
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
    if origin is not None and urlsplit(origin).netloc != host:
        raise CrossSite("Requests from pages of another site are refused.")
    if request.META.get("HTTP_SEC_FETCH_SITE", "none") not in ("same-origin", "none"):
        raise CrossSite("Requests from pages of another site are refused.")


def token(request: Request) -> str | None:
    """The session token that the request carries."""
    auth: str | None = request.auth  # type: ignore[assignment]
    return auth
