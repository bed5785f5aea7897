"""Answers in the form of a JSON schema: what would break it cannot be drawn."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import EdgePersonaError, InputError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_COMPILED = 16
"""Schemas kept ready."""

_MAX_SCHEMA_BYTES = 1 << 20


class Schemas:
    """Compiles JSON schemas for one tokenizer. May be used from any thread.

    Parameters
    ----------
    tokenizer
        A Hugging Face ``tokenizer.json``; it is read when the first schema comes.
    vocab
        How many logits there are: the model may have more than its tokenizer.
    stop_tokens
        What may come where the JSON is whole.
    """

    def __init__(self, tokenizer: Path, *, vocab: int, stop_tokens: Sequence[int]) -> None:
        self._file = tokenizer
        self._vocab = vocab
        self._stop_tokens = sorted(stop_tokens)
        self._tokenizer: LLTokenizer | None = None
        self._compiled: dict[str, LLMatcher] = {}  # the last used last
        self._lock = threading.Lock()

    def form(self, schema: Mapping[str, Any]) -> Form:
        """Return what holds one answer to ``schema``; InputError where it cannot be followed."""
        text = _as_json(schema)
        with self._lock:
            matcher = self._compiled.pop(text, None) or self._compile(text)
            self._compiled[text] = matcher
            if len(self._compiled) > _COMPILED:
                del self._compiled[next(iter(self._compiled))]
            return Form(matcher.deep_copy(), self._vocab)

    def _compile(self, schema: str) -> LLMatcher:
        try:
            from llguidance import LLMatcher, LLTokenizer
        except ImportError as error:
            raise EdgePersonaError(
                "llguidance is not installed: run pip install 'edgepersona[schema]'"
            ) from error
        if self._tokenizer is None:
            # Its text and not its path, which could be taken for the name of one elsewhere.
            self._tokenizer = LLTokenizer(
                self._file.read_text("utf-8"), n_vocab=self._vocab, eos_token=self._stop_tokens
            )
        try:
            # As json.dumps writes it: no room for a small model to go on with blanks for ever.
            grammar = LLMatcher.grammar_from_json_schema(
                schema,
                defaults={
                    "whitespace_flexible": False,
                    "item_separator": ", ",
                    "key_separator": ": ",
                },
            )
        except ValueError as error:
            raise _refusal(str(error)) from error
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise _refusal(matcher.get_error())
        probe = matcher.deep_copy()
        probe.compute_bitmask()
        if probe.is_stopped():  # before its first token
            raise _refusal("no JSON fits it")
        return matcher


class Form:
    """What may come next in one answer. Not for several threads."""

    def __init__(self, matcher: LLMatcher, vocab: int) -> None:
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

        self._matcher = matcher
        self._fill = fill_next_token_bitmask
        self._bits = allocate_token_bitmask(1, vocab)
        self._bytes = self._bits.view(np.uint8)[0]
        self._vocab = vocab

    def restrict(self, logits: NDArray[np.float32]) -> None:
        """Set the logits of all tokens that may not come next to -inf."""
        self._fill(self._matcher, self._bits)
        np.invert(self._bits, out=self._bits)
        forbidden = np.unpackbits(self._bytes, count=self._vocab, bitorder="little")
        np.copyto(logits, -np.inf, where=forbidden.view(np.bool_))

    def take(self, token: int) -> None:
        """Take in the token that was chosen."""
        if not self._matcher.consume_token(token):
            raise _refusal(self._matcher.get_error())

    @property
    def is_whole(self) -> bool:
        """Whether the JSON is complete, and nothing more can come."""
        return self._matcher.is_stopped()

    def forced(self) -> Sequence[int]:
        """Return the tokens that must come next, perhaps none."""
        return self._matcher.compute_ff_tokens()

    def permitted(self, tokens: Sequence[int]) -> int:
        """Return how many of ``tokens``, from the first on, may come next."""
        return self._matcher.validate_tokens(list(tokens))


def _as_json(schema: Mapping[str, Any]) -> str:
    if not isinstance(schema, Mapping):
        raise InputError(f"the schema is {type(schema).__name__}, expected a JSON object as a dict")
    try:
        text = json.dumps(dict(schema), ensure_ascii=False, allow_nan=False)
        size_bytes = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the schema is no JSON: {_line(str(error))}") from error
    if size_bytes > _MAX_SCHEMA_BYTES:
        raise InputError(
            f"the schema has {size_bytes:,} bytes, more than {_MAX_SCHEMA_BYTES:,}: shorten it"
        )
    return text


def _refusal(why: str) -> InputError:
    return InputError(f"the schema cannot be followed: {_line(why)}")


def _line(message: str) -> str:
    return " ".join(message.partition("<state>")[0].split())[:300]  # what follows is for debugging
