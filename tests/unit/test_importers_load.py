"""Imports into a profile: each record once, whatever happened before."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from edgepersona.errors import InputError
from edgepersona.importers import ImportReport, import_into

if TYPE_CHECKING:
    from pathlib import Path

    from edgepersona.profile import Profile
    from tests.standins import WordEmbedder


def lines(path: Path, *entries: object) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def numbered(path: Path, count: int) -> Path:
    return lines(path, *({"text": f"text {n}", "id": f"n{n}"} for n in range(count)))


def test_a_second_run_embeds_nothing(
    tmp_path: Path, profile: Profile, embedder: WordEmbedder
) -> None:
    file = numbered(tmp_path / "f.jsonl", 150)
    assert import_into(profile, file) == ImportReport(150, 0, 0, (), 150)
    assert (len(profile), len(embedder.encoded)) == (150, 150)
    generation = profile.generation
    assert import_into(profile, file) == ImportReport(0, 150, 0, (), 150)
    assert (len(profile), len(embedder.encoded)) == (150, 150)
    assert profile.generation == generation


def test_an_interrupted_import_keeps_what_it_had_and_goes_on(
    tmp_path: Path, profile: Profile, embedder: WordEmbedder
) -> None:
    file = numbered(tmp_path / "f.jsonl", 20)

    def interrupt(position: int, size: int | None) -> None:
        if position == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_into(profile, file, progress=interrupt, batch=4)
    assert len(profile) == 8
    assert import_into(profile, file, batch=4) == ImportReport(12, 8, 0, (), 20)
    assert sorted(embedder.encoded) == sorted(set(embedder.encoded))


def test_bad_items_are_counted_and_the_first_ten_named(tmp_path: Path, profile: Profile) -> None:
    file = lines(tmp_path / "f.jsonl", {"text": "fine"}, *({"text": ""} for _ in range(12)))
    report = import_into(profile, file)
    assert (report.added, report.skipped, report.total) == (1, 12, 13)
    assert [error.split(":")[0] for error in report.errors] == [f"line {n}" for n in range(2, 12)]


def test_a_changed_note_is_updated_and_a_touched_one_is_not(
    tmp_path: Path, profile: Profile, embedder: WordEmbedder
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("first words")
    (notes / "b.md").write_text("other words")
    import_into(profile, notes)
    (notes / "a.md").write_text("second words")
    os.utime(notes / "b.md", (0, 0))
    report = import_into(profile, notes)
    assert (report.added, report.updated, report.unchanged) == (0, 1, 1)
    assert len(embedder.encoded) == 3
    assert {record.text for record in profile.records()} == {"second words", "other words"}
    (notes / "a.md").write_text("third words")
    assert import_into(profile, notes / "a.md").updated == 1
    assert len(profile) == 2


def test_an_id_twice_in_a_source_keeps_the_first(tmp_path: Path, profile: Profile) -> None:
    same = {"id": "1", "text": "same"}
    file = lines(tmp_path / "f.jsonl", same, same, {"id": "1", "text": "other"})
    for batch in (1, 2, 64):
        report = import_into(profile, file, batch=batch)
        assert (report.added + report.unchanged, report.skipped, report.updated) == (2, 1, 0)
        assert "item 3: id '1' belongs to an earlier one" in report.errors[0]
    assert profile.get(["1"])[0].text == "same"


def test_another_source_never_replaces_a_record(tmp_path: Path, profile: Profile) -> None:
    import_into(profile, lines(tmp_path / "a.jsonl", {"id": "1", "text": "from a"}))
    report = import_into(profile, lines(tmp_path / "b.jsonl", {"id": "1", "text": "from b"}))
    assert report.skipped == 1
    assert "jsonl:a" in report.errors[0]
    assert profile.get(["1"])[0].text == "from a"
    assert import_into(
        profile, lines(tmp_path / "a.jsonl", {"id": "1", "text": "from a, later"})
    ) == ImportReport(0, 0, 0, (), 1, updated=1)


def test_progress_reports_positions_and_the_size(tmp_path: Path, profile: Profile) -> None:
    seen: list[tuple[int, int | None]] = []
    import_into(
        profile, numbered(tmp_path / "f.jsonl", 3), progress=lambda *step: seen.append(step)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_source_refused_as_a_whole_adds_nothing(tmp_path: Path, profile: Profile) -> None:
    file = lines(tmp_path / "f.jsonl", {"user_id": "a", "text": "x"}, {"user_id": "b", "text": "y"})
    with pytest.raises(InputError, match="--user"):
        import_into(profile, file)
    with pytest.raises(InputError, match="batch is 0"):
        import_into(profile, file, user="a", batch=0)
    assert len(profile) == 0
    assert import_into(profile, file, user="a").added == 1
