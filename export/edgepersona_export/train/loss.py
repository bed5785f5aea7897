"""What is minimised: how unlikely the gold is, and how little it is the person's own."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

SHARPNESS = 4.0
"""A nat a token between two personas is much: the term has done its work well before."""


def per_token(losses: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of each row's tokens: (n,)."""
    return (losses * counted).sum(1) / counted.sum(1)


def own_against_other(own: Tensor, other: Tensor) -> Tensor:
    """Cost of a gold that another user's persona foretells as well as its author's: a scalar.

    Two-way InfoNCE between the likelihoods under both personas.
    """
    return functional.softplus((own - other) * SHARPNESS).mean() / SHARPNESS
