"""A report as tables: aligned for a terminal, or in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_NAMES = {
    "rouge-1": "ROUGE-1",
    "rouge-L": "ROUGE-L",
    "meteor": "METEOR",
    "mae": "MAE",
    "rmse": "RMSE",
    "accuracy": "accuracy",
    "macro-f1": "macro-F1",
    "nats": "nats a token",
    "nats, scaled": "nats, scaled",
}


_Compared = Callable[[dict[str, Any]], tuple[str, str] | None]
"""A row of a report → strategy and history of the row that it is compared with."""


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a header and rows of text; the first columns, not numbers, stand to the left."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 2


def tables(report: dict[str, Any]) -> list[Table]:
    """Return the rows of a report, and then what own histories gain over what they gain it on."""
    names = list(report["rows"][0]["figures"])
    found = [_rows(report, names)]
    against = report["against"]
    compared: list[tuple[str, _Compared]] = [
        ("own minus another user's history", lambda row: (row["strategy"], "other"))
    ]
    compared += [(f"own minus {strategy}", _always(strategy)) for strategy in against]
    compared.append(
        ("own minus the same without its last part", lambda row: _without_last(row, against))
    )
    for title, other in compared:
        rows = [
            (held["row"]["strategy"], held)
            for held in report["differences"]
            if _place(held["against"]) == other(held["row"])
        ]
        found += _gains(title, rows, names)
    for strategy in against:
        rows = [
            (held["strategy"], held) for held in report["contrasts"] if held["against"] == strategy
        ]
        title = f"own minus another user's history, less the same of {strategy}"
        found += _gains(title, rows, names)
    return found


def as_text(table: Table) -> str:
    """Lay a table out in columns."""
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    laid = [
        "  ".join(
            cell.ljust(width) if column < table.left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([table.title, *(f"  {line}" for line in laid)])


def as_markdown(table: Table) -> str:
    """Write a table in Markdown, under its title."""
    marks = ["---" if column < table.left else "---:" for column in range(len(table.header))]
    lines = [table.header, tuple(marks), *table.rows]
    return "\n".join([f"{table.title}:", "", *(f"| {' | '.join(line)} |" for line in lines)])


def called(name: str) -> str:
    """Return what a figure is called where people read it."""
    return _NAMES.get(name, name)


def _rows(report: dict[str, Any], names: Sequence[str]) -> Table:
    header = (
        "strategy", "history", *map(called, names), "copied", "temperature", "prompt tokens",
        "first token, s", "seconds",
    )  # fmt: skip
    rows = []
    for row in report["rows"]:
        temperature, copied = row["temperature"], row["copied"]
        rows.append(
            (
                row["row"]["strategy"],
                row["row"]["history"],
                *_cells(row, names),
                "–" if copied is None else f"{copied:.0%}",
                "–" if temperature is None else f"{temperature:.2f}",
                f"{row['prompt_tokens']:,.0f}",
                f"{row['ttft_s']:.2f}",
                f"{row['seconds']:.2f}",
            )
        )
    title = (
        f"{report['task']}: {_count(report['questions'], 'question')} of "
        f"{_count(report['users'], 'user')}"
    )
    if report["calibration_questions"]:
        made = _count(report["calibration_questions"], "question")
        title += f"; temperatures fitted on {made} made of histories"
    return Table(title, header, tuple(rows))


def _gains(
    title: str, rows: Sequence[tuple[str, dict[str, Any]]], names: Sequence[str]
) -> list[Table]:
    """Return a table of differences, a strategy a line; none without lines."""
    lines = [(strategy, *_cells(held, names, sign=True)) for strategy, held in rows]
    header = ("strategy", *map(called, names))
    return [Table(title, header, tuple(lines), left=1)] if lines else []


def _cells(held: dict[str, Any], names: Sequence[str], *, sign: bool = False) -> Iterator[str]:
    form = "{:+.3f}" if sign else "{:.3f}"
    for name in names:
        figure = held["figures"].get(name)
        if figure is None:
            yield "–"
            continue
        value, low, high = (
            form.format(figure[key]).replace("-", "−") for key in ("value", "low", "high")
        )
        yield f"{value} [{low}, {high}]"


def _always(strategy: str) -> _Compared:
    place = strategy, "none" if strategy == "none" else "own"
    return lambda row: place


def _without_last(row: dict[str, Any], told: Sequence[str]) -> tuple[str, str] | None:
    base: str = row["strategy"].rpartition("+")[0]
    return (base, "own") if base and base not in told else None


def _place(row: dict[str, Any]) -> tuple[str, str]:
    return row["strategy"], row["history"]


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
