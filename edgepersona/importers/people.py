"""Whose words these are: one user of many, one author of many."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgepersona.errors import InputError
from edgepersona.importers.items import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_NAMED = 5
_MAX_COUNTED = 10_000


def refuse_several(names: Iterable[str], *, where: str, option: str) -> None:
    """Raise InputError where ``names`` holds more than one, and say how to choose."""
    found: dict[str, None] = {}
    for name in names:
        found[name] = None
        if len(found) > _MAX_NAMED:
            break
    if len(found) > 1:
        raise InputError(
            f"{one_line(where)}: holds texts of several people ({_listed(found)}): "
            f"choose one with {option}"
        )


def is_by(author: str, name: str, address: str) -> bool:
    """Whether ``author`` is this name, this address, or both as ``Name <address>``."""
    wanted = " ".join(author.split()).casefold()
    name, address = " ".join(name.split()).casefold(), address.strip().casefold()
    return bool(wanted) and wanted in (name, address, f"{name} <{address}>")


class Others:
    """The people passed over, so that a name that matched nobody can be set right."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Count one; names beyond the first ten thousand are left out."""
        if name in self._seen or len(self._seen) < _MAX_COUNTED:
            self._seen[name] += 1

    def refuse(self, wanted: str, *, where: str, option: str) -> None:
        """Raise InputError: nothing here is by ``wanted``; name those who wrote most."""
        if not self._seen:
            return
        most = [name for name, _ in self._seen.most_common(_MAX_NAMED + 1)]
        raise InputError(
            f"{one_line(where)}: nothing here is by {one_line(repr(wanted))}; "
            f"found {_listed(most)}: choose one with {option}"
        )


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    listed = ", ".join(one_line(name)[:60] for name in shown[:_MAX_NAMED])
    return listed + (", …" if len(shown) > _MAX_NAMED else "")
