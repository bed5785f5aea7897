"""The control: for each question another user's history, to be read in place of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepersona.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgepersona.evaluation.questions import Question

_SIMILAR = 0.1
"""Histories that differ by at most this share of their records are of a size."""


def other_histories(
    questions: Sequence[Question], among: Sequence[Question], *, seed: int
) -> list[Question]:
    """Return for each question one of ``among`` whose history takes the place of its own.

    It is of another user, of a similar size, shares no record with the user's own history and does
    not hold the question; among those that qualify the seed chooses, for each question by itself.
    Where none is of a similar size, the nearest is taken. Raises InputError where none qualifies.
    """
    sizes = np.array([len(one.history) for one in among])
    bodies = [frozenset(record.text or record.title for record in one.history) for one in among]
    return [among[_choose(question, among, sizes, bodies, seed=seed)] for question in questions]


def _choose(
    question: Question,
    among: Sequence[Question],
    sizes: np.ndarray[tuple[int], np.dtype[np.int64]],
    bodies: Sequence[frozenset[str]],
    *,
    seed: int,
) -> int:
    own = {record.text or record.title for record in question.history} | {question.task.text}
    apart = np.abs(sizes - len(question.history))
    apart[apart <= max(1, _SIMILAR * len(question.history))] = 0
    chance = np.random.default_rng([seed, *question.id.encode()]).random(len(among))
    for row in np.lexsort((chance, apart)):
        if among[row].user != question.user and bodies[row].isdisjoint(own) and sizes[row]:
            return int(row)
    raise InputError(
        f"question {question.id}: there is no other user whose history shares nothing with its "
        "own, to compare with: the control needs a file of several users"
    )
