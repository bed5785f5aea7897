"""Every precision of a processor: what it keeps of the model, what a token reads, its speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import generation, llama, off_grid
from bench.machine import processor
from bench.options import Options
from bench.process import Worker
from bench.roofline import bytes_a_token
from bench.rows import Row, compare, publish
from edgepersona.bundle import Bundle
from edgepersona.runtime import physical_cores

WORKS = ("frontier",)

_CALIBRATED = "int4, calibrated"
_PRECISIONS = ("fp32", _CALIBRATED, "int4", "int8")  # the first is the reference
_OUT = Path(__file__).parents[1] / "build" / "bench" / "frontier"
_DRAWS = 2000


def run(works: set[str], options: Options) -> None:
    """Export the default model in every precision, score texts, and decode in turns."""
    threads = physical_cores()
    bundles = {name: _exported(name) for name in _PRECISIONS}
    windows, prompts = generation.tokens(bundles["fp32"])
    ours = [
        Worker(name, {"peer": "edgepersona", "bundle": str(bundle.path), "threads": threads}, name)
        for name, bundle in bundles.items()
    ]
    workers = [*ours, *llama.start(threads, prompts[0])]
    try:
        # Ours at once: in the core the same bits as one by one, and a graph would take minutes.
        ways = {w.name: "prompt_losses" if w in ours else "losses" for w in workers}
        losses = {w.name: [w.ask(ways[w.name], ids)[1] for ids in windows] for w in workers}
        speeds = generation.measure(workers, prompts, options.rounds)["decode"]
    finally:
        for worker in workers:
            worker.close()
    scored = sum(map(len, losses["fp32"]))
    machine = f"{processor()}, {threads} threads, {scored:,} tokens of {len(windows)} texts"
    rows = [
        _row(w, workers[-1], losses, speeds, bundles.get(w.name), options.rounds) for w in workers
    ]
    publish("frontier", rows, machine)


def _exported(name: str) -> Bundle:
    from edgepersona_export.pipeline import ExportOptions, export_bundle, kept_bundle
    from edgepersona_export.presets import resolve

    sources = resolve("default")
    llm = off_grid.write(_OUT / "off-grid") if name == _CALIBRATED else sources.llm
    precision, _, how = name.partition(", ")
    out = _OUT / f"{precision}{how and f'-{how}'}"
    options = ExportOptions(sources.embedder, llm, out, precision=precision)
    return kept_bundle(options) or export_bundle(options).bundle


def _row(
    worker: Worker,
    last: Worker,
    losses: dict[str, list[list[float]]],
    speeds: dict[str, list[float]],
    bundle: Bundle | None,
    rounds: int,
) -> Row:
    more = [
        np.array(a) - np.array(b) for a, b in zip(losses[worker.name], losses["fp32"], strict=True)
    ]
    ratio, low, high = _perplexity_ratio(more)
    told = f"perplexity x {ratio:.4f} ({low:.4f} to {high:.4f})"
    if bundle:
        found = {c["name"].partition(": ")[2]: c["value"] for c in bundle.manifest["verification"]}
        told += (
            f", top-1 {found['top-1 agreement']:.4f}, KL {found['KL from torch, nats']:.4f}, "
            f"{bytes_a_token(bundle) / 1e6:.1f} MB a token"
        )
    name = f"{worker.name} : {last.name} ({last.note})"
    return compare(
        "frontier", name, speeds[worker.name], speeds[last.name], unit="tokens/s", better="higher",
        quality=told,
    )  # fmt: skip


def _perplexity_ratio(more: list[NDArray[np.float64]]) -> tuple[float, float, float]:
    """Return the ratio to the reference and its 95 % interval, texts drawn anew."""
    random = np.random.default_rng(1)
    sums, counts = np.array([m.sum() for m in more]), np.array([len(m) for m in more])
    drawn = random.integers(0, len(more), (_DRAWS, len(more)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.exp(sums.sum() / counts.sum())), float(np.exp(low)), float(np.exp(high))
