"""The folder that a run writes to: for one run at a time, without what a killed one left."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgepersona.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def held_folder(out: Path) -> Iterator[Path]:
    """Make ``out`` where it is missing, and hold it; yields a folder in it that goes afterwards."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{out}: cannot be made a folder: {error.strerror}") from None
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{out}: another run writes to it: wait for its end, or take another folder"
            ) from None
        profiles = out / "profiles"
        shutil.rmtree(profiles, ignore_errors=True)
        try:
            profiles.mkdir()
            yield profiles
        finally:
            shutil.rmtree(profiles, ignore_errors=True)
    finally:
        os.close(held)
