"""A whole training run on tiny random models; as a program, one process of several.

``python -m tests.tiny_training OUT`` trains in OUT, which ``write_bundle`` was called for before.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests import tiny

PEOPLE, RECORDS = 6, 8


class Embeds:
    """An embedder that goes by the hash of a text."""

    hash = "0" * 64
    ndim = 32  # the bundle's

    def __init__(self) -> None:
        self.texts = 0

    def encode(self, texts: Sequence[str], *, role: str = "document") -> np.ndarray:
        """Return a random unit vector for each text, the same each time."""
        self.texts += len(texts)
        seeds = [int.from_bytes(hashlib.sha256(t.encode()).digest()[:4]) for t in texts]
        vectors = np.stack([np.random.default_rng(s).normal(size=self.ndim) for s in seeds])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_data(file: Path, *, people: int = PEOPLE, records: int = RECORDS) -> Path:
    """Write histories in which everyone begins their titles in a way of their own."""
    lines = [
        {
            "user_id": f"u{person}",
            "date": f"2020-01-{day + 1:02}",
            "title": f"{chr(97 + person) * 3} {day}",
            "text": f"text {day} of {person}",
        }
        for person in range(people)
        for day in range(records)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def write_bundle(folder: Path):
    """Write a bundle that says what it was made from, and return it."""
    from edgepersona.bundle import Bundle, write_manifest

    folder.mkdir(parents=True, exist_ok=True)
    bundle = tiny.write_bundle(folder, _model())
    manifest = {k: v for k, v in bundle.manifest.items() if k not in ("format", "files")}
    write_manifest(folder, manifest | {"inputs": {"embedder": {"e": "1"}, "llm": {"l": "2"}}})
    return Bundle.open(folder)


def run(folder: Path, **changes: Any):
    """Train on folder/history.jsonl against folder/bundle, into folder/head."""
    from edgepersona.bundle import Bundle
    from edgepersona_export.train.frozen import FrozenModel
    from edgepersona_export.train.options import Options, Places
    from edgepersona_export.train.run import Watcher, train

    resume, embedder = changes.pop("resume", False), changes.pop("embedder", None) or Embeds()
    start, task = changes.pop("start", None), changes.get("tasks", ("title",))[0]
    credit = changes.pop("credit", "the people of the test")
    told = {name: changes.pop(name) for name in ("save_every", "progress") if name in changes}
    shape = {"before": 2, "after": 2, "pooled": 2, "records": 2, "words": 4}
    shape |= changes.pop("shape", {})
    options = {"batch": 4, "held_out": 0.3, "shape": shape, "lr": 5e-3, **changes}
    bundle = Bundle.open(folder / "bundle")
    return train(
        bundle,
        embedder,
        Places(
            ((folder / "history.jsonl", task),),
            folder / "bundle",
            folder / "head",
            (credit,),
            start,
        ),
        Options(**options),
        frozen=FrozenModel(_model()),
        resume=resume,
        watcher=Watcher(**told),
    )


def _model():
    return tiny.llama(3 + 256, hidden_size=32, num_attention_heads=2, num_key_value_heads=1)


if __name__ == "__main__":
    # In one write: another process of the run writes to the same pipe.
    sys.stdout.write(f"processes {run(Path(sys.argv[1])).processes}\n")
