"""A persona head's files, damaged: taken as they were meant, or refused in one line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgepersona.errors import BundleError
from edgepersona.headfile import read_files
from edgepersona.personahead import PersonaHead
from tests.fuzz.test_bundle_bytes import bytes_of, damaged, one_line
from tests.tiny_persona import INPUTS, SIZES, files, hashes, make

INDEX, ARRAYS = files(*make(), hashes())
TABLE = np.random.default_rng(5).normal(size=(9, 2)).astype(np.float32)


def use(head: PersonaHead) -> None:
    """Do with a head all that a question does."""
    shape = head.shape
    task = shape.tasks[0]
    titles = [[1, 2, 3], [], [4]]
    query = np.full(shape.ndim, 0.1, np.float32)
    assert head.key(query).shape == (shape.ndim,)
    pooled = None
    if shape.pooled and shape.reads == "words":
        pooled = head.values_of_words(titles, lambda ids: TABLE[list(ids)])[0]
    elif shape.pooled:
        pooled = head.values_of_vectors(query[None])[0]
    made = head.soft_tokens(task, pooled, titles, lambda ids: TABLE[list(ids)])
    assert made.dtype == np.float32
    assert made.shape[1:] == (shape.hidden,)
    assert np.isfinite(made).all()


BUNDLE: Any = SimpleNamespace(
    path=Path("bundle"),
    manifest={"inputs": INPUTS},
    embedder=SimpleNamespace(ndim=SIZES["ndim"]),
    generator=SimpleNamespace(hidden=SIZES["hidden"]),
)


def read_or_refuse(index: bytes, data: bytes) -> None:
    """Read files whose hashes are as they should be."""
    with tempfile.TemporaryDirectory() as folder:
        names = [Path(folder) / name for name in ("head.json", "head.bin")]
        for name, content in zip(names, (index, data), strict=True):
            name.write_bytes(content)
        try:
            use(PersonaHead(read_files(*names, BUNDLE)))
        except BundleError as error:
            one_line(error)


def test_the_whole_head_is_used(tmp_path: Path) -> None:
    (tmp_path / "head.json").write_text(json.dumps(INDEX))
    (tmp_path / "head.bin").write_bytes(ARRAYS)
    use(PersonaHead(read_files(tmp_path / "head.json", tmp_path / "head.bin", BUNDLE)))


@given(bytes_of(damaged(INDEX)))
def test_any_index_is_read_or_refused(content: bytes) -> None:
    read_or_refuse(content, ARRAYS)


@given(
    st.lists(st.tuples(st.integers(0, len(ARRAYS) - 1), st.integers(0, 255)), max_size=8),
    st.integers(-70, 70),
)
def test_any_numbers_are_read_or_refused(changes: list[tuple[int, int]], longer: int) -> None:
    data = bytearray(ARRAYS)
    for place, byte in changes:
        data[place] = byte
    data = data[:longer] if longer < 0 else data + bytes(longer)
    read_or_refuse(json.dumps(INDEX).encode(), bytes(data))


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(index: bytes, data: bytes) -> None:
    read_or_refuse(index, data)
