"""The frozen LLM tells what the whole model would tell of the same tokens."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="export extra is not installed")
pytest.importorskip("transformers", reason="export extra is not installed")

import torch

from edgepersona_export.train.attention import LEAN
from edgepersona_export.train.frozen import FrozenModel, fastest_dtype
from tests.tiny_models import NAMES, make

# torch and transformers warn of each other's future.
pytestmark = pytest.mark.filterwarnings("default")

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13, 14]]
ENDINGS = [[20], [21, 22]]
TARGETS = [[30, 31, 32], [33, 34]]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gemma3"])
def test_losses_are_those_of_the_whole_text(name: str) -> None:
    model = make(name)
    frozen = FrozenModel(model)
    soft_ids = torch.tensor([[40, 41], [42, 43]])
    losses, counted = frozen.losses(
        frozen.read(PROMPTS),
        frozen.embed(soft_ids),
        torch.ones(2, 2, dtype=torch.bool),
        ENDINGS,
        TARGETS,
    )
    model.set_attn_implementation("eager")  # as the family's own code attends
    for row, target in enumerate(TARGETS):
        text = [*PROMPTS[row], *soft_ids[row].tolist(), *ENDINGS[row], *target]
        with torch.no_grad():
            logits = model(torch.tensor([text])).logits[0].log_softmax(-1)
        whole = -logits[torch.arange(len(text) - len(target) - 1, len(text) - 1), target]
        assert counted[row].tolist() == [i < len(target) for i in range(3)]
        assert torch.allclose(losses[row][counted[row]], whole, atol=2e-4)


def test_a_masked_soft_token_says_nothing() -> None:
    frozen = FrozenModel(make("smollm2"))
    prompts = frozen.read(PROMPTS)
    soft = frozen.embed(torch.tensor([[40, 41], [42, 43]]))
    mask = torch.tensor([[True, False], [True, False]])
    losses = [
        frozen.losses(prompts, vectors, mask, ENDINGS, TARGETS)[0]
        for vectors in (soft, soft + torch.tensor([0.0, 9.0])[:, None])
    ]
    assert torch.equal(*losses)
    shorter, _ = frozen.losses(prompts, soft[:, :1], mask[:, :1], ENDINGS, TARGETS)
    assert torch.allclose(losses[0], shorter, atol=1e-5)


def test_one_reading_of_the_prompts_serves_any_number_of_personas() -> None:
    frozen = FrozenModel(make("qwen2"))
    prompts = frozen.read(PROMPTS)
    soft = frozen.embed(torch.tensor([[40], [41]]))
    mask = torch.ones(2, 1, dtype=torch.bool)
    first, _ = frozen.losses(prompts, soft, mask, ENDINGS, TARGETS)
    again, _ = frozen.losses(prompts, soft, mask, ENDINGS, TARGETS)
    assert torch.equal(first, again)


@pytest.mark.parametrize(("name", "attention"), [("smollm2", LEAN), ("gemma2", "eager")])
def test_scores_that_are_bent_are_left_to_eager_attention(name: str, attention: str) -> None:
    model = make(name)
    model.set_attn_implementation("eager")  # as it is loaded, to be exported
    FrozenModel(model).read(PROMPTS)
    assert model.config._attn_implementation == attention


@pytest.mark.parametrize(("dtype", "apart"), [("fp32", 1e-6), ("bf16", 2e-2)])
def test_gradients_are_those_of_eager_attention(dtype: str, apart: float) -> None:
    model = make("qwen2")  # its heads come in groups
    frozen = FrozenModel(model, dtype=dtype)
    gradients = []
    for attention in (LEAN, "eager"):
        model.set_attn_implementation(attention)
        soft = frozen.embed(torch.tensor([[40, 44], [41, 45]])).float().requires_grad_()
        mask = torch.tensor([[True, True], [True, False]])
        losses, _ = frozen.losses(frozen.read(PROMPTS), soft, mask, ENDINGS, TARGETS)
        losses.sum().backward()
        assert soft.grad is not None
        gradients.append(soft.grad)
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < apart


def test_gradients_reach_the_soft_tokens_and_nothing_else() -> None:
    model = make("smollm2")
    frozen = FrozenModel(model)
    soft = frozen.embed(torch.tensor([[40], [41]])).detach().requires_grad_()
    losses, _ = frozen.losses(
        frozen.read(PROMPTS), soft, torch.ones(2, 1, dtype=torch.bool), ENDINGS, TARGETS
    )
    losses.sum().backward()
    assert soft.grad is not None
    assert soft.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert int(soft.shape[2]) == frozen.hidden


@pytest.mark.parametrize(
    ("has", "dtype"),
    [
        (set(), "fp32"),
        ({"_is_amx_tile_supported"}, "bf16"),
        ({"_is_avx512_bf16_supported"}, "bf16"),
    ],
)
def test_bf16_is_chosen_where_the_processor_multiplies_it(
    has: set[str], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in has, raising=False)
    assert fastest_dtype() == dtype


def test_fp32_is_chosen_where_torch_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert fastest_dtype() == "fp32"
