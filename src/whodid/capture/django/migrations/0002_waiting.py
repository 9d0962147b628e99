"""The table for events of a database that does not hold the log, in each of them."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

from whodid.capture.django.handoff import create_table


def _create(apps: object, schema_editor: Any) -> None:
    create_table(schema_editor)


class Migration(migrations.Migration):
    """Nothing is taken back: what waits there is in no other place."""

    dependencies: ClassVar = [("whodid", "0001_schema_2")]
    operations: ClassVar = [
        migrations.RunPython(_create, migrations.RunPython.noop, elidable=False),
    ]
