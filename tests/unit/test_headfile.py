"""A persona head is read from a bundle whole, as its own, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepersona.bundle import Bundle, write_manifest
from edgepersona.errors import BundleError
from edgepersona.headfile import array_shapes, read_head
from tests import tiny, tiny_persona
from tests.tiny_persona import KINDS, add_head, files, hashes, make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.write_empty_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize("sizes", KINDS, ids=str)
def test_a_head_is_read_as_it_was_written(sizes: dict, folder: Path) -> None:
    shape, arrays = make(**sizes)
    head = read_head(add_head(folder, *files(shape, arrays, hashes(), scale=2.5)))
    assert (head.shape, head.scale, head.credits) == (shape, 2.5, ("nobody",))
    assert head.arrays.keys() == arrays.keys() == array_shapes(shape).keys()
    for name, array in head.arrays.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, arrays[name].astype(np.float32))


def test_a_head_that_does_not_say_so_reads_the_nearest_beside_records(folder: Path) -> None:
    index, data = files(*make(), hashes())
    older = {name: size for name, size in index["shape"].items() if name != "beside"}
    head = read_head(add_head(folder, index | {"shape": older}, data))
    assert head.shape == make()[0]
    assert head.shape.beside == "nearest"


def test_a_head_that_does_not_say_so_reads_as_many_titles_beside_records(folder: Path) -> None:
    index, data = files(*make(records=3), hashes())
    older = {name: size for name, size in index["shape"].items() if name != "records_beside"}
    head = read_head(add_head(folder, index | {"shape": older}, data))
    assert head.shape == make(records=3)[0]
    assert head.shape.records_beside == 3


def test_heads_are_told_apart_by_their_numbers_and_by_their_index(folder: Path) -> None:
    found = set()
    for seed, scale in ((0, 1.0), (1, 1.0), (0, 2.0), (0, 1.0)):
        index, data = files(*make(seed), hashes(), scale=scale)
        found.add(read_head(add_head(folder, index, data)).hash)
    assert len(found) == 3


def test_without_a_head_the_error_says_how_to_get_one(folder: Path) -> None:
    with pytest.raises(BundleError, match="has no persona head: train one with 'edgepersona train"):
        read_head(Bundle.open(folder))


def test_a_head_of_other_models_is_refused(folder: Path) -> None:
    for part in ("embedder", "llm"):
        claimed = {**hashes(), part: tiny_persona.digest("another")}
        bundle = add_head(folder, *files(*make(), claimed))
        with pytest.raises(BundleError, match=f"was trained for another {part}"):
            read_head(bundle)


def test_a_bundle_that_does_not_say_its_models_takes_no_head(folder: Path) -> None:
    bundle = add_head(folder, *files(*make(), hashes()))
    for inputs in ({}, {"inputs": 5}, {"inputs": {"llm": {}}}):
        kept = {k: v for k, v in bundle.manifest.items() if k not in ("inputs", "files")}
        write_manifest(folder, {**kept, **inputs})
        with pytest.raises(BundleError, match="does not say which models it was made from"):
            read_head(Bundle.open(folder))


def test_damage_is_found_before_anything_is_used(folder: Path) -> None:
    add_head(folder, *files(*make(), hashes()))
    for name in ("head.json", "head.bin"):
        file = folder / "persona_head" / name
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(BundleError, match=f"{name} is damaged"):
            read_head(Bundle.open(folder))
        file.write_bytes(content)
    (folder / "persona_head/head.bin").unlink()
    with pytest.raises(BundleError, match=r"head\.bin is missing"):
        Bundle.open(folder)


def _set(**changes: Any):
    return lambda index: index | changes


def _shape(**changes: Any):
    return lambda index: index | {"shape": index["shape"] | changes}


def _place(name: str, **changes: Any):
    def change(index: dict) -> dict:
        places = dict(index["arrays"])
        places[name] = {**places[name], **changes}
        return index | {"arrays": places}

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_set(format=2), "has format 2, this version reads 1"),
        (_set(scale=0), "scale 0"),
        (_set(scale=1e9), "scale 1000000000"),
        (_set(scale="1"), "expected a number, found str"),
        (_set(shape=None), "expected an object, found nothing"),
        (_set(arrays=[]), "expected the arrays before, after"),
        (_set(credits="us"), "expected a list, found str"),
        (_shape(reads="mail"), "reads 'mail', expected one of item, output, words"),
        (_shape(beside="oldest"), "beside 'oldest', expected one of nearest, newest"),
        (_shape(beside=1), "expected a text"),
        (_shape(tasks=[]), "expected one or more names"),
        (_shape(tasks=["title", "title"]), "expected one or more names, each once"),
        (_shape(tasks=[""]), "expected one or more names"),
        (_shape(before=1000), "before 1000, expected at most 256"),
        (_shape(records=10**30), "expected at most 256"),
        (_shape(records_beside=257), "records_beside 257, expected at most 256"),
        (_shape(records_beside="2"), "records_beside: expected a whole number"),
        (_shape(records=200, words=200), "soft tokens, expected 1 to"),
        (_shape(records_beside=200, words=200), "soft tokens, expected 1 to"),
        (_shape(before=0, after=0, pooled=0, records=0), "0 soft tokens"),
        (_shape(before=0, after=0, pooled=0, records_beside=0), "0 soft tokens"),
        (_shape(words=0), "words 0"),
        (_shape(pooled=5), "no fewer than pooled"),
        (_shape(adapted=1), "expected true or false"),
        (_shape(ndim=7), "ndim 7, the bundle's models have 32"),
        (_shape(hidden=3), "hidden 3, the bundle's models have 2"),
        (_shape(pooled=1), "expected float16 or float32"),
        (_shape(pooled=0), "expected the arrays"),
        (_place("centre", dtype="int8"), "expected float16 or float32"),
        (_place("centre", shape=[3]), r"expected float16 or float32 \(2,\)"),
        (_place("centre", offset=7), "lies at 7"),
        (_place("centre", offset=1 << 40), "lies at 1099511627776"),
        (_place("centre", offset=-64), "expected a whole number"),
    ],
)
def test_what_cannot_be_is_refused(change, why: str, folder: Path) -> None:
    index, data = files(*make(), hashes())
    with pytest.raises(BundleError, match=why) as caught:
        read_head(add_head(folder, change(index), data))
    assert "\n" not in str(caught.value)
    assert "head.json" in str(caught.value)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 2e4])
@pytest.mark.parametrize("name", ["before", "pool_inner"])
def test_numbers_that_are_none_are_refused(name: str, number: float, folder: Path) -> None:
    shape, arrays = make()
    arrays[name].flat[-1] = number
    with pytest.raises(BundleError, match=f"{name}: holds what is no number up to"):
        read_head(add_head(folder, *files(shape, arrays, hashes())))


def test_bytes_that_belong_to_no_array_are_refused(folder: Path) -> None:
    index, data = files(*make(), hashes())
    with pytest.raises(BundleError, match="which its arrays do not fill"):
        read_head(add_head(folder, index, data + b"\0"))
    with pytest.raises(BundleError, match=r"lies at \d+, head\.bin has"):
        read_head(add_head(folder, index, data[:-1]))


def test_an_index_that_is_no_object_is_refused(folder: Path) -> None:
    for text in (b"", b"[]", b"5", b"{", b"\xff", b'"\\ud800"', b"[" * 100_000):
        with pytest.raises(BundleError, match=r"is no JSON|describes no head"):
            read_head(add_head(folder, text, b""))
    long = json.dumps({"recipe": "x" * (1 << 20)}).encode()
    with pytest.raises(BundleError, match="larger than that of any head"):
        read_head(add_head(folder, long, b""))
