"""Write a model's tokenizer as the ``tokenizer.json`` that the runtime reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepersona.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tokenizers import Tokenizer

_END_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
)

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
# tokenizer.ggml.pre → the regex that splits before bytes are mapped; "": GPT-2's, built in.
_SPLITS = {"default": "", "gpt-2": "", "smollm": "", "llama-bpe": _LLAMA3, "qwen2": _QWEN2}
_SINGLE_DIGITS = ("smollm",)

_CONTROL, _USER_DEFINED = 3, 4  # GGUF token types


@dataclass(frozen=True)
class TokenizerInfo:
    """What the manifest keeps of a tokenizer; -1 and "" where there is no such token."""

    vocab_size: int
    bos_id: int
    bos_token: str
    eos_id: int
    eos_token: str
    add_bos: bool  # the model expects a BOS before the text; tokenizer.json never adds it
    chat_template: str
    stop_ids: tuple[int, ...]


def write_tokenizer(source: Path, out: Path) -> TokenizerInfo:
    """Write the tokenizer of ``source``, a model folder or a GGUF file, as ``out/tokenizer.json``.

    Raises ExportError where the tokenizer is of a kind that cannot be written exactly.
    """
    build = _from_gguf if source.suffix == ".gguf" else _from_folder
    tokenizer, facts = build(source)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    return _info(tokenizer, **facts)


def _info(
    tokenizer: Tokenizer, bos: str, eos: str, add_bos: bool, chat_template: str
) -> TokenizerInfo:
    def id_of(token: str) -> int:
        found = tokenizer.token_to_id(token) if token else None
        return -1 if found is None else found

    stops = (id_of(token) for token in (eos, *_END_OF_TURN))
    return TokenizerInfo(
        vocab_size=tokenizer.get_vocab_size(with_added_tokens=True),
        bos_id=id_of(bos),
        bos_token=bos,
        eos_id=id_of(eos),
        eos_token=eos,
        add_bos=add_bos,
        chat_template=chat_template,
        stop_ids=tuple(dict.fromkeys(i for i in stops if i >= 0)),
    )


def _from_folder(folder: Path) -> tuple[Tokenizer, dict[str, Any]]:
    from tokenizers import Tokenizer

    config = _read_json(folder / "tokenizer_config.json")
    if (folder / "tokenizer.json").is_file():
        try:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the library raises plain Exception
            raise ExportError(f"{folder / 'tokenizer.json'}: cannot be read: {error}") from error
    else:
        tokenizer = _converted(folder)
    template = config.get("chat_template") or ""
    if isinstance(template, list):  # several, by name
        named = {t.get("name"): t.get("template", "") for t in template if isinstance(t, dict)}
        template = named.get("default", "")
    if not template and (folder / "chat_template.jinja").is_file():
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    return tokenizer, {
        "bos": _token_text(config.get("bos_token")),
        "eos": _token_text(config.get("eos_token")),
        "add_bos": config.get("add_bos_token") is True,
        "chat_template": template,
    }


def _converted(folder: Path) -> Tokenizer:
    """Let transformers build the fast form of an older tokenizer."""
    from transformers import AutoTokenizer

    try:
        slow = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True)
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ExportError(f"{folder}: no tokenizer.json, and none can be made: {reason}") from error
    if not getattr(slow, "is_fast", False):
        raise ExportError(
            f"{folder}: no tokenizer.json, and {type(slow).__name__} has no fast form"
        )
    tokenizer: Tokenizer = slow.backend_tokenizer
    return tokenizer


def _token_text(token: object) -> str:
    """Return a special token's text: configs hold a string, an object, or null."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path}: not valid JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _from_gguf(path: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """Build the tokenizer from GGUF metadata.

    By our own hand: transformers 4.57 drops the pre-tokenizer, adds a BOS that the file says not
    to add, and decodes "▁" in a text as a space.
    """
    fields = _read_gguf(path)
    model = fields.get("tokenizer.ggml.model", "")
    if model != "gpt2":
        raise ExportError(f"{path}: its tokenizer is of kind {model!r}; supported: 'gpt2' (BPE)")
    pre = fields.get("tokenizer.ggml.pre", "default")
    if pre not in _SPLITS:
        known = ", ".join(_SPLITS)
        raise ExportError(f"{path}: pre-tokenizer {pre!r} is not supported; supported: {known}")
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    types: list[int] = fields.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    tokenizer = _byte_level_bpe(tokens, types, fields.get("tokenizer.ggml.merges", []), pre)

    def text_of(key: str) -> str:
        index = fields.get(f"tokenizer.ggml.{key}_token_id", -1)
        return tokens[index] if 0 <= index < len(tokens) else ""

    return tokenizer, {
        "bos": text_of("bos"),
        "eos": text_of("eos"),
        # llama.cpp adds a BOS for llama-bpe where the file is silent.
        "add_bos": bool(fields.get("tokenizer.ggml.add_bos_token", pre == "llama-bpe")),
        "chat_template": fields.get("tokenizer.chat_template", ""),
    }


def _read_gguf(path: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ExportError(f"{path}: cannot be read as GGUF: {error}") from error
    fields = {
        name: field.contents()
        for name, field in reader.fields.items()
        if name.startswith("tokenizer.")
    }
    if "tokenizer.ggml.tokens" not in fields:
        raise ExportError(f"{path}: holds no tokenizer; use a GGUF file that does")
    return fields


def _byte_level_bpe(
    tokens: list[str], types: list[int], merges: Iterable[str], pre: str
) -> Tokenizer:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    pairs = [(left, right) for left, _, right in (m.partition(" ") for m in merges)]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=pairs,
            ignore_merges=pre == "llama-bpe",  # a whole word that is a token stays one
        )
    )
    split = _SPLITS[pre]
    steps: list[Any] = []
    if pre in _SINGLE_DIGITS:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    if split:
        steps.append(pre_tokenizers.Split(Regex(split), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    for kind, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        added = [
            AddedToken(token, normalized=False, special=special)
            for token, its_kind in zip(tokens, types, strict=True)
            if its_kind == kind
        ]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(added)
    return tokenizer
