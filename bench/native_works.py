"""Works of the native core that have a module each: attention over a persona, token n-grams."""

from __future__ import annotations

from bench.machine import processor
from bench.options import Options
from bench.rows import publish

ATTEND = {"attend-512": 512, "attend-10k": 10_000, "attend-100k": 100_000}
NGRAM = ("ngram-100k",)


def run_attend(works: set[str], options: Options) -> None:
    """Compare attention with a plain read of the same bytes."""
    from bench import attend

    for work in sorted(works, key=ATTEND.__getitem__):
        publish(work, attend.measure(ATTEND[work], options.rounds), f"{processor()}, 1 thread")


def run_ngram(works: set[str], options: Options) -> None:
    """Compare a token's n-gram distribution and its mixing in with a plain softmax."""
    from bench import ngram

    for work in works:
        publish(work, ngram.measure(options.rounds), f"{processor()}, 1 thread")
