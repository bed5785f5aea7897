"""Opening a profile of 100,000 records up to its first search's result, each time anew."""

from __future__ import annotations

import statistics
from contextlib import closing
from typing import Any

from bench import profile_100k
from bench.machine import processor
from bench.options import Options
from bench.process import Worker
from bench.rows import Row, compare, publish
from bench.vectors import data, field
from bench.vectors.side import Side
from edgepersona.bundle import Bundle, default_bundle_path

WORKS = ("open-100k",)

_PEERS = ("faiss HNSW32", "hnswlib M16", "usearch f16")


def run(works: set[str], options: Options) -> None:
    """Compare with loading a saved index of the same rows and searching it once."""
    bundle = Bundle.open(default_bundle_path())
    kind = "real" if data.load("real", profile_100k.COUNT) else "random"
    names = [name for name in field.installed(list(_PEERS)) if options.wants(name)]
    for name in names:  # built where they are not
        Side.open(name, kind, profile_100k.COUNT, options).close()
    rows: list[Row] = []
    for form, key in profile_100k.KEYS.items():
        file = profile_100k.make(form, bundle, rebuild=options.rebuild)
        rows += _compared(form, {"file": str(file), "key": key}, kind, names, options)
    for work in works:
        publish(work, rows, f"{processor()}, {profile_100k.COUNT} records, warm page cache")


def _compared(
    form: str, ours: dict[str, Any], kind: str, names: list[str], options: Options
) -> list[Row]:
    opened: dict[str, list[dict[str, float]]] = {name: [] for name in ("", *names)}
    for number in range(options.rounds + 1):
        for name, taken in opened.items():
            peer = {"peer": name, "kind": kind, "count": profile_100k.COUNT} if name else ours
            once = _opened(name or field.OURS, peer)
            if number:  # the first round warms the page cache
                taken.append(once)
    mine = opened.pop("")
    median = {key: statistics.median(once[key] for once in mine) for key in mine[0]}
    return [
        compare(
            "open-100k", f"{form}: {name}, loaded and searched",
            [once["beyond_ms"] for once in mine], [once["beyond_ms"] for once in taken],
            unit="ms", better="lower",
            quality=f"and {median['load_ms']:.0f} ms for the embedder's loading,"
            f" {median['encode_ms']:.0f} ms for the query's",
            extras={"form": form, "n": profile_100k.COUNT, "data": kind, **median},
        )
        for name, taken in opened.items()
    ]  # fmt: skip


def _opened(name: str, settings: dict[str, Any]) -> dict[str, float]:
    worker = Worker(name, settings, module="bench.opening_worker", quiet=False)
    with closing(worker):
        taken: dict[str, float] = worker.ask("open")[1]
        return taken
