"""A pretended GPU: onnxruntime's CPU behind the rules that its CUDA provider has for memory.

Device memory is host memory that is told apart: what is bound from the host is copied when it is
bound, as onnxruntime's ``IOBinding.BindInput`` does, and not when the graph runs.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


class PretendedOrt:
    """Stands in for the module onnxruntime of a machine with a GPU."""

    __version__ = "0.pretended"
    __file__ = "/nowhere/onnxruntime/__init__.py"

    def __init__(self, ort: Any, *, loads: tuple[str, ...] = ("cpu", "cuda", "tensorrt")) -> None:
        self.SessionOptions = ort.SessionOptions
        self.OrtValue = _OrtValue
        self.sessions: list[_Session] = []
        self._ort = ort
        self._loads = {"CPUExecutionProvider", *(_PROVIDERS[name] for name in loads)}

    def get_available_providers(self) -> list[str]:
        return [*_PROVIDERS.values()]

    def set_default_logger_severity(self, severity: int) -> None:
        self.severity = severity

    def preload_dlls(self) -> None:
        print("a line that nobody asked for")

    def InferenceSession(  # noqa: N802
        self, model: str, options: Any, providers: list[Any], enable_fallback: int
    ):
        assert enable_fallback == 0
        assert self.severity == 4
        named = [p if isinstance(p, str) else p[0] for p in providers]
        real = self._ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        loaded = [name for name in [*named, "CPUExecutionProvider"] if name in self._loads]
        session = _Session(real, list(dict.fromkeys(loaded)), providers)
        options = session.options.get(loaded[0], {})
        if folder := options.get("trt_engine_cache_path"):
            name = f"{options['trt_engine_cache_prefix']}_sm89.engine"
            Path(folder, name).write_bytes(b"an engine")
        self.sessions.append(session)
        return session


_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}


class _Session:
    def __init__(self, real: Any, loaded: list[str], providers: list[Any]) -> None:
        self._real = real
        self._loaded = loaded
        self.options = {p[0]: p[1] for p in providers if not isinstance(p, str)}
        self.get_inputs, self.get_outputs = real.get_inputs, real.get_outputs

    def get_providers(self) -> list[str]:
        return self._loaded

    def get_provider_graph_assignment_info(self) -> list[Any]:
        nodes = SimpleNamespace(ep_name=self._loaded[0], get_nodes=lambda: [1, 2])
        return [nodes, SimpleNamespace(ep_name="CPUExecutionProvider", get_nodes=lambda: [3])]

    def io_binding(self) -> _Binding:
        return _Binding(self._real, on_host=self._loaded[0] == "CPUExecutionProvider")

    def run_with_iobinding(self, binding: _Binding) -> None:
        self._real.run_with_iobinding(binding.real)

    def run(self, names: Any, feeds: Any) -> Any:
        return self._real.run(names, feeds)


class _Binding:
    def __init__(self, session: Any, *, on_host: bool) -> None:
        self.real = session.io_binding()
        self._on_host = on_host
        self._copies: dict[str, np.ndarray] = {}

    def bind_input(self, name: str, device: str, number: int, kind: Any, shape: Any, address: int):
        assert number == 0
        if device == "cpu" and not self._on_host:
            size_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
            copy = np.frombuffer(ctypes.string_at(address, size_bytes), kind).reshape(shape).copy()
            self._copies[name] = copy
            address = copy.ctypes.data
        elif device != "cpu":
            _check(device, kind, shape, address)
        self.real.bind_input(name, "cpu", 0, kind, shape, address)

    def bind_output(self, name: str, device: str, number: int, kind: Any, shape: Any, address: int):
        assert number == 0
        if device != "cpu":
            _check(device, kind, shape, address)
        self.real.bind_output(name, "cpu", 0, kind, shape, address)

    def synchronize_outputs(self) -> None:
        assert not self._on_host


class _OrtValue:
    """A device's array; the only way to it leads through copies."""

    known: dict[int, int] = {}  # noqa: RUF012  (address → bytes of all there are)

    @classmethod
    def ortvalue_from_numpy(cls, array: np.ndarray, device: str, number: int) -> _OrtValue:
        assert (device, number) == ("cuda", 0)
        value = cls()
        value._array = array.copy()
        cls.known[value.data_ptr()] = array.nbytes
        return value

    def data_ptr(self) -> int:
        return self._array.ctypes.data

    def numpy(self) -> np.ndarray:
        return self._array.copy()

    def update_inplace(self, array: np.ndarray) -> None:
        assert (array.shape, array.dtype) == (self._array.shape, self._array.dtype)
        self._array[...] = array


def _check(device: str, kind: Any, shape: Any, address: int) -> None:
    assert device == "cuda"
    size_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
    inside = (
        start <= address and address + size_bytes <= start + size
        for start, size in _OrtValue.known.items()
    )
    assert any(inside), "bound beyond any memory of the device"
