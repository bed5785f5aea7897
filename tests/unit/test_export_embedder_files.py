"""What the files of an embedding model say is what its recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgepersona_export.embedder_files import MAX_TOKENS, read_recipe
from tests.tiny_embedders import write_json

CONFIG = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 514,
}
PROMPTS = "config_sentence_transformers.json"


def folder(tmp_path: Path, files: dict[str, Any], **config: object) -> Path:
    write_json(tmp_path / "config.json", {**CONFIG, **config})
    for name, value in files.items():
        write_json(tmp_path / name, value)
    return tmp_path


@pytest.mark.parametrize(
    ("prompts", "query", "document"),
    [
        ({}, "", ""),
        ({"prompts": {"query": "q ", "passage": "p "}}, "q ", "p "),
        ({"prompts": {"query": "q ", "corpus": "c ", "document": "d "}}, "q ", "d "),
        ({"prompts": {"s": "s "}, "default_prompt_name": "s"}, "s ", "s "),
        ({"prompts": {"s": "s ", "query": ""}, "default_prompt_name": "s"}, "", "s "),
        ({"prompts": {"s": "s ", "query": "q "}, "default_prompt_name": None}, "q ", ""),
    ],
)
def test_prefixes_are_the_prompts_of_the_files(
    tmp_path: Path, prompts: dict[str, Any], query: str, document: str
) -> None:
    recipe = read_recipe(folder(tmp_path, {PROMPTS: prompts}))
    assert (recipe.query_prefix, recipe.document_prefix) == (query, document)


@pytest.mark.parametrize(
    ("card", "asked"),
    [
        ('start with "query: " or "passage: ".', True),
        ("start with `query: ` or `passage: `.", True),
        ("A query: find me. A passage: found.", False),
        ('only "query: " is named', False),
    ],
)
def test_a_card_is_believed_where_it_quotes_both_prefixes(
    tmp_path: Path, card: str, asked: bool
) -> None:
    (tmp_path / "README.md").write_text(card)
    recipe = read_recipe(folder(tmp_path, {}))
    prefixes = (recipe.query_prefix, recipe.document_prefix)
    assert prefixes == (("query: ", "passage: ") if asked else ("", ""))


def test_prompts_outrank_the_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text('"query: " and "passage: "')
    recipe = read_recipe(folder(tmp_path, {PROMPTS: {"prompts": {"query": "q "}}}))
    assert (recipe.query_prefix, recipe.document_prefix) == ("q ", "")


@pytest.mark.parametrize(
    ("config", "files", "tokens"),
    [
        ({}, {}, 514),
        ({"model_type": "xlm-roberta", "pad_token_id": 1}, {}, 512),
        ({}, {"sentence_bert_config.json": {"max_seq_length": 128}}, 128),
        ({}, {"tokenizer_config.json": {"model_max_length": 256}}, 256),
        ({}, {"tokenizer_config.json": {"model_max_length": 1e30}}, 514),
        ({"max_position_embeddings": 8194}, {}, MAX_TOKENS),
    ],
)
def test_a_text_is_read_as_far_as_model_files_and_memory_allow(
    tmp_path: Path, config: dict[str, Any], files: dict[str, Any], tokens: int
) -> None:
    assert read_recipe(folder(tmp_path, files, **config)).max_tokens == tokens
