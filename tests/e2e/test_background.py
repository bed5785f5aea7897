"""A profile large enough for a graph: searched, closed, reopened and forgotten from meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import numpy as np
import pytest

from edgepersona import _native
from edgepersona.profile import Profile
from edgepersona.records import Record
from edgepersona.store import Store
from tests.sanitized import SANITIZED
from tests.standins import EMBEDDER_HASH, NDIM, NumpyVectors, WordEmbedder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ROWS = 3000
GRAPH_FROM = 1000

LEAVE = """
import sys
from tests.e2e.test_background import opened
profile = opened(sys.argv[1], native=sys.argv[2] == "native")
assert len(profile.search("note 7", k=5)) == 5
{ending}
"""

MEMORY = """
import os, sys
import numpy as np
from pathlib import Path
from edgepersona import _native
from edgepersona.profile import Profile
from edgepersona.store import Store
from edgepersona.records import Record

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

class Encoder:
    def encode(self, texts, *, role="document"):
        return np.ones((len(texts), 384), np.float32)

store = Store.open(Path(sys.argv[1]), embedder_hash="5f", ndim=384)
for start in range(0, 60000, 5000):
    records = [Record("a", id=str(i)) for i in range(start, start + 5000)]
    store.add(records, np.random.default_rng(start).normal(size=(5000, 384)).astype(np.float32))
profile = Profile(store, embedder=Encoder, vectors=_native.VectorIndex)
before = resident()
profile.search("b")
loaded = resident()
profile.close()
print(loaded - before, resident() - before)
"""


class FewDimensions(WordEmbedder):
    """Texts in four dimensions: of as few as these, a graph of them pays."""

    def encode(self, texts: Sequence[str], *, role: str = "document") -> NDArray[np.float32]:
        vectors = super().encode(texts, role=role)
        vectors[:, 4:] = 0
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Slow(NumpyVectors):
    """Links one slice, and then waits to be let on."""

    def __init__(self, ndim: int, *, graph_from: int) -> None:
        super().__init__(ndim, graph_from=graph_from)
        self.reached, self.gate = threading.Event(), threading.Event()

    def link(self, count: int) -> int:
        if self.linked and count:
            self.reached.set()
            assert self.gate.wait(60)
        return super().link(count)


def opened(path: str | Path, *, native: bool, made: list | None = None, make=NumpyVectors):
    """Open a profile with one of the two vector indexes, which links from few rows on."""

    def vectors(ndim: int):
        factory = _native.VectorIndex if native else make
        index = factory(ndim, graph_from=GRAPH_FROM)
        if made is not None:
            made.append(index)
        return index

    store = Store.open(Path(path), embedder_hash=EMBEDDER_HASH, ndim=NDIM)
    return Profile(store, embedder=FewDimensions, vectors=vectors)


@pytest.fixture(params=["standin", "native"])
def native(request) -> bool:
    return request.param == "native"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The bytes of a profile of notes, without a graph."""
    path = tmp_path_factory.mktemp("whole") / "profile.db"
    records = [Record(f"note {i} on matter {i % 40}", id=f"n{i}") for i in range(ROWS)]
    store = Store.open(path, embedder_hash=EMBEDDER_HASH, ndim=NDIM)
    store.add(records, FewDimensions().encode([record.text for record in records]))
    store.close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path, whole) -> Path:
    path = tmp_path / "profile.db"
    path.write_bytes(whole)
    return path


def found(profile: Profile) -> list[str]:
    return [hit.record.id for hit in profile.search("note 7 on matter 7", k=5)]


def nodes(path: Path) -> int:
    connection = apsw.Connection(str(path))
    count: int = connection.execute("SELECT total(length(ids) / 8) FROM graph").get
    connection.close()
    return int(count)


