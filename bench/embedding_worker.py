"""One embedder in a process of its own: texts in, vectors out, or only the time that took."""

from __future__ import annotations

import json
import os
import sys

import numpy as np

from bench.process import serve

_BATCH_TOKENS = 512  # what suits ONNX Runtime on a CPU suits torch


class OfBundle:
    """The embedder of a bundle, as a profile runs it."""

    def __init__(self, bundle: str, threads: int) -> None:
        from edgepersona.bundle import Bundle
        from edgepersona.embedder import Embedder

        self._encode = Embedder(Bundle.open(bundle), threads=threads).encode

    def encode(self, texts: list[str]) -> None:
        """Encode all texts in one call."""
        self._encode(texts)

    def encode_singly(self, texts: list[str]) -> None:
        """Encode each text in a call of its own."""
        for text in texts:
            self._encode([text])

    def vectors(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors."""
        found: list[list[float]] = self._encode(texts).tolist()
        return found


class Torch(OfBundle):
    """The model's own files in torch, in fp32, on the same tokens and the same batches."""

    def __init__(self, folder: str, threads: int) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        torch.set_num_threads(threads)
        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        self._encode = self._encode_by_torch

    def _encode_by_torch(self, texts: list[str]) -> np.ndarray:
        from edgepersona.embedder import batches

        torch = self._torch
        ids = self._tokenizer(texts, truncation=True, max_length=256, padding=False)["input_ids"]
        vectors = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for rows in batches([len(i) for i in ids], _BATCH_TOKENS):
                feeds = self._tokenizer.pad(
                    {"input_ids": [ids[row] for row in rows]}, padding=True, return_tensors="pt"
                )
                hidden = self._model(**feeds).last_hidden_state
                mask = feeds["attention_mask"][..., None].to(hidden.dtype)
                pooled = (hidden * mask).sum(1) / mask.sum(1)
                vectors[rows] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return vectors


PEERS = {"bundle": OfBundle, "torch": Torch}

if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    settings = json.loads(sys.argv[1])
    serve(PEERS[settings.pop("peer")](**settings))
