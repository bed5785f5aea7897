"""A report as a picture: each row's figures with their intervals, own history beside another's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgepersona.errors import EdgePersonaError
from edgepersona.evaluation.tables import called

if TYPE_CHECKING:
    from pathlib import Path

_COLOURS = {"none": "0.4", "own": "tab:blue", "other": "tab:orange"}
_MARKS = {"none": "s", "own": "o", "other": "D"}


def check_drawing() -> None:
    """Raise EdgePersonaError, that names what to install, where nothing can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise EdgePersonaError(
            f"{error.name} is not installed: run pip install 'edgepersona[eval]'"
        ) from None


def plot(report: dict[str, Any], path: Path) -> None:
    """Write a report's figures to a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(report["rows"][0]["figures"])
    strategies = list(dict.fromkeys(row["row"]["strategy"] for row in report["rows"]))
    figure = Figure(
        figsize=(1.5 + 3.2 * len(names), 1.6 + 0.45 * len(strategies)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        for row in report["rows"]:
            _mark(axis, row, name, strategies)
        better = "lower" if name in report["lower_is_better"] else "higher"
        axis.set_xlabel(f"{called(name)} ({better} is better)")
        axis.grid(axis="x", color="0.9")
    axes[0].set_yticks(range(len(strategies)), strategies)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    by_label = dict(zip(labels, handles, strict=True))
    figure.legend(by_label.values(), by_label.keys(), loc="outside upper right", ncols=3)
    figure.suptitle(
        f"{report['task']}, {report['questions']:,} questions, 95 % intervals", x=0.01, ha="left"
    )
    figure.savefig(path, dpi=120, format="png")


def _mark(axis: Any, row: dict[str, Any], name: str, strategies: list[str]) -> None:
    held = row["figures"].get(name)
    if held is None:
        return
    history = row["row"]["history"]
    apart = {"own": -0.12, "other": 0.12}.get(history, 0.0)
    axis.errorbar(
        held["value"],
        strategies.index(row["row"]["strategy"]) + apart,
        xerr=[[held["value"] - held["low"]], [held["high"] - held["value"]]],
        fmt=_MARKS[history],
        color=_COLOURS[history],
        capsize=3,
        label={"none": "no history", "own": "own history", "other": "another user's"}[history],
    )
