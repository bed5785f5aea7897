"""What the tests know of a run under sanitizers; tests/run_sanitized.py starts one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SANITIZED = "EDGEPERSONA_SANITIZE" in os.environ
# What a test that makes an environment of its own must hand on.
VARIABLES = ("EDGEPERSONA_SANITIZE", "LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS", "PYTHONMALLOC")


def hold_to_it() -> None:
    """In such a run, see to it that nothing here or in a process of Python's uses other builds."""
    if not SANITIZED:
        return
    from edgepersona import _native, _sampling

    for module in (_native, _sampling):
        path = Path(module.__file__)
        code = path.read_bytes()
        if not (path.is_relative_to(ROOT) and b"__asan_report_" in code and b"__ubsan_" in code):
            raise RuntimeError(f"{path} is not the extension of this tree under sanitizers")
    sys.addaudithook(_check_process)


def _check_process(event: str, arguments: tuple) -> None:
    if event != "subprocess.Popen":
        return
    _, command, _, env = arguments
    env = os.environ if env is None else env
    words = [command] if isinstance(command, str | bytes | os.PathLike) else list(command)
    if not any(os.fsdecode(word) == sys.executable for word in words):
        return
    found = env.get("PYTHONPATH", "").split(os.pathsep)
    missing = [name for name in VARIABLES if name not in env]
    if str(ROOT) not in found or missing:
        raise RuntimeError(f"this process would not run under sanitizers: {missing} of {words}")
