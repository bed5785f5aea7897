"""Profiles of histories, made when they are first asked for, and kept while they are needed."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgepersona.profile import Profile, embedded_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edgepersona.bundle import Bundle
    from edgepersona.evaluation.vectors import KeptVectors
    from edgepersona.generator import Generator
    from edgepersona.records import Record


class Profiles:
    """Profiles in a folder, one for each history, whoever asks; for any thread.

    What a profile makes of its records by and by, as the weight of the user's own words, is then
    made once, also where a history is own to one question and other to several.
    """

    def __init__(self, folder: Path, bundle: Bundle, encoder: KeptVectors) -> None:
        self._folder = folder
        self._bundle = bundle
        self._encoder = encoder
        self._left: Counter[str] = Counter()
        self._lock = threading.Lock()

    def prepare(
        self, histories: Sequence[Sequence[Record]], progress: Callable[[int, int], None]
    ) -> None:
        """Embed what will be asked for, once each time; a profile goes after its last use."""
        self._left.update(map(_hash, histories))
        texts = {embedded_text(record) for history in histories for record in history}
        self._encoder.prepare(texts, progress)

    @contextmanager
    def open(self, history: Sequence[Record], generator: Generator) -> Iterator[Profile]:
        """Open the profile that has these records, and the LLM of who asks."""
        name = _hash(history)
        path = self._folder / name / "profile.db"
        try:
            with Profile.open(
                path, self._bundle, embedder=self._encoder, generator=generator
            ) as profile:
                profile.add(history)
                yield profile
        finally:
            with self._lock:
                self._left[name] -= 1
                if self._left[name] <= 0:
                    shutil.rmtree(path.parent, ignore_errors=True)


def _hash(history: Sequence[Record]) -> str:
    parts = [part for one in history for part in (one.id, one.title, one.text, one.date, one.kind)]
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:24]
