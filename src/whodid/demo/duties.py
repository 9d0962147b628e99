"""What people do all day: for each duty the roles it gives and its acts, with how often."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple


class Act(NamedTuple):
    """Something that people of a duty do, and how often.

    `how` is `read`, `create`, `update` (with `only` these fields), `remove`, or another name of
    `whodid.demo.work` for what is more than one record's change.
    """

    weight: float
    action: str
    how: str
    only: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return self.action.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.action.partition(".")[2]


class Duty(NamedTuple):
    """What somebody is there for.

    Attributes:
        weights: Of the acts, summed up as `Random.choices` wants them.
        app: Where they work, when that is not the company's first application.
        reports: Which they run.
    """

    acts: tuple[Act, ...]
    weights: tuple[float, ...]
    roles: tuple[str, ...]
    app: str
    reports: tuple[str, ...]


def _duty(
    roles: str, *acts: Act, app: str = "", reports: tuple[str, ...] = ("Workload", "Open items")
) -> Duty:
    weights = tuple(accumulate(act.weight for act in acts))
    return Duty(acts, weights, tuple(roles.split()), app, reports)


DUTIES: Mapping[str, Duty] = {
    "finance": _duty(
        "finance",
        Act(30, "invoice.update", "update"),
        Act(13, "invoice.create", "create"),
        Act(12, "invoice.read", "read"),
        Act(8, "invoice.approve", "update", ("status",)),
        Act(7, "invoice.send", "send_invoice"),
        Act(4, "invoice.download", "read"),
        Act(8, "customer.read", "read"),
        Act(5, "customer.update", "update"),
        Act(5, "payment.create", "book_payment"),
        Act(0.4, "payout.update", "change_payout"),
        Act(1, "customer.create", "create"),
        Act(1, "report.export", "report"),
        Act(1, "invoice.void", "update", ("status",)),
        Act(2, "invoice.update", "run_agent"),
        reports=("Open items", "Cash flow"),
    ),
    "dispatch": _duty(
        "ops_lead",
        Act(26, "shipment.update", "update"),
        Act(16, "shipment.assign", "update", ("assignee",)),
        Act(12, "shipment.create", "create"),
        Act(12, "shipment.read", "read"),
        Act(5, "customer.read", "read"),
        Act(2, "invoice.read", "read"),
        Act(2, "file.upload", "upload"),
        Act(1, "shipment.cancel", "update", ("status",)),
        Act(0.4, "shipment.export", "export"),
        app="dispatch",
    ),
    "nights": _duty(
        "dispatcher",
        Act(20, "shipment.update", "update", ("status", "eta")),
        Act(8, "shipment.read", "read"),
        Act(4, "shipment.assign", "update", ("assignee",)),
        app="dispatch",
    ),
    "admin": _duty(
        "admin",
        Act(8, "user.read", "look_at_user"),
        Act(5, "user.update", "change_user"),
        Act(2, "user.password.reset", "reset_password"),
        Act(2, "group.member.add", "add_to_group"),
        Act(1, "permission.grant", "grant_right"),
        Act(1.5, "settings.update", "change_setting"),
        Act(1, "settings.notification.update", "change_setting"),
        Act(0.6, "settings.billing.update", "change_setting"),
        Act(1, "feature_flag.update", "flip_flag"),
        Act(0.3, "api_key.create", "create_key"),
        Act(2, "report.run", "report"),
        reports=("Sign-ins", "Licences"),
    ),
    "support": _duty(
        "support",
        Act(9, "customer.read", "read"),
        Act(4, "shipment.read", "read"),
        Act(3, "user.unlock", "unlock_user"),
        Act(2, "user.password.reset", "reset_password"),
        Act(3, "user.impersonate", "impersonate"),
    ),
    "portal": _duty(
        "customer",
        Act(6, "shipment.read", "read"),
        Act(3, "shipment.create", "create"),
        Act(3, "invoice.download", "read"),
        Act(0.6, "customer.update", "own_address"),
        app="dispatch",
    ),
    "doctor": _duty(
        "clinician prescriber",
        Act(24, "patient.read", "read"),
        Act(14, "patient.update", "update", ("chart_note", "allergies", "next_review")),
        Act(8, "prescription.create", "prescribe"),
        Act(6, "prescription.sign", "update", ("status",)),
        Act(3, "appointment.update", "update", ("starts",)),
        Act(0.5, "patient.export", "export"),
        app="charts",
    ),
    "nurse": _duty(
        "clinician",
        Act(20, "patient.read", "read"),
        Act(10, "patient.update", "update", ("chart_note", "next_review")),
        Act(5, "appointment.update", "update"),
        Act(2, "file.upload", "upload"),
        app="charts",
    ),
    "reception": _duty(
        "front_desk",
        Act(14, "appointment.create", "create"),
        Act(9, "appointment.update", "update", ("starts",)),
        Act(3, "appointment.cancel", "remove"),
        Act(6, "patient.read", "read"),
        Act(3, "patient.update", "update", ("phone", "consent_sharing")),
        Act(1.5, "patient.create", "create"),
        app="frontdesk",
    ),
    "manager": _duty(
        "practice_manager",
        Act(5, "report.run", "report"),
        Act(4, "user.read", "look_at_user"),
        Act(2, "user.update", "change_user"),
        Act(1, "settings.update", "change_setting"),
        Act(1, "user.password.reset", "reset_password"),
        app="frontdesk",
        reports=("Waiting times",),
    ),
    "teacher": _duty(
        "teacher",
        Act(10, "attendance.record", "record_attendance"),
        Act(14, "grade.create", "grade"),
        Act(6, "grade.update", "regrade"),
        Act(7, "student.read", "read"),
        Act(7, "document.update", "update"),
        Act(4, "document.read", "read"),
        Act(2, "document.create", "create"),
        Act(2, "document.share", "share_document"),
    ),
    "school_office": _duty(
        "office",
        Act(10, "student.read", "read"),
        Act(8, "student.update", "update"),
        Act(1, "student.create", "create"),
        Act(2, "report.export", "report"),
        Act(2, "user.password.reset", "reset_password"),
        reports=("Absences", "Bus lists"),
    ),
    "school_admin": _duty(
        "admin",
        Act(6, "user.read", "look_at_user"),
        Act(4, "user.update", "change_user"),
        Act(3, "user.password.reset", "reset_password"),
        Act(2, "group.member.add", "add_to_group"),
        Act(1, "settings.update", "change_setting"),
    ),
    "owner": _duty(
        "owner admin",
        Act(10, "product.update", "update", ("price",)),
        Act(8, "product.update", "update", ("description", "is_listed", "stock")),
        Act(8, "order.read", "read"),
        Act(2, "report.run", "report"),
        Act(1, "product.create", "create"),
        Act(1, "settings.update", "change_setting"),
        reports=("Sales by week", "Stock value"),
    ),
    "clerk": _duty(
        "clerk",
        Act(20, "order.update", "update", ("status",)),
        Act(8, "order.create", "create"),
        Act(8, "order.read", "read"),
        Act(6, "product.update", "update", ("stock",)),
        Act(2, "order.refund", "update", ("status",)),
        Act(1.5, "order.cancel", "remove"),
        Act(4, "customer.read", "read"),
    ),
}
