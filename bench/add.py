"""One durable ``Profile.add`` of one short text, less the embedder, beside a plain insert."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bench import profile_100k
from bench.machine import processor
from bench.options import Options
from bench.plain_insert import PlainInsert
from bench.profile_100k import Clock
from bench.rows import OUT, Row, compare, publish
from bench.vectors import data
from edgepersona.bundle import Bundle, default_bundle_path
from edgepersona.profile import Profile

WORKS = ("add-100k",)

_ADDS = 20  # of a turn
_WORDS = 12


def run(works: set[str], options: Options) -> None:
    """Compare the time of an add beyond the embedder's with what an insert takes."""
    bundle = Bundle.open(default_bundle_path())
    clock = profile_100k.timed_embedder()
    rows: list[Row] = []
    for form in profile_100k.KEYS:
        file = profile_100k.make(form, bundle, rebuild=options.rebuild)
        with tempfile.TemporaryDirectory(dir=OUT) as folder:
            rows += _compared(form, file, Path(folder), bundle, clock, options)
    for work in works:
        publish(
            work, rows,
            f"{processor()}, {profile_100k.COUNT} records, seed {data.SEED}; fsync of a page here"
            f" {_fsync_ms():.3f} ms",
        )  # fmt: skip


def _compared(
    form: str, file: Path, folder: Path, bundle: Bundle, clock: Clock, options: Options
) -> list[Row]:
    vectors = data.load("real", profile_100k.COUNT) or data.load("random", profile_100k.COUNT)
    assert vectors is not None
    names = {"SQLite insert, synchronous FULL": False}
    if find_spec("sqlite_vec"):
        names["sqlite-vec insert, synchronous FULL"] = True
    peers = {
        name: PlainInsert(folder / f"{number}.db", vectors.rows, vec=vec)
        for number, (name, vec) in enumerate(names.items())
    }
    copy = profile_100k.copied(file, folder)
    with Profile.open(copy, bundle, key=profile_100k.KEYS[form]) as profile:
        profile.search("a first search")
        profile_100k.wait_until_linked(profile)
        ours = _Ours(profile, clock)
        turns: dict[str, Callable[[], float]] = {"": ours.turn}
        turns |= {
            name: lambda peer=peer: _turn(peer, vectors.queries)  # type: ignore[misc]
            for name, peer in peers.items()
        }
        times: dict[str, list[float]] = {name: [] for name in turns}
        for number in range(options.rounds + 1):
            for name, turn in turns.items():
                taken = turn()
                if number:  # the first round warms up
                    times[name].append(taken)
    for peer in peers.values():
        peer.close()
    mine = times.pop("")
    return [
        compare(
            "add-100k", f"{form}: {name}", mine, theirs, unit="ms", better="lower",
            quality=f"and the embedder's {ours.median('encode'):.2f} ms; a search that takes one in"
            f" {ours.median('search'):.2f} ms",
            extras={
                "form": form,
                "n": profile_100k.COUNT,
                "seed": data.SEED,
                "total_ms": ours.median("total"),
                "embedder_ms": ours.median("encode"),
                "search_after_add_ms": ours.median("search"),
                "longest_beyond_ms": max(ours.taken["beyond"]),
            },
        )
        for name, theirs in times.items()
    ]  # fmt: skip


def _fsync_ms() -> float:
    """Return what the disk asks for a durable page: virtual ones promise more than they do."""
    taken = []
    with tempfile.TemporaryFile(dir=OUT) as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)


class _Ours:
    """Adds to a profile; ``taken``: milliseconds by what they went to."""

    def __init__(self, profile: Profile, clock: Clock) -> None:
        self._profile = profile
        self._clock = clock
        self._random = random.Random(data.SEED)
        self.taken: dict[str, list[float]] = {
            name: [] for name in ("total", "encode", "beyond", "search")
        }

    def turn(self) -> float:
        """Return the p50 of single adds less their embedding; then search once."""
        beyond = [self._add() for _ in range(_ADDS)]
        started = self._started()
        self._profile.search(profile_100k.words(self._random, 4))
        self._keep("search", time.perf_counter() - started - self._clock.encode_s)
        return statistics.median(beyond)

    def median(self, name: str) -> float:
        """Return the median of what ``name`` took, in milliseconds."""
        return statistics.median(self.taken[name])

    def _add(self) -> float:
        text = profile_100k.words(self._random, _WORDS)
        started = self._started()
        self._profile.add([text])
        total = time.perf_counter() - started
        self._keep("total", total)
        self._keep("encode", self._clock.encode_s)
        return self._keep("beyond", total - self._clock.encode_s)

    def _started(self) -> float:
        self._clock.reset()
        return time.perf_counter()

    def _keep(self, name: str, seconds: float) -> float:
        self.taken[name].append(1000 * seconds)
        return 1000 * seconds


def _turn(peer: PlainInsert, vectors: np.ndarray) -> float:
    taken = []
    for vector in vectors[:_ADDS]:
        started = time.perf_counter()
        peer.add("an invented text of some length, about as long as one of a profile", vector)
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)
