"""The options of a question and its answer, shared by ask and chat."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgepersona.cli.errors import UsageError, usage
from edgepersona.cli.options import decoded, utf8
from edgepersona.cli.terminal import note, one_line, stream_out
from edgepersona.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from edgepersona.generator import Generation, Stream
    from edgepersona.sampling import SamplingParams

_NUMBERS: tuple[tuple[str, type, str], ...] = (
    ("max-new-tokens", int, "the longest answer"),
    ("temperature", float, "0: always the likeliest token"),
    ("top-k", int, "draw among so many likeliest tokens; 0: all"),
    ("top-p", float, "draw among the likeliest tokens that reach this share"),
    ("min-p", float, "draw among tokens at least this likely relative to the likeliest"),
    ("repetition-penalty", float, "above 1: less of what was said before"),
    ("seed", int, "the same seed draws the same answer"),
)

_MAX_SCHEMA_BYTES = 1 << 20


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of SamplingParams."""
    group = parser.add_argument_group("sampling")
    for name, kind, text in _NUMBERS:
        group.add_argument(f"--{name}", type=kind, metavar="N", help=text)
    group.add_argument(
        "--stop",
        type=utf8,
        action="append",
        metavar="TEXT",
        help="end the answer before this text (may be repeated)",
    )


def chosen_params(args: argparse.Namespace) -> SamplingParams:
    """Return the SamplingParams that were asked for."""
    from edgepersona.sampling import SamplingParams

    names = [name.replace("-", "_") for name, _, _ in _NUMBERS]
    given: dict[str, Any] = {
        name: value for name in names if (value := getattr(args, name)) is not None
    }
    with usage():
        return SamplingParams(**given, stop=tuple(args.stop or ()))


def read_schema(file: Path) -> dict[str, Any]:
    """Return the JSON schema in ``file``; InputError where it holds no JSON object."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_SCHEMA_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file}: the schema cannot be read: {error.strerror}") from None
    if len(data) > _MAX_SCHEMA_BYTES:
        raise InputError(f"{file}: longer than {_MAX_SCHEMA_BYTES:,} bytes, this is no schema")
    try:
        schema = json.loads(decoded(data, str(file)))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: is no JSON: {error}") from None
    if not isinstance(schema, dict):
        raise InputError(f"{file}: holds {type(schema).__name__}, expected a JSON object")
    return schema


def check_strategies(names: list[str]) -> None:
    """Raise UsageError unless each is the name of a strategy."""
    from edgepersona.strategies import find

    if not all(names):
        raise UsageError("a strategy's name is empty")
    with usage():
        for name in names:
            find(name)


def show_answer(stream: Stream) -> Generation:
    """Write an answer as it is made; Ctrl-C ends it and keeps what came."""
    with _cancelled_by_interrupt(stream):
        for piece in stream:
            stream_out(piece)
    stream_out("\n")
    return stream.result


def tell_choice(stream: Stream) -> None:
    """Say what the LLM runs on, where something faster was passed over."""
    if stream.choice.refusals:
        note(one_line(str(stream.choice)))


def answer_quietly(stream: Stream) -> Generation:
    """Make an answer without writing it."""
    with _cancelled_by_interrupt(stream):
        for _ in stream:
            pass
    return stream.result


def measured(answer: Generation) -> str:
    """Return an answer's speed in words."""
    return (
        f"{answer.new_tokens:,} tokens, {answer.tokens_per_s:.1f} tokens/s, "
        f"first token after {answer.ttft_s:.2f} s"
    )


def footer(answer: Generation, stream: Stream) -> str:
    """Return, in one line, what an answer was made from and what was left out."""
    parts = [
        answer.strategy,
        _count(len(answer.records), "record"),
        f"{answer.prompt_tokens:,} prompt tokens",
        measured(answer),
    ]
    left_out = [
        _count(len(answer.dropped), "record"),
        _count(stream.layout.dropped_turns, "turn"),
        _count(answer.input_tokens_dropped, "token") + " of the question",
    ]
    if gone := [text for text in left_out if not text.startswith("0 ")]:
        parts.append(f"left out for room: {', '.join(gone)}")
    parts += answer.notes
    if answer.finish_reason in _ENDINGS:
        parts.append(_ENDINGS[answer.finish_reason])
    return f"[{' · '.join(parts)}]"


_ENDINGS = {
    "length": "ended at --max-new-tokens",
    "context": "ended where the model's context does",
    "cancelled": "ended by Ctrl-C",
}


def answer_as_json(answer: Generation, stream: Stream) -> dict[str, object]:
    """Return all that is known of an answer."""
    return {
        **asdict(answer),
        "tokens_per_s": answer.tokens_per_s,
        "turns_dropped": stream.layout.dropped_turns,
    }


@contextmanager
def _cancelled_by_interrupt(stream: Stream) -> Iterator[None]:
    """Let the first Ctrl-C end the answer after the token being made; a second ends the program."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)

    def cancel(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, previous)
        stream.cancel()

    signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
