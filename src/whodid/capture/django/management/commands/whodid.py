"""`manage.py whodid …`: the command line on the log of this project.

```console
$ python manage.py whodid search 'actor:ana outcome:denied created:7d'
```
"""

from __future__ import annotations

import argparse
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser

from whodid.capture.django.conf import get_settings, hosted_store
from whodid.errors import ConfigError

if TYPE_CHECKING:
    import click

    _Part = TypeVar("_Part", bound=click.Command)

_REFUSED = {
    "demo": "it fills a log with made-up companies; run the program `whodid demo` for that",
    "serve": "the project shows its log itself, where its urls include whodid.capture.django.urls",
    "keys": "keys are for a server of its own; who sees the log here is said by "
    "WHODID['authorize']",
}


class Command(BaseCommand):
    """The program `whodid`, whose database is the one that the project's log is in."""

    help = "Search, show, check and follow the audit log of this project; see whodid --help."
    requires_system_checks: list[str] = []  # noqa: RUF012 - as Django declares it

    def run_from_argv(self, argv: list[str]) -> None:
        """Hand on what stands after the command's name, but for the options of manage.py."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--settings")
        parser.add_argument("--pythonpath")
        _, rest = parser.parse_known_args(argv[2:])
        try:
            code = run(rest)
        except CommandError as error:
            self.stderr.write(f"whodid: {error}")
            code = error.returncode
        raise SystemExit(code)

    def add_arguments(self, parser: CommandParser) -> None:
        """All of them belong to the program."""
        parser.add_argument("arguments", nargs=argparse.REMAINDER)

    def handle(self, *, arguments: list[str], **_: Any) -> None:
        """For `call_command`.

        Raises:
            CommandError: The program ended with another exit code than 0.
        """
        if code := run(arguments):
            raise CommandError(f"whodid ended with exit code {code}", returncode=code)


def run(arguments: list[str]) -> int:
    """Run the program to its end; what it ended with.

    Raises:
        CommandError: The project's log is not to be had from a command line, or the command is
            none for it.
    """
    for name, why in _REFUSED.items():
        if name in arguments[:1]:
            raise CommandError(f"{name} is no command for a project's log: {why}", returncode=2)
    if any(word == "--db" or word.startswith("--db=") for word in arguments):
        raise CommandError(
            "--db: the database is the project's; run the program `whodid` for another one",
            returncode=2,
        )
    try:
        _program().main(["--db", database_url(), *arguments], prog_name="manage.py whodid")
    except SystemExit as ended:  # which is how it always ends
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)


def _program() -> click.Group:
    """The program without what is refused here, so that its help lists none of it."""
    from whodid.cli.commands import whodid

    program = _without_database(whodid)
    program.commands = {
        name: _without_database(command)
        for name, command in whodid.commands.items()
        if name not in _REFUSED
    }
    return program


def _without_database(command: _Part) -> _Part:
    """A copy of a command whose help says nothing of `--db`; the group itself still takes it."""
    from click import Option

    changed = copy(command)
    changed.params = [copy(each) for each in command.params]
    for each in changed.params:
        if each.name == "db" and isinstance(each, Option):
            each.hidden = True
    return changed


def database_url() -> str:
    """Where the project's log is.

    Raises:
        CommandError: In memory, so that only the project's own process sees it.
    """
    settings = get_settings()
    try:
        return settings.url or hosted_store(settings.database).url
    except ConfigError as error:
        raise CommandError(f"{error}", returncode=2) from error
