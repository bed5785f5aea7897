"""Heads of prompts are kept while the records stay, within bounds, and damage costs only time."""

from __future__ import annotations

import pytest

from edgepersona import headtable
from edgepersona.errors import ProfileError
from edgepersona.heads import ProfileHeads
from edgepersona.records import Record

KEY, OTHER = b"k" * 32, b"o" * 32


def add(store, embedder, text: str) -> None:
    store.add([Record(text, id=text)], embedder.encode([text]))


def keys(store) -> list[bytes]:
    with store._connection.reading() as database:
        return [key for (key,) in database.execute("SELECT key FROM head ORDER BY used")]


def test_what_is_saved_is_there_again_in_the_next_run(open_store) -> None:
    store = open_store()
    assert store.save_head(KEY, b"state", store.generation)
    store.close()
    store = open_store()
    assert (store.load_head(KEY), store.load_head(OTHER)) == (b"state", None)


def test_saving_again_replaces(store) -> None:
    store.save_head(KEY, b"one", 0)
    store.save_head(KEY, b"two", 0)
    assert store.load_head(KEY) == b"two"


def test_every_change_of_a_record_takes_all_of_them(store, embedder) -> None:
    def change(what) -> None:
        store.save_head(KEY, b"state", store.generation)
        what()
        assert keys(store) == []

    change(lambda: add(store, embedder, "one"))
    change(lambda: store.update(Record("two", id="one"), embedder.encode(["two"])[0]))
    change(lambda: store.delete(["one"]))


def test_what_changes_nothing_leaves_them(store, embedder) -> None:
    add(store, embedder, "one")
    store.save_head(KEY, b"state", store.generation)
    add(store, embedder, "one")
    store.delete(["unknown"])
    store.meta_set("key", "value")
    assert keys(store) == [KEY]


def test_a_head_of_older_records_is_not_saved(store, embedder) -> None:
    before = store.generation
    add(store, embedder, "one")
    assert not store.save_head(KEY, b"state", before)
    assert keys(store) == []


def test_a_failed_change_keeps_them(store, embedder) -> None:
    add(store, embedder, "one")
    store.save_head(KEY, b"state", store.generation)
    with pytest.raises(Exception, match="one"):
        store.add([Record("another", id="one")], embedder.encode(["another"]))
    assert keys(store) == [KEY]


def test_the_least_recently_used_give_way(store, monkeypatch) -> None:
    monkeypatch.setattr(headtable, "MOST_BYTES", 100)
    for name in (b"1", b"2", b"3"):
        store.save_head(name, bytes(30), 0)
    assert store.touch_head(b"1")
    assert not store.touch_head(b"4")
    store.save_head(b"4", bytes(30), 0)
    assert keys(store) == [b"3", b"1", b"4"]
    store.save_head(b"5", bytes(70), 0)
    assert keys(store) == [b"4", b"5"]
    store.save_head(b"6", bytes(101), 0)
    assert keys(store) == [b"4", b"5"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE head SET state = x'00'",
        "UPDATE head SET checksum = checksum + 1",
        "UPDATE head SET key = CAST('oooooooooooooooooooooooooooooooo' AS BLOB)",
    ],
)
def test_a_damaged_head_is_none_and_goes(store, damage) -> None:
    store.save_head(KEY, b"state", 0)
    with store._connection.writing("change") as database:
        database.execute(damage)
    assert store.load_head(KEY) is None
    assert store.load_head(OTHER) is None
    assert keys(store) == []


def test_bytes_of_a_head_are_gone_from_the_files_with_a_deleted_record(
    store, embedder, tmp_path
) -> None:
    add(store, embedder, "one")
    store.save_head(KEY, b"what was read of it" * 500, store.generation)
    store.delete(["one"])
    for file in tmp_path.iterdir():
        assert b"what was read of it" not in file.read_bytes()


def test_a_profile_that_is_being_written_elsewhere_is_no_error(open_store, caplog) -> None:
    store, other = open_store(busy_timeout_s=5.0), open_store()
    heads = ProfileHeads(store, 0)
    with other._connection.writing("change"):
        assert not heads.note_use(KEY)
        heads.save(KEY, b"state")
    assert heads.load(KEY) is None
    assert heads.note_use(KEY)
    heads.save(KEY, b"state")
    assert heads.load(KEY) == b"state"
    store.close()
    assert heads.load(KEY) is None
    assert not heads.note_use(KEY)
    with pytest.raises(ProfileError, match="was closed"):
        store.load_head(KEY)


def test_a_prompt_is_stale_when_a_record_is_gone_and_not_when_one_is_new(
    open_store, embedder
) -> None:
    store = open_store()
    add(store, embedder, "one")
    heads = ProfileHeads(store, store.generation)
    assert not heads.is_stale()
    add(store, embedder, "two")
    assert not heads.is_stale()
    store.delete(["one"])
    assert heads.is_stale()
    heads = ProfileHeads(store, store.generation)
    other = open_store()
    add(other, embedder, "three")
    assert heads.is_stale()  # what another process did is not known
    heads = ProfileHeads(store, store.generation)
    store.close()
    assert heads.is_stale()
