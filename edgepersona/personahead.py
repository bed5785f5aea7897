"""The persona head: vectors and titles of records to soft tokens for the LLM, in NumPy.

After PPlug (arXiv 2409.11901): attention of the question over the history, projected into the
LLM's embedding space, beside an instruction that was learnt. docs/format.md has the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import BundleError, InputError
from edgepersona.headfile import HeadFile

Embed = Callable[[Sequence[int]], NDArray[np.float32]]
"""Token ids to the LLM's embeddings, float32 (n, hidden)."""

_NEAREST = {"subject": "title", "headline": "title"}
"""What a task is asked as where the head was not trained for it: these are titles too."""

_BESIDE_RECORDS = "+rag"
"""Ends the name of a task as it is asked where records stand in the prompt in words."""

_SQRT_2_PI = np.float32(np.sqrt(2 / np.pi))

_LARGEST = 1e6
"""Of what is made of records: a soft token farther out is no place that any word is near."""


@dataclass(frozen=True, slots=True, eq=False)
class Persona:
    """What a history says to one question, as an LLM reads it."""

    vectors: NDArray[np.float32]
    """Soft tokens, float32 (n, hidden)."""
    records: tuple[str, ...] = ()
    """Ids of the records whose titles are among them, word for word."""
    notes: tuple[str, ...] = ()
    """What whoever asked should know: that there is no history, that another task was asked."""


class PersonaHead:
    """A head's arithmetic. Any thread may call it."""

    def __init__(self, file: HeadFile) -> None:
        self.hash = file.hash
        self.shape = file.shape
        self.scale = file.scale
        self._arrays = file.arrays

    def task(self, kind: str, *, beside_records: bool = False) -> str:
        """Return the head's task for a kind of Task, in a prompt that shows records or does not.

        Raises InputError where it was trained for none that is like it.
        """
        tasks = self.shape.tasks
        for near in (kind, _NEAREST.get(kind, kind)):
            for name in (near + _BESIDE_RECORDS, near) if beside_records else (near,):
                if name in tasks:
                    return name
        known = dict.fromkeys(name.removesuffix(_BESIDE_RECORDS) for name in tasks)
        raise InputError(
            f"the persona head was trained for {' and '.join(known)}, not for the task {kind!r}: "
            "ask for one of these, or with another strategy such as rag"
        )

    def reads_newest(self, task: str) -> bool:
        """Say whether ``task``, one of the head's, reads the newest titles and not the nearest."""
        return self.shape.beside == "newest" and task.endswith(_BESIDE_RECORDS)

    def titles(self, task: str) -> int:
        """Return how many titles ``task``, one of the head's, reads."""
        is_beside = task.endswith(_BESIDE_RECORDS)
        return self.shape.records_beside if is_beside else self.shape.records

    def key(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn a question's vector (ndim,) into one that records' vectors are compared with."""
        adapter = self._arrays.get("adapter")
        return query if adapter is None else times(query[None], adapter.T)[0]

    def values_of_vectors(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what records say by vectors (n, ndim), of all or of their titles.

        float32 (n, pooled · hidden).
        """
        made = self._bent("pool", vectors).reshape(len(vectors), self.shape.pooled, -1)
        return self._checked(made * self._arrays["pool_gain"][:, None])

    def values_of_words(self, titles: Sequence[Sequence[int]], embed: Embed) -> NDArray[np.float32]:
        """Return what records say by the first tokens of their titles, one a pooled token.

        float32 (n, pooled · hidden); zero where a title is shorter.
        """
        values = np.zeros((len(titles), self.shape.pooled, self.shape.hidden), np.float32)
        cut = [title[: self.shape.pooled] for title in titles]
        rows = np.repeat(np.arange(len(cut)), [len(title) for title in cut])
        values[rows, _slots(cut)] = self._by_word("pool", cut, embed)
        return self._checked(values)

    def soft_tokens(
        self,
        task: str,
        pooled: NDArray[np.float32] | None,
        titles: Sequence[Sequence[int]],
        embed: Embed,
    ) -> NDArray[np.float32]:
        """Return a task's soft tokens, float32 (n, hidden).

        ``pooled`` is the weighted mean of values; ``titles`` are the tokens of the titles to show,
        the most telling last. Without history both are left out: None, and none.
        """
        arrays, number = self._arrays, self.shape.tasks.index(task)
        parts = [arrays["before"][number]]
        if pooled is not None and self.shape.pooled:
            parts.append(pooled.reshape(self.shape.pooled, -1) + arrays["pool_offset"])
        if titles and self.shape.reads_titles:
            cut = [title[: self.shape.words] for title in titles]
            rows = self._by_word("title", cut, embed)
            start = 0
            for title in cut:
                end = start + len(title)
                parts += [arrays["lead"][number]]
                parts += [rows[start:end] + arrays["title_offset"][: len(title)]]
                start = end
        parts.append(arrays["after"][number])
        return self._checked(np.concatenate(parts))

    def _by_word(
        self, name: str, titles: Sequence[Sequence[int]], embed: Embed
    ) -> NDArray[np.float32]:
        """Project the tokens of titles, all in a row; equal ones are projected once."""
        tokens, which = np.unique([i for title in titles for i in title], return_inverse=True)
        if not len(tokens):
            return np.empty((0, self.shape.hidden), np.float32)
        words = embed([int(i) for i in tokens]) - self._arrays["centre"]
        made = words + self._bent(name, words)
        gains = self._arrays[f"{name}_gain"][_slots(titles), None]
        return gains * made[which.reshape(-1)]

    def _bent(self, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        inner = times(x, self._arrays[f"{name}_inner"]) + self._arrays[f"{name}_bias"]
        return times(_gelu(inner), self._arrays[f"{name}_outer"])

    def _checked(self, made: NDArray[np.float32]) -> NDArray[np.float32]:
        if not (np.abs(made) <= _LARGEST).all():  # NaN is not either
            raise BundleError(
                f"the persona head {self.hash[:12]} makes numbers that no LLM reads: "
                "export the head again"
            )
        return made.reshape(len(made), -1).astype(np.float32, copy=False)


def times(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inner product of each of ``rows`` (n, k) with each of ``others`` (m, k): (n, m).

    By loops of NumPy's own, on this thread. A BLAS multiplies such matrices half a millisecond
    faster, and its threads then spin for a while on the processors that the LLM reads the prompt
    with: that took 40 ms longer, of 70.
    """
    products: NDArray[np.float32] = np.einsum("nk,mk->nm", rows, others)
    return products


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the GELU by tanh (Hendrycks and Gimpel 2016, arXiv 1606.08415)."""
    bend = np.tanh(_SQRT_2_PI * (x + np.float32(0.044715) * x * x * x))
    bent: NDArray[np.float32] = np.float32(0.5) * x * (1 + bend)
    return bent


def _slots(titles: Sequence[Sequence[int]]) -> list[int]:
    """Return the place of each token in its title, those of all titles in a row."""
    return [slot for title in titles for slot in range(len(title))]
