"""ONNX Runtime, behind one door: telemetry off, sessions, and memory bound in place."""

from __future__ import annotations

import importlib
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import BundleError, EdgePersonaError

# Read when onnxruntime loads; without it, version 1.29 and later write a file and look up a host.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Target of an export → the execution provider that runs it."""


class Session:
    """A loaded model graph; ``provider`` is the execution provider really in use.

    Safe to run from several threads at once. ``rest``: its threads stop spinning when a run ends,
    where what comes next is not another run.
    """

    def __init__(
        self, model: Path, *, target: str = "cpu", threads: int | None = None, rest: bool = False
    ) -> None:
        ort = onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or physical_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if rest:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = ort.InferenceSession(
                os.fspath(model), options, providers=[PROVIDERS[target]]
            )
        # onnxruntime throws a dozen exception types without a common base of its own.
        except Exception as error:
            raise BundleError(f"{model}: cannot be loaded: {_first_line(error)}") from error
        self.provider: str = self._session.get_providers()[0]
        self.inputs: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())

    def run(self, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once; arrays in, arrays out."""
        outputs: list[NDArray[Any]] = self._session.run(None, feeds)
        return outputs

    def bind(self, inputs: dict[str, NDArray[Any]], outputs: dict[str, NDArray[Any]]) -> Binding:
        """Bind arrays to the graph's names once, to be run many times without a copy."""
        return Binding(self._session, inputs, outputs)


class Binding:
    """A session with its inputs and outputs fixed to arrays the caller reads and writes.

    Holds references to the arrays: onnxruntime keeps only their addresses. One binding must not
    run in two threads at once.
    """

    def __init__(
        self, session: Any, inputs: dict[str, NDArray[Any]], outputs: dict[str, NDArray[Any]]
    ) -> None:
        self._session = session
        self._arrays = (*inputs.values(), *outputs.values())
        self._binding = session.io_binding()
        for bind, arrays in (
            (self._binding.bind_input, inputs),
            (self._binding.bind_output, outputs),
        ):
            for name, array in arrays.items():
                if not array.flags.c_contiguous:
                    raise ValueError(f"{name}: only a contiguous array can be bound")
                bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def run(self) -> None:
        """Run the graph on what the bound arrays hold now."""
        self._session.run_with_iobinding(self._binding)


@cache
def onnxruntime() -> Any:
    """Import onnxruntime, or raise EdgePersonaError that names both ways to install it."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EdgePersonaError(
            "onnxruntime is not installed: run pip install 'edgepersona[cpu]', "
            "or pip install 'edgepersona[gpu]' for CUDA and TensorRT"
        ) from error


def available_providers() -> tuple[str, ...]:
    """Return the execution providers this onnxruntime was built with; loading may still fail."""
    return tuple(onnxruntime().get_available_providers())


@cache
def physical_cores() -> int:
    """Count the physical cores this process may use: a second hyper-thread adds nothing here."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return max(1, (os.cpu_count() or 2) // 2)
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an uninitialised array whose memory starts on a 64-byte boundary, for SIMD."""
    size_bytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size_bytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size_bytes].view(dtype).reshape(shape)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
