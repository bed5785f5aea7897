"""The SQLite file under a profile: how it is opened, checked, locked, and how its errors read."""

# ruff: noqa: S608  (the schema is made of constants of this file)

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import apsw

from edgepersona.errors import InputError, ProfileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPLICATION_ID = int.from_bytes(b"EDGP", "big")
FORMAT = 3

# A combining mark is part of a word: most Indic vowels are marks.
TOKENIZER = ("unicode61", "remove_diacritics", "2", "categories", "L* N* Co Mn Mc")

_PLAIN_HEADER = b"SQLite format 3\0"

_FORMAT_1 = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE record (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    title TEXT NOT NULL,
    date TEXT NOT NULL,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    added INTEGER NOT NULL
) STRICT;
CREATE INDEX record_date ON record (date);
CREATE INDEX record_added ON record (added);
CREATE TABLE vector (row INTEGER PRIMARY KEY REFERENCES record, data BLOB NOT NULL) STRICT;
CREATE VIRTUAL TABLE record_fts USING fts5 (
    title, text, content='record', content_rowid='row',
    tokenize="{" ".join(f"'{part}'" if " " in part else part for part in TOKENIZER)}"
);
INSERT INTO record_fts (record_fts, rank) VALUES ('secure-delete', 1);
"""

_FORMAT_2 = """
CREATE INDEX record_filter ON record (source, kind, date);
CREATE TABLE token (
    row INTEGER PRIMARY KEY REFERENCES record,
    title BLOB NOT NULL,
    text BLOB NOT NULL
) STRICT;
CREATE TABLE graph (
    first INTEGER PRIMARY KEY,
    node INTEGER NOT NULL,
    nodes INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    search_width INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    ids BLOB NOT NULL,
    links BLOB NOT NULL
) STRICT;
"""

_FORMAT_3 = """
CREATE TABLE head (
    key BLOB PRIMARY KEY NOT NULL,
    used INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;
"""

_STEPS = (_FORMAT_1, _FORMAT_2, _FORMAT_3)
"""What makes each format of the one before it, the first of an empty file."""


def open_database(
    path: Path, *, key: str | None, create: bool, busy_timeout_s: float
) -> apsw.Connection:
    """Open the profile at ``path``, made first where it is missing and ``create`` is true.

    Raises ProfileError where the file is no profile, does not open with ``key``, is damaged,
    or is of a newer format.
    """
    _check_key(key)
    _prepare_file(path, create=create)
    _check_header(path, key)
    with translated(path, sealed=True, encrypted=key is not None):
        database = apsw.Connection(str(path.absolute()), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            _set_up(database, path, key=key, create=create, busy_timeout_s=busy_timeout_s)
        except BaseException:
            database.close(True)
            raise
    return database


@contextlib.contextmanager
def transaction(database: apsw.Connection) -> Iterator[None]:
    """Commit what the block does, or roll all of it back, whatever ends it."""
    try:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def translated(
    path: Path, *, state: str = "", sealed: bool = False, encrypted: bool = False
) -> Iterator[None]:
    """Turn an SQLite error into a ProfileError that says what to do.

    ``state`` says what became of a change; ``sealed``, that nothing was read yet, so that a
    wrong key cannot be told from damage.
    """
    then = f"{state}; " if state else ""
    try:
        yield
    except (apsw.BusyError, apsw.LockedError):
        message = f"locked by another process: {then}close it there, or try again"
    except apsw.FullError:
        message = f"the disk is full: {then}free some space and try again"
    except apsw.IOError as error:
        message = f"the disk is full or failing ({_line(error)}): {then}see to it and try again"
    except (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, apsw.AuthError) as error:
        message = (
            f"cannot be opened or written ({_line(error)}): {then}"
            "check the permissions of the file and of its folder"
        )
    except (apsw.Error, UnicodeDecodeError) as error:
        if sealed and isinstance(error, apsw.NotADBError):
            key = "wrong key" if encrypted else "needs a key"
            message = f"{key}, or not a profile, or damaged: check the path, the key, or a backup"
        else:
            message = f"damaged ({_line(error)}): {then}restore it from a backup"
    else:
        return
    raise ProfileError(f"{path}: {message}")


def damaged(path: Path, what: str) -> ProfileError:
    """Say that the file opened, and holds what no profile can hold."""
    return ProfileError(f"{path}: damaged ({what}): restore it from a backup")


def _check_key(key: str | None) -> None:
    if key is None:
        return
    if not isinstance(key, str):
        raise InputError(f"the key is {type(key).__name__}, expected str")
    if not key or "\0" in key:
        raise InputError("the key is empty or holds a NUL character: choose another, or pass None")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InputError("the key cannot be encoded as UTF-8: choose another") from None


def _prepare_file(path: Path, *, create: bool) -> None:
    """Make the file and the folders above it, readable by their owner alone."""
    try:
        if path.exists():
            if not path.is_file():
                kind = "a directory" if path.is_dir() else "no regular file"
                raise ProfileError(f"{path}: is {kind}: give the path of a profile's file")
            return
        if not create:
            raise ProfileError(f"{path}: there is no profile here: check the path, or make one")
        for folder in reversed(path.absolute().parents):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else _line(error)
        raise ProfileError(
            f"{str(path)!r}: cannot be made or read ({reason}): "
            "choose another path, or check the permissions of its folder"
        ) from None


def _check_header(path: Path, key: str | None) -> None:
    """Catch what SQLite would report as a wrong key, where the first bytes tell more."""
    try:
        with path.open("rb") as file:
            header = file.read(len(_PLAIN_HEADER))
    except OSError as error:
        raise ProfileError(
            f"{path}: cannot be read ({error.strerror}): check its permissions"
        ) from None
    if key is not None and header == _PLAIN_HEADER:
        raise ProfileError(f"{path}: not encrypted, and a key was given: open it without a key")


def _set_up(
    database: apsw.Connection,
    path: Path,
    *,
    key: str | None,
    create: bool,
    busy_timeout_s: float,
) -> None:
    if key is not None:
        database.pragma("cipher", "chacha20")
        database.pragma("hexkey", key.encode().hex())  # hex: no character of it needs quoting
    database.set_busy_timeout(round(busy_timeout_s * 1000))
    # A file from elsewhere may hold views, triggers, and pages that lie about their cells.
    database.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    database.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    database.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    database.config(apsw.SQLITE_DBCONFIG_ENABLE_VIEW, 0)
    database.pragma("cell_size_check", True)
    database.pragma("temp_store", "memory")
    database.pragma("secure_delete", True)
    database.pragma("synchronous", "full")
    database.pragma("fullfsync", True)  # on macOS, fsync alone does not reach the disk
    database.pragma("checkpoint_fullfsync", True)
    database.pragma("journal_size_limit", 1 << 24)
    _check_format(database, path, create=create)
    if database.readonly("main"):
        raise ProfileError(f"{path}: may only be read: check the permissions of the file")
    if database.pragma("journal_mode", "wal") != "wal":
        raise ProfileError(f"{path}: its file system cannot hold a write-ahead log: move it")


def _check_format(database: apsw.Connection, path: Path, *, create: bool) -> None:
    if _is_blank(database):
        if not create:
            raise ProfileError(f"{path}: empty, not a profile: check the path, or make one")
        with transaction(database):
            if _is_blank(database):  # another process may have been quicker
                database.pragma("application_id", APPLICATION_ID)
                _upgrade(database, 0)
    if database.pragma("application_id") != APPLICATION_ID:
        raise ProfileError(
            f"{path}: an SQLite file of another program, not a profile: check the path"
        )
    if 0 < database.pragma("user_version") < FORMAT:
        with transaction(database):
            _upgrade(database, database.pragma("user_version"))  # as above, it may have moved
    version = database.pragma("user_version")
    if version != FORMAT:
        raise ProfileError(
            f"{path}: has format {version}, this edgepersona reads format {FORMAT}: "
            "open it with the edgepersona that made it, or with a newer one"
        )


def _upgrade(database: apsw.Connection, version: int) -> None:
    for number, step in enumerate(_STEPS[version:], version + 1):
        database.execute(step)
        database.pragma("user_version", number)


def _is_blank(database: apsw.Connection) -> bool:
    tables: int = database.execute("SELECT count(*) FROM sqlite_schema").get
    return not tables and database.pragma("application_id") == 0


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
