"""The Profile: what an application sees, with models stood in for."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from edgepersona.bundle import Bundle, write_manifest
from edgepersona.errors import BundleError, InputError, ProfileError
from edgepersona.profile import Profile, embedded_text
from edgepersona.records import Filter, Record, Task, content_id
from tests.standins import NDIM, LetterReader, ListedTokens, NumpyVectors, WordEmbedder
from tests.tiny import EMBEDDER, GENERATOR

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = {"embedder": {**EMBEDDER, "ndim": NDIM}, "generator": GENERATOR}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that says what its models are and has none."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_manifest(folder, MANIFEST)
    return folder


def test_strings_and_records_are_added_and_found(profile) -> None:
    result = profile.add(["tea at four", Record("we sail at dawn", "The boat", id="boat")])
    assert result.new == 2
    assert result.ids == (content_id(Record("tea at four")), "boat")
    assert len(profile) == 2
    assert profile.search("boat", k=1)[0].record == Record("we sail at dawn", "The boat", id="boat")
    assert profile.search("boat", filter=Filter(source="mail")) == []
    assert profile.get(["boat"])[0].title == "The boat"


def test_only_what_is_missing_is_embedded_and_each_once(profile, embedder) -> None:
    profile.add(["one", "two"])
    embedder.encoded.clear()
    result = profile.add(["one", "three", "three", Record("body", "head")])
    assert embedder.encoded == ["three", "head\nbody"]
    assert result.new == 2
    assert len(result.ids) == 4
    assert profile.add(["one"]).new == 0
    assert embedder.encoded == ["three", "head\nbody"]


def test_title_and_text_stand_for_a_record() -> None:
    assert embedded_text(Record("body", "head")) == "head\nbody"
    assert embedded_text(Record("body")) == "body"
    assert embedded_text(Record("", "head")) == "head"


def test_one_bad_record_keeps_all_out(profile, embedder) -> None:
    for bad in ("", "a\0b", Record("x", date="yesterday"), 5, None):
        with pytest.raises(InputError):
            profile.add(["fine", bad])
    with pytest.raises(InputError, match="other content"):
        profile.add([Record("a", id="n"), Record("b", id="n")])
    assert len(profile) == 0
    assert embedder.encoded == []


def test_a_single_string_is_not_taken_for_a_list(profile) -> None:
    for call in (profile.add, profile.get, profile.delete):
        with pytest.raises(InputError, match="put it in a list"):
            call("text")
    with pytest.raises(InputError, match="put it in a list"):
        profile.add(Record("x"))


def test_a_generator_is_taken_and_its_failure_stores_nothing(profile) -> None:
    def records():
        yield "first"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        profile.add(records())
    assert len(profile) == 0
    assert profile.add(str(i) for i in range(5)).new == 5
    assert profile.add([]).ids == ()


def test_update_replaces_and_embeds_again_only_what_differs(profile, embedder) -> None:
    profile.add([Record("old", id="n")])
    embedder.encoded.clear()
    profile.update(Record("old", id="n"))
    assert embedder.encoded == []
    profile.update(Record("new", id="n"))
    assert profile.search("new", k=1)[0].record.text == "new"
    with pytest.raises(InputError, match="no record has the id"):
        profile.update(Record("x", id="unknown"))
    with pytest.raises(InputError, match="needs the id"):
        profile.update(Record("x"))
    with pytest.raises(InputError, match="expected a Record"):
        profile.update("x")


def test_a_deleted_record_is_not_found_again(profile) -> None:
    profile.add([Record("boat", id="b"), Record("train", id="t")])
    assert profile.search("boat", k=1)[0].record.id == "b"
    assert profile.delete(["b", "unknown"]) == 1
    assert [hit.record.id for hit in profile.search("boat")] == ["t"]


def test_recent_is_newest_first(profile) -> None:
    profile.add([Record(f"r{i}", date=f"2024-0{i}-01") for i in (2, 3, 1)])
    assert [record.text for record in profile.recent(2)] == ["r3", "r2"]
    assert len(list(profile.records())) == 3


def test_queries_are_checked(profile) -> None:
    profile.add(["x"])
    for query in ("", "  ", "a\0b", None):
        with pytest.raises(InputError, match="the query"):
            profile.search(query)
    with pytest.raises(InputError, match="k is 0"):
        profile.search("x", k=0)


def test_models_are_loaded_once_and_only_when_needed(store) -> None:
    loaded = []

    def load() -> WordEmbedder:
        loaded.append(1)
        return WordEmbedder()

    profile = Profile(store, embedder=load, vectors=NumpyVectors)
    assert list(profile.records()) == []
    assert profile.recent(3) == []
    assert profile.delete(["x"]) == 0
    assert loaded == []
    threads = [threading.Thread(target=profile.add, args=([f"{i}"],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(profile.search("3", k=8)) == 8
    assert loaded == [1]


@pytest.fixture
def vectors() -> NumpyVectors:
    return NumpyVectors(NDIM, graph_from=20)


@pytest.fixture
def linking(store, embedder, vectors) -> Profile:
    """A profile whose vectors are linked from 20 on, with n-grams of letters."""
    return Profile(
        store,
        embedder=lambda: embedder,
        vectors=lambda ndim: vectors,
        counts=ListedTokens,
        reader=LetterReader,
    )


def test_what_is_deleted_or_changed_is_gone_from_memory_at_once(linking, vectors) -> None:
    linking.add([Record(f"note {i}", f"title {i}", id=f"{i}") for i in range(30)])
    linking.search("note", k=1)
    texts, titles = linking._loaded_ngrams("text"), linking._loaded_ngrams("title")
    assert len(vectors) == len(texts) == len(titles) == 30
    rows = vectors.ids()
    assert linking.delete(["3", "5"]) == 2
    assert vectors.ids().tolist() == [row for row in rows if row not in (rows[3], rows[5])]
    assert len(texts) == len(titles) == 28
    before = vectors.added
    linking.update(Record("another", id="7"))
    assert vectors.added == before + 1
    assert len(texts) == len(titles) == 27
    assert linking._loaded_ngrams("text") is texts
    assert len(texts) == 28
    assert len(linking._loaded_ngrams("title")) == 27
    linking.close()


def test_deleting_loads_nothing_that_was_not_needed_yet(linking, vectors, embedder) -> None:
    linking.add([Record("one", id="1"), Record("two", id="2")])
    linking.delete(["1"])
    assert (vectors.added, linking._index, linking._ngrams) == (0, None, {})


def test_where_memory_cannot_follow_it_is_let_go_of(linking, vectors, store, monkeypatch) -> None:
    def damaged(since: int = -1) -> None:
        raise ProfileError("a vector that has not 32 numbers")

    linking.add([Record("one", id="1"), Record("two", id="2")])
    linking.search("one")
    with monkeypatch.context() as patch:
        patch.setattr(store, "vectors", damaged)
        assert linking.delete(["1"]) == 1
    assert linking._index is None
    assert [hit.record.id for hit in linking.search("one")] == ["2"]


def test_closing_ends_the_linking_and_lets_go_of_the_vectors(store, embedder) -> None:
    made: list[weakref.ref[NumpyVectors]] = []

    def make(ndim: int) -> NumpyVectors:
        vectors = NumpyVectors(ndim, graph_from=20)
        made.append(weakref.ref(vectors))
        return vectors

    profile = Profile(store, embedder=lambda: embedder, vectors=make)
    profile.add([f"note {i}" for i in range(300)])
    profile.search("note 3")
    closing = [threading.Thread(target=profile.close) for _ in range(3)]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join()
    profile.close()
    assert [vectors() for vectors in made] == [None]
    with pytest.raises(ProfileError, match="was closed"):
        profile.search("note 3")


def test_a_closed_profile_is_not_kept_alive_by_its_thread(open_store, embedder) -> None:
    store = open_store()
    profile = Profile(
        store, embedder=lambda: embedder, vectors=lambda n: NumpyVectors(n, graph_from=2)
    )
    profile.add([f"note {i}" for i in range(50)])
    profile.search("note 3")
    left = weakref.ref(profile._index)
    profile.close()
    gc.collect()
    assert left() is None
    assert not [t for t in threading.enumerate() if t.name == "edgepersona-linker"]


def test_open_takes_a_bundle_or_its_path(tmp_path, bundle) -> None:
    path = tmp_path / "profile.db"
    with Profile.open(path, bundle) as profile:
        assert len(profile) == 0
        assert profile.path == path
        assert profile.generation == 0
    with Profile.open(str(path), Bundle.open(bundle), create=False) as profile:
        assert len(profile) == 0
    with pytest.raises(ProfileError, match="was closed"):
        len(profile)
    with pytest.raises(BundleError):
        Profile.open(path, tmp_path / "nowhere")
    with pytest.raises(ProfileError, match="not encrypted"):
        Profile.open(path, bundle, key="k")


def test_a_bundle_with_another_embedder_is_refused(tmp_path, bundle) -> None:
    Profile.open(tmp_path / "profile.db", bundle).close()
    write_manifest(bundle, {**MANIFEST, "embedder": {**MANIFEST["embedder"], "pooling": "cls"}})
    with pytest.raises(ProfileError, match="made with embedder"):
        Profile.open(tmp_path / "profile.db", bundle)


def test_listing_loads_neither_a_model_runtime_nor_the_native_core(tmp_path, bundle) -> None:
    code = (
        "import sys; from edgepersona.profile import Profile;"
        f"p = Profile.open({str(tmp_path / 'p.db')!r}, {str(bundle)!r});"
        "list(p.records()); p.delete(['x']); p.close();"
        "print([m for m in ('onnxruntime', 'tokenizers', 'edgepersona._native')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_llm_is_loaded_beside_the_search(store) -> None:
    loading = threading.Event()

    class Patient(WordEmbedder):
        def encode(self, texts, *, role="document"):
            assert role == "document" or loading.wait(30)
            return super().encode(texts, role=role)

    def load():
        loading.set()
        raise BundleError("no LLM here")

    profile = Profile(store, embedder=Patient, vectors=NumpyVectors, generator=load)
    profile.add(["tea at four"])
    with pytest.raises(BundleError, match="no LLM here"):
        profile.stream(Task("when is tea?"))
