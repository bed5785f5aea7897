"""The vectors that indexes are measured on, and what an exact search finds in them.

``real``: the bundle's embedder over distinct texts; beyond their number each is repeated with
Gaussian noise. ``random``: unit vectors, uniform on the sphere. Queries are drawn alike and are in
no index; those of ``real`` are texts held out, without noise. A smaller set is the head of a larger
one, so that sizes can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench import texts
from bench.rows import OUT

if TYPE_CHECKING:
    from edgepersona.bundle import Bundle

CACHE = OUT / "cache"
SEED = 20260321
NDIM = 384
K = 10
DISTINCT = 20_000
QUERIES = 1_000
COSINE = 0.92
"""Of a noisy repetition to the text it comes from, as between two versions of one text."""

_BLOCK = DISTINCT
_STEP = 65_536  # rows scored at a time


@dataclass(frozen=True, slots=True)
class Vectors:
    """``rows`` float32 (n, ndim) mapped from ``file``, ``queries`` float32 (q, ndim)."""

    kind: str
    rows: NDArray[np.float32]
    queries: NDArray[np.float32]
    file: Path
    note: str

    @property
    def name(self) -> str:
        """What files that are made of these vectors are named by."""
        return f"{self.file.stem}-{len(self.rows)}"


def load(kind: str, count: int) -> Vectors | None:
    """Return ``count`` vectors of a kind, made at the first call; None where they cannot be."""
    CACHE.mkdir(parents=True, exist_ok=True)
    source = _embedded() if kind == "real" else _drawn()
    if source is None:
        return None
    base, queries, name, note = source
    file = CACHE / f"{name}-{100_000 if count <= 100_000 else 1_000_000}.npy"
    if not file.exists():
        print(f"making {file.name}", flush=True)
        _write(file, base)
    return Vectors(kind, np.load(file, mmap_mode="r")[:count], queries, file, note)


def truth(vectors: Vectors, *, half_removed: bool = False) -> NDArray[np.int64]:
    """Return the ids of the ``K`` nearest rows of every query by an exact float32 search."""
    file = CACHE / f"{vectors.name}-truth{'-half' if half_removed else ''}.npy"
    if file.exists():
        found: NDArray[np.int64] = np.load(file)
        return found
    best = np.full((len(vectors.queries), K), -np.inf, np.float32)
    ids = np.zeros((len(vectors.queries), K), np.int64)
    gone = half(len(vectors.rows)) if half_removed else np.empty(0, np.int64)
    for start in range(0, len(vectors.rows), _STEP):
        scores = vectors.queries @ vectors.rows[start : start + _STEP].T
        scores[:, gone[(gone >= start) & (gone < start + _STEP)] - start] = -np.inf
        top = np.argpartition(-scores, min(K, scores.shape[1] - 1), axis=1)[:, :K]
        best = np.hstack([best, np.take_along_axis(scores, top, axis=1)])
        ids = np.hstack([ids, top + start])
        order = np.argsort(-best, axis=1, kind="stable")[:, :K]
        best, ids = np.take_along_axis(best, order, 1), np.take_along_axis(ids, order, 1)
    np.save(file, ids)
    return ids


def index_file(vectors: Vectors, peer: str) -> Path:
    """Return where the index of a peer is kept."""
    return CACHE / f"{vectors.name}-{peer.replace(' ', '-')}.index"


def half(count: int) -> NDArray[np.int64]:
    """Return half of ``count`` ids, drawn at random, in ascending order: those to remove."""
    generator = np.random.default_rng([SEED, count])
    return np.sort(generator.permutation(count)[: count // 2]).astype(np.int64)


def _write(file: Path, base: NDArray[np.float32] | None) -> None:
    """Fill ``file`` block by block, each of its own seed."""
    count = int(file.stem.rsplit("-", 1)[1])
    unfinished = file.with_suffix(".part")
    rows = np.lib.format.open_memmap(unfinished, "w+", np.float32, (count, NDIM))
    for number, block in enumerate(_blocks(count, base)):
        rows[number * _BLOCK : number * _BLOCK + len(block)] = block
    rows.flush()
    unfinished.rename(file)


def _blocks(count: int, base: NDArray[np.float32] | None) -> Iterator[NDArray[np.float32]]:
    sigma = np.sqrt((COSINE**-2 - 1) / NDIM)
    for number in range(-(-count // _BLOCK)):
        noise = np.random.default_rng([SEED, number]).standard_normal((_BLOCK, NDIM), np.float32)
        if base is None:
            block = _unit(noise)
        else:
            block = base if number == 0 else _unit(base + np.float32(sigma) * noise)
        yield block[: count - number * _BLOCK]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


_Source = tuple[NDArray[np.float32] | None, NDArray[np.float32], str, str]


def _drawn() -> _Source:
    queries = np.random.default_rng([SEED, 1, 1]).standard_normal((QUERIES, NDIM), np.float32)
    return None, _unit(queries), f"random-{SEED}", f"unit vectors, seed {SEED}"


def _embedded() -> _Source | None:
    from edgepersona.bundle import Bundle, default_bundle_path

    bundle = Bundle.open(default_bundle_path())
    name = f"real-{bundle.embedder_hash[:12]}-{SEED}"
    file = CACHE / f"{name}.npy"
    if not file.exists():
        chosen = texts.distinct(DISTINCT + QUERIES, SEED)
        if not chosen:
            return None
        np.save(file, _encode(bundle, chosen))
    vectors: NDArray[np.float32] = np.load(file)
    note = f"{DISTINCT} texts' embeddings, repeated at cosine {COSINE}, seed {SEED}"
    return vectors[:DISTINCT], vectors[DISTINCT:], f"{name}-{round(100 * COSINE)}", note


def _encode(bundle: Bundle, chosen: list[str]) -> NDArray[np.float32]:
    from edgepersona.embedder import Embedder

    embedder = Embedder(bundle)
    parts = []
    for start in range(0, len(chosen), 1000):
        print(f"\rembedding texts: {start} of {len(chosen)}", end="", flush=True)
        parts.append(embedder.encode(chosen[start : start + 1000]))
    print()
    return np.concatenate(parts)
