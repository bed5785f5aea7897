"""Real files to records: jsonl, mbox, folder, git, lamp, chat."""

from edgepersona.importers.items import Item
from edgepersona.importers.kinds import KINDS, detect, read, size_hint
from edgepersona.importers.load import ImportReport, ImportTarget, import_into

__all__ = [
    "KINDS",
    "ImportReport",
    "ImportTarget",
    "Item",
    "detect",
    "import_into",
    "read",
    "size_hint",
]
