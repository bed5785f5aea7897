"""What the examples bring along: every line of the invented person's mail becomes a record."""

from __future__ import annotations

from pathlib import Path

from edgepersona.importers import read

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_line_of_the_demos_mail_imports() -> None:
    file = EXAMPLES / "marta.jsonl"
    items = list(read(file))
    records = [item.record for item in items if item.record]
    assert [item.error for item in items if item.error] == []
    assert len(records) == len(file.read_text("utf-8").splitlines())
    assert len({record.id for record in records}) == len(records)
    assert all(record.date and record.title for record in records)
