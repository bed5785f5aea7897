"""The engines that TensorRT builds of a graph: where they are kept, and whether they are there.

An engine takes minutes to build and fits one GPU, one TensorRT and one graph alone. So nothing
builds one unasked, and each set has a folder of its own, named by all that it depends on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepersona.bundle import Bundle
from edgepersona.errors import EdgePersonaError
from edgepersona.gpu import find_gpu
from edgepersona.manifest import Variant
from edgepersona.providers import tensorrt_version
from edgepersona.runtime import onnxruntime

_SEAL = "engines.json"

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Input → the least, the likeliest and the greatest shape that an engine is built for."""


@dataclass(frozen=True, slots=True)
class EngineCache:
    """A folder of engines, and all that they were built for."""

    folder: Path
    built_for: Mapping[str, Any]

    def is_warm(self) -> bool:
        """Whether the folder was sealed, and its engines are still there."""
        try:
            seal = json.loads((self.folder / _SEAL).read_bytes())
            return bool(seal["engines"]) and all(
                (self.folder / name).stat().st_size == size_bytes
                for name, size_bytes in seal["engines"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def require_warm(self) -> None:
        """Raise EdgePersonaError that says how engines are built, where there are none."""
        if not self.is_warm():
            raise EdgePersonaError(
                "its engines are not built for this GPU yet, which takes minutes: "
                "run 'edgepersona doctor --warm'"
            )

    def seal(self) -> None:
        """Say that the engines in the folder are whole: call it after each has run once."""
        engines = {f.name: f.stat().st_size for f in sorted(self.folder.glob("*.engine"))}
        if not engines:
            raise EdgePersonaError(f"{self.folder}: TensorRT built no engine here")
        partial = self.folder / f"{_SEAL}.partial"
        partial.write_text(json.dumps({"engines": engines, **self.built_for}, indent=1), "utf-8")
        partial.replace(self.folder / _SEAL)

    def options(self, name: str, profile: Profile) -> dict[str, object]:
        """Return the options of TensorRT's provider for the engine of that name."""
        return {
            # Without trt_fp16_enable the network is strongly typed: each layer computes in what the
            # graph says, so norms and softmax stay in float32.
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": os.fspath(self.folder),
            "trt_engine_cache_prefix": name,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": os.fspath(self.folder),
            **{
                f"trt_profile_{bound}_shapes": ",".join(
                    f"{tensor}:{'x'.join(map(str, shapes[i]))}"
                    for tensor, shapes in profile.items()
                )
                for i, bound in enumerate(("min", "opt", "max"))
            },
        }


def engine_cache(bundle: Bundle, variant: Variant, profiles: Mapping[str, Profile]) -> EngineCache:
    """Return the folder of a variant's engines on this machine; EdgePersonaError without a GPU.

    ``profiles``: the engine's name → the shapes that it is built for.
    """
    gpu = find_gpu()
    files = bundle.manifest["files"]
    built_for = {
        "gpu": gpu.name,
        "capability": list(gpu.capability),
        "tensorrt": tensorrt_version(),
        "onnxruntime": onnxruntime().__version__,
        "graph": {name: files[name]["sha256"] for name in variant.files},
        "profiles": {name: dict(profile) for name, profile in profiles.items()},
    }
    canonical = json.dumps(built_for, sort_keys=True).encode()
    name = hashlib.sha256(canonical).hexdigest()[:24]
    return EngineCache(cache_home() / "engines" / name, built_for)


def cache_home() -> Path:
    """Return the folder of what can be made anew; it may not exist yet."""
    if home := os.environ.get("EDGEPERSONA_HOME"):
        return Path(home) / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("edgepersona", appauthor=False)
