"""The linker: a thread while there is work, and none that outlives its end."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import numpy as np
import pytest

from edgepersona.errors import InputError, ProfileError
from edgepersona.graphtable import Graph
from edgepersona.linker import Linker


def graph(nodes: int, emptied: int = 0) -> Graph:
    return Graph(np.arange(1, nodes + 1), np.empty((nodes, 0), np.uint32), 8, 1, emptied)


class Counted:
    """Work that is counted; ``rows`` of it, done or not."""

    def __init__(self, rows: int = 0) -> None:
        self.rows, self.done = rows, 0
        self.on_disk: Graph | None = None
        self.kept: list[int] = []
        self.refused = 0  # how often keep finds the profile changed
        self.failing: Exception | None = None
        self.reached, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def link(self, count: int) -> int:
        if count:
            self.reached.set()
            assert self.gate.wait(60)
            self.done = min(self.rows, self.done + count)
        return self.rows - self.done

    def take_over(self) -> Graph | None:
        if self.failing:
            raise self.failing
        self.done = len(self.on_disk.ids) if self.on_disk else 0
        return self.on_disk

    def keep(self) -> Graph | None:
        if self.failing:
            raise self.failing
        if self.refused:
            self.refused -= 1
            return None
        self.kept.append(self.done)
        return graph(self.done)


def threads() -> int:
    return sum(thread.name == "edgepersona-linker" for thread in threading.enumerate())


def run(linker: Linker, changed: int) -> None:
    linker.start(changed)
    linker.join()


def test_no_thread_is_started_where_there_is_nothing_to_link() -> None:
    work = Counted()
    work.reached.clear()
    linker = Linker(work)
    linker.start(1000)
    assert threads() == 0
    linker.join()
    linker.close()
    assert work.kept == []


def test_all_is_linked_and_saved_and_the_thread_ends() -> None:
    work = Counted(5000)
    run(Linker(work), 5000)
    assert work.done == 5000
    assert work.kept == [5000]
    assert threads() == 0


def test_a_long_building_is_saved_on_the_way(caplog) -> None:
    work = Counted(100_000)
    run(Linker(work), 100_000)
    assert work.kept[-1] == 100_000
    assert 2 < len(work.kept) < 8
    assert work.kept == sorted(work.kept)
    assert caplog.records == []


def test_what_lies_on_disk_is_taken_over_and_not_saved_again() -> None:
    work = Counted(6400)
    work.on_disk = graph(6400)
    run(Linker(work), 6400)
    assert (work.done, work.kept) == (6400, [])


def test_few_changes_are_linked_and_saved_when_they_are_many() -> None:
    work = Counted(6410)
    work.on_disk = graph(6400)
    linker = Linker(work)
    run(linker, 6410)
    assert (work.done, work.kept) == (6410, [])
    for _ in range(10):
        assert work.kept == []
        work.rows += 10
        run(linker, 10)
    assert work.done == 6510
    assert work.kept == [6510]


def test_removals_count_as_changes() -> None:
    work = Counted(6400)
    linker = Linker(work)
    run(linker, 6400)
    work.rows = work.done = 6200
    run(linker, 200)
    assert work.kept == [6400, 6200]


def test_emptied_nodes_of_the_loaded_graph_count_as_changes() -> None:
    work = Counted(6400)
    work.on_disk = graph(6000, emptied=400)
    run(Linker(work), 6400)
    assert work.kept == [6400]


def test_a_change_in_the_midst_of_saving_is_waited_out() -> None:
    work = Counted(100)
    work.refused = 2
    linker = Linker(work)
    run(linker, 100)
    assert work.kept == [100]
    work.rows, work.refused = 200, 3
    run(linker, 100)
    assert (work.done, work.kept) == (200, [100])
    work.rows = 300
    run(linker, 100)
    assert work.kept == [100, 300]


def test_a_failure_to_save_is_reported_and_costs_nothing_else(caplog) -> None:
    work = Counted(50_000)
    work.failing = ProfileError("the disk is full")
    linker = Linker(work)
    run(linker, 50_000)
    assert work.done == 50_000
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert len(caplog.records) < 6
    assert all("the disk is full" in record.message for record in caplog.records)
    work.failing = None
    work.rows += 2000
    run(linker, 2000)
    assert work.kept == [52_000]


def test_a_saved_graph_that_is_none_is_made_anew(caplog) -> None:
    work = Counted(100)
    work.failing = InputError("a link to node 900 of 100")
    linker = Linker(work)
    linker.start(100)
    linker.join()
    assert work.done == 100
    assert "made anew: a link to node 900" in caplog.text


def test_a_fault_is_logged_and_the_next_change_tries_again(caplog, monkeypatch) -> None:
    work = Counted(100)
    link = work.link

    def faulty(count: int) -> int:
        if count:
            raise MemoryError
        return link(count)

    monkeypatch.setattr(work, "link", faulty)
    linker = Linker(work)
    run(linker, 100)
    assert "searches go on without" in caplog.text
    monkeypatch.undo()
    run(linker, 0)
    assert work.kept == [100]


def test_closing_while_linking_ends_with_the_slice_and_twice_and_from_many_threads() -> None:
    work = Counted(10**9)
    linker = Linker(work)
    work.gate.clear()
    linker.start(10**9)
    assert work.reached.wait(60)
    closing = [threading.Thread(target=linker.close) for _ in range(4)]
    for thread in closing:
        thread.start()
    work.gate.set()
    for thread in closing:
        thread.join()
    linker.close()
    assert threads() == 0
    done = work.done
    assert done < 10**9
    linker.start(5)
    assert (threads(), work.done) == (0, done)


def test_work_that_comes_while_linking_is_done_by_the_same_thread() -> None:
    work = Counted(100)
    work.gate.clear()
    linker = Linker(work)
    linker.start(100)
    assert work.reached.wait(60)
    work.rows += 1000
    linker.start(1000)
    assert threads() == 1
    work.gate.set()
    linker.join()
    assert work.done == 1100


def test_where_no_thread_can_be_started_nothing_is_linked(monkeypatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    work = Counted(100)
    linker = Linker(work)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        run(linker, 100)
    assert work.done == 0
    run(linker, 0)
    assert work.done == 100


@pytest.mark.parametrize("ending", ["pass", "sys.exit(3)", "raise SystemExit(3)"])
def test_an_interpreter_that_ends_while_linking_does_not_hang(ending) -> None:
    code = (
        "import sys\nfrom edgepersona.linker import Linker\n"
        "from tests.unit.test_linker import Counted\n"
        "work = Counted(10**12)\nlinker = Linker(work)\nlinker.start(1)\n"
        f"assert work.reached.wait(60)\n{ending}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == (0 if ending == "pass" else 3)
    assert done.stderr == b""
