"""What recording every change of a row adds to Django, beside the libraries that people use.

python benchmarks/bench_django.py [ROUNDS]

The bare ORM, django-auditlog, django-simple-history, django-easy-audit and whodid each run in a
process of their own on a SQLite file of their own; rounds alternate between them, so that what
else the machine does falls on all. Figures are processor time. The others are installed into an
environment beside the benchmarks' data: none of them is part of this project.
"""

# Runs in the environment of the libraries that are compared, which are no dependency of ours.
# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import IO, Any

HERE = Path(__file__).parent
VARIANTS = ("bare", "auditlog", "simple-history", "easy-audit", "whodid")
PEERS = ("django-auditlog", "django-simple-history", "django-easy-audit")
APPS = {
    "bare": [],
    "auditlog": ["auditlog"],
    "simple-history": ["simple_history"],
    "easy-audit": ["easyaudit"],
    "whodid": ["whodid.capture.django"],
}
ONE_BY_ONE = 300
OPERATIONS = {
    "create": ONE_BY_ONE, "update": ONE_BY_ONE, "delete": ONE_BY_ONE, "bulk_create": 5_000,
    "queryset.update": 5_000, "bulk_update": 2_000, "queryset.delete": 2_000,
}  # fmt: skip


# -- in the process of one library ---------------------------------------------------------------


def serve(variant: str, database: str) -> None:
    """Do each operation that a line of input names; answer with its cost and what was recorded."""
    _set_up(variant, database)
    count, clear = _recorded(variant)
    for line in sys.stdin:
        name = line.strip()
        work = _prepared(name)
        before = count()
        took = _cpu_seconds(work)
        changes = OPERATIONS[name]
        answer = {"us": took / changes * 1e6, "recorded": (count() - before) / changes}
        _empty(clear)
        print(json.dumps(answer), flush=True)


def _set_up(variant: str, database: str) -> None:
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.configure(
        SECRET_KEY="x" * 50,
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database}},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth",
                        "django.contrib.sessions", *APPS[variant], "django_shop"],
        DJANGO_EASY_AUDIT_WATCH_REQUEST_EVENTS=False,
        DJANGO_EASY_AUDIT_WATCH_AUTH_EVENTS=False,
    )  # fmt: skip
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)


def _cpu_seconds(work: Callable[[], object]) -> float:
    import time

    start = time.process_time()
    work()
    return time.process_time() - start


def _recorded(variant: str) -> tuple[Callable[[], int], Callable[[], object]]:
    """How to count what a library has recorded, and how to remove it."""
    from django.db import connection
    from django_shop.models import Item

    def count_events() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM whodid_event")
            return int(cursor.fetchone()[0])

    if variant == "auditlog":
        from auditlog.models import LogEntry

        return LogEntry.objects.count, LogEntry.objects.all()._raw_delete
    if variant == "simple-history":
        history: Any = Item.history
        return history.count, history.all()._raw_delete
    if variant == "easy-audit":
        from easyaudit.models import CRUDEvent

        return CRUDEvent.objects.count, CRUDEvent.objects.all()._raw_delete
    if variant == "whodid":
        return count_events, lambda _: None  # a log that is only added to
    return lambda: 0, lambda _: None


def _prepared(name: str) -> Callable[[], object]:
    """The operation, with the rows that it needs there already."""
    from django.db.models import F
    from django_shop.models import Item

    changes = OPERATIONS[name]
    fresh = [_item(number) for number in range(changes)]
    if name in ("create", "bulk_create"):
        if name == "create":
            return lambda: [each.save(force_insert=True) for each in fresh]
        return lambda: Item.objects.bulk_create(fresh)
    with _unrecorded():
        Item.objects.bulk_create(fresh)
    rows = list(Item.objects.all())
    for row in rows:
        row.count, row.status = row.count + 1, "sent"
    return {
        "update": lambda: [row.save() for row in rows],
        "delete": lambda: [row.delete() for row in rows],
        "queryset.update": lambda: Item.objects.update(count=F("count") + 1, status="sent"),
        "bulk_update": lambda: Item.objects.bulk_update(rows, ["count", "status"], batch_size=250),
        "queryset.delete": lambda: Item.objects.all().delete(),
    }[name]


