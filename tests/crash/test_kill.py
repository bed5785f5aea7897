"""A process that is killed, interrupted, or out of disk space loses nothing that was stored."""

from __future__ import annotations

import random
import re
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgepersona.graphtable import NO_NODE
from edgepersona.records import Record
from edgepersona.store import Store
from tests.standins import EMBEDDER_HASH, NDIM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def start(
    path: Path, key: str, first: int, limit_bytes: int = 0, program: str = "adder"
) -> subprocess.Popen[str]:
    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "-m", f"tests.crash.{program}", str(path), key, str(first)]
    before = limit if limit_bytes else None
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=before)


def end_by(process: subprocess.Popen[str], sent: int, after_lines: int, spin: int) -> list[str]:
    """Send a signal once ``after_lines`` were read and a seeded moment passed; return all lines."""
    lines = [process.stdout.readline() for _ in range(after_lines)]
    for _ in range(spin):
        pass
    process.send_signal(sent)
    lines += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    assert lines[0] == "ready\n"
    return [line.rstrip("\n") for line in lines if line.endswith("\n")]


def check(path: Path, key: str, said: list[str]) -> int:
    """Check a profile against what its killed writers said; return where the next one may start."""
    store = Store.open(path, key=key or None, embedder_hash=EMBEDDER_HASH, ndim=NDIM)
    assert store.integrity_check() == ()
    stored = {record.id for record in store.records()}
    added = [int(line[2:]) for line in said if line.startswith("+")]
    deleted = {line[2:] for line in said if line.startswith("-")}
    kept = {f"{i}.{part}" for i in added for part in range(3)} - deleted
    # A deletion may be on disk and not yet reported: one batch of the last writer, at most.
    assert all(name.endswith(".1") for name in kept - stored)
    assert len(kept - stored) <= said.count("ready")
    assert not stored & deleted
    batches = {int(name.split(".")[0]) for name in stored if not name.startswith("after")}
    last = max(batches)
    assert {f"{i}.{part}" for i in batches for part in (0, 2)} | {f"{last}.1"} <= stored
    assert last >= max(added)
    vectors = sum(len(rows) for rows, _ in store.vectors())
    words = store._full_text._database.execute("SELECT count(*) FROM record_fts_docsize").get
    assert len(stored) == store.count() == vectors == words
    store.close()
    return last + 1


@pytest.mark.parametrize("key", ["", "a key"])
def test_reopen_after_kill_keeps_every_acknowledged_record(tmp_path: Path, key: str) -> None:
    moments = random.Random(7)
    path = tmp_path / "profile.db"
    said: list[str] = []
    following = 0
    for _ in range(6):
        process = start(path, key, following)
        after, spin = moments.randrange(2, 40), moments.randrange(100_000)
        said += end_by(process, signal.SIGKILL, after, spin)
        following = check(path, key, said)


@pytest.mark.parametrize("key", ["", "a key"])
def test_after_a_kill_graph_and_tokens_are_of_records_that_are_there(
    tmp_path: Path, key: str
) -> None:
    moments = random.Random(17)
    path = tmp_path / "profile.db"
    following = 0
    for _ in range(6):
        process = start(path, key, following, program="linked")
        end_by(process, signal.SIGKILL, moments.randrange(1, 5), moments.randrange(200_000))
        store = Store.open(path, key=key or None, embedder_hash=EMBEDDER_HASH, ndim=NDIM)
        assert store.integrity_check() == ()
        graph, rows = store.load_graph(), store.rows()
        batches = {int(record.id.split(".")[0]) for record in store.records()}
        following = 1 + max(batches, default=-1)
        if graph is not None:
            assert set(graph.ids.tolist()) <= set(rows.tolist())
            newer = {row for block, _ in store.vectors(graph.generation) for row in block}
            assert newer.isdisjoint(graph.ids.tolist())
            before = np.maximum(np.arange(len(graph.ids)) - 1, 0)[:, None]
            assert ((graph.links <= before) | (graph.links == NO_NODE)).all()
        read = {row for block, _, _ in store.tokens("1e" * 32, "text") for row in block.tolist()}
        assert read <= set(rows.tolist())
        sql = "SELECT ids, links FROM graph ORDER BY node"
        found = store._full_text._database.execute(sql).fetchall()
        ids = np.frombuffer(b"".join(ids for ids, _ in found), "<i8")
        links = np.frombuffer(b"".join(links for _, links in found), "<u4")
        assert not np.isin(links, np.flatnonzero(ids == 0)).any()
        store.close()


def test_a_kill_while_a_profile_is_made_leaves_one_that_opens(tmp_path: Path) -> None:
    moments = random.Random(11)
    code = (
        "import sys; from pathlib import Path; from edgepersona.store import Store;"
        "print(flush=True);"
        "Store.open(Path(sys.argv[1]), embedder_hash='5f', ndim=2)"
    )
    for i in range(8):
        path = tmp_path / f"{i}.db"
        process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
        process.stdout.readline()
        for _ in range(moments.randrange(120_000)):
            pass
        process.kill()
        process.communicate()
        store = Store.open(path, embedder_hash="5f", ndim=2)
        assert store.integrity_check() == ()
        store.close()


def test_after_an_interrupt_the_same_store_goes_on(tmp_path: Path) -> None:
    moments = random.Random(13)
    path = tmp_path / "profile.db"
    said: list[str] = []
    following = 0
    for turn in range(4):
        process = start(path, "", following)
        after, spin = moments.randrange(2, 20), moments.randrange(100_000)
        lines = end_by(process, signal.SIGINT, after, spin)
        assert lines[-1] == "interrupted ()"
        said += lines
        following = check(path, "", said)
        with_after = Store.open(path, embedder_hash=EMBEDDER_HASH, ndim=NDIM)
        assert sum(record.text == "after" for record in with_after.records()) == turn + 1
        with_after.close()


@pytest.mark.parametrize("key", ["", "a key"])
def test_a_file_that_may_not_grow_refuses_in_one_line_and_keeps_the_rest(
    tmp_path: Path, key: str
) -> None:
    path = tmp_path / "profile.db"
    process = start(path, key, 0, limit_bytes=400_000)
    said, _ = process.communicate()
    lines = said.splitlines()
    assert process.returncode == 0
    assert "the disk is full or failing" in lines[-1]
    assert re.search("nothing of this (add|delete) was stored|the change is stored", lines[-1])
    assert lines[-1].endswith("()")
    check(path, key, lines)


def test_a_full_disk_stores_nothing_and_later_all(
    open_store: Callable[..., Store], embedder
) -> None:
    store = open_store()
    store.add([Record("small", id="s")], embedder.encode(["small"]))
    before = store.generation
    pages = store._full_text._database.pragma("page_count")
    store._full_text._database.pragma("max_page_count", pages + 2)
    large = [Record(f"{i} " * 2000, id=f"{i}") for i in range(50)]
    vectors = embedder.encode([record.id for record in large])
    with pytest.raises(Exception, match="the disk is full: nothing of this add was stored") as full:
        store.add(large, vectors)
    assert type(full.value).__name__ == "ProfileError"
    assert (store.count(), store.generation) == (1, before)
    assert store.integrity_check() == ()
    store._full_text._database.pragma("max_page_count", 1 << 30)
    assert store.add(large, vectors).new == 50
