"""Single queries on one thread: our index beside its peers, at equal recall."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from bench.machine import processor
from bench.options import Options
from bench.rows import OUT, Row, compare, publish
from bench.vectors import data, field
from bench.vectors.side import Side, duel

EXACT = {
    "search-exact-1k": 1_000,
    "search-exact-10k": 10_000,
    "search-exact-20k": 20_000,
    "search-exact-100k": 100_000,
}
APPROXIMATE = {"search-100k": 100_000, "search-1m": 1_000_000}

NEAR = 0.98
NEARLY_ALL = 0.999
"""Recall@10 that peers are tuned to: beside a search that may miss some, and an exact one."""

_NO_LIMIT = float("inf")
_HOPELESS = 4
"""Times the fastest peer's p50 at 100,000 rows, from which on a peer is left out at a million."""

_LIMIT = 3
_FAR_BEHIND = 10
"""Times the p50 of a flat scan, and of ours, beyond which a setting is not tried."""


def run_exact(works: set[str], options: Options) -> None:
    """Every row is compared: the works of ``EXACT`` that are asked for."""
    for work in sorted(works, key=EXACT.__getitem__):
        rows: list[Row] = []
        for kind in options.data:
            rows += _exact(work, kind, EXACT[work], options)
        _publish(work, rows)


def run(works: set[str], options: Options) -> None:
    """Whatever is fastest at a recall of ``NEAR``: the works of ``APPROXIMATE`` asked for."""
    for work in sorted(works, key=APPROXIMATE.__getitem__):
        rows: list[Row] = []
        for kind in options.data:
            rows += _approximate(work, kind, APPROXIMATE[work], options)
        _publish(work, rows)


def _exact(work: str, kind: str, count: int, options: Options) -> list[Row]:
    if not _prepared(kind, count):
        return []
    names = [name for name in field.installed(list(field.EXACT)) if options.wants(name)]
    rows = []
    with closing(Side.open(field.OURS_EXACT, kind, count, options)) as ours:
        ours.tune(NEARLY_ALL, _NO_LIMIT)
        for name in names:
            with _lost(name, ours), closing(Side.open(name, kind, count, options)) as theirs:
                theirs.tune(NEARLY_ALL, _NO_LIMIT)
                rows.append(_row(work, kind, count, ours, theirs, options))
    return rows


def _approximate(work: str, kind: str, count: int, options: Options) -> list[Row]:
    if not _prepared(kind, count):
        return []
    left_out = _hopeless(kind, options) if count > 100_000 else {}
    for name, why in left_out.items():
        print(f"{kind} {count}: {name} is left out: {why}")
    known = field.installed([*field.EXACT, *field.APPROXIMATE])
    names = [name for name in known if options.wants(name) and name not in left_out]
    rows, settings, limit_us = [], {}, _NO_LIMIT
    with closing(Side.open(field.OURS, kind, count, options)) as ours:
        rows.append(_as_it_chooses(work, kind, count, ours, options))
        for name in names:
            with _lost(name, ours), closing(Side.open(name, kind, count, options)) as theirs:
                theirs.tune(NEAR, limit_us)
                if name == field.FLAT:
                    limit_us = min(_LIMIT * theirs.p50_us, _FAR_BEHIND * ours.p50_us)
                if theirs.reached and theirs.worker.ask("removes")[1]:
                    settings[name] = theirs.setting
                rows.append(_row(work, kind, count, ours, theirs, options))
                rows[-1].extras["left_out"] = left_out
                if theirs.reached and ours.tuned_recall > theirs.tuned_recall:
                    theirs.tune(ours.tuned_recall, limit_us)
                    rows.append(
                        _row(work, kind, count, ours, theirs, options, note=", at our recall")
                    )
                elif theirs.reached and ours.tuned_recall < theirs.tuned_recall:
                    ours.tune(theirs.tuned_recall, _NO_LIMIT)
                    rows.append(
                        _row(work, kind, count, ours, theirs, options, note=", at their recall")
                    )
                    ours.tune(NEAR, _NO_LIMIT)
        return rows + _halved(work, kind, count, ours, settings, options)


def _as_it_chooses(work: str, kind: str, count: int, ours: Side, options: Options) -> Row:
    """Compare the width that our index chose for itself with the one it is tuned to."""
    ours.measure()
    alone, recall = [ours.turn() for _ in range(options.rounds)], ours.recall
    ours.tune(NEAR, _NO_LIMIT)
    tuned = [ours.turn() for _ in range(options.rounds)]
    return compare(
        work, f"{kind}: itself, as it chooses : tuned", alone, tuned, unit="us", better="lower",
        quality=f"recall {recall:.4f} : {ours.recall:.4f}{ours.described()}",
        extras={**_extras(kind, count, ours), "recall_as_it_chooses": recall},
    )  # fmt: skip


