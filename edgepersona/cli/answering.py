"""``edgepersona ask``: one question, one answer."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgepersona.cli.asking import (
    add_answer_options,
    answer_as_json,
    answer_quietly,
    check_strategies,
    chosen_params,
    footer,
    measured,
    read_schema,
    show_answer,
    tell_choice,
)
from edgepersona.cli.errors import InterruptedByUserError, UsageError
from edgepersona.cli.options import (
    add_bundle_option,
    add_command,
    add_json_option,
    add_profile_options,
    add_target_option,
    bundle_path,
    open_profile,
    read_text,
    utf8,
)
from edgepersona.cli.terminal import note, say, say_json
from edgepersona.records import Task

if TYPE_CHECKING:
    import argparse

    from edgepersona.cli.options import Commands
    from edgepersona.generator import Generation, Stream


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "ask",
        _run,
        summary="ask the model, which sees your records",
        example='edgepersona ask "What do I drink in the afternoon?"',
    )
    parser.add_argument("question", nargs="?", metavar="QUESTION", help="'-' or none: read stdin")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--strategy",
        type=utf8,
        help="which records it sees: rag (the nearest, default), recent or none; +cache for the "
        "user's own words, as in rag+cache; with a persona head pplug (all of them as soft "
        "tokens), mean, pplug+rag",
    )
    which.add_argument(
        "--compare", type=utf8, metavar="S1,S2", help="answer once with each of these strategies"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--task",
        choices=["answer", "title", "subject", "headline", "rating", "tag", "reply"],
        help="what to write about QUESTION (default: answer)",
    )
    how.add_argument(
        "--instruction", type=utf8, metavar="TEXT", help="what to do with QUESTION, in words"
    )
    parser.add_argument(
        "--schema",
        type=Path,
        metavar="FILE",
        help="answer with JSON that fits this JSON schema (needs the extra 'schema')",
    )
    parser.add_argument(
        "--show-prompt", action="store_true", help="write what the model reads to stderr"
    )
    add_answer_options(parser)
    add_profile_options(parser)
    add_bundle_option(parser)
    add_target_option(parser)
    add_json_option(parser)


def _run(args: argparse.Namespace) -> int:
    names = [args.strategy or "rag"] if args.compare is None else args.compare.split(",")
    check_strategies(names)
    params = chosen_params(args)
    schema = None if args.schema is None else read_schema(args.schema)
    if schema is not None and params.stop:
        raise UsageError("--stop would cut JSON anywhere: give --schema, or --stop")
    if args.instruction == "":
        raise UsageError("--instruction is empty")
    if len(names) > 1 and params.seed is None:  # otherwise chance would be compared as well
        params = replace(params, seed=secrets.randbits(32))
    kind = "instruction" if args.instruction else args.task or "answer"
    question = read_text(args.question, what="the question")
    task = Task(question, kind=kind, instruction=args.instruction or "")
    found: list[dict[str, object]] = []
    with open_profile(args) as profile:
        for name in names:
            stream = profile.stream(task, strategy=name, params=params, schema=schema)
            answer, shown = _answer(stream, name, args, is_first=not found)
            found.append(shown)
            if answer.finish_reason == "cancelled":
                break
    if args.json:
        say_json(found[0] if args.compare is None else {"answers": found})
    if answer.finish_reason == "cancelled":
        raise InterruptedByUserError("interrupted; the answer ends early")
    return 0


def _answer(
    stream: Stream, name: str, args: argparse.Namespace, *, is_first: bool
) -> tuple[Generation, dict[str, object]]:
    if is_first:
        tell_choice(stream)
    prompt = _prompt_text(stream, args) if args.show_prompt else ""
    if args.json:
        answer = answer_quietly(stream)
        shown = answer_as_json(answer, stream)
        return answer, shown | ({"prompt": prompt} if args.show_prompt else {})
    if args.show_prompt:
        note(f"{prompt}\n")
    if args.compare is not None:
        say(f"== {name}")
    answer = show_answer(stream)
    if args.compare is not None:
        say(f"-- {measured(answer)}\n")
    note(footer(answer, stream))
    return answer, {}


def _prompt_text(stream: Stream, args: argparse.Namespace) -> str:
    """Return what the model reads, as words again."""
    from edgepersona.bundle import Bundle
    from edgepersona.text import Tokenizer

    bundle = Bundle.open(bundle_path(args))
    tokenizer = Tokenizer(bundle.file(bundle.generator.tokenizer))
    return "".join(
        tokenizer.decode(part) if isinstance(part, list) else f"[{len(part)} soft vectors]"
        for part in stream.layout.parts
    )
