"""The field: which peers there are, by name, and how each is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from bench.vectors.peer import Peer


@dataclass(frozen=True, slots=True)
class Entry:
    """``needs``: the library; ``module`` and ``maker``: where in this package it is wrapped."""

    needs: str
    module: str
    maker: str
    arguments: dict[str, Any]

    def make(self) -> Peer:
        """Return the peer, empty."""
        maker: Callable[..., Peer] = getattr(
            import_module(f"bench.vectors.{self.module}"), self.maker
        )
        return maker(**self.arguments)


_faiss = partial(Entry, "faiss", "faiss_peers", "Faiss")
_usearch = partial(Entry, "usearch", "usearch_peers", "Usearch")
_sqlite = partial(Entry, "sqlite_vec", "sqlite_vec_peers", "SqliteVec")
_hnswlib = partial(Entry, "hnswlib", "hnswlib_peer", "Hnswlib")

OURS = "edgepersona"
OURS_EXACT = "edgepersona exact"
FLAT = "faiss Flat"

EXACT = {
    FLAT: _faiss({"form": "Flat"}),
    "faiss SQfp16": _faiss({"form": "SQfp16"}),
    "faiss SQ8 + refine": _faiss({"form": "SQ8,RFlat"}),
    "usearch exact f32": Entry("usearch", "usearch_peers", "UsearchExact", {"dtype": "float32"}),
    "usearch exact f16": Entry("usearch", "usearch_peers", "UsearchExact", {"dtype": "float16"}),
    "numpy": Entry("numpy", "numpy_peer", "NumPy", {}),
    "sqlite-vec": _sqlite({}),
}
APPROXIMATE = {
    "hnswlib M16": _hnswlib({"links": 16}),
    "hnswlib M32": _hnswlib({"links": 32}),
    "faiss HNSW16": _faiss({"form": "HNSW16"}),
    "faiss HNSW32": _faiss({"form": "HNSW32"}),
    "faiss HNSW32 SQ8 + refine": _faiss({"form": "HNSW32_SQ8,RFlat"}),
    "faiss IVF": _faiss({"form": "IVF{nlist},Flat"}),
    "faiss IVF SQ8 + refine": _faiss({"form": "IVF{nlist},SQ8,RFlat"}),
    "faiss IVF PQ96 fs + refine": _faiss({"form": "IVF{nlist},PQ96x4fs,RFlat"}),
    "faiss IVF PQ192 fs + refine": _faiss({"form": "IVF{nlist},PQ192x4fs,RFlat"}),
    "faiss IVF RaBitQ fs + refine": _faiss({"form": "IVF{nlist},RaBitQfs,RFlat"}),
    "faiss PQ96 fs + refine": _faiss({"form": "PQ96x4fs,RFlat"}),
    "faiss PQ192 fs + refine": _faiss({"form": "PQ192x4fs,RFlat"}),
    "faiss RaBitQ fs + refine": _faiss({"form": "RaBitQfs,RFlat"}),
    "usearch f32": _usearch({"dtype": "f32"}),
    "usearch f16": _usearch({"dtype": "f16"}),
    "usearch i8 + rescoring": _usearch({"dtype": "i8"}),
    "sqlite-vec int8 + rescoring": _sqlite({"coarse": "int8"}),
    "sqlite-vec bit + rescoring": _sqlite({"coarse": "bit"}),
}
_OWN = {
    OURS: Entry("edgepersona", "ours", "Ours", {}),
    OURS_EXACT: Entry("edgepersona", "ours", "Ours", {"exact": True}),
}
ENTRIES = {**EXACT, **APPROXIMATE, **_OWN}


def installed(names: list[str]) -> list[str]:
    """Return those whose library is there, and say which is not."""
    missing = {ENTRIES[name].needs for name in names if find_spec(ENTRIES[name].needs) is None}
    for library in sorted(missing):
        print(f"{library} is not installed, so it is left out: `make bench-index` installs it")
    return [name for name in names if ENTRIES[name].needs not in missing]
