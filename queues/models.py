"""No data of the switch is in the database; this only gives its admin pages their permissions."""

from __future__ import annotations

from django.db import models


class NoRows(models.Manager["Diagnostics"]):
    """For a model without a table, so that ``dumpdata`` finds nothing instead of failing."""

    def get_queryset(self) -> models.QuerySet[Diagnostics]:
        """Nothing."""
        return super().get_queryset().none()


class Diagnostics(models.Model):
    """Stands for the pages in the admin: their link, and the permissions to look and to act."""

    objects = NoRows()

    class Meta:
        """No table; two permissions."""

        managed = False
        default_permissions = ("view",)
        permissions = (("operate_switch", "Can act on queues, messages and sessions"),)
        base_manager_name = "objects"
        verbose_name = verbose_name_plural = "diagnostics"

    def __str__(self) -> str:
        return "diagnostics"
