"""What a token costs that the n-gram model predicts and mixes in, beside NumPy's softmax alone.

``python -m bench.ngram`` prints medians: on real token ids, where the data and a bundle are there,
and on synthetic ones whose frequencies fall off like a language's but follow no order, so that
nearly every pair of tokens is a new one: the most memory that a history may take.
"""

from __future__ import annotations

import gzip
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edgepersona._native import NgramModel, mix

DATA = Path(__file__).parents[2] / "shared/data/commits/history.jsonl.gz"
RECORDS = 100_000
LONGEST = 40  # tokens of a record
VOCAB = 49_152
TOKENS = 1000  # predicted a round
WEIGHT = 0.3

Arrays = tuple[np.ndarray, np.ndarray]
"""The tokens of all records, and where each begins."""


def measure(rounds: int, *, real: bool | None = None) -> dict[str, Any]:
    """Return medians of ``rounds``: seconds to build, bytes held, microseconds a token.

    ``predict_us`` is distribution and mix, over contexts drawn from the records; ``frequent_us``
    the same after the most frequent pairs of tokens; ``softmax_us`` a softmax in NumPy over the
    same logits. ``real``: see ``records``.
    """
    source, (tokens, offsets) = records(real)
    random = np.random.default_rng(0)
    logits = (random.standard_normal(VOCAB) * 4).astype(np.float32)
    drawn = [tokens[i : i + 4] for i in random.integers(0, len(tokens) - 4, TOKENS)]
    frequent = _frequent(tokens)
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        started = time.perf_counter()
        model = NgramModel()
        model.add(np.arange(RECORDS), tokens, offsets)
        took = {"build_s": time.perf_counter() - started}
        times = _predict(model, drawn, logits)
        took["predict_us"] = statistics.median(times)
        took["predict_p99_us"] = float(np.percentile(times, 99))
        took["frequent_us"] = statistics.median(_predict(model, frequent, logits))
        took["softmax_us"] = statistics.median(_softmax(logits) for _ in range(100))
        for name, value in took.items():
            found.setdefault(name, []).append(value)
    held = {
        "source": source,
        "records": len(model),
        "tokens": model.tokens,
        "memory_bytes": model.memory_bytes(),
        "rounds": rounds,
    }
    return held | {name: statistics.median(values) for name, values in found.items()}


def records(real: bool | None = None) -> tuple[str, Arrays]:
    """Return where they come from, and 100,000 records of at most 40 tokens.

    ``real``: commit messages, repeated, by the bundle's tokenizer (True), synthetic ones (False),
    or real ones where the data and a bundle are there (None).
    """
    from edgepersona.bundle import default_bundle_path

    if real is None:
        real = DATA.is_file() and default_bundle_path().is_dir()
    rows = _real() if real else _synthetic()
    offsets = np.cumsum([0, *(len(row) for row in rows)], dtype=np.int64)
    return "commit messages" if real else "synthetic", (np.concatenate(rows), offsets)


def _real() -> list[np.ndarray]:
    from edgepersona.bundle import Bundle, default_bundle_path
    from edgepersona.text import Tokenizer

    bundle = Bundle.open(default_bundle_path())
    tokenizer = Tokenizer(bundle.file(bundle.generator.tokenizer))
    rows = []
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        for line in lines:
            item = json.loads(line)
            ids = tokenizer.encode(f"{item['title']}\n{item['text'][:100]}")[:LONGEST]
            rows.append(np.array(ids, np.int32))
    return [rows[i % len(rows)] for i in range(RECORDS)]


def _synthetic() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    shares = 1 / (np.arange(VOCAB) + 2.7)  # Zipf and Mandelbrot
    ids = random.permutation(VOCAB).astype(np.int32)
    sizes = random.integers(20, LONGEST + 1, RECORDS)
    tokens = ids[random.choice(VOCAB, sizes.sum(), p=shares / shares.sum())]
    return np.split(tokens, np.cumsum(sizes)[:-1])


def _frequent(tokens: np.ndarray) -> list[np.ndarray]:
    """Return contexts of 4 tokens that end with one of the 50 most frequent pairs."""
    pairs = tokens[2:-2].astype(np.int64) << 32 | tokens[3:-1]
    _, first, counts = np.unique(pairs, return_index=True, return_counts=True)
    most = first[np.argsort(-counts)[:50]]
    return [tokens[i : i + 4] for i in most for _ in range(4)]


def _predict(model: NgramModel, contexts: list[np.ndarray], logits: np.ndarray) -> list[float]:
    times = []
    for context in contexts:
        mixed = logits.copy()
        started = time.perf_counter()
        ids, probs = model.distribution(context)
        mix(mixed, ids, probs, WEIGHT)
        times.append((time.perf_counter() - started) * 1e6)
    return times


def _softmax(logits: np.ndarray) -> float:
    started = time.perf_counter()
    probs = np.exp(logits - logits.max())
    probs /= probs.sum()
    return (time.perf_counter() - started) * 1e6


def main(rounds: int) -> None:
    """Print a line of medians for each kind of records there is."""
    kinds = [True, False] if records()[0] != "synthetic" else [False]
    for real in kinds:
        row = measure(rounds, real=real)
        print(
            f"{row['source']}: {row['records']:,} records of {row['tokens']:,} tokens built in "
            f"{row['build_s']:.2f} s, {row['memory_bytes'] / row['tokens']:.1f} bytes a token "
            f"({row['memory_bytes'] / 1e6:.0f} MB); distribution + mix {row['predict_us']:.0f} µs "
            f"(p99 {row['predict_p99_us']:.0f}), after the most frequent pairs "
            f"{row['frequent_us']:.0f} µs; NumPy softmax {row['softmax_us']:.0f} µs"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