def test_a_built_graph_is_taken_over_at_the_next_opening(path, native) -> None:
    with opened(path, native=native) as profile:
        assert found(profile)[0] == "n7"
        profile._index.join()
    assert nodes(path) == ROWS
    graphs = []
    for _ in range(2):
        made: list = []
        with opened(path, native=native, made=made) as profile:
            assert found(profile)[0] == "n7"
            profile._index.join()
            graphs.append([part.tolist() for part in made[0].graph()[:2]])
    assert graphs[0] == graphs[1]
    if not native:
        assert made[0].linked == 0


def test_closed_while_building_it_opens_again_and_is_built(path) -> None:
    made: list = []
    profile = opened(path, native=False, made=made, make=Slow)
    assert found(profile)[0] == "n7"
    assert made[0].reached.wait(60)
    closing = threading.Thread(target=profile.close)
    closing.start()
    made[0].gate.set()
    closing.join()
    assert 0 < made[0].linked < ROWS
    assert nodes(path) == 0
    with opened(path, native=False) as profile:
        assert found(profile)[0] == "n7"
        profile._index.join()
    assert nodes(path) == ROWS


def test_deleted_while_building_it_is_neither_found_nor_kept(path) -> None:
    made: list = []
    with opened(path, native=False, made=made, make=Slow) as profile:
        assert "n7" in found(profile)
        assert made[0].reached.wait(60)
        gone = [f"n{i}" for i in range(0, ROWS, 3)] + ["n7"]
        assert profile.delete(gone) == len(gone)
        assert len(made[0]) == ROWS - len(gone)
        assert not set(found(profile)) & set(gone)
        made[0].gate.set()
        profile._index.join()
        assert not set(found(profile)) & set(gone)
        rows = profile._store.rows()
        assert profile._store.load_graph().ids.tolist() == rows.tolist()


def test_changes_after_the_graph_was_kept_are_found_at_the_next_opening(path, native) -> None:
    with opened(path, native=native) as profile:
        found(profile)
        profile._index.join()
        profile.delete(["n7"])
        profile.update(Record("submarine", id="n8"))
        profile.add([Record("airship", id="new")])
    assert nodes(path) == ROWS
    with opened(path, native=native) as profile:
        assert profile.search("submarine", k=1)[0].record.id == "n8"
        assert profile.search("airship", k=1)[0].record.id == "new"
        profile._index.join()
        assert profile.search("submarine", k=1)[0].record.id == "n8"
        assert profile.search("airship", k=1)[0].record.id == "new"
        assert "n7" not in found(profile)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE graph SET links = zeroblob(length(links)) WHERE node = 512",
        "DELETE FROM graph WHERE node = 512",
    ],
)
def test_a_damaged_chunk_costs_the_building_and_nothing_else(path, native, damage) -> None:
    with opened(path, native=native) as profile:
        assert found(profile)[0] == "n7"
        profile._index.join()
    connection = apsw.Connection(str(path))
    connection.execute(damage)
    connection.close()
    made: list = []
    with opened(path, native=native, made=made) as profile:
        assert found(profile)[0] == "n7"
        profile._index.join()
        assert len(made[0].graph()[0]) == ROWS
        assert profile._store.integrity_check() == ()
        assert len(profile._store.load_graph().ids) == ROWS


@pytest.mark.parametrize("ending", ["", "profile.close()", "sys.exit(0)", "del profile"])
def test_a_program_that_ends_while_building_ends(path, native, ending) -> None:
    code = LEAVE.replace("{ending}", ending)
    command = [sys.executable, "-c", code, path, "native" if native else "standin"]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    store = Store.open(path, embedder_hash=EMBEDDER_HASH, ndim=NDIM)
    assert store.integrity_check() == ()
    store.close()


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what is freed for a while, to watch it")
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_memory_returns_when_a_profile_is_closed(tmp_path) -> None:
    command = [sys.executable, "-c", MEMORY, tmp_path / "p.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    grown, left = map(int, done.stdout.split())
    assert grown > 60_000 * 384, "vectors in memory take more than a byte a number"
    assert left < grown / 4, f"{left:,} of {grown:,} bytes are still held after closing"
