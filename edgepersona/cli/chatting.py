"""``edgepersona chat``: a conversation."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from edgepersona.cli.asking import (
    add_answer_options,
    check_strategies,
    chosen_params,
    footer,
    show_answer,
    tell_choice,
)
from edgepersona.cli.errors import InterruptedByUserError
from edgepersona.cli.options import (
    add_bundle_option,
    add_command,
    add_profile_options,
    add_target_option,
    decoded,
    open_profile,
    utf8,
)
from edgepersona.cli.terminal import is_interactive, note, one_line, say
from edgepersona.errors import InputError
from edgepersona.records import MAX_TEXT_BYTES, Task

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from edgepersona.cli.options import Commands
    from edgepersona.profile import Profile
    from edgepersona.sampling import SamplingParams

_HELP = """\
/forget-turns  start the conversation anew
/help          this
/quit          leave (or Ctrl-D); Ctrl-C ends an answer"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "chat",
        _run,
        summary="talk with the model, which sees your records; a line of stdin is a turn",
        example="edgepersona chat --strategy recent",
    )
    parser.add_argument(
        "--strategy",
        type=utf8,
        default="rag",
        help="which records it sees: rag (the nearest, default), recent or none",
    )
    add_answer_options(parser)
    add_profile_options(parser)
    add_bundle_option(parser)
    add_target_option(parser)


def _run(args: argparse.Namespace) -> int:
    check_strategies([args.strategy])
    params = chosen_params(args)
    with open_profile(args) as profile:
        chat = _Chat(profile, args.strategy, params)
        if not is_interactive():
            return chat.run(_piped_lines())
        note("/help lists the commands, Ctrl-D leaves")
        chat.run(_typed_lines())
        return 0


class _Chat:
    """A conversation under way, and its turns so far."""

    def __init__(self, profile: Profile, strategy: str, params: SamplingParams) -> None:
        self._profile = profile
        self._strategy = strategy
        self._params = params
        self._turns: tuple[tuple[str, str], ...] = ()
        self._is_told = False

    def run(self, lines: Iterator[str | InputError]) -> int:
        """Answer every line; one that cannot be answered ends nothing, and makes this 1."""
        status = 0
        for line in lines:
            try:
                if isinstance(line, InputError):
                    raise line
                if line.strip() == "/quit":
                    break
                self._take(line)
            except InputError as error:
                note(f"edgepersona: error: {one_line(error)}")
                status = 1
            except KeyboardInterrupt:  # before the answer began: a model was being loaded
                if not is_interactive():
                    raise
                note("interrupted")
        return status

    def _take(self, line: str) -> None:
        command = line.strip()
        if command == "/help":
            say(_HELP)
        elif command == "/forget-turns":
            self._turns = ()
            note("the conversation starts anew")
        elif command.startswith("/"):
            raise InputError(f"{command.split()[0]} is no command: /help lists them")
        elif command:
            self._answer(line)

    def _answer(self, line: str) -> None:
        task = Task(line, turns=self._turns)
        stream = self._profile.stream(task, strategy=self._strategy, params=self._params)
        if not self._is_told:
            self._is_told = True
            tell_choice(stream)
        answer = show_answer(stream)
        note(footer(answer, stream))
        self._turns = (*self._turns, ("user", line), ("assistant", answer.text))
        if answer.finish_reason == "cancelled" and not is_interactive():
            raise InterruptedByUserError("interrupted; the last answer ends early")


def _typed_lines() -> Iterator[str | InputError]:
    with suppress(ImportError):
        import readline  # noqa: F401  (input() then edits lines and remembers them)
    while True:
        sys.stdout.flush()
        try:
            yield input("> ")
        except EOFError:
            say()
            return
        except KeyboardInterrupt:
            note("\n/quit or Ctrl-D leaves")
        except UnicodeDecodeError:
            yield InputError("the line is not UTF-8: check the terminal's encoding")


def _piped_lines() -> Iterator[str | InputError]:
    """Yield the lines of stdin, each bounded in size."""
    if sys.stdin is None:
        return
    stream = sys.stdin.buffer
    limit = MAX_TEXT_BYTES + 1  # and its line end
    number = 0
    while data := stream.readline(limit):
        number += 1
        whole = len(data) < limit or data.endswith(b"\n")
        while not whole:  # the rest of a line that is too long
            rest = stream.readline(limit)
            whole = len(rest) < limit or rest.endswith(b"\n")
            data = b""
        try:
            if not data:
                raise InputError(
                    f"line {number} of stdin has more than {MAX_TEXT_BYTES:,} bytes: split it"
                )
            yield decoded(data, f"line {number} of stdin").rstrip("\r\n")
        except InputError as error:
            yield error
