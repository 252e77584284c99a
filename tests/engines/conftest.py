"""A database file of its own for each test of the journal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

ALIAS = "journal"


def connect(path: Path) -> None:
    """Let the alias name the file."""
    connections.databases[ALIAS] = {**connections.databases["default"], "NAME": str(path)}


def disconnect() -> None:
    """Forget the alias in this thread."""
    connections[ALIAS].close()
    del connections[ALIAS]
    del connections.databases[ALIAS]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Path:
    """A database with all tables and nothing in them, to be copied."""
    path = tmp_path_factory.mktemp("database") / "migrated.sqlite3"
    with django_db_blocker.unblock():
        connect(path)
        call_command("migrate", database=ALIAS, verbosity=0)
        disconnect()
    return path


@pytest.fixture
def database(migrated: Path, tmp_path: Path, django_db_blocker: Any) -> Iterator[Path]:
    """The file of the database ``journal``, which has its tables."""
    path = tmp_path / "db.sqlite3"
    shutil.copy(migrated, path)
    with django_db_blocker.unblock():
        connect(path)
        yield path
        disconnect()
