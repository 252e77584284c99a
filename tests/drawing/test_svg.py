from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queues.drawing.svg import cut, element, number, plain, width, words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("two\nlines\r\tand a tab", "two⏎lines⏎→and a tab"),
        ("\x00\x1b[31m", "‹U+0000›‹U+001B›[31m"),
        ("\u202egnp.exe", "‹U+202E›gnp.exe"),
        ("\ud800\ufffe", "‹U+D800›‹U+FFFE›"),
        ("Z" + "\u0300" * 9 + "e\u0301", "Z\u0300\u0300e\u0301"),
        ("漢字", "漢字"),
    ],
)
def test_what_would_not_show_is_named(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("text", "letters", "shown"),
    [("abcdef", 6, "abcdef"), ("abcdef", 5, "abcd…"), ("漢字漢字", 5, "漢字…"), ("abc", 0, "…")],
)
def test_texts_are_cut_to_the_room_there_is(text: str, letters: int, shown: str) -> None:
    assert cut(text, letters) == shown


def test_text_from_right_to_left_does_not_turn_its_surroundings() -> None:
    assert words("שלום <b>") == "\u2068שלום &lt;b&gt;\u2069"
    assert words("é <b>") == "é &lt;b&gt;"


def test_elements() -> None:
    assert element("g", "<a/>", class_="x", data_key="<1>", role=None) == (
        '<g class="x" data-key="&lt;1&gt;"><a/></g>'
    )
    assert element("rect", x=1.0, stroke_width=2.25) == '<rect x="1" stroke-width="2.2"/>'
    assert number(-0.5) == "-0.5"


@given(st.text(st.characters(), max_size=30), st.integers(1, 20))
def test_any_text_is_well_formed_and_fits(text: str, letters: int) -> None:
    shown = plain(text)
    assert plain(shown) == shown
    assert width(cut(shown, letters)) <= letters
    root = ElementTree.fromstring(element("text", words(shown), x=1))
    assert (root.text or "").strip("\u2068\u2069") == shown.strip("\u2068\u2069")
