"""The store: what is kept, what is refused, what is gone."""

from __future__ import annotations

import doctest
import os
import sqlite3
import threading
from typing import TYPE_CHECKING

import apsw
import numpy as np
import pytest

import edgepersona.store
from edgepersona.database import FORMAT
from edgepersona.errors import InputError, ProfileError
from edgepersona.records import Filter, Record, checked
from tests.standins import EMBEDDER_HASH, NDIM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgepersona.store import Store
    from tests.standins import WordEmbedder


def put(store: Store, embedder: WordEmbedder, *records: Record) -> tuple[str, ...]:
    batch = [checked(record) for record in records]
    return store.add(batch, embedder.encode([record.text for record in batch])).ids


def texts(store: Store, **options: object) -> list[str]:
    return [record.text for record in store.records(**options)]


def refusal(open_store: Callable[..., Store], *args: object, **options: object) -> str:
    """Return the one line with which opening fails."""
    with pytest.raises(ProfileError) as caught:
        open_store(*args, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def raw_bytes(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(edgepersona.store).failed == 0


# Opening


def test_a_new_profile_is_empty_and_readable_by_its_owner_alone(open_store, tmp_path) -> None:
    store = open_store(tmp_path / "new" / "deep" / "profile.db")
    assert store.count() == 0
    assert list(store.records()) == []
    assert store.match("anything", 5).found == []
    for folder in ("new", "new/deep"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700
    for file in (tmp_path / "new" / "deep").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_outside_the_profiles_folder(open_store, tmp_path, embedder) -> None:
    (tmp_path / "only").mkdir()
    store = open_store(tmp_path / "only" / "profile.db")
    put(store, embedder, Record("hello"))
    assert {file.name for file in tmp_path.iterdir()} == {"only"}
    names = {file.name for file in (tmp_path / "only").iterdir()}
    assert names == {"profile.db", "profile.db-wal", "profile.db-shm"}
    store.close()
    assert [file.name for file in (tmp_path / "only").iterdir()] == ["profile.db"]


def test_a_reopened_profile_has_what_it_had(open_store, embedder) -> None:
    store = open_store()
    record = Record("a note", "a title", "2024-05-01T09:30:00Z", "notes", "note", "n1")
    put(store, embedder, record)
    store.meta_set("pace", "slow")
    before = store.generation
    store.close()
    store = open_store()
    assert store.get(["n1"]) == [record]
    assert store.generation == before
    assert store.meta_get("pace") == "slow"


@pytest.mark.parametrize("key", ["simple", 'it\'s "quoted"; --', "пароль 🔑", "x" * 5000])
def test_an_encrypted_profile_opens_with_its_key_only(open_store, tmp_path, embedder, key) -> None:
    store = open_store(key=key)
    put(store, embedder, Record("a secret sentence", "confidential"))
    for word in (b"secret", b"confidential", b"SQLite format", b"EDGP"):
        assert word not in raw_bytes(tmp_path)
    store.close()
    assert texts(open_store(key=key)) == ["a secret sentence"]
    assert "wrong key, or not a profile, or damaged" in refusal(open_store, key=key + "x")
    assert "needs a key, or not a profile, or damaged" in refusal(open_store, key=None)


def test_a_plain_profile_does_not_open_with_a_key(open_store) -> None:
    open_store().close()
    assert "not encrypted, and a key was given" in refusal(open_store, key="k")


@pytest.mark.parametrize("key", ["", "a\0b", "\ud800", 5])
def test_a_key_that_cannot_be_one_is_refused_before_a_file_is_made(
    open_store, tmp_path, key
) -> None:
    with pytest.raises(InputError, match="the key"):
        open_store(key=key)
    assert list(tmp_path.iterdir()) == []


def test_a_profile_of_another_embedder_is_refused_with_both_hashes(open_store, embedder) -> None:
    put(open_store(), embedder, Record("kept"))
    message = refusal(open_store, embedder_hash="91c0" * 16)
    assert EMBEDDER_HASH[:12] in message
    assert ("91c0" * 16)[:12] in message
    assert "export its records" in message
    assert "dimensions" in refusal(open_store, ndim=NDIM + 1)


def test_without_an_embedder_an_existing_profile_can_still_be_listed(
    open_store, tmp_path, embedder
) -> None:
    put(open_store(), embedder, Record("kept"))
    assert texts(open_store(embedder_hash=None, ndim=None)) == ["kept"]
    missing = tmp_path / "missing.db"
    assert "there is no profile here" in refusal(open_store, missing, embedder_hash=None, ndim=None)


def test_files_that_are_no_profile_are_refused_and_left_alone(open_store, tmp_path) -> None:
    text = tmp_path / "letter.txt"
    text.write_bytes(b"Dear reader, this is only a letter. " * 200)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE record (id)")
    connection.commit()
    connection.close()
    before = (text.read_bytes(), other.read_bytes())
    assert "not a profile" in refusal(open_store, text)
    assert "not a profile" in refusal(open_store, text, key="k")
    assert "another program" in refusal(open_store, other)
    assert "a directory" in refusal(open_store, tmp_path)
    assert (text.read_bytes(), other.read_bytes()) == before


def test_an_unusable_path_is_refused_in_one_line(open_store, tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "profile.db", tmp_path / ("n" * 300), tmp_path / "a\0b"):
        assert "choose another path" in refusal(open_store, path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "no regular file" in refusal(open_store, fifo)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_or_file_is_refused(open_store, tmp_path) -> None:
    open_store().close()
    (tmp_path / "profile.db").chmod(0o400)
    assert "permissions" in refusal(open_store)
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "permissions" in refusal(open_store, tmp_path / "locked" / "profile.db")


def test_create_false_makes_no_file(open_store, tmp_path) -> None:
    assert "there is no profile here" in refusal(open_store, create=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "profile.db").touch()
    assert "empty, not a profile" in refusal(open_store, create=False)


def test_a_file_left_empty_by_a_crash_becomes_a_profile(open_store, tmp_path) -> None:
    (tmp_path / "profile.db").touch()
    assert open_store().count() == 0


def test_a_newer_format_is_refused(open_store, tmp_path) -> None:
    open_store().close()
    with apsw.Connection(str(tmp_path / "profile.db")) as connection:
        connection.pragma("user_version", FORMAT + 1)
    expected = f"has format {FORMAT + 1}, this edgepersona reads format {FORMAT}"
    assert expected in refusal(open_store)


def test_a_profile_without_its_tables_is_called_damaged(open_store, tmp_path) -> None:
    open_store().close()
    with apsw.Connection(str(tmp_path / "profile.db")) as connection:
        connection.execute("DROP TABLE meta")
    assert "damaged" in refusal(open_store)


def test_a_closed_store_says_so(store) -> None:
    store.close()
    store.close()
    with pytest.raises(ProfileError, match="was closed"):
        store.count()


# Adding


def test_adding_the_same_record_again_changes_nothing(store, embedder) -> None:
    first = put(store, embedder, Record("one"), Record("two"))
    before = store.generation
    assert put(store, embedder, Record("two"), Record("one")) == first[::-1]
    assert store.generation == before
    assert store.count() == 2


def test_a_record_twice_in_one_call_is_stored_once(store, embedder) -> None:
    batch = [checked(Record("twin"))] * 2
    result = store.add(batch, embedder.encode(["twin"] * 2))
    assert result.new == 1
    assert result.ids == (batch[0].id,) * 2
    assert texts(store) == ["twin"]


def test_an_id_with_other_content_is_refused_and_nothing_is_stored(store, embedder) -> None:
    put(store, embedder, Record("old", id="n1"))
    before = store.generation
    for batch in (
        [Record("fresh"), Record("new", id="n1")],
        [Record("a", id="n2"), Record("b", id="n2")],
    ):
        with pytest.raises(InputError, match=r"taken by a record of other content: .*update\(\)"):
            put(store, embedder, *batch)
    assert texts(store) == ["old"]
    assert store.generation == before


def test_missing_names_each_record_that_add_would_store_once(store, embedder) -> None:
    put(store, embedder, Record("here", id="h"))
    new = Record("new", id="n")
    assert store.missing([Record("here", id="h"), new, new]) == [new]
    with pytest.raises(InputError, match="other content"):
        store.missing([Record("changed", id="h")])


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((1, NDIM + 1), np.float32),
        np.zeros((2, NDIM), np.float32),
        np.zeros(NDIM, np.float32),
        np.full((1, NDIM), np.nan, np.float32),
        np.full((1, NDIM), 1e6, np.float32),
    ],
)
def test_vectors_that_do_not_fit_are_refused(store, vectors) -> None:
    with pytest.raises(InputError, match="finite numbers"):
        store.add([checked(Record("x"))], vectors)
    assert store.count() == 0


def test_the_generation_moves_with_every_change(store, embedder) -> None:
    seen = [store.generation]
    (name,) = put(store, embedder, Record("one"))
    seen.append(store.generation)
    store.update(Record("two", id=name), embedder.encode(["two"])[0])
    seen.append(store.generation)
    store.delete([name])
    seen.append(store.generation)
    assert seen == sorted(set(seen))
    assert store.delete([name]) == 0
    assert store.generation == seen[-1]


def test_adding_what_is_there_or_nothing_leaves_the_generation(store, embedder) -> None:
    record = checked(Record("one"))
    store.add([record], embedder.encode(["one"]))
    before = store.generation
    assert store.add([record], embedder.encode(["one"])).new == 0
    assert store.add([], np.empty((0, NDIM), np.float32)).ids == ()
    assert store.generation == before


def test_an_interrupt_midway_stores_nothing(store, embedder) -> None:
    put(store, embedder, Record("before"))
    before = store.generation

    class Interrupting(Record):
        @property
        def title(self) -> str:
            raise KeyboardInterrupt

    record = Interrupting.__new__(Interrupting)
    for name in ("text", "date", "source", "kind", "id"):
        object.__setattr__(record, name, name)
    with pytest.raises(KeyboardInterrupt):
        store.add([checked(Record("a")), record], embedder.encode(["a", "b"]))
    assert texts(store) == ["before"]
    assert store.generation == before
    assert store.integrity_check() == ()


# Changing


def test_update_changes_record_words_and_vector(store, embedder) -> None:
    (name,) = put(store, embedder, Record("apples", "fruit"))
    store.update(Record("engines", "cars", id=name), embedder.encode(["engines"])[0])
    assert store.get([name]) == [Record("engines", "cars", id=name)]
    assert store.match("apples fruit", 5).found == []
    ((row, _),) = store.match("engines", 5).found
    ((rows, vectors),) = store.vectors()
    assert rows.tolist() == [row]
    np.testing.assert_allclose(vectors[0], embedder.encode(["engines"])[0], atol=1e-3)
    with pytest.raises(InputError, match="add it"):
        store.update(Record("x", id="unknown"), embedder.encode(["x"])[0])


def test_deleted_and_replaced_text_is_in_no_file_of_the_profile(store, tmp_path, embedder) -> None:
    fillers = [Record(f"filler number{i} about ships{i % 7}") for i in range(200)]
    put(store, embedder, *fillers)
    gone = Record("Zanzibarquartz hides under xylotomous stones", "Quixoticheadline", id="gone")
    changed = Record("Wyvernflute replaced", "Jabberjournal", id="changed")
    vector = embedder.encode([gone.text]).astype("<f2").tobytes()
    put(store, embedder, gone, changed)
    put(store, embedder, *[Record(f"later {i}") for i in range(50)])
    words = [b"zanzibarquartz", b"xylotomous", b"quixoticheadline", b"wyvernflute", b"jabberjourn"]
    assert all(word in raw_bytes(tmp_path).lower() for word in words)
    assert vector in raw_bytes(tmp_path)
    assert store.delete(["gone", "gone", "never there"]) == 1
    store.update(Record("plain", id="changed"), embedder.encode(["plain"])[0])
    left = raw_bytes(tmp_path).lower()
    assert not [word for word in words if word in left]
    assert vector not in raw_bytes(tmp_path)
    assert store.count() == 251
    assert store.integrity_check() == ()


def test_words_of_deleted_records_leave_no_trace_in_the_full_text_index(
    store, tmp_path, embedder
) -> None:
    kept = [Record(f"kept{i:04d} common words stay", id=f"k{i}") for i in range(1500)]
    gone = [Record(f"gone{i * 7919:08d} common words go", id=f"g{i}") for i in range(1500)]
    for at in range(0, 1500, 100):
        put(store, embedder, *kept[at : at + 100], *gone[at : at + 100])
    assert store.delete([record.id for record in gone]) == 1500
    assert b"gone" not in raw_bytes(tmp_path)
    assert store.count() == 1500
    assert store.integrity_check() == ()


def test_no_page_boundary_of_the_full_text_index_spells_a_deleted_word(store, embedder) -> None:
    random = np.random.default_rng(0)
    words = ["".join(word) for word in random.choice(list("abcdefgh"), (6000, 8))]
    records = [Record(" ".join(words[i : i + 10]), id=f"{i}") for i in range(0, 6000, 10)]
    put(store, embedder, *records)
    for at in range(0, 600, 12):  # few at a time: of many, the index is rebuilt anyway
        store.delete([record.id for record in records[at : at + 12 : 2]])
    left = {word for record in records[1::2] for word in record.text.split()}
    found = store._full_text._database.execute(
        "SELECT CAST(term AS TEXT) FROM record_fts_idx"
    ).fetchall()
    starts = [term[1:] for (term,) in found]
    assert len(starts) > 5
    assert [start for start in starts if not any(word.startswith(start) for word in left)] == []
    assert store.integrity_check() == ()


def test_a_delete_beside_a_reader_elsewhere_is_cleaned_up_later(
    open_store, tmp_path, embedder
) -> None:
    store = open_store()
    put(store, embedder, Record("Zanzibarquartz", id="gone"), Record("stays"))
    reader = apsw.Connection(str(tmp_path / "profile.db"))
    cursor = reader.execute("SELECT * FROM record")
    next(cursor)
    assert store.delete(["gone"]) == 1
    assert store.count() == 1
    cursor.close()
    reader.close()
    put(store, embedder, Record("the next change"))
    assert b"zanzibarquartz" not in raw_bytes(tmp_path).lower()


def test_a_delete_that_was_killed_before_cleaning_is_cleaned_at_opening(
    open_store, tmp_path, embedder
) -> None:
    store = open_store()
    put(store, embedder, Record("Zanzibarquartz", id="gone"), Record("stays"))
    store._connection.scrub = lambda: None
    store.delete(["gone"])
    assert b"Zanzibarquartz" in raw_bytes(tmp_path)
    open_store()
    assert b"Zanzibarquartz" not in raw_bytes(tmp_path)


# Reading


def test_records_come_by_date_then_as_added(store, embedder) -> None:
    dates = ["2024-05-01", "", "2023", "2024-05-01", "2024-05-01T10:00"]
    put(store, embedder, *[Record(f"r{i}", date=date) for i, date in enumerate(dates)])
    assert texts(store) == ["r4", "r3", "r0", "r2", "r1"]
    assert texts(store, newest_first=False) == ["r1", "r2", "r0", "r3", "r4"]
    assert texts(store, limit=2) == ["r4", "r3"]
    assert texts(store, limit=0) == []


def test_a_long_listing_survives_changes_under_it(store, embedder) -> None:
    put(store, embedder, *[Record(f"r{i}", id=f"{i}") for i in range(700)])
    listed = []
    for record in store.records():
        listed.append(record.id)
        if record.id == "650":
            store.delete(["100", "699"])
    assert listed == [str(i) for i in range(699, -1, -1) if i != 100]
    assert len(texts(store, limit=600)) == 600


def test_get_keeps_the_order_and_names_an_unknown_id(store, embedder) -> None:
    put(store, embedder, Record("a", id="a"), Record("b?", id="b?"))
    assert [record.id for record in store.get(["b?", "a", "b?"])] == ["b?", "a", "b?"]
    for unknown in ("c", "", "b\ud800", "a\0", "é" * 9999):
        with pytest.raises(InputError, match="no record has the id"):
            store.get(["a", unknown])
    with pytest.raises(InputError, match="an id is int"):
        store.get([7])


def test_by_row_leaves_out_what_is_gone(store, embedder) -> None:
    put(store, embedder, Record("a", id="a"), Record("b", id="b"))
    first, second = store.rows().tolist()
    store.delete(["a"])
    assert store.by_row([first, second, 99]) == {second: Record("b", id="b")}


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (Filter(), "abcdef"),
        (Filter(source="mail"), "ab"),
        (Filter(kind="note"), "bc"),
        (Filter(source="mail", kind="note"), "b"),
        (Filter(since="2024-05-01"), "bcdf"),
        (Filter(until="2024-05"), "abcf"),
        (Filter(since="2024-05", until="2024-05"), "bcf"),
        (Filter(since="2024-05-31", until="2024-05-31"), "cf"),
        (Filter(until="2024-05-31T23:59"), "abcf"),
        (Filter(since="2024-05-31T23:59:30"), "df"),
        (Filter(since="2024-05-31 23:59:30"), "df"),
        (Filter(source="' OR 1 --"), ""),
    ],
)
def test_a_filter_keeps_what_lies_inside_both_ends_included(
    store, embedder, only, expected
) -> None:
    put(
        store,
        embedder,
        Record("word a", date="2024-04-30", source="mail", id="a"),
        Record("word b", date="2024-05-01T00:00", source="mail", kind="note", id="b"),
        Record("word c", date="2024-05-31 23:59:00", kind="note", id="c"),
        Record("word d", date="2024-06-01", id="d"),
        Record("word e", id="e"),
        Record("word f", date="2024", id="f"),
    )
    assert sorted(record.id for record in store.records(only)) == list(expected)
    assert {r.id for r in store.by_row(store.rows(only)).values()} == set(expected)
    assert {store.by_row([row])[row].id for row, _ in store.match("word", 9, only).found} == set(
        expected
    )


