from __future__ import annotations

import pytest

from queues.sites import header, is_foreign


def scope(**headers: str) -> dict[str, object]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"headers": [(name.encode(), value.encode()) for name, value in names.items()]}


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({"host": "localhost"}, False),
        ({"host": "127.0.0.1:8080"}, False),
        ({"host": "[::1]:8080"}, False),
        ({}, True),
        ({"host": "evil.example"}, True),
        ({"host": "localhost", "origin": "http://localhost"}, False),
        ({"host": "localhost:8080", "origin": "http://localhost"}, True),
        ({"host": "localhost", "origin": "null"}, True),
        ({"host": "localhost", "sec_fetch_site": "same-origin"}, False),
        ({"host": "localhost", "sec_fetch_site": "none"}, False),
        ({"host": "localhost", "sec_fetch_site": "same-site"}, True),
        ({"host": "localhost", "sec_fetch_site": "cross-site"}, True),
    ],
)
def test_who_is_foreign(headers: dict[str, str], foreign: bool) -> None:
    assert is_foreign(scope(**headers)) == foreign


def test_a_header() -> None:
    assert header(scope(host="a", origin="b"), b"origin") == "b"
    assert header(scope(host="a"), b"origin") is None
