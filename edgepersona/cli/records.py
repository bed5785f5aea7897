"""How a record looks in a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepersona.cli.terminal import one_line

if TYPE_CHECKING:
    from edgepersona.records import Record

_WIDTH = 100
_MAX_COPIED = 1000  # a line needs no more of a text, which may be a megabyte


def show_record(record: Record) -> str:
    """Return the id and, in one line, what the record is about."""
    title, text = one_line(record.title), one_line(record.text[:_MAX_COPIED])
    about = one_line(f"{title}: {text}" if title and text else title or text, _WIDTH)
    # The id is copied into other commands: it is given whole, and as it is.
    return "  ".join(part for part in (record.id, record.date[:10], record.kind, about) if part)
