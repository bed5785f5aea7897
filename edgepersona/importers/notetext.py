"""The parts of a note: title, date, text, from its front matter and headings."""

from __future__ import annotations

import re

_FRONT_MATTER_MARKS = ("---", "+++")
_MAX_FRONT_MATTER_LINES = 200
_FIELD = re.compile(r"(title|date)\s*[:=]\s*(.+)", re.IGNORECASE)
_ORG_FIELD = re.compile(r"#\+(title|date):\s*(.+)", re.IGNORECASE)
_MARKDOWN_HEADING = re.compile(r" {0,3}#{1,6}\s+(\S.*)")
_ORG_HEADING = re.compile(r"\*+\s+(.+)")
_FENCE = re.compile(r"\s*(```|~~~)")
_RULE = re.compile(r"([=\-`:.'\"~^_*+#])\1{2,}\s*")


def split_note(note: str, suffix: str) -> tuple[str, str, str]:
    """Return title, date and text of a note; a heading that opens it is not repeated in it."""
    lines = note.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    fields, lines = _front_matter(lines, suffix)
    blank = next((n for n, line in enumerate(lines) if line.strip()), len(lines))
    lines = lines[blank:]
    heading, first, last = _heading(lines, suffix)
    title = fields.get("title", "") or heading
    if heading == title and first == 0:
        lines = lines[last:]
    return " ".join(title.split()), fields.get("date", ""), "\n".join(lines).strip()


def _front_matter(lines: list[str], suffix: str) -> tuple[dict[str, str], list[str]]:
    fields: dict[str, str] = {}
    if suffix == ".org":
        for number, line in enumerate(lines):
            if line.strip() and not line.startswith("#+"):
                return fields, lines[number:]
            _take(fields, _ORG_FIELD.fullmatch(line.strip()))
        return fields, []
    mark = lines[0].rstrip()
    if mark not in _FRONT_MATTER_MARKS:
        return fields, lines
    for number, line in enumerate(lines[1:_MAX_FRONT_MATTER_LINES], start=1):
        if line.rstrip() == mark:
            return fields, lines[number + 1 :]
        _take(fields, _FIELD.fullmatch(line.rstrip()))
    return {}, lines  # never closed: a rule, not front matter


def _take(fields: dict[str, str], found: re.Match[str] | None) -> None:
    if found:
        fields.setdefault(found[1].lower(), found[2].strip().strip("\"'"))


def _heading(lines: list[str], suffix: str) -> tuple[str, int, int]:
    """Return the first heading, and the lines from and to which it goes."""
    fenced = False
    for number, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
        if fenced or suffix == ".txt" or not line.strip():
            continue
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if suffix == ".org":
            found = _ORG_HEADING.fullmatch(line.rstrip())
        elif suffix == ".rst":
            if not _RULE.fullmatch(line) and _RULE.fullmatch(below):
                over = number > 0 and bool(_RULE.fullmatch(lines[number - 1]))
                return line.strip(), number - over, number + 2
            found = None
        else:
            found = _MARKDOWN_HEADING.fullmatch(line.rstrip())
            if not found and re.fullmatch(r"={3,}\s*", below):
                return line.strip(), number, number + 2
        if found and (title := _without_closing_marks(found[1])):
            return title, number, number + 1
    return "", -1, -1


def _without_closing_marks(title: str) -> str:
    """Drop the marks that may close a heading: those after a space, so that C# stays."""
    bare = title.rstrip("#")
    return bare.rstrip() if not bare or bare[-1].isspace() else title.strip()
