"""The Django application."""

from __future__ import annotations

from django.apps import AppConfig


class QueuesConfig(AppConfig):
    """The message switch."""

    name = "queues"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Message switch"

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401 -- needs the app registry
