"""A persona head's files, damaged: taken as they were meant, or refused in one line."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgepersona.errors import BundleError
from edgepersona.headfile import read_head
from edgepersona.personahead import PersonaHead
from tests import tiny
from tests.fuzz.test_bundle_bytes import bytes_of, damaged, one_line
from tests.tiny_persona import add_head, files, hashes, make

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


def read_or_refuse(index: Any, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tiny.write_empty_bundle(Path(folder))
        bundle = add_head(Path(folder), index, data)
        try:
            use(PersonaHead(read_head(bundle)))
        except BundleError as error:
            one_line(error)


def test_the_whole_head_is_used() -> None:
    read_or_refuse(INDEX, ARRAYS)


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
