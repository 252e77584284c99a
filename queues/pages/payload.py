"""A payload to look at: as text, as JSON, or byte by byte. What is shown is bounded."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

Form = Literal["text", "json", "hex"]

#: Characters that are shown as text or JSON, and bytes that are shown one by one.
MOST_CHARACTERS = 64 * 2**10
MOST_BYTES = 4 * 2**10
#: Levels of nesting that are indented.
MOST_INDENTED = 20
_IN_LINE = 16

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{},:]|[^][{},:"\s]+', re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A payload as it is shown."""

    form: Form
    text: str
    cut: str = ""
    """What of the payload is shown, if not all."""
    problem: str = ""
    """Why it cannot be shown in this form."""


def show(payload: str, form: str = "") -> Shown:
    """A payload in the form asked for; by default as JSON if it is an object or an array."""
    if form == "hex":
        return _hex(payload)
    if form == "json":
        return _json(payload)
    if form != "text" and payload.lstrip()[:1] in ("{", "["):
        shown = _json(payload)
        if not shown.problem:
            return shown
    return Shown("text", *_cut(payload))


def _cut(text: str) -> tuple[str, str]:
    if len(text) <= MOST_CHARACTERS:
        return text, ""
    return text[:MOST_CHARACTERS], f"The first {MOST_CHARACTERS:,} of {len(text):,} characters."


def _json(payload: str) -> Shown:
    if len(payload) > MOST_CHARACTERS:
        return Shown("json", "", problem="The payload is too long to be shown as JSON.")
    try:
        json.loads(payload)
    except RecursionError:
        return Shown("json", "", problem="The payload is nested too deeply.")
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        return Shown("json", "", problem=f"The payload is not JSON: {error.msg}, at {where}.")
    except ValueError:
        # Python reads no integers of thousands of digits, JSON knows no bound.
        pass
    text = _indented(payload)
    return Shown("json", *_cut(text))


def _indented(text: str) -> str:
    """JSON with a line for each value. Its numbers, strings and repeated keys stay as they are."""
    parts: list[str] = []
    depth = 0
    before = ""
    for piece in _TOKEN.findall(text):
        opened = before in ("{", "[")
        closes = piece in ("}", "]")
        if closes:
            depth -= 1
        if before == "," or (before and opened != closes):
            parts.append("\n" + "  " * min(depth, MOST_INDENTED))
        parts.append(": " if piece == ":" else piece)
        if piece in ("{", "["):
            depth += 1
        before = piece
    return "".join(parts)


def _hex(payload: str) -> Shown:
    data = payload.encode()
    lines = []
    for start in range(0, min(len(data), MOST_BYTES), _IN_LINE):
        some = data[start : start + _IN_LINE]
        letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "·" for byte in some)
        lines.append(f"{start:06x}  {some.hex(' '):<{3 * _IN_LINE - 1}}  {letters}")
    cut = f"The first {MOST_BYTES:,} of {len(data):,} bytes." if len(data) > MOST_BYTES else ""
    return Shown("hex", "\n".join(lines), cut)
