"""The state of a run on disk: what a stopped one goes on from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edgepersona.errors import InputError


def save(file: Path, *, step: int, recipe: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint; one that was there before is whole until this one is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    torch.save({"step": step, "recipe": digest(recipe), **state}, partial)
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(file)


def load(file: Path, *, recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the checkpoint of a run by this recipe; None where there is none.

    Raises InputError where it is damaged, or of another recipe: models, data and options make one.
    """
    if not file.exists():
        return None
    try:
        found: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        made_by = found["recipe"]
    # torch raises RuntimeError, EOFError, KeyError, pickle's errors and more for a broken file.
    except Exception as error:
        raise InputError(
            f"{file}: is no checkpoint that can be read; remove it, or train without --resume"
        ) from error
    if made_by != digest(recipe):
        raise InputError(
            f"{file}: is of a run with other models, data or options; repeat those, or train "
            "without --resume"
        )
    return found


def digest(recipe: Mapping[str, Any]) -> str:
    """Name a recipe by its content."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
