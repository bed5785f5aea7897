"""Fuzz what Python hands to files' readers and to native code, for as long as is asked.

The targets are the property tests of this folder. Atheris (libFuzzer) makes the bytes that they
draw from, led by the lines of edgepersona that those reach. Where it is not installed, and under
sanitizers, whose library and libFuzzer's do not go together, hypothesis draws at random; there the
targets are the calls of native code. What reached something new stays under the folder for the next
time, and what failed too: ``python -m tests.fuzz TARGET FILE`` runs it again.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis

from tests.sanitized import SANITIZED

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    if SANITIZED:
        atheris = None
    else:
        import atheris
except ImportError:
    atheris = None

HERE = Path(__file__).parent


def main() -> int:
    options = _options()
    if options.target:
        run(options.target, options)
        return 0
    if atheris is None and not SANITIZED:
        print("ATHERIS IS NOT INSTALLED: what is drawn is random, not led by what it reaches")
    failed = []
    for name in targets():
        command = [sys.executable, "-m", "tests.fuzz", name, "--folder", str(options.folder)]
        command += ["--seconds", str(options.seconds)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace"
        )
        print(f"{name}: {'FAILED' if done.returncode else 'held'}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", help="this one only")
    parser.add_argument("files", nargs="*", type=Path, help="run these inputs and end")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--folder", type=Path, default=Path("build", "fuzz"))
    return parser.parse_args()


def targets() -> dict[str, Any]:
    """Return every property test of this folder, once for each of its parameters, by name."""
    # Only our own lines lead the search: not the tests', and not those of the libraries.
    led = atheris.instrument_imports(include=["edgepersona"]) if atheris else None
    found = {}
    with led or contextlib.nullcontext():
        for path in sorted(HERE.glob("test_*.py")):
            if (path.stem == "test_native_calls") != SANITIZED:
                continue
            module = importlib.import_module(f"tests.fuzz.{path.stem}")
            for name, test in vars(module).items():
                if hasattr(test, "hypothesis"):
                    found |= _of(name.removeprefix("test_"), test)
    return found


def _of(name: str, test: Any) -> dict[str, Any]:
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    if not marks:
        return {name: test}
    (mark,) = marks
    parameter, values = mark.args

    def bound(value: Any) -> Any:
        def inner(**drawn: Any) -> None:
            test.hypothesis.inner_test(**{parameter: value}, **drawn)

        return hypothesis.given(**test.hypothesis._given_kwargs)(inner)

    return {f"{name}[{value}]": bound(value) for value in values}


def run(name: str, options: argparse.Namespace) -> None:
    test = targets()[name]
    if options.files:
        for file in options.files:
            test.hypothesis.fuzz_one_input(file.read_bytes())
    elif atheris is None:
        _draw(test, options.seconds)
    else:
        _search(name, test.hypothesis.fuzz_one_input, options)


def _draw(test: Any, seconds: int) -> None:
    many = hypothesis.settings(
        max_examples=200,
        derandomize=False,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )(test)
    end, seed = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        seed += 1
        hypothesis.seed(seed)(many)()


def _search(name: str, target: Callable[[bytes], Any], options: argparse.Namespace) -> None:
    kept = options.folder / "corpus" / name
    kept.mkdir(parents=True, exist_ok=True)
    libfuzzer = [f"-max_total_time={options.seconds}", "-seed=1", "-rss_limit_mb=0"]
    libfuzzer += [f"-artifact_prefix={options.folder}/{name}-"]
    atheris.Setup([name, *libfuzzer, str(kept)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
