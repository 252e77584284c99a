"""Short names for messages, whose ids have sixteen digits."""

from __future__ import annotations

from collections.abc import Iterable

#: Fewest digits by which a message is named.
FEWEST_DIGITS = 3


def short_names(ids: Iterable[int | None]) -> dict[int, str]:
    """For each id its last digits, as many as tell it from the others."""
    found = {id for id in ids if id is not None}
    digits = FEWEST_DIGITS
    while len({str(id)[-digits:] for id in found}) < len(found):
        digits += 1
    return {id: f"…{text[-digits:]}" if len(text := str(id)) > digits + 1 else text for id in found}
