"""Works of the native core that have a module each: attention over a persona, token n-grams."""

from __future__ import annotations

import statistics
from typing import Any

from bench.machine import processor
from bench.options import Options
from bench.rows import Row, publish

ATTEND = {"attend-512": 512, "attend-10k": 10_000, "attend-100k": 100_000}
NGRAM = ("ngram-100k",)


def run_attend(works: set[str], options: Options) -> None:
    """Compare attention with a plain read of the same bytes, and with NumPy."""
    from bench import attend

    for work in sorted(works, key=ATTEND.__getitem__):
        measured = attend.measure(ATTEND[work], options.rounds)
        publish(work, _attend_rows(work, measured, options.rounds), f"{processor()}, 1 thread")


def run_ngram(works: set[str], options: Options) -> None:
    """Compare a token's n-gram distribution and its mixing in with a plain softmax."""
    from bench import ngram

    sources = [ngram.measure(options.rounds)]  # of real texts where they are
    if sources[0]["source"] != "synthetic":
        sources.append(ngram.measure(options.rounds, real=False))
    for work in works:
        rows = [row for one in sources for row in _ngram_rows(work, one, options.rounds)]
        publish(work, rows, f"{processor()}, {ngram.RECORDS} records, {ngram.VOCAB} tokens")


def _attend_rows(work: str, measured: dict[str, Any], rounds: int) -> list[Row]:
    ours = measured["attend_gb_s"]
    quality = f"{measured['attend_us']:.0f} us, largest error {measured['error']:.1e}"
    peers = {
        "a plain read of the same bytes": ("read", measured["shares"]),
        "numpy": ("numpy", [ours / measured["numpy_gb_s"]]),
    }
    return [
        _row(
            work, peer, ours, measured[f"{name}_gb_s"], ratios, unit="GB/s", better="higher",
            rounds=rounds, quality=quality, extras=measured,
        )
        for peer, (name, ratios) in peers.items()
    ]  # fmt: skip


def _ngram_rows(work: str, measured: dict[str, Any], rounds: int) -> list[Row]:
    softmax = measured["softmax_us"]
    quality = (
        f"built in {measured['build_s']:.2f} s, {measured['memory_bytes'] / 2**20:.0f} MiB for"
        f" {measured['tokens']} tokens; p99 {measured['predict_p99_us']:.0f} us"
    )
    contexts = {"drawn contexts": "predict_us", "the most frequent pairs": "frequent_us"}
    return [
        _row(
            work, f"{measured['source']}, {context}: numpy softmax", measured[name], softmax,
            [measured[name] / softmax], unit="us", better="lower", rounds=rounds,
            quality=quality, extras=measured,
        )
        for context, name in contexts.items()
    ]  # fmt: skip


def _row(
    work: str, peer: str, ours: float, theirs: float, ratios: list[float], *, unit: str,
    better: str, rounds: int, quality: str, extras: dict[str, Any],
) -> Row:  # fmt: skip
    """Return the row of what a module measured; ``ratios`` of its rounds, or of their medians."""
    own = {name: value for name, value in extras.items() if name != "rounds"}
    return Row(
        work=work,
        peer=peer,
        ours=ours,
        theirs=theirs,
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
        unit=unit,
        better=better,
        rounds=rounds,
        quality=quality,
        extras=own,
    )
