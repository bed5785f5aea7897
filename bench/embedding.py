"""Embedding of commit messages beside the same model as ONNX in fp32 and beside torch."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from bench import fp32_embedder, texts
from bench.machine import processor
from bench.options import Options
from bench.process import Worker
from bench.rows import Row, compare, publish
from edgepersona.bundle import Bundle, default_bundle_path
from edgepersona.runtime import physical_cores
from edgepersona.text import Tokenizer

WORKS = ("embed",)

_OURS = "edgepersona"
_TORCH = "torch, fp32"
_MODULE = "bench.embedding_worker"

LEAST_TOKENS, MOST_TOKENS = 30, 250
_TEXTS = 192
_SINGLES = 48
_SEED = 1


def run(works: set[str], options: Options) -> None:
    """Measure and publish ``embed``: many texts at once, and one at a time."""
    bundle = Bundle.open(default_bundle_path())
    tokenizer = Tokenizer(bundle.file(bundle.embedder.tokenizer))
    chosen, tokens = _texts(tokenizer)
    threads = physical_cores()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(closing(worker))
            for worker in _workers(bundle, threads)
            if worker.name == _OURS or options.wants(worker.name)
        ]
        vectors = {w.name: np.array(w.ask("vectors", chosen)[1]) for w in workers}
        speeds = {
            "at once": _measure(workers, "encode", chosen, options.rounds),
            "one by one": _measure(workers, "encode_singly", chosen[:_SINGLES], options.rounds),
        }
    cosines = {name: _cosines(own, vectors.get(_TORCH)) for name, own in vectors.items()}
    extras = {"texts": len(chosen), "tokens": tokens, "threads": threads}
    rows = [row for way in speeds for row in _rows(way, speeds[way], cosines, extras)]
    machine = f"{processor()}, {threads} threads, {len(chosen)} texts of {tokens:,} tokens"
    for work in works:
        publish(work, rows, f"{machine}, {options.rounds} rounds")


def _texts(tokenizer: Tokenizer) -> tuple[list[str], int]:
    """Return commit messages, title and body, of the lengths asked for, and their tokens."""
    found, tokens = [], 0
    for text in texts.commits(_SEED):
        length = len(tokenizer.encode_batch([text], max_tokens=MOST_TOKENS + 1)[0])
        if LEAST_TOKENS <= length <= MOST_TOKENS:
            found.append(text)
            tokens += length
        if len(found) == _TEXTS:
            break
    return found, tokens


def _workers(bundle: Bundle, threads: int) -> list[Worker]:
    graphs = fp32_embedder.make(bundle)
    ours = {"peer": "bundle", "bundle": str(bundle.path), "threads": threads}
    return [
        Worker(_OURS, ours, bundle.embedder.precision, module=_MODULE),
        *(
            Worker(f"ONNX fp32, {name}", {**ours, "bundle": str(folder)}, "fp32", module=_MODULE)
            for name, folder in graphs.items()
        ),
        Worker(
            _TORCH,
            {"peer": "torch", "folder": str(fp32_embedder.source()), "threads": threads},
            "fp32",
            module=_MODULE,
        ),
    ]


def _measure(
    workers: list[Worker], work: str, chosen: list[str], rounds: int
) -> dict[str, list[float]]:
    """Return texts/s by peer; peers take turns within every round, the first warms up."""
    speeds: dict[str, list[float]] = {w.name: [] for w in workers}
    for number in range(rounds + 1):
        for worker in workers:
            seconds, _ = worker.ask(work, chosen)
            if number:
                speeds[worker.name].append(len(chosen) / seconds)
    return speeds


def _cosines(vectors: np.ndarray, reference: np.ndarray | None) -> np.ndarray:
    return np.ones(1) if reference is None else (vectors * reference).sum(axis=1)


def _rows(
    way: str,
    speeds: dict[str, list[float]],
    cosines: dict[str, np.ndarray],
    extras: dict[str, Any],
) -> list[Row]:
    ours = cosines[_OURS]
    return [
        compare(
            "embed", f"{peer}, {way}", speeds[_OURS], theirs, unit="texts/s", better="higher",
            quality=f"cosine to torch {ours.mean():.4f}, least {ours.min():.4f}"
            f" : {cosines[peer].mean():.4f}, {cosines[peer].min():.4f}",
            extras={
                "way": way, "cosine_mean": float(ours.mean()), "cosine_min": float(ours.min()),
                **extras,
            },
        )
        for peer, theirs in speeds.items()
        if peer != _OURS
    ]  # fmt: skip
