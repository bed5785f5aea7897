"""One index in a process of its own: opened, tuned, and asked one query at a time."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.process import serve
from bench.vectors import data
from bench.vectors.field import ENTRIES
from bench.vectors.peer import Setting
from bench.vectors.resident import resident_bytes
from bench.vectors.tuning import recall, tune

_TUNED_ON = data.QUERIES // 2  # the first half; recall and times are reported on the second
_AT_LEAST = 10


class VectorWorker:
    """A peer over one set of vectors."""

    def __init__(self, peer: str, kind: str, count: int) -> None:
        vectors = data.load(kind, count)
        assert vectors is not None
        self._vectors = vectors
        self._truth = data.truth(vectors)
        self._peer = ENTRIES[peer].make()
        self._file = data.index_file(vectors, peer)
        self._next = _TUNED_ON
        self._resident = resident_bytes()

    def open(self, argument: dict[str, Any]) -> dict[str, Any]:
        """Build the index, or load it where it was built before by the same version."""
        note = self._file.with_suffix(".json")
        if self._peer.kept and not argument["rebuild"] and note.exists():
            built: dict[str, Any] = json.loads(note.read_text())
            if argument["any_version"] or built["version"] == self._peer.version:
                self._peer.load(self._file, self._vectors.rows)
                return {**built, "kept": True, "loaded": True}
        note.unlink(missing_ok=True)
        started = time.perf_counter()
        self._peer.build(self._vectors.rows, argument["threads"])
        built = {
            "version": self._peer.version,
            "build_s": round(time.perf_counter() - started, 2),
            "build_threads": argument["threads"],
        }
        if self._peer.kept:
            self._keep(note, built)
        return {**built, "kept": self._peer.kept, "loaded": False}

    def tune(self, argument: dict[str, float]) -> dict[str, Any]:
        """Choose the setting, and search with it from now on."""
        queries, truth = self._vectors.queries[:_TUNED_ON], self._truth[:_TUNED_ON]

        def measure(setting: Setting) -> tuple[float, float]:
            self._peer.use(setting)
            some = np.median([self._timed(query)[1] for query in queries[:_AT_LEAST]])
            asked = queries if some <= argument["limit_us"] else queries[: len(queries) // 5]
            answers = [self._timed(query) for query in asked]
            found = np.stack([ids for ids, _ in answers])
            return recall(found, truth[: len(found)]), float(np.median([us for _, us in answers]))

        chosen = tune(
            self._peer.ladders(len(self._vectors.rows)), measure,
            target=argument["target"], limit_us=argument["limit_us"],
        )  # fmt: skip
        self._peer.use(chosen.setting)
        setting = {**chosen.setting, **self._peer.chosen()}
        return {"setting": setting, "tuned": asdict(chosen)}

    def use(self, setting: Setting) -> None:
        """Search with ``setting`` from now on."""
        self._peer.use(setting)

    def recall(self, argument: None) -> float:
        """Return the recall on the queries that were not tuned on."""
        queries = self._vectors.queries[_TUNED_ON:]
        found = np.stack([self._timed(query)[0] for query in queries])
        return recall(found, self._truth[_TUNED_ON:])

    def turn(self, argument: dict[str, float]) -> float:
        """Return the p50 in microseconds of single queries: so many, or those of so many seconds.

        Each turn goes on where the one before ended.
        """
        ends = time.perf_counter() + argument["seconds"]
        taken: list[float] = []
        while len(taken) < argument["queries"]:
            taken.append(self._timed(self._vectors.queries[self._next])[1])
            self._next = max((self._next + 1) % data.QUERIES, _TUNED_ON)
            if len(taken) >= _AT_LEAST and time.perf_counter() > ends:
                break
        return float(np.median(taken))

    def removes(self, argument: None) -> bool:
        """Tell whether rows can be removed."""
        return self._peer.removes

    def remove_half(self, argument: None) -> None:
        """Remove half of the rows."""
        self._peer.remove(data.half(len(self._vectors.rows)))
        self._truth = data.truth(self._vectors, half_removed=True)

    def memory(self, argument: None) -> dict[str, int]:
        """Return by how many bytes the process grew since it was empty, and what it tells."""
        self.turn({"queries": _AT_LEAST, "seconds": 1.0})
        return {"resident": resident_bytes() - self._resident, **self._peer.sizes()}

    def settle(self, argument: None) -> None:
        """Do what an application would do in the background."""
        self._peer.settle()

    def _timed(self, query: NDArray[np.float32]) -> tuple[NDArray[np.int64], float]:
        started = time.perf_counter_ns()
        ids = self._peer.search(query, data.K)
        taken = time.perf_counter_ns() - started
        if len(ids) < data.K:  # an approximate search may find fewer
            ids = np.concatenate([ids, np.full(data.K - len(ids), -1, np.int64)])
        return ids, taken / 1000

    def _keep(self, note: Path, built: dict[str, Any]) -> None:
        unfinished = self._file.with_suffix(".part")
        self._peer.save(unfinished)
        unfinished.rename(self._file)
        built["file_bytes"] = self._file.stat().st_size
        note.write_text(json.dumps(built))


if __name__ == "__main__":
    serve(VectorWorker(**json.loads(sys.argv[1])))
