"""Read JSON lines, or one JSON list, of objects with a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepersona.errors import InputError
from edgepersona.importers.dates import iso_date
from edgepersona.importers.items import Item, bad, good, source_name
from edgepersona.importers.people import Others, refuse_several
from edgepersona.importers.pieces import Piece, count, open_source, pieces, read_chunk
from edgepersona.importers.values import parse, values
from edgepersona.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINE_BYTES = 8 << 20
"""Longest line: the longest text of a record, every character of it escaped."""

TEXT_KEYS = ("text", "body", "content", "message")
_TITLE_KEYS = ("title", "subject", "score", "tag")
_DATE_KEYS = ("date", "timestamp", "created_at")
_USER_KEYS = ("user_id", "author")


def read(path: Path, *, user: str | None, author: str | None) -> Iterator[Item]:
    """Yield an item for each line of ``user``, or of the only user there is."""
    if user is None:
        refuse_several(_users(path), where=str(path), option="--user")
    return _items(path, user)


def read_by_user(path: Path) -> Iterator[tuple[str, Item]]:
    """Yield every line's user, empty where it names none, and its item."""
    default_source = source_name("jsonl", path)
    unit = "item" if _is_list(path) else "line"
    for piece in _objects(path):
        place, user = f"{unit} {piece.number}", ""
        try:
            entry = _object(piece)
            user = _user(entry)
            item = good(_record(entry, default_source), piece.number, place)
        except InputError as error:
            item = bad(str(error), piece.number, place)
        yield user, item


def size_hint(path: Path, *, user: str | None, author: str | None) -> int | None:
    """Count the lines of a file that is not too large."""
    return None if _is_list(path) else count(path, b"\n", ends=True)


def _items(path: Path, user: str | None) -> Iterator[Item]:
    default_source = source_name("jsonl", path)
    unit = "item" if _is_list(path) else "line"
    others, found = Others(), False
    for piece in _objects(path):
        place = f"{unit} {piece.number}"
        try:
            entry = _object(piece)
            if user is not None and _user(entry) != user:
                others.add(_user(entry) or "(no user_id)")
                continue
            found = True
            yield good(_record(entry, default_source), piece.number, place)
        except InputError as error:
            yield bad(str(error), piece.number, place)
    if user is not None and not found:
        others.refuse(user, where=str(path), option="--user")


def _users(path: Path) -> Iterator[str]:
    for piece in _objects(path):
        try:
            name = _user(_object(piece))
        except InputError:
            continue  # reported when the items are read
        if name:
            yield name


def _objects(path: Path) -> Iterator[Piece]:
    as_values = _is_list(path)
    with open_source(path) as stream:
        if as_values:
            yield from values(stream, MAX_LINE_BYTES)
        else:
            for piece in pieces(stream, b"\n", MAX_LINE_BYTES):
                if piece.error or piece.data.strip():
                    yield piece


def _is_list(path: Path) -> bool:
    if path.name.removesuffix(".gz").endswith(".json"):
        return True
    with open_source(path) as stream:
        return read_chunk(stream)[0].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _object(piece: Piece) -> dict[str, object]:
    if piece.error:
        raise InputError(piece.error)
    entry = parse(piece.data)
    if not isinstance(entry, dict):
        raise InputError(f"a JSON {type(entry).__name__}, expected an object with a text")
    return entry


def _record(entry: dict[str, object], default_source: str) -> Record:
    if all(entry.get(key) is None for key in TEXT_KEYS):
        raise InputError(f"no text: expected one of the keys {', '.join(TEXT_KEYS)}")
    return Record(
        text=text_of(entry, TEXT_KEYS),
        title=text_of(entry, _TITLE_KEYS),
        date=iso_date(next((entry[key] for key in _DATE_KEYS if entry.get(key)), None)),
        source=text_of(entry, ("source",)) or default_source,
        kind=text_of(entry, ("kind",)),
        id=text_of(entry, ("id",)),
    )


def text_of(entry: dict[str, object], keys: tuple[str, ...]) -> str:
    """Return the first of ``keys`` that is there, numbers as text; empty where none is."""
    for key in keys:
        value = entry.get(key)
        if value is None:
            continue
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and key not in TEXT_KEYS:
            return str(value)
        raise InputError(f"{key!r} is a JSON {type(value).__name__}, expected text")
    return ""


def _user(entry: dict[str, object]) -> str:
    return text_of(entry, _USER_KEYS)
