"""Operations as frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from queues.protocol import frames

from .transport import Operation


def frame(operation: Operation[Any], ref: int, *, quiet: bool = False) -> Any:
    """The frame that asks for an operation."""
    quick = _QUICK.get(operation.name)
    if quick is not None:
        return quick(operation, ref, quiet)
    form = operation.form
    fields: dict[str, Any] = {}
    if operation.name == "send_many":
        fields["messages"] = form
    elif form is not None:
        fields = {name: getattr(form, name) for name in form.__struct_fields__}
    if operation.queue is not None:
        fields["queue"] = operation.queue
    if operation.id is not None:
        fields["id"] = operation.id
    if fields.get("lease") is UNSET:
        del fields["lease"]
    return frames.OPERATIONS[operation.name](ref=ref, quiet=quiet, **fields)


def _call(operation: Operation[Any], ref: int, quiet: bool) -> frames.Call:
    form = operation.form
    assert operation.queue is not None
    return frames.Call(
        ref=ref,
        quiet=quiet,
        queue=operation.queue,
        payload=form.payload,
        timeout=form.timeout,
        wait_for_server=form.wait_for_server,
        correlation_id=form.correlation_id,
        headers=form.headers,
        key=form.key,
    )


def _reply(operation: Operation[Any], ref: int, quiet: bool) -> frames.Reply:
    form = operation.form
    assert operation.id is not None
    return frames.Reply(
        ref=ref,
        quiet=quiet,
        id=operation.id,
        payload=form.payload,
        headers=form.headers,
        error=form.error,
    )


#: Those that an RPC is made of, without looking their fields up.
_QUICK: dict[str, Callable[[Operation[Any], int, bool], Any]] = {"call": _call, "reply": _reply}


def cancel(ref: int) -> frames.Cancel:
    """The frame that gives up an operation."""
    return frames.Cancel(of=ref)
