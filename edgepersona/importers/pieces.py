"""Cut a byte stream into bounded pieces, so that no file is ever read whole."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, NamedTuple

from edgepersona.errors import InputError
from edgepersona.importers.items import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from io import BufferedIOBase
    from pathlib import Path

CHUNK_BYTES = 1 << 18
_MAX_COUNTED_BYTES = 1 << 28


class Piece(NamedTuple):
    """A piece of a stream; ``error`` says why ``data`` is empty where it could not be had."""

    number: int
    data: bytes
    error: str


def open_source(path: Path) -> AbstractContextManager[BufferedIOBase]:
    """Open a file for reading, through gzip where its first bytes say so."""
    try:
        stream = path.open("rb")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{one_line(path)}: cannot be read: {one_line(reason)}") from None
    chunk, damage = read_chunk(stream, 2)
    if damage:
        stream.close()
        raise InputError(f"{one_line(path)}: {damage}")
    stream.seek(0)
    if chunk != b"\x1f\x8b":
        return stream
    stream.close()
    return gzip.open(path, "rb")


def read_chunk(stream: BufferedIOBase, size: int = CHUNK_BYTES) -> tuple[bytes, str]:
    """Return the next bytes, or why there are no more; both are empty at a clean end."""
    try:
        # read1, not read: it hands out what came before the damage.
        return stream.read1(size), ""
    except (OSError, EOFError, zlib.error) as error:
        return b"", f"the file is damaged from here on: {one_line(error)}"


def pieces(stream: BufferedIOBase, separator: bytes, limit_bytes: int) -> Iterator[Piece]:
    """Yield what stands between separators (one byte each); too long a piece as an error."""
    number, held, over = 0, b"", False
    while True:
        chunk, damage = read_chunk(stream)
        if not chunk:
            break
        parts = chunk.split(separator)
        if not over:
            parts[0] = held + parts[0]
        for part in parts[:-1]:
            number += 1
            if over or len(part) > limit_bytes:
                yield Piece(number, b"", too_long(limit_bytes))
                over = False
            else:
                yield Piece(number, part, "")
        over = over or len(parts[-1]) > limit_bytes
        held = b"" if over else parts[-1]
    if damage:
        yield Piece(number + 1, b"", damage)
    elif over:
        yield Piece(number + 1, b"", too_long(limit_bytes))
    elif held:
        yield Piece(number + 1, held, "")


def too_long(limit_bytes: int) -> str:
    """Say that a piece went over the limit."""
    return f"longer than {limit_bytes:,} bytes"


def count(path: Path, mark: bytes, *, ends: bool = False) -> int | None:
    """Count a mark in a file where that is cheap: None above 256 MiB, unpacked.

    Where the mark ``ends`` what is counted, a last one without it counts too.
    """
    found, seen, held, ended = 0, 0, b"", True
    with open_source(path) as stream:
        while seen <= _MAX_COUNTED_BYTES:
            chunk, damage = read_chunk(stream)
            if damage:
                return None
            if not chunk:
                return found + (ends and not ended)
            seen += len(chunk)
            joined = held + chunk
            found += joined.count(mark)
            ended = joined.endswith(mark)
            held = joined[max(len(joined) - len(mark) + 1, 0) :]
    return None
