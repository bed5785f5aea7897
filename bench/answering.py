"""Whole answers of a profile: what drafts are worth, and a prompt's beginning that was read."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import llama, tasks
from bench.machine import processor
from bench.options import Options
from bench.process import Worker
from bench.rows import Row, compare, publish
from edgepersona.bundle import Bundle, default_bundle_path
from edgepersona.profile import Profile
from edgepersona.records import Record, Task
from edgepersona.runtime import physical_cores

WORKS = ("decode-drafts", "ttft-prefix")

_KEY = "a passphrase of the benchmark"
_MODULE = "bench.answer_worker"
_TOKENS = 128
_SYSTEM_CHARACTERS = (400, 1000, 2400)

_Answer = dict[str, Any]


def run(works: set[str], options: Options) -> None:
    """Measure and publish those of ``decode-drafts`` and ``ttft-prefix`` that are asked for."""
    bundle = Bundle.open(default_bundle_path())
    threads = physical_cores()
    known = tasks.records()
    machine = f"{processor()}, {threads} threads"
    with tempfile.TemporaryDirectory(prefix="edgepersona-bench-") as folder, ExitStack() as stack:
        file = Path(folder) / "profile.db"
        with Profile.open(file, bundle, key=_KEY) as profile:
            profile.add(known)
        settings = {"bundle": str(bundle.path), "profile": str(file), "key": _KEY}
        precision = bundle.generator.variants[0].precision
        ours = Worker(
            "edgepersona",
            {"peer": "edgepersona", **settings},
            precision,
            module=_MODULE,
        )
        peers = llama.start(threads, [1, 2, 3], _MODULE)
        for worker in (ours, *peers):
            stack.enter_context(closing(worker))
        stops = sorted(bundle.generator.stop_tokens)
        for work in sorted(works):
            measure = {"decode-drafts": _drafts, "ttft-prefix": _prefix}[work]
            publish(work, measure(ours, peers, known, stops, options), machine)


def _drafts(
    ours: Worker, peers: list[Worker], known: list[Record], stops: list[int], options: Options
) -> list[Row]:
    """Compare answers with drafts, without, and of llama.cpp, on two kinds of tasks."""
    rows = []
    for kind, chosen, strategy in (
        ("copying", tasks.copying(known), "rag"),
        ("free", tasks.free(), "none"),
    ):
        speeds: dict[str, list[float]] = {}
        answers: list[list[_Answer]] = []
        for number in range(options.rounds // 3 + 1):
            found = [_answered(task, strategy, ours, peers, stops) for task in chosen]
            if number:  # the first round warms up, and drafting learns what a pass costs
                for name in found[0]:
                    speeds.setdefault(name, []).append(_speed([one[name] for one in found]))
                answers += [[one["drafts"], one["plain"]] for one in found]
        rows += _draft_rows(kind, speeds, answers, ours, peers)
    return rows


def _answered(
    task: Task, strategy: str, ours: Worker, peers: list[Worker], stops: list[int]
) -> dict[str, _Answer]:
    asked = {"task": asdict(task), "strategy": strategy, "tokens": _TOKENS}
    found = {
        name: ours.ask("answer", {**asked, "drafts": drafts})[1]
        for name, drafts in (("drafts", True), ("plain", False))
    }
    for peer in peers:
        prompt = {"prompt": found["drafts"]["prompt"], "tokens": _TOKENS, "stops": stops}
        found[peer.name] = peer.ask("answer", prompt)[1]
    return found


def _speed(answers: list[_Answer]) -> float:
    """Return tokens/s of all answers together, the first token of each left out."""
    return sum(a["tokens"] - 1 for a in answers) / sum(a["decode_s"] for a in answers)


def _draft_rows(
    kind: str,
    speeds: dict[str, list[float]],
    answers: list[list[_Answer]],
    ours: Worker,
    peers: list[Worker],
) -> list[Row]:
    same = sum(one["text"] == other["text"] for one, other in answers)
    drafted = sum(one["drafted"] for one, _ in answers)
    accepted = sum(one["accepted"] for one, _ in answers)
    tokens = sum(one["tokens"] for one, _ in answers)
    quality = (
        f"the same text in {same} of {len(answers)}; {accepted} of {drafted} drafted tokens"
        f" accepted, {accepted / tokens:.0%} of all"
    )
    extras = {
        "kind": kind, "same": same, "answers": len(answers), "drafted": drafted,
        "accepted": accepted, "tokens": tokens,
    }  # fmt: skip
    names = {"plain": f"ours without drafts ({ours.note})"}
    names |= {peer.name: f"{peer.name} ({peer.note})" for peer in peers}
    return [
        compare(
            "decode-drafts", f"{kind}: {shown}", speeds["drafts"], speeds[name],
            unit="tokens/s", better="higher", quality=quality, extras=extras,
        )
        for name, shown in names.items()
    ]  # fmt: skip


def _prefix(
    ours: Worker, peers: list[Worker], known: list[Record], _: list[int], options: Options
) -> list[Row]:
    """Compare prompts whose beginning was read before with their other tokens alone."""
    text = "\n\n".join(f"{record.title}\n{record.text}" for record in known)
    rows = []
    for characters in _SYSTEM_CHARACTERS:
        system = f"You answer this person:\n\n{text[:characters]}"
        rows += _prefix_rows(system, ours, peers, options)
    return rows


def _prefix_rows(system: str, ours: Worker, peers: list[Worker], options: Options) -> list[Row]:
    asked = {"system": system}
    cached: list[float] = []
    alone: dict[str, list[float]] = {}
    read: list[_Answer] = []
    questions = [task.text for task in tasks.free()]
    rest: list[int] = []
    for number in range(options.rounds + 1):
        question = questions[number % len(questions)]
        if rest:  # so that both find the weights as near, after the peers' turn
            ours.ask("read_alone", rest)
        # Anew each time: what was asked before would be known as well.
        found = ours.ask("first_token", {**asked, "question": f"{question} ({number})"})[1]
        rest = found["prompt"][found["reused"] :]
        seconds = {"the uncached tokens alone": ours.ask("read_alone", rest)[1]}
        for peer in peers:
            name = f"{peer.name} ({peer.note}), the same beginning read"
            seconds[name] = peer.ask("first_token", found)[1]
        if number:  # the first round reads the beginning
            cached.append(1000 * found["ttft_s"])
            read.append(found)
            for name, value in seconds.items():
                alone.setdefault(name, []).append(1000 * value)
    tokens = statistics.median(len(one["prompt"]) for one in read)
    reused = statistics.median(one["reused"] for one in read)
    more = statistics.median(
        a - b for a, b in zip(cached, alone["the uncached tokens alone"], strict=True)
    )
    extras = {"prompt_tokens": tokens, "reused_tokens": reused, "more_ms": more}
    return [
        compare(
            "ttft-prefix", f"{reused:.0f} known: {name}", cached, theirs, unit="ms", better="lower",
            quality=f"{reused:.0f} of {tokens:.0f} tokens known; {more:+.2f} ms beyond the"
            " uncached alone",
            extras=extras,
        )
        for name, theirs in alone.items()
    ]  # fmt: skip
