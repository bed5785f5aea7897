"""One side of a comparison: an index in its worker, ready to be asked in turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.options import Options
from bench.process import ONE_THREAD, Worker
from bench.vectors.field import OURS

_QUERIES = 100  # of a turn
_SECONDS = 0.4  # after which a turn ends early


@dataclass
class Side:
    """``built``: version, seconds and threads of the build; ``setting`` as tuned.

    ``tuned_recall`` and ``p50_us`` are over the queries that were tuned on, ``recall`` over the
    others.
    """

    name: str
    worker: Worker
    built: dict[str, Any]
    setting: dict[str, float] = field(default_factory=dict)
    recall: float = 0.0
    tuned_recall: float = 0.0
    p50_us: float = 0.0
    reached: bool = True

    @classmethod
    def open(cls, name: str, kind: str, count: int, options: Options) -> Side:
        """Start the worker; the index is built, or loaded where it was built before."""
        settings = {"peer": name, "kind": kind, "count": count}
        worker = Worker(
            name, settings, module="bench.vectors.worker", environment=ONE_THREAD, quiet=False
        )
        wanted = {
            "rebuild": options.rebuild,
            "any_version": options.keep_graph and name == OURS,
            "threads": options.build_threads,
        }
        print(f"{kind} {count}: {name} …", end=" ", flush=True)
        return cls(name, worker, worker.ask("open", wanted)[1])

    def tune(self, target: float, limit_us: float) -> None:
        """Choose the smallest setting whose recall reaches ``target``, and measure its recall."""
        chosen = self.worker.ask("tune", {"target": target, "limit_us": limit_us})[1]
        self.setting, tuned = chosen["setting"], chosen["tuned"]
        self.reached, self.p50_us = tuned["reached"], tuned["p50_us"]
        self.tuned_recall = tuned["recall"]
        self.measure()
        print(
            f"recall {self.recall:.4f}, p50 {self.p50_us:.0f} us{self.described()}"
            f"{'' if self.reached else ', given up'}",
            flush=True,
        )

    def use(self, setting: dict[str, float]) -> None:
        """Search with ``setting`` from now on."""
        self.worker.ask("use", setting)
        self.setting = setting

    def measure(self) -> None:
        """Measure the recall again, on the queries that were not tuned on."""
        self.recall = self.worker.ask("recall")[1]

    def turn(self) -> float:
        """Return the p50 of the next single queries, in microseconds."""
        p50_us: float = self.worker.ask("turn", {"queries": _QUERIES, "seconds": _SECONDS})[1]
        return p50_us

    def described(self) -> str:
        """Return the setting in words, behind a comma."""
        return "".join(f", {name} {value:g}" for name, value in self.setting.items())

    def close(self) -> None:
        """End the worker."""
        self.worker.close()


def duel(ours: Side, theirs: Side, rounds: int) -> tuple[list[float], list[float]]:
    """Return what both took in every round; they take turns, and turns in going first."""
    times: dict[str, list[float]] = {ours.name: [], theirs.name: []}
    for number in range(rounds + 1):
        for side in (ours, theirs) if number % 2 else (theirs, ours):
            p50_us = side.turn()
            if number:  # the first round warms up
                times[side.name].append(p50_us)
    return times[ours.name], times[theirs.name]
