"""``edgepersona train``: learn a persona head from many people's histories."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from edgepersona.cli.errors import InterruptedByUserError, UsageError
from edgepersona.cli.options import (
    add_bundle_option,
    add_command,
    add_json_option,
    positive,
    utf8,
)
from edgepersona.cli.terminal import note, progress_bar, say, say_json
from edgepersona.errors import ExportError

if TYPE_CHECKING:
    import argparse

    from edgepersona.cli.options import Commands
    from edgepersona_export.train.options import Options
    from edgepersona_export.train.run import Outcome


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train",
        _run,
        summary="learn a persona head for a bundle's models from many people's histories",
        example="edgepersona train --data history.jsonl --preset default --out head",
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="JSON lines with user_id, date, title and text (or .jsonl.gz), of many people",
    )
    parser.add_argument(
        "--tasks",
        type=utf8,
        default="title",
        metavar="A,B",
        help="what a file's titles are: title, subject, headline, rating or tag; one for all "
        "files, or one each",
    )
    parser.add_argument("--preset", type=utf8, help="the models the bundle is of: 'default'")
    parser.add_argument("--llm", metavar="DIR_OR_ID_OR_GGUF", help="the bundle's LLM, unquantised")
    add_bundle_option(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where the head goes"
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="DIR",
        help="begin with this head, of the same models and sizes; the number of records may differ "
        "(default: with one that has learnt nothing)",
    )
    parser.add_argument("--epochs", type=float, default=2.0, help="default: 2")
    parser.add_argument("--batch", type=positive, default=16, help="samples a step (default: 16)")
    parser.add_argument("--lr", type=float, default=2e-3, help="default: 0.002")
    parser.add_argument(
        "--contrast",
        type=float,
        default=0.0,
        help="weight of the own-against-other term, which doubles a batch's time (default: 0)",
    )
    parser.add_argument(
        "--contrasted",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="so many of the batches have that term, weighed up accordingly (default: 1)",
    )
    parser.add_argument(
        "--instruction-tokens",
        type=positive,
        default=10,
        metavar="N",
        help="learnt ones before the persona (default: 10)",
    )
    parser.add_argument("--persona-tokens", type=int, default=2, help="pooled ones (default: 2)")
    parser.add_argument(
        "--records", type=int, default=5, help="whose titles are read word by word (default: 5)"
    )
    parser.add_argument(
        "--title-tokens",
        type=positive,
        default=16,
        metavar="N",
        help="read of each of these titles (default: 16)",
    )
    parser.add_argument(
        "--shown",
        type=float,
        help="share of batches whose prompts show records in words too (default: 0.25; 1 with "
        "--only-beside)",
    )
    parser.add_argument(
        "--shown-records",
        type=positive,
        default=3,
        metavar="N",
        help="so many of them (default: 3; answers with rag show 4)",
    )
    parser.add_argument(
        "--shown-tokens",
        type=positive,
        default=96,
        metavar="N",
        help="read of each of their texts (default: 96)",
    )
    parser.add_argument(
        "--beside",
        choices=["nearest", "newest"],
        default="nearest",
        help="whose titles are read beside records in words (default: nearest, as without them)",
    )
    parser.add_argument(
        "--records-beside",
        type=int,
        metavar="N",
        help="how many are read there (default: as many as without them)",
    )
    parser.add_argument(
        "--only-beside",
        action="store_true",
        help="with --start: learn the instructions that stand beside records alone; what the head "
        "says without records stays as it is",
    )
    parser.add_argument(
        "--dropped",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="of every second history a random part up to this is left out (default: 0.5)",
    )
    parser.add_argument(
        "--cold",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="so many samples have no history, for people who are new (default: 0.1)",
    )
    parser.add_argument(
        "--text-tokens", type=positive, default=160, help="read of a text (default: 160)"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--dtype", choices=["auto", "bf16", "fp32"], default="auto", help="of the frozen LLM"
    )
    parser.add_argument(
        "--credit",
        type=utf8,
        action="append",
        default=[],
        metavar="TEXT",
        help="whom the data is owed to, for the head to say; may be given several times",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--add", action="store_true", help="put the head into the bundle too")
    add_json_option(parser)


def _run(args: argparse.Namespace) -> int:
    if bool(args.preset) == bool(args.llm):
        raise UsageError("give one of --preset and --llm: the LLM to learn against")
    tasks = args.tasks.split(",")
    if len(tasks) not in (1, len(args.data)):
        raise UsageError(f"--tasks names {len(tasks)}, --data {len(args.data)}: one each, or one")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the libraries' bars: no use in a log
    try:
        outcome = _train(args, tasks * len(args.data) if len(tasks) == 1 else tasks)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "edgepersona":
            raise
        missing = "edgepersona_export" if error.name.startswith("edgepersona_") else error.name
        raise ExportError(
            f"{missing} is not installed: run pip install 'edgepersona[cpu,export]'"
        ) from None
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            "interrupted; run the same command with --resume to go on from the last checkpoint"
        ) from None
    _tell(args, outcome)
    return 0


def _train(args: argparse.Namespace, tasks: list[str]) -> Outcome:
    from edgepersona.bundle import Bundle, default_bundle_path
    from edgepersona.embedder import Embedder
    from edgepersona_export.head_files import put_head
    from edgepersona_export.presets import locate, resolve
    from edgepersona_export.train.options import Places
    from edgepersona_export.train.persona_head import check_llm
    from edgepersona_export.train.run import Watcher, train

    bundle = Bundle.open(args.bundle or default_bundle_path())
    llm = resolve(args.preset).llm if args.preset else locate(args.llm)
    check_llm(bundle, llm)
    sources = tuple(zip(args.data, tasks, strict=True))
    places = Places(sources, llm, args.out, tuple(args.credit), args.start)
    with progress_bar("train", unit="step") as show:
        outcome = train(
            bundle,
            Embedder(bundle),
            places,
            _options(args, tasks),
            resume=args.resume,
            watcher=Watcher(note, lambda done, total, loss: show(done, total)),
        )
    if args.add:
        put_head(bundle.path, args.out)
    return outcome


def _options(args: argparse.Namespace, tasks: list[str]) -> Options:
    from edgepersona_export.train.batches import Drawing
    from edgepersona_export.train.frozen import fastest_dtype
    from edgepersona_export.train.options import Options

    shown = args.shown
    if shown is None:
        shown = 1.0 if args.only_beside else Drawing().shown
    return Options(
        tasks=tuple(dict.fromkeys(tasks)),
        epochs=args.epochs,
        batch=args.batch,
        lr=args.lr,
        contrast=args.contrast,
        contrasted=args.contrasted,
        seed=args.seed,
        text_tokens=args.text_tokens,
        drawing=Drawing(
            dropped=args.dropped,
            cold=args.cold,
            shown=shown,
            shown_records=args.shown_records,
            shown_tokens=args.shown_tokens,
        ),
        shape={
            "before": args.instruction_tokens,
            "pooled": args.persona_tokens,
            "records": args.records,
            "words": args.title_tokens,
            "beside": args.beside,
            "records_beside": args.records_beside,
        },
        dtype=fastest_dtype() if args.dtype == "auto" else args.dtype,
        only_beside=args.only_beside,
    )


def _tell(args: argparse.Namespace, outcome: Outcome) -> None:
    if int(os.environ.get("RANK", "0")):  # one of several processes, and not the first
        return
    verdicts = {"verdict": outcome.verdict, "beside": outcome.beside}
    if args.json:
        numbers = {
            name: {k: v for k, v in asdict(verdict).items() if isfinite(v)}
            for name, verdict in verdicts.items()
        }
        loss = outcome.loss if isfinite(outcome.loss) else None
        say_json({**asdict(outcome), "loss": loss, **numbers, "head": str(args.out)})
        return
    last = f", loss {outcome.loss:.3f}" if isfinite(outcome.loss) else ""  # all done before
    say(f"{outcome.steps:,} steps, {outcome.samples:,} samples{last}")
    for name, verdict in verdicts.items():
        if verdict.samples:
            shown = ", records in the prompt" if name == "beside" else ""
            say(
                f"people held out, {verdict.samples:,} samples{shown}: {verdict.own:.3f} nats a "
                f"token with their own history, {verdict.own_minus_other:+.3f} against another's"
            )
    say(f"head: {args.out}")
