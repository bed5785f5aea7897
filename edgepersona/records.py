"""What a history is made of: records, and the checks every record passes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Literal

from edgepersona.errors import InputError

MAX_TEXT_BYTES = 1 << 20
"""Longest text of one record, in UTF-8 bytes: a mail or a chapter fits, a dump does not."""

READ_KIND = "read"
"""The kind of records that others wrote: found and shown like all, but no words of the user's."""

_MAX_FIELD_BYTES = 4096
_DATE = re.compile(
    r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?)?)?"
)


@dataclass(frozen=True, slots=True)
class Record:
    """One thing the user wrote or did.

    Parameters
    ----------
    text
        The body; may be empty only where ``title`` is not.
    title
        What the user called it: a subject, a headline, a rating.
    date
        ISO 8601 (``2024``, ``2024-05-01``, ``2024-05-01T09:30:00Z``) or empty for unknown.
    source
        Where it came from, such as ``mbox:inbox`` or ``git:notes``.
    kind
        What it is, such as ``mail``, ``commit``, ``note``; ``read`` is what others wrote.
    id
        Stable name, unique in a profile; derived from the content where empty,
        so that the same record is never stored twice.
    """

    text: str
    title: str = ""
    date: str = ""
    source: str = ""
    kind: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A record that a search found, with its fused score (higher is better)."""

    record: Record
    score: float


@dataclass(frozen=True, slots=True)
class AddResult:
    """What one ``add`` did: the ids in the order given, and how many were not there before."""

    ids: tuple[str, ...]
    new: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records a search may return; an empty field does not restrict.

    ``since`` and ``until`` are ISO 8601 dates, both inclusive; a record without a date
    passes only where neither is given.
    """

    source: str = ""
    kind: str = ""
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        for value in (self.since, self.until):
            if value and not _DATE.fullmatch(value):
                raise InputError(f"{value!r} is no ISO 8601 date such as 2024-05-01")


@dataclass(frozen=True, slots=True)
class Task:
    """What the user asks for.

    ``kind`` is ``answer``, ``reply``, ``instruction``, or what to find for ``text``: its ``title``,
    ``subject``, ``headline``, ``rating`` or ``tag``. The kind ``instruction`` needs
    ``instruction``, a sentence that says what to do with ``text``; all others but ``answer`` have
    one of their own, and take this in its place.
    """

    text: str
    kind: str = "answer"
    instruction: str = ""
    turns: tuple[tuple[str, str], ...] = field(default=())
    """Earlier turns of a chat, oldest first, as (role, text); role is ``user`` or ``assistant``."""

    def __post_init__(self) -> None:
        if self.kind not in TASK_KINDS:
            raise InputError(f"task kind {self.kind!r}: expected one of {', '.join(TASK_KINDS)}")
        if self.kind == "instruction" and not self.instruction:
            raise InputError("the task kind 'instruction' needs an instruction")
        if self.kind == "answer" and self.instruction:
            raise InputError(
                "a question is the text alone: an instruction has the task kind 'instruction'"
            )
        check_text(self.text, what="the text")

    @property
    def field(self) -> Literal["title", "text"]:
        """Which field of the user's records answers are like."""
        return "title" if self.kind in TITLE_KINDS else "text"

    @property
    def is_new(self) -> bool:
        """Whether a title is asked for that no other record has, not one of a few."""
        return self.kind in ("title", "subject", "headline")


TITLE_KINDS = ("title", "subject", "headline", "rating", "tag")
"""Tasks whose answers are what records have for a title."""

TASK_KINDS = ("answer", *TITLE_KINDS, "reply", "instruction")


def check_text(text: str, *, what: str) -> None:
    """Raise InputError unless ``text`` is non-blank, encodable, free of NUL, and short enough."""
    if not isinstance(text, str):
        raise InputError(f"{what} is {type(text).__name__}, expected str")
    if not text.strip():
        raise InputError(f"{what} is empty")
    if "\0" in text:
        raise InputError(f"{what} holds a NUL character at position {text.index(chr(0))}")
    size_bytes = _encoded_size(text, what)
    if size_bytes > MAX_TEXT_BYTES:
        raise InputError(
            f"{what} has {size_bytes:,} bytes, the limit is {MAX_TEXT_BYTES:,}: split it into parts"
        )


def checked(record: Record) -> Record:
    """Return ``record`` with its id filled in, or raise InputError that says what is wrong."""
    if not isinstance(record, Record):
        raise InputError(f"expected a Record, got {type(record).__name__}")
    for name in ("text", "title", "date", "source", "kind", "id"):
        value = getattr(record, name)
        if not isinstance(value, str):
            raise InputError(f"a record's {name} is {type(value).__name__}, expected str")
    if record.text:
        check_text(record.text, what="a record's text")
    else:
        check_text(record.title, what="a record's title, without a text,")
    for name in ("title", "date", "source", "kind", "id"):
        value = getattr(record, name)
        if "\0" in value:
            raise InputError(f"a record's {name} holds a NUL character")
        if _encoded_size(value, f"a record's {name}") > _MAX_FIELD_BYTES:
            raise InputError(f"a record's {name} is longer than {_MAX_FIELD_BYTES:,} bytes")
    if record.date and not _DATE.fullmatch(record.date):
        raise InputError(f"a record's date {record.date!r} is no ISO 8601 date such as 2024-05-01")
    return record if record.id else replace(record, id=content_id(record))


def content_id(record: Record) -> str:
    """Derive the id of a record that has none: 16 hex digits over its fields."""
    fields = (record.text, record.title, record.date, record.source, record.kind)
    return hashlib.sha256("\x1f".join(fields).encode()).hexdigest()[:16]


def _encoded_size(text: str, what: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} holds a lone surrogate at position {error.start}: it was not decoded as UTF-8"
        ) from None
