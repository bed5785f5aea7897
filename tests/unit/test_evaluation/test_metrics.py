"""LaMP's metrics, by LaMP's rules."""

from __future__ import annotations

import numpy as np
import pytest

from edgepersona.errors import EdgePersonaError
from edgepersona.evaluation import metrics
from edgepersona.evaluation.metrics import find_metric


def figure(name: str, said: list[str], true: list[str], **options: object) -> float:
    metric = find_metric(name, **options)
    return float(metric.figure(metric.items(said, true).mean(axis=0)))


def test_rouge_takes_words_as_they_are_and_no_stems() -> None:
    pytest.importorskip("rouge_score", reason="eval extra is not installed")
    assert figure("rouge-1", ["the foxes"], ["the fox"]) == pytest.approx(0.5)
    assert figure("rouge-1", [" The FOX. "], ["the fox"]) == pytest.approx(1)
    assert figure("rouge-1", [""], ["the fox"]) == 0


def test_rouge_l_minds_the_order() -> None:
    pytest.importorskip("rouge_score", reason="eval extra is not installed")
    assert figure("rouge-1", ["c b a"], ["a b c"]) == pytest.approx(1)
    assert figure("rouge-L", ["c b a"], ["a b c"]) == pytest.approx(1 / 3)


def test_meteor_needs_no_word_net() -> None:
    pytest.importorskip("nltk", reason="eval extra is not installed")
    same, other = (figure("meteor", [said], ["the old boat sails home"]) for said in (
        "the old boat sails home", "stars",
    ))  # fmt: skip
    assert same > 0.99
    assert other == 0


@pytest.mark.parametrize(
    ("said", "true", "error"),
    [
        ("4", "4", 0),
        (" 2 \n", "4", 2),
        ("4.5", "4", 0.5),
        ("four", "1", 4),
        ("4 stars", "2", 3),
        ("", "5", 4),
        ("7", "2", 3),
        ("nan", "3", 2),
    ],
)
def test_what_is_no_rating_is_as_far_off_as_one_can_be(said: str, true: str, error: float) -> None:
    assert figure("mae", [said], [true]) == error
    assert figure("rmse", [said], [true]) == error


def test_rmse_is_the_root_of_the_mean_square() -> None:
    assert figure("rmse", ["1", "3"], ["4", "3"]) == pytest.approx((9 / 2) ** 0.5)


def test_accuracy_wants_the_whole_answer() -> None:
    assert figure("accuracy", ["[1]", "[1] it is", " [2]"], ["[1]", "[1]", "[2]"]) == 2 / 3


def test_macro_f1_weighs_all_labels_alike_also_those_that_never_come() -> None:
    said, true = ["a", "a", "b", "what?"], ["a", "b", "b", "a"]
    # a: 1 hit, 1 wrong, 1 missed: 1/2. b: 1 hit, 0 wrong, 1 missed: 2/3. c: 0.
    f1 = figure("macro-f1", said, true, labels=("a", "b", "c"))
    assert f1 == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


def test_a_package_that_is_missing_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "_MODULES", {"rouge-1": "rouge_scorer_that_is_not_there"})
    with pytest.raises(EdgePersonaError, match=r"_not_there is not installed.*edgepersona\[eval\]"):
        metrics.check_installed(["mae", "rouge-1"])


def test_a_figure_of_resamples_is_that_of_each() -> None:
    metric = find_metric("macro-f1", labels=("a", "b"))
    items = metric.items(["a", "b", "b"], ["a", "a", "b"])
    weights = np.array([[1, 0, 0], [0.5, 0.5, 0]])
    assert metric.figure(weights @ items).tolist() == [
        float(metric.figure(row @ items)) for row in weights
    ]
