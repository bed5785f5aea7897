"""``python -m bench.gpu_check``: every variant of a bundle on this machine's GPU, in one table.

It exports a bundle for all targets where there is none, builds TensorRT's engines, and then holds
each variant against torch and against the GPU's memory. It ends with 0 where every variant ran on
the provider it is made for and agrees with torch, with 1 otherwise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.machine import processor
from bench.rows import OUT
from edgepersona.errors import EdgePersonaError

if TYPE_CHECKING:
    from edgepersona.bundle import Bundle
    from edgepersona.decoder import Decoder
    from edgepersona.manifest import Variant

PROMPT = 512
BEFORE = 128
"""Tokens in the cache when decoding begins."""

TARGETS = "cpu,cuda,tensorrt"
PRECISIONS = "cuda=fp16,cuda=int4"


@dataclass(slots=True)
class Row:
    """What one variant came to; ``problem`` is why it is not as it should be."""

    variant: str
    provider: str = ""
    nodes: dict[str, int] = field(default_factory=dict)
    load_s: float = 0.0
    ttft_s: float = 0.0
    prefill_tokens_s: float = 0.0
    decode_tokens_s: float = 0.0
    decode_low: float = 0.0
    decode_high: float = 0.0
    token_bytes: int = 0
    roofline_share: float = 0.0
    agreement: float = 0.0
    perplexity_ratio: float = 0.0
    samples: int = 0
    problem: str = ""


@dataclass(slots=True)
class EmbedderRow:
    """The same of the embedder."""

    precision: str
    provider: str = ""
    texts_s: float = 0.0
    cosine: float = 0.0
    cosine_least: float = 0.0
    samples: int = 0
    problem: str = ""

    def __str__(self) -> str:
        told = (
            f"embedder {self.precision} on {self.provider}: {self.texts_s:.0f} texts/s, cosine to "
            f"torch {self.cosine:.5f}, least {self.cosine_least:.5f}, n = {self.samples}"
        )
        return f"{told}\nPROBLEM embedder: {self.problem}" if self.problem else told


def main(arguments: Sequence[str]) -> int:
    """Check what is asked for; return the exit status."""
    args = _parsed(arguments)
    from edgepersona.gpu import find_gpu

    try:
        gpu = find_gpu()
    except EdgePersonaError as error:
        if not args.dry_run:
            print(f"gpu-check: nothing was checked: {error}", file=sys.stderr)
            return 1
        print(f"gpu-check: {error}; only what runs on the CPU is checked")
        machine, bandwidth, on_gpu = processor(), 0.0, False
    else:
        bandwidth, on_gpu = _bandwidth(), True
        machine = (
            f"{gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}, "
            f"driver for CUDA {gpu.driver}, memory {bandwidth / 1e9:.0f} GB/s in a copy, "
            f"{gpu.bandwidth_bytes_s / 1e9:.0f} on paper; {processor()}"
        )
    try:
        bundle = _bundle(args)
        rows = [_check(bundle, variant, bandwidth, args) for variant in _wanted(bundle, args)]
        embedder = _check_embedder(bundle, args, on_gpu=on_gpu)
    except EdgePersonaError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 1
    print(table(rows, f"{machine}; {_versions()}"))
    print(embedder)
    OUT.mkdir(parents=True, exist_ok=True)
    found = {
        "machine": machine,
        "versions": _versions(),
        "rows": [asdict(row) for row in rows],
        "embedder": asdict(embedder),
    }
    (OUT / "gpu-check.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return int(any(row.problem for row in (*rows, embedder)))


def table(rows: Sequence[Row], machine: str) -> str:
    """Lay the rows out for a terminal; under them what is wrong, a line each."""
    heads = ("variant", "provider", "load", "TTFT", "prefill", "decode", "range", "roofline")
    lines = [
        f"gpu-check  ({machine})",
        f"{heads[0]:<16}{heads[1]:<28}{heads[2]:>7}{heads[3]:>9}{heads[4]:>10}{heads[5]:>9}"
        f"  {heads[6]:<15}{heads[7]:>9}{'top-1':>8}{'ppl ×':>8}",
    ]
    for row in rows:
        if not row.provider:
            lines.append(f"{row.variant:<16}does not run")
            continue
        span = f"{row.decode_low:.0f} to {row.decode_high:.0f}"
        share = f"{row.roofline_share:.0%}" if row.roofline_share else "–"
        lines.append(
            f"{row.variant:<16}{row.provider:<28}{row.load_s:>6.1f}s{row.ttft_s * 1e3:>7.1f}ms"
            f"{row.prefill_tokens_s:>10.0f}{row.decode_tokens_s:>9.1f}  {span:<15}{share:>9}"
            f"{row.agreement:>8.4f}{row.perplexity_ratio:>8.4f}"
        )
    lines += [f"  {row.variant}: {_placed(row)}" for row in rows if row.nodes]
    lines += [f"PROBLEM {row.variant}: {row.problem}" for row in rows if row.problem]
    return "\n".join(lines)


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_check")
    parser.add_argument("--bundle", type=Path, default=Path("build/gpu-check/bundle"))
    parser.add_argument("--preset", default="default", help="what to export where no bundle is")
    parser.add_argument("--embedder", help="in place of the preset's")
    parser.add_argument("--llm", help="in place of the preset's")
    parser.add_argument("--target", help="only this target, or this variant")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=128, help="decoded in each round")
    parser.add_argument("--windows", type=int, default=24, help="texts held against torch")
    parser.add_argument("--dry-run", action="store_true", help="check the CPU's where no GPU is")
    return parser.parse_args(arguments)


def _bundle(args: argparse.Namespace) -> Bundle:
    """Return the bundle to check, exported for all targets where there is none that is whole."""
    from edgepersona_export.pipeline import ExportOptions, export_bundle, kept_bundle
    from edgepersona_export.presets import resolve

    sources = resolve(args.preset)
    options = ExportOptions(
        embedder=args.embedder or sources.embedder,
        llm=args.llm or sources.llm,
        out=args.bundle,
        target=TARGETS,
        precision=PRECISIONS,
        embedder_precision="fp16",
    )
    return kept_bundle(options) or export_bundle(options, log=print).bundle


def _wanted(bundle: Bundle, args: argparse.Namespace) -> list[Variant]:
    from edgepersona.gpu import find_gpu
    from edgepersona.variants import candidates

    variants = candidates(bundle, args.target)
    try:
        find_gpu()
    except EdgePersonaError:
        variants = [v for v in variants if v.target == "cpu"]
    return variants


def _check(bundle: Bundle, variant: Variant, bandwidth: float, args: argparse.Namespace) -> Row:
    from edgepersona.decoder import open_variant
    from edgepersona.variants import variant_name

    row = Row(variant_name(variant))
    print(f"{row.variant} …", flush=True)
    try:
        _warm(bundle, variant)
        started = time.perf_counter()
        decoder = open_variant(bundle, variant)
        row.load_s = time.perf_counter() - started
        row.provider = decoder.provider
        row.nodes = _placement(decoder)
        _measure(decoder, row, args)
        row.token_bytes = _token_bytes(bundle, variant)
        if bandwidth and variant.target != "cpu":
            row.roofline_share = row.token_bytes * row.decode_tokens_s / bandwidth
        _hold_against_torch(bundle, decoder, variant, row, args)
    except EdgePersonaError as error:
        row.problem = " ".join(str(error).split())
    return row


def _warm(bundle: Bundle, variant: Variant) -> None:
    if variant.target != "tensorrt":
        return
    from edgepersona.portabledecoder import build_engines, engines

    if not engines(bundle, variant).is_warm():
        started = time.perf_counter()
        build_engines(bundle, variant, log=lambda part: print(f"  building the {part} engine"))
        print(f"  built in {time.perf_counter() - started:.0f} s")


def _measure(decoder: Decoder, row: Row, args: argparse.Namespace) -> None:
    """Read a prompt and decode greedily, so often; the first time is not counted."""
    ids = [int(i) for i in np.random.default_rng(0).integers(0, decoder.vocab, PROMPT)]
    first: list[float] = []
    prefill: list[float] = []
    decode: list[float] = []
    for _ in range(args.rounds + 1):
        prefill.append(_timed(decoder, ids)[0])
        seconds, state, token = _timed(decoder, ids[:BEFORE], more=args.tokens)
        first.append(seconds)
        started = time.perf_counter()
        for _ in range(args.tokens):
            token = int(state.step(token).argmax())
        decode.append(args.tokens / (time.perf_counter() - started))
    row.ttft_s = statistics.median(first[1:])
    row.prefill_tokens_s = PROMPT / statistics.median(prefill[1:])
    row.decode_tokens_s = statistics.median(decode[1:])
    row.decode_low, row.decode_high = min(decode[1:]), max(decode[1:])


def _timed(decoder: Decoder, ids: list[int], more: int = 0) -> tuple[float, Any, int]:
    """Return the seconds to the first token after ``ids``, the sequence, and that token."""
    state = decoder.start(capacity=len(ids) + more)
    started = time.perf_counter()
    token = int(state.extend(decoder.embed(ids))[0].argmax())
    return time.perf_counter() - started, state, token


def _hold_against_torch(
    bundle: Bundle, decoder: Decoder, variant: Variant, row: Row, args: argparse.Namespace
) -> None:
    from edgepersona.decoder import log_probs
    from edgepersona.text import Tokenizer
    from edgepersona_export import verify

    tokenizer = Tokenizer(bundle.file(bundle.generator.tokenizer))
    texts = verify.sample_texts()[: args.windows]
    windows = [tokenizer.encode(text)[: verify.WINDOW_TOKENS] for text in texts]
    reference = _Reference.of(args)
    checks = verify.check_generator(
        lambda ids: log_probs(decoder, ids), reference.log_probs, windows, variant.precision
    )
    found = {check.name.rpartition(": ")[2]: check for check in checks}
    row.perplexity_ratio = found["perplexity ÷ torch's"].value
    row.agreement = found["top-1 agreement"].value
    row.samples = checks[0].samples
    if failed := [check.name for check in checks if not check.passed]:
        row.problem = f"differs too much from torch: {', '.join(failed)}"


class _Reference:
    """The model in torch, loaded once; what it says is kept."""

    _known: _Reference | None = None

    def __init__(self, args: argparse.Namespace) -> None:
        from edgepersona_export.generator import load_torch
        from edgepersona_export.presets import locate, resolve

        self._model = load_torch(locate(str(args.llm or resolve(args.preset).llm)))
        self._said: dict[tuple[int, ...], Any] = {}

    @classmethod
    def of(cls, args: argparse.Namespace) -> _Reference:
        cls._known = cls._known or cls(args)
        return cls._known

    def log_probs(self, ids: list[int]) -> Any:
        import torch

        if tuple(ids) not in self._said:
            with torch.inference_mode():
                logits = self._model(torch.tensor([ids])).logits[0].float()
            self._said[tuple(ids)] = torch.log_softmax(logits, dim=-1).numpy()
        return self._said[tuple(ids)]


def _check_embedder(bundle: Bundle, args: argparse.Namespace, *, on_gpu: bool) -> EmbedderRow:
    from edgepersona.embedder import Embedder
    from edgepersona_export import verify
    from edgepersona_export.embedder import reference_embeddings
    from edgepersona_export.presets import locate, resolve

    row = EmbedderRow(bundle.embedder.precision)
    embedder = Embedder(bundle)
    row.provider = embedder.provider
    if on_gpu and embedder.left_out:
        row.problem = " ".join(embedder.left_out.split())
    prose = verify.sample_texts()[: args.windows]
    texts = [text[:length] for length in (20, 80, 300, 1000) for text in prose]
    vectors = embedder.encode(texts)
    many = texts * 10
    started = time.perf_counter()
    embedder.encode(many)
    row.texts_s = len(many) / (time.perf_counter() - started)
    source = locate(str(args.embedder or resolve(args.preset).embedder))
    cosine = (vectors * reference_embeddings(source, texts)).sum(axis=1)
    row.cosine, row.cosine_least = float(cosine.mean()), float(cosine.min())
    row.samples = len(texts)
    if row.cosine < verify.COSINE_BOUND[row.precision] and not row.problem:
        row.problem = f"differs too much from torch: mean cosine {row.cosine:.4f}"
    return row


def _token_bytes(bundle: Bundle, variant: Variant) -> int:
    """Return the bytes that one token reads: all weights, and the cache halfway through a round."""
    files = bundle.manifest["files"]
    spec = bundle.generator
    cache = 2 * spec.layers * spec.kv_heads * spec.head_dim * 2 * BEFORE
    return cache + sum(files[name]["size_bytes"] for name in variant.files)


def _placement(decoder: Decoder) -> dict[str, int]:
    session = getattr(decoder, "session", None) or getattr(decoder, "tokens", None)
    return session.placement() if session else {}


def _placed(row: Row) -> str:
    return ", ".join(f"{count} nodes on {provider}" for provider, count in row.nodes.items())


def _bandwidth() -> float:
    from bench.copying import copied_bytes_s

    try:
        return copied_bytes_s()
    except (OSError, AttributeError) as error:
        print(f"gpu-check: the GPU's memory could not be measured: {error}", file=sys.stderr)
        return 0.0


def _versions() -> str:
    from edgepersona.providers import tensorrt_version
    from edgepersona.runtime import onnxruntime

    try:
        tensorrt = f"TensorRT {tensorrt_version()}"
    except EdgePersonaError:
        tensorrt = "no TensorRT"
    return f"onnxruntime {onnxruntime().__version__}, {tensorrt}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
