"""Memory of an index of 100,000 rows that serves searches, beside its peers'."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from bench.options import Options
from bench.rows import Row, compare, publish
from bench.vectors import data, field
from bench.vectors.side import Side

WORKS = {"memory-100k": 100_000}


def run(works: set[str], options: Options) -> None:
    """Compare what a fresh process grows by when it opens each saved index and searches it."""
    for work in sorted(works):
        kind = next((one for one in options.data if data.load(one, WORKS[work])), None)
        if kind is None:
            continue
        rows = _rows(work, kind, WORKS[work], options)
        publish(work, rows, f"{kind} vectors, {WORKS[work]} x {data.NDIM}, seed {data.SEED}")


def _rows(work: str, kind: str, count: int, options: Options) -> list[Row]:
    ours = _measured(field.OURS, kind, count, options)
    fp32 = float(4 * count * data.NDIM)
    extras = {"data": kind, "n": count, "ndim": data.NDIM, "ours_bytes": ours}
    rows = [
        _row(work, "float32 rows : ours to scan", ours["scan_bytes"], fp32, extras),
        _row(work, "float32 rows : ours, its own count", ours["memory_bytes"], fp32, extras),
        _row(work, "float32 rows : ours, resident", ours["resident"], fp32, extras),
    ]
    for name in field.installed([*field.EXACT, *field.APPROXIMATE]):
        if options.wants(name):
            try:
                theirs = _measured(name, kind, count, options)
            except BrokenPipeError as error:
                print(f"{name} is left out: {error}")
                continue
            rows.append(_row(work, name, ours["resident"], theirs["resident"], extras))
    return rows


def _measured(name: str, kind: str, count: int, options: Options) -> dict[str, Any]:
    with closing(Side.open(name, kind, count, options)) as side:
        if not side.built["kept"] or side.built["loaded"]:
            return _grown(side)
    with closing(Side.open(name, kind, count, Options())) as side:  # as saved: building leaves more
        return _grown(side)


def _grown(side: Side) -> dict[str, Any]:
    sizes: dict[str, Any] = side.worker.ask("memory")[1]
    print(", ".join(f"{key} {value / 2**20:.0f} MiB" for key, value in sizes.items()), flush=True)
    return sizes


def _row(work: str, peer: str, ours: float, theirs: float, extras: dict[str, Any]) -> Row:
    one = ([ours / 2**20], [theirs / 2**20])
    return compare(work, peer, *one, unit="MiB", better="lower", quality="", extras=extras)
