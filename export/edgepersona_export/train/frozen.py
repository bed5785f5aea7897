"""The frozen LLM: reads prompts without gradients, and tells how likely targets are after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from edgepersona_export.generator import load_torch
from edgepersona_export.train.attention import LEAN

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

_BF16_PRODUCTS = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
"""Of ``torch.cpu``: whether a processor has products of bfloat16. Without them it is the slower."""


def fastest_dtype() -> str:
    """Return the precision that this machine multiplies fastest in."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if any(getattr(torch.cpu, name, bool)() for name in _BF16_PRODUCTS) else "fp32"


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """Prompts that were read: their keys and values, layer by layer, padded on the left."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor
    """bool (n, positions): which positions are read."""


class FrozenModel:
    """A decoder-only LLM whose weights stay as they are.

    What comes before the soft tokens needs no gradients, so it is read once and for every persona
    that is tried after it.
    """

    def __init__(self, model: PreTrainedModel, *, dtype: str = "fp32", device: str = "cpu") -> None:
        self._model = model.to(device=device, dtype=DTYPES[dtype]).eval().requires_grad_(False)
        self._head = model.get_output_embeddings()
        self._cap: float | None = getattr(model.config, "final_logit_softcapping", None)
        self.device = torch.device(device)
        # As it was loaded, to be exported, it is eager: slower, and it holds more. But only that
        # knows of scores that are bent, as Gemma 2's are.
        bends = getattr(model.config, "attn_logit_softcapping", None) is not None
        faster = LEAN if self.device.type == "cpu" else "sdpa"
        self._model.set_attn_implementation("eager" if bends else faster)
        self.dtype = DTYPES[dtype]
        # Gemma's embeddings are scaled on their way in, Gemma 2's inside the model: a bundle's
        # table is scaled already, so everything here is too.
        self._inside = model.config.hidden_size**0.5 if model.config.model_type == "gemma2" else 1.0

    @classmethod
    def load(cls, source: Path, *, dtype: str = "fp32", device: str = "cpu") -> FrozenModel:
        """Read a folder or GGUF file; ExportError where it cannot be."""
        return cls(load_torch(source), dtype=dtype, device=device)

    @property
    def hidden(self) -> int:
        """Width of an embedding."""
        return int(self._model.get_input_embeddings().weight.shape[1])

    def embed(self, ids: Tensor) -> Tensor:
        """Look tokens up, scaled as a bundle's table is: (…, hidden)."""
        vectors: Tensor = self._model.get_input_embeddings()(ids.to(self.device))
        return vectors * self._inside

    def table(self) -> Tensor:
        """Return the embeddings of the whole vocabulary: (vocab, hidden)."""
        return self.embed(torch.arange(self._model.get_input_embeddings().weight.shape[0]))

    @torch.no_grad()
    def read(self, prompts: Sequence[Sequence[int]]) -> Prompts:
        """Read the texts before the soft tokens."""
        width = max(map(len, prompts))
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.zeros(len(prompts), width, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = True
        cache = DynamicCache()
        self._run(self.embed(ids), mask.to(self.device), cache, start=0)
        layers = tuple((layer.keys, layer.values) for layer in cache.layers)
        return Prompts(layers, mask.to(self.device))

    def losses(
        self,
        prompts: Prompts,
        soft: Tensor,
        soft_mask: Tensor,
        endings: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
    ) -> tuple[Tensor, Tensor]:
        """Return the negative log-likelihood of each target token, (n, tokens), and which count.

        ``soft`` (n, k, hidden) and ``soft_mask`` (n, k) stand after the prompt; ``endings`` are the
        tokens between them and the target.
        """
        tails = [[*ending, *target] for ending, target in zip(endings, targets, strict=True)]
        ids, ids_mask = _padded(tails, self.device)
        starts = soft.shape[1] + torch.tensor([len(e) for e in endings], device=self.device)
        wanted, counted = _padded(targets, self.device)
        vectors = torch.cat([soft.to(self.dtype), self.embed(ids)], dim=1)[:, :-1]
        mask = torch.cat([soft_mask, ids_mask], dim=1)[:, :-1]
        cache = DynamicCache()
        for number, (keys, values) in enumerate(prompts.layers):
            cache.update(keys, values, number)
        hidden = self._run(
            vectors, torch.cat([prompts.mask, mask], dim=1), cache, start=prompts.mask.shape[1]
        )
        places = starts[:, None] - 1 + torch.arange(wanted.shape[1], device=self.device)
        rows = torch.arange(len(targets), device=self.device)[:, None].expand_as(places)
        logits = self._logits(hidden[rows[counted], places[counted]])
        losses = functional.cross_entropy(logits, wanted[counted], reduction="none")
        return torch.zeros(counted.shape, device=self.device).masked_scatter(
            counted, losses
        ), counted

    def _run(self, vectors: Tensor, mask: Tensor, cache: Any, *, start: int) -> Tensor:
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, start:]
        hidden: Tensor = self._model.get_decoder()(
            inputs_embeds=vectors / self._inside,
            attention_mask=mask.long(),
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self._head(hidden).float()
        return logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad on the right: the ids, and which of them are there."""
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = True
    return ids.to(device), mask.to(device)
