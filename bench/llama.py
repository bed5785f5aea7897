"""llama.cpp as a peer, in a form that does not crash here."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from bench import genai_model
from bench.process import Worker

NAME = "llama.cpp"

FORMS = ((True, "Q4_1"), (False, "Q4_1, repacking off"))
"""Whether it may repack weights (for AMX that crashes some builds), and what that is called."""


def is_installed() -> bool:
    """Tell whether it is there; where not, say what would install it."""
    found = find_spec("llama_cpp") is not None
    if not found:
        print("llama.cpp is not installed: pip install llama-cpp-python")
    return found


def start(threads: int, prompt: list[int], module: str = "bench.worker") -> list[Worker]:
    """Return llama.cpp as it comes; where that crashes, without its repacked weights."""
    if not is_installed():
        return []
    file = str(genai_model.gguf())
    for extra_buffers, note in FORMS:
        settings: dict[str, Any] = {
            "peer": NAME, "file": file, "threads": threads, "extra_buffers": extra_buffers,
        }  # fmt: skip
        worker = Worker(NAME, settings, note, module=module)
        try:
            worker.ask("prefill", prompt)
        except BrokenPipeError as error:
            print(f"{error} with {note}")
            continue
        return [worker]
    raise SystemExit("llama.cpp crashed in either form")
