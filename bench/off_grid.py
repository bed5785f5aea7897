"""The default LLM as a source in full precision: its weights on no grid, its answers the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edgepersona_export.generator import load_torch
from edgepersona_export.presets import resolve
from edgepersona_export.tokenizer import write_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

_WIDTH = 0.2


def write(folder: Path) -> Path:
    """Write the folder at the first call; it is what ``edgepersona export --llm`` takes.

    The file's weights have 4 bits, which any search would find again. So channels are multiplied
    by random factors, up to e^0.2 either way, that their neighbours undo.
    """
    if (folder / "complete").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    source = resolve("default").llm
    model = load_torch(source)
    _leave_the_grid(model)
    model.save_pretrained(folder)
    tokens = write_tokenizer(source, folder)
    settings = {
        "bos_token": tokens.bos_token,
        "eos_token": tokens.eos_token,
        "chat_template": tokens.chat_template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "complete").touch()
    return folder


def _leave_the_grid(model: PreTrainedModel) -> None:
    import torch

    random = torch.Generator().manual_seed(0)

    def factors(n: int) -> Tensor:
        return ((torch.rand(n, generator=random) * 2 - 1) * _WIDTH).exp()

    with torch.no_grad():
        for layer in model.model.layers:
            attention, mlp = layer.self_attn, layer.mlp
            into_attention, into_mlp = (factors(model.config.hidden_size) for _ in range(2))
            _multiply_columns(into_attention, attention.q_proj, attention.k_proj, attention.v_proj)
            _multiply_columns(into_mlp, mlp.gate_proj, mlp.up_proj)
            layer.input_layernorm.weight /= into_attention
            layer.post_attention_layernorm.weight /= into_mlp
            values, inner = factors(len(attention.v_proj.weight)), factors(len(mlp.up_proj.weight))
            attention.v_proj.weight *= values[:, None]
            heads = values.reshape(-1, 1, attention.head_dim)
            shared = heads.expand(-1, attention.num_key_value_groups, -1).reshape(-1)
            _multiply_columns(1 / shared, attention.o_proj)
            mlp.up_proj.weight *= inner[:, None]
            _multiply_columns(1 / inner, mlp.down_proj)


def _multiply_columns(factors: Tensor, *matrices: torch.nn.Linear) -> None:
    for matrix in matrices:
        matrix.weight *= factors
