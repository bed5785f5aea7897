"""``edgepersona add``: store one record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepersona.cli.options import (
    add_bundle_option,
    add_command,
    add_json_option,
    add_profile_options,
    open_profile,
    read_text,
    utf8,
)
from edgepersona.cli.terminal import is_interactive, say, say_json
from edgepersona.records import Record, check_text, checked

if TYPE_CHECKING:
    import argparse

    from edgepersona.cli.options import Commands


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "add",
        _run,
        summary="store one record, and print its id",
        example='edgepersona add "I take my tea at four." --kind note',
    )
    parser.add_argument("text", nargs="?", metavar="TEXT", help="'-' or none: read stdin")
    parser.add_argument("--title", type=utf8, default="", help="a subject or a headline")
    parser.add_argument("--date", type=utf8, default="", help="ISO 8601, such as 2024-05-01")
    parser.add_argument("--source", type=utf8, default="", help="where it came from")
    parser.add_argument("--kind", type=utf8, default="", help="what it is, such as note")
    parser.add_argument("--id", type=utf8, default="", help="default: made from the content")
    add_profile_options(parser)
    add_bundle_option(parser)
    add_json_option(parser)


def _run(args: argparse.Namespace) -> int:
    only_title = args.text is None and args.title and is_interactive()
    text = "" if only_title else read_text(args.text, what="the text")
    if not args.title:
        check_text(text, what="the text")
    record = checked(
        Record(
            text=text,
            title=args.title,
            date=args.date,
            source=args.source,
            kind=args.kind,
            id=args.id,
        )
    )
    with open_profile(args, create=True) as profile:
        result = profile.add([record])
    if args.json:
        say_json({"id": result.ids[0], "added": result.new})
    else:
        say(result.ids[0])
    return 0
