"""Stand-ins for the models and the native core, so that a test needs neither."""

from __future__ import annotations

import re
import threading
import zlib
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from edgepersona.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

NDIM = 32
EMBEDDER_HASH = "5f" * 32


class WordEmbedder:
    """Every word is a fixed random direction; a text is the sum of its words."""

    ndim = NDIM
    hash = EMBEDDER_HASH

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        self.encoded += texts
        return np.stack([_direction(text) for text in texts])


class NumpyVectors:
    """The native VectorIndex, in NumPy; a graph is linked, and searched as little as one can."""

    WIDTH = 4

    def __init__(self, ndim: int, *, graph_from: int = 32768) -> None:
        self.ndim = ndim
        self.graph_from = graph_from
        self.added = 0
        self.linked = 0
        self.reserved = 0
        self._lock = threading.RLock()
        self._vectors: dict[int, NDArray[np.float32]] = {}
        self._links: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._vectors)

    def ids(self) -> NDArray[np.int64]:
        with self._lock:
            return np.array(sorted(self._vectors), dtype=np.int64)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        assert ids.dtype == np.int64
        assert vectors.shape == (len(ids), self.ndim)
        with self._lock:
            self.added += len(ids)
            self._unlink(ids.tolist())
            self._vectors |= dict(zip(ids.tolist(), vectors.astype(np.float32), strict=True))

    def reserve(self, rows: int) -> None:
        self.reserved = rows

    def remove(self, ids: NDArray[np.int64]) -> int:
        with self._lock:
            self._unlink(ids.tolist())
            return sum(self._vectors.pop(i, None) is not None for i in ids.tolist())

    def search(
        self, vectors: NDArray[np.float32], k: int, ids: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        with self._lock:
            held = dict(self._vectors)
        allowed = sorted(held if ids is None else set(ids.tolist()) & set(held))
        rows = np.array(allowed, dtype=np.int64)
        scores = vectors @ np.stack([held[i] for i in allowed]).T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return rows[order], np.take_along_axis(scores, order, axis=1)

    def link(self, count: int) -> int:
        with self._lock:
            if len(self._vectors) < self.graph_from:
                return 0
            left = sorted(self._vectors.keys() - self._links.keys())
            for i in left[:count]:
                self._links[i] = list(self._links)[-self.WIDTH :]
                self.linked += 1
            return len(left[count:])

    def graph(self) -> tuple[NDArray[np.int64], NDArray[np.uint32], int]:
        with self._lock:
            ids = np.array(sorted(self._links), dtype=np.int64)
            links = np.full((len(ids), self.WIDTH), 0xFFFFFFFF, dtype=np.uint32)
            for node, i in enumerate(ids.tolist()):
                links[node, : len(self._links[i])] = np.searchsorted(ids, self._links[i])
            return ids, links, 64

    def load_graph(
        self, ids: NDArray[np.int64], links: NDArray[np.uint32], search_width: int
    ) -> None:
        named = links[links != 0xFFFFFFFF]
        if (np.diff(ids) < 1).any() or (named >= len(ids)).any() or search_width != 64:
            raise InputError("no graph")
        with self._lock:
            known = self._vectors.keys()
            for i, neighbours in zip(ids.tolist(), links, strict=True):
                near = [int(ids[n]) for n in neighbours if n != 0xFFFFFFFF]
                if i in known:
                    self._links[i] = [other for other in near if other in known]

    def _unlink(self, ids: list[int]) -> None:
        for i in set(ids) & self._links.keys():
            del self._links[i]
            for others in self._links.values():
                others[:] = [other for other in others if other != i]


class ListedTokens:
    """The native NgramModel, as the list of what it counts, the newest last."""

    def __init__(self) -> None:
        self.records: dict[int, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.records)

    def add(
        self, ids: NDArray[np.int64], tokens: NDArray[np.uint32], offsets: NDArray[np.int64]
    ) -> None:
        assert len(offsets) == len(ids) + 1
        for i, start, end in zip(ids.tolist(), offsets, offsets[1:], strict=False):
            self.records.pop(i, None)
            self.records[i] = tuple(tokens[start:end].tolist())

    def remove(self, ids: NDArray[np.int64]) -> int:
        return sum(self.records.pop(i, None) is not None for i in ids.tolist())


class LetterReader:
    """A tokenizer whose tokens are code points; counts what it read."""

    def __init__(self, name: str = "1e") -> None:
        self.hash = name * 32
        self.read: list[str] = []

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        self.read += texts
        return [[ord(letter) for letter in text] for text in texts]


def _direction(text: str) -> NDArray[np.float32]:
    words = re.findall(r"\w+", text.lower()) or [text]
    seeds = [zlib.crc32(word.encode(errors="replace")) for word in words]
    total = np.sum([np.random.default_rng(seed).normal(size=NDIM) for seed in seeds], axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)


class Nudge:
    """A bias by the answer so far: after each last three tokens another token gets likelier."""

    def __init__(self, tokens: Sequence[int], strength: float = 5.0) -> None:
        self._tokens = list(tokens)
        self._strength = strength

    def apply(self, logits: NDArray[np.float32], answer: Sequence[int]) -> None:
        at = zlib.crc32(np.array(answer[-3:], np.int64).tobytes()) % len(self._tokens)
        logits[self._tokens[at]] += self._strength


class Clock:
    """Time that passes only where a stand-in says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class ChainDecoder:
    """An LLM whose logits are a fixed function of the last ``order`` vectors, None: of all.

    A small order makes answers that repeat themselves; without one nothing can be foreseen. It
    says the tokens ``only``, where they are given. Passes are counted, and take ``cost`` of their
    tokens on ``clock``.
    """

    layers = 1
    hidden = 2
    context = 256
    provider = "stand-in"
    variant = SimpleNamespace(target="cpu", precision="fp32", path="")

    def __init__(
        self,
        vocab: int = 259,
        *,
        order: int | None = 3,
        spread: float = 6.0,
        only: Sequence[int] = (),
        cost: Callable[[int], float] = float,
    ) -> None:
        self.vocab = vocab
        self.order = order
        self.spread = spread
        self.only = list(only)
        self.cost = cost
        self.clock = Clock()
        self.passes: list[int] = []
        """Tokens of each pass that made logits of single tokens or drafts."""
        self.prefilled: list[int] = []
        """Positions of each that read a prompt."""

    def embed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        return np.stack([np.array([i, 0.5], np.float32) for i in ids])

    def start(self, *, capacity: int) -> ChainState:
        return ChainState(self, capacity)

    def logits(self, read: Sequence[bytes]) -> NDArray[np.float32]:
        seen = read if self.order is None else read[-self.order :]
        random = np.random.default_rng(zlib.crc32(b"".join(seen)))
        logits = (self.spread * random.normal(size=self.vocab)).astype(np.float32)
        if self.only:
            kept = logits[self.only]
            logits[:] = -100
            logits[self.only] = kept
        return logits


class ChainState:
    """What a ChainDecoder has read: the vectors themselves."""

    def __init__(self, decoder: ChainDecoder, capacity: int) -> None:
        self.capacity = capacity
        self._decoder = decoder
        self._read: list[bytes] = []

    @property
    def length(self) -> int:
        return len(self._read)

    def extend(self, vectors: NDArray[np.float32], *, wanted: int = 1) -> NDArray[np.float32]:
        self._decoder.prefilled.append(len(vectors))
        return self._take(vectors)[len(vectors) - wanted :]

    def step(self, token: int) -> NDArray[np.float32]:
        return self.verify([token])[0]

    def verify(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        self._decoder.passes.append(len(tokens))
        self._decoder.clock.now += self._decoder.cost(len(tokens))
        return self._take(self._decoder.embed(tokens))

    def rewind(self, length: int) -> None:
        assert 0 <= length <= self.length
        del self._read[length:]

    def save(self, length: int) -> bytes:
        assert 0 <= length <= self.length
        return b"".join(self._read[:length])

    def load(self, saved: bytes, length: int) -> None:
        if self._read or len(saved) != 8 * length or length > self.capacity:
            raise InputError("not what was saved")
        self._read = [saved[i : i + 8] for i in range(0, len(saved), 8)]

    def _take(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        assert vectors.dtype == np.float32
        assert self.length + len(vectors) <= self.capacity
        rows = []
        for vector in vectors:
            self._read.append(vector.tobytes())
            rows.append(self._decoder.logits(self._read))
        return np.stack(rows)
