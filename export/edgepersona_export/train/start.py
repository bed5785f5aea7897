"""Begins a head with what another one learnt: one's own people then take fewer samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgepersona.bundle import Bundle
from edgepersona.errors import InputError
from edgepersona.headfile import ARRAYS, INDEX, HeadFile, read_files

if TYPE_CHECKING:
    from edgepersona_export.train.model import PersonaHead, Projector, Shape

_SIZES = ("before", "after", "pooled", "reads", "lead", "words", "inner", "adapted")


def read_start(folder: Path, shape: Shape, bundle: Bundle) -> HeadFile:
    """Read the head in ``folder``, for one of ``shape`` to begin with.

    Raises BundleError where the files are missing, damaged or of other models than the bundle's,
    InputError where the sizes differ; how many titles are read is none of them.
    """
    other = read_files(folder / INDEX, folder / ARRAYS, bundle)
    for name in _SIZES:
        mine, theirs = getattr(shape, name), getattr(other.shape, name)
        if mine != theirs:
            raise InputError(f"{folder}: has {name} {theirs}, this run {mine}: choose the same")
    # One title is read as another is, so their number may differ; without any, nothing reads them.
    if shape.reads_titles != other.shape.reads_titles:
        mine, theirs = shape.records, other.shape.records
        raise InputError(f"{folder}: has records {theirs}, this run {mine}: choose some, or none")
    return other


def check_only_beside(other: HeadFile | None, shape: Shape) -> None:
    """Raise InputError where there is no head, or what it says without records would change."""
    if other is None:
        raise InputError("only-beside leaves a head as it is: name it with start")
    if lost := [task for task in other.shape.tasks if task not in shape.tasks]:
        raise InputError(
            f"only-beside leaves a head as it is, which knows {', '.join(lost)} too: name all of "
            "its tasks; a file may stand there for several"
        )
    if shape.records != other.shape.records:
        raise InputError(
            f"only-beside leaves a head as it is, which has records {other.shape.records}, this "
            f"run {shape.records}: choose the same"
        )


@torch.no_grad()
def start_from(head: PersonaHead, other: HeadFile) -> None:
    """Give ``head`` the weights of ``other``; a task that it does not know begins as words."""
    _copy_tasks(head, other)
    if head.shape.pooled:
        head.log_scale.copy_(torch.tensor(other.scale).log())
        if head.shape.adapted:
            _copy(head.adapter, other.arrays["adapter"])
        _copy_projector(head.pool, "pool", other)
    if head.shape.reads_titles:
        _copy_projector(head.title, "title", other)


def _copy_tasks(head: PersonaHead, other: HeadFile) -> None:
    known = {task: row for row, task in enumerate(other.shape.tasks)}
    for name, tokens in head.by_task().items():
        for row, task in enumerate(head.shape.tasks):
            if task in known:
                _copy(tokens[row], other.arrays[name][known[task]])


def _copy_projector(projector: Projector, name: str, other: HeadFile) -> None:
    """Undo what was folded together when the head was written."""
    arrays = other.arrays
    _copy(projector.inner.weight, arrays[f"{name}_inner"] / projector.input_scale)
    _copy(projector.inner.bias, arrays[f"{name}_bias"])
    _copy(projector.outer.weight, arrays[f"{name}_outer"] / projector.output_scale)
    _copy(projector.gain, arrays[f"{name}_gain"][:, None])
    _copy(projector.offset, arrays[f"{name}_offset"])
    projector.offset.sub_(projector.get_buffer("centre"))


def _copy(to: Tensor, array: NDArray[np.float32]) -> None:
    to.copy_(torch.from_numpy(array))
