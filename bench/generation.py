"""Decode and prefill of the default LLM beside onnxruntime-genai and llama.cpp."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bench import genai_model, llama
from bench.machine import processor
from bench.options import Options
from bench.process import Worker
from bench.roofline import bytes_a_token, read_bytes_per_s
from bench.rows import Row, compare, publish
from edgepersona.bundle import Bundle, default_bundle_path
from edgepersona.runtime import physical_cores
from edgepersona.text import Tokenizer

PROMPT_TOKENS = 128
NEW_TOKENS = 64


def run(works: set[str], options: Options) -> None:
    """Measure and publish those of ``decode`` and ``prefill`` that are asked for."""
    bundle = Bundle.open(default_bundle_path())
    threads = physical_cores()
    windows, prompts = tokens(bundle)
    workers = _start(bundle, threads, prompts[0])
    try:
        theirs = {w.name: _perplexity(w, windows) for w in workers}
        as_prompt = {w.name: _perplexity(w, windows, "prompt_losses") for w in workers[:1]}
        perplexity = {"decode": theirs, "prefill": {**theirs, **as_prompt}}
        speeds = measure(workers, prompts, options.rounds)
    finally:
        for worker in workers:
            worker.close()
    scored = sum(len(ids) - 1 for ids in windows)
    machine = f"{processor()}, {threads} threads, {scored:,} tokens scored, {options.rounds} rounds"
    for work in sorted(works):
        rows = _rows(work, workers, speeds[work], perplexity[work])
        if work == "decode":
            rows.append(_beside_the_roofline(bundle, threads, speeds[work][workers[0].name]))
        publish(work, rows, machine)


def tokens(bundle: Bundle) -> tuple[list[list[int]], list[list[int]]]:
    """Return what is scored, and what is read before decoding: token ids of texts."""
    tokenizer = Tokenizer(bundle.file(bundle.manifest["generator"]["tokenizer"]))
    windows = [tokenizer.encode(text)[:160] for text in _texts()]
    return windows, [ids[:PROMPT_TOKENS] for ids in windows if len(ids) >= PROMPT_TOKENS]


def _beside_the_roofline(bundle: Bundle, threads: int, speeds: list[float]) -> Row:
    """Return the share of what a plain read of the weights would allow."""
    size_bytes, bytes_per_s = bytes_a_token(bundle), read_bytes_per_s(threads)
    limit = [bytes_per_s / size_bytes] * len(speeds)
    return compare(
        "decode", "a plain read of the weights", speeds, limit, unit="tokens/s", better="higher",
        quality=f"{size_bytes / 1e6:.1f} MB a token, memory read at {bytes_per_s / 1e9:.1f} GB/s",
    )  # fmt: skip


def _start(bundle: Bundle, threads: int, prompt: list[int]) -> list[Worker]:
    variant = bundle.manifest["generator"]["variants"][0]
    ours = {"peer": "edgepersona", "bundle": str(bundle.path), "threads": threads}
    workers = [
        Worker("edgepersona", ours, variant["precision"]),
    ]
    if find_spec("onnxruntime_genai"):
        folder = genai_model.build(threads)
        settings = {"peer": "onnxruntime-genai", "folder": str(folder), "threads": threads}
        workers.append(Worker("onnxruntime-genai", settings, "int8"))
    else:
        print("onnxruntime-genai is not installed: pip install 'edgepersona[bench]'")
    return [*workers, *llama.start(threads, prompt)]


def _perplexity(worker: Worker, windows: list[list[int]], way: str = "losses") -> float:
    losses = [loss for ids in windows for loss in worker.ask(way, ids)[1]]
    return float(np.exp(np.mean(losses)))


def measure(
    workers: list[Worker], prompts: list[list[int]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Return tokens/s by work and peer; peers take turns within every round."""
    speeds: dict[str, dict[str, list[float]]] = {
        work: {w.name: [] for w in workers} for work in ("prefill", "decode")
    }
    for number in range(rounds + 1):
        prompt = prompts[number % len(prompts)]
        for worker in workers:
            prefill_s, _ = worker.ask("prefill", prompt)
            decode_s, _ = worker.ask("decode", NEW_TOKENS)
            if number:  # the first round warms up
                speeds["prefill"][worker.name].append(len(prompt) / prefill_s)
                speeds["decode"][worker.name].append(NEW_TOKENS / decode_s)
    return speeds


def _rows(
    work: str,
    workers: list[Worker],
    speeds: dict[str, list[float]],
    perplexity: dict[str, float],
) -> list[Row]:
    ours, *peers = workers
    return [
        compare(
            work, f"{peer.name} ({peer.note})", speeds[ours.name], speeds[peer.name],
            unit="tokens/s", better="higher",
            quality=f"perplexity {perplexity[ours.name]:.2f} ({ours.note}) : "
            f"{perplexity[peer.name]:.2f}",
        )
        for peer in peers
    ]  # fmt: skip


def _texts() -> list[str]:
    """Return the abstracts of the research data where it lies beside the checkout, else prose."""
    file = Path(__file__).parents[2] / "shared/data/anthology/history.jsonl.gz"
    if not file.is_file():
        from edgepersona_export.verify import sample_texts

        return sample_texts()
    import gzip

    with gzip.open(file, "rt") as lines:
        return [json.loads(line)["text"] for line in list(lines)[:400:16]][:24]
