"""Read one person's messages from WhatsApp's text export."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from edgepersona.errors import InputError
from edgepersona.importers.dates import iso_time
from edgepersona.importers.items import Item, bad, good, one_line, source_name
from edgepersona.importers.people import Others, refuse_several
from edgepersona.importers.pieces import Piece, open_source, pieces
from edgepersona.records import MAX_TEXT_BYTES, Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# 12/31/23, 21:04 - Name: text    or, from a phone by Apple:    [31.12.23, 21:04:05] Name: text
_HEAD = re.compile(
    r"(?P<bracket>\[)?(?P<a>\d{1,4})(?P<sep>[./-])(?P<b>\d{1,2})(?P=sep)(?P<c>\d{2,4})"
    r",?\s(?:at\s|à\s)?(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second>\d{2}))?"
    r"(?:\s?(?P<half>[ap])\.?\s?m\.?)?(?(bracket)\]|\s-)\s",
    re.IGNORECASE | re.ASCII,
)
_SPACES = re.compile("[\u00a0\u202f]")  # before AM and PM
_MARKS = re.compile("[\u200e\u200f\u202a-\u202c\ufeff]")
_PLACEHOLDER = re.compile(
    r"<[^<>]{1,60}>|(image|video|audio|sticker|GIF|document|Contact card) omitted"
    r"|(This message was deleted|You deleted this message)\.?",
    re.IGNORECASE,
)
_EDITED = "<This message was edited>"
_MAX_NAME_CHARS = 100
_MAX_NAMES = 1000


def read(path: Path, author: str | None) -> Iterator[Item]:
    """Yield an item for each message by ``author``, or by the only name there is."""
    survey = _survey(path)
    if author is None:
        refuse_several(survey.names, where=str(path), option="--author")
    return _items(path, author, day_first=survey.day_first)


def looks_like_export(text: str) -> bool:
    """Whether the first lines of a text are a chat's."""
    return any(_head(line) for line in text.splitlines()[:3])


@dataclass(slots=True)
class _Survey:
    """What only the whole file tells: who wrote, and whether 03/04 is in March or April."""

    names: dict[str, None] = field(default_factory=dict)
    day_first: bool | None = None


@dataclass(slots=True)
class _Message:
    head: re.Match[str]
    name: str
    lines: list[str]
    size_bytes: int
    error: str = ""


def _survey(path: Path) -> _Survey:
    survey, heads = _Survey(), 0
    for line in _lines(path):
        text = _decoded(line.data) or ""
        head = _head(text)
        if not head:
            continue
        heads += 1
        name = _name_and_text(text[head.end() :])[0]
        if name and len(survey.names) < _MAX_NAMES:
            survey.names[name] = None
        if len(head["a"]) <= 2 and survey.day_first is None:
            if int(head["a"]) > 12:
                survey.day_first = True
            elif int(head["b"]) > 12:
                survey.day_first = False
    if not heads:
        raise InputError(
            f"{one_line(path)}: no chat in it: "
            "expected lines such as '31/12/23, 21:04 - Name: text'"
        )
    return survey


def _items(path: Path, author: str | None, *, day_first: bool | None) -> Iterator[Item]:
    source = source_name("chat", path)
    others, found, position = Others(), False, 0
    for message in _messages(path):
        position += 1
        place = f"message {position}"
        if isinstance(message, str):
            yield bad(message, position, place)
            continue
        if not message.name:
            continue  # the program's own lines: who joined, who left
        if author is not None and message.name.casefold() != author.strip().casefold():
            others.add(message.name)
            continue
        found = True
        if message.error:
            yield bad(message.error, position, place)
            continue
        text = "\n".join(message.lines).strip().removesuffix(_EDITED).rstrip()
        if text and not _PLACEHOLDER.fullmatch(text):
            date = _date(message.head, day_first)
            record = Record(text=text, date=date, source=source, kind="chat")
            yield good(record, position, place)
    if author is not None and not found:
        others.refuse(author, where=str(path), option="--author")


def _messages(path: Path) -> Iterator[_Message | str]:
    """Yield the messages, and as plain text what is wrong with the file itself."""
    message: _Message | None = None
    for line in _lines(path):
        text = _decoded(line.data)
        head = _head(text) if text is not None else None
        if text is not None and head:
            if message:
                yield message
            name, start = _name_and_text(text[head.end() :])
            message = _Message(head, name, [start], len(line.data))
        elif message:
            message.size_bytes += len(line.data) + 1
            if line.error or text is None:
                message.error = line.error or "not UTF-8"
            elif message.size_bytes > MAX_TEXT_BYTES:
                message.error = f"longer than {MAX_TEXT_BYTES:,} bytes"
            else:
                message.lines.append(_MARKS.sub("", text))
        elif line.error or text is None:
            yield f"line {line.number}: {line.error or 'not UTF-8'}"
    if message:
        yield message


def _lines(path: Path) -> Iterator[Piece]:
    with open_source(path) as stream:
        yield from pieces(stream, b"\n", MAX_TEXT_BYTES)


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode().rstrip("\r")
    except UnicodeDecodeError:
        return None


def _head(line: str) -> re.Match[str] | None:
    line = _SPACES.sub(" ", line[:100])
    return _HEAD.match(line, len(line) - len(_MARKS.sub("", line[:3]) + line[3:]))


def _name_and_text(rest: str) -> tuple[str, str]:
    name, colon, text = rest.partition(": ")
    if not colon and rest.endswith(":"):
        name, colon, text = rest[:-1], ":", ""
    name = _MARKS.sub("", name).strip()
    return (name, _MARKS.sub("", text)) if colon and len(name) <= _MAX_NAME_CHARS else ("", rest)


def _date(head: re.Match[str], day_first: bool | None) -> str:
    """Return the local time; empty where the file never tells the day from the month."""
    a, b, c = int(head["a"]), int(head["b"]), int(head["c"])
    if len(head["a"]) == 4:
        year, month, day = a, b, c
    elif day_first is None and head["sep"] != ".":
        return ""
    else:
        day, month = (a, b) if day_first is not False else (b, a)
        year = c if c > 99 else 2000 + c
    hour = int(head["hour"])
    if head["half"]:
        hour = hour % 12 + (12 if head["half"] in "pP" else 0)
    try:
        moment = datetime(year, month, day, hour, int(head["minute"]), int(head["second"] or 0))
    except ValueError:
        return ""
    return iso_time(moment)
