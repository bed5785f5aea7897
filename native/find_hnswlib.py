"""Find hnswlib's headers for a build: where the environment says, on the system, or downloaded."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PINNED = "0.8.0"
SHA256 = "cb6d037eedebb34a7134e7dc78966441dfd04c9cf5ee93911be911ced951c44c"

_HEADER = Path("hnswlib", "hnswlib.h")


class HeadersNotFoundError(RuntimeError):
    """hnswlib's headers are not here and could not be downloaded; one line says what to do."""


def include_dir(build: Path) -> tuple[Path, str]:
    """Return the folder to include from, and the version (``system`` where it is not known).

    The pinned source archive is downloaded only where neither ``HNSWLIB_INCLUDE_DIR`` nor the
    system has the headers, and kept under ``build`` for the next time.
    """
    chosen = os.environ.get("HNSWLIB_INCLUDE_DIR")
    if chosen:
        if not (Path(chosen) / _HEADER).is_file():
            raise HeadersNotFoundError(f"HNSWLIB_INCLUDE_DIR is {chosen}, which holds no {_HEADER}")
        return Path(chosen), "system"
    for prefix in _system_paths():
        if (prefix / _HEADER).is_file():
            return prefix, "system"
    return _downloaded(build), PINNED


def _system_paths() -> list[Path]:
    listed = os.environ.get("CPLUS_INCLUDE_PATH", "") + os.pathsep + os.environ.get("CPATH", "")
    prefixes = [Path(sys.prefix), Path("/usr/local"), Path("/usr"), Path("/opt/homebrew")]
    return [Path(p) for p in listed.split(os.pathsep) if p] + [p / "include" for p in prefixes]


def _downloaded(build: Path) -> Path:
    headers = build / f"hnswlib-{PINNED}"
    if (headers / _HEADER).is_file():
        return headers
    build.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as work:
        archive = _download(Path(work))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != SHA256:
            raise HeadersNotFoundError(
                f"{archive.name} has SHA-256 {found}, expected {SHA256}: not used; "
                "set HNSWLIB_INCLUDE_DIR to a folder that holds hnswlib/hnswlib.h"
            )
        unpacked = Path(work, "unpacked")
        _unpack_headers(archive, unpacked / "hnswlib")
        unpacked.replace(headers)  # whole or not at all
    return headers


def _download(into: Path) -> Path:
    # --no-build-isolation: pip asks the archive for its metadata, which needs nothing but what
    # this build already has.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    command += ["--dest", str(into), f"hnswlib=={PINNED}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    archive = into / f"hnswlib-{PINNED}.tar.gz"
    if done.returncode != 0 or not archive.is_file():
        said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise HeadersNotFoundError(
            f"hnswlib {PINNED} could not be downloaded ({said}): "
            "set HNSWLIB_INCLUDE_DIR to a folder that holds hnswlib/hnswlib.h"
        )
    return archive


def _unpack_headers(archive: Path, into: Path) -> None:
    """Write the archive's headers under names of our own making: no path of it is followed."""
    into.mkdir(parents=True)
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name)
            if member.isfile() and name.parts[1:-1] == ("hnswlib",) and name.suffix == ".h":
                source = tar.extractfile(member)
                assert source is not None
                (into / name.name).write_bytes(source.read())


if __name__ == "__main__":  # for native/Makefile
    try:
        print(include_dir(Path(sys.argv[1]))[0])  # noqa: T201
    except HeadersNotFoundError as error:
        sys.exit(str(error))
