"""Cut a JSON file into the values of its list, one at a time, without parsing the whole."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from edgepersona.errors import InputError
from edgepersona.importers.items import one_line
from edgepersona.importers.pieces import Piece, read_chunk, too_long

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase

MAX_VALUE_BYTES = 16 << 20
"""Longest single value of a list: a long conversation or a LaMP question with its profile."""

_OUTSIDE = re.compile(rb'["\[\]{},\n]')
_INSIDE = re.compile(rb'["\\]')
_SPACE = b" \t\r\n"


def values(stream: BufferedIOBase, limit_bytes: int = MAX_VALUE_BYTES) -> Iterator[Piece]:
    """Yield the bytes of each value: of one list, or of values that follow one another."""
    cutter = _Cutter(limit_bytes)
    while True:
        chunk, damage = read_chunk(stream)
        if not chunk:
            break
        yield from cutter.feed(chunk)
    if damage:
        yield Piece(cutter.number + 1, b"", damage)
    else:
        yield from cutter.end()


def parse(data: bytes) -> object:
    """Parse one JSON value; InputError where it is none."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8: byte {error.start}") from None
    except RecursionError:
        raise InputError("not usable JSON: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"not JSON: {one_line(error)}") from None


class _Cutter:
    """The state between two chunks: where in the nesting we are, and what is held so far."""

    def __init__(self, limit_bytes: int) -> None:
        self.number = 0
        self._limit_bytes = limit_bytes
        self._base = -1  # depth at which values stand: 1 in a list, 0 without; -1: not seen yet
        self._depth = 0
        self._in_string = False
        self._escaped = False  # the chunk ended after a backslash
        self._held = bytearray()
        self._over = False
        self._closed = False

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        start = self._open(chunk) if self._base < 0 else 0
        at = start
        if self._escaped:
            at, self._escaped = at + 1, False
        while True:
            found = (_INSIDE if self._in_string else _OUTSIDE).search(chunk, at)
            if found is None:
                break
            at, byte = found.end(), found.group()
            if self._in_string:
                if byte == b'"':
                    self._in_string = False
                else:
                    self._escaped = at >= len(chunk)
                    at += 1
            elif byte == b'"':
                self._in_string = True
            elif byte in b"[{":
                self._depth += 1
            elif byte in b"]}":
                if self._depth == self._base == 1:  # the list ends
                    self._hold(chunk[start : at - 1])
                    yield from self._cut()
                    self._depth, self._base, self._closed, start = 0, 0, True, at
                else:
                    self._depth = max(self._depth - 1, self._base)
                    if self._depth == self._base == 0:
                        self._hold(chunk[start:at])
                        yield from self._cut()
                        start = at
            elif self._depth == self._base and (byte == b",") == (self._base == 1):
                self._hold(chunk[start : at - 1])
                yield from self._cut()
                start = at
        self._hold(chunk[start:])

    def end(self) -> Iterator[Piece]:
        unfinished = self._base == 1 or self._depth > 0 or self._in_string
        if unfinished and not self._over:
            self._held.clear()
            self.number += 1
            yield Piece(self.number, b"", "the file ends in the middle of the list")
        else:
            yield from self._cut()

    def _open(self, chunk: bytes) -> int:
        start = 3 if chunk.startswith(b"\xef\xbb\xbf") else 0
        while chunk[start : start + 1] and chunk[start] in _SPACE:
            start += 1
        if start < len(chunk):
            self._base = self._depth = 1 if chunk[start : start + 1] == b"[" else 0
            start += self._base
        return start

    def _hold(self, data: bytes) -> None:
        if not self._over and len(self._held) + len(data) > self._limit_bytes:
            self._over = True
            self._held.clear()
        if not self._over:
            self._held += data

    def _cut(self) -> Iterator[Piece]:
        data, over = bytes(self._held).strip(_SPACE), self._over
        self._held.clear()
        self._over = False
        if over:
            self.number += 1
            yield Piece(self.number, b"", too_long(self._limit_bytes))
        elif data:
            self.number += 1
            late = "stands after the end of the list" if self._closed else ""
            yield Piece(self.number, b"" if late else data, late)