# Full text


def matched(store: Store, query: str, k: int = 10) -> list[str]:
    rows = [row for row, _ in store.match(query, k).found]
    found = store.by_row(rows)
    return [found[row].id for row in rows]


def test_words_match_in_any_case_accent_and_script(store, embedder) -> None:
    put(
        store,
        embedder,
        Record("Le Café est fermé", id="fr"),
        Record("हिन्दी में लिखा", id="hi"),
        Record("Größe und Maß", id="de"),
        Record("don't stop", id="en"),
    )
    assert matched(store, "CAFE") == ["fr"]
    assert matched(store, "cafe\u0301") == ["fr"]
    assert matched(store, "हिन्दी") == ["hi"]
    assert matched(store, "हि") == []
    assert matched(store, "größe") == ["de"]
    assert matched(store, "don't") == ["en"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        " ",
        '"',
        "*",
        "a AND",
        "NEAR(",
        "text:",
        "^x",
        "-",
        "a\0b",
        "\ud800",
        "(((",
        "'; --",
        "🙂",
    ],
)
def test_any_text_is_a_query(store, embedder, query) -> None:
    put(store, embedder, Record("some words"))
    assert store.match(query, 5).found == []


def test_the_rarer_word_and_the_title_weigh_more(store, embedder) -> None:
    put(
        store,
        embedder,
        Record("budget meeting notes", id="both"),
        Record("meeting notes today", "weather", id="common"),
        Record("weather today notes", "minutes", id="text"),
        *[Record(f"notes meeting {i}", id=f"f{i}") for i in range(5)],
        *[Record(f"nothing {i}", id=f"n{i}") for i in range(9)],
    )
    assert matched(store, "meeting budget")[0] == "both"
    assert matched(store, "weather") == ["common", "text"]
    scores = [score for _, score in store.match("meeting budget", 10).found]
    assert scores == sorted(scores, reverse=True)
    assert len(store.match("notes", 3).found) == 3
    assert store.match("notes", 0).found == []


