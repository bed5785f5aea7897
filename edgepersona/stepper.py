"""Single tokens through a bundle's LLM in the native core, on the weights of its graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import BundleError, InputError

if TYPE_CHECKING:
    from edgepersona._native import StepCache, StepDecoder
    from edgepersona.bundle import Bundle
    from edgepersona.manifest import GeneratorSpec, Variant

_MATRICES = ("qkv", "output", "gate_up", "down")
_VECTORS = ("attention_norm", "mlp_norm")


def open_stepper(bundle: Bundle, variant: Variant, threads: int) -> StepDecoder | None:
    """Return the native step of a variant, or None where it has none: the graph then does it.

    The weights are those of the graph's file, read into memory once more: ONNX Runtime keeps its
    own copy in an order of its own. Raises BundleError where the file is not what it says.
    """
    if not variant.step:
        return None
    from edgepersona._native import StepDecoder

    index = bundle.file(variant.step)
    data = bundle.file(f"{variant.path}.data")
    try:
        described = json.loads(index.read_bytes())
        weights = _weights(described["tensors"], data, bundle.generator)
        return StepDecoder(
            weights,
            heads=_heads(described["heads"]),
            kv_heads=bundle.generator.kv_heads,
            head_dim=bundle.generator.head_dim,
            norm_eps=float(described["norm_eps"]),
            threads=threads,
        )
    except KeyError as error:
        raise BundleError(f"{index}: does not describe {data.name}: lacks {error}") from error
    # A number of any size overflows somewhere; JSON of any depth runs out of stack.
    except (InputError, TypeError, ValueError, OverflowError, RecursionError) as error:
        why = str(error).partition("\n")[0]
        raise BundleError(f"{index}: does not describe {data.name}: {why}") from error


def step_cache(cache: dict[str, NDArray[np.float32]], layers: int) -> StepCache:
    """Bind a sequence's caches, named ``i.key`` and ``i.value``, for steps that write them."""
    from edgepersona._native import StepCache

    keys, values = ([cache[f"{i}.{part}"] for i in range(layers)] for part in ("key", "value"))
    return StepCache(keys, values)


def _heads(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < 1 << 20:
        raise ValueError(f"heads is {value!r:.40}, expected a positive whole number")
    return value


def _weights(tensors: dict[str, Any], data: Path, spec: GeneratorSpec) -> dict[str, Any]:
    # Read, not mapped: NumPy asks for large pages, worth a fifth of a step's time.
    mapped = np.fromfile(data, np.uint8)

    def read(name: str) -> NDArray[Any]:
        offset, shape = tensors[name]["offset"], tuple(tensors[name]["shape"])
        kind = np.dtype(np.uint8 if name.endswith(".codes") else "<f4")
        size_bytes = int(np.prod(shape)) * kind.itemsize
        if offset < 0 or offset % kind.itemsize or offset + size_bytes > len(mapped):
            raise ValueError(f"{name} lies outside the file")
        return mapped[offset : offset + size_bytes].view(kind).reshape(shape)

    def matrix(name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        return read(f"{name}.codes"), read(f"{name}.scales")

    layers = []
    for i in range(spec.layers):
        layer: dict[str, Any] = {name: matrix(f"layers.{i}.{name}") for name in _MATRICES}
        layer |= {name: read(f"layers.{i}.{name}") for name in _VECTORS}
        if f"layers.{i}.qkv_bias" in tensors:
            layer["qkv_bias"] = read(f"layers.{i}.qkv_bias")
        layers.append(layer)
    return {
        "layers": layers,
        "final_norm": read("final_norm"),
        "head": matrix("head"),
        "rope_cos": read("rope_cos"),
        "rope_sin": read("rope_sin"),
    }
