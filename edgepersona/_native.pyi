"""The native core (C++)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

class VectorIndex:
    """Vectors under 64-bit ids, searched by inner product; any thread may call it."""

    def __init__(self, ndim: int, *, graph_from: int = 32768) -> None: ...
    @property
    def ndim(self) -> int: ...
    @property
    def search_width(self) -> int: ...
    def __len__(self) -> int: ...
    def ids(self) -> NDArray[np.int64]: ...
    def add(
        self, ids: NDArray[np.int64], vectors: NDArray[np.float32] | NDArray[np.float16]
    ) -> None: ...
    def remove(self, ids: NDArray[np.int64]) -> int: ...
    def search(
        self,
        vectors: NDArray[np.float32],
        k: int,
        ids: NDArray[np.int64] | None = None,
        *,
        exact: bool = False,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]: ...
    def link(self, count: int) -> int: ...
    def graph(self) -> tuple[NDArray[np.int64], NDArray[np.uint32], int]: ...
    def load_graph(
        self, ids: NDArray[np.int64], links: NDArray[np.uint32], search_width: int
    ) -> None: ...
    def scan_bytes(self) -> int: ...
    def memory_bytes(self) -> int: ...

def build_info() -> dict[str, object]: ...

class StepCache:
    """The KV caches of one sequence, a pair a layer, float32 (1, kv_heads, capacity, head_dim)."""

    def __init__(
        self, keys: list[NDArray[np.float32]], values: list[NDArray[np.float32]]
    ) -> None: ...

class StepDecoder:
    """One token at a time through a Llama-like model on 8-bit weights.

    ``weights``: ``layers`` (a dict a layer), ``final_norm``, ``head``, ``rope_cos``, ``rope_sin``;
    a matrix is a pair (codes uint8 (n, width), scales float32 (n, blocks)). Nothing is copied.
    """

    def __init__(
        self,
        weights: dict[str, Any],
        *,
        heads: int,
        kv_heads: int,
        head_dim: int,
        norm_eps: float,
        threads: int,
    ) -> None: ...
    def step(
        self,
        cache: StepCache,
        embedding: NDArray[np.float32],
        position: int,
        logits: NDArray[np.float32],
    ) -> None: ...
