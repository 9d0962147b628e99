"""The key that hashed fields are hashed with: from the environment, or from a file of its own.

It is never kept in the database that the hashes are in: who has that could find a value by trying.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from whodid.errors import ConfigError

VARIABLE = "WHODID_HASH_KEY"
MIN_CHARS = 32


def find_hash_key(path: Path | None) -> bytes:
    """The key of this installation; made, and kept in a file for its owner alone, at first need.

    Durable before it returns, so that no hash is stored whose key is not. Several processes that
    make it at once get the same. Give the file a backup of its own, apart from the database's:
    without it nobody can ask any more what a hash stands for.

    Args:
        path: Of the file, e.g. `whodid.db-hash-key` beside `whodid.db`; None where the log is not a
            file, so that all hosts of an application must be told the same key.

    Raises:
        ConfigError: The key is too short to keep guesses out, others can read the file, it can't be
            made, or there is neither a file nor the variable.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        return _checked(given, where=VARIABLE)
    if path is None:
        raise ConfigError(f"a field is to be hashed, but there is no key; set {VARIABLE}")
    try:
        if not path.exists():
            _make(path)
        mode = path.stat().st_mode
        text = path.read_text("ascii")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(
            f"the key for hashes {path} can't be read or made: {why}; set {VARIABLE} instead"
        ) from error
    if os.name == "posix" and mode & 0o077:
        raise ConfigError(f"others may read the key for hashes {path}; chmod 600 it")
    return _checked(text.strip(), where=str(path))


def _make(path: Path) -> None:
    """Write a new key whole or not at all; leave the one that somebody made meanwhile."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        os.unlink(draft)


def _checked(text: str, *, where: str) -> bytes:
    if len(text) < MIN_CHARS:
        raise ConfigError(
            f"{where}: the key for hashes has {len(text)} characters, at least {MIN_CHARS} are "
            "needed; make one with python -c 'import secrets; print(secrets.token_hex())'"
        )
    return text.encode()
