"""A damaged profile is refused in one line, or read as far as it is whole: never anything else."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepersona.errors import ProfileError
from edgepersona.heads import ProfileHeads
from edgepersona.index import Index
from edgepersona.ngrams import Ngrams
from edgepersona.records import Record, checked
from edgepersona.store import Store
from tests.standins import (
    EMBEDDER_HASH,
    NDIM,
    LetterReader,
    ListedTokens,
    NumpyVectors,
    WordEmbedder,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FLIPS = 250
HEAD = b"h" * 32


def make(path: Path, key: str | None) -> bytes:
    store = Store.open(path, key=key, embedder_hash=EMBEDDER_HASH, ndim=NDIM)
    embedder = WordEmbedder()
    for i in range(12):
        batch = [checked(Record(f"text {i} {j} " * 9, f"title {j}", "2024")) for j in range(5)]
        store.add(batch, embedder.encode([record.text for record in batch]))
    index = Index(store, NumpyVectors(NDIM, graph_from=8))
    index.refresh()
    index.join()
    index.close()
    assert store.load_graph() is not None
    ngrams = Ngrams(store, ListedTokens(), LetterReader, "text")
    assert len(ngrams.refresh()) == 60
    assert store.save_head(HEAD, b"keys and values" * 900, store.generation)
    store.close()
    return path.read_bytes()


def use(path: Path, key: str | None) -> None:
    """Do with a profile all that an application does."""
    store = Store.open(
        path, key=key, embedder_hash=EMBEDDER_HASH, ndim=NDIM, create=False, busy_timeout_s=0.0
    )
    query = WordEmbedder().encode(["text"])[0]
    try:
        assert all(isinstance(record, Record) for record in store.records())
        index = Index(store, NumpyVectors(NDIM, graph_from=8))
        index.search("text 3 title", query, 5)
        index.join()
        index.close()
        Ngrams(store, ListedTokens(), LetterReader, "text").refresh()
        assert store.load_head(HEAD) in (None, b"keys and values" * 900)
        heads = ProfileHeads(store, store.generation)
        if heads.note_use(HEAD):
            heads.save(HEAD, b"made anew")
        store.integrity_check()
        store.add([checked(Record("new text"))], query.reshape(1, -1))
        store.delete([record.id for record in store.records(limit=2)])
    finally:
        store.close()


def use_damaged(folder: Path, damaged: bytes, key: str | None) -> bool:
    """Use a damaged profile; say whether it was refused, in one line."""
    for file in folder.iterdir():
        file.unlink()
    path = folder / "damaged.db"
    path.write_bytes(damaged)
    try:
        use(path, key)
    except ProfileError as refusal:
        message = str(refusal)
    else:
        return False
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return True


@pytest.fixture
def profile_bytes(tmp_path: Path) -> Callable[[str | None], bytes]:
    return lambda key: make(tmp_path / f"whole-{key}.db", key)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "damaged"
    made.mkdir()
    return made


def test_the_whole_file_passes(profile_bytes, folder) -> None:
    for key in (None, "k"):
        assert not use_damaged(folder, profile_bytes(key), key)


def test_flipped_bytes_in_a_plain_profile_end_in_one_line_or_in_records(
    profile_bytes, folder
) -> None:
    whole = profile_bytes(None)
    choice = random.Random(1)
    # The header and the schema decide most, so they get their share.
    places = [*range(0, 112, 2), *(choice.randrange(len(whole)) for _ in range(FLIPS))]
    refused = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= choice.randrange(1, 256)
        refused += use_damaged(folder, bytes(damaged), None)
    assert 0 < refused < len(places)


@functools.cache
def whole_profile() -> bytes:
    with tempfile.TemporaryDirectory() as made:
        return make(Path(made, "whole.db"), None)


PATCHES = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8)), max_size=6
)


@given(PATCHES, st.none() | st.integers(0, 1 << 20))
def test_any_damage_ends_in_one_line_or_in_records(
    patches: list[tuple[int, bytes]], cut: int | None
) -> None:
    damaged = bytearray(whole_profile())
    for place, patch in patches:
        at = place % len(damaged)
        damaged[at : at + len(patch)] = patch
    with tempfile.TemporaryDirectory() as made:
        use_damaged(Path(made), bytes(damaged[:cut]), None)


def test_a_flipped_byte_in_an_encrypted_profile_never_shows_as_text(profile_bytes, folder) -> None:
    whole = profile_bytes("k")
    choice = random.Random(2)
    refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[choice.randrange(len(whole))] ^= choice.randrange(1, 256)
        refused += use_damaged(folder, bytes(damaged), "k")
    assert refused > 20


def test_truncated_or_overwritten_files_are_refused_or_read(profile_bytes, folder) -> None:
    whole = profile_bytes(None)
    choice = random.Random(3)
    for _ in range(60):
        size = choice.randrange(1, len(whole))
        use_damaged(folder, whole[:size], None)
        at = choice.randrange(0, len(whole), 512)
        noise = choice.randbytes(choice.choice([16, 512, 4096]))
        use_damaged(folder, whole[:at] + noise + whole[at + len(noise) :], None)
    for text in (b"\0" * 5000, b"SQLite format 3\0", whole[:4096] + b"\xff" * 9000):
        assert use_damaged(folder, text, None)
        assert use_damaged(folder, text, "k")


def test_noise_in_place_of_the_journal_is_not_taken_for_records(profile_bytes, folder) -> None:
    whole = profile_bytes(None)
    choice = random.Random(4)
    for _ in range(10):
        (folder / "damaged.db-wal").write_bytes(choice.randbytes(9000))
        (folder / "damaged.db-shm").write_bytes(choice.randbytes(32768))
        path = folder / "damaged.db"
        path.write_bytes(whole)
        use(path, None)
