"""Runs a DecoderModel in torch, all texts through one matrix at a time, for calibration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgepersona_export.decoder_model import Array, DecoderModel, Layer, Rope

if TYPE_CHECKING:
    from torch import Tensor

Linear = Callable[[str, "Tensor"], "Tensor"]
"""What a matrix does: its name, and inputs (tokens, k) → outputs (tokens, n)."""

PARTS = ("qkv", "output", "gate_up", "down")
"""A layer's matrices in the order in which they are met."""


def matrix(model: DecoderModel, name: str) -> Array:
    """Return a matrix (n, k) by its name: ``layers.0.gate_up`` is gate's rows, then up's."""
    if name == "head":
        return model.head
    _, i, part = name.split(".")
    layer = model.layers[int(i)]
    if part == "gate_up":
        return np.concatenate([layer.gate, layer.up])
    found: Array = getattr(layer, part)
    return found


def names(model: DecoderModel) -> list[str]:
    """Name all matrices in the order in which they are met."""
    return [f"layers.{i}.{part}" for i in range(len(model.layers)) for part in PARTS] + ["head"]


def plain(model: DecoderModel) -> Linear:
    """Return what multiplies by the model's own weights."""
    import torch

    return lambda name, x: x @ torch.from_numpy(matrix(model, name)).T


def hidden_states(model: DecoderModel, ids: Tensor, linear: Linear) -> Tensor:
    """Return what the head takes, (texts, tokens, hidden), for ``ids`` (texts, tokens)."""
    import torch

    x = torch.from_numpy(model.embeddings)[ids]
    with torch.inference_mode():
        for i, layer in enumerate(model.layers):
            x = _layer(model, layer, x, partial(_of_layer, linear, i))
        return _norm(x, model.final_norm, model.norm_eps)


def logits(model: DecoderModel, hidden: Tensor, linear: Linear) -> Tensor:
    """Return the logits (tokens, vocab) after the positions of ``hidden`` (tokens, hidden)."""
    return _capped(linear("head", hidden), model.logits_softcap)


def _of_layer(linear: Linear, i: int, part: str, x: Tensor) -> Tensor:
    return linear(f"layers.{i}.{part}", x)


def _layer(model: DecoderModel, layer: Layer, x: Tensor, linear: Linear) -> Tensor:
    import torch

    texts, tokens, hidden = x.shape
    x = x.reshape(-1, hidden)
    qkv = linear("qkv", _norm(x, layer.attention_norm, model.norm_eps))
    if layer.qkv_bias is not None:
        qkv = qkv + torch.from_numpy(layer.qkv_bias)
    qkv = qkv.reshape(texts, tokens, -1, model.head_dim)
    heads = torch.cat([_attention(model, layer, text) for text in qkv])
    x = x + _branch(linear("output", heads), layer.post_attention_norm, model.norm_eps)
    gate_up = linear("gate_up", _norm(x, layer.mlp_norm, model.norm_eps))
    gate, up = gate_up.chunk(2, dim=-1)
    down = linear("down", _ACTIVATIONS[model.activation](gate) * up)
    x = x + _branch(down, layer.post_mlp_norm, model.norm_eps)
    return x.reshape(texts, tokens, hidden)


def _attention(model: DecoderModel, layer: Layer, qkv: Tensor) -> Tensor:
    """Attend within one text: (tokens, heads of all three kinds, head_dim) → (tokens, q's)."""
    import torch

    tokens = len(qkv)
    sizes = [model.heads, model.kv_heads, model.kv_heads]
    q, k, v = (part.transpose(0, 1) for part in qkv.split(sizes, dim=1))
    if layer.q_norm is not None:
        q = _norm(q, layer.q_norm, model.norm_eps)
    if layer.k_norm is not None:
        k = _norm(k, layer.k_norm, model.norm_eps)
    q, k = (_rotated(x, model.ropes[layer.rope]) for x in (q, k))
    k, v = (x.repeat_interleave(model.heads // model.kv_heads, dim=0) for x in (k, v))
    scores = _capped(q @ k.transpose(1, 2) * model.attention_scale, model.attention_softcap)
    back = torch.arange(tokens)[:, None] - torch.arange(tokens)
    unseen = (back < 0) | (back >= (layer.window or tokens))
    weights = scores.masked_fill(unseen, -torch.inf).softmax(dim=-1)
    return (weights @ v).transpose(0, 1).reshape(tokens, -1)


def _rotated(x: Tensor, rope: Rope) -> Tensor:
    import torch

    cos, sin = (torch.from_numpy(table[: x.shape[1]]) for table in (rope.cos, rope.sin))
    half = cos.shape[1]
    first, second, rest = x.split([half, half, x.shape[-1] - 2 * half], dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)


def _branch(x: Tensor, norm: Array | None, eps: float) -> Tensor:
    return x if norm is None else _norm(x, norm, eps)


def _norm(x: Tensor, weight: Array, eps: float) -> Tensor:
    import torch

    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * torch.from_numpy(weight)


def _capped(x: Tensor, cap: float) -> Tensor:
    return (x / cap).tanh() * cap if cap else x


def _silu(x: Tensor) -> Tensor:
    import torch

    return torch.nn.functional.silu(x)


def _gelu_tanh(x: Tensor) -> Tensor:
    import torch

    return torch.nn.functional.gelu(x, approximate="tanh")


_ACTIVATIONS = {"silu": _silu, "gelu_tanh": _gelu_tanh}
