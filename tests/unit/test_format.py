"""A profile of an older format becomes one of this format, or stays what it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import apsw
import numpy as np
import pytest

from edgepersona.records import Filter, Record
from tests.standins import EMBEDDER_HASH, NDIM

if TYPE_CHECKING:
    from pathlib import Path

# As edgepersona wrote it when format 1 was the newest.
FORMAT_1 = """
PRAGMA application_id = 1162102608;
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
    tokenize="unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
);
INSERT INTO record_fts (record_fts, rank) VALUES ('secure-delete', 1);
PRAGMA user_version = 1;
"""

# What made format 2 of it.
FORMAT_2 = """
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
PRAGMA user_version = 2;
"""
SCHEMAS = {1: FORMAT_1, 2: FORMAT_1 + FORMAT_2}

OPEN = """
import os, signal, sys
from pathlib import Path
from edgepersona import database
from edgepersona.store import Store

def upgrade(*arguments, whole=database._upgrade):
    whole(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

database._upgrade = upgrade
Store.open(Path(sys.argv[1]), key=sys.argv[2] or None, embedder_hash=None, ndim=None)
"""


def connect(path: Path, key: str) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    if key:
        connection.pragma("cipher", "chacha20")
        connection.pragma("hexkey", key.encode().hex())
    return connection


@pytest.fixture(params=["", "a key"])
def key(request) -> str:
    return request.param


@pytest.fixture(params=SCHEMAS)
def format_(request) -> int:
    return request.param


@pytest.fixture
def old(tmp_path, key, format_, embedder) -> Path:
    """A profile of an older format with one record."""
    path = tmp_path / "old.db"
    connection = connect(path, key)
    connection.pragma("journal_mode", "wal")
    connection.execute(SCHEMAS[format_])
    values = (("embedder_hash", EMBEDDER_HASH), ("ndim", f"{NDIM}"), ("generation", "7"))
    connection.executemany("INSERT INTO meta VALUES (?, ?)", values)
    connection.execute("INSERT INTO record VALUES (3, 'n', 'tea at four', '', '', 's', '', 7)")
    blob = embedder.encode(["tea at four"])[0].astype("<f2").tobytes()
    connection.execute("INSERT INTO vector VALUES (3, ?)", (blob,))
    connection.execute("INSERT INTO record_fts (rowid, title, text) VALUES (3, '', 'tea at four')")
    connection.close()
    return path


def schema(path: Path, key: str) -> dict[str, str]:
    connection = connect(path, key)
    found = connection.execute("SELECT name, sql FROM sqlite_schema").fetchall()
    connection.close()
    return dict(found)


def version(path: Path, key: str) -> int:
    connection = connect(path, key)
    found: int = connection.pragma("user_version")
    connection.close()
    return found


def test_an_old_profile_is_opened_as_one_of_this_format(
    old, key, open_store, tmp_path, embedder
) -> None:
    store = open_store(old, key=key or None)
    assert store.get(["n"]) == [Record("tea at four", source="s", id="n")]
    assert store.generation == 7
    assert store.rows(Filter(source="s")).tolist() == [3]
    assert [row for row, _ in store.match("tea", 3).found] == [3]
    assert store.integrity_check() == ()
    assert store.add([Record("new", id="m")], embedder.encode(["new"])).new == 1
    store.close()
    open_store(tmp_path / "new.db", key=key or None).close()
    assert schema(old, key) == schema(tmp_path / "new.db", key)
    assert version(old, key) == 3


def test_one_killed_while_it_changes_keeps_its_format_and_opens_again(
    old, key, format_, open_store
) -> None:
    before = schema(old, key)
    done = subprocess.run([sys.executable, "-c", OPEN, old, key], check=False)
    assert done.returncode == -signal.SIGKILL
    assert version(old, key) == format_
    assert schema(old, key) == before
    store = open_store(old, key=key or None)
    assert store.count() == 1
    store.close()
    assert version(old, key) == 3


def test_two_that_open_it_at_once_change_it_once(old, key, open_store) -> None:
    first, second = open_store(old, key=key or None), open_store(old, key=key or None)
    assert first.count() == second.count() == 1
    assert np.array_equal(first.rows(), second.rows())


def test_an_old_profile_that_cannot_be_changed_says_so_and_stays(
    old, key, format_, open_store
) -> None:
    connection = connect(old, key)
    connection.execute("CREATE TABLE head (something)")
    connection.close()
    with pytest.raises(Exception, match=r"damaged .*head already exists"):
        open_store(old, key=key or None)
    assert version(old, key) == format_
