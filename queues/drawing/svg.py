"""Elements of SVG as text.

What clients wrote is drawn as text only: characters that would not show, that would turn the
text around them, or that XML forbids are named by their code points.
"""

from __future__ import annotations

import re
import unicodedata
from html import escape

#: Marks over or under one letter that are drawn; more would run over what is near.
MOST_MARKS = 2

_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e01ef]"
)
_NAMED = {"\t": "→", "\n": "⏎", "\r": "⏎"}


def element(name: str, *content: str, **attributes: str | float | None) -> str:
    """An element. Content is markup; attributes are not. An attribute that is None is left out.

    An underscore at the end of an attribute's name is dropped, others become dashes.
    """
    parts = [f"<{name}"]
    for key, value in attributes.items():
        if value is not None:
            shown = value if isinstance(value, str) else number(value)
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(shown)}"')
    inside = "".join(content)
    parts.append(f">{inside}</{name}>" if inside else "/>")
    return "".join(parts)


def image(
    content: str,
    *,
    width: float,
    height: float,
    class_: str | None = None,
    title: str | None = None,
    description: str | None = None,
    parts: str = "",
    role: str = "img",
) -> str:
    """A whole picture. One without a title is for the eye only; one whose parts can be reached by
    the keyboard is no "img"."""
    told = element("title", words(title)) if title is not None else ""
    if description is not None:
        told += element("desc", words(description))
    return element(
        "svg",
        told,
        parts,
        content,
        xmlns="http://www.w3.org/2000/svg",
        class_=class_,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role=role if title is not None else None,
        aria_hidden="true" if title is None else None,
    )


def number(value: float) -> str:
    """A coordinate, as short as it may be."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")


def plain(text: str) -> str:
    """``text`` on one line, without what would not show or would harm its surroundings."""
    if text.isascii() and text.isprintable():
        return text
    shown = []
    marks = 0
    for char in text:
        if _HIDDEN.match(char):
            shown.append(_NAMED.get(char) or f"‹U+{ord(char):04X}›")
            marks = 0
        elif unicodedata.combining(char) or unicodedata.category(char) in ("Me", "Mn"):
            marks += 1
            if marks <= MOST_MARKS:
                shown.append(char)
        else:
            shown.append(char)
            marks = 0
    return "".join(shown)


def width(text: str) -> int:
    """How many letters wide a plain text is at most; the wide ones of East Asia count as two."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, letters: int) -> str:
    """The beginning of a plain text, at most so many letters wide."""
    if width(text) <= letters:
        return text
    kept = text[:letters]
    while kept and width(kept) > letters - 1:
        kept = kept[:-1]
    return kept + "…"


def words(text: str) -> str:
    """A plain text as markup; one that runs from right to left does not turn its surroundings."""
    turns = not text.isascii() and any(unicodedata.bidirectional(c) in ("R", "AL") for c in text)
    return f"\u2068{escape(text)}\u2069" if turns else escape(text)
