"""Fixtures that several parts share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from edgepersona.profile import Profile
from edgepersona.store import Store
from tests import sanitized
from tests.standins import EMBEDDER_HASH, NDIM, NumpyVectors, WordEmbedder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

sanitized.hold_to_it()

# A busy machine is no failure, and a failure must come back when it is looked for.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder()


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Open stores of the stand-in embedder, by default all of one file; close them at the end."""
    opened: list[Store] = []

    def open_(path: Path = tmp_path / "profile.db", **options: object) -> Store:
        known: dict = {"embedder_hash": EMBEDDER_HASH, "ndim": NDIM, "busy_timeout_s": 0.0}
        store = Store.open(path, **{**known, **options})
        opened.append(store)
        return store

    yield open_
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    return open_store()


@pytest.fixture
def profile(store: Store, embedder: WordEmbedder) -> Profile:
    """A profile on the stand-ins; its embedder is the fixture ``embedder``."""
    return Profile(store, embedder=lambda: embedder, vectors=NumpyVectors)
