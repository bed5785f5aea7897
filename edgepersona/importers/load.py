"""Carry a source into a profile, in batches, so that a second run adds only what is new."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from edgepersona.errors import InputError
from edgepersona.importers.items import Item, bad
from edgepersona.importers.kinds import read, size_hint

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from edgepersona.records import AddResult, Record

_MAX_ERRORS_KEPT = 10
# Ids that name the same thing wherever it is read from; others are unique in their source only.
_WORLDWIDE_IDS = ("folder:", "git:", "mbox:")


class ImportTarget(Protocol):
    """What an import needs of a profile."""

    def add(self, records: Iterable[Record], /) -> AddResult: ...
    def update(self, record: Record, /) -> None: ...
    def get(self, ids: Sequence[str], /) -> list[Record]: ...


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did; ``errors`` are the first ten reasons why an item was skipped."""

    added: int
    unchanged: int
    skipped: int
    errors: tuple[str, ...]
    total: int
    updated: int = 0


def import_into(
    profile: ImportTarget,
    path: str | os.PathLike[str],
    *,
    kind: str = "auto",
    user: str | None = None,
    author: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    batch: int = 64,
) -> ImportReport:
    """Add the records of a source to a profile; update those whose content changed since.

    Each batch is stored before the next is read: interrupted, an import keeps what it had, and
    run again it adds the rest. What is there already is not embedded again. ``progress`` is
    called with the position reached and the size of the source, where that is cheap to know.
    """
    if batch < 1:
        raise InputError(f"batch is {batch}, expected 1 or more")
    items = read(path, kind=kind, user=user, author=author)
    size = size_hint(path, kind, user=user, author=author) if progress else None
    load = _Load(profile)
    pending: dict[str, Item] = {}
    for item in items:
        record = item.record
        if record is None:
            load.skip(item)
        elif record.id in pending and pending[record.id].record == record:
            load.unchanged += 1
        else:
            if record.id in pending or len(pending) == batch:
                load.store(pending)
                pending = {}
            pending[record.id] = item
        if progress:
            progress(item.position, size)
    load.store(pending)
    return load.report()


@dataclass(slots=True)
class _Load:
    """One import under way: what was counted so far, and which ids this run has met."""

    profile: ImportTarget
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    errors: list[str] = field(default_factory=list)
    met: set[str] = field(default_factory=set)

    def skip(self, item: Item) -> None:
        self.skipped += 1
        if len(self.errors) < _MAX_ERRORS_KEPT:
            self.errors.append(item.error)

    def store(self, pending: dict[str, Item]) -> None:
        stored = _stored(self.profile, list(pending))
        new: list[Record] = []
        for record_id, item in pending.items():
            record, old = item.record, stored.get(record_id)
            assert record is not None
            if old is None:
                new.append(record)
            elif _same(old, record):
                self.unchanged += 1
            elif record_id in self.met:
                self.skip(_clash(item, "an earlier one in this source"))
            elif old.source != record.source and not record.source.startswith(_WORLDWIDE_IDS):
                self.skip(_clash(item, f"a record from {old.source or 'elsewhere'}"))
            else:
                self.profile.update(record)
                self.updated += 1
        if new:
            added = self.profile.add(new).new
            self.added += added
            self.unchanged += len(new) - added
        self.met.update(pending)

    def report(self) -> ImportReport:
        return ImportReport(
            added=self.added,
            unchanged=self.unchanged,
            skipped=self.skipped,
            errors=tuple(self.errors),
            total=self.added + self.updated + self.unchanged + self.skipped,
            updated=self.updated,
        )


def _stored(profile: ImportTarget, ids: list[str]) -> dict[str, Record]:
    """Return those of ``ids`` that the profile holds."""
    try:
        return {record.id: record for record in profile.get(ids)}
    except InputError:  # at least one is new
        pass
    found: dict[str, Record] = {}
    for record_id in ids:
        try:
            found[record_id] = profile.get([record_id])[0]
        except InputError:
            continue
    return found


def _same(old: Record, new: Record) -> bool:
    """Whether nothing changed that is worth embedding again."""
    # A note's date is its file's: a copy or a checkout moves it and leaves the note as it was.
    dated = new.kind == "note" or old.date == new.date
    return dated and (old.text, old.title) == (new.text, new.title)


def _clash(item: Item, holder: str) -> Item:
    assert item.record is not None
    reason = f"id {item.record.id!r} belongs to {holder} with another content: give it its own id"
    return bad(reason, item.position, f"item {item.position}")
