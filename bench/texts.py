"""The texts that are measured on, from the research data where it lies beside the checkout."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

DATA = Path(__file__).parents[2] / "shared" / "data"
SETS = ("anthology", "digitalgov", "commits")


def distinct(count: int, seed: int) -> list[str]:
    """Return ``count`` different texts, title and body, in random order; none where they miss.

    The smaller sets are taken whole, the largest fills up.
    """
    found: dict[str, None] = {}
    for name in SETS:
        file = DATA / name / "history.jsonl.gz"
        if not file.is_file():
            print(f"{file} is missing: no texts to measure on")
            return []
        with gzip.open(file, "rt") as lines:
            for item in map(json.loads, lines):
                if len(found) < count:
                    found["\n".join(part for part in (item["title"], item["text"]) if part)] = None
    texts = list(found)
    random.Random(seed).shuffle(texts)
    return texts


def commits(seed: int) -> list[str]:
    """Return all commit messages, title and body, in random order; prose where they miss."""
    file = DATA / "commits" / "history.jsonl.gz"
    if not file.is_file():
        from edgepersona_export.verify import sample_texts

        print(f"{file} is missing: prose in their place")
        lengths = (200, 400, 600, 800)
        return [text[:n] for n in lengths for text in sample_texts()]
    with gzip.open(file, "rt") as lines:
        found = dict.fromkeys(f"{item['title']}\n{item['text']}" for item in map(json.loads, lines))
    messages = list(found)
    random.Random(seed).shuffle(messages)
    return messages
