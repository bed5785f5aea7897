"""Telling sources apart, and refusing what cannot be read at all."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import pytest

from edgepersona.errors import InputError
from edgepersona.importers import KINDS, detect, read, size_hint

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.jsonl", b'{"text": "x"}\n', "jsonl"),
        ("a.ndjson", b"broken\n", "jsonl"),
        ("a.jsonl", b"", "jsonl"),
        ("a.json", b'[{"body": "x"}]', "jsonl"),
        ("a", b'{"text": "x"}\n', "jsonl"),
        ("a.jsonl", b'{"messages": []}\n', "chat"),
        ("Inbox", b"From a@b Wed May  1 09:30:00 2024\n", "mbox"),
        ("a.mbox", b"", "mbox"),
        ("a.md", b"# x", "folder"),
        ("a.txt", b"x", "folder"),
        ("a.txt", b"[31/12/23, 21:04:05] Ann: x\n", "chat"),
        ("a.json", b'[{"id": "q", "input": "?", "profile": []}]', "lamp"),
        ("a.json", b'[{"role": "user", "content": "x"}]', "chat"),
    ],
)
def test_kinds_are_told_by_name_and_content(
    tmp_path: Path, name: str, data: bytes, kind: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert detect(tmp_path / name) == kind
    if name != "a" and kind != "folder":
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
        assert detect(str(tmp_path / f"{name}.gz")) == kind


def test_folders_are_told_from_repositories(tmp_path: Path) -> None:
    assert detect(tmp_path) == "folder"
    (tmp_path / ".git").mkdir()
    assert detect(tmp_path) == "git"


@pytest.mark.parametrize("data", [b"\x89PNG\r\n", b"", b"[1, 2]", b"[{", b'{"x": 1}'])
def test_an_unknown_type_lists_the_kinds(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.dat").write_bytes(data)
    with pytest.raises(InputError, match=f"unknown type.*{', '.join(KINDS)} with --kind"):
        detect(tmp_path / "a.dat")


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "gone\n.md", "a\0b", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match=r"\A[^\n]*cannot be read[^\n]*\Z"):
            read(path)
    with pytest.raises(InputError, match="kind 'csv': expected auto, jsonl"):
        read(tmp_path, kind="csv")
    with pytest.raises(InputError, match="a folder, kind mbox expects a file"):
        read(tmp_path, kind="mbox")
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(InputError, match="a file, kind git expects a folder"):
        read(tmp_path / "a.md", kind="git")
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(InputError, match="unknown type"):
        read(tmp_path / "a.gz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        read(tmp_path / "pipe", kind="jsonl")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "a.jsonl").chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read(tmp_path / "a.jsonl")


def test_an_option_that_does_not_apply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(InputError, match="user does not apply to kind folder, only to jsonl, lamp"):
        read(tmp_path, user="ann")
    with pytest.raises(InputError, match="author does not apply"):
        read(tmp_path, author="ann")
    (tmp_path / "a.jsonl").write_text('{"text": "x"}')
    with pytest.raises(InputError, match="is no name"):
        read(tmp_path / "a.jsonl", user=" ")


def test_size_hint_is_none_where_it_is_not_cheap(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"profile": []}]')
    assert size_hint(tmp_path / "a.json") is None
