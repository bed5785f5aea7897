"""Adds records to the profile named on the command line until stopped; prints each stored batch."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from edgepersona.errors import ProfileError
from edgepersona.records import Record
from edgepersona.store import Store
from tests.standins import EMBEDDER_HASH, NDIM, WordEmbedder


def main() -> None:
    # Whoever started the tests in the background had it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    path, key, start = Path(sys.argv[1]), sys.argv[2] or None, int(sys.argv[3])
    store = Store.open(path, key=key, embedder_hash=EMBEDDER_HASH, ndim=NDIM)
    embedder = WordEmbedder()
    print("ready", flush=True)
    try:
        for i in range(start, sys.maxsize):
            batch = [Record(f"text {i} part {part} " * 20, id=f"{i}.{part}") for part in range(3)]
            vectors = embedder.encode([record.id for record in batch])
            store.add(batch, vectors)
            if i % 5 == 4:
                store.delete([f"{i - 1}.1"])
                print(f"- {i - 1}.1", flush=True)
            print(f"+ {i}", flush=True)
    except KeyboardInterrupt:
        # What an application might do: it goes on with the same store.
        problems = store.integrity_check()
        store.add([Record("after", id=f"after {start}")], embedder.encode(["after"]))
        print("interrupted", problems, flush=True)
        store.close()
    except ProfileError as error:
        print("refused", error, store.integrity_check(), flush=True)


if __name__ == "__main__":
    main()
