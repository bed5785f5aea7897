"""Text to tokens and back: the tokenizer, the chat template, and streams of whole characters."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgepersona.bundle import hash_file
from edgepersona.errors import BundleError

_MARK = re.compile("\ue000(\\d+)\ue001")


class Tokenizer:
    """A Hugging Face ``tokenizer.json``; adds no special tokens of its own accord."""

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer as Backend

        self._file = file
        try:
            self._backend = Backend.from_file(str(file))
        # The Rust library raises plain Exception for whatever it cannot read.
        except Exception as error:
            raise BundleError(f"{file}: is no tokenizer: {error}") from error
        self._backend.no_padding()
        self._backend.no_truncation()
        # Words that look like control tokens are the user's words, not control tokens: a mail
        # that quotes "<|im_end|>" must not end the turn.
        self._backend.encode_special_tokens = True
        added = self._backend.get_added_tokens_decoder()
        self._control = {token.content: i for i, token in added.items() if token.special}
        longest_first = sorted(self._control, key=len, reverse=True)
        self._pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of the file: tokens kept elsewhere belong to it."""
        return hash_file(self._file)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of plain text; control tokens in it are read as plain text."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """Return for each text what ``encode`` does, many at once."""
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_template(self, text: str) -> list[int]:
        """Return the token ids of a chat template's own text, control tokens as such."""
        # Through a pattern: the backend's flag would change encode() in other threads too.
        ids: list[int] = []
        for piece in self._pattern.split(text) if self._control else [text]:
            if piece in self._control:
                ids.append(self._control[piece])
            elif piece:
                ids.extend(self.encode(piece))
        return ids

    def encode_batch(self, texts: Sequence[str], *, max_tokens: int) -> list[list[int]]:
        """Return for each text its ids with the model's special tokens, at most ``max_tokens``."""
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=True)
        return [_cut(e.ids, max_tokens) for e in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, control tokens left out."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=True)
        return text


class TextStream:
    """Turns tokens into text as they come, and never gives out half a character.

    ``"".join(stream.add(i) for i in ids) + stream.flush()`` equals ``tokenizer.decode(ids)``, or,
    where ``trim`` is set, this without the space that it begins with.
    """

    def __init__(self, tokenizer: Tokenizer, *, trim: bool = False) -> None:
        self._tokenizer = tokenizer
        self._trim = trim
        self._ids: list[int] = []
        self._start = 0  # the first id of the window that is decoded
        self._read = 0  # ids before this one were given out

    def add(self, token: int) -> str:
        """Take one token; return the text that became whole with it, perhaps none."""
        self._ids.append(token)
        text = self._pending()
        if text.endswith("\ufffd"):  # the bytes of a character that is not whole yet
            return ""
        self._start, self._read = self._read, len(self._ids)
        return self._trimmed(text)

    def flush(self) -> str:
        """Return what is left at the end: a broken character comes out as U+FFFD."""
        text = self._pending()
        self._start, self._read = self._read, len(self._ids)
        return self._trimmed(text)

    def _trimmed(self, text: str) -> str:
        if self._trim:
            text = text.lstrip()
            self._trim = not text
        return text

    def _pending(self) -> str:
        # Decoders of the SentencePiece kind drop the space before a first token: decode with the
        # tokens given out last before it, and take what comes after their text.
        given = self._tokenizer.decode(self._ids[self._start : self._read])
        return self._tokenizer.decode(self._ids[self._start :])[len(given) :]


class StopStrings:
    """Ends a stream of text at the first stop string, which itself is never given out."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def add(self, text: str) -> str:
        """Return the text that no stop string can begin in any more."""
        self._held += text
        cut = min((at for stop in self._stops if (at := self._held.find(stop)) >= 0), default=-1)
        if cut >= 0:
            self.found = True
            given, self._held = self._held[:cut], ""
            return given
        keep = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        given, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return given

    def flush(self) -> str:
        """Return the text held back, now that no more can come."""
        held, self._held = self._held, ""
        return held


class ChatTemplate:
    """A Jinja chat template, run in a sandbox, as a bundle carries it.

    Renders with marks in place of every content, so that what people wrote is never read as part
    of the template's own control tokens.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _raise_template_error
        self._error: type[Exception] = TemplateError
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise BundleError(f"the chat template cannot be read: {error}") from error

    def lay_out(self, system: str, roles: Sequence[str]) -> list[str | int]:
        """Return the conversation as pieces: the template's text, and the numbers of contents.

        Content 0 is the system text, content i the i-th of ``roles``. An empty system text is
        left out; a model without a system role finds it before the first user text.
        """
        turns = [{"role": role, "content": _mark(i)} for i, role in enumerate(roles, start=1)]
        head = [{"role": "system", "content": _mark(0)}] if system else []
        try:
            return _pieces(self._render([*head, *turns]))
        except self._error as error:
            if not system:
                raise BundleError(f"the chat template failed: {error}") from error
        turns[0]["content"] = f"{_mark(0)}\n\n{turns[0]['content']}"
        try:
            return _pieces(self._render(turns))
        except self._error as error:
            raise BundleError(f"the chat template failed: {error}") from error

    def _render(self, messages: list[dict[str, str]]) -> str:
        return self._template.render(messages=messages, add_generation_prompt=True, **self._tokens)


def _pieces(rendered: str) -> list[str | int]:
    parts = _MARK.split(rendered)
    return [int(part) if i % 2 else part for i, part in enumerate(parts) if i % 2 or part]


def _mark(number: int) -> str:
    return f"\ue000{number}\ue001"


def _raise_template_error(message: str) -> Any:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of ``text`` could begin ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _cut(ids: list[int], max_tokens: int) -> list[int]:
    # The last id is the end marker of BERT-like models: keep it when the middle is cut.
    return ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]]
