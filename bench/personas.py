"""The first token of a prompt with a persona, beside one with four records in words."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import tasks
from bench.machine import processor
from bench.options import Options
from bench.rows import Row, compare, publish
from edgepersona.bundle import Bundle, default_bundle_path
from edgepersona.profile import Profile
from edgepersona.records import Record, Task
from edgepersona.runtime import physical_cores
from edgepersona.sampling import SamplingParams

WORKS = ("ttft-pplug",)

_PEER = "rag"
_OURS = ("pplug", "mean")
_SEED = 3
_FIRST = SamplingParams(temperature=0.0, max_new_tokens=1)

_Found = dict[str, Any]


def run(works: set[str], options: Options) -> None:
    """Measure and publish ``ttft-pplug``, on the default bundle, which is to have a head."""
    bundle = Bundle.open(default_bundle_path())
    known = [record for record in tasks.records() if record.title and record.text]
    random.Random(_SEED).shuffle(known)
    asked, known = known[: options.rounds + 1], known[options.rounds + 1 :]
    found: dict[str, list[_Found]] = {name: [] for name in (_PEER, *_OURS)}
    with (
        tempfile.TemporaryDirectory(prefix="edgepersona-bench-") as folder,
        Profile.open(Path(folder) / "profile.db", bundle) as profile,
    ):
        profile.add(known)
        for number, record in enumerate(asked):
            # In turns, and in turns in going first.
            names = list(found) if number % 2 else list(reversed(found))
            for name in names:
                answer = _answered(profile, record, name)
                if number:  # the first round loads the models and reads what all share
                    found[name].append(answer)
    rounds = f"{options.rounds} questions, {len(known)} records"
    rows = [_row(name, found) for name in _OURS]
    publish("ttft-pplug", rows, f"{processor()}, {physical_cores()} threads, {rounds}")


def _answered(profile: Profile, record: Record, strategy: str) -> _Found:
    """Ask for a record's title; return the seconds to its first token, all work included."""
    started = time.perf_counter()
    stream = profile.stream(Task(record.text, kind="title"), strategy=strategy, params=_FIRST)
    written = time.perf_counter()
    for _ in stream:
        pass
    result = stream.result
    return {
        "ms": 1000 * (written - started + result.ttft_s),
        "read_ms": 1000 * result.ttft_s,
        "tokens": result.prompt_tokens,
        "reused": result.reused_tokens,
        "records": len(result.records),
    }


def _row(name: str, found: dict[str, list[_Found]]) -> Row:
    ours, theirs = found[name], found[_PEER]
    shares = [a["tokens"] / b["tokens"] for a, b in zip(ours, theirs, strict=True)]
    medians = {
        f"{key}{suffix}": statistics.median(one[key] for one in group)
        for suffix, group in (("", ours), ("_theirs", theirs))
        for key in ("tokens", "reused", "read_ms", "records")
    }
    share = statistics.median(shares)
    return compare(
        "ttft-pplug", f"{name} beside {_PEER}",
        [one["ms"] for one in ours], [one["ms"] for one in theirs], unit="ms", better="lower",
        quality=f"{medians['tokens']:.0f} of {medians['tokens_theirs']:.0f} prompt tokens"
        f" ({share:.2f}, at most {max(shares):.2f})",
        extras={**medians, "token_share": share, "token_share_most": max(shares)},
    )  # fmt: skip
