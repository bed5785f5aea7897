"""Memory that graphs read and write where it lies: the host's, or a GPU's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Buffer(Protocol):
    """Memory of one device, zeroed when it is made."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: str
    address: int

    def read(self) -> NDArray[Any]:
        """Return what it holds."""

    def write(self, array: NDArray[Any]) -> None:
        """Set all of it."""


class HostBuffer:
    """The host's memory; ``read`` returns a view of it."""

    device = "cpu"

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        self._array = aligned_zeros(shape, dtype)
        self.address: int = self._array.ctypes.data

    def read(self) -> NDArray[Any]:
        """Return a view of what it holds."""
        return self._array

    def write(self, array: NDArray[Any]) -> None:
        """Set all of it."""
        if array is not self._array:
            self._array[...] = array


class DeviceBuffer:
    """A GPU's memory; reading and writing copy it whole."""

    device = "cuda"

    def __init__(self, ort: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        # Zeroed: what attention masks is still multiplied by 0, and garbage may be a NaN.
        self._value = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype), self.device, 0)
        self.address: int = self._value.data_ptr()

    def read(self) -> NDArray[Any]:
        """Return a copy of what it holds."""
        array: NDArray[Any] = self._value.numpy()
        return array

    def write(self, array: NDArray[Any]) -> None:
        """Set all of it."""
        self._value.update_inplace(np.ascontiguousarray(array, self.dtype))


class Binding:
    """A session with its inputs and outputs fixed to memory the caller reads and writes.

    Holds references to that memory: onnxruntime keeps only addresses. One binding must not run in
    two threads at once.
    """

    def __init__(
        self,
        session: Any,
        device: str,
        inputs: Mapping[str, NDArray[Any] | Buffer],
        outputs: Mapping[str, NDArray[Any] | Buffer],
    ) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._on_host = device == "cpu"
        self._memory = (*inputs.values(), *outputs.values())
        # What lies on another device than the graph's is copied when it is bound, not when the
        # graph runs (onnxruntime's IOBinding.BindInput): it is bound again for each run.
        self._copied = {
            name: memory
            for name, memory in inputs.items()
            if isinstance(memory, np.ndarray) and not self._on_host
        }
        for name, memory in inputs.items():
            if name not in self._copied:
                _bind(self._binding.bind_input, name, memory)
        for name, memory in outputs.items():
            _bind(self._binding.bind_output, name, memory)

    def run(self) -> None:
        """Run the graph on what the bound memory holds now."""
        for name, memory in self._copied.items():
            _bind(self._binding.bind_input, name, memory)
        self._session.run_with_iobinding(self._binding)
        if not self._on_host:
            self._binding.synchronize_outputs()


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros whose memory starts on a 64-byte boundary, for SIMD."""
    size_bytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size_bytes + 64, np.uint8)  # the system's zero pages: none is touched yet
    start = -raw.ctypes.data % 64
    return raw[start : start + size_bytes].view(dtype).reshape(shape)


def _bind(bind: Any, name: str, memory: NDArray[Any] | Buffer) -> None:
    kind = memory.dtype.type
    if isinstance(memory, np.ndarray):
        if not memory.flags.c_contiguous:
            raise ValueError(f"{name}: only a contiguous array can be bound")
        bind(name, "cpu", 0, kind, memory.shape, memory.ctypes.data)
    else:
        bind(name, memory.device, 0, kind, memory.shape, memory.address)
