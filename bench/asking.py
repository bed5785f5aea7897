"""A fresh ``edgepersona ask`` to its first token, and its memory, beside other fresh processes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench import genai_model, llama, texts
from bench.machine import processor
from bench.options import Options
from bench.rows import Row, compare, publish
from edgepersona.bundle import Bundle, default_bundle_path
from edgepersona.profile import Profile
from edgepersona.records import Record, Task
from edgepersona.runtime import physical_cores

WORKS = ("memory", "cold-start")

KEY = "a passphrase of the benchmark"
QUESTION = "How do I keep a submodule from being fetched?"
_RECORDS = 200
_RECORD_CHARACTERS = (80, 600)
_SEED = 1
_OURS = "edgepersona"


@dataclass
class _Peer:
    """What a fresh process is told, and what was measured of it, a value a round."""

    arguments: list[str]
    seconds: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)


def run(works: set[str], options: Options) -> None:
    """Measure and publish those of ``memory`` and ``cold-start`` that are asked for."""
    bundle = Bundle.open(default_bundle_path())
    with tempfile.TemporaryDirectory(prefix="edgepersona-bench-") as folder:
        file = Path(folder) / "profile.db"
        prompt = _fill(file, bundle)
        peers = _peers(file, prompt, bundle)
        for number in range(options.rounds + 1):
            for peer in peers.values():
                seconds, mib = _once(peer.arguments)
                if number:  # the first round warms the page cache
                    peer.seconds.append(seconds)
                    peer.mib.append(mib)
    where = f"{processor()}, {physical_cores()} threads, {options.rounds} rounds"
    said = f"{_RECORDS} records, encrypted; a prompt of {len(prompt)} tokens; warm page cache"
    for work in sorted(works):
        publish(work, _rows(work, peers, len(prompt)), f"{where}; {said}")


def _fill(file: Path, bundle: Bundle) -> list[int]:
    """Make the profile; return the tokens of the prompt that the question comes to."""
    low, high = _RECORD_CHARACTERS
    chosen = [text for text in texts.commits(_SEED) if low <= len(text) <= high][:_RECORDS]
    random.Random(_SEED).shuffle(chosen)
    with Profile.open(file, bundle, key=KEY) as profile:
        profile.add([Record(text, kind="commit") for text in chosen])
        return profile.stream(Task(QUESTION)).layout.token_ids


def _peers(file: Path, prompt: list[int], bundle: Bundle) -> dict[str, _Peer]:
    ask = ["ask", QUESTION, "--profile", str(file), "--bundle", str(bundle.path)]
    peers = {_OURS: _Peer([*ask, "--temperature", "0", "--max-new-tokens", "8"])}
    if llama.is_installed():
        note, arguments = _llama(prompt)
        peers[f"llama.cpp ({note}), without search"] = _Peer(arguments)
    peers["import onnxruntime, for scale"] = _Peer(["runtime"])
    return peers


def _llama(prompt: list[int]) -> tuple[str, list[str]]:
    """Return llama.cpp as it comes; where that crashes, without its repacked weights."""
    command = ["llama", str(genai_model.gguf()), str(physical_cores())]
    for extra_buffers, note in llama.FORMS:
        arguments = [*command, str(extra_buffers), json.dumps(prompt)]
        try:
            _once(arguments)
        except ChildProcessError as error:
            print(f"llama.cpp with {note} {error}")
            continue
        return note, arguments
    raise SystemExit("llama.cpp crashed in either form")


def _once(arguments: list[str]) -> tuple[float, float]:
    """Return the seconds to the first byte of stdout, and MiB resident at most."""
    environment = {**os.environ, "EDGEPERSONA_KEY": KEY, "ORT_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "bench.fresh", *arguments]
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=environment
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        seconds = time.perf_counter() - started
        _, said = process.communicate()
    if process.returncode or not first:
        raise ChildProcessError(f"ended with code {process.returncode}: {said.decode()[-200:]}")
    return seconds, int(said.splitlines()[-1]) / 2**10


def _rows(work: str, peers: dict[str, _Peer], prompt_tokens: int) -> list[Row]:
    ours, unit = peers[_OURS], "s" if work == "cold-start" else "MiB"
    quality = f"ours at most {max(_values(work, ours)):.2f} {unit}"
    return [
        compare(
            work, name, _values(work, ours), _values(work, peer), unit=unit, better="lower",
            quality=quality, extras={"prompt_tokens": prompt_tokens, "records": _RECORDS},
        )
        for name, peer in peers.items()
        if name != _OURS
    ]  # fmt: skip


def _values(work: str, peer: _Peer) -> list[float]:
    return peer.seconds if work == "cold-start" else peer.mib
