"""Folders of notes: which files count, what their titles and dates are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from edgepersona.importers import read, size_hint
from edgepersona.importers.notetext import split_note
from edgepersona.records import MAX_TEXT_BYTES

if TYPE_CHECKING:
    from pathlib import Path


def test_notes_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.md", "a/z.txt", "a/y.ORG", ".git-notes/x.md", ".hidden.md", "code.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"words of {name}")
    items = list(read(tmp_path, kind="folder"))
    texts = [item.record.text for item in items if item.record]
    assert texts == ["words of b.md", "words of a/y.ORG", "words of a/z.txt"]
    assert size_hint(tmp_path, "folder") == 3


def test_a_note_has_title_date_source_and_an_id_that_survives_an_edit(tmp_path: Path) -> None:
    note = tmp_path / "bread.md"
    note.write_bytes(b"# Bread\r\n\r\nIt rose.\r\n")
    os.utime(note, (0, 1714555800))
    (before,) = read(tmp_path)
    assert before.record is not None
    assert (before.record.title, before.record.text) == ("Bread", "It rose.")
    assert (before.record.date, before.record.kind) == ("2024-05-01T09:30:00Z", "note")
    assert before.record.source == f"folder:{tmp_path.name}"
    note.write_text("# Bread\n\nIt fell.")
    (after,) = read(note)  # the file alone: the same record
    assert after.record is not None
    assert after.record.text == "It fell."
    assert (after.record.id, after.record.source) == (before.record.id, before.record.source)


def test_two_folders_of_one_name_do_not_share_ids(tmp_path: Path) -> None:
    ids = set()
    for parent in ("one", "two"):
        note = tmp_path / parent / "docs" / "readme.md"
        note.parent.mkdir(parents=True)
        note.write_text("words")
        ids |= {item.record.id for item in read(note.parent) if item.record}
    assert len(ids) == 2


def test_links_that_leave_the_folder_are_not_followed(tmp_path: Path) -> None:
    notes, outside = tmp_path / "notes", tmp_path / "outside"
    notes.mkdir()
    outside.mkdir()
    (outside / "secret.md").write_text("not here")
    (notes / "own.md").write_text("mine")
    try:
        (notes / "link.md").symlink_to(outside / "secret.md")
        (notes / "folder").symlink_to(outside, target_is_directory=True)
        (notes / "same.md").symlink_to(notes / "own.md")
        (notes / "broken.md").symlink_to(notes / "gone.md")
    except OSError:
        pytest.skip("this system lets no one make links")
    items = list(read(notes))
    assert {item.record.text for item in items if item.record} == {"mine"}
    assert len({item.record.id for item in items if item.record}) == 1
    assert [item.error for item in items if item.error] == [
        "broken.md: cannot be read: No such file or directory"
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    (item,) = read(tmp_path)
    assert item.error == "pipe.md: not a regular file"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"caf\xe9", "not UTF-8"),
        (b"\xff\xfea", "not UTF-8"),
        (b"a\0b", "NUL"),
        (b"  \n\n", "empty"),
        (b"", "empty"),
        (b"x" * (MAX_TEXT_BYTES + 1), "bytes"),
        (b"x" * (2 * MAX_TEXT_BYTES + 1), "bytes"),
    ],
)
def test_a_bad_note_is_named_and_the_rest_go_on(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.md").write_bytes(data)
    (tmp_path / "b.md").write_text("fine")
    bad, fine = read(tmp_path)
    assert bad.error.startswith("a.md: ")
    assert reason in bad.error
    assert fine.record is not None


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-16-be"])
def test_marked_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "a.txt").write_bytes((mark + "café").encode(encoding))
    (item,) = read(tmp_path)
    assert item.record is not None
    assert (item.record.title, item.record.text) == ("a", "café")


@pytest.mark.parametrize(
    ("suffix", "note", "expected"),
    [
        (".md", "\n# A  b ##\n\ntext", ("A b", "", "text")),
        (".md", "# C#\ntext", ("C#", "", "text")),
        (".md", "# \n## #\ntext", ("", "", "# \n## #\ntext")),
        (".md", "Title\n=====\ntext", ("Title", "", "text")),
        (".md", "intro\n\n## Later\ntext", ("Later", "", "intro\n\n## Later\ntext")),
        (".md", "```\n# no\n```\nx", ("", "", "```\n# no\n```\nx")),
        (".md", '---\ntitle: "T: u"\ndate: 2024-05-01\n---\ntext', ("T: u", "2024-05-01", "text")),
        (".md", "+++\ntitle = 'T'\n+++\n# Other\ntext", ("T", "", "# Other\ntext")),
        (".md", "---\ntext\n", ("", "", "---\ntext")),
        (".rst", "=====\nTitle\n=====\n\ntext", ("Title", "", "text")),
        (".rst", "Title\n-----\ntext", ("Title", "", "text")),
        (".org", "#+TITLE: T\n#+DATE: 2024\n* Head\ntext", ("T", "2024", "* Head\ntext")),
        (".org", "* Head\ntext", ("Head", "", "text")),
        (".txt", "# no heading", ("", "", "# no heading")),
        (".md", "# Only a title", ("Only a title", "", "")),
    ],
)
def test_titles_and_dates_of_notes(suffix: str, note: str, expected: tuple[str, str, str]) -> None:
    assert split_note(note, suffix) == expected


@pytest.mark.parametrize("unit", ["\n", "#+a\n", "# \n", "x ", "#  ", "=\n", "a\n===\n", "```\n"])
@pytest.mark.parametrize("suffix", [".md", ".org", ".rst"])
def test_a_megabyte_of_anything_is_read_at_once(suffix: str, unit: str) -> None:
    split_note("# a" + " " * 1000 + unit * ((1 << 20) // len(unit)) + "b", suffix)
    split_note(unit * ((1 << 20) // len(unit)), suffix)
