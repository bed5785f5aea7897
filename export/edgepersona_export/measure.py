"""Measures a staged bundle against torch: every variant through the runtime, where it runs here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepersona.decoder import Decoder, log_probs, open_variant
from edgepersona.embedder import Embedder
from edgepersona.errors import EdgePersonaError
from edgepersona.onnxdecoder import OnnxDecoder
from edgepersona.portabledecoder import PortableDecoder
from edgepersona.runtime import Session
from edgepersona.text import Tokenizer
from edgepersona.variants import variant_name
from edgepersona_export import cost, verify

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgepersona.bundle import Bundle
    from edgepersona.manifest import Variant


@dataclass(frozen=True, slots=True)
class Measured:
    """The checks of a bundle; ``not_run`` names what did not run here, each with the reason.

    ``costs`` are of this machine in this moment.
    """

    checks: tuple[verify.Check, ...]
    costs: tuple[verify.Check, ...]
    not_run: tuple[str, ...]


def measure(
    bundle: Bundle, embedder: Path, model: PreTrainedModel, *, keeps_blocks: bool = False
) -> Measured:
    """Hold a bundle's embedder and every variant of its generator against torch.

    A variant whose provider does not load here has its own graph run on the CPU instead: what it
    computes is checked, what a GPU's kernels make of it is not. ``keeps_blocks``: blocks of 4 bits
    are those that torch was given.
    """
    from edgepersona_export.embedder import reference_embeddings

    checks = verify.check_embedder(
        Embedder(bundle).encode,
        lambda texts: reference_embeddings(embedder, texts),
        bundle.embedder.precision,
    )
    tokenizer = Tokenizer(bundle.file(bundle.generator.tokenizer))
    windows = [tokenizer.encode(text)[: verify.WINDOW_TOKENS] for text in verify.sample_texts()]
    reference = {tuple(ids): _torch_log_probs(model, ids) for ids in windows}
    costs, not_run = [], []
    for variant in bundle.generator.variants:
        name = variant_name(variant)
        decoder, reason = _open(bundle, variant)
        if reason:
            not_run.append(f"{name}: not run here, its graph was checked on the CPU: {reason}")
        checks += verify.check_generator(
            partial(log_probs, decoder),
            lambda ids: reference[tuple(ids)],
            windows,
            _bounds(variant, keeps_blocks),
            label=f"{name} (not run here: its graph on the CPU)" if reason else name,
        )
        if not reason:
            costs += cost.costs(bundle, variant, decoder, windows[0], f"generator {name}")
    return Measured(tuple(checks), tuple(costs), tuple(not_run))


def _bounds(variant: Variant, keeps_blocks: bool) -> str:
    return verify.KEPT if keeps_blocks and variant.precision == "int4" else variant.precision


def _open(bundle: Bundle, variant: Variant) -> tuple[Decoder, str]:
    """Return what computes a variant here, and why that is not what it is made for."""
    try:
        return open_variant(bundle, variant), ""
    except EdgePersonaError as error:
        if variant.target == "cpu":
            raise
        reason = " ".join(str(error).split())
    session = Session(bundle.file(variant.path))
    if variant.target == "tensorrt":
        return PortableDecoder(bundle, variant, session=session), reason
    return OnnxDecoder(bundle, variant, session=session), reason


def _torch_log_probs(model: PreTrainedModel, ids: list[int]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0]
        log_probs: NDArray[np.float32] = torch.log_softmax(logits.float(), dim=-1).numpy()
    return log_probs
