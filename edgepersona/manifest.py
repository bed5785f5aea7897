"""What a bundle's manifest says of its models, checked field by field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from edgepersona.errors import BundleError


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """The text encoder: its files, and how its outputs become one vector.

    ``engine`` is what runs it: ``native`` or ``onnx``.
    """

    path: str
    tokenizer: str
    source: str
    engine: str
    precision: str
    ndim: int
    max_tokens: int
    pooling: str
    pad_id: int
    query_prefix: str
    document_prefix: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One compiled form of the generator; ``engine`` is what runs it: ``native`` or ``onnx``."""

    target: str
    precision: str
    path: str
    engine: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """The LLM: its files, its shape, and how a conversation is written for it."""

    source: str
    tokenizer: str
    embeddings: str
    layers: int
    hidden: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    chat_template: str
    bos_token: str
    eos_token: str
    stop_tokens: tuple[int, ...]
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """The persona head, where a bundle has one: a folder with ``head.json`` and ``head.bin``."""

    path: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a bundle, pinned."""

    sha256: str
    size_bytes: int


Spec = TypeVar("Spec")


def parse(kind: type[Spec], value: object, where: str) -> Spec:
    """Read ``value`` as the dataclass ``kind``.

    Fields it does not know are left alone; those that ``value`` lacks have their default, if any.
    Raises BundleError that names the field at fault; ``where`` is what stands before its name.
    """
    spec: Spec = _parse(kind, value, where)
    return spec


def _parse(kind: Any, value: object, where: str) -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise _unlike(where, "an object", value)
        hints = get_type_hints(kind)
        return kind(
            **{
                f.name: _parse(hints[f.name], value.get(f.name), f"{where}.{f.name}")
                for f in fields(kind)
                if f.name in value or f.default is MISSING
            }
        )
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise _unlike(where, "a list", value)
        member = get_args(kind)[0]
        return tuple(_parse(member, item, f"{where}[{i}]") for i, item in enumerate(value))
    if kind is bool:
        if not isinstance(value, bool):
            raise _unlike(where, "true or false", value)
    elif kind is float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not _is_finite(value):
            raise _unlike(where, "a number", value)
        return float(value)
    elif kind is int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise _unlike(where, "a whole number", value)
    elif not isinstance(value, str):
        raise _unlike(where, "a text", value)
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of any length is JSON
        return False


def _unlike(where: str, expected: str, value: object) -> BundleError:
    found = "nothing" if value is None else type(value).__name__
    return BundleError(f"{where}: expected {expected}, found {found}; export the bundle again")
