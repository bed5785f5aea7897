"""The NVIDIA GPU of this machine, as its driver describes it: no library of CUDA's is loaded."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgepersona.errors import EdgePersonaError

# CUdevice_attribute of the driver's interface
_CLOCK_KHZ = 36
_BUS_BITS = 37
_MAJOR = 75
_MINOR = 76


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: what an engine is built for, and what bounds its speed."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int
    bandwidth_bytes_s: float
    """Of its memory on paper, two transfers a clock; 0 where the driver does not say."""
    driver: str
    """The newest CUDA that the driver knows."""


def find_gpu() -> Gpu:
    """Return the first GPU that this process may use, or raise EdgePersonaError saying why none.

    ``CUDA_VISIBLE_DEVICES`` says which those are.
    """
    found = _look()
    if isinstance(found, str):
        raise EdgePersonaError(f"no NVIDIA GPU: {found}")
    return found


@cache
def _look() -> Gpu | str:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return read_gpu(ctypes.CDLL(name))
    except OSError:
        return f"the driver's library {name} is not there"
    except EdgePersonaError as error:
        return str(error)


def read_gpu(driver: Any) -> Gpu:
    """Describe the first GPU through the driver's library."""
    _call(driver, "cuInit", 0)
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _call(driver, "cuDriverGetVersion", ctypes.byref(version))
    _call(driver, "cuDeviceGetCount", ctypes.byref(count))
    if not count.value:
        raise EdgePersonaError("the driver shows none (is CUDA_VISIBLE_DEVICES empty?)")
    _call(driver, "cuDeviceGet", ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(256)
    _call(driver, "cuDeviceGetName", name, len(name), device)
    memory = ctypes.c_size_t()
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)

    def attribute(number: int) -> int:
        value = ctypes.c_int()
        _call(driver, "cuDeviceGetAttribute", ctypes.byref(value), number, device)
        return value.value

    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=(attribute(_MAJOR), attribute(_MINOR)),
        memory_bytes=memory.value,
        bandwidth_bytes_s=2000.0 * attribute(_CLOCK_KHZ) * attribute(_BUS_BITS) / 8,
        driver=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def _call(driver: Any, name: str, *arguments: object) -> None:
    status = int(getattr(driver, name)(*arguments))
    if status:
        raise EdgePersonaError(f"the driver answers {name} with error {status}")
