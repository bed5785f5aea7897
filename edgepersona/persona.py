"""A profile's persona: its records, as the persona head reads them, attended to for a question."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgepersona._native import Persona as Rows
from edgepersona._native import PersonaCache
from edgepersona.errors import ProfileError
from edgepersona.personahead import Persona, times

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgepersona.personahead import Embed, PersonaHead
    from edgepersona.store import Store

WINDOW = 512
"""The newest so many records take part, as in PPlug."""

_MORE = 16
"""Of a longer history so many more records are looked at than show their titles: some have none."""

_CACHE_BYTES = 4 << 20
"""Some thirty personas of a small LLM."""

_KEPT_IDS = 1024

Mode = Literal["question", "mean", "none"]
"""What weighs the records: the question; nothing, all alike; or they are left out."""

_NO_HISTORY = "no history yet: the persona is the head's instruction alone"


class HistoryPersona:
    """The records of a store under a head: the newest, and the nearest. Any thread may use it.

    Follows the store by itself, as an index does: what this or another process changed is taken in
    before the next question. What others wrote takes no part; for a head that reads titles,
    neither does a record without one.

    Parameters
    ----------
    tokenize
        Texts to the LLM's token ids, no special ones added.
    embed
        Token ids to the LLM's embeddings.
    encode
        Texts to the embedder's vectors (n, ndim), for a head that reads those of titles.
    nearest
        The rows of the k records nearest to a vector, among all: asked where there are more than
        the newest.
    """

    def __init__(
        self,
        store: Store,
        head: PersonaHead,
        *,
        tokenize: Callable[[Sequence[str]], list[list[int]]],
        embed: Embed,
        encode: Callable[[Sequence[str]], NDArray[np.float32]],
        nearest: Callable[[NDArray[np.float32], int], Sequence[int]],
    ) -> None:
        shape = head.shape
        self._store = store
        self._head = head
        self._tokenize = tokenize
        self._embed = embed
        self._encode = encode
        self._nearest = nearest
        self._reads_titles = shape.reads_titles or shape.reads != "item"
        self._rows: Rows | None = None
        if shape.pooled:
            self._rows = Rows(shape.ndim, shape.pooled * shape.hidden, window=0)
        self._slots: dict[int, int] = {}  # a record's row in the store, to its row in the arrays
        self._changed: dict[int, int] = {}  # the generation of each row's last change
        self._newest: list[int] = []
        self._keys = np.zeros((WINDOW, shape.ndim), np.float32)
        self._titles = np.zeros((WINDOW, shape.words), np.int32)
        self._lengths = np.zeros(WINDOW, np.int32)
        self._cache = PersonaCache(_CACHE_BYTES)
        self._shown: dict[bytes, tuple[str, ...]] = {}  # the records of what is in the cache
        self._generation = -1
        self._is_open = True
        self._lock = threading.RLock()  # a signal's handler may close what it interrupts

    def __len__(self) -> int:
        return len(self._slots)

    def soft_tokens(
        self,
        task: str,
        mode: Mode,
        text: str = "",
        query: Callable[[], NDArray[np.float32]] | None = None,
    ) -> Persona:
        """Return what the history says to ``text``, whose vector ``query`` makes.

        ``task`` is one of the head's. Where the mode is not ``question``, nothing is made of text.
        """
        if mode == "none":
            return Persona(self._head.soft_tokens(task, None, [], self._embed))
        asked = text if mode == "question" else ""
        name = hashlib.sha256(f"{mode}\0{task}\0{asked}".encode()).digest()
        with self._lock:
            if self._generation == self._store.generation and (kept := self._kept(name)):
                return kept
        # Before the LLM is asked for words: it is loaded meanwhile.
        vector = None
        if mode == "question" and query is not None:
            vector = self._head.key(query()).astype(np.float32)
        with self._lock:
            self.refresh()
            if not self._slots:
                alone = self._head.soft_tokens(task, None, [], self._embed)
                return Persona(alone, notes=(_NO_HISTORY,))
            made = self._make(task, vector)
            self._keep(name, made)
            return made

    def refresh(self) -> None:
        """Take in what changed in the store since the last call."""
        with self._lock:
            self._check_open()
            generation = self._store.generation
            while generation != self._generation:
                self._follow(generation)
                self._generation = generation
                generation = self._store.generation

    def forget(self) -> None:
        """Overwrite at once what was removed or changed; what is new can wait."""
        with self._lock:
            self._check_open()
            self._drop_cache()
            self._newest = self._leave(self._store.newest_rows(WINDOW, titled=self._reads_titles))
            self._generation = -1

    def close(self) -> None:
        """Overwrite and let go of everything; a second call does no harm."""
        with self._lock:
            self._is_open = False
            self._drop_cache()
            self._remove(list(self._slots))
            self._newest = []

    def _follow(self, generation: int) -> None:
        self._drop_cache()
        newest = self._store.newest_rows(WINDOW, titled=self._reads_titles)
        kept = self._leave(newest)
        fresh = [row for row, _ in newest if row not in self._slots]
        if fresh:
            self._enter(fresh)
        self._newest = [row for row, _ in newest if row in self._slots] if fresh else kept

    def _leave(self, newest: Sequence[tuple[int, int]]) -> list[int]:
        """Drop what is not among the newest any more, or has changed; return the rows left."""
        current = dict(newest)
        self._remove([row for row, at in self._changed.items() if current.get(row) != at])
        return [row for row, _ in newest if row in self._slots]

    def _remove(self, rows: Sequence[int]) -> None:
        if self._rows is not None and rows:
            self._rows.remove(np.array(rows, dtype=np.int64))
        for row in rows:
            slot = self._slots.pop(row)
            del self._changed[row]
            self._keys[slot] = 0
            self._titles[slot] = 0
            self._lengths[slot] = 0

    def _enter(self, rows: Sequence[int]) -> None:
        entries = self._store.titled_vectors(rows, titled=self._reads_titles)
        if not entries.rows:
            return
        keys = entries.vectors.astype(np.float32)
        titles = self._read(entries.titles)
        shape = self._head.shape
        if self._rows is not None:
            if shape.reads == "words":
                values = self._head.values_of_words(titles, self._embed)
            else:
                values = self._head.values_of_vectors(
                    keys if shape.reads == "item" else self._encode(entries.titles)
                )
            ids = np.array(entries.rows, dtype=np.int64)
            self._rows.add(ids, np.zeros_like(ids), keys, values)
        free = sorted(set(range(WINDOW)) - set(self._slots.values()))
        for number, (row, added) in enumerate(zip(entries.rows, entries.added, strict=True)):
            slot, title = free[number], titles[number][: shape.words]
            self._slots[row], self._changed[row] = slot, added
            self._keys[slot] = keys[number]
            self._titles[slot, : len(title)], self._lengths[slot] = title, len(title)

    def _make(self, task: str, vector: NDArray[np.float32] | None) -> Persona:
        """Attend to the records by a question's vector, or to all alike."""
        head, pooled = self._head, None
        if self._rows is not None:
            scale = head.scale
            pooled = self._rows.mean() if vector is None else self._rows.attend(vector, scale)
        count = head.titles(task)
        best = [(row, self._title(row)) for row in self._newest[:count]]
        if vector is not None and best and not head.reads_newest(task):
            best = self._best(vector, count)
        records = self._store.by_row(row for row, _ in best)
        shown = [(row, title) for row, title in reversed(best) if row in records]
        vectors = head.soft_tokens(task, pooled, [title for _, title in shown], self._embed)
        return Persona(vectors, tuple(records[row].id for row, _ in shown))

    def _best(self, vector: NDArray[np.float32], count: int) -> list[tuple[int, list[int]]]:
        """Return the records nearest to a question and the tokens of their titles, best first."""
        slots = np.array([self._slots[row] for row in self._newest])
        scores = times(self._keys[slots], vector[None])[:, 0]
        order = np.argsort(-scores, kind="stable")[:count]
        found = [(float(scores[i]), self._newest[i], self._title(self._newest[i])) for i in order]
        if self._store.count() > WINDOW:
            rows = self._nearest(vector, count + _MORE)
            older = self._store.titled_vectors(
                [row for row in rows if row not in self._slots], titled=self._reads_titles
            )
            more = times(older.vectors.astype(np.float32), vector[None])[:, 0].tolist()
            found += zip(more, older.rows, self._read(older.titles), strict=True)
        found.sort(key=lambda one: -one[0])  # stable: of equals the newest first
        return [(row, title) for _, row, title in found[:count]]

    def _title(self, row: int) -> list[int]:
        slot = self._slots[row]
        title: list[int] = self._titles[slot, : self._lengths[slot]].tolist()
        return title

    def _read(self, titles: Sequence[str]) -> list[list[int]]:
        """Tokenize titles as an answer begins: a word without the space is another token."""
        return self._tokenize([f" {title.strip()}" for title in titles])

    def _kept(self, name: bytes) -> Persona | None:
        if name not in self._shown:
            return None
        vector = self._cache.get(name, self._generation, bytes.fromhex(self._head.hash))
        if vector is None:
            return None
        return Persona(vector.reshape(-1, self._head.shape.hidden), self._shown[name])

    def _keep(self, name: bytes, made: Persona) -> None:
        if len(self._shown) >= _KEPT_IDS:
            self._drop_cache()
        self._shown[name] = made.records
        head_hash = bytes.fromhex(self._head.hash)
        self._cache.put(name, self._generation, head_hash, made.vectors.reshape(-1))

    def _drop_cache(self) -> None:
        self._cache.clear()
        self._shown.clear()

    def _check_open(self) -> None:
        if not self._is_open:
            raise ProfileError(f"{self._store.path}: this profile was closed: open it again")
