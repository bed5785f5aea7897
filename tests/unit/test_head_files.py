"""Heads go into the bundles they belong to, whole or not at all; the default one comes along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgepersona.bundle import Bundle, write_manifest
from edgepersona.errors import ExportError
from edgepersona.headfile import read_head
from edgepersona_export import head_files
from edgepersona_export.head_files import (
    default_head,
    put_head,
    renew_default_head,
    stage_default_head,
)
from tests import tiny, tiny_persona
from tests.tiny_persona import files, hashes, make


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle that says its models, and has no head."""
    made = tiny.write_empty_bundle(tmp_path / "bundle")
    kept = {k: v for k, v in made.manifest.items() if k != "files"}
    write_manifest(made.path, {**kept, "inputs": tiny_persona.INPUTS})
    return Bundle.open(made.path)


def write(folder: Path, seed: int = 0, **claims: str) -> Path:
    index, data = files(*make(seed), {**hashes(), **claims})
    folder.mkdir(parents=True)
    (folder / "head.json").write_text(json.dumps(index))
    (folder / "head.bin").write_bytes(data)
    return folder


def folders(bundle: Bundle) -> list[str]:
    return sorted(p.name for p in bundle.path.iterdir() if p.name.startswith("persona_head"))


def test_a_head_is_put_in_and_replaced(bundle: Bundle, tmp_path: Path) -> None:
    heads = [write(tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    found = []
    for head in heads:
        opened = put_head(bundle.path, head)
        opened.verify()
        found.append(read_head(opened).hash)
        assert len(folders(bundle)) == 1
        assert (opened.embedder_hash, opened.generator_hash) == (
            bundle.embedder_hash,
            bundle.generator_hash,
        )
    assert len(set(found)) == 3


def test_another_models_head_and_a_damaged_one_leave_the_bundle_as_it_was(
    bundle: Bundle, tmp_path: Path
) -> None:
    put_head(bundle.path, write(tmp_path / "good"))
    before = (bundle.path / "bundle.json").read_bytes()
    other = write(tmp_path / "other", 1, llm=tiny_persona.digest("another"))
    with pytest.raises(ExportError, match="was trained for another llm"):
        put_head(bundle.path, other)
    cut = write(tmp_path / "cut", 2)
    (cut / "head.bin").write_bytes(b"")
    with pytest.raises(ExportError, match=r"head\.bin has 0 bytes"):
        put_head(bundle.path, cut)
    with pytest.raises(ExportError, match="cannot be read"):
        put_head(bundle.path, tmp_path / "nowhere")
    assert (bundle.path / "bundle.json").read_bytes() == before
    Bundle.open(bundle.path).verify()


def test_a_damaged_file_of_the_bundle_is_not_made_good(bundle: Bundle, tmp_path: Path) -> None:
    tokenizer = bundle.path / "generator/tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes()[:-1] + b" ")
    opened = put_head(bundle.path, write(tmp_path / "head"))
    with pytest.raises(Exception, match=r"tokenizer\.json is damaged"):
        opened.verify()


def test_killed_before_the_manifest_was_written_the_old_head_is_there(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_head(put_head(bundle.path, write(tmp_path / "1", 1))).hash

    def killed(folder: Path, manifest: dict) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(head_files, "sign_manifest", killed)
        with pytest.raises(KeyboardInterrupt):
            put_head(bundle.path, write(tmp_path / "2", 2))
    opened = Bundle.open(bundle.path)
    opened.verify()
    assert read_head(opened).hash == first
    put_head(bundle.path, tmp_path / "2")
    assert read_head(Bundle.open(bundle.path)).hash != first


def test_the_default_head_is_that_of_the_bundles_models(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_files, "HEADS", tmp_path / "heads")
    assert default_head(bundle) is None
    write(tmp_path / "heads/a", llm=tiny_persona.digest("another"))
    assert default_head(bundle) is None
    assert stage_default_head(bundle.path) == {}
    fits = write(tmp_path / "heads/b")
    assert default_head(bundle) == fits
    entry = stage_default_head(bundle.path)
    assert entry == {"persona_head": {"path": "persona_head", "source": "default"}}
    manifest = {k: v for k, v in bundle.manifest.items() if k != "files"}
    write_manifest(bundle.path, manifest | entry)
    staged = Bundle.open(bundle.path)
    read_head(staged)
    plain = tiny.write_empty_bundle(tmp_path / "unnamed")
    assert default_head(plain) is None
    assert not renew_default_head(plain)


def test_a_kept_bundle_gets_the_default_head_and_a_newer_one_but_keeps_its_owners(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_files, "HEADS", tmp_path / "heads")
    assert not renew_default_head(bundle)
    write(tmp_path / "heads/default", 1)
    assert renew_default_head(bundle)
    first = Bundle.open(bundle.path)
    first_hash = read_head(first).hash
    assert not renew_default_head(first)
    shutil.rmtree(tmp_path / "heads/default")
    write(tmp_path / "heads/default", 2)
    assert renew_default_head(first)
    assert read_head(Bundle.open(bundle.path)).hash != first_hash
    own = put_head(bundle.path, write(tmp_path / "own", 3))
    assert not renew_default_head(own)
    assert read_head(Bundle.open(bundle.path)).hash == read_head(own).hash


def test_every_head_that_comes_along_says_what_it_was_trained_on() -> None:
    for index in head_files.HEADS.glob("*/head.json"):
        card = (index.parent / "README.md").read_text("utf-8")
        assert all(credit in card for credit in json.loads(index.read_text())["credits"])
