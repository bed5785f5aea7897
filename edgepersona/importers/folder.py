"""Read a folder of notes, or one note: every text file is a record."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgepersona.errors import InputError
from edgepersona.importers.dates import iso_date, iso_time
from edgepersona.importers.items import Item, bad, good, one_line
from edgepersona.importers.notetext import split_note
from edgepersona.records import MAX_TEXT_BYTES, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".md", ".markdown", ".txt", ".rst", ".org")

_MAX_FILE_BYTES = 2 * MAX_TEXT_BYTES  # in UTF-16, a text takes twice the bytes
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(path: Path, *, user: str | None, author: str | None) -> Iterator[Item]:
    """Yield an item for each note below ``path``, in the order of their names."""
    root = path if path.is_dir() else path.parent
    root = Path(os.path.realpath(root))
    source = f"folder:{one_line(root.name)[:200]}"
    files = _files(root) if path.is_dir() else iter([Path(os.path.realpath(path))])
    return (_item(file, root, source, number) for number, file in enumerate(files, start=1))


def size_hint(path: Path, *, user: str | None, author: str | None) -> int | None:
    """Count the notes."""
    return sum(1 for _ in _files(Path(os.path.realpath(path)))) if path.is_dir() else 1


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if not name.startswith(".") and file.suffix.lower() in SUFFIXES and _inside(file, root):
                yield file


def _inside(file: Path, root: Path) -> bool:
    """Whether a link stays in the folder: one that leaves it is not part of it."""
    return not file.is_symlink() or Path(os.path.realpath(file)).is_relative_to(root)


def _item(file: Path, root: Path, source: str, position: int) -> Item:
    place = os.path.relpath(file, root)
    try:
        return good(_record(file, source), position, place)
    except InputError as error:
        return bad(str(error), position, place)
    except OSError as error:
        return bad(f"cannot be read: {error.strerror}", position, place)


def _record(file: Path, source: str) -> Record:
    data, changed_s = _content(file)
    title, day, text = split_note(_decoded(data), file.suffix.lower())
    if not (title or text):
        raise InputError("empty")
    try:
        date = iso_date(day) or _modified(changed_s)
    except InputError:
        date = _modified(changed_s)
    return Record(
        text=text,
        title=title or one_line(file.stem),
        date=date,
        source=source,
        kind="note",
        id=_id(file),
    )


def _id(file: Path) -> str:
    """Name a note by where it lies: edited, it is the same note.

    By the whole path: two folders may both hold a README.md, and neither may replace the other.
    """
    return hashlib.sha256(os.fsencode(os.path.realpath(file))).hexdigest()[:16]


def _content(file: Path) -> tuple[bytes, float]:
    if not stat.S_ISREG(file.stat().st_mode):
        raise InputError("not a regular file")  # opening a pipe would wait for ever
    with file.open("rb") as stream:
        data = stream.read(_MAX_FILE_BYTES + 1)
        changed_s = os.fstat(stream.fileno()).st_mtime
    if len(data) > _MAX_FILE_BYTES:
        raise InputError(f"longer than {MAX_TEXT_BYTES:,} bytes of text: split it into parts")
    return data, changed_s


def _decoded(data: bytes) -> str:
    encoding = "utf-16" if data.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 (nor UTF-16 with its mark): byte {error.start}; save it as UTF-8"
        ) from None


def _modified(changed_s: float) -> str:
    try:
        return iso_time(datetime.fromtimestamp(int(changed_s), UTC))
    except (ValueError, OverflowError, OSError):
        return ""  # file systems keep times that no calendar knows
