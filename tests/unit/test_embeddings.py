"""The table of token embeddings holds code × scale, in rows that engines can take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepersona.embeddings import Embeddings
from edgepersona.errors import BundleError

VOCAB = 7


def _write(file: Path, hidden: int) -> np.ndarray:
    """Write a random table; return what its rows stand for."""
    random, blocks = np.random.default_rng(hidden), -(-hidden // 32)
    codes = random.integers(-127, 128, (VOCAB, blocks * 32)).astype(np.int8)
    scales = random.uniform(0.01, 0.1, (VOCAB, blocks)).astype("<f2")
    file.write_bytes(codes.tobytes() + scales.tobytes())
    return (codes * np.repeat(scales.astype(np.float32), 32, axis=1))[:, :hidden]


@pytest.mark.parametrize("hidden", [1, 31, 32, 33, 64, 100])
def test_rows_are_codes_times_scales_without_gaps(tmp_path: Path, hidden: int) -> None:
    expected = _write(tmp_path / "table", hidden)
    table = Embeddings(tmp_path / "table", vocab=VOCAB, hidden=hidden)
    for ids in ([3], [6, 0, 6], range(VOCAB), (), np.array([2, 1])):
        rows = table[ids]
        np.testing.assert_array_equal(rows, expected[list(ids)])
        assert rows.dtype == np.float32
        assert rows.flags.c_contiguous
    blocks = table.scratch()
    for token in range(VOCAB):
        table.fill(blocks, token)
        np.testing.assert_array_equal(blocks.reshape(-1)[:hidden], expected[token])


@pytest.mark.parametrize("more", [-1, 1, 34])
def test_a_table_of_another_size_is_a_bundle_error(tmp_path: Path, more: int) -> None:
    file = tmp_path / "table"
    _write(file, 33)
    file.write_bytes((file.read_bytes() + bytes(40))[: VOCAB * (64 + 4) + more])
    with pytest.raises(BundleError, match=r"table: has not the size of a table of 7 by 33") as e:
        Embeddings(file, vocab=VOCAB, hidden=33)
    assert "\n" not in str(e.value)
