"""Tokens of records: kept once, and gone with what they were made from."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgepersona.records import Record
from tests.standins import NDIM, LetterReader

if TYPE_CHECKING:
    from edgepersona.store import Store

READER = LetterReader()
OTHER = LetterReader("2f")


def put(store: Store, *records: Record) -> None:
    store.add(records, np.eye(NDIM, dtype=np.float32)[: len(records)])


def tokenize(store: Store, reader: LetterReader = READER, since: int = -1) -> list[str]:
    """Read what was not read yet; return the texts."""
    texts = []
    for block in store.untokenized(reader.hash, since):
        titles = reader.encode_plain([record.title for record in block])
        batch = reader.encode_plain([record.text for record in block])
        store.put_tokens(reader.hash, zip(block, titles, batch, strict=True))
        texts += [record.text for record in block]
    return texts


def words(store: Store, field: str, reader: LetterReader = READER, since: int = -1) -> list[str]:
    """Return what was read, in the order in which it is handed out."""
    return [
        "".join(map(chr, tokens[start:end]))
        for _, tokens, offsets in store.tokens(reader.hash, field, since)
        for start, end in itertools.pairwise(offsets)
    ]


def held(store: Store) -> int:
    return store._full_text._database.execute("SELECT count(*) FROM token").get


def test_tokens_are_kept_once_and_come_in_the_order_of_changes(open_store) -> None:
    store = open_store()
    put(store, Record("one", "first", id="1"), Record("two", id="2"))
    put(store, Record("three", id="3"))
    assert tokenize(store) == ["one", "two", "three"]
    assert tokenize(store) == []
    store.update(Record("uno", "primo", id="1"), np.ones(NDIM, np.float32))
    assert words(store, "text") == ["two", "three"]
    assert tokenize(store) == ["uno"]
    store.close()
    store = open_store()
    assert tokenize(store) == []
    assert words(store, "text") == ["two", "three", "uno"]
    assert words(store, "title") == ["", "", "primo"]
    assert words(store, "text", since=2) == ["uno"]
    assert store.integrity_check() == ()


def test_many_come_in_blocks(store) -> None:
    batch = [Record(f"text {i}", id=f"{i}") for i in range(2500)]
    store.add(batch, np.ones((2500, NDIM), np.float32))
    assert len(list(store.untokenized(READER.hash))) > 1
    assert tokenize(store) == [record.text for record in batch]
    assert words(store, "text") == [record.text for record in batch]


def test_tokens_are_those_of_one_tokenizer(store) -> None:
    put(store, Record("one", id="1"), Record("two", id="2"))
    tokenize(store)
    assert words(store, "text", OTHER) == []
    assert tokenize(store, OTHER) == ["one", "two"]
    assert words(store, "text") == []
    assert words(store, "text", OTHER) == ["one", "two"]
    assert held(store) == 2


def test_a_record_that_changed_while_it_was_read_gets_no_old_tokens(store) -> None:
    put(store, Record("one", id="1"), Record("two", id="2"), Record("three", id="3"))
    (block,) = store.untokenized(READER.hash)
    store.update(Record("uno", id="1"), np.ones(NDIM, np.float32))
    store.delete(["2"])
    store.put_tokens(READER.hash, [(record, [7], [7]) for record in block])
    assert held(store) == 1
    assert tokenize(store) == ["uno"]


def test_a_deleted_records_tokens_are_in_no_file(open_store, tmp_path) -> None:
    store = open_store()
    put(store, Record("wyvern" * 2000, "jabber", id="1"), Record("flute", id="2"))
    put(store, Record("stays", id="3"))
    tokenize(store)
    marks = [np.array([ord(c) for c in word], "<u4").tobytes() for word in ("wyv", "jab", "flute")]
    files = [file for file in tmp_path.iterdir() if file.name.startswith("profile")]
    assert all(any(mark in file.read_bytes() for file in files) for mark in marks)
    store.delete(["1"])
    store.update(Record("other", id="2"), np.ones(NDIM, np.float32))
    assert not [mark for mark in marks for file in files if mark in file.read_bytes()]
    assert held(store) == 1
    assert store.integrity_check() == ()


@pytest.mark.parametrize(
    "damage", ["UPDATE token SET text = x'0102'", "UPDATE token SET title = x'010203'"]
)
def test_what_is_not_whole_is_read_again(store, damage) -> None:
    put(store, Record("one", id="1"))
    tokenize(store)
    store._full_text._database.execute(damage)
    assert words(store, "text") == []
    assert tokenize(store) == ["one"]
    assert words(store, "text") == ["one"]


def test_the_integrity_check_finds_tokens_without_a_record(store) -> None:
    store._full_text._database.execute("INSERT INTO token VALUES (9, x'', x'')")
    assert store.integrity_check() == ("there are tokens without their record",)
