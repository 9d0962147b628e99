"""The program `whodid`. Works without the packages it needs, to say which those are."""

from __future__ import annotations

import sys

# What is imported by commands and comes with an extra, and with which.
EXTRAS = {
    "click": "cli",
    "rich": "cli",
    "uvicorn": "server",
    "starlette": "server",
    "httptools": "server",
    "uvloop": "server",
    "jinja2": "server",
    "markupsafe": "server",
}


def main() -> None:
    """Run the command that the arguments name, and end with its exit code."""
    try:
        from whodid.cli.commands import whodid
    except ModuleNotFoundError as error:
        remedy = missing_package(error)
        if remedy is None:
            raise
        sys.stderr.write(f"whodid: {remedy}\n")
        raise SystemExit(2) from None
    whodid.main(prog_name="whodid")


def missing_package(error: ModuleNotFoundError) -> str | None:
    """How to get the package that an import missed; None if it is none of an extra's."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    return f"this needs the package {package}; pip install 'whodid[{EXTRAS[package]}]'"
