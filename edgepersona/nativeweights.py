"""Weights as the native core takes them: an index in JSON, and arrays in one file beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import BundleError, InputError

WEIGHTS = "weights.bin"

_LINE = 64
"""Bytes of a cache line: kernels read a line at a time, and one across two takes twice as long."""

T = TypeVar("T")


class Tensors:
    """The arrays of a file, read into memory, by what its index says of where they are."""

    def __init__(self, file: Path) -> None:
        # Read, not mapped: NumPy asks for large pages, worth a fifth of a token's time.
        size_bytes = file.stat().st_size
        room = np.empty(size_bytes + _LINE, np.uint8)
        start = -room.ctypes.data % _LINE
        self._data = room[start : start + size_bytes]
        with file.open("rb") as stream:
            if stream.readinto(self._data.data) != size_bytes:
                raise ValueError("the file changed while it was read")

    def floats(self, where: dict[str, Any]) -> NDArray[Any]:
        """Return a float32 array."""
        shape = tuple(where["shape"])
        count = int(np.prod(shape, dtype=object))
        return self._read(where["offset"], count, "<f4").reshape(shape)

    def matrix(self, where: dict[str, Any]) -> dict[str, Any]:
        """Return a packed matrix: its sizes and its arrays."""
        sizes = {name: size(where[name]) for name in ("rows", "columns", "bits", "block")}
        rows = -(-sizes["rows"] // 16) * 16
        blocks = -(-sizes["columns"] // max(sizes["block"], 1))
        codes = rows * blocks * sizes["block"] * sizes["bits"] // 8
        found = {
            **sizes,
            "codes": self._read(where["codes"], codes, "u1"),
            "scales": self._read(where["scales"], rows * blocks, "<u2"),
        }
        if "minima" in where:
            found["minima"] = self._read(where["minima"], rows * blocks, "<u2")
        return found

    def _read(self, offset: int, count: int, kind: str) -> NDArray[Any]:
        dtype = np.dtype(kind)
        end = offset + count * dtype.itemsize
        if offset < 0 or count < 0 or offset % dtype.itemsize or end > len(self._data):
            raise ValueError("a tensor lies outside the file")
        return self._data[offset:end].view(dtype)


def open_model(index: Path, data: Path, make: Callable[[dict[str, Any], Tensors], T]) -> T:
    """Return what ``make`` makes of an index and its arrays; BundleError where they do not fit."""
    try:
        return make(json.loads(index.read_bytes()), Tensors(data))
    except KeyError as error:
        raise BundleError(f"{index}: does not describe {data.name}: lacks {error}") from error
    # A number of any size overflows somewhere; JSON of any depth runs out of stack.
    except (InputError, TypeError, ValueError, OverflowError, RecursionError) as error:
        why = str(error).partition("\n")[0]
        raise BundleError(f"{index}: does not describe {data.name}: {why}") from error


def size(value: object) -> int:
    """Return ``value`` as a size; ValueError where it is none."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 40:
        raise ValueError(f"{value!r:.40} is no size")
    return value
