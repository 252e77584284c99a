"""Rows into a table and out of it, in statements of few sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from queues.engines.statements import SIZES, Statements, in_sizes
from queues.models import StoredMark

from .conftest import ALIAS

MARKS = Statements(StoredMark, ("id", "number"))


def marks() -> dict[int, int]:
    return dict(StoredMark.objects.using(ALIAS).values_list("id", "number"))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 63, 64, 65, 200])
def test_items_go_in_parts_of_few_sizes(count: int) -> None:
    items = list(range(count))
    parts = list(in_sizes(items))
    assert [item for part in parts for item in part] == items
    assert {len(part) for part in parts} <= set(SIZES)


def test_rows_are_put_replaced_and_taken_out(database: Path) -> None:
    with connections[ALIAS].cursor() as cursor:
        MARKS.put(cursor, [(id, id) for id in range(150)])
        assert marks() == {id: id for id in range(150)}
        MARKS.put(cursor, [(id, -id) for id in range(100, 180)])
        assert marks() == {id: id if id < 100 else -id for id in range(180)}
        MARKS.delete(cursor, [5, *range(90, 400)])
        assert marks() == {id: id for id in range(90) if id != 5}


def test_nothing_is_no_statement(database: Path) -> None:
    with (
        connections[ALIAS].cursor() as cursor,
        CaptureQueriesContext(connections[ALIAS]) as queries,
    ):
        MARKS.put(cursor, [])
        MARKS.delete(cursor, [])
    assert not queries.captured_queries
