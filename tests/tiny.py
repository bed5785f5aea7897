"""A whole bundle of tiny random models, made in seconds: the real code on small numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepersona.bundle import Bundle, write_manifest
from edgepersona.variants import candidates

if TYPE_CHECKING:
    from edgepersona.onnxdecoder import OnnxDecoder

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
STOP = 2
EMBEDDER = {
    "path": "embedder/model.onnx",
    "tokenizer": "embedder/tokenizer.json",
    "source": "none",
    "engine": "onnx",
    "precision": "fp32",
    "ndim": 32,
    "max_tokens": 16,
    "pooling": "mean",
    "pad_id": 0,
    "query_prefix": "",
    "document_prefix": "",
}
"""What a manifest says of an embedder that is there in name only."""

GENERATOR = {
    "source": "none",
    "tokenizer": "generator/tokenizer.json",
    "embeddings": "generator/embeddings.q8",
    "layers": 1,
    "hidden": 2,
    "kv_heads": 1,
    "head_dim": 2,
    "vocab": 2,
    "context": 16,
    "chat_template": TEMPLATE,
    "bos_token": "",
    "eos_token": "",
    "stop_tokens": [1],
    "variants": [],
}
"""The same of a generator, for those who load none."""


def open_onnx(bundle: Bundle, **options: Any) -> OnnxDecoder:
    """Load a bundle's first variant on ONNX Runtime."""
    from edgepersona.onnxdecoder import OnnxDecoder

    return OnnxDecoder(bundle, candidates(bundle)[0], **options)


def write_tokenizer(folder: Path) -> int:
    """Write a byte-level tokenizer without merges: a token a byte; return its vocabulary's size."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate([*CONTROL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(vocab)


def llama(vocab: int, *, seed: int = 0, **overrides: object):
    """Make a random Llama of torch's; its odd sizes leave no room for lucky shapes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    options: dict = {
        "vocab_size": vocab,
        "hidden_size": 96,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "rope_theta": 5000.0,
        "initializer_range": 0.3,
    }
    return LlamaForCausalLM(LlamaConfig(**{**options, **overrides})).eval().float()


def write_bundle(folder: Path, model, *, precision: str = "fp32") -> Bundle:
    """Write ``model`` and a tokenizer as a bundle; its embedder is there in name only."""
    from edgepersona_export import generator as generators

    vocab = write_tokenizer(folder / "generator")
    read = generators.read_generator(folder, model)
    assert read.vocab == vocab
    variant = generators.write_variant(read, folder, "cpu", precision)
    generators.write_embeddings(read, folder / "generator/embeddings.q8")
    generator = {
        "source": "tiny",
        "tokenizer": "generator/tokenizer.json",
        "embeddings": "generator/embeddings.q8",
        "chat_template": TEMPLATE,
        "bos_token": CONTROL[1],
        "eos_token": CONTROL[2],
        "stop_tokens": [STOP],
        "variants": [variant],
        **generators.shape_of(read),
    }
    write_manifest(folder, {"embedder": EMBEDDER, "generator": generator})
    return Bundle.open(folder)


def write_empty_bundle(folder: Path) -> Bundle:
    """Write a bundle of a tokenizer alone, for a generator that runs on a stand-in."""
    vocab = write_tokenizer(folder / "generator")
    generator = {**GENERATOR, "vocab": vocab, "context": 256, "stop_tokens": [STOP]}
    write_manifest(folder, {"embedder": EMBEDDER, "generator": generator})
    return Bundle.open(folder)


def as_stored(table: np.ndarray, *, block: int = 32) -> np.ndarray:
    """Round to 8 bits and back: what the embedding table does to a model."""
    from edgepersona_export.quantize import dequantise, quantise_int8

    return dequantise(quantise_int8(table, block=block), table.shape[1])


def put_on_grid(model) -> None:
    """Make a model's matrices what int8 stores of them: what rounds them is tested elsewhere."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2:
                stored = as_stored(weight.numpy(), block=32 if "embed" in name else 128)
                weight.copy_(torch.tensor(stored))


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of ``a`` to that of ``b``."""
    found: np.ndarray = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
