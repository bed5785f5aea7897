"""The frozen embedder's vectors of a corpus, computed once and kept beside the run."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgepersona.profile import embedded_text
from edgepersona.records import Record

_BATCH = 256

_Parts = tuple[NDArray[np.float16], NDArray[np.float16], NDArray[np.float16]]
"""Of questions, records and titles."""


class Encodes(Protocol):
    """An embedder."""

    hash: str
    ndim: int

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        """Return a unit vector for each text."""


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """float16 (records, ndim) each: of texts alone as questions, whole records, and titles.

    Of titles (records, 0) where nobody reads them; zero in rows that were not asked for.
    """

    queries: NDArray[np.float16]
    items: NDArray[np.float16]
    outputs: NDArray[np.float16]


def vectors_of(
    records: Sequence[Record],
    embedder: Encodes,
    cache: Path,
    *,
    rows: Collection[int] | None = None,
    outputs: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Vectors:
    """Return the vectors of ``records``, from ``cache`` where it is of them and this embedder.

    ``rows``: those that are read; None: all. A short run reads a part of a large corpus, and
    embedding the rest would take longer than the run.
    """
    read = range(len(records)) if rows is None else sorted(set(rows))
    chosen = [records[row] for row in read]
    digest = _digest(chosen, f"{embedder.hash}{outputs}")
    vectors = _load(cache, digest)
    if vectors is None:
        vectors = _encoded(chosen, embedder, outputs=outputs, progress=progress)
        _save(cache, digest, vectors)
    return Vectors(*(_spread(part, read, len(records)) for part in vectors))


def _encoded(
    records: Sequence[Record],
    embedder: Encodes,
    *,
    outputs: bool,
    progress: Callable[[int, int], None],
) -> _Parts:
    total, done = (2 + outputs) * len(records), 0

    def encode(texts: list[str], role: str) -> NDArray[np.float16]:
        nonlocal done
        vectors = np.zeros((len(texts), embedder.ndim), np.float16)
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            vectors[start : start + len(part)] = embedder.encode(part, role=role)
            done += len(part)
            progress(done, total)
        return vectors

    return (
        encode([r.text for r in records], "query"),
        encode([embedded_text(r) for r in records], "document"),
        encode([r.title for r in records], "document")
        if outputs
        else np.zeros((len(records), 0), np.float16),
    )


def _spread(part: NDArray[np.float16], rows: Sequence[int], count: int) -> NDArray[np.float16]:
    if len(rows) == count:
        return part
    whole = np.zeros((count, part.shape[1]), np.float16)
    whole[list(rows)] = part
    return whole


def _digest(records: Sequence[Record], embedder: str) -> str:
    state = hashlib.sha256(embedder.encode())
    for record in records:
        state.update(hashlib.sha256(f"{record.title}\0{record.text}".encode()).digest())
    return state.hexdigest()


def _load(cache: Path, digest: str) -> _Parts | None:
    try:
        with np.load(cache) as found:
            if str(found["digest"]) != digest:
                return None
            return found["queries"], found["items"], found["outputs"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # none, or cut short
        return None


def _save(cache: Path, digest: str, vectors: _Parts) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    # A name of each process's own: several of one run may come here at once.
    partial = cache.with_name(f".{cache.name}.{os.getpid()}.npz")
    np.savez(
        partial,
        digest=np.array(digest),
        queries=vectors[0],
        items=vectors[1],
        outputs=vectors[2],
    )
    partial.replace(cache)
