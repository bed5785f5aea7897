"""``edgepersona forget``: remove records and every trace of them."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from edgepersona.cli.options import (
    add_command,
    add_json_option,
    add_profile_options,
    open_store,
    utf8,
)
from edgepersona.cli.records import show_record
from edgepersona.cli.terminal import say, say_json
from edgepersona.errors import InputError

if TYPE_CHECKING:
    import argparse

    from edgepersona.cli.options import Commands
    from edgepersona.records import Record
    from edgepersona.store import Store


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "forget",
        _run,
        summary="remove records and every trace of them from the profile",
        example="edgepersona forget 3f2a91c04b7de812 --dry-run",
    )
    parser.add_argument("ids", nargs="+", type=utf8, metavar="ID", help="as 'search' prints it")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    add_profile_options(parser)
    add_json_option(parser)


def _run(args: argparse.Namespace) -> int:
    with closing(open_store(args)) as store:
        records = _found(store, list(dict.fromkeys(args.ids)))
        if not args.dry_run:
            store.delete([record.id for record in records])
    if args.json:
        ids = [record.id for record in records]
        say_json({"ids": ids, "forgotten": 0 if args.dry_run else len(ids)})
        return 0
    for record in records:
        say(f"{'would forget' if args.dry_run else 'forgot'}  {show_record(record)}")
    return 0


def _found(store: Store, ids: list[str]) -> list[Record]:
    records, unknown = [], []
    for name in ids:
        try:
            records += store.get([name])
        except InputError:
            unknown.append(name)
    if unknown:
        raise InputError(f"no record has the id {', '.join(unknown)}; nothing was removed")
    return records
