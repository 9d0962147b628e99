"""The same tests with the log in the project's own PostgreSQL database, in a process of their own.

Left out are those about SQLite itself (its locks, a full disk, its own SQL, what is in its file)
and those that run projects of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.postgres_server import PostgresServer, with_database

ROOT = Path(__file__).parents[3]
FILES = (
    "test_accounts.py", "test_actors.py", "test_admin.py", "test_commands.py", "test_faults.py",
    "test_guard.py", "test_handoff.py", "test_logins.py", "test_middleware.py", "test_models.py",
    "test_orm.py", "test_pages.py", "test_queries.py", "test_relations.py", "test_replay.py",
    "test_settings.py", "test_tasks.py", "test_transactions.py",
)  # fmt: skip
ABOUT_SQLITE = {
    "test_models.py": (
        "test_an_inherited_model_that_fails_half_way_leaves_nothing",  # words of SQLite's
        "test_a_long_text_is_cut_with_a_mark",  # PostgreSQL takes no text that is too long
        "test_a_text_that_is_no_unicode_is_told",
    ),
    "test_pages.py": (
        # Nothing is committed in a TestCase, and what is not can be sealed by nobody.
        "test_a_project_s_own_test_sees_in_the_pages_what_it_did",
    ),
    "test_queries.py": (
        "test_sql_is_told_however_it_is_written",
        "test_no_value_in_sql_is_kept_however_it_is_written",
        "test_sql_that_reads_or_is_about_other_tables_is_silent",
        "test_the_manager_of_a_foreign_keys_other_side_is_told",  # in the order of SQLite's rows
    ),
    "test_relations.py": (
        "test_what_is_no_json_is_told_as_it_is",
        "test_rows_that_can_t_be_read_are_changed_and_deleted_as_without_us",
    ),
    "test_transactions.py": (
        "test_a_test_case_of_the_hosts_sees_its_events",  # as the one of test_pages
        "test_the_host_goes_on_and_commits_and_the_events_come_back[refused]",
        "test_a_rollback_after_events_could_not_be_written_leaves_nothing[refused]",
        "test_a_log_that_fails_closed_takes_the_change_with_it[refused]",
        "test_a_log_that_drops_loses_the_event_alone[refused]",
        "test_a_full_disk_in_the_middle_of_a_block_loses_neither_row_nor_event",
        "test_a_disk_that_is_full_when_the_events_are_written_is_no_silent_rollback",
        "test_a_log_elsewhere_that_is_locked_holds_up_no_change",
        "test_a_database_that_another_program_writes_to_refuses_as_without_us",
        "test_killed_at_any_moment_every_row_has_its_event_and_every_event_its_row",
    ),
    "test_handoff.py": (
        "test_killed_between_the_two_commits_the_event_is_told_by_the_next_process_once",
        "test_with_a_log_in_a_file_of_its_own_events_wait_in_the_projects_database",
    ),
}


@pytest.mark.skipif(
    "WHODID_DJANGO_POSTGRES" in os.environ or "WHODID_DJANGO_UNDER_TEST" in os.environ,
    reason="this is a process of such a test",
)
def test_django_on_postgresql_passes_the_same_tests(postgres_server: PostgresServer) -> None:
    folder = Path(__file__).parent
    left_out = [
        f"--deselect={(folder / file).relative_to(ROOT)}::{name}"
        for file, names in ABOUT_SQLITE.items()
        for name in names
    ]
    with postgres_server.database() as url, _beside(url):
        done = subprocess.run(
            # Threads of the tests' own end without closing Django's connections.
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             "-W", "ignore::pytest.PytestUnraisableExceptionWarning", *left_out,
             *(str(folder / name) for name in FILES)],
            cwd=ROOT,
            env={**os.environ, "WHODID_DJANGO_POSTGRES": url, "WHODID_REPLAY_PROGRAMS": "5"},
            check=False, capture_output=True, text=True, timeout=900,
        )  # fmt: skip

    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    assert " passed" in done.stdout


@contextmanager
def _beside(url: str) -> Iterator[None]:
    """The second database of the project, named after the first."""
    name = sql.Identifier(f"{url.rpartition('/')[2]}_other")
    with psycopg.connect(with_database(url, "postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
        try:
            yield
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
