"""ONNX Runtime's execution providers: which a target needs, and why one does not load here."""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgepersona.errors import EdgePersonaError
from edgepersona.gpu import find_gpu

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Target of an export → the execution provider that runs it."""

TENSORRT = "10"
"""The TensorRT that onnxruntime's provider is linked with."""

# Without it the arena doubles with each extension: a GPU's memory is shared with the desktop.
_CUDA_OPTIONS = {"device_id": "0", "arena_extend_strategy": "kSameAsRequested"}
_DOCUMENT = "docs/targets.md says what it needs"


def provider_list(target: str, options: Mapping[str, object]) -> list[Any]:
    """List the providers of a target's session, the first choice first.

    What CUDA cannot run goes to the CPU, which onnxruntime adds by itself.
    """
    if target == "cpu":
        return [PROVIDERS["cpu"]]
    if target == "cuda":
        return [(PROVIDERS["cuda"], {**_CUDA_OPTIONS, **options})]
    return [
        (PROVIDERS["tensorrt"], {"device_id": "0", **options}),
        (PROVIDERS["cuda"], _CUDA_OPTIONS),
    ]


def require_provider(ort: Any, target: str) -> None:
    """Make a target's libraries findable; raise EdgePersonaError where it cannot run here."""
    if target == "cpu":
        return
    find_gpu()
    _load_packaged_libraries(ort)
    if PROVIDERS[target] not in ort.get_available_providers():
        raise EdgePersonaError(
            f"this onnxruntime is built without {PROVIDERS[target]}: run "
            "pip uninstall onnxruntime, then pip install 'edgepersona[gpu]'"
        )
    if target == "tensorrt":
        tensorrt_version()


@cache
def tensorrt_version() -> str:
    """Return the version of the TensorRT that would run, or raise EdgePersonaError: none does."""
    name = f"nvinfer_{TENSORRT}.dll" if sys.platform == "win32" else f"libnvinfer.so.{TENSORRT}"
    for library in [*_packaged("tensorrt_libs", [name]), name]:
        try:
            number = int(ctypes.CDLL(library).getInferLibVersion())
        except (OSError, AttributeError):
            continue
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    raise EdgePersonaError(
        f"TensorRT {TENSORRT} is not installed ({name} is not found); {_DOCUMENT}"
    )


def why_not_loaded(ort: Any, target: str) -> str:
    """Ask the system's loader why a provider's library cannot be loaded; empty where it can."""
    folder = Path(ort.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / f"libonnxruntime_providers_{target}.so"))
    except OSError as error:
        return f"{str(error).splitlines()[0]}; {_DOCUMENT}"
    return ""


@contextlib.contextmanager
def no_lines_about_providers(ort: Any) -> Iterator[None]:
    """Keep onnxruntime's lines about a provider off stderr: the reason goes into an error."""
    ort.set_default_logger_severity(4)
    try:
        yield
    finally:
        ort.set_default_logger_severity(2)


@cache
def _load_packaged_libraries(ort: Any) -> None:
    """Load CUDA's and TensorRT's libraries that pip installed: no loader finds them by itself."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(AttributeError):
        ort.preload_dlls()
    names = [f"{stem}.so.{TENSORRT}" for stem in ("libnvinfer", "libnvonnxparser")]
    for library in _packaged("tensorrt_libs", names):
        with contextlib.suppress(OSError):
            ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)


def _packaged(package: str, files: list[str]) -> list[str]:
    spec = find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    paths = [Path(folder) / file for folder in folders for file in files]
    return [str(path) for path in paths if path.is_file()]
