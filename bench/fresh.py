"""A fresh process that does one thing once, and says on stderr how much memory that took at most.

What it writes to stdout first is its first token: who started it reads the time.
"""

from __future__ import annotations

import json
import sys


def ask(arguments: list[str]) -> None:
    """Do what ``edgepersona ask`` does."""
    from edgepersona.cli import main

    if code := main(["ask", *arguments]):
        sys.exit(code)


def llama(arguments: list[str]) -> None:
    """Have llama.cpp read token ids and write the first token of its answer."""
    file, threads, extra_buffers, ids = arguments
    from bench.worker import LlamaCpp

    peer = LlamaCpp(file, int(threads), extra_buffers=extra_buffers == "True")
    peer.prefill(json.loads(ids))
    token = peer._llama.detokenize([peer._token])
    sys.stdout.buffer.write(token or b" ")
    sys.stdout.buffer.flush()


def runtime(arguments: list[str]) -> None:
    """Import ONNX Runtime, for scale."""
    import onnxruntime

    print(onnxruntime.__version__, flush=True)


def peak_kib() -> int:
    """Return the most memory that was resident; not getrusage's, which counts the parent's too."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


WORKS = {"ask": ask, "llama": llama, "runtime": runtime}

if __name__ == "__main__":
    WORKS[sys.argv[1]](sys.argv[2:])
    print(f"\n{peak_kib()}", file=sys.stderr)
