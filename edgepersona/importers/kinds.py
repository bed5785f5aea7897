"""The kinds of source, told apart by name and content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgepersona.errors import InputError
from edgepersona.importers import chat, folder, gitlog, jsonl, lamp, mbox, whatsapp
from edgepersona.importers.items import Item, one_line
from edgepersona.importers.pieces import open_source, read_chunk
from edgepersona.importers.values import parse, values

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

KINDS = ("jsonl", "mbox", "folder", "git", "lamp", "chat")


class _Reader(Protocol):
    def __call__(
        self, path: Path, /, *, user: str | None, author: str | None
    ) -> Iterator[Item]: ...


@dataclass(frozen=True, slots=True)
class _Kind:
    read: _Reader
    options: tuple[str, ...] = ()  # which of user and author it knows
    size_hint: Callable[..., int | None] | None = None
    takes_folder: bool = False
    takes_file: bool = True


_READERS = {
    "jsonl": _Kind(jsonl.read, ("user",), jsonl.size_hint),
    "mbox": _Kind(mbox.read, ("author",), mbox.size_hint),
    "folder": _Kind(folder.read, (), folder.size_hint, takes_folder=True),
    "git": _Kind(gitlog.read, ("author",), gitlog.size_hint, takes_folder=True, takes_file=False),
    "lamp": _Kind(lamp.read, ("user",)),
    "chat": _Kind(chat.read, ("author",)),
}


def read(
    path: str | os.PathLike[str],
    *,
    kind: str = "auto",
    user: str | None = None,
    author: str | None = None,
) -> Iterator[Item]:
    """Yield what is in a source, one item at a time, in memory that does not grow with it.

    Raises InputError for the source as a whole (missing, unreadable, of unknown kind, nobody
    chosen among several, nothing by the one chosen); one bad item is an item with an error.
    """
    source, found = _resolve(path, kind)
    for option, value in (("user", user), ("author", author)):
        if value is None:
            continue
        if option not in _READERS[found].options:
            able = ", ".join(name for name in KINDS if option in _READERS[name].options)
            raise InputError(
                f"{one_line(source)}: {option} does not apply to kind {found}, only to {able}"
            )
        if not value.strip() or "\0" in value:
            raise InputError(f"{option} {one_line(repr(value))} is no name")
    return _READERS[found].read(source, user=user, author=author)


def size_hint(
    path: str | os.PathLike[str],
    kind: str = "auto",
    *,
    user: str | None = None,
    author: str | None = None,
) -> int | None:
    """Return about how many items there are, where that is cheap to know."""
    source, found = _resolve(path, kind)
    count = _READERS[found].size_hint
    return count(source, user=user, author=author) if count else None


def detect(path: str | os.PathLike[str]) -> str:
    """Tell the kind of a source; InputError where it is none of ``KINDS``."""
    source = _present(path)
    if source.is_dir():
        return "git" if gitlog.is_repository(source) else "folder"
    return _by_content(source)


def _resolve(path: str | os.PathLike[str], kind: str) -> tuple[Path, str]:
    source = _present(path)
    if kind == "auto":
        return source, detect(source)
    if kind not in KINDS:
        raise InputError(f"kind {one_line(repr(kind))}: expected auto, {', '.join(KINDS)}")
    if source.is_dir() and not _READERS[kind].takes_folder:
        raise InputError(f"{one_line(source)}: a folder, kind {kind} expects a file")
    if source.is_file() and not _READERS[kind].takes_file:
        raise InputError(f"{one_line(source)}: a file, kind {kind} expects a folder")
    return source, kind


def _present(path: str | os.PathLike[str]) -> Path:
    source = Path(path)
    try:
        source.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{one_line(source)}: cannot be read: {one_line(reason)}") from None
    if not (source.is_file() or source.is_dir()):
        raise InputError(f"{one_line(source)}: neither a file nor a folder")
    return source


def _by_content(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    with open_source(path) as stream:
        start = read_chunk(stream)[0]
    text = start.decode("utf-8", "replace").removeprefix("\ufeff").lstrip()
    if name.endswith((".mbox", ".mbx", ".eml")) or start.startswith(b"From "):
        return "mbox"
    if whatsapp.looks_like_export(text):
        return "chat"
    if path.suffix.lower() in folder.SUFFIXES:
        return "folder"
    lines = name.endswith((".jsonl", ".ndjson"))
    if lines or text.startswith(("{", "[")):
        found = _by_first_value(path)
        if found or lines:
            return found or "jsonl"
    raise InputError(
        f"{one_line(path)}: unknown type of file: name one of {', '.join(KINDS)} with --kind"
    )


def _by_first_value(path: Path) -> str:
    with open_source(path) as stream:
        first = next(values(stream), None)
    try:
        value = parse(first.data) if first else None
    except InputError:
        return ""
    if not isinstance(value, dict):
        return ""
    if isinstance(value.get("profile"), list):
        return "lamp"
    if chat.is_conversation(value):
        return "chat"
    return "jsonl" if any(value.get(key) is not None for key in jsonl.TEXT_KEYS) else ""
