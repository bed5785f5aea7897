"""A value is made once, whoever asks and however many, and an error is for those who ask."""

from __future__ import annotations

import threading

import pytest

from edgepersona.once import Once

WAIT_S = 30


def test_what_was_begun_is_what_is_handed_out() -> None:
    makers: list[str] = []
    started, go_on = threading.Event(), threading.Event()

    def make() -> object:
        makers.append(threading.current_thread().name)
        started.set()
        assert go_on.wait(WAIT_S)
        return object()

    once = Once(make)
    once.begin()
    assert started.wait(WAIT_S)
    once.begin()  # under way already
    go_on.set()
    assert once.get() is once.get()
    once.begin()  # done already
    assert makers == ["edgepersona-loader"]


def test_many_who_ask_at_once_get_the_same() -> None:
    once = Once(object)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(once.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_an_error_goes_to_who_asks_and_the_next_may_succeed() -> None:
    outcomes = [ValueError("begun"), ValueError("asked"), "made"]

    def make() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, ValueError):
            raise outcome
        return outcome

    once = Once(make)
    once.begin()
    for thread in threading.enumerate():
        if thread.name == "edgepersona-loader":
            thread.join()
    with pytest.raises(ValueError, match="asked"):
        once.get()
    assert once.get() == "made"


def test_where_no_thread_can_start_it_is_made_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    once = Once(lambda: 1)
    once.begin()
    once.begin()
    assert once.get() == 1
