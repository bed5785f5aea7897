"""The program: its commands, and how each of them may end."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from edgepersona import __version__
from edgepersona.cli.adding import register as register_add
from edgepersona.cli.answering import register as register_ask
from edgepersona.cli.chatting import register as register_chat
from edgepersona.cli.doctor import register as register_doctor
from edgepersona.cli.errors import UsageError
from edgepersona.cli.evaluating import register as register_eval
from edgepersona.cli.exporting import register as register_export
from edgepersona.cli.forgetting import register as register_forget
from edgepersona.cli.importing import register as register_import
from edgepersona.cli.profiles import register as register_profile
from edgepersona.cli.searching import register as register_search
from edgepersona.cli.terminal import note, one_line, set_up_streams
from edgepersona.cli.training import register as register_train
from edgepersona.errors import EdgePersonaError

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = (
    register_export,
    register_train,
    register_import,
    register_add,
    register_search,
    register_ask,
    register_chat,
    register_profile,
    register_forget,
    register_eval,
    register_doctor,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 where it was done, 1 where it failed, 2 for wrong usage."""
    set_up_streams()
    try:
        args = _parser().parse_args(argv)
        status = _run(args)
        sys.stdout.flush()
    except SystemExit as end:  # how argparse ends: with the help, or with wrong usage
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt:
        return _fail("interrupted; what was stored before is kept")
    except BrokenPipeError:
        _drop_output()
        return 1
    except OSError as error:
        _drop_output()
        return _fail(_os_error(error))
    return status


def _run(args: argparse.Namespace) -> int:
    try:
        status: int = args.run(args)
    except UsageError as error:
        args.parser.error(one_line(error))
    except EdgePersonaError as error:
        return _fail(str(error))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgepersona",
        description="A private, personal language model on your own machine.",
        epilog="start: edgepersona doctor; 'edgepersona COMMAND --help' shows an example of each",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"edgepersona {__version__}")
    parser.set_defaults(run=_show_help, parser=parser)
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for register in _COMMANDS:
        register(commands)
    return parser


def _show_help(args: argparse.Namespace) -> int:
    args.parser.print_help(sys.stderr)
    return 2


def _fail(message: str) -> int:
    note(f"edgepersona: error: {one_line(message)}")
    return 1


def _os_error(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"cannot read or write: {reason}"
    return f"{os.fsdecode(error.filename)}: {reason}"


def _drop_output() -> None:
    """Let what is still to be written go nowhere, so that closing stdout cannot fail again."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # stdout is no file of the system's
        pass
