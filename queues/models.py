"""What the database holds: permissions for the admin pages, and the tables of the journal.

The tables belong to the switch while it runs: change nothing in them meanwhile.
"""

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


class StoredQueue(models.Model):
    """A persistent queue."""

    name = models.CharField(max_length=255, primary_key=True)
    policy = models.TextField()
    created_at = models.FloatField()
    paused_at = models.FloatField(null=True)

    class Meta:
        """For the switch alone."""

        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class StoredMessage(models.Model):
    """A message of a persistent queue. ``body`` is MessagePack, times are since the epoch."""

    id = models.BigIntegerField(primary_key=True)
    queue = models.CharField(max_length=255)
    body = models.BinaryField()
    delivery_count = models.IntegerField()
    expires_at = models.FloatField(null=True)
    due_at = models.FloatField(null=True)
    cause = models.CharField(max_length=32, null=True)  # noqa: DJ001 -- null: it is alive
    died_at = models.FloatField(null=True)
    death = models.BigIntegerField(null=True)

    class Meta:
        """For the switch alone."""

        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.id} of {self.queue}"


class StoredKey(models.Model):
    """A remembered key. ``name`` is a digest of queue and key, ``body`` what it was used for."""

    name = models.CharField(max_length=64, primary_key=True)
    queue = models.CharField(max_length=255)
    key = models.BinaryField()
    body = models.BinaryField()

    class Meta:
        """For the switch alone."""

        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class StoredMark(models.Model):
    """Row 1: every number ever given out is below this one. Row 2: names the database."""

    id = models.IntegerField(primary_key=True)
    number = models.BigIntegerField()

    class Meta:
        """For the switch alone."""

        default_permissions = ()

    def __str__(self) -> str:
        return str(self.number)
