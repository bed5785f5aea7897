"""The options that commands share, and what is opened with them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgepersona.cli.errors import UsageError, usage
from edgepersona.cli.terminal import is_interactive
from edgepersona.errors import InputError, ProfileError
from edgepersona.records import MAX_TEXT_BYTES, Filter

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from edgepersona.profile import Profile
    from edgepersona.store import Store

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

KEY_VARIABLE = "EDGEPERSONA_KEY"
_MAX_KEY_BYTES = 4096
_MAX_COUNT = 1_000_000_000


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    example: str,
) -> argparse.ArgumentParser:
    """Register a command with its one-line help and an example."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example: {example}",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, parser=parser)
    return parser


def add_profile_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--profile`` and ``--key-file``."""
    parser.add_argument(
        "--profile",
        default="default",
        metavar="NAME_OR_PATH",
        help="a name, kept in the data folder, or the path of a .db file (default: default)",
    )
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help=f"file with the key of an encrypted profile (or set {KEY_VARIABLE})",
    )


def add_bundle_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--bundle``."""
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="folder of exported models (default: EDGEPERSONA_BUNDLE, or in the data folder)",
    )


def add_target_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--target``."""
    parser.add_argument(
        "--target",
        type=utf8,
        metavar="NAME",
        help="where the LLM runs: cpu, cuda, tensorrt, or a variant such as cuda-int4 "
        "(default: EDGEPERSONA_TARGET, or the fastest that loads)",
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="write the result as JSON")


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a Filter."""
    parser.add_argument("--source", type=utf8, default="", help="only records of this source")
    parser.add_argument("--kind", type=utf8, default="", help="only records of this kind")
    for name, side in (("since", "not before"), ("until", "not after")):
        parser.add_argument(
            f"--{name}", type=utf8, default="", metavar="DATE", help=f"{side} this ISO 8601 date"
        )


def chosen_filter(args: argparse.Namespace) -> Filter:
    """Return the Filter that was asked for."""
    with usage():
        return Filter(source=args.source, kind=args.kind, since=args.since, until=args.until)


def utf8(text: str) -> str:
    """Take an argument as text; refuse bytes that are none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("is not valid UTF-8") from None
    return text


def positive(text: str) -> int:
    """Take an argument as a whole number from 1 up."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= _MAX_COUNT:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number of 1 or more")
    return number


def profile_path(name: str) -> Path:
    """Return where the profile of that name, or of that path, is."""
    if not name.strip():
        raise UsageError("--profile is empty: give a name or the path of a .db file")
    separators = [separator for separator in (os.sep, os.altsep) if separator]
    if name.endswith(".db") or any(separator in name for separator in separators):
        return Path(name)
    from edgepersona.bundle import data_home

    return data_home() / "profiles" / f"{name}.db"


def bundle_path(args: argparse.Namespace) -> Path:
    """Return the folder of the bundle to use."""
    from edgepersona.bundle import default_bundle_path

    chosen: Path | None = args.bundle
    return default_bundle_path() if chosen is None else chosen


def open_profile(args: argparse.Namespace, *, create: bool = False) -> Profile:
    """Open the profile with its models, which are loaded when they are first needed."""
    from edgepersona.profile import Profile

    path = _present(args, create=create)
    return Profile.open(
        path,
        bundle_path(args),
        key=read_key(args.key_file),
        create=create,
        target=getattr(args, "target", None),
    )


def open_store(args: argparse.Namespace) -> Store:
    """Open an existing profile without models: to list, export or forget needs none."""
    from edgepersona.store import Store

    path = _present(args, create=False)
    return Store.open(path, key=read_key(args.key_file), embedder_hash=None, ndim=None)


def read_key(file: Path | None) -> str | None:
    """Return the key in ``file``, or in the environment; None where there is neither."""
    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_KEY_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file}: the key cannot be read: {error.strerror}") from None
    if len(data) > _MAX_KEY_BYTES:
        raise InputError(f"{file}: longer than {_MAX_KEY_BYTES:,} bytes, this is no key")
    # A line end belongs to the file, not to the key: editors add one.
    return decoded(data, str(file)).removesuffix("\n").removesuffix("\r")


def read_text(argument: str | None, *, what: str) -> str:
    """Return ``argument``, or what stdin holds where it is ``-`` or missing."""
    if argument is not None and argument != "-":
        return argument
    if argument is None and is_interactive():
        raise UsageError(f"{what} is missing: give it as an argument, or through stdin")
    data = read_stdin(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise InputError(
            f"{what} on stdin has more than {MAX_TEXT_BYTES:,} bytes, the limit: "
            "split it into parts"
        )
    return decoded(data, f"{what} on stdin").removesuffix("\n")


def decoded(data: bytes, what: str) -> str:
    """Return ``data`` as text, without a byte order mark; InputError where it is no UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what} is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}; "
            "convert it first"
        ) from None


def read_stdin(limit_bytes: int) -> bytes:
    """Read stdin to its end, or to ``limit_bytes``."""
    return b"" if sys.stdin is None else sys.stdin.buffer.read(limit_bytes)


def as_json(record: Any) -> dict[str, str]:
    """Return a Record as the JSON object that ``profile export`` writes, a line each."""
    names = ("id", "text", "title", "date", "source", "kind")
    return {name: getattr(record, name) for name in names}


def _present(args: argparse.Namespace, *, create: bool) -> Path:
    path = profile_path(args.profile)
    if not create and not path.exists():
        raise ProfileError(
            f"{path}: there is no profile here: check --profile, or make one with "
            "'edgepersona import' or 'edgepersona add'"
        )
    return path
