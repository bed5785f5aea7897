"""How fast a GPU's memory is: a copy within it, by the driver, beside which a decoder is held."""

from __future__ import annotations

import ctypes
import sys
import time
from typing import Any


def copied_bytes_s(size_bytes: int = 1 << 30, rounds: int = 20) -> float:
    """Return the bytes a second that the first GPU reads and writes when it copies a gigabyte."""
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    context = ctypes.c_void_p()
    _call(driver.cuInit, 0)
    # The context that ONNX Runtime uses as well: two would not share the GPU's time evenly.
    _call(driver.cuDevicePrimaryCtxRetain, ctypes.byref(context), 0)
    _call(driver.cuCtxSetCurrent, context)
    source, target = ctypes.c_uint64(), ctypes.c_uint64()
    for pointer in (source, target):
        _call(driver.cuMemAlloc_v2, ctypes.byref(pointer), ctypes.c_size_t(size_bytes))

    def copy(times: int) -> float:
        started = time.perf_counter()
        for _ in range(times):
            _call(driver.cuMemcpyDtoD_v2, target, source, ctypes.c_size_t(size_bytes))
        _call(driver.cuCtxSynchronize)
        return time.perf_counter() - started

    try:
        copy(3)
        return 2 * size_bytes * rounds / copy(rounds)
    finally:
        for pointer in (source, target):
            _call(driver.cuMemFree_v2, pointer)
        _call(driver.cuDevicePrimaryCtxRelease, 0)


def _call(function: Any, *arguments: Any) -> None:
    if status := function(*arguments):
        raise OSError(f"{function.__name__} answers with error {status}")
