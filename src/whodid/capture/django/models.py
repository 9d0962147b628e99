"""One model without a table of its own, so that there is a right to give: `whodid.view_event`."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Event(models.Model):
    """A recorded event. Read events with `audit.search`, not with this model."""

    position: models.BigIntegerField[int, int] = models.BigIntegerField(primary_key=True)

    class Meta:
        """Django makes no table, and only this one permission."""

        managed = False
        db_table = "whodid_event"
        default_permissions = ()
        permissions: ClassVar = [("view_event", "Can see the audit log")]
        verbose_name = "event"