def test_a_long_query_is_cut_to_its_rarest_words(store, embedder) -> None:
    common = " ".join(f"common{i}" for i in range(100))
    put(
        store,
        embedder,
        Record("needle alone", id="needle"),
        *[Record(f"{common} {i}", id=f"c{i}") for i in range(3)],
        *[Record(f"other {i}", id=f"o{i}") for i in range(9)],
    )
    assert set(matched(store, f"{common} needle")) == {"needle", "c0", "c1", "c2"}
    assert matched(store, "needle " * 100_000) == ["needle"]


def test_a_word_of_most_records_still_matches_alone(store, embedder) -> None:
    put(store, embedder, *[Record(f"the {i}", id=f"{i}") for i in range(4)])
    assert len(matched(store, "the")) == 4


# Vectors


def test_vectors_since_a_generation_are_what_changed(store, embedder) -> None:
    put(store, embedder, Record("a", id="a"), Record("b", id="b"))
    seen = store.generation
    assert list(store.vectors(since=seen)) == []
    put(store, embedder, Record("c", id="c"))
    store.update(Record("a2", id="a"), embedder.encode(["a2"])[0])
    ((rows, vectors),) = store.vectors(since=seen)
    assert {record.id for record in store.by_row(rows).values()} == {"a", "c"}
    assert vectors.dtype == np.float16
    assert vectors.shape == (2, NDIM)


