"""An embedder that asks another one once for each text, and keeps the vectors in a file."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgepersona.profile import Encoder

_BATCH = 64


class KeptVectors:
    """The vectors of texts, by a hash of each; any thread of one process at a time may ask.

    Parameters
    ----------
    file
        Where they are kept; it belongs to one embedder.
    embedder
        Returns what makes vectors; asked for when the first is needed.
    """

    def __init__(self, file: Path, embedder: Callable[[], Encoder], ndim: int) -> None:
        self._file = file
        self._embedder = embedder
        self._ndim = ndim
        self._row = np.dtype([("key", "u1", 32), ("vector", "<f4", ndim)])
        self._vectors: dict[bytes, NDArray[np.float32]] = {}
        self._lock = threading.Lock()
        if file.exists():
            whole = file.stat().st_size // self._row.itemsize
            for row in np.fromfile(file, self._row, whole):
                self._vectors[row["key"].tobytes()] = row["vector"]
            with file.open("r+b") as stream:  # the last row of a run that was stopped
                stream.truncate(whole * self._row.itemsize)

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        """Return one vector a text, float32 (n, ndim), as the embedder does."""
        keys = [_key(text, role) for text in texts]
        with self._lock:
            missing = {
                key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors
            }
            self._add(missing, role)
        vectors = [self._vectors[key] for key in keys]
        return np.stack(vectors) if vectors else np.empty((0, self._ndim), np.float32)

    def prepare(self, texts: Collection[str], progress: Callable[[int, int], None]) -> None:
        """Make the vectors of documents ahead, in batches of texts of a length."""
        missing = [text for text in set(texts) if _key(text, "document") not in self._vectors]
        missing.sort(key=lambda text: (len(text), text))
        for start in range(0, len(missing), _BATCH):
            self.encode(missing[start : start + _BATCH])
            progress(min(start + _BATCH, len(missing)), len(missing))

    def _add(self, texts: dict[bytes, str], role: str) -> None:
        if not texts:
            return
        rows = np.empty(len(texts), self._row)
        rows["key"] = np.frombuffer(b"".join(texts), np.uint8).reshape(-1, 32)
        rows["vector"] = self._embedder().encode(list(texts.values()), role=role)
        with self._file.open("ab") as stream:
            rows.tofile(stream)
        self._vectors |= dict(zip(texts, rows["vector"], strict=True))


def _key(text: str, role: str) -> bytes:
    return hashlib.sha256(f"{role}\0{text}".encode()).digest()
