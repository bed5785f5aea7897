"""Changes the profile named on the command line and saves its graph until stopped; says so."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edgepersona.graphtable import Graph
from edgepersona.records import Record
from edgepersona.store import Store
from tests.standins import EMBEDDER_HASH, NDIM, LetterReader


def main() -> None:
    path, key, start = Path(sys.argv[1]), sys.argv[2] or None, int(sys.argv[3])
    store = Store.open(path, key=key, embedder_hash=EMBEDDER_HASH, ndim=NDIM)
    reader = LetterReader()
    print("ready", flush=True)
    for i in range(start, sys.maxsize):
        batch = [Record(f"text {i} {part}", id=f"{i}.{part}") for part in range(300)]
        store.add(batch, np.ones((300, NDIM), np.float32))
        for block in store.untokenized(reader.hash):
            tokens = reader.encode_plain([record.text for record in block])
            store.put_tokens(reader.hash, zip(block, tokens, tokens, strict=True))
        ids = store.rows()
        # Every node names the two before it, so that a link to a wrong one shows.
        links = np.maximum(np.arange(len(ids))[:, None] - [1, 2], 0).astype(np.uint32)
        assert store.save_graph(Graph(ids, links, i, store.generation))
        store.delete([f"{i}.{part}" for part in range(0, 300, 3)])
        store.update(Record("changed", id=f"{i}.1"), np.ones(NDIM, np.float32))
        print(f"= {i}", flush=True)


if __name__ == "__main__":
    main()
