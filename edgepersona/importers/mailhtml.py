"""The text of an HTML mail, in time linear in its size whatever the markup.

The standard library's parser takes quadratic time on unclosed tags: minutes for 100 kB, so that
one hostile mail would stop an import.
"""

from __future__ import annotations

import html
import re

_RAW_TAGS = ("script", "style", "title", "textarea", "xmp", "noscript", "template")
_QUOTE_TAG = "blockquote"
_QUOTE_CLASS = re.compile(r"\bclass\s*=[^>]{0,200}\b(gmail_quote|moz-cite-prefix)\b", re.IGNORECASE)
_VOID_TAGS = {"br", "hr", "img", "input", "link", "meta", "wbr", "col", "area", "base", "source"}
_BLOCK_TAGS = {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "table"}

_MARKUP = re.compile(r"<(?:!--|[!?]|(?P<end>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]{0,30}))")
_TAG_END = re.compile(r"=\s*(?P<quote>[\"'])|>")
_RAW_END = {tag: re.compile(f"</{tag}\\b", re.IGNORECASE) for tag in _RAW_TAGS}
_SPACE = re.compile(r"[ \t\r\n]+")


def html_to_text(markup: str) -> str:
    """Strip tags, scripts, styles and quoted blocks; what follows unclosed markup is left out."""
    seen = _Seen()
    at = 0
    while found := _MARKUP.search(markup, at):
        seen.words(markup[at : found.start()])
        at = _after(markup, found)
        if at < 0:
            break
        name = (found["name"] or "").lower()
        if found["end"]:
            seen.end(name)
        elif name in _RAW_END:
            closing = _RAW_END[name].search(markup, at)
            if not closing:
                at = -1
                break
            at = closing.start()
        elif name:
            seen.start(name, is_quote=bool(_QUOTE_CLASS.search(markup, found.start(), at)))
    if at >= 0:
        seen.words(markup[at:])
    return "\n".join(line.strip() for line in "".join(seen.parts).split("\n"))


def _after(markup: str, found: re.Match[str]) -> int:
    """Return where the markup that was found ends, -1 where it never does."""
    if found.group() == "<!--":
        end = markup.find("-->", found.start() + 2)
        return end + 3 if end >= 0 else -1
    at = found.end()
    while step := _TAG_END.search(markup, at):
        at = step.end()
        quote = step["quote"]
        if not quote:
            return at
        at = markup.find(quote, at) + 1
        if not at:
            return -1
    return -1


class _Seen:
    """What a reader of the mail would see of it, without what it quotes."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._quote = ""  # the tag that opened the quote we are in
        self._depth = 0  # how many of that tag are open

    def start(self, name: str, *, is_quote: bool) -> None:
        if self._depth:
            self._depth += name == self._quote
        elif name == _QUOTE_TAG or (is_quote and name not in _VOID_TAGS):
            self._quote, self._depth = name, 1
        elif name in _BLOCK_TAGS:
            self.parts.append("\n")

    def end(self, name: str) -> None:
        if self._depth:
            self._depth -= name == self._quote
        elif name in _BLOCK_TAGS:
            self.parts.append("\n")

    def words(self, text: str) -> None:
        if text and not self._depth:
            self.parts.append(html.unescape(_SPACE.sub(" ", text)))
