"""A profile's records as JSON lines: an exact copy, ids included."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from edgepersona.cli.errors import InterruptedByUserError
from edgepersona.cli.options import as_json
from edgepersona.cli.terminal import progress_bar
from edgepersona.errors import EdgePersonaError, InputError
from edgepersona.records import MAX_TEXT_BYTES, Record, checked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from edgepersona.profile import Profile

_FIELDS = ("id", "text", "title", "date", "source", "kind")
_MAX_LINE_BYTES = 8 * MAX_TEXT_BYTES  # every character of the longest text escaped
_BATCH = 64


def write_backup(records: Iterable[Record], name: str) -> int:
    """Write ``records`` to a file, or to stdout for ``-``; return how many there were.

    A file appears whole or not at all, readable by its owner alone.
    """
    if name == "-":
        return _write(records, sys.stdout.buffer)
    path = Path(os.path.realpath(name))
    if path.is_dir():
        raise InputError(f"{path}: is a folder: give the path of a file")
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as stream:  # a device cannot be put in place by renaming
                return _write(records, stream)
        return _write_whole(records, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def check_backup(path: Path) -> int:
    """Return how many records a file holds; InputError names the first line that is none."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    return sum(1 for _ in _read(path))


def load_backup(profile: Profile, path: Path, total: int) -> int:
    """Add the records of a file that was checked; return how many were new."""
    added = done = 0
    records = _read(path)
    try:
        with progress_bar("import") as show:
            while batch := list(islice(records, _BATCH)):
                added += profile.add(batch).new
                done += len(batch)
                show(done, total)
    except EdgePersonaError as error:
        raise type(error)(f"{error} ({done:,} of {total:,} records were stored before)") from error
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            f"interrupted; {done:,} of {total:,} records are stored, "
            "run the same command again for the rest"
        ) from None
    return added


def _write_whole(records: Iterable[Record], path: Path) -> int:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            count = _write(records, stream)
            os.fsync(handle)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return count


def _write(records: Iterable[Record], stream: BinaryIO) -> int:
    count = 0
    for record in records:
        line = json.dumps(as_json(record), ensure_ascii=False)
        stream.write(line.encode() + b"\n")
        count += 1
    stream.flush()
    return count


def _read(path: Path) -> Iterator[Record]:
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(_MAX_LINE_BYTES + 1):
            number += 1
            if line.strip():
                try:
                    yield _record(line)
                except InputError as error:
                    raise InputError(f"{path}: line {number}: {error}") from None


def _record(line: bytes) -> Record:
    if len(line) > _MAX_LINE_BYTES:
        raise InputError(f"longer than {_MAX_LINE_BYTES:,} bytes")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or not fields.keys() <= set(_FIELDS) or "id" not in fields:
        raise InputError(
            "no record as 'profile export' writes it (import other files with 'edgepersona import')"
        )
    return checked(Record(**{"text": "", **fields}))
