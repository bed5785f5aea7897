"""``edgepersona import``: carry real files into a profile."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edgepersona.cli.errors import InterruptedByUserError, UsageError
from edgepersona.cli.options import (
    add_bundle_option,
    add_command,
    add_json_option,
    add_profile_options,
    open_profile,
    utf8,
)
from edgepersona.cli.terminal import note, progress_bar, say, say_json

if TYPE_CHECKING:
    import argparse

    from edgepersona.cli.options import Commands
    from edgepersona.importers import ImportReport
    from edgepersona.profile import Profile


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "import",
        _run,
        summary="import mail, notes, commits, chats or JSON lines; run again for what is new",
        example="edgepersona import ~/notes",
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="a file or a folder")
    parser.add_argument(
        "--kind",
        type=utf8,
        default="auto",
        help="auto (default), jsonl, mbox, folder, git, lamp or chat",
    )
    parser.add_argument("--user", type=utf8, help="only records of this user_id (jsonl, lamp)")
    parser.add_argument(
        "--author", type=utf8, help="only what this name or address wrote (mbox, git, chat)"
    )
    add_profile_options(parser)
    add_bundle_option(parser)
    add_json_option(parser)


def _run(args: argparse.Namespace) -> int:
    from edgepersona.importers import KINDS

    if args.kind not in ("auto", *KINDS):
        raise UsageError(f"--kind {args.kind!r}: expected auto, {', '.join(KINDS)}")
    with open_profile(args, create=True) as profile:
        before = len(profile)
        try:
            report = _load(profile, args)
        except KeyboardInterrupt:
            raise InterruptedByUserError(
                f"interrupted; {len(profile):,} records are stored, {len(profile) - before:,} of "
                "them new: run the same command again for the rest"
            ) from None
    if args.json:
        say_json(asdict(report))
    else:
        say(_summary(report))
    for error in report.errors:
        note(f"skipped: {error}")
    if report.skipped > len(report.errors):
        note(f"skipped: {report.skipped - len(report.errors):,} more")
    return 1 if report.skipped and report.skipped == report.total else 0


def _load(profile: Profile, args: argparse.Namespace) -> ImportReport:
    from edgepersona.importers import import_into

    with progress_bar("import") as show:
        return import_into(
            profile,
            args.path,
            kind=args.kind,
            user=args.user,
            author=args.author,
            progress=show,
        )


def _summary(report: ImportReport) -> str:
    counts = {
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "skipped": report.skipped,
    }
    always = ("added", "unchanged", "skipped")
    return ", ".join(f"{n:,} {name}" for name, n in counts.items() if n or name in always)
