"""What memory allows: the weights a token reads, over a plain read of memory by as many threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.bundle import Bundle
from edgepersona_export import cost

_BYTES = 256 << 20  # for each thread: more than a cache holds


def bytes_a_token(bundle: Bundle) -> int:
    """Return the bytes of weights that one token reads of a bundle's first variant."""
    return cost.bytes_a_token(bundle, bundle.generator.variants[0])


def read_bytes_per_s(threads: int) -> float:
    """Return the speed of the fastest of several plain readers, the best of a few rounds."""
    parts = [np.ones(_BYTES // 8, np.uint64) for _ in range(threads)]
    readers: list[Callable[[NDArray[Any]], object]] = [
        np.bitwise_or.reduce, np.max, lambda part: np.add.reduce(part.view(np.float64)),
    ]  # fmt: skip
    fastest = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for reader in readers:
            for _ in range(3):
                started = time.perf_counter()
                list(pool.map(reader, parts))
                fastest = max(fastest, threads * _BYTES / (time.perf_counter() - started))
    return fastest
