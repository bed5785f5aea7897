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
        rows = [_attend_row(work, peer, measured, options.rounds) for peer in ("read", "numpy")]
        publish(work, rows, f"{processor()}, ours {measured['simd']}, 1 thread")


def _attend_row(work: str, peer: str, measured: dict[str, Any], rounds: int) -> Row:
    ours, theirs = measured["attend_gb_s"], measured[f"{peer}_gb_s"]
    ratios = measured["shares"] if peer == "read" else [ours / theirs]
    return Row(
        work=work,
        peer={"read": "a plain read of the same bytes"}.get(peer, peer),
        ours=ours,
        theirs=theirs,
        ratio=statistics.median(ratios),
        ratio_low=ratios[0],
        ratio_high=ratios[-1],
        unit="GB/s",
        better="higher",
        rounds=rounds,
        quality=f"{measured['attend_us']:.0f} us, largest error {measured['error']:.1e}",
        extras=measured,
    )


def run_ngram(works: set[str], options: Options) -> None:
    """Compare a token's n-gram distribution and its mixing in with a plain softmax."""
    from bench import ngram

    for work in works:
        publish(work, ngram.measure(options.rounds), f"{processor()}, 1 thread")
