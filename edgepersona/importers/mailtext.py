"""The text of a mail: decoded, without markup, quotes and signature."""

from __future__ import annotations

import codecs
import re
from html.parser import HTMLParser

_NO_CHARSETS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"}
_UNSEEN_TAGS = {"head", "script", "style", "title", "blockquote", "template"}
_VOID_TAGS = {"br", "hr", "img", "input", "link", "meta", "wbr", "col", "area", "base", "source"}
_BLOCK_TAGS = {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "table"}

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


def html_to_text(markup: str) -> str:
    """Strip tags, scripts, styles and quoted blocks."""
    parser = _Text()
    parser.feed(markup)
    parser.close()
    lines = ("".join(parser.parts)).split("\n")
    return "\n".join(" ".join(line.split(" ")).strip() for line in lines)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen: list[str] = []  # open tags from the outermost unseen one on
        self._preformatted = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._unseen:
            if tag == self._unseen[0]:
                self._unseen.append(tag)
        elif tag in _UNSEEN_TAGS or (tag not in _VOID_TAGS and _is_quote(attrs)):
            self._unseen.append(tag)
        elif tag in _BLOCK_TAGS:
            self._preformatted += tag == "pre"
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            if tag == self._unseen[0]:
                self._unseen.pop()
        elif tag in _BLOCK_TAGS and tag != "br":
            self._preformatted = max(0, self._preformatted - (tag == "pre"))
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.parts.append(data if self._preformatted else re.sub(r"[ \t\r\n]+", " ", data))


def _is_quote(attrs: list[tuple[str, str | None]]) -> bool:
    return any(
        name == "class" and value and {"gmail_quote", "moz-cite-prefix"} & set(value.split())
        for name, value in attrs
    )
