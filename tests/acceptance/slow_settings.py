"""The project's settings with a database that is slow to commit."""

from switchproject.settings import *  # noqa: F403
from switchproject.settings import DATABASES

DATABASES["default"]["ENGINE"] = "tests.acceptance.slow_sqlite"
