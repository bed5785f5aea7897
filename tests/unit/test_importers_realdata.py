"""Real files, where they lie beside the checkout: every line of them is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepersona.errors import InputError
from edgepersona.importers import detect, read

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data: {DATA} is missing")


@pytest.mark.parametrize("name", ["anthology", "commits", "digitalgov", "ratings"])
@pytest.mark.parametrize("file", ["history.jsonl.gz", "dev_questions.json.gz"])
def test_one_user_of_real_data_is_read_without_a_bad_item(name: str, file: str) -> None:
    path = DATA / name / file
    assert detect(path) == ("jsonl" if file.startswith("history") else "lamp")
    with pytest.raises(InputError, match="--user") as refusal:
        read(path)
    user = str(refusal.value).partition("(")[2].partition(",")[0]
    items = list(read(path, user=user))
    assert items
    assert [item.error for item in items if item.error] == []
