"""Gives memory back that the allocator keeps of what was freed."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

_RELEASES = (("malloc_trim", (0,)), ("MallocExtension_ReleaseFreeMemory", ()))
"""What hands freed memory back, with its arguments: in glibc, and in tcmalloc if preloaded."""


def give_back(*, beyond: float = 0.0) -> None:
    """Hand freed memory back to the system where the allocator can, or do nothing.

    Batches are of ever other lengths, so freed tensors leave holes that the next batch's do not
    fit; a long run on a processor holds gigabytes of them. But what went back has to be had again,
    a page at a time, which can take longer than the step: so nothing goes back as long as the
    process holds at most the share ``beyond`` of the machine's memory.
    """
    if sys.platform != "linux" or held() < beyond:
        return
    gc.collect()
    process = ctypes.CDLL(None)
    for name, arguments in _RELEASES:
        release = getattr(process, name, None)
        if release is not None:
            release(*arguments)


def held() -> float:
    """Return what this process holds of the machine's memory, from 0 to 1; on Linux alone."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages / os.sysconf("SC_PHYS_PAGES")
