"""Read one user's profile out of a file of LaMP questions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgepersona.errors import InputError
from edgepersona.importers.dates import iso_date
from edgepersona.importers.items import Item, bad, good, source_name
from edgepersona.importers.jsonl import text_of
from edgepersona.importers.people import Others, refuse_several
from edgepersona.importers.pieces import Piece, open_source
from edgepersona.importers.values import parse, values
from edgepersona.records import Record, checked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Those of LongLaMP too; what it calls a description is the product's, not the user's.
_TEXT_KEYS = ("text", "abstract", "reviewText", "content", "output", "description")
_TITLE_KEYS = ("title", "tag", "score", "summary", "input")
_KINDS = {"abstract": "paper", "score": "review"}


def read(path: Path, *, user: str | None, author: str | None) -> Iterator[Item]:
    """Yield an item for each profile entry of ``user``: a user_id, or a question's id."""
    if user is None:
        refuse_several(_users(path), where=str(path), option="--user")
    return _items(path, user)


def _items(path: Path, user: str | None) -> Iterator[Item]:
    source = source_name("lamp", path)
    others, found, position = Others(), False, 0
    for piece in _questions(path):
        place = f"question {piece.number}"
        try:
            question = _question(piece)
            entries = _profile(question)
        except InputError as error:
            position += 1
            yield bad(str(error), position, place)
            continue
        if user is not None and user not in _names(question):
            others.add(_owner(question))
            position += len(entries)
            continue
        found = True
        for number, entry in enumerate(entries, start=1):
            position += 1
            yield _item(entry, source, position, f"{place}, profile entry {number}")
    if user is not None and not found:
        others.refuse(user, where=str(path), option="--user")


def record_of(entry: object) -> Record | None:
    """Return a profile's entry as a record, None where it has no words; InputError: it is none."""
    record = _record(entry, "")
    if not record.text.strip():
        record = replace(record, text="")
    return checked(record) if record.text or record.title.strip() else None


def _item(entry: object, source: str, position: int, place: str) -> Item:
    try:
        record = _record(entry, source)
    except InputError as error:
        return bad(str(error), position, place)
    return good(record, position, place)


def _record(entry: object, source: str) -> Record:
    if not isinstance(entry, dict):
        raise InputError(f"a JSON {type(entry).__name__}, expected an object")
    return Record(
        text=text_of(entry, _TEXT_KEYS),
        title=text_of(entry, _TITLE_KEYS),
        date=iso_date(entry.get("date")),
        source=source,
        kind=next((kind for key, kind in _KINDS.items() if key in entry), ""),
        id=text_of(entry, ("id",)),
    )


def _users(path: Path) -> Iterator[str]:
    for piece in _questions(path):
        try:
            owner = _owner(_question(piece))
        except InputError:
            continue  # reported when the items are read
        if owner:
            yield owner


def _questions(path: Path) -> Iterator[Piece]:
    with open_source(path) as stream:
        yield from values(stream)


def _question(piece: Piece) -> dict[str, object]:
    if piece.error:
        raise InputError(piece.error)
    question = parse(piece.data)
    if not isinstance(question, dict):
        raise InputError(f"a JSON {type(question).__name__}, expected an object")
    _names(question)
    return question


def _profile(question: dict[str, object]) -> list[object]:
    profile = question.get("profile")
    if not isinstance(profile, list):
        raise InputError("no list 'profile' in it")
    return profile


def _names(question: dict[str, object]) -> tuple[str, str]:
    return text_of(question, ("user_id",)), text_of(question, ("id",))


def _owner(question: dict[str, object]) -> str:
    user_id, question_id = _names(question)
    return user_id or question_id
