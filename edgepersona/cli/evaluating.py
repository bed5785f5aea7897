"""``edgepersona eval``: measure strategies on LaMP's files."""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepersona.cli.asking import check_strategies
from edgepersona.cli.errors import InterruptedByUserError, UsageError, usage
from edgepersona.cli.options import (
    add_bundle_option,
    add_command,
    add_json_option,
    add_target_option,
    bundle_path,
    positive,
    utf8,
)
from edgepersona.cli.terminal import say, say_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgepersona.cli.options import Commands


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "eval",
        _run,
        summary="measure strategies on the files of LaMP or LongLaMP; run again to go on",
        example="edgepersona eval --task LaMP_5 --questions dev_questions.json "
        "--outputs dev_outputs.json --strategy recent,rag --control --out measured",
    )
    parser.add_argument(
        "--task", type=utf8, required=True, help="LaMP_1 to LaMP_7, or LongLaMP_1 to LongLaMP_4"
    )
    parser.add_argument(
        "--questions", type=Path, required=True, metavar="FILE", help="JSON, plain or gzip"
    )
    parser.add_argument(
        "--outputs",
        type=Path,
        metavar="FILE",
        help="the true answers, with the same ids; of LongLaMP the questions hold them",
    )
    parser.add_argument(
        "--strategy",
        type=utf8,
        required=True,
        metavar="S1,S2",
        help="what to measure, beside none, which always is",
    )
    parser.add_argument(
        "--control",
        action="store_true",
        help="answer with another user's history as well: what own gains over it is personal",
    )
    parser.add_argument(
        "--against",
        type=utf8,
        default="none,rag",
        metavar="S1,S2",
        help="strategies that the others are compared with (default: none,rag)",
    )
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="only so many questions, chosen by the seed"
    )
    parser.add_argument(
        "--calibrate",
        type=_count,
        default=32,
        metavar="N",
        help="questions made of histories, to fit each row's temperature on (default: 32; 0: none)",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="questions answered side by side, which share the threads: a long run takes less "
        "time, each answer more (default: 1)",
    )
    parser.add_argument(
        "--max-new-tokens", type=positive, metavar="N", help="default: what suits the task"
    )
    parser.add_argument(
        "--seed",
        type=_count,
        default=0,
        metavar="N",
        help="chooses the questions, the other users and the resamples (default: 0)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="gets report.json, plot.png, predictions-STRATEGY.json and what a run goes on from",
    )
    add_bundle_option(parser)
    add_target_option(parser)
    add_json_option(parser)


def _run(args: argparse.Namespace) -> int:
    from edgepersona.bundle import Bundle
    from edgepersona.evaluation import Options, evaluate, find_benchmark
    from edgepersona.evaluation.tables import as_text, tables

    strategies = args.strategy.split(",")
    check_strategies(strategies)
    against = args.against.split(",")
    check_strategies(against)
    with usage():
        benchmark = find_benchmark(args.task)
    if args.outputs is None and not args.task.startswith("LongLaMP"):
        raise UsageError("--outputs is missing: LaMP's questions come without their answers")
    options = Options(
        tuple(strategies),
        against=tuple(dict.fromkeys(against)),
        control=args.control,
        limit=args.limit,
        seed=args.seed,
        calibrate=args.calibrate,
        workers=args.workers,
        max_new_tokens=args.max_new_tokens,
        target=args.target,
    )
    with _progress(args.out) as show:
        report = evaluate(
            benchmark,
            args.questions,
            args.outputs,
            args.out,
            bundle=Bundle.open(bundle_path(args)),
            options=options,
            progress=show,
        )
    if args.json:
        say_json(report)
        return 0
    for table in tables(report):
        say(as_text(table) + "\n")
    say(f"report.json, plot.png and the predictions are in {args.out}")
    return 0


@contextmanager
def _progress(out: Path) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each stage on a terminal; say on Ctrl-C how far the answers are."""
    reached: dict[str, tuple[int, int]] = {}
    bars: dict[str, Any] = {}

    def show(what: str, done: int, total: int) -> None:
        reached[what] = done, total
        if not sys.stderr.isatty():
            return
        if what not in bars:
            from tqdm import tqdm

            bars[what] = tqdm(desc=what, total=total, leave=False, dynamic_ncols=True)
        bars[what].update(done - bars[what].n)

    try:
        yield show
    except KeyboardInterrupt:
        done, total = reached.get("answer", (0, 0))
        known = f"{done:,} of {total:,} answers" if total else "the vectors made so far"
        raise InterruptedByUserError(
            f"interrupted; {known} are kept in {out}, run the same command again for the rest"
        ) from None
    finally:
        for bar in bars.values():
            bar.close()


def _count(text: str) -> int:
    """Take an argument as a whole number from 0 up."""
    if text != "0":
        try:
            return positive(text)
        except argparse.ArgumentTypeError:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number") from None
    return 0
