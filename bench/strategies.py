"""Put what ``edgepersona eval`` measured into docs/strategies.md, set by set.

    python -m bench.strategies "commits=measured/commits/report.json" …

A set is a name for readers and the path of a report. What stood between the marks is replaced.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edgepersona.evaluation.tables import as_markdown, tables

PAGE = Path(__file__).parents[1] / "docs" / "strategies.md"
BEGIN = "<!-- measured: written by bench/strategies.py -->"
END = "<!-- end of what was measured -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", metavar="NAME=REPORT")
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    sets = {name: json.loads(Path(path).read_text("utf-8")) for name, path in map(split, args.sets)}
    page = args.page.read_text("utf-8")
    args.page.write_text(with_measured(page, sets), "utf-8")


def split(argument: str) -> tuple[str, str]:
    name, equals, path = argument.partition("=")
    if not equals:
        raise SystemExit(f"{argument}: expected NAME=REPORT")
    return name, path


def with_measured(page: str, sets: dict[str, dict[str, Any]]) -> str:
    """Return the page with these reports in the place of earlier ones."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"the page lacks {BEGIN!r} or {END!r}")
    parts = [BEGIN, *(section(name, report) for name, report in sets.items()), END]
    return before + "\n\n".join(parts) + after


def section(name: str, report: dict[str, Any]) -> str:
    """Return a set's tables, and what they were measured with."""
    parts = [f"### {name}", *map(as_markdown, tables(report)), f"{made_with(report)}"]
    return "\n\n".join(parts)


def made_with(report: dict[str, Any]) -> str:
    """Say what the figures were measured with."""
    part = ""
    if report["questions"] < report["questions_in_file"]:
        part = f", {report['questions']:,} of {report['questions_in_file']:,} questions"
    return (
        f"{report['generator']} ({report['variant']}, {report['provider']}); at most "
        f"{report['max_new_tokens']} new tokens, greedy; seed {report['seed']}{part}."
    )


if __name__ == "__main__":
    main()