def _item(number: int) -> Any:
    from django_shop.models import Item

    return Item(
        number=f"2026-{number}", name=f"Customer {number}", email=f"c{number}@example.com",
        price=Decimal("12.50"), due_on=date(2026, 1, 1 + number % 28), note="Nothing to say." * 3,
    )  # fmt: skip


@contextmanager
def _unrecorded() -> Iterator[None]:
    """Rows that are only there to be changed: by whodid's own means; the others see no bulk."""
    try:
        from whodid import context
    except ImportError:
        yield
        return
    with context.disabled():
        yield


def _empty(clear: Callable[..., object]) -> None:
    from django_shop.models import Item

    with _unrecorded():
        Item.objects.all()._raw_delete("default")
    clear("default")


# -- in the first process ------------------------------------------------------------------------


class Library:
    """The process of one library."""

    def __init__(self, variant: str, python: Path, database: Path) -> None:
        path = [str(HERE), str(HERE.parent / "src")]
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__)), "--serve", variant, str(database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "BENCH_VARIANT": variant, "PYTHONPATH": os.pathsep.join(path)},
        )

    def measure(self, name: str) -> dict[str, float]:
        """Have one operation done."""
        into: Any = self._process.stdin
        out: IO[str] = self._process.stdout  # type: ignore[assignment]  # it was asked for
        into.write(f"{name}\n")
        into.flush()
        line = out.readline()
        if not line:
            raise RuntimeError(f"the process of {self._process.args!r} ended")
        answer: dict[str, float] = json.loads(line)
        return answer

    def close(self) -> None:
        into: Any = self._process.stdin
        into.close()
        self._process.wait()


def environment() -> Path:
    """The interpreter of an environment with the other libraries; made at first use."""
    import django

    cache = Path.home() / ".cache" / "whodid-bench"
    folder = Path(os.environ.get("WHODID_BENCH_DIR", cache)) / "django-peers"
    python = folder / "bin" / "python"
    ours = ["msgspec", "jinja2", "numpy", "click", "rich", "tzdata"]  # as of whodid[django]
    wanted = [f"django=={django.get_version()}", "setuptools", *ours, *PEERS]
    mark = folder / "installed.json"
    if not mark.exists() or json.loads(mark.read_text("utf-8")) != wanted:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        mark.write_text(json.dumps(wanted), "utf-8")
    return python


def versions_in(python: Path) -> dict[str, str]:
    """The version of each library that takes part."""
    code = (
        "import json, importlib.metadata as m; "
        f"print(json.dumps({{n: m.version(n) for n in {('django', *PEERS)!r}}}))"
    )
    done = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def main(rounds: int) -> None:
    from common import folder, save

    python = environment()
    samples: dict[tuple[str, str], list[dict[str, float]]] = {}
    with folder() as place:
        libraries = {each: Library(each, python, place / f"{each}.db") for each in VARIANTS}
        for number in range(rounds + 1):
            for name in OPERATIONS:
                for variant, library in libraries.items():
                    answer = library.measure(name)
                    if number:  # the first round is for warming up
                        samples.setdefault((name, variant), []).append(answer)
        for library in libraries.values():
            library.close()
    save("django", {"versions": versions_in(python), "rounds": rounds, **_results(samples)})


def _results(samples: dict[tuple[str, str], list[dict[str, float]]]) -> dict[str, Any]:
    """By operation: microseconds a change, bare and added, and the share that was recorded."""
    results: dict[str, Any] = {}
    for name in OPERATIONS:
        bare = median(each["us"] for each in samples[name, "bare"])
        line: dict[str, Any] = {"bare": round(bare)}
        for variant in VARIANTS[1:]:
            taken = samples[name, variant]
            added = median(each["us"] for each in taken) - bare
            share = min(each["recorded"] for each in taken)
            line[variant] = f"+{added:.0f}" if share >= 1 else f"+{added:.0f} ({share:.0%} told)"
        results[name] = line
    return results


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:4])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
