"""A profile of 100,000 records on disk, as a long history leaves it, and a timed embedder."""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.vectors import data
from edgepersona import embedder as embedder_module
from edgepersona.bundle import Bundle
from edgepersona.embedder import Embedder
from edgepersona.profile import Profile
from edgepersona.records import Record, checked
from edgepersona.store import Store

COUNT = 100_000
KEYS = {"plain": None, "encrypted": "a passphrase of the benchmark"}

_BATCH = 5_000
_SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "il")]
_OFTEN = list(itertools.accumulate(1 / (number + 2.7) for number in range(30_000)))


@dataclass
class Clock:
    """Seconds that embedders took since the last reset."""

    load_s: float = 0.0
    encode_s: float = 0.0

    def reset(self) -> None:
        """Start again from nothing."""
        self.load_s = self.encode_s = 0.0


def timed_embedder() -> Clock:
    """Have every embedder made from now on report its time to the clock that is returned."""
    clock = Clock()

    class Timed(Embedder):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            started = time.perf_counter()
            super().__init__(*arguments, **options)
            clock.load_s += time.perf_counter() - started

        def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
            started = time.perf_counter()
            vectors = super().encode(texts, role=role)
            clock.encode_s += time.perf_counter() - started
            return vectors

    embedder_module.Embedder = Timed  # type: ignore[misc]
    return clock


def words(generator: random.Random, count: int) -> str:
    """Return ``count`` invented words, as often as those of a language (Zipf and Mandelbrot)."""
    numbers = generator.choices(range(len(_OFTEN)), cum_weights=_OFTEN, k=count)
    return " ".join(_word(number) for number in numbers)


def make(form: str, bundle: Bundle, *, rebuild: bool) -> Path:
    """Return the profile's file, ``plain`` or ``encrypted``, with its index as users leave it."""
    file = data.CACHE / f"profile-{form}-{bundle.embedder_hash[:12]}-{data.SEED}.db"
    if file.exists() and not rebuild:
        return file
    print(f"making {file.name}", flush=True)
    unfinished = file.with_suffix(".part")
    _remove(unfinished)
    _fill(unfinished, KEYS[form], bundle)
    with Profile.open(unfinished, bundle, key=KEYS[form]) as profile:
        profile.search(words(random.Random(1), 4))
        wait_until_linked(profile)
    _remove(file)
    return unfinished.rename(file)


def wait_until_linked(profile: Profile) -> None:
    """Return when the profile's background work is done."""
    join = getattr(profile._index, "join", None)
    if join is not None:
        join()


def copied(file: Path, folder: Path) -> Path:
    """Return a copy of a profile that may be changed."""
    copy = folder / file.name
    shutil.copy(file, copy)
    return copy


def _fill(file: Path, key: str | None, bundle: Bundle) -> None:
    vectors = data.load("real", COUNT) or data.load("random", COUNT)
    assert vectors is not None
    generator = random.Random(data.SEED)
    store = Store.open(file, key=key, embedder_hash=bundle.embedder_hash, ndim=bundle.embedder.ndim)
    for start in range(0, COUNT, _BATCH):
        batch = [_record(generator, start + i) for i in range(_BATCH)]
        store.add(batch, np.array(vectors.rows[start : start + _BATCH]))
    store.close()


def _record(generator: random.Random, number: int) -> Record:
    date = f"20{10 + number // 10_000:02}-{1 + number // 800 % 12:02}-{1 + number % 28:02}"
    text = words(generator, generator.randint(12, 40))
    return checked(Record(text, title=words(generator, 5), date=date, kind="note", id=f"n{number}"))


def _word(number: int) -> str:
    """Return the invented word of a number: short ones for small numbers."""
    word = ""
    while number or not word:
        number, syllable = divmod(number, len(_SYLLABLES))
        word += _SYLLABLES[syllable]
    return word


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
