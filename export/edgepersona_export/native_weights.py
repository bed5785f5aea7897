"""Chooses the blocks of every matrix of a native variant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgepersona_export.decoder_model import DecoderModel
from edgepersona_export.quantize import Quantised, dequantise, quantise_int4, quantise_int8

PRECISIONS = ("int8", "int4")

_TABLE_BLOCK = 32


def choose(
    model: DecoderModel,
    precision: str,
    *,
    calibrated: Mapping[str, Quantised] = MappingProxyType({}),
) -> dict[str, Quantised]:
    """Return every matrix of ``model``, by name, in blocks of the precision.

    The model's own blocks are kept as they are where they have the bits that are asked for, and
    those of ``calibrated`` are taken for others in 4 bits. The head has 8 bits in either: it is
    where 4 cost most.
    """
    found = {}
    for name, weight in _matrices(model):
        bits = 4 if precision == "int4" and name != "head" else 8
        own = _exact(model.blocks.get(name), weight)
        if own is not None and own.bits == bits:
            found[name] = own
        elif bits == 4:
            found[name] = calibrated.get(name) or quantise_int4(weight)
        else:
            found[name] = quantise_int8(weight)
    return found


def kept_int4(model: DecoderModel) -> dict[str, Quantised]:
    """Return the layers' matrices that the model's file holds in 4 bits just as we would."""
    own = {name: _exact(model.blocks.get(name), weight) for name, weight in _matrices(model)}
    return {
        name: blocks
        for name, blocks in own.items()
        if blocks is not None and blocks.bits == 4 and name != "head"
    }


def embedding_table(model: DecoderModel) -> Quantised:
    """Return the table of token embeddings in 8 bits, in blocks of 32."""
    kept = _exact(model.blocks.get("embeddings"), model.embeddings)
    if kept is not None and kept.bits == 8 and kept.block == _TABLE_BLOCK:
        return kept
    return quantise_int8(model.embeddings, block=_TABLE_BLOCK)


def _matrices(model: DecoderModel) -> Iterator[tuple[str, NDArray[np.float32]]]:
    for i, layer in enumerate(model.layers):
        yield f"layers.{i}.qkv", layer.qkv
        yield f"layers.{i}.output", layer.output
        yield f"layers.{i}.gate_up", np.concatenate([layer.gate, layer.up])
        yield f"layers.{i}.down", layer.down
    yield "head", model.head


def _exact(blocks: Quantised | None, weight: NDArray[np.float32]) -> Quantised | None:
    """Return ``blocks`` where they are this weight still: a family may scale what a file holds."""
    if blocks is None or len(blocks.codes) != len(weight):
        return None
    return blocks if np.array_equal(dequantise(blocks, weight.shape[1]), weight) else None
