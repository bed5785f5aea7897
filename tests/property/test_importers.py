"""Readers against plain reference versions: split, json, mailbox, a dict."""

from __future__ import annotations

import contextlib
import io
import json
import mailbox
import tempfile
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from edgepersona.errors import InputError
from edgepersona.importers import import_into, read
from edgepersona.importers.pieces import pieces
from edgepersona.importers.values import values
from edgepersona.records import AddResult, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


class Dripping(io.BytesIO):
    """A stream that hands out a few bytes at a time, so that chunks end anywhere."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self._step = step

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self._step)


class Shelf:
    """A profile reduced to a dict; ``room`` is how many batches fit before it is interrupted."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.room = -1

    def add(self, records: Iterable[Record], /) -> AddResult:
        if self.room == 0:
            raise KeyboardInterrupt
        self.room -= 1
        batch = {record.id: record for record in records}
        assert not batch.keys() & self.records.keys()
        self.records |= batch
        return AddResult(tuple(batch), len(batch))

    def update(self, record: Record, /) -> None:
        assert record.id in self.records
        self.records[record.id] = record

    def get(self, ids: Sequence[str], /) -> list[Record]:
        if any(name not in self.records for name in ids):
            raise InputError("unknown id")
        return [self.records[name] for name in ids]


@given(st.binary(max_size=60), st.integers(1, 7), st.integers(0, 9))
def test_pieces_are_what_split_gives(data: bytes, step: int, limit: int) -> None:
    expected = data.split(b"e")
    if not expected[-1]:
        expected.pop()
    found = list(pieces(Dripping(data, step), b"e", limit))
    assert [piece.number for piece in found] == list(range(1, len(found) + 1))
    assert [piece.data for piece in found] == [p if len(p) <= limit else b"" for p in expected]
    assert [bool(piece.error) for piece in found] == [len(p) > limit for p in expected]


@given(
    st.lists(JSON, max_size=4),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_values_are_what_json_gives(
    expected: list[object], step: int, indent: int | None, plain: bool
) -> None:
    data = json.dumps(expected, indent=indent, ensure_ascii=plain).encode()
    found = list(values(Dripping(data, step)))
    assert not any(value.error for value in found)
    assert [json.loads(value.data) for value in found] == expected


@given(st.lists(WORDS, max_size=4))
def test_mails_of_the_standard_mailbox_come_back(bodies: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "box")
        with contextlib.closing(mailbox.mbox(path)) as box:
            for body in bodies:
                mail = EmailMessage()
                mail["From"] = "Ann <ann@example.org>"
                mail.set_content(f"It said {' '.join(body.split())}.\nFrom then on.\n", cte="8bit")
                box.add(mail)
        path.touch()
        items = list(read(path, kind="mbox"))
    texts = [item.record.text if item.record else item.error for item in items]
    assert texts == [f"It said {' '.join(body.split())}.\nFrom then on." for body in bodies]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), WORDS), max_size=12),
    st.integers(1, 5),
    st.integers(0, 4),
)
def test_an_import_interrupted_anywhere_ends_as_if_it_had_not_been(
    entries: list[tuple[str, str]], batch: int, room: int
) -> None:
    whole, broken = Shelf(), Shelf()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "f.jsonl")
        file.write_text(
            "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in entries)
        )
        report = import_into(whole, file, batch=batch)
        broken.room = room
        with contextlib.suppress(KeyboardInterrupt):
            import_into(broken, file, batch=batch)
        broken.room = -1
        import_into(broken, file, batch=batch)
        again = import_into(broken, file, batch=batch)
    first: dict[str, str] = {}
    for name, text in entries:
        if text.strip():
            first.setdefault(name, text)
    assert {name: record.text for name, record in whole.records.items()} == first
    assert broken.records == whole.records
    assert report.total == len(entries)
    assert report.added == len(first)
    assert (again.added, again.updated) == (0, 0)
