"""``edgepersona search``: find records by meaning and by words."""

from __future__ import annotations

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
    positive,
    read_text,
)
from edgepersona.cli.records import show_record
from edgepersona.cli.terminal import note, say, say_json

if TYPE_CHECKING:
    import argparse

    from edgepersona.cli.options import Commands


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "search",
        _run,
        summary="find records by meaning and by words, best first",
        example='edgepersona search "when do I drink tea" -k 3',
    )
    parser.add_argument("query", metavar="QUERY", help="'-': read stdin")
    parser.add_argument(
        "-k", type=positive, default=10, metavar="N", help="how many records (default: 10)"
    )
    add_filter_options(parser)
    add_profile_options(parser)
    add_bundle_option(parser)
    add_json_option(parser)


def _run(args: argparse.Namespace) -> int:
    chosen = chosen_filter(args)
    query = read_text(args.query, what="the query")
    with open_profile(args) as profile:
        hits = profile.search(query, k=args.k, filter=chosen)
    if args.json:
        say_json({"hits": [{"score": hit.score, **as_json(hit.record)} for hit in hits]})
        return 0
    for hit in hits:
        say(f"{hit.score:.4f}  {show_record(hit.record)}")
    if not hits:
        note("no record found")
    return 0
