"""A fresh process that opens one profile, or one peer's saved index, and searches it once."""

from __future__ import annotations

import json
import random
import sys
import time

from bench.process import serve


class OpenProfile:
    """The libraries are imported and nothing is open."""

    def __init__(self, file: str, key: str | None) -> None:
        import apsw  # noqa: F401
        import onnxruntime  # noqa: F401
        import tokenizers  # noqa: F401

        from bench import profile_100k
        from bench.vectors import data
        from edgepersona import _native, embedder, profile  # noqa: F401
        from edgepersona.bundle import Bundle, default_bundle_path

        self._clock = profile_100k.timed_embedder()
        self._bundle = Bundle.open(default_bundle_path())
        self._file, self._key = file, key
        self._query = profile_100k.words(random.Random(data.SEED), 4)

    def open(self, argument: None) -> dict[str, float]:
        """Return milliseconds: in all, and of those for the embedder."""
        from edgepersona.profile import Profile

        started = time.perf_counter()
        profile = Profile.open(self._file, self._bundle, key=self._key)
        opened = time.perf_counter()
        profile.search(self._query, k=10)
        total = time.perf_counter() - started
        profile.close()
        clock = self._clock
        return {
            "beyond_ms": 1000 * (total - clock.load_s - clock.encode_s),
            "total_ms": 1000 * total,
            "file_ms": 1000 * (opened - started),
            "load_ms": 1000 * clock.load_s,
            "encode_ms": 1000 * clock.encode_s,
        }


class OpenIndex:
    """A peer's library is imported and nothing is open."""

    def __init__(self, peer: str, kind: str, count: int) -> None:
        from bench.vectors import data
        from bench.vectors.field import ENTRIES

        vectors = data.load(kind, count)
        assert vectors is not None
        self._vectors = vectors
        self._peer = ENTRIES[peer].make()
        self._file = data.index_file(vectors, peer)

    def open(self, argument: None) -> dict[str, float]:
        """Return milliseconds up to the first result."""
        started = time.perf_counter()
        self._peer.load(self._file, self._vectors.rows)
        self._peer.search(self._vectors.queries[0], 10)
        return {"beyond_ms": 1000 * (time.perf_counter() - started)}


if __name__ == "__main__":
    settings = json.loads(sys.argv[1])
    serve(OpenProfile(**settings) if "file" in settings else OpenIndex(**settings))
