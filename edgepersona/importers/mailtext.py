"""The text of a mail: decoded, without quotes and signature."""

from __future__ import annotations

import codecs
import re

_NO_CHARSETS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"}

_ATTRIBUTION = re.compile(
    r"(On\b.*\bwrote|Am\b.*\bschrieb\b.*|Le\b.*\ba écrit|El\b.*\bescribió|Il\b.*\bha scritto)\s*:",
    re.IGNORECASE,
)
_FORWARDED = re.compile(
    r"-{2,}\s*(Original Message|Ursprüngliche Nachricht|Message d'origine|Mensaje original"
    r"|Forwarded message)\s*-{2,}|Begin forwarded message:",
    re.IGNORECASE,
)
_MAX_ATTRIBUTION_LINES = 3
_MAX_ATTRIBUTION_CHARS = 400


def decoded(data: bytes, charset: str | None) -> str:
    """Decode with the charset a mail declares; what does not fit is replaced, never refused."""
    try:
        name = codecs.lookup(charset or "utf-8").name
        if name not in _NO_CHARSETS:
            return data.decode(name, "replace")
    except (LookupError, ValueError):
        pass  # an unknown charset, or none that makes text: told from the bytes below
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def own_words(text: str) -> str:
    """Leave out quoted lines, the line that introduces them, what is forwarded, the signature."""
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    kept: list[str] = []
    quoting = False
    for line in lines:
        if line.startswith(">"):
            if not quoting:
                _drop_attribution(kept)
            quoting = True
            continue
        if line in ("--", "-- ") or _FORWARDED.fullmatch(line.strip()):
            break
        quoting = quoting and not line
        kept.append(line)
    _drop_attribution(kept)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def _drop_attribution(kept: list[str]) -> None:
    """Drop "On … wrote:" from the end, also where it was wrapped."""
    end = len(kept)
    while end and not kept[end - 1]:
        end -= 1
    if not end or not kept[end - 1].endswith(":"):
        return
    for start in range(end - 1, max(end - 1 - _MAX_ATTRIBUTION_LINES, -1), -1):
        if not kept[start]:
            return
        joined = " ".join(kept[start:end])
        if len(joined) > _MAX_ATTRIBUTION_CHARS:
            return
        if _ATTRIBUTION.fullmatch(joined.strip()):
            del kept[start:]
            return
