"""The project's settings with PostgreSQL instead of SQLite."""

import os

from switchproject.settings import *  # noqa: F403

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["SWITCH_TEST_POSTGRES"],
        "NAME": "postgres",
        "USER": "switch",
    },
}
