"""``edgepersona export``: turn two models into a bundle."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from edgepersona.cli.errors import InterruptedByUserError, UsageError, usage
from edgepersona.cli.options import add_command, add_json_option, utf8
from edgepersona.cli.terminal import note, say, say_json
from edgepersona.errors import ExportError

if TYPE_CHECKING:
    import argparse

    from edgepersona.cli.options import Commands
    from edgepersona_export.pipeline import Report


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "export",
        _run,
        summary="turn an embedder and an LLM into a bundle that runs on this machine",
        example="edgepersona export --preset default",
    )
    parser.add_argument(
        "--preset",
        type=utf8,
        help="a tried pair of models, such as 'default', for what is not named",
    )
    parser.add_argument("--embedder", metavar="DIR_OR_ID", help="text encoder: folder or hub id")
    parser.add_argument("--llm", metavar="DIR_OR_ID_OR_GGUF", help="LLM: folder, hub id or GGUF")
    parser.add_argument(
        "--target",
        type=utf8,
        default="cpu",
        metavar="T1,T2",
        help="where it will run: cpu (default), cuda, tensorrt, or several of them",
    )
    parser.add_argument(
        "--precision",
        type=utf8,
        default="",
        metavar="P",
        help="of the LLM: int8, int4, fp16 or fp32, for each target that knows it; or a target's "
        "own, as in cpu=int8,cuda=int4 (default: int8 on the CPU, int4 of a GGUF file in Q4_0 or "
        "Q4_1, which is kept exactly; fp16 on a GPU); for int4 other models are calibrated",
    )
    parser.add_argument(
        "--embedder-precision",
        default="int8",
        choices=["int8", "fp16", "fp32"],
        help="of the embedder (default: int8; fp16 runs on CUDA where that loads)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave a whole bundle as it is, unless it is an older make of the same models",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: the default bundle")
    add_json_option(parser)


def _run(args: argparse.Namespace) -> int:
    from edgepersona.bundle import default_bundle_path

    if not args.preset and not (args.embedder and args.llm):
        raise UsageError("give --preset, or --embedder and --llm, or --preset and one of these")
    out = args.out or default_bundle_path()
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the libraries' bars: no use in a log
    try:
        kept, report = _export(args, out)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "edgepersona":
            raise
        missing = "edgepersona_export" if error.name.startswith("edgepersona_") else error.name
        raise ExportError(
            f"{missing} is not installed: run pip install 'edgepersona[cpu,export]'"
        ) from None
    except KeyboardInterrupt:
        raise InterruptedByUserError(f"interrupted; {out} is as it was before") from None
    if args.json:
        checks = _checks(report) if report else []
        not_run = list(report.not_run) if report else []
        say_json({"bundle": str(out), "kept": kept, "checks": checks, "not_run": not_run})
    else:
        if report:
            say(report.table() + "\n")
            for line in report.not_run:
                say(line)
        say(f"bundle: {out}{' (kept as it is)' if kept else ''}")
    return 0


def _export(args: argparse.Namespace, out: Path) -> tuple[bool, Report | None]:
    """Return whether the bundle that lay there was kept, and else what was measured."""
    from edgepersona_export.targets import plan

    with usage():
        plan(args.target, args.precision)
    from edgepersona_export.head_files import renew_default_head
    from edgepersona_export.pipeline import ExportOptions, export_bundle, kept_bundle

    embedder, llm = _models(args)
    options = ExportOptions(
        embedder=embedder,
        llm=llm,
        out=out,
        precision=args.precision,
        embedder_precision=args.embedder_precision,
        target=args.target,
    )
    if args.keep and (kept := kept_bundle(options)):
        if renew_default_head(kept):
            note("persona head: the default one was put in")
        return True, None
    return False, export_bundle(options, log=note)


def _models(args: argparse.Namespace) -> tuple[str | Path, str | Path]:
    """Return the models that are named, and of the preset those that are not."""
    if not args.preset:
        return args.embedder, args.llm
    from edgepersona_export.presets import resolve

    sources = resolve(args.preset)
    return args.embedder or sources.embedder, args.llm or sources.llm


def _checks(report: Report) -> list[dict[str, object]]:
    """Return the checks for JSON, which knows no infinity: such a bound is none."""
    return [
        asdict(check)
        | {"passed": check.passed}
        | ({} if isfinite(check.bound) else {"bound": None})
        for check in report.checks
    ]
