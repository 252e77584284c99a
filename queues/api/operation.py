"""The declaration of an operation: its view method is run by it and documented from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from queues.core.errors import SwitchError
from queues.protocol.operations import NoQuery

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What a view method takes and answers."""

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
    description: str = ""


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
