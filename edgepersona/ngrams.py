"""The n-grams of a profile: a model of what the user wrote, counted over the tokens of records."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgepersona.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgepersona.store import Store
    from edgepersona.tokentable import Field


_WAY = "2"
"""Which way of reading records the tokens that a profile keeps are of."""


class Reader(Protocol):
    """What n-grams need of the generator's tokenizer."""

    @property
    def hash(self) -> str:
        """Tell this tokenizer from others."""

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text, no special ones added."""


class Counts(Protocol):
    """What the native ``NgramModel`` offers: token n-grams of records, by id."""

    def add(
        self, ids: NDArray[np.int64], tokens: NDArray[np.uint32], offsets: NDArray[np.int64]
    ) -> None:
        """Count the tokens of records, each newer than the last; a known id is replaced."""

    def remove(self, ids: NDArray[np.int64]) -> int:
        """Forget the records with these ids, as if never added; say how many there were."""

    def distribution(
        self, context: NDArray[np.int32], limit: int = 512, *, least: int = 0
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the likeliest next tokens, ids rising, and how likely each is."""

    def shared(self, context: NDArray[np.int32], ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Say which of ``ids`` follow the context in two records at least."""

    def continuations(self, context: NDArray[np.int32], n: int) -> NDArray[np.int32]:
        """Return at most ``n`` tokens that are likely to follow the context."""

    def __len__(self) -> int:
        """Return how many records are counted."""


class Ngrams:
    """The n-grams of all titles, or all texts, of a store. May be used from any thread.

    Follows the store by itself, as an index does. Tokens are kept in the profile: a record is
    tokenised once.
    """

    def __init__(
        self, store: Store, counts: Counts, reader: Callable[[], Reader], field: Field
    ) -> None:
        self._store = store
        self._counts: Counts | None = counts
        self._reader = reader
        self._field = field
        self._generation = -1
        self._held: list[NDArray[np.int64]] = []
        self._lock = threading.RLock()  # a signal's handler may close what it interrupts

    def close(self) -> None:
        """Let go of the counts; a second call does no harm."""
        with self._lock:
            self._counts = None
            self._held = []

    def refresh(self) -> Counts:
        """Take in what changed in the store since the last call; return the counts."""
        with self._lock:
            counts = self._opened()
            generation = self._store.generation
            while generation != self._generation:
                reader = self._reader()
                self._forget(counts, generation)
                self._tokenize(reader)
                self._count(counts, _reading(reader))
                self._generation = generation
                generation = self._store.generation
            return counts

    def forget(self) -> None:
        """Forget at once what was removed or changed; what is new can wait."""
        with self._lock:
            counts = self._opened()
            self._forget(counts, self._store.generation)
            for block in self._store.untokenized(_reading(self._reader()), self._generation):
                counts.remove(np.array([record.row for record in block], dtype=np.int64))

    def counts(self) -> Counts | None:
        """Return what was counted so far; None once it is closed."""
        return self._counts

    def continuations(self, context: Sequence[int], n: int) -> list[int]:
        """Return at most ``n`` tokens likely to come next, by what was counted so far."""
        counts = self._counts
        if counts is None:
            return []
        found: list[int] = counts.continuations(np.array(context, dtype=np.int32), n).tolist()
        return found

    def _opened(self) -> Counts:
        if self._counts is None:
            raise ProfileError(f"{self._store.path}: this profile was closed: open it again")
        return self._counts

    def _forget(self, counts: Counts, generation: int) -> None:
        if self._generation < 0:
            return
        gone = self._store.gone(self._generation, generation)
        if gone is None:  # another process changed the profile, and all rows have to be compared
            held = np.unique(np.concatenate([np.empty(0, np.int64), *self._held]))
            stored = self._store.rows()
            gone = np.setdiff1d(held, stored, assume_unique=True).tolist()
            self._held = [np.intersect1d(held, stored, assume_unique=True)]
        if gone:
            counts.remove(np.array(gone, dtype=np.int64))

    def _tokenize(self, reader: Reader) -> None:
        """Read the records that were not read yet, and keep their tokens.

        Titles stand behind a space, as the answers do that a prompt opens.
        """
        reading = _reading(reader)
        for block in self._store.untokenized(reading, self._generation):
            titles = reader.encode_plain([record.title and f" {record.title}" for record in block])
            texts = reader.encode_plain([record.text for record in block])
            self._store.put_tokens(reading, zip(block, titles, texts, strict=True))

    def _count(self, counts: Counts, tokenizer_hash: str) -> None:
        """Count the tokens of what changed."""
        for rows, tokens, offsets in self._store.tokens(
            tokenizer_hash, self._field, self._generation
        ):
            some = np.diff(offsets) > 0
            counts.remove(rows[~some])  # what is empty now may have had tokens before
            counts.add(rows[some], tokens, offsets[np.concatenate([[True], some])])
            self._held.append(rows[some])


def _reading(reader: Reader) -> str:
    """Return what tells tokens that were read so from others."""
    return f"{reader.hash} {_WAY}"
