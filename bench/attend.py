"""A persona's attention beside a plain read of the same bytes, and beside NumPy; one thread.

Attention reads every key and value once, so that memory is its bound. What memory gives is what the
fastest of several plain readers gets out of it, in the same round.
"""

from __future__ import annotations

import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona._native import Persona, build_info

KEY_NDIM, VALUE_NDIM = 384, 576
SCALE = 10.0
ROUND_BYTES = 200e6  # read in a round by each

Floats = NDArray[np.float32]


def measure(rows: int, rounds: int) -> dict[str, Any]:
    """Return median GB/s of attend, read and numpy, attend's share of read, and the largest error.

    ``share`` is the median over the rounds; ``shares`` are theirs, sorted.
    """
    command = [sys.executable, "-m", "bench.attend", str(rows), str(rounds)]
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        command, env={**os.environ, **one_thread}, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def _readers(keys: Floats, values: Floats) -> dict[str, Callable[[], object]]:
    """Read all of both arrays, each in another way."""
    libc = ctypes.CDLL(None)
    libc.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    libc.memchr.restype = ctypes.c_void_p
    flat = [keys.ravel(), values.ravel()]
    halves = [(part[: part.size // 2], part[part.size // 2 :]) for part in flat]
    whole = [part.view(np.int32) for part in flat]
    # A byte that is nowhere in this: reading a copy of ones costs what reading the rows does.
    ones = [np.ones_like(part) for part in flat]
    return {
        "dot": lambda: [a @ b for a, b in halves],
        "max": lambda: [part.max() for part in whole],
        "memchr": lambda: [libc.memchr(part.ctypes.data, 7, part.nbytes) for part in ones],
    }


def _numpy(query: Floats, keys: Floats, values: Floats) -> Floats:
    weights = keys @ query * np.float32(SCALE)
    weights -= weights.max()
    np.exp(weights, out=weights)
    weights /= weights.sum()
    return weights @ values


def _exact(query: Floats, keys: Floats, values: Floats) -> NDArray[np.float64]:
    scores = np.concatenate([part.astype(np.float64) @ query for part in np.array_split(keys, 64)])
    weights = np.exp(SCALE * (scores - scores.max()))
    weights /= weights.sum()
    parts = zip(np.array_split(weights, 64), np.array_split(values, 64), strict=True)
    total: NDArray[np.float64] = sum(w @ v.astype(np.float64) for w, v in parts)
    return total


def _fastest(call: Callable[[], object], calls: int) -> float:
    """Return the seconds of the fastest of some calls: no other program took its processor."""
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _run(rows: int, rounds: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    keys = random.standard_normal((rows, KEY_NDIM), dtype=np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    values = random.standard_normal((rows, VALUE_NDIM), dtype=np.float32)
    query = keys[rows // 2] + 0.05 * random.standard_normal(KEY_NDIM, dtype=np.float32)
    persona = Persona(KEY_NDIM, VALUE_NDIM, window=0)
    persona.add(np.arange(rows), np.arange(rows), keys, values)

    works: dict[str, Callable[[], object]] = {
        "attend": lambda: persona.attend(query, SCALE),
        "numpy": lambda: _numpy(query, keys, values),
        **_readers(keys, values),
    }
    size_bytes = keys.nbytes + values.nbytes
    calls = max(3, round(ROUND_BYTES / size_bytes))
    speeds: dict[str, list[float]] = {name: [] for name in (*works, "read")}
    for _ in range(rounds):
        for name, work in works.items():
            speeds[name].append(size_bytes / _fastest(work, calls) / 1e9)
        speeds["read"].append(max(speeds[name][-1] for name in ("dot", "max", "memchr")))
    pairs = zip(speeds["attend"], speeds["read"], strict=True)
    shares = sorted(ours / read for ours, read in pairs)
    return {
        "rows": rows,
        "simd": build_info()["simd"],
        **{f"{name}_gb_s": statistics.median(found) for name, found in speeds.items()},
        "attend_us": size_bytes / statistics.median(speeds["attend"]) / 1e3,
        "share": statistics.median(shares),
        "shares": shares,
        "error": float(np.abs(persona.attend(query, SCALE) - _exact(query, keys, values)).max()),
        "memory_bytes": persona.memory_bytes(),
        "row_bytes": size_bytes,
    }


if __name__ == "__main__":
    print(json.dumps(_run(int(sys.argv[1]), int(sys.argv[2]))))
