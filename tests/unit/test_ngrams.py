"""N-grams: what they count is what the store has, each record read once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgepersona.errors import ProfileError
from edgepersona.ngrams import Ngrams
from edgepersona.records import Record
from tests.standins import NDIM, LetterReader, ListedTokens

if TYPE_CHECKING:
    from edgepersona.store import Store


@pytest.fixture
def reader() -> LetterReader:
    return LetterReader()


@pytest.fixture
def follow(store, reader):
    def follow_(field: str = "text", of: Store = store) -> Ngrams:
        return Ngrams(of, ListedTokens(), lambda: reader, field)

    return follow_


def put(store: Store, *records: Record) -> None:
    store.add(records, np.ones((len(records), NDIM), np.float32))


def change(store: Store, record: Record) -> None:
    store.update(record, np.ones(NDIM, np.float32))


def counted(ngrams: Ngrams) -> list[str]:
    """Return what is counted, the newest last."""
    return spelled(ngrams.refresh())


def spelled(counts: ListedTokens) -> list[str]:
    return ["".join(map(chr, tokens)) for tokens in counts.records.values()]


def test_texts_and_titles_are_counted_apart_and_read_once(store, follow, reader) -> None:
    put(store, Record("one", "first", id="1"), Record("two", id="2"), Record("", "third", id="3"))
    assert counted(follow()) == ["one", "two"]
    assert counted(follow("title")) == [" first", " third"]
    assert sorted(reader.read) == ["", "", " first", " third", "one", "two"]


def test_changes_are_followed_in_their_order(store, follow, reader) -> None:
    texts, titles = follow(), follow("title")
    put(store, Record("one", "i", id="1"), Record("two", "ii", id="2"), Record("three", id="3"))
    assert counted(texts) == ["one", "two", "three"]
    change(store, Record("uno", id="1"))
    store.delete(["3"])
    put(store, Record("four", id="4"))
    assert counted(texts) == ["two", "uno", "four"]
    assert counted(titles) == [" ii"]
    assert reader.read.count("two") == 1
    assert counted(follow()) == ["two", "uno", "four"]


def test_what_others_wrote_is_not_counted(store, follow) -> None:
    put(store, Record("one", "i", id="1"), Record("two", "ii", kind="read", id="2"))
    texts = follow()
    assert counted(texts) == ["one"]
    assert counted(follow("title")) == [" i"]
    change(store, Record("one", kind="read", id="1"))
    change(store, Record("two", kind="note", id="2"))
    assert counted(texts) == ["two"]


def test_a_row_that_is_used_again_has_its_new_words(store, follow) -> None:
    put(store, Record("one", id="1"), Record("two", id="2"))
    texts = follow()
    assert counted(texts) == ["one", "two"]
    store.delete(["2"])
    put(store, Record("three", id="3"))
    assert counted(texts) == ["one", "three"]


def test_what_another_process_removed_is_forgotten(store, open_store, follow) -> None:
    put(store, *[Record(f"text {i}", f"title {i}", id=f"{i}") for i in range(5)])
    texts, titles = follow(), follow("title")
    assert len(counted(texts)) == len(counted(titles)) == 5
    other = open_store()
    other.delete(["1"])
    change(other, Record("another", id="2"))
    put(other, Record("new", id="9"))
    assert counted(texts) == ["text 0", "text 3", "text 4", "another", "new"]
    assert counted(titles) == [" title 0", " title 3", " title 4"]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_forgetting_reads_nothing_and_waits_for_nothing(
    store, open_store, follow, reader, elsewhere
) -> None:
    put(store, *[Record(f"text {i}", id=f"{i}") for i in range(4)])
    texts = follow()
    counts = texts.refresh()
    reader.read.clear()
    by = open_store() if elsewhere else store
    by.delete(["1"])
    change(by, Record("another", id="2"))
    texts.forget()
    assert spelled(counts) == ["text 0", "text 3"]
    assert reader.read == []
    assert counted(texts) == ["text 0", "text 3", "another"]


def test_tokens_of_another_tokenizer_are_not_counted(store, follow) -> None:
    put(store, Record("one", id="1"))
    assert counted(follow()) == ["one"]
    other = LetterReader("2f")
    texts = Ngrams(store, ListedTokens(), lambda: other, "text")
    assert counted(texts) == ["one"]
    assert other.read == ["", "one"]


def test_closed_ngrams_hold_nothing(store, follow) -> None:
    put(store, Record("one", id="1"))
    texts = follow()
    counted(texts)
    texts.close()
    texts.close()
    with pytest.raises(ProfileError, match="was closed"):
        texts.refresh()
