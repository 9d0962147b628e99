"""The tables of the log, as far as version 2 of whodid's schema."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

from whodid.capture.django.schema import migrate_to


class Migration(migrations.Migration):
    """Runs the same numbered scripts that a log in a file of its own runs."""

    initial = True
    dependencies: ClassVar = []
    operations: ClassVar = [
        migrations.RunPython(migrate_to(2), migrations.RunPython.noop, elidable=False),
        migrations.CreateModel(
            name="Event",
            fields=[("position", models.BigIntegerField(primary_key=True, serialize=False))],
            options={
                "verbose_name": "event",
                "db_table": "whodid_event",
                "permissions": [("view_event", "Can see the audit log")],
                "managed": False,
                "default_permissions": (),
                "base_manager_name": "objects",
            },
        ),
    ]
