"""Writes a persona head as a bundle carries it: head.json, and head.bin with its arrays.

``head.json`` names each array's type, shape and offset in ``head.bin`` (little-endian, each at a
multiple of 64 bytes). The runtime computes, for a question's vector x and records i:

    w_i = softmax_i(scale · (x·adapter)·h_i)          h_i: the records' vectors; adapter may lack
    P_j = Σ_i w_i pool(v_ij) + pool_offset_j           j < pooled; v by ``reads``
    T_j = title(e_j − centre)_j + title_offset_j       e_j: the title's j-th token, j < words
    f(v)_j = gain_j · ([v +] outer·gelu(inner·v + bias))  gelu by tanh; [v +] where v is a word

The soft tokens, after the task's text: before[task]; P; of the ``records`` records with the largest
weights, the largest last, lead[task] and T of each word; after[task]. For ``reads`` = "words",
v_ij = e_ij − centre, and zero where title i has no j-th token; for "item" and "output" v is the
vector of the record, or of its title, and ``outer`` gives all j at once, slot by slot.
Without records P and T are left out. Where ``shape.beside`` is "newest", tasks that end in "+rag"
take the ``records`` newest ones for T, the newest last.

``shape.tasks`` names the rows of before, after and lead: kinds of task ("title", "subject", …),
and, for prompts that show records in words as well, the same with "+rag". A kind that is not there
was not learnt, and the head has nothing to say to it. Titles are tokenised with a space before
them, as the answer is.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.bundle import Bundle
from edgepersona.errors import ExportError
from edgepersona.headfile import ARRAYS, FORMAT, INDEX, model_hashes
from edgepersona_export import pipeline

if TYPE_CHECKING:
    from edgepersona_export.train.model import PersonaHead, Projector

_ALIGNMENT = 64


def check_llm(bundle: Bundle, llm: Path) -> None:
    """Raise ExportError unless the bundle's LLM was made from ``llm``."""
    found, expected = _digest(pipeline.input_hashes(llm)), model_hashes(bundle)["llm"]
    if found != expected:
        raise ExportError(
            f"{llm}: is not what the LLM of {bundle.path} was made from; name that, or export it"
        )


def write_head(
    head: PersonaHead,
    bundle: Bundle,
    out: Path,
    *,
    recipe: Mapping[str, Any],
    credits_: tuple[str, ...] = (),
) -> None:
    """Write ``out``/head.json and head.bin; whole ones that lay there are replaced."""
    arrays = arrays_of(head)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ExportError(f"{name} of the head is not finite: train with a smaller --lr")
    out.mkdir(parents=True, exist_ok=True)
    entries, offset = {}, 0
    partial = out / f".{ARRAYS}.partial"
    with partial.open("wb") as stream:
        for name, array in arrays.items():
            stream.write(b"\0" * (offset - stream.tell()))
            stream.write(array.tobytes())
            entries[name] = {
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "offset": offset,
            }
            offset = -(-stream.tell() // _ALIGNMENT) * _ALIGNMENT
        stream.flush()
        os.fsync(stream.fileno())
    index = {
        "format": FORMAT,
        **model_hashes(bundle),
        "shape": head.shape.to_json(),
        "scale": float(head.log_scale.detach().exp()) if head.shape.pooled else 1.0,
        "arrays": entries,
        "credits": list(credits_),
        "recipe": dict(recipe),
    }
    partial.replace(out / ARRAYS)
    (out / INDEX).write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", "utf-8")


def arrays_of(head: PersonaHead) -> dict[str, NDArray[Any]]:
    """Return the weights, constants folded in: matrices float16, the rest float32."""
    arrays = {
        "before": _float32(head.before),
        "after": _float32(head.after),
        "centre": _float32(head.get_buffer("centre")),
    }
    if head.shape.pooled:
        if head.shape.adapted:
            arrays["adapter"] = _float32(head.adapter).astype("<f2")
        arrays |= _projector("pool", head.pool)
    if head.shape.reads_titles:
        arrays |= _projector("title", head.title) | {"lead": _float32(head.lead)}
    return arrays


def _projector(name: str, projector: Projector) -> dict[str, NDArray[Any]]:
    inner = _float32(projector.inner.weight) * projector.input_scale
    outer = _float32(projector.outer.weight) * projector.output_scale
    offset = _float32(projector.offset) + _float32(projector.get_buffer("centre"))
    return {
        f"{name}_inner": inner.astype("<f2"),
        f"{name}_bias": _float32(projector.inner.bias),
        f"{name}_outer": outer.astype("<f2"),
        f"{name}_gain": _float32(projector.gain)[:, 0],
        f"{name}_offset": offset,
    }


def _float32(tensor: Any) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().float().numpy().astype("<f4")
    return array


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
