"""ONNX Runtime, behind one door: telemetry off, and sessions on the provider that was asked for."""

from __future__ import annotations

import importlib
import os
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import BundleError, EdgePersonaError
from edgepersona.memory import Binding, Buffer, DeviceBuffer, HostBuffer, gpu_errors
from edgepersona.providers import (
    PROVIDERS,
    no_lines_about_providers,
    provider_list,
    require_provider,
    why_not_loaded,
)

# Read when onnxruntime loads; without it, version 1.29 and later write a file and look up a host.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class Session:
    """A loaded model graph; ``provider`` is the execution provider really in use.

    Safe to run from several threads at once. ``rest``: its threads stop spinning when a run ends,
    where what comes next is not another run. ``options`` are those of the target's provider.

    Raises EdgePersonaError where that provider does not load: onnxruntime itself would go on with
    the CPU and say so to nobody.
    """

    def __init__(
        self,
        model: Path,
        *,
        target: str = "cpu",
        threads: int | None = None,
        rest: bool = False,
        options: Mapping[str, object] | None = None,
    ) -> None:
        require(target)
        ort = onnxruntime()
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads or physical_cores()
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        if target != "cpu":
            settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if rest:
            settings.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            with no_lines_about_providers(ort):
                self._session = ort.InferenceSession(
                    os.fspath(model),
                    settings,
                    providers=provider_list(target, options or {}),
                    enable_fallback=0,  # it prints, and goes on with the CPU
                )
        # onnxruntime throws a dozen exception types without a common base of its own.
        except Exception as error:
            _check_loaded(ort, target)
            raise BundleError(f"{model}: cannot be loaded: {_first_line(error)}") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != PROVIDERS[target]:
            _check_loaded(ort, target)
            raise EdgePersonaError(f"{PROVIDERS[target]} did not load, onnxruntime says not why")
        self.device = "cpu" if target == "cpu" else "cuda"
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.inputs: tuple[str, ...] = tuple(i.name for i in inputs)
        self._types: dict[str, str] = {i.name: i.type for i in (*inputs, *outputs)}

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the type of the input or output of that name."""
        return np.dtype(_TYPES[self._types[name]])

    def run(self, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run once; arrays in, arrays out."""
        with nullcontext() if self.device == "cpu" else gpu_errors():
            outputs: list[NDArray[Any]] = self._session.run(None, feeds)
        return outputs

    def buffer(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Buffer:
        """Make memory of the session's device, for its graph to read and write in place."""
        if self.device == "cpu":
            return HostBuffer(shape, dtype)
        return DeviceBuffer(onnxruntime(), shape, dtype)

    def binding(self) -> Binding:
        """Return a binding of memory to the graph's names, to be run many times."""
        return Binding(self._session, self.device)

    def placement(self) -> dict[str, int]:
        """Count the graph's nodes by the provider that runs them; empty where nobody can tell.

        A provider takes the nodes it can: a session on CUDA may leave some to the CPU.
        """
        if self.device == "cpu":
            return {}
        try:
            parts = self._session.get_provider_graph_assignment_info()
        except AttributeError:  # an onnxruntime that does not record it
            return {}
        counts: Counter[str] = Counter()
        for part in parts:
            counts[part.ep_name] += len(part.get_nodes())
        return dict(counts)


@cache
def onnxruntime() -> Any:
    """Import onnxruntime, or raise EdgePersonaError that names both ways to install it."""
    try:
        with warnings.catch_warnings():
            # Said on a machine without CUDA's libraries; why is asked where it matters.
            warnings.filterwarnings("ignore", message=".*CUDA plugin EP")
            return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise EdgePersonaError(
            "onnxruntime is not installed: run pip install 'edgepersona[cpu]', "
            "or pip install 'edgepersona[gpu]' for CUDA and TensorRT"
        ) from error


def available_providers() -> tuple[str, ...]:
    """Return the execution providers this onnxruntime was built with; loading may still fail."""
    return tuple(onnxruntime().get_available_providers())


def require(target: str) -> None:
    """Raise EdgePersonaError that says why, where it is plain that a target cannot run here."""
    require_provider(onnxruntime(), target)


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


def _check_loaded(ort: Any, target: str) -> None:
    if target != "cpu" and (reason := why_not_loaded(ort, target)):
        raise EdgePersonaError(f"{PROVIDERS[target]} did not load: {reason}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
