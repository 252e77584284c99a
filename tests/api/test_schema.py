"""The OpenAPI document: valid, complete, and true to the types."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from drf_spectacular.generators import SchemaGenerator
from openapi_spec_validator import validate

from queues.api import urls
from queues.api.operation import Operation, operation_of
from queues.core.errors import (
    BY_CODE,
    NotRunning,
    SlowConsumer,
    Superseded,
    TooManyOperations,
    UndoNotFound,
)
from queues.protocol.operations import convert, decode, encode


def operations() -> list[tuple[str, str, Operation]]:
    """Every declared operation with its path and method."""
    found = []
    for pattern in urls.urlpatterns:
        view = getattr(pattern.callback, "cls", None)
        for method in ("get", "post", "put", "patch", "delete"):
            declared = operation_of(getattr(view, method, None))
            if declared is not None:
                found.append((str(pattern.pattern), method, declared))
    return found


ALL = operations()
each_operation = pytest.mark.parametrize("declared", [o for _, _, o in ALL], ids=lambda o: o.id)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    generated: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return generated


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document)


def test_every_operation_is_in_the_document(document: dict[str, Any]) -> None:
    documented = {
        described["operationId"]
        for path in document["paths"].values()
        for described in path.values()
    }
    assert documented == {declared.id for _, _, declared in ALL}
    assert len(ALL) == 33


def test_every_protocol_view_method_is_declared() -> None:
    for pattern in urls.urlpatterns:
        view = getattr(pattern.callback, "cls", None)
        if view is not None:
            for method in ("get", "post", "put", "patch", "delete"):
                handler = getattr(view, method, None)
                assert handler is None or operation_of(handler) is not None


@each_operation
def test_examples_are_what_the_types_say(declared: Operation) -> None:
    if declared.body is not None:
        decode(encode(declared.request_example), declared.body)
    kinds = [kind for kind in declared.answers.values() if kind is not None]
    if kinds:
        known = msgspec.convert(declared.answer_example, kinds[0])
        assert msgspec.to_builtins(known) == declared.answer_example


@each_operation
def test_every_operation_is_described(declared: Operation, document: dict[str, Any]) -> None:
    described = next(
        operation
        for path in document["paths"].values()
        for operation in path.values()
        if operation["operationId"] == declared.id
    )
    assert len(described["description"]) >= 20
    assert {"400", "403", "500", "503"} <= set(described["responses"])
    for status, response in described["responses"].items():
        for content in response.get("content", {}).values():
            assert status[0] != "4" or content["examples"]


def test_every_code_of_the_core_is_documented(document: dict[str, Any]) -> None:
    text = str(document)
    # They are answered by a process without an ASGI server, by the admin, and on a stream.
    kinds = (NotRunning, UndoNotFound, Superseded, SlowConsumer, TooManyOperations)
    elsewhere = [kind.code for kind in kinds]
    for code in BY_CODE:
        assert f"`{code}`" in text or code in elsewhere, code


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert node["$ref"].rpartition("/")[2] in schemas
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(document)


def test_a_query_example() -> None:
    for _, _, declared in ALL:
        convert({}, declared.query)
