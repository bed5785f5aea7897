"""JSON lines and JSON lists: what becomes a record, what is skipped, whose it is."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from edgepersona.errors import InputError
from edgepersona.importers import Item, read, size_hint
from edgepersona.importers.jsonl import MAX_LINE_BYTES
from edgepersona.records import MAX_TEXT_BYTES, Record

if TYPE_CHECKING:
    from pathlib import Path


def lines(path: Path, *entries: object) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def records(items: list[Item]) -> list[Record]:
    return [item.record for item in items if item.record]


def test_known_keys_fill_the_record(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "notes.jsonl",
        {"body": "Bread rises.", "subject": "Yeast", "timestamp": 1714555800, "id": 7},
        {"text": "Salt.", "title": "S", "date": "2024-05-01", "source": "app", "kind": "tip"},
    )
    first, second = records(list(read(file)))
    assert first == Record("Bread rises.", "Yeast", "2024-05-01T09:30:00Z", "jsonl:notes", "", "7")
    assert (second.source, second.kind, second.date) == ("app", "tip", "2024-05-01")
    assert len(second.id) == 16


def test_a_gzipped_file_of_another_name_gives_the_same_ids(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", {"text": "one"}, {"text": "two"})
    packed = tmp_path / "b.ndjson.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    plain, unpacked = records(list(read(file))), records(list(read(packed)))
    assert [r.id for r in plain] == [r.id for r in unpacked]
    assert unpacked[0].source == "jsonl:b"


def test_a_list_in_a_json_file_is_read_item_by_item(tmp_path: Path) -> None:
    file = tmp_path / "notes.json"
    file.write_text('[\n {"text": "a, ]\\"}"},\n {"text": 3},\n {"text": "b"}\n]\n')
    first, second, third = read(file)
    assert first.record is not None
    assert first.record.text == 'a, ]"}'
    assert second.error == "item 2: 'text' is a JSON int, expected text"
    assert third.position == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{not json}", "not JSON"),
        (b'{"text": "\xff"}', "not UTF-8"),
        (b'{"text": "a\\u0000b"}', "NUL"),
        (b'{"text": "\\ud800"}', "surrogate"),
        (b'{"text": "  "}', "empty"),
        (b'{"text": ""}', "empty"),
        (b'{"title": "no text"}', "no text"),
        (b'{"text": {"parts": []}}', "dict"),
        (b'{"text": "x", "date": "soon"}', "date"),
        (b'{"text": "x", "date": "2024-13-01"}', "date"),
        (b"[1, 2]", "list"),
        (b"[" * 200_000, "nested"),
        (b'{"text": "%s"}' % (b"x" * (MAX_TEXT_BYTES + 1)), "bytes"),
        (b'{"text": "%s"}' % (b"x" * (MAX_LINE_BYTES + 1)), "longer than"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_go_on(tmp_path: Path, line: bytes, reason: str) -> None:
    file = tmp_path / "f.jsonl"
    file.write_bytes(b'{"text": "before"}\n\n' + line + b'\n{"text": "after"}')
    before, bad, after = read(file, kind="jsonl")
    assert bad.error.startswith("line 3: ")
    assert reason in bad.error
    assert "\n" not in bad.error
    assert bad.record is None
    assert [before.position, bad.position, after.position] == [1, 3, 4]
    assert after.record is not None


def test_a_truncated_gzip_keeps_what_came_before_the_damage(tmp_path: Path) -> None:
    many = b"".join(b'{"text": "%d %d"}\n' % (n, n**7) for n in range(40_000))
    file = tmp_path / "f.jsonl.gz"
    file.write_bytes(gzip.compress(many)[:-2000])
    items = list(read(file))
    assert len(items) > 30_000
    assert [bool(item.error) for item in items] == [False] * (len(items) - 1) + [True]
    assert "damaged" in items[-1].error


def test_several_users_need_a_choice(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "f.jsonl",
        {"user_id": "ann", "text": "a"},
        {"user_id": "bob", "text": "b"},
        {"text": "nobody's"},
    )
    with pytest.raises(InputError, match=r"\(ann, bob\).*--user"):
        read(file)
    (item,) = read(file, user="bob")
    assert item.position == 2


def test_a_user_who_is_not_there_is_refused_with_those_who_are(tmp_path: Path) -> None:
    file = lines(tmp_path / "f.jsonl", {"author": "ann", "text": "a"})
    with pytest.raises(InputError, match=r"'bo'.*ann.*--user"):
        list(read(file, user="bo"))


def test_one_user_needs_no_choice(tmp_path: Path) -> None:
    file = lines(tmp_path / "f.jsonl", {"user_id": 5, "text": "a"}, {"text": "b"})
    assert len(list(read(file))) == 2
    assert len(list(read(file, user="5"))) == 1


@pytest.mark.parametrize(
    ("content", "size"),
    [(b"", 0), (b"{}\n", 1), (b"{}\n{}", 2), (b"{}", 1)],
)
def test_size_hint_counts_a_last_line_without_its_end(
    tmp_path: Path, content: bytes, size: int
) -> None:
    (tmp_path / "f.jsonl").write_bytes(content)
    assert size_hint(tmp_path / "f.jsonl", "jsonl") == size


def test_size_hint_counts_lines_and_gives_up_on_a_list(tmp_path: Path) -> None:
    assert size_hint(lines(tmp_path / "f.jsonl", {"text": "a"}, {"text": "b"}), "jsonl") == 2
    (tmp_path / "f.json").write_text('[{"text": "a"}]')
    assert size_hint(tmp_path / "f.json", "jsonl") is None
