"""OpenAPI, generated from the same types that read requests and write answers."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from drf_spectacular.openapi import AutoSchema

from queues.core import errors
from queues.core.errors import InternalError, SwitchError
from queues.core.limits import Limits
from queues.core.queue import NAME_PATTERN
from queues.engines import running_engine
from queues.sites import CrossSite

from . import examples
from .errors import InvalidHost, NotFound, UnsupportedMediaType
from .operation import Operation, operation_of

REF = "#/components/schemas/{name}"

_NO_NAMES = {"not": {"enum": [".", ".."]}}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "name": {"type": "string", "pattern": f"^{NAME_PATTERN}$", **_NO_NAMES},
    "id": {"type": "integer", "minimum": 0},
}
#: What a type checks by itself.
_FURTHER = {
    "Move": {
        "not": {
            "required": ["ids", "state"],
            "properties": {"ids": {"type": "array"}, "state": {"type": "string"}},
        }
    }
}


class Refusal(msgspec.Struct):
    """Why a request was refused. `code` is stable; `detail` is for people."""

    code: str
    detail: str


def _everywhere(declared: Operation) -> tuple[type[SwitchError], ...]:
    """The refusals that every operation of this form may answer."""
    found: list[type[SwitchError]] = [
        errors.InvalidRequest,
        InvalidHost,
        CrossSite,
        InternalError,
        errors.ShuttingDown,
        errors.SecondWorker,
        errors.StoreUnavailable,
        errors.RateLimited,
        errors.TooManyConnections,
    ]
    if declared.session == "required":
        found.append(errors.SessionRequired)
    if declared.session != "unused":
        found.append(errors.UnknownSession)
    if declared.body is not None:
        found.append(errors.PayloadTooLarge)
        if declared.payload_form is None:
            found.append(UnsupportedMediaType)
    return tuple(found)


class OperationSchema(AutoSchema):
    """Describes a view method by its Operation."""

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any
    ) -> dict[str, Any] | None:
        """One operation object of the document."""
        declared = operation_of(getattr(self.view, method.lower(), None))
        if declared is None:
            return None
        names = re.findall(r"{(\w+)}", path)
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": _PARAMETERS[name]}
            for name in names
        ]
        parameters += _query_parameters(declared.query)
        if declared.payload_form is not None:
            bare = _query_parameters(declared.payload_form, leave_out=("payload", "headers"))
            for each in bare:
                each["description"] = "Only with the payload as the body."
                each["required"] = False
            parameters += bare
        described: dict[str, Any] = {
            "operationId": declared.id,
            "summary": declared.summary,
            "description": " ".join(declared.description.split()),
            "tags": [_tag(path)],
            "responses": _responses(declared, by_id="id" in names),
        }
        if parameters:
            described["parameters"] = parameters
        if declared.body is not None:
            described["requestBody"] = _request_body(declared)
        if declared.session == "required":
            described["security"] = [{"session": []}]
        elif declared.session == "optional":
            described["security"] = [{"session": []}, {}]
        return described


def _tag(path: str) -> str:
    first = path.removeprefix("/api/v1/").partition("/")[0]
    return {
        "login": "sessions",
        "logout": "sessions",
        "touch": "sessions",
        "sessions": "sessions",
        "queues": "queues",
        "call": "rpc",
        "messages": "messages",
        "waits": "operations",
        "diagnostics": "operations",
        "trace": "operations",
        "health": "operations",
        "incident": "operations",
    }.get(first, "receiving")


def _request_body(declared: Operation) -> dict[str, Any]:
    schema = _schema(declared.body)
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if declared.request_example is not None:
        content["application/json"]["example"] = declared.request_example
    if declared.payload_form is not None:
        content["text/plain"] = {"schema": {"type": "string"}, "example": "hello"}
    form = _named[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else {}
    # No body at all is an empty payload, or a form whose fields all have their defaults.
    required = declared.payload_form is None and bool(form.get("required"))
    return {"content": content, "required": required}


def _responses(declared: Operation, *, by_id: bool) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, kind in declared.answers.items():
        response: dict[str, Any] = {"description": "Done."}
        if kind is not None:
            content: dict[str, Any] = {"schema": _schema(kind)}
            if declared.answer_example is not None:
                content["example"] = declared.answer_example
            response["content"] = {"application/json": content}
            if declared.id == "call":
                response["content"]["text/plain"] = {"schema": {"type": "string"}}
        responses[str(status)] = response
    by_status: dict[int, list[type[SwitchError]]] = {}
    # What is no number leads nowhere.
    for error in (*declared.errors, *_everywhere(declared), *((NotFound,) if by_id else ())):
        known = by_status.setdefault(error.status, [])
        if error not in known:
            known.append(error)
    for status, kinds in sorted(by_status.items()):
        responses[str(status)] = {
            "description": "\n".join(
                f"- `{kind.code}`: {' '.join((kind.__doc__ or '').split())}" for kind in kinds
            ),
            "content": {
                "application/json": {
                    "schema": {"$ref": REF.format(name="Refusal")},
                    "examples": {
                        kind.code: {
                            "value": {
                                "code": kind.code,
                                "detail": (kind.__doc__ or "").split("\n")[0],
                                **examples.REFUSALS.get(kind.code, {}),
                            }
                        }
                        for kind in kinds
                    },
                }
            },
        }
        if status == 429:
            responses["429"]["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
            }
    return responses


def _query_parameters(form: Any, leave_out: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    (_,), components = msgspec.json.schema_components([form], ref_template=REF)
    schema = components[form.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
        if name not in leave_out
    ]


_named: dict[str, Any] = {}


def _schema(kind: Any) -> dict[str, Any]:
    """The schema of a type; what it refers to is remembered for the components."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template=REF)
    _named.update(components)
    return schema


def add_components(result: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """Put the types into the document. A hook of drf-spectacular."""
    (_,), refusal = msgspec.json.schema_components([Refusal], ref_template=REF)
    components = result.setdefault("components", {})
    schemas = {**_named, **refusal}
    if "PolicyChange" in schemas:
        engine = running_engine()
        most = (Limits() if engine is None else engine.limits).queue_length
        fields = schemas["PolicyChange"]["properties"]
        fields["max_length"] = {**fields["max_length"], "maximum": most}
    for name, further in _FURTHER.items():
        if name in schemas:
            schemas[name] = {**schemas[name], **further}
    components["schemas"] = dict(sorted(schemas.items()))
    components["securitySchemes"] = {"session": {"type": "http", "scheme": "bearer"}}
    return result
