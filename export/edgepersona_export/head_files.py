"""Puts written persona heads into bundles: one that was trained, or the one that comes along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from edgepersona.bundle import Bundle, file_entry, sign_manifest
from edgepersona.errors import BundleError, ExportError
from edgepersona.headfile import ARRAYS, INDEX, model_hashes, read_files

HEADS = Path(__file__).with_name("heads")
"""A folder each, with the card that says what a head was trained on."""

_FOLDER = "persona_head"
_DEFAULT = "default"


def put_head(bundle: Path, head: Path, *, source: str = "") -> Bundle:
    """Put the head in the folder ``head`` into a bundle, in place of one that it may have.

    Raises ExportError where it is damaged or belongs to other models; the bundle is then untouched.
    Killed at any moment, the bundle is whole, with the old head or the new one.
    """
    opened = Bundle.open(bundle)
    try:
        read_files(head / INDEX, head / ARRAYS, opened)
    except BundleError as error:
        raise ExportError(str(error)) from error
    old = opened.persona_head.path if opened.persona_head else ""
    path = _FOLDER if old != _FOLDER else f"{_FOLDER}-{file_entry(head / INDEX)['sha256'][:8]}"
    manifest = {**opened.manifest, "persona_head": _described(path, source)}
    manifest["files"] = _without(opened, old) | _copy(head, bundle, path)
    sign_manifest(bundle, manifest)
    if old:
        shutil.rmtree(bundle / old, ignore_errors=True)
    return Bundle.open(bundle)


def default_head(bundle: Bundle) -> Path | None:
    """Return the head that comes along for the bundle's models, None where there is none."""
    try:
        wanted = model_hashes(bundle)
    except BundleError:  # of models that nobody named
        return None
    for index in sorted(HEADS.glob(f"*/{INDEX}")):
        claimed = json.loads(index.read_text("utf-8"))
        if all(claimed.get(part) == value for part, value in wanted.items()):
            return index.parent
    return None


def stage_default_head(stage: Path) -> dict[str, Any]:
    """Put the default head, if there is one, into a bundle in the making; return its entry."""
    head = default_head(bundle := Bundle.open(stage))
    if head is None:
        return {}
    read_files(head / INDEX, head / ARRAYS, bundle)
    _copy(head, stage, _FOLDER)
    return {"persona_head": _described(_FOLDER, _DEFAULT)}


def renew_default_head(bundle: Bundle) -> bool:
    """Put the default head into a bundle that has none, or an older one; say whether it was so.

    One that somebody trained is theirs to replace.
    """
    described = bundle.manifest.get("persona_head")
    if described is not None and described.get("source") != _DEFAULT:
        return False
    head = default_head(bundle)
    if head is None or (bundle.persona_head and _same(bundle, head)):
        return False
    put_head(bundle.path, head, source=_DEFAULT)
    return True


def _same(bundle: Bundle, head: Path) -> bool:
    assert bundle.persona_head is not None
    files = bundle.manifest["files"]
    names = {name: f"{bundle.persona_head.path}/{name}" for name in (INDEX, ARRAYS)}
    return all(files.get(name) == file_entry(head / own) for own, name in names.items())


def _described(path: str, source: str) -> dict[str, str]:
    return {"path": path, **({"source": source} if source else {})}


def _without(bundle: Bundle, folder: str) -> dict[str, Any]:
    """Return the entries of a bundle's files, but for those of a folder."""
    entries: dict[str, Any] = bundle.manifest["files"]
    return {k: v for k, v in entries.items() if not (folder and k.startswith(f"{folder}/"))}


def _copy(head: Path, bundle: Path, folder: str) -> dict[str, Any]:
    shutil.rmtree(bundle / folder, ignore_errors=True)
    (bundle / folder).mkdir()
    entries = {}
    for name in (INDEX, ARRAYS):
        shutil.copyfile(head / name, bundle / folder / name)
        entries[f"{folder}/{name}"] = file_entry(bundle / folder / name)
    return entries
