"""Operations as frames."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from queues.core.queue import check_name
from queues.protocol import frames

from .transport import Operation


def frame(operation: Operation[Any], ref: int, *, quiet: bool = False) -> Any:
    """The frame that asks for an operation. Raises InvalidName."""
    form = operation.form
    fields: dict[str, Any] = {}
    if operation.name == "send_many":
        fields["messages"] = form
    elif form is not None:
        fields = {name: getattr(form, name) for name in form.__struct_fields__}
    if operation.queue is not None:
        fields["queue"] = check_name(operation.queue)
    if operation.id is not None:
        fields["id"] = operation.id
    if fields.get("lease") is UNSET:
        del fields["lease"]
    return frames.OPERATIONS[operation.name](ref=ref, quiet=quiet, **fields)


def cancel(ref: int) -> frames.Cancel:
    """The frame that gives up an operation."""
    return frames.Cancel(of=ref)
