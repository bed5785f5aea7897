"""The files of a persona head, head.json and head.bin: checked before anything is used."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.bundle import Bundle
from edgepersona.errors import BundleError
from edgepersona.manifest import parse

FORMAT = 1
INDEX, ARRAYS = "head.json", "head.bin"

READS = ("item", "output", "words")
"""What pooled persona tokens are made of: a record's vector, its title's, its title's words."""

BESIDE = ("nearest", "newest")
"""Whose titles are read where the prompt shows the nearest records already."""

_ALIGNMENT = 64
_MAX_INDEX_BYTES = 1 << 20
MAX_COUNT = 256
"""Tasks, tokens, records: with more of any a prompt would be nothing but the head."""
_MAX_WIDTH = 1 << 16
_LARGEST = 1e4
"""Of any weight. Embeddings and trained weights are below a hundred."""
_DTYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}

_HOW_TO_GET_ONE = (
    "train one with 'edgepersona train', or take the models of 'edgepersona export --preset "
    "default', which have one"
)


@dataclass(frozen=True, slots=True)
class HeadShape:
    """The sizes of a head, and what its persona is made of; docs/format.md has the arithmetic."""

    ndim: int
    hidden: int
    tasks: tuple[str, ...]
    before: int
    after: int
    pooled: int
    reads: str
    records: int
    lead: int
    words: int
    inner: int
    adapted: bool
    records_beside: int
    """As ``records``, where the prompt shows records; older heads do not say: as many."""
    beside: str = "nearest"
    """Whose titles are read there; older heads do not say."""

    @property
    def reads_titles(self) -> bool:
        """Whether any task reads titles word by word."""
        return bool(self.records or self.records_beside)


@dataclass(frozen=True, slots=True)
class _Place:
    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class _Index:
    format: int
    embedder: str
    llm: str
    shape: HeadShape
    scale: float
    credits: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class HeadFile:
    """A head's numbers, each array float32 and finite, and of the shape that its sizes say."""

    hash: str
    shape: HeadShape
    scale: float
    credits: tuple[str, ...]
    arrays: Mapping[str, NDArray[np.float32]]


def read_head(bundle: Bundle) -> HeadFile:
    """Read the bundle's head.

    Raises BundleError where it has none, where a file is damaged or says what cannot be, and where
    the head belongs to another embedder or another LLM than the bundle's.
    """
    if bundle.persona_head is None:
        raise BundleError(f"{bundle.path}: has no persona head: {_HOW_TO_GET_ONE}")
    folder = bundle.persona_head.path
    return read_files(bundle.file(f"{folder}/{INDEX}"), bundle.file(f"{folder}/{ARRAYS}"), bundle)


def read_files(index_file: Path, arrays_file: Path, bundle: Bundle) -> HeadFile:
    """Read a head that lies elsewhere, and is to belong to ``bundle``; raises as ``read_head``."""
    where = f"{index_file}: "
    document, content = _read_index(index_file)
    sizes = document.get("shape")
    if isinstance(sizes, dict) and "records" in sizes:
        sizes.setdefault("records_beside", sizes["records"])
    index = parse(_Index, document, f"{where}head")
    if index.format != FORMAT:
        raise BundleError(
            f"{where}has format {index.format}, this version reads {FORMAT}; "
            "export the head again, or upgrade edgepersona"
        )
    _check_shape(index, where)
    _check_models(index, bundle, where)
    try:
        data = arrays_file.read_bytes()
    except OSError as error:
        raise BundleError(f"{arrays_file}: cannot be read: {error.strerror}") from error
    return HeadFile(
        hash=hashlib.sha256(content + hashlib.sha256(data).digest()).hexdigest(),
        shape=index.shape,
        scale=index.scale,
        credits=index.credits,
        arrays=_read_arrays(document, index.shape, data, where),
    )


def model_hashes(bundle: Bundle) -> dict[str, str]:
    """Name the embedder and the LLM that a head belongs to.

    By what the bundle was made from: a head fits every precision and target of its models.
    """
    inputs = bundle.manifest.get("inputs")
    if not isinstance(inputs, Mapping) or not {"embedder", "llm"} <= inputs.keys():
        raise BundleError(
            f"{bundle.path}: does not say which models it was made from; export it again"
        )
    return {part: _digest(inputs[part]) for part in ("embedder", "llm")}


def array_shapes(shape: HeadShape) -> dict[str, tuple[int, ...]]:
    """Return the arrays that a head of these sizes has."""
    hidden, tasks = shape.hidden, len(shape.tasks)
    shapes: dict[str, tuple[int, ...]] = {
        "before": (tasks, shape.before, hidden),
        "after": (tasks, shape.after, hidden),
        "centre": (hidden,),
    }
    if shape.pooled:
        by_word = shape.reads == "words"
        if shape.adapted:
            shapes["adapter"] = (shape.ndim, shape.ndim)
        shapes |= {
            "pool_inner": (shape.inner, hidden if by_word else shape.ndim),
            "pool_bias": (shape.inner,),
            "pool_outer": (hidden if by_word else shape.pooled * hidden, shape.inner),
            "pool_gain": (shape.pooled,),
            "pool_offset": (shape.pooled, hidden),
        }
    if shape.reads_titles:
        shapes |= {
            "title_inner": (shape.inner, hidden),
            "title_bias": (shape.inner,),
            "title_outer": (hidden, shape.inner),
            "title_gain": (shape.words,),
            "title_offset": (shape.words, hidden),
            "lead": (tasks, shape.lead, hidden),
        }
    return shapes


