"""A private, personal language model on the user's own machine.

>>> from edgepersona import Profile, Record, Task
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgepersona.bundle import Bundle as Bundle
    from edgepersona.errors import BundleError as BundleError
    from edgepersona.errors import EdgePersonaError as EdgePersonaError
    from edgepersona.errors import ExportError as ExportError
    from edgepersona.errors import InputError as InputError
    from edgepersona.errors import ProfileError as ProfileError
    from edgepersona.profile import Profile as Profile
    from edgepersona.records import Filter as Filter
    from edgepersona.records import Record as Record
    from edgepersona.records import Task as Task
    from edgepersona.sampling import SamplingParams as SamplingParams

__version__ = "0.1.0"

# Looked up when first used, so that importing edgepersona costs an application next to nothing.
_HOMES = {
    "Bundle": "bundle",
    "BundleError": "errors",
    "EdgePersonaError": "errors",
    "ExportError": "errors",
    "Filter": "records",
    "InputError": "errors",
    "Profile": "profile",
    "ProfileError": "errors",
    "Record": "records",
    "SamplingParams": "sampling",
    "Task": "records",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(f"edgepersona.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'edgepersona' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
