"""Memory that graphs read and write where it lies: the host's, or a GPU's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import EdgePersonaError


class Memory(Protocol):
    """What can be bound to a graph's input or output, beside a NumPy array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    device: str
    address: int


class Buffer(Memory, Protocol):
    """Memory of one device, zeroed when it is made."""

    def read(self) -> NDArray[Any]:
        """Return what it holds."""

    def write(self, array: NDArray[Any]) -> None:
        """Set all of it."""


class Rows:
    """Some of a buffer's rows, where they lie; a row is all that one index of its first axis has.

    They are bound with an axis of length 1 before the rows.
    """

    def __init__(self, buffer: Buffer, start: int, count: int) -> None:
        row = buffer.shape[1:]
        self._buffer = buffer  # an address keeps nothing alive
        self.shape = (1, count, *row)
        self.dtype = buffer.dtype
        self.device = buffer.device
        self.address = buffer.address + start * int(np.prod(row)) * buffer.dtype.itemsize


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
        with gpu_errors():
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

    def __init__(self, session: Any, device: str) -> None:
        self._session = session
        self._binding = session.io_binding()
        self._on_host = device == "cpu"
        self._bound: dict[str, NDArray[Any] | Memory] = {}
        self._copied: dict[str, NDArray[Any]] = {}

    def bind(
        self,
        inputs: Mapping[str, NDArray[Any] | Memory],
        outputs: Mapping[str, NDArray[Any] | Memory],
    ) -> None:
        """Bind memory to names; what was bound to them before is let go."""
        for name, memory in inputs.items():
            if isinstance(memory, np.ndarray) and not self._on_host:
                # What lies elsewhere than the graph is copied when it is bound, not when the graph
                # runs (onnxruntime's IOBinding.BindInput): so it is bound anew for each run.
                self._copied[name] = memory
            else:
                _bind(self._binding.bind_input, name, memory)
        for name, memory in outputs.items():
            _bind(self._binding.bind_output, name, memory)
        self._bound |= {**inputs, **outputs}

    def run(self) -> None:
        """Run the graph on what the bound memory holds now."""
        if self._on_host:
            self._session.run_with_iobinding(self._binding)
            return
        with gpu_errors():
            for name, memory in self._copied.items():
                _bind(self._binding.bind_input, name, memory)
            self._session.run_with_iobinding(self._binding)
            self._binding.synchronize_outputs()


@contextmanager
def gpu_errors() -> Iterator[None]:
    """Call what a GPU refuses by our name: its memory is shared with every other program."""
    try:
        yield
    # onnxruntime throws a dozen exception types without a common base of its own.
    except Exception as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise EdgePersonaError(
            f"the GPU gave up, its memory may be full (--target cpu does without): {why}"
        ) from error


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros whose memory starts on a 64-byte boundary, for SIMD."""
    size_bytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(size_bytes + 64, np.uint8)  # the system's zero pages: none is touched yet
    start = -raw.ctypes.data % 64
    return raw[start : start + size_bytes].view(dtype).reshape(shape)


def _bind(bind: Any, name: str, memory: NDArray[Any] | Memory) -> None:
    kind = memory.dtype.type
    if isinstance(memory, np.ndarray):
        if not memory.flags.c_contiguous:
            raise ValueError(f"{name}: only a contiguous array can be bound")
        bind(name, "cpu", 0, kind, memory.shape, memory.ctypes.data)
    else:
        bind(name, memory.device, 0, kind, memory.shape, memory.address)
