"""``edgepersona profile``: look at a profile, and carry its records out and in."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from edgepersona.cli.options import (
    add_bundle_option,
    add_command,
    add_filter_options,
    add_json_option,
    add_profile_options,
    as_json,
    chosen_filter,
    open_profile,
    open_store,
    positive,
    read_key,
)
from edgepersona.cli.records import show_record
from edgepersona.cli.terminal import note, one_line, say, say_json, say_json_list, table

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from edgepersona.cli.options import Commands
    from edgepersona.store import Store


def register(commands: Commands) -> None:
    """Add the command and its own."""
    parser = add_command(
        commands,
        "profile",
        _show_help,
        summary="show, list, export or import what a profile holds",
        example="edgepersona profile show",
    )
    own = parser.add_subparsers(metavar="COMMAND", title="commands")

    show = add_command(
        own,
        "show",
        _show,
        summary="say what a profile holds, in numbers",
        example="edgepersona profile show --json",
    )
    add_profile_options(show)
    add_json_option(show)

    list_ = add_command(
        own,
        "list",
        _list,
        summary="list records, the newest first",
        example="edgepersona profile list --kind mail --limit 20",
    )
    list_.add_argument("--limit", type=positive, metavar="N", help="at most so many")
    add_filter_options(list_)
    add_profile_options(list_)
    add_json_option(list_)

    export = add_command(
        own,
        "export",
        _export,
        summary="write all records as JSON lines, in plain text even if the profile is encrypted",
        example="edgepersona profile export backup.jsonl",
    )
    export.add_argument("file", metavar="FILE", help="'-': write to stdout")
    add_profile_options(export)

    import_ = add_command(
        own,
        "import",
        _import,
        summary="read records that 'profile export' wrote, with their ids",
        example="edgepersona profile import backup.jsonl",
    )
    import_.add_argument("file", type=Path, metavar="FILE")
    add_profile_options(import_)
    add_bundle_option(import_)
    add_json_option(import_)


def _show_help(args: argparse.Namespace) -> int:
    args.parser.print_help(sys.stderr)
    return 2


def _show(args: argparse.Namespace) -> int:
    with closing(open_store(args)) as store:
        # A key never opens a plain profile: one that was opened with a key is encrypted.
        facts = _facts(store, encrypted=read_key(args.key_file) is not None)
    if args.json:
        say_json(facts)
        return 0
    dates = facts["dates"]
    say(
        table(
            [
                ("profile", facts["path"]),
                ("records", f"{facts['records']:,}"),
                ("size", _size(facts["size_bytes"])),
                ("dates", " … ".join(d for d in (dates["first"], dates["last"]) if d)),
                ("kinds", _counts(facts["kinds"])),
                ("sources", _counts(facts["sources"])),
                ("encrypted", "yes" if facts["encrypted"] else "no"),
                ("embedder", facts["embedder_hash"][:12]),
                ("generation", str(facts["generation"])),
            ]
        )
    )
    return 0


def _facts(store: Store, *, encrypted: bool) -> dict[str, Any]:
    kinds: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    first = last = ""
    for record in store.records():
        kinds[record.kind] += 1
        sources[record.source] += 1
        if record.date:  # the newest come first
            first, last = record.date, last or record.date
    return {
        "path": str(store.path),
        "records": kinds.total(),
        "size_bytes": size_bytes(store.path),
        "generation": store.generation,
        "embedder_hash": store.embedder_hash,
        "dates": {"first": first, "last": last},
        "kinds": dict(kinds.most_common()),
        "sources": dict(sources.most_common()),
        "encrypted": encrypted,
    }


def size_bytes(path: Path) -> int:
    """Return the size of a profile's file and of its journal."""
    files = (path, path.with_name(f"{path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _list(args: argparse.Namespace) -> int:
    chosen = chosen_filter(args)
    with closing(open_store(args)) as store:
        records = store.records(chosen, limit=args.limit)
        if args.json:
            say_json_list("records", map(as_json, records))
        else:
            for record in records:
                say(show_record(record))
    return 0


def _export(args: argparse.Namespace) -> int:
    from edgepersona.cli.backup import write_backup

    with closing(open_store(args)) as store:
        count = write_backup(store.records(newest_first=False), args.file)
    if args.file != "-":
        note(f"{count:,} records written to {args.file}")
    return 0


def _import(args: argparse.Namespace) -> int:
    from edgepersona.cli.backup import check_backup, load_backup

    total = check_backup(args.file)
    with open_profile(args, create=True) as profile:
        added = load_backup(profile, args.file, total)
    if args.json:
        say_json({"added": added, "unchanged": total - added})
    else:
        say(f"{added:,} added, {total - added:,} unchanged")
    return 0


def _counts(counts: dict[str, int]) -> str:
    shown = [f"{one_line(name, 60) or '(none)'} {n:,}" for name, n in list(counts.items())[:8]]
    more = [f"{len(counts) - 8:,} more"] if len(counts) > 8 else []
    return " · ".join(shown + more)


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"
