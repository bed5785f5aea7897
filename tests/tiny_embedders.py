"""Tiny random embedding models, each in the files that a real family keeps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CARD = """\
# a model

Each input text should start with "query: " or "passage: ".
"""
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789!?.,-:"
_VOCAB = 1200  # the words' table is rounded only where it is large


@dataclass(frozen=True)
class Family:
    """What the files of a family say, as far as families differ."""

    model_type: str = "bert"
    pooling: str = "mean"
    query_prefix: str = ""
    document_prefix: str = ""
    card: bool = False  # whether it is the model card that asks for the prefixes


FAMILIES = {
    "MiniLM": Family(),
    "BGE": Family(pooling="cls"),
    "E5": Family(query_prefix="query: ", document_prefix="passage: ", card=True),
    "GTE": Family(),
    "Arctic Embed": Family(
        pooling="cls", query_prefix="Represent this sentence for searching relevant passages: "
    ),
    "DistilRoBERTa": Family(model_type="roberta"),
    "multilingual E5": Family(
        "xlm-roberta", query_prefix="query: ", document_prefix="passage: ", card=True
    ),
    "BGE-M3": Family("xlm-roberta", pooling="cls"),
}


def write_family(name: str, folder: Path) -> Path:
    """Write a model of the family, two layers wide 64, as sentence-transformers keeps it."""
    family = FAMILIES[name]
    folder.mkdir(parents=True)
    write_model(family.model_type, folder)
    modules = ("Transformer", "1_Pooling", "2_Normalize")
    write_json(
        folder / "modules.json",
        [{"path": m if "_" in m else "", "type": f"x.{m.split('_')[-1]}"} for m in modules],
    )
    modes = {f"pooling_mode_{mode}": False for mode in ("cls_token", "mean_tokens", "max_tokens")}
    modes[{"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}[family.pooling]] = (
        True
    )
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": 64, **modes})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 48, "do_lower_case": False})
    if family.card:
        (folder / "README.md").write_text(_CARD)
    else:
        prompts = {"query": family.query_prefix} if family.query_prefix else {}
        write_json(folder / "config_sentence_transformers.json", {"prompts": prompts})
    return folder


def write_model(model_type: str, folder: Path) -> None:
    """Write weights of no meaning, and a tokenizer of letters, of that type."""
    import torch
    from transformers import AutoConfig, AutoModel

    roberta: dict[str, Any] = {
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    }  # fmt: skip
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type,
        vocab_size=_VOCAB,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=66,
        initializer_range=0.2,
        **({} if model_type == "bert" else roberta),
    )
    AutoModel.from_config(config).save_pretrained(folder)
    {"bert": _word_pieces, "roberta": _byte_level, "xlm-roberta": _unigram}[model_type](folder)


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def _word_pieces(folder: Path) -> None:
    from transformers import BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *_LETTERS, *(f"##{c}" for c in _LETTERS)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)


def _byte_level(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: i for i, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    _save_as_roberta(tokenizer, folder)


def _unigram(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *_LETTERS, "▁the", "er"]
    tokenizer = Tokenizer(
        models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=3)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    _save_as_roberta(tokenizer, folder)


def _save_as_roberta(tokenizer: Any, folder: Path) -> None:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", cls_token="<s>",
        sep_token="</s>", unk_token="<unk>", pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
