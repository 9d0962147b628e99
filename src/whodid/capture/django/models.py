"""One model without rows, so that there is a right to give: `whodid.view_event`."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class _NoRows(models.Manager["Event"]):
    """Finds nothing: to `dumpdata` an event would be a key without what happened.

    Loaded again such a row would be no event, and the log would not be what was written. A log is
    kept as its database is: with a copy of the file.
    """

    def get_queryset(self) -> models.QuerySet[Event]:
        return super().get_queryset().none()


class Event(models.Model):
    """A recorded event. Read events with `audit.search`, not with this model."""

    position: models.BigIntegerField[int, int] = models.BigIntegerField(primary_key=True)

    objects: ClassVar[models.Manager[Event]] = _NoRows()

    class Meta:
        """Django makes no table, and only this one permission."""

        managed = False
        db_table = "whodid_event"
        base_manager_name = "objects"  # which `dumpdata --all` asks
        default_permissions = ()
        permissions: ClassVar = [("view_event", "Can see the audit log")]
        verbose_name = "event"
