"""How many records of others' real logs tell when, who and what."""

from __future__ import annotations

import json

from tests.importers.conftest import CONTEXT, data_file, event_of_line, vendor_lines, vendor_records
from whodid.errors import InvalidError
from whodid.event import Event
from whodid.importers import READERS, Context
from whodid.times import Instant

VENDORS = {"GitHub.Audit": "github", "Okta.SystemLog": "okta", "Amazon.EKS.Audit": "kubernetes"}


def test_of_all_records_at_least_19_in_20_have_their_own_time_actor_and_action() -> None:
    labels = json.loads(data_file("auth-log-elastic", "labels.json").read_text())
    until = Context(until=Instant.parse(f"{labels['year']}-12-31T00:00:00Z"))
    events: list[Event | None] = [
        event_of_line("access-log", line, context=CONTEXT)
        for line in vendor_lines("apache-access-elastic", "access.log.gz")
    ]
    events += [
        event_of_line("auth-log", line, context=until)
        for line in vendor_lines("auth-log-elastic", "auth.log.gz")
    ]
    events += [
        _read(form, record)
        for log_type, form in VENDORS.items()
        for record in vendor_records(log_type)
    ]

    whole = [each for each in events if each and each.occurred_at and each.actor.type != "unknown"]
    assert len(events) == 17_308
    assert len(whole) >= 0.95 * len(events)


def _read(form: str, record: dict[str, object]) -> Event | None:
    try:
        return READERS[form].read(record)
    except InvalidError:
        return None  # it does not even say what was done
