"""What a reader yields: one item for each place in the source, good or bad."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgepersona.errors import InputError
from edgepersona.records import Record, checked, content_id

if TYPE_CHECKING:
    from pathlib import Path

_MAX_MESSAGE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Item:
    """One thing found in a source: a record, or why there is none.

    ``error`` names the place and the reason, in one line, and is empty for a good item.
    ``position`` rises from 1 through the source and is the same in every run over the same
    source; numbers are left out where items of other people were passed over.
    """

    record: Record | None
    error: str
    position: int


def good(record: Record, position: int, place: str) -> Item:
    """Check ``record`` and wrap it; one that does not pass becomes a bad item."""
    try:
        fine = checked(record)
    except InputError as error:
        return bad(str(error), position, place)
    if not record.id:
        # Without the source: the same content from a renamed file is the same record.
        fine = replace(fine, id=content_id(replace(fine, source="")))
    return Item(fine, "", position)


def bad(reason: str, position: int, place: str) -> Item:
    """Wrap the reason why the thing at ``place`` was skipped."""
    return Item(None, one_line(f"{place}: {reason}"), position)


def one_line(text: object) -> str:
    """Make any text fit to print: one line, bounded, without control characters or surrogates."""
    plain = str(text)[: _MAX_MESSAGE_CHARS + 1].encode("utf-8", "backslashreplace").decode()
    plain = "".join(c if c.isprintable() else " " for c in plain)
    plain = " ".join(plain.split())
    return plain if len(plain) <= _MAX_MESSAGE_CHARS else plain[: _MAX_MESSAGE_CHARS - 1] + "…"


def source_name(kind: str, path: Path) -> str:
    """Name a source in records: the kind and the file's name without its endings."""
    name = path.name
    for ending in (".gz", path.with_suffix("").suffix if name.endswith(".gz") else path.suffix):
        if ending and name != ending:
            name = name.removesuffix(ending)
    return f"{kind}:{one_line(name)[:200]}"
