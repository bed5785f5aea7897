"""A peer in a process of its own, asked one work at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass
class Worker:
    """A running peer; ``note`` says in what form it runs, ``module`` what it runs in."""

    name: str
    settings: dict[str, Any]
    note: str = ""
    module: str = "bench.worker"
    environment: dict[str, str] = field(default_factory=dict)
    quiet: bool = True
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module, json.dumps(self.settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL if self.quiet else None,
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1", **self.environment},
        )  # fmt: skip

    def ask(self, work: str, argument: Any = None) -> tuple[float, Any]:
        """Return (seconds, value); raise BrokenPipeError where the peer has died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"work": work, "argument": argument}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise BrokenPipeError(f"{self.name} ended with code {self.process.wait()}")
        answer = json.loads(line)
        return answer["seconds"], answer["value"]

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def serve(peer: Any) -> None:
    """Answer the works that come in, a line each, with how long each took."""
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        value = getattr(peer, request["work"])(request["argument"])
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "value": value}), flush=True)
