"""One evaluation from files to files: questions in, predictions, report and picture out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepersona.evaluation.answers import Journal
from edgepersona.evaluation.calibration import history_questions
from edgepersona.evaluation.control import other_histories
from edgepersona.evaluation.folder import held_folder
from edgepersona.evaluation.metrics import check_installed
from edgepersona.evaluation.plot import check_drawing, plot
from edgepersona.evaluation.profiles import Profiles
from edgepersona.evaluation.questions import predictions, read_questions
from edgepersona.evaluation.report import make_report
from edgepersona.evaluation.running import CACHE_BYTES, Case, Models, Row, Run, rows
from edgepersona.evaluation.vectors import KeptVectors
from edgepersona.evaluation.workers import answer_all
from edgepersona.once import Once
from edgepersona.runtime import physical_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgepersona.bundle import Bundle
    from edgepersona.evaluation.benchmarks import Benchmark
    from edgepersona.evaluation.questions import Question
    from edgepersona.generator import Generator
    from edgepersona.profile import Encoder

    Progress = Callable[[str, int, int], None]
    """What is being done, how many of it are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured."""

    strategies: tuple[str, ...]
    against: tuple[str, ...] = ("none", "rag")
    """Strategies whose figures are taken from those of the others, where they are measured."""
    control: bool = False
    limit: int | None = None
    """At most so many questions, chosen by the seed; a larger limit adds to the same ones."""
    seed: int = 0
    calibrate: int = 32
    """Questions made of histories, on which each row's temperature is fitted; 0: none is."""
    workers: int = 1
    """How many questions are answered side by side, each with its share of the threads."""
    max_new_tokens: int | None = None
    target: str | None = None


def evaluate(
    benchmark: Benchmark,
    questions: Path,
    outputs: Path | None,
    out: Path,
    *,
    bundle: Bundle,
    options: Options,
    embedder: Callable[[], Encoder] | None = None,
    generator: Callable[[int], Generator] | None = None,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Run strategies over a file of questions; write what came to ``out``, return the report.

    ``embedder`` and ``generator`` make what is used in place of the bundle's own; the latter takes
    how many threads it may use, and is called once for each worker.

    In ``out`` are then ``report.json``, ``plot.png``, ``predictions-STRATEGY.json``, and what a run
    that was stopped goes on from: ``answers.jsonl`` and the vectors of texts.
    """
    check_installed(benchmark.metrics)
    check_drawing()
    everyone = read_questions(benchmark, questions, outputs)
    cases, calibration = _cases(benchmark, everyone, options)
    wanted = rows(options.strategies, control=options.control)
    make = generator or (lambda threads: _load_generator(bundle, options.target, threads))
    threads = max(1, physical_cores() // options.workers)
    with held_folder(out) as folder:
        journal = Journal(out / "answers.jsonl")
        profiles = Profiles(folder, bundle, _vectors(bundle, out, embedder))
        limit = options.max_new_tokens
        runs = [
            Run(benchmark, Models(bundle, profiles, make(threads)), journal, max_new_tokens=limit)
            for _ in range(options.workers)
        ]
        _answer(runs, [*calibration, *cases], wanted, profiles, progress)
        answers, fitted = (
            {row: [journal[runs[0].key(case, row)] for case in some] for row in wanted}
            for some in (cases, calibration)
        )
        report = make_report(
            benchmark, cases, answers, fitted, against=options.against, seed=options.seed
        )
        report |= _facts(runs[0], options, all_questions=len(everyone), threads=threads)
        for row, given in answers.items():
            said = {answer.question: answer.output or "" for answer in given}
            _write(out / f"predictions-{_file_name(row)}.json", predictions(benchmark, said))
        _write(out / "report.json", report)
        plot(report, out / "plot.png")
    return report


def _cases(
    benchmark: Benchmark, everyone: Sequence[Question], options: Options
) -> tuple[list[Case], list[Case]]:
    """Return the questions to be asked, and those of histories, with whom each is compared."""
    chosen = list(everyone)
    if options.limit is not None and options.limit < len(chosen):
        order = np.random.default_rng(options.seed).permutation(len(chosen))
        chosen = [chosen[row] for row in sorted(order[: options.limit])]
    made = history_questions(benchmark, everyone, count=options.calibrate, seed=options.seed)
    return (
        _with_others(chosen, everyone, options, scored_only=False),
        _with_others(made, everyone, options, scored_only=True),
    )


def _with_others(
    questions: Sequence[Question],
    everyone: Sequence[Question],
    options: Options,
    *,
    scored_only: bool,
) -> list[Case]:
    others: Sequence[Question | None] = [None] * len(questions)
    if options.control:
        others = other_histories(questions, everyone, seed=options.seed)
    return [
        Case(question, other, scored_only)
        for question, other in zip(questions, others, strict=True)
    ]


def _answer(
    runs: Sequence[Run],
    cases: Sequence[Case],
    wanted: Sequence[Row],
    profiles: Profiles,
    progress: Progress,
) -> None:
    """Make the answers that are missing."""
    missing = {case: left for case in cases if (left := runs[0].missing(case, wanted))}
    if not missing:
        return
    strategies = {row.strategy for left in missing.values() for row in left}
    runs[0].check(cases[0].question.task, sorted(strategies))
    profiles.prepare(
        [records for case in missing for _, records in case.histories],
        lambda done, total: progress("embed", done, total),
    )
    total = len(cases) * len(wanted)
    done = total - len(missing) * len(wanted)

    def told() -> None:
        nonlocal done
        done += 1
        progress("answer", done, total)

    progress("answer", done, total)
    answer_all(runs, list(missing), wanted, told)


def _vectors(bundle: Bundle, out: Path, make: Callable[[], Encoder] | None) -> KeptVectors:
    embedder = Once(make or (lambda: _load_embedder(bundle)))
    file = out / f"vectors-{bundle.embedder_hash[:16]}.bin"
    return KeptVectors(file, embedder.get, bundle.embedder.ndim)


def _load_embedder(bundle: Bundle) -> Encoder:
    from edgepersona.embedder import Embedder

    return Embedder(bundle)


def _load_generator(bundle: Bundle, target: str | None, threads: int) -> Generator:
    from edgepersona.generator import Generator

    return Generator(bundle, threads=threads, target=target, cache_bytes=CACHE_BYTES)


def _facts(run: Run, options: Options, *, all_questions: int, threads: int) -> dict[str, Any]:
    bundle, generator = run.models.bundle, run.models.generator
    return {
        "limit": options.limit,
        "questions_in_file": all_questions,
        "seed": options.seed,
        "control": options.control,
        "max_new_tokens": run.params.max_new_tokens,
        "temperature_of_answers": run.params.temperature,
        "embedder": bundle.embedder.source,
        "generator": bundle.generator.source,
        "variant": f"{generator.decoder.variant.target}-{generator.decoder.variant.precision}",
        "provider": generator.decoder.provider,
        "workers": options.workers,
        "threads": threads,
    }


def _file_name(row: Row) -> str:
    return row.strategy if row.history != "other" else f"{row.strategy}-other"


def _write(path: Path, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1) + "\n"
    path.write_text(text, "utf-8", "backslashreplace")
