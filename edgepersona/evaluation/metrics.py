"""LaMP's metrics, by LaMP's rules, in a form that can be resampled.

A metric turns each answer into a few numbers, and the means of those over all answers into the
figure: so that of any resample, too, only means have to be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepersona.errors import EdgePersonaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST_RATING, _BEST_RATING = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of merit over answers."""

    name: str
    higher_is_better: bool
    items: Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]
    """Answers and the true ones → what each counts, (n, m)."""
    figure: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    """Means of items over answers, (…, m) → the figure, (…)."""


def find_metric(name: str, *, labels: Sequence[str] = ()) -> Metric:
    """Return the metric of that name; ``labels`` are the answers that macro-F1 averages over."""
    if name == "macro-f1":
        return Metric(name, True, lambda said, true: _outcomes(said, true, labels), _macro_f1)
    higher, items, figure = _METRICS[name]
    return Metric(name, higher, items, figure)


def check_installed(names: Sequence[str]) -> None:
    """Raise EdgePersonaError, that names what to install, where a metric cannot be had."""
    for name in names:
        if module := _MODULES.get(name):
            _import(module)


def _rouge(kind: str) -> Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]:
    def items(said: Sequence[str], true: Sequence[str]) -> NDArray[np.float64]:
        scorer = _import(_MODULES["rouge-1"]).RougeScorer([kind], use_stemmer=False)
        scores = [
            scorer.score(target.strip(), answer.strip())[kind].fmeasure
            for answer, target in zip(said, true, strict=True)
        ]
        return _column(scores)

    return items


def _meteor(said: Sequence[str], true: Sequence[str]) -> NDArray[np.float64]:
    """Score by exact words and stems: synonyms need WordNet, which is no part of a package."""
    score = _import(_MODULES["meteor"]).single_meteor_score
    no_synonyms = _NoSynonyms()
    return _column(
        [
            score(target.split(), answer.split(), wordnet=no_synonyms)
            for answer, target in zip(said, true, strict=True)
        ]
    )


class _NoSynonyms:
    def synsets(self, word: str) -> list[Any]:
        return []


def _errors(said: Sequence[str], true: Sequence[str]) -> NDArray[np.float64]:
    """Return how far off each rating is; what is no rating is as far off as it can be."""
    errors = []
    for answer, target in zip(said, true, strict=True):
        wanted = float(target)
        rating = _rating(answer)
        if rating is None:
            rating = max((_LEAST_RATING, _BEST_RATING), key=lambda end: abs(end - wanted))
        errors.append(abs(rating - wanted))
    return _column(errors)


def _rating(text: str) -> float | None:
    try:
        rating = float(text)
    except ValueError:
        return None
    return rating if _LEAST_RATING <= rating <= _BEST_RATING else None


def _hits(said: Sequence[str], true: Sequence[str]) -> NDArray[np.float64]:
    return _column([float(a.strip() == b.strip()) for a, b in zip(said, true, strict=True)])


def _outcomes(
    said: Sequence[str], true: Sequence[str], labels: Sequence[str]
) -> NDArray[np.float64]:
    """Return for each answer and label: truly, wrongly and not given, (n, 3 · labels)."""
    given = np.array([[answer.strip() == label for label in labels] for answer in said])
    wanted = np.array([[target.strip() == label for label in labels] for target in true])
    return np.concatenate([given & wanted, given & ~wanted, ~given & wanted], axis=1).astype(float)


def _macro_f1(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average F1 over all labels; one that neither was given nor wanted counts as 0."""
    hits, wrong, missed = np.split(means, 3, axis=-1)
    most = 2 * hits + wrong + missed
    f1: NDArray[np.float64] = (2 * hits / np.where(most > 0, most, 1)).mean(axis=-1)
    return f1


def _squared(said: Sequence[str], true: Sequence[str]) -> NDArray[np.float64]:
    return _errors(said, true) ** 2


def _mean(means: NDArray[np.float64]) -> NDArray[np.float64]:
    return means[..., 0]


def _root(means: NDArray[np.float64]) -> NDArray[np.float64]:
    root: NDArray[np.float64] = np.sqrt(means[..., 0])
    return root


def ratio(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide the first of two means by the second: nats by tokens."""
    quotient: NDArray[np.float64] = means[..., 0] / means[..., 1]
    return quotient


def _column(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise EdgePersonaError(
            f"{error.name} is not installed: run pip install 'edgepersona[eval]'"
        ) from None


_MODULES = {
    "rouge-1": "rouge_score.rouge_scorer",
    "rouge-L": "rouge_score.rouge_scorer",
    "meteor": "nltk.translate.meteor_score",
}

_METRICS = {
    "rouge-1": (True, _rouge("rouge1"), _mean),
    "rouge-L": (True, _rouge("rougeL"), _mean),
    "meteor": (True, _meteor, _mean),
    "mae": (False, _errors, _mean),
    "rmse": (False, _squared, _root),
    "accuracy": (True, _hits, _mean),
}
