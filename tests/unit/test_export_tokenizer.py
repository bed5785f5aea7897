"""Tokenizers come through the export exactly, from a folder or from GGUF metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from edgepersona.errors import ExportError
from edgepersona_export.presets import resolve
from edgepersona_export.tokenizer import write_tokenizer

TEXTS = [
    "Hello, world",
    "  two  spaces\t\n\n  and\r\nlines ",
    "in 2024, ٣٤ and ½ and Ⅷ",
    "it's WE'LL I'd",
    "naïve café e\u0301 ß",
    "def f(x):\n    return x ** 2  # ok",
    "日本語のテキスト 漢字",
    "🙂👩‍👩‍👧 🇩🇪",
    "▁keeps ▁ this",
    "\x00\u200b\ufeff",
    "",
]


def _gguf(path: Path, *, kind: str = "gpt2", pre: str = "smollm", **extra: Any) -> Path:
    gguf = pytest.importorskip("gguf", reason="export extra is not installed")
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*control, *letters, "he", "12", "<tool>"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(letters) + 2) + [4])
    writer.add_token_merges(["h e", "1 2"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if "add_bos" in extra:
        writer.add_add_bos_token(extra["add_bos"])
    if "template" in extra:
        writer.add_chat_template(extra["template"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _load(out: Path) -> Tokenizer:
    return Tokenizer.from_file(str(out / "tokenizer.json"))


@pytest.mark.parametrize("pre", ["smollm", "default", "gpt-2", "qwen2", "llama-bpe"])
def test_text_comes_back_exactly(tmp_path: Path, pre: str) -> None:
    write_tokenizer(_gguf(tmp_path / "m.gguf", pre=pre), tmp_path)
    tokenizer = _load(tmp_path)
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


def test_smollm_splits_digits_and_gpt2_does_not(tmp_path: Path) -> None:
    for pre, tokens in (("smollm", ["1", "2"]), ("gpt-2", ["12"])):
        write_tokenizer(_gguf(tmp_path / "m.gguf", pre=pre), tmp_path)
        assert _load(tmp_path).encode("12").tokens == tokens


def test_special_tokens_are_single_ids_and_none_is_added(tmp_path: Path) -> None:
    write_tokenizer(_gguf(tmp_path / "m.gguf"), tmp_path)
    encoding = _load(tmp_path).encode("<|im_start|>he<tool><|im_end|>", add_special_tokens=True)
    assert encoding.tokens == ["<|im_start|>", "he", "<tool>", "<|im_end|>"]


def test_only_control_tokens_are_left_out_when_decoding(tmp_path: Path) -> None:
    write_tokenizer(_gguf(tmp_path / "m.gguf"), tmp_path)
    tokenizer = _load(tmp_path)
    ids = tokenizer.encode("<|im_start|>he<tool>").ids
    assert tokenizer.decode(ids) == "he<tool>"


def test_info_names_special_tokens_and_template(tmp_path: Path) -> None:
    info = write_tokenizer(_gguf(tmp_path / "m.gguf", template="{{ x }}", add_bos=True), tmp_path)
    assert (info.bos_id, info.bos_token) == (1, "<|im_start|>")
    assert (info.eos_id, info.eos_token) == (2, "<|im_end|>")
    assert info.stop_ids == (2, 0)
    assert info.chat_template == "{{ x }}"
    assert info.add_bos
    assert info.vocab_size == 3 + 256 + 3


def test_file_that_does_not_ask_for_bos_gets_none(tmp_path: Path) -> None:
    assert not write_tokenizer(_gguf(tmp_path / "m.gguf"), tmp_path).add_bos
    assert write_tokenizer(_gguf(tmp_path / "l.gguf", pre="llama-bpe"), tmp_path).add_bos


def test_unsupported_kinds_name_the_supported_ones(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="'llama'; supported: 'gpt2'"):
        write_tokenizer(_gguf(tmp_path / "m.gguf", kind="llama"), tmp_path)
    with pytest.raises(ExportError, match="'bloom' is not supported; supported: default, gpt-2"):
        write_tokenizer(_gguf(tmp_path / "m.gguf", pre="bloom"), tmp_path)


def test_file_that_is_no_gguf_is_said(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="export extra is not installed")
    path = tmp_path / "m.gguf"
    path.write_bytes(b"not a model at all, but long enough to be read as one" * 4)
    with pytest.raises(ExportError, match="cannot be read as GGUF"):
        write_tokenizer(path, tmp_path)


def _hf_folder(path: Path, config: dict[str, Any]) -> Path:
    path.mkdir()
    vocab = {"[UNK]": 0, "<s>": 1, "<|im_end|>": 2, "hello": 3}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(8)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def test_folder_keeps_its_tokenizer_without_padding_and_truncation(tmp_path: Path) -> None:
    write_tokenizer(_hf_folder(tmp_path / "m", {}), tmp_path / "out")
    assert _load(tmp_path / "out").encode("hello " * 20).ids == [3] * 20


@pytest.mark.parametrize("template", ["T", [{"name": "default", "template": "T"}]])
def test_folder_info_comes_from_its_config(tmp_path: Path, template: object) -> None:
    config = {"bos_token": "<s>", "eos_token": {"content": "<s>"}, "chat_template": template}
    info = write_tokenizer(_hf_folder(tmp_path / "m", config), tmp_path / "out")
    assert (info.bos_id, info.eos_id, info.stop_ids) == (1, 1, (1, 2))
    assert info.chat_template == "T"


def test_folder_template_may_be_a_file(tmp_path: Path) -> None:
    folder = _hf_folder(tmp_path / "m", {})
    (folder / "chat_template.jinja").write_text("J")
    assert write_tokenizer(folder, tmp_path / "out").chat_template == "J"


def test_damaged_folder_is_said(tmp_path: Path) -> None:
    folder = _hf_folder(tmp_path / "m", {})
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ExportError, match=r"tokenizer\.json: cannot be read"):
        write_tokenizer(folder, tmp_path / "out")


def test_smollm2_encodes_as_llama_cpp_does(tmp_path: Path) -> None:
    try:
        source = resolve().llm
    except ExportError as error:
        pytest.skip(str(error))
    pytest.importorskip("gguf", reason="export extra is not installed")
    info = write_tokenizer(source, tmp_path)
    tokenizer = _load(tmp_path)
    assert (info.eos_token, info.add_bos, info.stop_ids) == ("<|im_end|>", False, (2, 0))
    # What llama.cpp gives for these.
    for text, ids in REFERENCE:
        assert tokenizer.encode(text).ids == ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text


REFERENCE: list[tuple[str, list[int]]] = [
    ("<|im_start|>user\nhi<|im_end|>\n", [1, 4093, 198, 6004, 2, 198]),
    ("in 2024, ½", [254, 216, 34, 32, 34, 36, 28, 216, 16738]),
    ("it's WE'LL", [269, 506, 26587, 23, 16421]),
    ("  two\n\n  x", [216, 827, 8866, 1792]),
    ("▁é漢🙂", [11007, 219, 2756, 177, 137, 112, 10813, 38887]),
]
