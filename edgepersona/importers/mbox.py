"""Read mails from a mailbox file, one at a time, keeping the sender's own words."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parseaddr
from typing import TYPE_CHECKING

from edgepersona.errors import InputError
from edgepersona.importers.dates import iso_date
from edgepersona.importers.items import Item, bad, good, one_line, source_name
from edgepersona.importers.mailhtml import html_to_text
from edgepersona.importers.mailtext import decoded, own_words
from edgepersona.importers.people import Others, is_by
from edgepersona.importers.pieces import Piece, count, open_source, pieces, too_long
from edgepersona.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_HEAD_BYTES = 2 << 20
"""How much of one mail is kept: the text comes first, attachments after it are passed over."""

_MAX_LINE_BYTES = 1 << 20
_MAX_HEADER_BYTES = 4096
# The standard library takes a fifth of a millisecond a part, and per line time that grows with
# the nesting: a mail made of nothing but parts would hold an import up for minutes.
_MAX_PART_MARKS = 10_000
_MAX_BOUNDARIES = 50
_START = re.compile(
    rb"From .{0,300}\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun),? .{0,12}\d{1,2}:\d{2}.{0,30}\b\d{4}"
)
_BARE_START = re.compile(rb"From( -| \S+@\S+)?\s*")
_ESCAPED_FROM = re.compile(rb">+From ")


def read(path: Path, *, user: str | None, author: str | None) -> Iterator[Item]:
    """Yield an item for each mail, or for those whose sender is ``author``."""
    return _items(path, author)


def size_hint(path: Path, *, user: str | None, author: str | None) -> int | None:
    """Count the mails of a mailbox that is not too large."""
    inner = count(path, b"\nFrom ")
    return None if inner is None else inner + 1


def _items(path: Path, author: str | None) -> Iterator[Item]:
    source = source_name("mbox", path)
    others, found = Others(), False
    for mail in _mails(path):
        place = f"message {mail.number}"
        if mail.error:
            yield bad(mail.error, mail.number, place)
            continue
        try:
            message = _parsed(mail)
            name, address = _sender(message)
            if author is not None and not is_by(author, name, address):
                others.add(one_line(f"{name} <{address}>") if name else one_line(address))
                continue
            found = True
            record = _record(message, source, cut=mail.cut)
        except InputError as error:
            yield bad(str(error), mail.number, place)
            continue
        except Exception as error:
            # The standard library's parser fails on malformed mail with whatever its code ran
            # into (IndexError, AttributeError, RecursionError …); one such mail is one bad item.
            yield bad(f"malformed mail: {type(error).__name__}", mail.number, place)
            continue
        yield good(record, mail.number, place)
    if author is not None and not found:
        others.refuse(author, where=str(path), option="--author")


@dataclass(slots=True)
class _Mail:
    """The head of one mail as its lines come in, bounded."""

    number: int
    lines: list[bytes] = field(default_factory=list)
    cut: bool = False  # more followed than is kept
    error: str = ""
    _size_bytes: int = 0
    _part_marks: int = 0  # lines that may begin a part
    _boundaries: int = 0  # lines that may declare one more level of parts
    _header_bytes: int = 0  # of the header being read; -1: in the body

    def add(self, line: Piece) -> None:
        data = line.data
        self._part_marks += data.startswith(b"--")
        self._boundaries += b"boundary=" in data.lower()
        self.cut = (
            self.cut
            or bool(line.error)
            or self._size_bytes + len(data) > MAX_HEAD_BYTES
            or self._part_marks > _MAX_PART_MARKS
            or self._boundaries > _MAX_BOUNDARIES
        )
        if self.cut:
            return
        if self._header_bytes >= 0:
            if not data.strip():
                self._header_bytes = -1
            else:
                # Folded on and on, a header costs the parser quadratic time.
                folded = data[:1] in b" \t"
                self._header_bytes = len(data) + (self._header_bytes if folded else 0)
                if self._header_bytes > _MAX_HEADER_BYTES:
                    if folded:
                        return
                    data = data[:_MAX_HEADER_BYTES]
        elif _ESCAPED_FROM.match(data):
            data = data[1:]
        self._size_bytes += len(data) + 1
        self.lines.append(data)


def _mails(path: Path) -> Iterator[_Mail]:
    mail: _Mail | None = None
    number, blank = 0, True
    with open_source(path) as stream:
        for line in pieces(stream, b"\n", _MAX_LINE_BYTES):
            if line.error and line.error != too_long(_MAX_LINE_BYTES):
                yield _Mail(number if mail else number + 1, error=line.error)
                return
            if _starts_mail(line.data, blank=blank, first=line.number == 1):
                if mail:
                    yield mail
                number += 1
                mail = _Mail(number)
            elif mail or line.data.strip():
                if mail is None:  # a single mail as programs save it, without a "From " line
                    number += 1
                    mail = _Mail(number)
                mail.add(line)
            blank = not line.error and not line.data.strip()
    if mail:
        yield mail


def _starts_mail(line: bytes, *, blank: bool, first: bool) -> bool:
    if not line.startswith(b"From "):
        return False
    return first or bool(_START.match(line)) or (blank and bool(_BARE_START.fullmatch(line)))


def _parsed(mail: _Mail) -> EmailMessage:
    return BytesParser(EmailMessage, policy=policy.default).parsebytes(b"\n".join(mail.lines))


def _sender(message: EmailMessage) -> tuple[str, str]:
    return parseaddr(str(message.get("from", "")))


def _record(message: EmailMessage, source: str, *, cut: bool) -> Record:
    text = own_words(_body(message, cut=cut))
    if not text:
        raise InputError("no words of its own: only quotes, attachments, or nothing")
    message_id = str(message.get("message-id", "")).strip()
    try:
        date = iso_date(str(message.get("date", "")))
    except InputError:
        date = ""  # real mail is dirty; the text is worth having without its date
    return Record(
        text=text,
        title=" ".join(str(message.get("subject", "")).split()),
        date=date,
        source=source,
        kind="mail",
        id=_hashed(message_id) if message_id else "",
    )


def _hashed(message_id: str) -> str:
    return hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _body(message: EmailMessage, *, cut: bool) -> str:
    part = message.get_body(("plain", "html"))
    if part is None:
        return ""
    if cut and part is [leaf for leaf in message.walk() if not leaf.is_multipart()][-1]:
        raise InputError(f"{too_long(MAX_HEAD_BYTES)}, or of too many parts")
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    text = decoded(payload, part.get_content_charset())
    return html_to_text(text) if part.get_content_subtype() == "html" else text
