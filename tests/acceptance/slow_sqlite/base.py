"""See the package."""

from __future__ import annotations

import time
from typing import Any

from django.db.backends.sqlite3 import base

#: Seconds.
COMMIT_TIME = 0.2


class DatabaseWrapper(base.DatabaseWrapper):
    """SQLite, slowed down."""

    def _commit(self) -> Any:
        time.sleep(COMMIT_TIME)
        return super()._commit()  # type: ignore[misc]
