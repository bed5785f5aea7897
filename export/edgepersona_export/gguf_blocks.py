"""Blocks of few bits as a GGUF file holds them, kept exactly where we have the like."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepersona_export.quantize import BLOCK_4, Quantised

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_LAYER = {
    "qkv": (("attn_qkv",), ("attn_q", "attn_k", "attn_v")),
    "output": (("attn_output",),),
    # Where gate and up are one matrix, the file calls it up.
    "gate_up": (("ffn_gate", "ffn_up"), ("ffn_up",)),
    "down": (("ffn_down",),),
}
"""Our name of a matrix → the file's tensors that are stacked in it, in the ways it may do that."""


def read_blocks(file: Path, config: PretrainedConfig) -> dict[str, Quantised]:
    """Return the matrices of a GGUF file that fit our blocks exactly, by our names.

    These are ``layers.0.qkv``, ``.output``, ``.gate_up``, ``.down`` and so on, ``embeddings`` and
    ``head``, with rows in the order transformers has them in. A matrix is left out when any part
    of it is of a kind other than Q4_0, Q4_1 and Q8_0, or its parts differ in bits.
    """
    from gguf import GGUFReader

    reader = GGUFReader(file)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    permuted = reader.fields["general.architecture"].contents() == "llama"
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}

    def stacked(prefix: str, ways: tuple[tuple[str, ...], ...]) -> Quantised | None:
        for way in ways:
            if all(f"{prefix}{part}.weight" in tensors for part in way):
                parts = []
                for part in way:
                    tensor = tensors[f"{prefix}{part}.weight"]
                    data: NDArray[np.uint8] = tensor.data
                    if permuted and part in heads:
                        data = _unpermuted(data, heads[part])
                    parts.append(_blocks(data, tensor.tensor_type.name))
                return _stack(parts)
        return None

    names = {
        f"layers.{i}.{name}": (f"blk.{i}.", ways)
        for i in range(config.num_hidden_layers)
        for name, ways in _LAYER.items()
    }
    names["embeddings"] = ("", (("token_embd",),))
    # A file without a head uses its embeddings as one.
    names["head"] = ("", (("output",), ("token_embd",)))
    found = {name: stacked(*where) for name, where in names.items()}
    return {name: matrix for name, matrix in found.items() if matrix is not None}


def is_in_4_bits(file: Path) -> bool:
    """Tell whether all matrices of a GGUF file's layers are in blocks of 4 bits like ours."""
    from gguf import GGUFReader

    kinds = {
        tensor.tensor_type.name
        for tensor in GGUFReader(file).tensors
        if tensor.name.startswith("blk.") and len(tensor.shape) == 2
    }
    return bool(kinds) and kinds <= {"Q4_0", "Q4_1"}


def _unpermuted(rows: NDArray[np.uint8], heads: int) -> NDArray[np.uint8]:
    """Undo llama.cpp's order of a head's rows, which pairs those that rotate together."""
    pairs = rows.reshape(heads, -1, 2, rows.shape[-1])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _blocks(data: NDArray[np.uint8], kind: str) -> Quantised | None:
    """Read rows of the file's blocks (n, bytes); None where ours are of no such kind."""
    halves = {"Q4_0": 1, "Q4_1": 2, "Q8_0": 1}.get(kind)
    if halves is None:
        return None
    bits = 8 if kind == "Q8_0" else 4
    blocks = data.reshape(len(data), -1, 2 * halves + BLOCK_4 * bits // 8)
    numbers = np.ascontiguousarray(blocks[..., : 2 * halves]).view("<f2").astype(np.float16)
    codes, scales = blocks[..., 2 * halves :], numbers[..., 0]
    if bits == 8:
        mins, codes = None, codes ^ np.uint8(128)  # from two's complement to an offset of 128
    else:
        mins = numbers[..., 1] if kind == "Q4_1" else scales * np.float16(-8)
        codes = np.concatenate([codes & 15, codes >> 4], axis=-1)
    return Quantised(codes.reshape(len(data), -1), scales, mins, bits=bits, block=BLOCK_4)


def _stack(parts: list[Quantised | None]) -> Quantised | None:
    """Put matrices below each other; None where one misses or they differ in kind."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or len({part.bits for part in known}) > 1:
        return None
    mins = [part.mins for part in known if part.mins is not None]
    return Quantised(
        np.concatenate([part.codes for part in known]),
        np.concatenate([part.scales for part in known]),
        np.concatenate(mins) if mins else None,
        bits=known[0].bits,
        block=BLOCK_4,
    )
