"""Statements that put rows into a table and take them out, composed once and used again.

``bulk_create`` and ``delete`` compose theirs anew each time, and make an object of each row. For
the small batches of a journal that costs several times what the database itself takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from django.db.models import Model
from django.db.models.constants import OnConflict

T = TypeVar("T")

#: How many rows a statement may have: few sizes, so that there are few statements to compose, and
#: no more values than SQLite takes at once.
SIZES = (64, 16, 4, 1)


class Statements:
    """The statements for the table of ``model``.

    A row is a tuple with a value for each of ``fields``, of the type that the database wants; the
    first is the key. They are composed for the database of the first cursor: all are to be of the
    same.
    """

    def __init__(self, model: type[Model], fields: Sequence[str]) -> None:
        self._table = model._meta.db_table
        columns = {field.name: field.column for field in model._meta.concrete_fields}
        self._columns = [columns[name] for name in fields]
        self._puts: dict[int, str] = {}
        self._deletes: dict[int, str] = {}

    def put(self, cursor: Any, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows, or replace those that are there. No key may be among them twice."""
        for some in in_sizes(rows):
            text = self._puts.get(len(some))
            if text is None:
                text = self._puts[len(some)] = self._compose_put(cursor.db.ops, len(some))
            cursor.execute(text, [value for row in some for value in row])

    def delete(self, cursor: Any, keys: Sequence[int | str]) -> None:
        """Take out the rows with these keys, as far as they are there."""
        for some in in_sizes(keys):
            text = self._deletes.get(len(some))
            if text is None:
                text = self._deletes[len(some)] = self._compose_delete(cursor.db.ops, len(some))
            cursor.execute(text, some)

    # The names in the texts are those of the model, all else comes as parameters.

    def _compose_put(self, ops: Any, count: int) -> str:
        table = ops.quote_name(self._table)
        key, *others = self._columns
        names = ", ".join(ops.quote_name(column) for column in self._columns)
        row = f"({', '.join(['%s'] * len(self._columns))})"
        rows = ", ".join([row] * count)
        conflict = ops.on_conflict_suffix_sql([], OnConflict.UPDATE, others, [key])
        return f"INSERT INTO {table} ({names}) VALUES {rows} {conflict}"  # noqa: S608

    def _compose_delete(self, ops: Any, count: int) -> str:
        table = ops.quote_name(self._table)
        key = ops.quote_name(self._columns[0])
        values = ", ".join(["%s"] * count)
        return f"DELETE FROM {table} WHERE {key} IN ({values})"  # noqa: S608


def in_sizes(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """The items in parts, each of one of the sizes."""
    start = 0
    for size in SIZES:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size
