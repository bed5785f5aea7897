"""The persona head: what it makes of a history, and that the file says the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="export extra is not installed")

import torch

from edgepersona.errors import BundleError, ExportError, InputError
from edgepersona.headfile import model_hashes
from edgepersona_export.train.model import Shape, words_of
from edgepersona_export.train.persona_head import write_head
from tests import tiny_head
from tests.tiny_head import HIDDEN, NDIM

pytestmark = pytest.mark.filterwarnings("default")

BUNDLE = SimpleNamespace(
    path=Path("here"), manifest={"inputs": {"embedder": {"a": "1"}, "llm": {"b": "2"}}}
)
KINDS = [
    {},
    {"reads": "item"},
    {"reads": "output"},
    {"pooled": 0, "adapted": False},
    {"records": 0},
    {"adapted": False},
    {"records": 9},
    {"inner": 5},
]


@pytest.mark.parametrize("sizes", KINDS, ids=str)
def test_the_file_says_what_the_head_does(sizes: dict, tmp_path: Path) -> None:
    head, table = tiny_head.make(**sizes)
    batch = tiny_head.history()
    tasks = torch.tensor([0, 1, 0])
    with torch.no_grad():
        soft, mask = head(batch, tasks, lambda ids: table[ids])
    write_head(head, BUNDLE, tmp_path, recipe={})
    index, arrays = tiny_head.read(tmp_path)
    for row, count in enumerate((5, 1, 0)):
        titles = [
            ids[there].tolist()
            for ids, there in zip(batch.words[row, :count], batch.is_word[row, :count], strict=True)
        ]
        again = tiny_head.soft_tokens(
            index,
            arrays,
            task=("title", "rating")[tasks[row]],
            query=batch.queries[row].numpy(),
            items=batch.items[row, :count].numpy(),
            outputs=batch.outputs[row, :count].numpy(),
            titles=titles,
            table=table.numpy(),
        )
        expected = soft[row][mask[row]].numpy()
        assert again.shape == expected.shape
        assert np.abs(again - expected).max() < 1e-2  # matrices are kept in float16


def test_without_records_the_instruction_is_left() -> None:
    head, table = tiny_head.make()
    soft, mask = head(tiny_head.history(counts=(0,)), torch.tensor([1]), lambda ids: table[ids])
    assert torch.equal(soft[0][mask[0]], torch.cat([head.before[1], head.after[1]]))


def test_padding_changes_nothing() -> None:
    head, table = tiny_head.make()
    batch = tiny_head.history(counts=(3, 5))
    alone = tiny_head.history(counts=(3, 5))
    for name in ("items", "outputs", "words", "is_word", "is_record"):
        object.__setattr__(alone, name, getattr(batch, name)[:, :3])
    with torch.no_grad():
        padded, padded_mask = head(batch, torch.tensor([0, 0]), lambda ids: table[ids])
        short, short_mask = head(alone, torch.tensor([0, 0]), lambda ids: table[ids])
    assert torch.allclose(padded[0][padded_mask[0]], short[0][short_mask[0]], atol=1e-6)


def test_the_nearest_record_stands_last() -> None:
    head, table = tiny_head.make(pooled=0, adapted=False, records=2)
    batch = tiny_head.history(counts=(5,))
    nearest = int((batch.items[0] @ batch.queries[0]).argmax())
    soft, mask = head(batch, torch.tensor([0]), lambda ids: table[ids])
    count = int(batch.is_word[0, nearest].sum())
    shown = soft[0][mask[0]][-(3 + count) : -3]
    words = table[batch.words[0, nearest, :count]] - head.get_buffer("centre")
    slots = torch.zeros(4, HIDDEN)
    slots[:count] = words
    assert torch.allclose(shown, head.title.place(head.title(slots))[:count], atol=1e-6)


@pytest.mark.parametrize(
    ("beside", "task", "by_age"),
    [
        ("newest", 1, True),
        ("newest", 0, False),
        ("nearest", 1, False),
    ],
)
def test_beside_records_in_words_the_newest_titles_are_read_where_the_head_says_so(
    beside: str, task: int, by_age: bool
) -> None:
    sizes = {"pooled": 0, "adapted": False, "records": 2, "beside": beside}
    head, table = tiny_head.make(tasks=("title", "title+rag"), **sizes)
    batch = tiny_head.history(counts=(5, 3))
    soft, mask = head(batch, torch.tensor([task, task]), lambda ids: table[ids])
    for row, count in enumerate((5, 3)):
        near = (batch.items[row, :count] @ batch.queries[row]).argsort().tolist()
        assert near[-2:] != [count - 2, count - 1]
        read = [count - 2, count - 1] if by_age else near[-2:]
        expected = [head.before[task]]
        for i in read:
            words = table[batch.words[row, i]] - head.get_buffer("centre")
            expected += [
                head.lead[task],
                head.title.place(head.title(words))[batch.is_word[row, i]],
            ]
        assert torch.allclose(
            soft[row][mask[row]], torch.cat([*expected, head.after[task]]), atol=1e-6
        )


@pytest.mark.parametrize(("records", "beside"), [(1, 3), (2, 0), (0, 2)])
def test_beside_records_in_words_as_many_titles_are_read_as_the_head_says(
    records: int, beside: int
) -> None:
    sizes = {"pooled": 0, "adapted": False, "records": records, "records_beside": beside}
    head, table = tiny_head.make(tasks=("title", "title+rag"), **sizes)
    batch = tiny_head.history(counts=(5, 2))
    # Both kinds in a batch, as nothing keeps them apart.
    for tasks in ((0, 1), (1, 0), (1, 1)):
        soft, mask = head(batch, torch.tensor(tasks), lambda ids: table[ids])
        for row, task in enumerate(tasks):
            count = int(batch.is_record[row].sum())
            near = (batch.items[row, :count] @ batch.queries[row]).argsort().tolist()
            expected = [head.before[task]]
            read = (records, beside)[task]
            for i in near[len(near) - min(read, count) :]:
                words = table[batch.words[row, i]] - head.get_buffer("centre")
                expected += [
                    head.lead[task],
                    head.title.place(head.title(words))[batch.is_word[row, i]],
                ]
            found = soft[row][mask[row]]
            assert torch.allclose(found, torch.cat([*expected, head.after[task]]), atol=1e-6)


def test_sizes_say_how_many_titles_are_read_beside_records() -> None:
    shape = Shape(NDIM, HIDDEN, ("title",))
    assert shape.to_json()["records_beside"] == shape.records == shape.titles("title+rag")
    other = replace(shape, records_beside=9)
    assert (other.titles("title"), other.titles("title+rag")) == (shape.records, 9)
    assert other.to_json()["records_beside"] == 9
    assert not replace(shape, records=0).reads_titles
    assert replace(shape, records=0, records_beside=1).reads_titles
    assert replace(shape, records_beside=0).reads_titles
    with pytest.raises(InputError, match="records_beside -1: expected 0 or more"):
        replace(shape, records_beside=-1)


def test_no_place_is_left_where_a_title_is_shorter() -> None:
    head, table = tiny_head.make()
    _, mask = head(tiny_head.history(), torch.tensor([0, 1, 0]), lambda ids: table[ids])
    counts = mask.sum(1)
    assert mask.shape[1] == counts.max()
    assert all(mask[row, :count].all() for row, count in enumerate(counts))


def test_untrained_projectors_put_things_among_the_words() -> None:
    from edgepersona_export.train.model import Projector, calibrate

    torch.manual_seed(3)
    calibration = calibrate(torch.randn(500, 64) + 2)
    words = torch.randn(40, 4, 64)
    direct = Projector(4, 64, 48, calibration, direct=True)
    assert torch.allclose(direct.place(direct(words)), words + calibration.centre, atol=1e-5)
    unit = torch.nn.functional.normalize(torch.randn(40, 32), dim=-1)
    far = Projector(4, 32, 48, calibration, direct=False)(unit).norm(dim=-1).mean().detach()
    assert 0.3 < float(far) / calibration.spread < 3


@pytest.mark.parametrize(
    "sizes",
    [
        {"reads": "mail"},
        {"tasks": ()},
        {"tasks": ("a", "a")},
        {"pooled": -1},
        {"pooled": 17},
        {"beside": "me"},
    ],
    ids=str,
)
def test_sizes_that_make_no_head_are_refused(sizes: dict) -> None:
    with pytest.raises(InputError, match="expected"):
        Shape(**{"ndim": NDIM, "hidden": HIDDEN, "tasks": ("title",), **sizes})


def test_an_instruction_begins_as_words_of_any_length() -> None:
    assert words_of([1, 2, 3], 2) == [2, 3]
    assert words_of([1, 2], 5) == [1, 1, 1, 1, 2]
    assert words_of([1, 2], 0) == []


def test_a_bundle_that_does_not_say_its_models_gets_no_head() -> None:
    with pytest.raises(BundleError, match="export it again"):
        model_hashes(SimpleNamespace(path=Path("x"), manifest={}))


def test_a_head_that_diverged_is_not_written(tmp_path: Path) -> None:
    head, _ = tiny_head.make()
    with torch.no_grad():
        head._before[0, 0, 0] = float("nan")
    with pytest.raises(ExportError, match="before of the head is not finite"):
        write_head(head, BUNDLE, tmp_path, recipe={})
    assert not list(tmp_path.iterdir())
