"""What a token of an exported generator costs: the weights it reads, and its time on this machine.

A token is bound by reading every weight once: what either says of a precision, next to what it
keeps of the model, is told in docs/precision.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

import numpy as np

from edgepersona.bundle import Bundle
from edgepersona.decoder import Decoder
from edgepersona.manifest import Variant
from edgepersona_export.verify import Check

_STEPS, _ROUNDS = 32, 3


def bytes_a_token(bundle: Bundle, variant: Variant) -> int:
    """Return the bytes of weights that one token reads."""
    if variant.engine != "native":
        return bundle.file(f"{variant.path}.data").stat().st_size
    model = json.loads(bundle.file(variant.path).read_bytes())
    parts = [part for layer in model["layers"] for part in layer.values()]
    matrices = [p for p in [*parts, model["head"]] if isinstance(p, dict) and "codes" in p]
    return sum(map(_matrix_bytes, matrices))


def tokens_per_s(decoder: Decoder, prompt: Sequence[int]) -> float:
    """Return the best of a few rounds of decoding, one token after the other."""
    state = decoder.start(capacity=len(prompt) + _STEPS)
    token, fastest = int(state.extend(decoder.embed(prompt))[0].argmax()), 0.0
    for _ in range(_ROUNDS):
        state.rewind(len(prompt))
        started = time.perf_counter()
        for _ in range(_STEPS):
            state.step(token)
        fastest = max(fastest, _STEPS / (time.perf_counter() - started))
    return fastest


def costs(
    bundle: Bundle, variant: Variant, decoder: Decoder, prompt: Sequence[int], label: str
) -> list[Check]:
    """Return both as checks without a bound."""
    return [
        Check(f"{label}: MB a token", bytes_a_token(bundle, variant) / 1e6, np.inf, False, 1),
        Check(
            f"{label}: tokens/s here", tokens_per_s(decoder, prompt), np.inf, False,
            _ROUNDS * _STEPS,
        ),
    ]  # fmt: skip


def _matrix_bytes(matrix: dict[str, int]) -> int:
    weights = matrix["rows"] * -(-matrix["columns"] // matrix["block"]) * matrix["block"]
    scales = 4 if "minima" in matrix else 2
    return weights * matrix["bits"] // 8 + weights // matrix["block"] * scales
