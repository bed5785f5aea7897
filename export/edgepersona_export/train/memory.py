"""Gives memory back that the C library keeps of what was freed."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Hand freed memory back to the system where the C library can (glibc), or do nothing.

    Batches are of ever other lengths, so freed tensors leave holes that the next batch's do not
    fit; a long run on a processor holds gigabytes of them.
    """
    gc.collect()
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
