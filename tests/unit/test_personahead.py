"""The head's arithmetic in NumPy: what its format says, and what torch makes of the same head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepersona.errors import BundleError, InputError
from edgepersona.headfile import HeadFile
from edgepersona.personahead import PersonaHead
from tests import tiny_persona
from tests.standins import NDIM
from tests.tiny_persona import KINDS, make, soft_tokens

TABLE = np.random.default_rng(5).normal(size=(50, 2)).astype(np.float32)


def embed(ids):
    return TABLE[np.array(ids)]


def head_of(shape, arrays, *, scale: float = 3.0) -> PersonaHead:
    found = {name: array.astype(np.float32) for name, array in arrays.items()}
    return PersonaHead(HeadFile("a" * 64, shape, scale, (), found))


def history(count: int, *, words: int, seed: int = 1):
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(2, count, NDIM))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    titles = [random.integers(0, 50, random.integers(0, words + 3)).tolist() for _ in range(count)]
    return vectors[0].astype(np.float32), vectors[1].astype(np.float32), titles


@pytest.mark.parametrize("sizes", KINDS, ids=str)
@pytest.mark.parametrize("count", [1, 5])
def test_soft_tokens_are_what_the_format_says(sizes: dict, count: int) -> None:
    shape, arrays = make(**sizes)
    head = head_of(shape, arrays)
    items, outputs, titles = history(count, words=shape.words)
    query = np.random.default_rng(2).normal(size=NDIM).astype(np.float32) / 6
    weights = tiny_persona.attention(arrays, 3.0, query, items)
    scores = 3.0 * (items @ head.key(query))
    assert np.allclose(weights, np.exp(scores) / np.exp(scores).sum(), atol=1e-5)

    pooled = None
    if shape.pooled:
        if shape.reads == "words":
            values = head.values_of_words(titles, embed)
        else:
            values = head.values_of_vectors(items if shape.reads == "item" else outputs)
        assert values.shape == (count, shape.pooled * shape.hidden)
        pooled = (weights @ values).astype(np.float32)
    best = np.argsort(-weights, kind="stable")[: shape.records][::-1]
    found = head.soft_tokens("rating", pooled, [titles[i] for i in best], embed)
    expected = soft_tokens(
        shape,
        arrays,
        task="rating",
        weights=weights,
        items=items,
        outputs=outputs,
        titles=titles,
        table=TABLE,
    )
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4


def test_without_history_the_instruction_is_left() -> None:
    shape, arrays = make()
    found = head_of(shape, arrays).soft_tokens("title", None, [], embed)
    assert np.array_equal(found, np.concatenate([arrays["before"][0], arrays["after"][0]]))


@pytest.mark.parametrize(
    ("tasks", "kind", "beside", "chosen"),
    [
        (("title", "rating"), "title", False, "title"),
        (("title", "rating"), "rating", False, "rating"),
        (("title", "rating"), "subject", False, "title"),
        (("title", "rating"), "headline", True, "title"),
        (("title", "subject"), "subject", False, "subject"),
        (("title", "title+rag"), "title", True, "title+rag"),
        (("title", "title+rag"), "title", False, "title"),
        (("title", "title+rag", "subject"), "subject", True, "subject"),
        (("title", "title+rag"), "subject", True, "title+rag"),
    ],
)
def test_a_task_is_taken_for_its_own_or_for_the_nearest(
    tasks: tuple, kind: str, beside: bool, chosen: str
) -> None:
    assert head_of(*make(tasks=tasks)).task(kind, beside_records=beside) == chosen


@pytest.mark.parametrize("kind", ["answer", "reply", "instruction", "tag"])
def test_a_task_that_was_not_trained_is_refused_with_those_that_were(kind: str) -> None:
    head = head_of(*make(tasks=("title", "title+rag", "rating")))
    with pytest.raises(InputError, match=f"trained for title and rating, not for the task '{kind}"):
        head.task(kind)


def test_numbers_beyond_all_words_are_refused() -> None:
    shape, arrays = make()
    large = head_of(shape, {**arrays, "pool_gain": arrays["pool_gain"] * 1e9})
    with pytest.raises(BundleError, match="makes numbers that no LLM reads"):
        large.values_of_words([[1, 2], [3]], embed)
    far = head_of(shape, {**arrays, "title_offset": arrays["title_offset"] * 1e9})
    with pytest.raises(BundleError, match="makes numbers that no LLM reads"):
        far.soft_tokens("title", None, [[1, 2]], embed)


@pytest.mark.parametrize("sizes", KINDS, ids=str)
@pytest.mark.filterwarnings("default")
def test_torch_makes_the_same_of_the_same_head(sizes: dict, tmp_path: Path) -> None:
    model = pytest.importorskip("edgepersona_export.train.model", reason="no training here")
    torch = pytest.importorskip("torch", reason="export extra is not installed")
    from edgepersona_export.train.persona_head import arrays_of

    shape, _ = make(**sizes)
    torch.manual_seed(3)
    words = tuple(torch.randn(2, n, 2) for n in (shape.before, shape.after, shape.lead))
    theirs = model.PersonaHead(
        model.Shape(**{name: getattr(shape, name) for name in tiny_persona.SIZES}),
        model.calibrate(torch.tensor(TABLE)),
        first_words=words,
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        arrays = arrays_of(theirs)
        _round_as_written(theirs, arrays, torch)
    items, outputs, titles = history(5, words=shape.words)
    titles = [title or [7] for title in titles]
    query = items[0] * 0.5 + items[1] * 0.3
    cut = np.zeros((5, shape.words), np.int64)
    lengths = np.array([min(len(title), shape.words) for title in titles])
    for row, title in enumerate(titles):
        cut[row, : lengths[row]] = title[: shape.words]
    batch = model.History(
        queries=torch.tensor(query[None]),
        items=torch.tensor(items[None]),
        outputs=torch.tensor(outputs[None]),
        words=torch.tensor(cut[None]),
        is_word=torch.tensor((np.arange(shape.words) < lengths[:, None])[None]),
        is_record=torch.ones(1, 5, dtype=torch.bool),
    )
    with torch.no_grad():
        soft, there = theirs(batch, torch.tensor([1]), lambda ids: torch.tensor(TABLE)[ids])
    scale = float(theirs.log_scale.detach().exp())
    head = head_of(shape, arrays, scale=scale)
    scores = items @ head.key(query) * (scale if shape.pooled else 1.0)
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    pooled = None
    if shape.pooled:
        if shape.reads == "words":
            values = head.values_of_words(titles, embed)
        else:
            values = head.values_of_vectors(items if shape.reads == "item" else outputs)
        pooled = (weights @ values).astype(np.float32)
    best = np.argsort(-weights, kind="stable")[: shape.records][::-1]
    found = head.soft_tokens("rating", pooled, [titles[i] for i in best], embed)
    expected = soft[0][there[0]].numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4


def _round_as_written(theirs, arrays, torch) -> None:
    """Give torch's matrices the digits that the file keeps: what is compared is arithmetic."""

    def put(parameter, name: str, factor: float = 1.0) -> None:
        if name in arrays:
            parameter.copy_(torch.tensor(arrays[name].astype(np.float32)) / factor)

    if hasattr(theirs, "adapter"):
        put(theirs.adapter, "adapter")
    for name in ("pool", "title"):
        if (projector := getattr(theirs, name, None)) is not None:
            put(projector.inner.weight, f"{name}_inner", projector.input_scale)
            put(projector.outer.weight, f"{name}_outer", projector.output_scale)
