from __future__ import annotations

import pytest

from whodid import errors
from whodid.errors import AuditError, BatchError, EventError
from whodid.server.problems import problem_of


def _all_errors(kind: type[AuditError]) -> list[type[AuditError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _all_errors(child))]


SAMPLES: dict[type[AuditError], AuditError] = {
    errors.EventError: EventError("$.action", "is required"),
    errors.BatchError: BatchError([(3, EventError("$.actor", "is required"))]),
    errors.QuerySyntaxError: errors.QuerySyntaxError("unknown_field", "no such", position=2),
    errors.ConflictError: errors.ConflictError("/actor", index=4, by="id"),
}
STATUS: dict[type[AuditError], int] = {
    errors.EventError: 422,
    errors.BatchError: 422,
    errors.QuerySyntaxError: 400,
    errors.CursorError: 400,
    errors.ConflictError: 409,
    errors.ProofRangeError: 400,
    errors.InvalidError: 400,
    errors.RefusedError: 403,
    errors.PermissionRefusedError: 403,
    errors.UnavailableError: 503,
    errors.StoreUnavailableError: 503,
}
OURS = [kind for kind in _all_errors(AuditError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", OURS)
def test_every_error_has_an_answer(kind: type[AuditError]) -> None:
    error = SAMPLES.get(kind) or kind("something")

    problem = problem_of(error).problem

    assert problem.status == STATUS.get(kind, 500)
    assert problem.type.startswith("urn:whodid:problem:")
    assert problem.detail


def test_a_batch_error_keeps_the_index_of_each_event() -> None:
    error = BatchError([(3, EventError("$.actor", "is required")), (7, EventError("$", "x"))])

    problem = problem_of(error).problem

    assert isinstance(problem.errors, list)
    assert [fault.index for fault in problem.errors] == [3, 7]


def test_what_the_store_says_of_its_files_stays_inside() -> None:
    problem = problem_of(errors.StoreUnavailableError("/var/lib/whodid.db: disk is full")).problem

    assert "/var/lib" not in problem.detail
