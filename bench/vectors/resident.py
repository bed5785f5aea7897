"""How much memory a process holds by itself."""

from __future__ import annotations

from pathlib import Path

from edgepersona_export.train.memory import give_back

_STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Return the resident bytes that are not a mapped file's; with those where it cannot be told.

    What the allocator keeps of freed memory is given back first, as far as it can be.
    """
    give_back()
    if not _STATUS.exists():
        import psutil

        return int(psutil.Process().memory_info().rss)
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return 1024 * sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem"))
