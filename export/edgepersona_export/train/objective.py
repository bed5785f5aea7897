"""One step's cost: the head's soft tokens, read by the frozen LLM, judged by the gold."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from edgepersona_export.train.batches import Batch
from edgepersona_export.train.frozen import FrozenModel, Prompts
from edgepersona_export.train.loss import own_against_other, per_token
from edgepersona_export.train.model import History, PersonaHead


class Objective(nn.Module):
    """A module, so that gradients of several processes are averaged; only the head is trained.

    ``contrast`` weighs the own-against-other term; 0 leaves the second reading out.
    """

    def __init__(self, head: PersonaHead, frozen: FrozenModel, *, contrast: float = 0.0) -> None:
        super().__init__()
        self.head = head
        self._frozen = frozen  # no module: its weights are nobody's to average
        self._contrast = contrast

    def forward(self, batch: Batch, *, contrasted: bool = True) -> tuple[Tensor, Tensor]:
        """Return the cost, and the mean negative log-likelihood, in nats a token, within it.

        ``contrasted``: whether this batch has the own-against-other term.
        """
        prompts = self._frozen.read(batch.before)
        own = self._nats(batch, prompts, batch.own)
        cost = own.mean()
        if self._contrast and contrasted:
            other = self._nats(batch, self._other(batch, prompts), batch.other)
            weight = self._contrast * batch.has_other.float().mean().to(own.device)
            chosen = batch.has_other.to(own.device)
            if chosen.any():
                cost = cost + weight * own_against_other(own[chosen], other[chosen])
        return cost, own.detach().mean()

    @torch.no_grad()
    def judge(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return each sample's nats a token under its user's persona and under another's."""
        prompts = self._frozen.read(batch.before)
        own = self._nats(batch, prompts, batch.own)
        return own, self._nats(batch, self._other(batch, prompts), batch.other)

    def _other(self, batch: Batch, prompts: Prompts) -> Prompts:
        return prompts if batch.before_other is None else self._frozen.read(batch.before_other)

    def _nats(self, batch: Batch, prompts: Prompts, history: History) -> Tensor:
        device = self._frozen.device
        moved = History(**{f.name: getattr(history, f.name).to(device) for f in fields(history)})
        soft, mask = self.head(moved, batch.tasks.to(device), self._frozen.embed)
        return per_token(*self._frozen.losses(prompts, soft, mask, batch.after, batch.targets))