def _read_index(file: Path) -> tuple[dict[str, Any], bytes]:
    try:
        if file.stat().st_size > _MAX_INDEX_BYTES:
            raise BundleError(f"{file}: larger than that of any head; export the head again")
        content = file.read_bytes()
        document = json.loads(content)
        json.dumps(document, ensure_ascii=False).encode()  # escapes that name no character
    except OSError as error:
        raise BundleError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise BundleError(f"{file}: is no JSON; export the head again") from None
    if not isinstance(document, dict):
        raise BundleError(f"{file}: describes no head; export the head again")
    return document, content


def _check_shape(index: _Index, where: str) -> None:
    shape = index.shape
    if shape.reads not in READS:
        raise _wrong(where, f"reads {shape.reads!r:.40}, expected one of {', '.join(READS)}")
    if shape.beside not in BESIDE:
        raise _wrong(where, f"beside {shape.beside!r:.40}, expected one of {', '.join(BESIDE)}")
    if not shape.tasks or len(set(shape.tasks)) != len(shape.tasks) or "" in shape.tasks:
        raise _wrong(where, "tasks: expected one or more names, each once")
    counts = {
        name: getattr(shape, name)
        for name in ("before", "after", "pooled", "records", "records_beside", "lead")
    }
    counts |= {"tasks": len(shape.tasks), "words": shape.words}
    for name, count in counts.items():
        if count > MAX_COUNT:
            raise _wrong(where, f"{name} {count}, expected at most {MAX_COUNT}")
    if not shape.words or (shape.reads == "words" and shape.pooled > shape.words):
        raise _wrong(where, f"words {shape.words}, expected 1 or more, and no fewer than pooled")
    if not 1 <= shape.inner <= _MAX_WIDTH:
        raise _wrong(where, f"inner {shape.inner}, expected 1 to {_MAX_WIDTH:,}")
    for count in (shape.records, shape.records_beside):
        most = shape.before + shape.pooled + count * (shape.words + shape.lead) + shape.after
        if not 1 <= most <= 4 * MAX_COUNT:
            raise _wrong(where, f"{most} soft tokens, expected 1 to {4 * MAX_COUNT}")
    if not 0 < index.scale <= _LARGEST:
        raise _wrong(where, f"scale {index.scale}, expected more than 0, at most {_LARGEST:g}")


def _check_models(index: _Index, bundle: Bundle, where: str) -> None:
    claimed = {"embedder": index.embedder, "llm": index.llm}
    for part, expected in model_hashes(bundle).items():
        if claimed[part] != expected:
            raise BundleError(
                f"{where}was trained for another {part} ({claimed[part]!r:.14}…) than the "
                f"bundle's ({expected[:12]}…); train one for this bundle"
            )
    widths = {
        "ndim": (index.shape.ndim, bundle.embedder.ndim),
        "hidden": (index.shape.hidden, bundle.generator.hidden),
    }
    for name, (found, wanted) in widths.items():
        if found != wanted:
            raise _wrong(where, f"{name} {found}, the bundle's models have {wanted}")


def _read_arrays(
    document: dict[str, Any], shape: HeadShape, data: bytes, where: str
) -> dict[str, NDArray[np.float32]]:
    places = document.get("arrays")
    shapes = array_shapes(shape)
    if not isinstance(places, dict) or places.keys() != shapes.keys():
        raise _wrong(where, f"expected the arrays {', '.join(shapes)}")
    arrays = {
        name: _read_array(parse(_Place, places[name], where + name), wanted, data, where + name)
        for name, wanted in shapes.items()
    }
    if len(data) != max(place["offset"] + _size(place) for place in places.values()):
        raise _wrong(where, f"{ARRAYS} has {len(data):,} bytes, which its arrays do not fill")
    return arrays


def _read_array(
    place: _Place, expected: tuple[int, ...], data: bytes, where: str
) -> NDArray[np.float32]:
    dtype = _DTYPES.get(place.dtype)
    if dtype is None or place.shape != expected:
        raise _wrong(
            where,
            f": found {place.dtype!r:.20} {place.shape!r:.60}, expected "
            f"{' or '.join(_DTYPES)} {expected}",
        )
    count = math.prod(expected)
    end = place.offset + count * dtype.itemsize
    if place.offset % _ALIGNMENT or end > len(data):
        raise _wrong(where, f": lies at {place.offset}, {ARRAYS} has {len(data):,} bytes")
    found = np.frombuffer(data, dtype, count, place.offset)
    array: NDArray[np.float32] = found.reshape(expected).astype(np.float32)
    if not (np.abs(array) <= _LARGEST).all():  # NaN is not either
        raise _wrong(where, f": holds what is no number up to {_LARGEST:g}")
    return array


def _size(place: Mapping[str, Any]) -> int:
    size: int = math.prod(place["shape"]) * _DTYPES[place["dtype"]].itemsize
    return size


def _wrong(where: str, what: str) -> BundleError:
    return BundleError(f"{where}{what}; export the head again")


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
