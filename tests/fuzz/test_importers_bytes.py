"""Any bytes at all: a reader yields items or refuses the source, and does nothing else."""

from __future__ import annotations

import gzip
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepersona.errors import InputError
from edgepersona.importers import KINDS, detect, read, size_hint
from edgepersona.importers.gitlog import _commits, _item
from edgepersona.records import checked

FRAGMENTS = {
    "jsonl": [
        *(b'{"text": "a"}', b'"', b"{", b"}", b"[", b",", b"\\", b"\n", b"\0"),
        *(b'{"text": "a", "date": ', b"1e999", b'"user_id": '),
    ],
    "lamp": [b'[{"id": 1, "profile": [', b'{"text": "a"}', b"]}", b"]", b",", b"[", b"{", b'"'],
    "chat": [
        *(b'{"messages": [', b'{"role": "user", "content": ', b'"a"}', b"]}", b"[", b"]", b","),
        *(b'{"mapping": {"a": {"message": {"author": 3}}}}', b"3/4/23, 21:04 - A: b\n", b"[1/2/"),
    ],
    "mbox": [
        *(b"From a@b Wed May  1 09:30:00 2024\n", b"From: ", b"Message-ID: <", b"@", b"[", b"?="),
        *(b"\n\n", b"\r", b"Subject: =?utf-8?b?", b"Date: 1\n", b"> q\n", b"-- \n", b"utf-7\n"),
        *(b"Content-Type: multipart/mixed; boundary=b\n", b"--b\n", b"--b--\n", b"<![x"),
        *(b"Content-Type: text/html; charset=", b"Content-Transfer-Encoding: base64\n"),
        b"Content-Type: message/rfc822\n",
    ],
    "folder": [b"---\n", b"title: ", b"# ", b"\xff\xfe", b"====\n", b"```\n", b"\n", b"\r"],
}
NAMES = {
    "jsonl": "f.jsonl", "lamp": "f.json", "chat": "f.json", "mbox": "f.mbox", "folder": "f.md"
}  # fmt: skip


def mixed(kind: str) -> st.SearchStrategy[bytes]:
    parts = st.lists(st.sampled_from(FRAGMENTS[kind]) | st.binary(max_size=6), max_size=14)
    return st.binary(max_size=200) | parts.map(b"".join)


def consume(path: Path, kind: str, option: dict[str, str]) -> None:
    refusal, items = "", []
    try:
        items = list(read(path, kind=kind, **option))
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    for item in items:
        assert (item.record is None) == bool(item.error)
        assert "\n" not in item.error
        assert item.record is None or checked(item.record) is item.record
    positions = [item.position for item in items]
    assert positions == sorted(set(positions))


@pytest.mark.parametrize("kind", sorted(FRAGMENTS))
@settings(deadline=None)
@given(data=st.data())
def test_bytes_make_items_or_one_refusal(kind: str, data: st.DataObject) -> None:
    content = data.draw(mixed(kind))
    option = {}
    if kind != "folder":
        named = data.draw(st.none() | st.sampled_from(["a", "\ud800", "1"]))
        option = {"user" if kind in ("jsonl", "lamp") else "author": named} if named else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, NAMES[kind])
        path.write_bytes(content)
        consume(path, kind, option)
        if kind != "folder":
            packed = gzip.compress(content, mtime=0)
            path.write_bytes(packed[: data.draw(st.integers(2, len(packed)))])
            consume(path, kind, option)


@settings(deadline=None)
@given(st.sampled_from(sorted(FRAGMENTS)).flatmap(mixed), st.sampled_from(["f", *NAMES.values()]))
def test_any_file_has_a_kind_or_is_refused(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        try:
            kind = detect(path)
        except InputError:
            return
        assert kind in KINDS
        size = size_hint(path, kind)
        assert size is None or size >= 0


@given(st.lists(st.sampled_from([b"\0", b"a" * 40, b"2024-05-01", b"s\n\nb"]) | st.binary()))
def test_any_log_makes_items(parts: list[bytes]) -> None:
    for position, fields in enumerate(_commits(io.BytesIO(b"".join(parts))), start=1):
        item = _item(fields, "git:f", position)
        assert (item.record is None) == bool(item.error)
