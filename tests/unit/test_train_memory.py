"""What was freed goes back to the system, also from between what is still held."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

from edgepersona_export.train.memory import give_back

_BLOCK = 1 << 16  # too small for a mapping of its own, too large for Python's own allocator
_BLOCKS = 2048


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("no RssAnon")


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="the C library keeps what it keeps: it is not glibc",
)
def test_what_lies_between_blocks_still_held_is_given_back() -> None:
    blocks = [b"x" * _BLOCK for _ in range(_BLOCKS)]
    held = blocks[::16]
    before = resident()
    del blocks
    give_back()
    assert len(held) == _BLOCKS // 16
    assert before - resident() > _BLOCK * _BLOCKS // 2


def test_it_does_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("there is no such library"))
    give_back()
