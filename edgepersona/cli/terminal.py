"""What the command line writes: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# Text from mails and from a model must not move the cursor or rename the window.
_CONTROLS = {i: "\ufffd" for i in (*range(32), *range(127, 160)) if chr(i) not in "\n\t"}


def set_up_streams() -> None:
    """Let a character that the terminal cannot show come out escaped, not as an error."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started the program
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, nowhere)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str = "", *, end: str = "\n") -> None:
    """Write a result."""
    sys.stdout.write(f"{printable(text)}{end}")


def stream_out(text: str) -> None:
    """Write a piece of a result that someone may be watching as it is made."""
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line about the work to stderr, after the results so far."""
    sys.stdout.flush()
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def say_json(value: object) -> None:
    """Write ``value`` as JSON."""
    sys.stdout.write(_as_json(value, indent=1) + "\n")


def say_json_list(key: str, values: Iterable[object]) -> None:
    """Write an object with one list, item by item: it may be longer than memory."""
    sys.stdout.write(f"{{{_as_json(key)}: [")
    separator = "\n"
    for value in values:
        sys.stdout.write(f"{separator} {_as_json(value)}")
        separator = ",\n"
    sys.stdout.write("\n]}\n")


def printable(text: str) -> str:
    """Return ``text`` without control characters, but for line ends and tabs."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def one_line(text: object, width: int | None = None) -> str:
    """Return ``text`` as one line of at most ``width`` characters."""
    line = " ".join(printable(str(text)).split())
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Lay names and values out in two columns."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)


def is_interactive() -> bool:
    """Whether a person types into stdin."""
    return sys.stdin is not None and sys.stdin.isatty()


@contextmanager
def progress_bar(label: str, *, unit: str = "rec") -> Iterator[Callable[[int, int | None], None]]:
    """Give a function to call with what is done and the total; shows only on a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from tqdm import tqdm

    with tqdm(desc=label, unit=unit, file=sys.stderr, leave=False, dynamic_ncols=True) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = None if total is None else max(total, done)  # a hint may be short
            bar.update(done - bar.n)

        yield show


def _as_json(value: object, indent: int | None = None) -> str:
    # Where the encoding lacks a character, the escape of the stream is none that JSON knows.
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    return json.dumps(value, ensure_ascii=plain, indent=indent)