def test_vectors_come_in_blocks(store, embedder) -> None:
    batch = [checked(Record(f"{i}")) for i in range(9000)]
    vectors = np.random.default_rng(0).normal(size=(9000, NDIM)).astype(np.float32)
    store.add(batch, vectors)
    blocks = list(store.vectors())
    assert len(blocks) > 1
    assert np.concatenate([rows for rows, _ in blocks]).tolist() == store.rows().tolist()
    np.testing.assert_array_equal(
        np.concatenate([block for _, block in blocks]), vectors.astype(np.float16)
    )


# Beside others


def test_a_second_writer_is_told_of_the_lock(open_store, tmp_path, embedder) -> None:
    store = open_store()
    other = apsw.Connection(str(tmp_path / "profile.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ProfileError, match="locked by another process: nothing of this add"):
        put(store, embedder, Record("x"))
    assert texts(store) == []
    other.execute("ROLLBACK")
    other.close()
    put(store, embedder, Record("x"))
    assert texts(store) == ["x"]


def test_two_stores_on_one_file_see_each_others_changes(open_store, embedder) -> None:
    first, second = open_store(), open_store()
    put(first, embedder, Record("by the first", id="1"))
    assert texts(second) == ["by the first"]
    put(second, embedder, Record("by the second"))
    assert first.delete(["1"]) == 1
    assert texts(second) == texts(first) == ["by the second"]
    assert first.generation == second.generation


def test_threads_may_share_a_store(store, embedder) -> None:
    errors = []

    def work(start: int) -> None:
        try:
            for i in range(start, start + 20):
                put(store, embedder, Record(f"record {i}", id=f"{i}"))
                assert store.get([f"{i}"])
                assert store.match(f"{i}", 1).found
                assert texts(store)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert store.count() == 80
    assert store.integrity_check() == ()


# State


def test_the_stores_own_state_cannot_be_overwritten(store) -> None:
    assert store.meta_get("nothing") is None
    for key in ("generation", "ndim", "embedder_hash", "tokenizer_hash", "graph_loose"):
        with pytest.raises(InputError, match="the store's own"):
            store.meta_set(key, "5")


def test_the_integrity_check_finds_a_lost_vector_and_a_lost_word(open_store, embedder) -> None:
    store = open_store()
    put(store, embedder, Record("one"), Record("two"))
    assert store.integrity_check() == ()
    store._full_text._database.execute("DELETE FROM vector WHERE row = 1")
    assert "records and vectors differ in number" in store.integrity_check()
    store._full_text._database.execute("UPDATE record SET text = 'three' WHERE row = 2")
    assert len(store.integrity_check()) == 2
