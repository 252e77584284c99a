"""Events as a switch makes them, and as nobody would."""

from __future__ import annotations

from typing import get_args

from hypothesis import strategies as st

from queues.core.events import Event, EventKind
from tests.core.scene import Scene

KINDS: tuple[EventKind, ...] = get_args(EventKind)
HOSTILE = "<script>\"'&\\\x00\x1b\u202e]]>;}\n\ud800\ufffe漢é" + "\u0300" * 9

_names = st.sampled_from(["", "a", "web-1", "call.1", "call.2", "L" * 255, HOSTILE]) | st.text(
    st.characters(), max_size=8
)
_ids = st.none() | st.integers(1, 6) | st.integers(1, 2**53)


@st.composite
def event_lists(draw: st.DrawFn, max_size: int = 15) -> list[Event]:
    """Any events, their numbers and times rising."""
    number = draw(st.integers(1, 2**53))
    at = draw(st.floats(0, 4e9))
    events = []
    for _ in range(draw(st.integers(0, max_size))):
        number += draw(st.sampled_from([1, 1, 1, 5]))
        at += draw(st.sampled_from([0.0, 0.0, 0.001, 0.7, 5.0, 4_000.0]))
        events.append(
            Event(
                number,
                at,
                draw(st.sampled_from(KINDS)),
                draw(st.none() | _names),
                draw(_ids),
                draw(st.none() | _names),
                draw(st.none() | _names | st.just("to b")),
                draw(st.none() | st.integers(1, 6)),
            )
        )
    return events


def events_of(scene: Scene) -> list[Event]:
    """All that happened in a scene."""
    return list(scene.switch.trace.after(0, 10**6).events)
