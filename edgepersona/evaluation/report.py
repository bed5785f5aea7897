"""From answers to figures: a row for each strategy and history, and what it gains over others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepersona.evaluation.bootstrap import Bootstrap
from edgepersona.evaluation.metrics import find_metric, ratio
from edgepersona.evaluation.running import TEMPERATURES, Row
from edgepersona.evaluation.temperature import at_temperature, best_temperature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgepersona.evaluation.answers import Answer
    from edgepersona.evaluation.benchmarks import Benchmark
    from edgepersona.evaluation.running import Case

    Answers = Mapping[Row, Sequence[Answer]]

_GRID = np.array(TEMPERATURES)
_PLAIN = TEMPERATURES.index(1.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Items:
    """What a row's figures are means of, by the figure's name."""

    figures: Mapping[str, NDArray[np.float64]]
    temperature: float | None


def make_report(
    benchmark: Benchmark,
    cases: Sequence[Case],
    answers: Answers,
    calibration: Answers,
    *,
    against: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """Return all figures of a run, ready for JSON.

    ``answers`` has for each row the answers to ``cases``, in their order; ``calibration`` those
    that temperatures are fitted on, none where nothing is fitted; ``against`` the strategies that
    the others are compared with.
    """
    questions = [case.question for case in cases]
    bootstrap = Bootstrap(len(questions), seed=seed)
    true = [question.answer for question in questions]
    items = {
        row: _items(benchmark, given, true, calibration.get(row, ()))
        for row, given in answers.items()
    }
    figures = _figures(benchmark)
    return {
        "task": benchmark.name,
        "questions": len(questions),
        "users": len({question.user for question in questions}),
        "calibration_questions": max(map(len, calibration.values()), default=0),
        "lower_is_better": [name for name, (_, higher) in figures.items() if not higher],
        "rows": [
            {
                **_row(row, answers[row], items[row], figures, bootstrap),
                "copied": _copied(benchmark, row, cases, answers[row]),
            }
            for row in answers
        ],
        "against": list(against),
        "differences": [
            {
                **_named("row", row),
                **_named("against", compared),
                "figures": {
                    name: asdict(bootstrap.difference(held, other, figures[name][0]))
                    for name, held in items[row].figures.items()
                    if (other := items[compared].figures.get(name)) is not None
                },
            }
            for row, compared in _pairs(list(answers), against)
        ],
        "contrasts": [
            {
                "strategy": strategy,
                "against": compared,
                "figures": {
                    name: asdict(
                        bootstrap.contrast([(k, items[row].figures[name]) for k, row in terms], of)
                    )
                    for name, (of, _) in figures.items()
                    if all(name in items[row].figures for _, row in terms)
                },
            }
            for strategy, compared, terms in _contrasts(list(answers), against)
        ],
    }


def _items(
    benchmark: Benchmark,
    answers: Sequence[Answer],
    true: Sequence[str],
    calibration: Sequence[Answer],
) -> _Items:
    said = [answer.output or "" for answer in answers]
    found = {
        name: find_metric(name, labels=benchmark.labels).items(said, true)
        for name in benchmark.metrics
    }
    tokens = np.array([answer.true_tokens for answer in answers], dtype=np.float64)
    curves = np.array([answer.nats for answer in answers])
    found["nats"] = np.stack([curves[:, _PLAIN], tokens], axis=1)
    temperature = None
    if calibration:
        fitted = np.array([answer.nats for answer in calibration])
        temperature = best_temperature(_GRID, fitted)
        scaled = at_temperature(_GRID, curves, temperature)
        found["nats, scaled"] = np.stack([scaled, tokens], axis=1)
    return _Items(found, temperature)


def _figures(benchmark: Benchmark) -> dict[str, tuple[Any, bool]]:
    """Return for each figure's name how it follows from means, and whether higher is better."""
    metrics = [find_metric(name, labels=benchmark.labels) for name in benchmark.metrics]
    found = {metric.name: (metric.figure, metric.higher_is_better) for metric in metrics}
    return {**found, "nats": (ratio, False), "nats, scaled": (ratio, False)}


def _row(
    row: Row,
    answers: Sequence[Answer],
    items: _Items,
    figures: Mapping[str, tuple[Any, bool]],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    return {
        **_named("row", row),
        "n": len(answers),
        "figures": {
            name: asdict(bootstrap.estimate(held, figures[name][0]))
            for name, held in items.figures.items()
        },
        "temperature": items.temperature,
        "true_tokens": sum(answer.true_tokens for answer in answers),
        "prompt_tokens": _mean([answer.prompt_tokens for answer in answers]),
        "new_tokens": _mean([answer.new_tokens for answer in answers]),
        "records": _mean([answer.records for answer in answers]),
        "ttft_s": float(np.median([answer.ttft_s for answer in answers])),
        "seconds": float(np.median([answer.seconds for answer in answers])),
    }


def _copied(
    benchmark: Benchmark, row: Row, cases: Sequence[Case], answers: Sequence[Answer]
) -> float | None:
    """Return the share of answers that are a title of the history, to the letter.

    None where titles are ratings or tags, or where there are none.
    """
    if benchmark.kind in ("rating", "tag") or not benchmark.learns_from_history:
        return None
    found = 0
    for case, answer in zip(cases, answers, strict=True):
        history = dict(case.histories)["own" if row.history == "none" else row.history]
        found += bool(answer.output) and answer.output in {one.title.strip() for one in history}
    return found / len(cases)


def _pairs(rows: Sequence[Row], against: Sequence[str]) -> list[tuple[Row, Row]]:
    """Return the comparisons that are told: own with other, with chosen ones, and less a part."""
    pairs = []
    for row in rows:
        if row.history != "own":
            continue
        others = [
            Row(strategy, "none" if strategy == "none" else "own")
            for strategy in (*against, row.strategy.rpartition("+")[0])
        ]
        compared = dict.fromkeys([Row(row.strategy, "other"), *others])
        pairs += [(row, one) for one in compared if one in rows and one != row]
    return pairs


def _contrasts(
    rows: Sequence[Row], against: Sequence[str]
) -> list[tuple[str, str, list[tuple[int, Row]]]]:
    """Return two strategies, and the terms of own − other of the one less that of the other."""
    told = [row.strategy for row in rows if row.history == "other"]
    return [
        (
            one,
            other,
            [
                (1, Row(one, "own")),
                (-1, Row(one, "other")),
                (-1, Row(other, "own")),
                (1, Row(other, "other")),
            ],
        )
        for other in against
        for one in told
        if other in told and one != other
    ]


def _named(key: str, row: Row) -> dict[str, Any]:
    return {key: {"strategy": row.strategy, "history": row.history}}


def _mean(values: Sequence[int]) -> float:
    return round(float(np.mean(values)), 1)
