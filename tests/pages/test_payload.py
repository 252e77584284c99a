from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queues.pages.payload import MOST_BYTES, MOST_CHARACTERS, show

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("payload", "lines"),
    [
        ("[]", ["[]"]),
        (" { } ", ["{}"]),
        ('"text"', ['"text"']),
        ("1.50", ["1.50"]),
        ('{"a":1,"a":2}', ["{", '  "a": 1,', '  "a": 2', "}"]),
        ('[1,[2,{}],"],"]', ["[", "  1,", "  [", "    2,", "    {}", "  ],", '  "],"', "]"]),
        ('{"a\\"":[null]}', ["{", '  "a\\"": [', "    null", "  ]", "}"]),
    ],
)
def test_json_line_by_line_with_every_piece_as_it_was(payload: str, lines: list[str]) -> None:
    shown = show(payload, "json")
    assert shown.text.split("\n") == lines
    assert (shown.cut, shown.problem) == ("", "")


@settings(max_examples=100)
@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_is_shown_is_the_same_json(value: object, indent: int | None, ascii: bool) -> None:
    payload = json.dumps(value, indent=indent, ensure_ascii=ascii)
    if len(payload) < 1_000:
        assert json.loads(show(payload, "json").text) == value


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ("hello", "The payload is not JSON: Expecting value, at line 1, column 1."),
        ('{"a": 1}\n}', "The payload is not JSON: Extra data, at line 2, column 1."),
        ("[" * 50_000, "The payload is nested too deeply."),
        ("[" + " " * MOST_CHARACTERS + "]", "The payload is too long to be shown as JSON."),
    ],
)
def test_why_something_is_not_shown_as_json(payload: str, problem: str) -> None:
    assert show(payload, "json").problem == problem


def test_json_is_shown_as_such_unasked() -> None:
    assert show('{"a": 1}').form == "json"
    assert show(" [1]").form == "json"
    assert show("{oops").form == "text"
    assert show("1").form == "text"
    assert show('{"a": 1}', "text").text == '{"a": 1}'


def test_numbers_that_python_does_not_read_are_json() -> None:
    assert show("[" + "1" * 10_000 + "]").form == "json"


def test_deep_nesting_takes_no_room() -> None:
    shown = show("[" * 500 + "]" * 500, "json")
    assert len(shown.text) < 500 * 2 * 50


def test_bytes() -> None:
    shown = show("héllo\x00 world, once more", "hex")
    assert shown.text.split("\n") == [
        "000000  68 c3 a9 6c 6c 6f 00 20 77 6f 72 6c 64 2c 20 6f  h··llo· world, o",
        "000010  6e 63 65 20 6d 6f 72 65                          nce more",
    ]


@settings(max_examples=100)
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_every_byte_is_shown(payload: str) -> None:
    shown = show(payload, "hex").text
    data = "".join(line[8:55] for line in shown.split("\n"))
    assert bytes.fromhex(data) == payload.encode()


def test_what_is_shown_is_bounded() -> None:
    text = show("x" * (MOST_CHARACTERS + 1), "text")
    assert (len(text.text), text.cut) == (
        MOST_CHARACTERS,
        "The first 65,536 of 65,537 characters.",
    )
    many = show("x" * (MOST_BYTES + 1), "hex")
    assert many.text.count("\n") + 1 == MOST_BYTES / 16
    assert many.cut == "The first 4,096 of 4,097 bytes."
    wide = show("[" + "1," * 30_000 + "1]", "json")
    assert len(wide.text) == MOST_CHARACTERS
    assert wide.cut.startswith("The first 65,536 of ")
