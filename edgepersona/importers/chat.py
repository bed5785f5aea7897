"""Read the user's own messages from what chat programs export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepersona.errors import InputError
from edgepersona.importers import whatsapp
from edgepersona.importers.dates import iso_date
from edgepersona.importers.items import Item, bad, good, one_line, source_name
from edgepersona.importers.jsonl import text_of
from edgepersona.importers.pieces import Piece, open_source, read_chunk
from edgepersona.importers.values import parse, values
from edgepersona.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OWN_ROLES = {"user", "human"}
_TEXT_TYPES = {"text", "multimodal_text"}
_LISTS = ("messages", "chat_messages")


def read(path: Path, *, user: str | None, author: str | None) -> Iterator[Item]:
    """Yield an item for each message the user wrote; ``author`` names them in a text export."""
    if not _is_json(path):
        return whatsapp.read(path, author)
    if author is not None:
        raise InputError(
            f"{one_line(path)}: author is for text exports; "
            "in a JSON export the messages of role user are taken: leave it out"
        )
    return _items(path)


def is_conversation(value: object) -> bool:
    """Whether a JSON value looks like a message, or like a conversation of them."""
    if not isinstance(value, dict):
        return False
    if isinstance(value.get("mapping"), dict):
        return True
    if any(isinstance(value.get(key), list) for key in _LISTS):
        return True
    return ("role" in value or "sender" in value) and ("content" in value or "text" in value)


def _is_json(path: Path) -> bool:
    with open_source(path) as stream:
        start = read_chunk(stream)[0].removeprefix(b"\xef\xbb\xbf").lstrip()
    # A text export may open with a bracket too, but with a date in it.
    return start.startswith(b"{") or (start.startswith(b"[") and not start[1:2].isdigit())


def _items(path: Path) -> Iterator[Item]:
    source = source_name("chat", path)
    position = 0
    with open_source(path) as stream:
        for piece in values(stream):
            place = f"item {piece.number}"
            try:
                messages = _messages(piece)
            except InputError as error:
                position += 1
                yield bad(str(error), position, place)
                continue
            for number, message in enumerate(messages, start=1):
                position += 1
                item = _item(message, source, position, f"{place}, message {number}")
                if item:
                    yield item


def _messages(piece: Piece) -> list[object]:
    if piece.error:
        raise InputError(piece.error)
    value = parse(piece.data)
    if not is_conversation(value):
        raise InputError("neither a message with a role nor a conversation")
    assert isinstance(value, dict)
    mapping = value.get("mapping")
    if isinstance(mapping, dict):
        nodes = [node for node in mapping.values() if isinstance(node, dict)]
        return [node["message"] for node in nodes if isinstance(node.get("message"), dict)]
    for key in _LISTS:
        if isinstance(value.get(key), list):
            return list(value[key])
    return [value]


def _item(message: object, source: str, position: int, place: str) -> Item | None:
    """Return the item of a message, or None where it is not the user's or holds no text."""
    try:
        if not isinstance(message, dict):
            raise InputError(f"a JSON {type(message).__name__}, expected an object")
        if _role(message) not in _OWN_ROLES:
            return None
        text = _text(message)
        if not text.strip():
            return None  # a picture, a file, a message taken back
        moment = message.get("create_time") or message.get("created_at") or message.get("timestamp")
        record = Record(
            text=text.strip(),
            date=iso_date(moment),
            source=source,
            kind="chat",
            id=text_of(message, ("id", "uuid")),
        )
    except InputError as error:
        return bad(str(error), position, place)
    return good(record, position, place)


def _role(message: dict[str, object]) -> str:
    author = message.get("author")
    role = author.get("role") if isinstance(author, dict) else None
    role = role or message.get("role") or message.get("sender")
    if not isinstance(role, str):
        raise InputError("no role in it")
    return role


def _text(message: dict[str, object]) -> str:
    content = message.get("content")
    if content is None or message.get("sender"):
        content = message.get("text") or content
    if isinstance(content, dict):
        if content.get("content_type") not in _TEXT_TYPES:
            return ""
        content = content.get("parts")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InputError(f"its content is a JSON {type(content).__name__}, expected text")
    return "\n".join(filter(None, map(_part, content)))


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""