def _halved(
    work: str, kind: str, count: int, ours: Side, settings: dict[str, Any], options: Options
) -> list[Row]:
    """Compare again with half of the rows removed, with peers that can, at their settings."""
    before = [ours.turn() for _ in range(options.rounds)]
    extras = {"recall_before": ours.recall, "half_removed": True}
    ours.worker.ask("remove_half")
    ours.measure()
    extras["recall_right_after"] = ours.recall
    extras["ours_right_after"] = ours.turn()
    extras["settled_s"], _ = ours.worker.ask("settle")
    ours.measure()
    print(f"{kind} {count}: half removed, ours: {extras}, recall {ours.recall:.4f}", flush=True)
    after = [ours.turn() for _ in range(options.rounds)]
    rows = [
        compare(
            work, f"{kind}: itself, half removed : all rows", after, before, unit="us",
            better="lower", quality=f"recall {ours.recall:.4f} : {extras['recall_before']:.4f}",
            extras={**_extras(kind, count, ours), **extras},
        )
    ]  # fmt: skip
    for name, setting in settings.items():
        with _lost(name, ours), closing(Side.open(name, kind, count, options)) as theirs:
            theirs.worker.ask("remove_half")
            theirs.use(setting)
            theirs.measure()
            print(f"half removed, recall {theirs.recall:.4f}")
            row = _row(work, kind, count, ours, theirs, options, note=", half removed")
            row.extras.update(extras)
            rows.append(row)
    return rows


@contextmanager
def _lost(name: str, ours: Side) -> Iterator[None]:
    """Go on without a peer that died."""
    try:
        yield
    except BrokenPipeError as error:
        if ours.worker.process.poll() is not None:
            raise
        print(f"{name} is left out: {error}")


def _row(
    work: str, kind: str, count: int, ours: Side, theirs: Side, options: Options, note: str = ""
) -> Row:
    mine, others = duel(ours, theirs, options.rounds)
    given_up = "" if theirs.reached else " (slower yet for more)"
    return compare(
        work, f"{kind}: {theirs.name}{note}", mine, others, unit="us", better="lower",
        quality=f"recall {ours.recall:.4f} : {theirs.recall:.4f}{given_up}{theirs.described()}",
        extras={
            **_extras(kind, count, ours),
            "recall_theirs": theirs.recall,
            "reached": theirs.reached,
            "setting": theirs.setting,
            "peer_build": theirs.built,
        },
    )  # fmt: skip


def _extras(kind: str, count: int, ours: Side) -> dict[str, Any]:
    return {
        "data": kind,
        "n": count,
        "ndim": data.NDIM,
        "k": data.K,
        "noise_cosine": data.COSINE if kind == "real" else None,
        "seed": data.SEED,
        "queries": data.QUERIES,
        "recall_ours": ours.recall,
        "our_setting": ours.setting,
        "our_build": ours.built,
    }


def _hopeless(kind: str, options: Options) -> dict[str, str]:
    """Return which peers are far behind at 100,000 rows, and by how much."""
    rows = _smaller(kind)
    if not rows:
        print("search-100k comes first: it tells which peers are hopeless at a million")
        run({"search-100k"}, options)
        rows = _smaller(kind)
    fastest = min((row["theirs"] for row in rows if row["reached"]), default=float("inf"))
    names = {row["peer"].removeprefix(f"{kind}: "): row for row in rows}
    return {
        name: f"{row['theirs'] / fastest:.1f} times the fastest peer's time at 100,000 rows"
        for name, row in names.items()
        if name in field.ENTRIES and name != field.FLAT and row["theirs"] > _HOPELESS * fastest
    }


def _smaller(kind: str) -> list[dict[str, Any]]:
    """Return the last rows of search-100k of a kind, all rows of the index there."""
    file = OUT / "search-100k.json"
    rows = json.loads(file.read_text()) if file.exists() else []
    return [
        row
        for row in rows
        if row["data"] == kind and "reached" in row and not row.get("half_removed")
    ]


def _prepared(kind: str, count: int) -> bool:
    """Make the vectors and what is true of them, before any worker asks for them."""
    vectors = data.load(kind, count)
    if vectors is None:
        return False
    print(f"{kind}: {vectors.note}")
    data.truth(vectors)
    data.truth(vectors, half_removed=True)
    return True


def _publish(work: str, rows: list[Row]) -> None:
    from edgepersona._native import build_info

    if rows:
        publish(
            work, rows,
            f"{processor()}, ours {build_info()['simd']}, 1 thread, single queries, k {data.K},"
            f" {data.NDIM} dimensions, {rows[0].rounds} rounds, seed {data.SEED}",
        )  # fmt: skip
