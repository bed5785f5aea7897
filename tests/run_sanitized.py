"""Run Python on extensions compiled under GCC's sanitizers: ``run_sanitized.py -m pytest …``.

The ordinary extensions stay as they are. What is compiled goes to build/sanitize/lib, and Python
runs in a copy of the tree beside it, whose only extensions are those: so do the processes that
tests start, and tests/sanitized.py stops one that would not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "sanitize"
FINDINGS = BUILD / "findings"
TREE = BUILD / "tree"

# GCC's "undefined" leaves out what a float that fits no integer becomes.
SANITIZE = "address,undefined,float-cast-overflow"

OPTIONS = {
    # An exit status of 1 is what the program itself ends with when it refuses something.
    "abort_on_error": 1,
    "halt_on_error": 1,
    "print_stacktrace": 1,
    # In files: nobody reads the standard error of a process that a test kills.
    "log_path": FINDINGS / "found",
}
ADDRESS_OPTIONS = {
    **OPTIONS,
    # Python and ONNX Runtime keep memory until the process ends. The core's own leaks are looked
    # for in its C++ tests, where nothing else allocates.
    "detect_leaks": 0,
    # Too much asked of malloc is a MemoryError, as it is elsewhere.
    "allocator_may_return_null": 1,
    "detect_stack_use_after_return": 1,
}


def main(arguments: list[str]) -> int:
    shutil.rmtree(FINDINGS, ignore_errors=True)
    FINDINGS.mkdir(parents=True)
    extensions = compiled()
    copy_tree(extensions)
    command = [sys.executable, *arguments]
    status = subprocess.run(command, cwd=TREE, env=environment(extensions[0])).returncode
    for report in sorted(FINDINGS.iterdir()):
        print(f"\n{report.relative_to(ROOT)}:\n{report.read_text(errors='replace')}")
        status = status or 1
    return status


def compiled() -> list[Path]:
    """Compile what changed; return the extensions."""
    lib = BUILD / "lib"
    command = [sys.executable, "setup.py", "-q", "build_ext", "-j2"]
    command += ["--build-lib", str(lib), "--build-temp", str(BUILD / "temp")]
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, "EDGEPERSONA_SANITIZE": SANITIZE}, check=True
    )
    return sorted(lib.glob("edgepersona/*.so"))


def copy_tree(extensions: list[Path]) -> None:
    shutil.rmtree(TREE, ignore_errors=True)
    skipped = {".git", ".venv", "build", "dist"}
    ignored = shutil.ignore_patterns("*.so", "*.pyc", "__pycache__", "*.egg-info", ".*_cache")
    for path in ROOT.iterdir():
        if path.name in skipped:
            continue
        if path.is_dir():
            shutil.copytree(path, TREE / path.name, ignore=ignored)
        else:
            TREE.mkdir(exist_ok=True)
            shutil.copy2(path, TREE / path.name)
    beside, ours = ROOT.parent / "shared", BUILD / "shared"  # real data, where there is any
    if beside.is_dir() and not ours.is_symlink():
        ours.symlink_to(beside)
    for path in extensions:
        shutil.copy2(path, TREE / "edgepersona" / path.name)


def environment(extension: Path) -> dict[str, str]:
    """Return this process's environment, made such that Python can load the extensions."""
    needs = subprocess.run(["ldd", extension], capture_output=True, text=True, check=True).stdout
    # Python is not linked with them. The C++ library too, or its throw would not be found.
    preload = [re.search(rf"{name}\.so\S* => (\S+)", needs) for name in ("libasan", r"libstdc\+\+")]
    if None in preload:
        sys.exit(f"{extension.name} needs no shared libasan and libstdc++: is the compiler GCC?")
    paths = [str(TREE), str(TREE / "export"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "EDGEPERSONA_SANITIZE": SANITIZE,
        "LD_PRELOAD": " ".join(found[1] for found in preload),
        "ASAN_OPTIONS": ":".join(f"{name}={value}" for name, value in ADDRESS_OPTIONS.items()),
        "UBSAN_OPTIONS": ":".join(f"{name}={value}" for name, value in OPTIONS.items()),
        "PYTHONMALLOC": "malloc",  # or small objects would lie side by side in one allocation
        "PYTHONPATH": os.pathsep.join(paths),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
