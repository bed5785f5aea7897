"""A bundle is used only as it was exported: whole, unchanged, and inside its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgepersona.bundle import Bundle, write_manifest
from edgepersona.errors import BundleError
from tests.tiny import EMBEDDER, GENERATOR

FILES = {"embedder/model.onnx": b"graph", "generator/embeddings.q8": b"\0" * 8}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(content)
    write_manifest(folder, {"embedder": EMBEDDER, "generator": GENERATOR})
    return folder


def _rewrite(folder: Path, **changes: object) -> None:
    """Write a manifest that is sound in its own hash, whatever it says."""
    manifest = {"embedder": EMBEDDER, "generator": GENERATOR, **changes}
    write_manifest(folder, manifest)


def test_a_whole_bundle_verifies(folder: Path) -> None:
    bundle = Bundle.open(folder)
    bundle.verify()
    assert bundle.file("embedder/model.onnx").read_bytes() == b"graph"


@pytest.mark.parametrize("name", list(FILES))
def test_a_changed_byte_is_found_and_the_file_named(folder: Path, name: str) -> None:
    content = bytearray(FILES[name])
    content[0] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} is damaged"):
        Bundle.open(folder).verify()


def test_every_changed_byte_of_the_manifest_is_found(folder: Path) -> None:
    file = folder / "bundle.json"
    content = file.read_bytes()
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 1
        file.write_bytes(changed)
        # White space may change without meaning; all else must not pass.
        if json.loads(content) != _lenient(changed):
            with pytest.raises(BundleError):
                Bundle.open(folder)


def _lenient(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_a_missing_or_cut_file_is_found_at_opening(folder: Path) -> None:
    (folder / "embedder/model.onnx").write_bytes(b"gra")
    with pytest.raises(BundleError, match="has 3 bytes, expected 5"):
        Bundle.open(folder)
    (folder / "embedder/model.onnx").unlink()
    with pytest.raises(BundleError, match=r"embedder/model\.onnx is missing"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "embedder/../../secret"])
def test_a_path_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["files"] = {name: {"sha256": "0", "size_bytes": 1}}
    _forge(folder, manifest)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        Bundle.open(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"graph")
    (folder / "embedder/model.onnx").unlink()
    (folder / "embedder/model.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="leads out of the bundle"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"embedder": None}, "embedder: expected an object, found nothing"),
        ({"embedder": {**EMBEDDER, "ndim": "32"}}, "embedder.ndim: expected a whole number"),
        ({"embedder": {**EMBEDDER, "ndim": -1}}, "embedder.ndim: expected a whole number"),
        ({"generator": {**GENERATOR, "stop_tokens": 1}}, "generator.stop_tokens: expected a list"),
        ({"generator": {**GENERATOR, "variants": [1]}}, r"variants\[0\]: expected an object"),
        ({"generator": {}}, "generator.source: expected a text, found nothing"),
    ],
)
def test_a_manifest_of_the_wrong_shape_names_the_field(
    folder: Path, changes: dict[str, object], where: str
) -> None:
    _rewrite(folder, **changes)
    with pytest.raises(BundleError, match=where):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"format": 99}', b"[" * 9999]
)
def test_a_file_that_is_no_manifest_is_a_bundle_error(folder: Path, content: bytes) -> None:
    (folder / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle.open(folder)


def test_hashes_tell_an_embedder_and_a_generator_apart(folder: Path) -> None:
    before = Bundle.open(folder)
    (folder / "generator/embeddings.q8").write_bytes(b"\1" * 8)
    _rewrite(folder)
    after = Bundle.open(folder)
    assert after.embedder_hash == before.embedder_hash
    assert after.generator_hash != before.generator_hash


def test_a_bundle_may_be_moved(folder: Path, tmp_path: Path) -> None:
    before = Bundle.open(folder).embedder_hash
    shutil.move(folder, tmp_path / "elsewhere")
    assert Bundle.open(tmp_path / "elsewhere").embedder_hash == before


def _forge(folder: Path, manifest: dict[str, object]) -> None:
    from edgepersona import bundle

    manifest.pop("sha256")
    manifest["sha256"] = bundle._digest(manifest)
    (folder / "bundle.json").write_text(json.dumps(manifest))
