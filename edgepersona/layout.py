"""Lays a Prompt out as the tokens and vectors a generator reads, and makes it fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from edgepersona.errors import InputError
from edgepersona.prefixes import Position
from edgepersona.prompt import Prompt, SoftSegment, TextSegment
from edgepersona.text import ChatTemplate, Tokenizer

Part = list[int] | NDArray[np.float32]
"""Token ids, or soft vectors (n, d)."""

_MIN_INPUT_TOKENS = 32
"""Below this many tokens of the user's own words an answer would be about something else."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A prompt in the order the model reads it, and what was left out of it for room."""

    parts: tuple[Part, ...]
    records: tuple[str, ...]
    dropped: tuple[str, ...]
    dropped_turns: int
    input_tokens_dropped: int
    opening: str = ""
    """What the answer begins with, the last of the parts."""
    head: int = 0
    """How many positions, from the first on, other prompts of the kind begin with as well."""
    stem: int = 0
    """How many come before the last turn's own segments: a next turn begins with these."""

    @property
    def positions(self) -> list[Position]:
        """What stands at each position."""
        positions: list[Position] = []
        for part in self.parts:
            positions += part if isinstance(part, list) else [row.tobytes() for row in part]
        return positions

    def vectors(
        self, embed: Callable[[list[int]], NDArray[np.float32]], start: int
    ) -> NDArray[np.float32]:
        """Return the vectors from position ``start`` on, tokens looked up by ``embed``."""
        found = []
        for part in self.parts:
            if start < len(part):
                left = part[start:]
                found.append(embed(left) if isinstance(left, list) else left)
            start = max(0, start - len(part))
        return np.concatenate(found)

    @property
    def token_count(self) -> int:
        """Positions the prompt takes, soft vectors included."""
        return sum(len(part) for part in self.parts)

    @property
    def token_ids(self) -> list[int]:
        """The ids of all text, for penalties that look at the prompt."""
        return [i for part in self.parts if isinstance(part, list) for i in part]


def lay_out(
    prompt: Prompt, tokenizer: Tokenizer, template: ChatTemplate, *, max_tokens: int
) -> Layout:
    """Lay ``prompt`` out in at most ``max_tokens`` positions.

    What goes first is said at ``Prompt``. Raises InputError where even the cut prompt is too long.
    """
    segments: list[tuple[Part, str]] = [
        (tokenizer.encode(s.text), s.record_id) if isinstance(s, TextSegment) else (s.vectors, "")
        for s in prompt.segments
    ]
    turns = [(role, tokenizer.encode(text)) for role, text in prompt.turns]
    system, opening = tokenizer.encode(prompt.system), tokenizer.encode(prompt.opening)
    dropped: list[str] = []
    dropped_turns = input_tokens_dropped = 0
    while True:
        frame = template.lay_out(prompt.system, [*(role for role, _ in turns), "user"])
        contents: list[list[Part]] = [[system]]
        contents += [[ids] for _, ids in turns]
        contents.append([part for part, _ in segments])
        parts = _assemble([*frame, len(contents)], [*contents, [opening]], tokenizer)
        excess = sum(map(len, parts)) - max_tokens
        if excess <= 0:
            break
        history = [i for i, (_, record_id) in enumerate(segments) if record_id]
        if history:
            dropped.append(segments.pop(history[0])[1])
        elif turns:
            turns.pop(0)
            dropped_turns += 1
        else:
            input_tokens_dropped += _cut_longest(segments, excess, max_tokens)
    head, stem = _beginnings(frame, contents, tokenizer)
    if head == stem and not input_tokens_dropped:  # no turns between
        head += sum(len(part) for part, _ in segments[: prompt.constant])
    return Layout(
        parts=tuple(parts),
        records=_records(segments, prompt),
        dropped=tuple(dropped),
        dropped_turns=dropped_turns,
        input_tokens_dropped=input_tokens_dropped,
        opening=prompt.opening,
        head=head,
        stem=stem,
    )


def _records(segments: list[tuple[Part, str]], prompt: Prompt) -> tuple[str, ...]:
    """Return the ids of the records that are left, each once: those in words, then soft ones."""
    soft = (s.records for s in prompt.segments if isinstance(s, SoftSegment))
    shown = (record_id for _, record_id in segments if record_id)
    return tuple(dict.fromkeys([*shown, *chain.from_iterable(soft)]))


def _assemble(
    frame: list[str | int], contents: list[list[Part]], tokenizer: Tokenizer
) -> list[Part]:
    """Put the contents into the template's frame; neighbouring texts become one part."""
    parts: list[Part] = []
    for piece in frame:
        for part in (
            [tokenizer.encode_template(piece)] if isinstance(piece, str) else contents[piece]
        ):
            if parts and isinstance(part, list) and isinstance(last := parts[-1], list):
                parts[-1] = last + part
            else:
                parts.append(part)
    return parts


def _beginnings(
    frame: list[str | int], contents: list[list[Part]], tokenizer: Tokenizer
) -> tuple[int, int]:
    """Return how many positions stand before the first turn, and before the last."""
    before: list[int] = []
    count = 0
    for piece in frame:
        if isinstance(piece, str):
            count += len(tokenizer.encode_template(piece))
        else:
            if piece:
                before.append(count)
            count += sum(map(len, contents[piece]))
    return before[0], before[-1]


def _cut_longest(segments: list[tuple[Part, str]], excess: int, max_tokens: int) -> int:
    texts = [i for i, (part, _) in enumerate(segments) if isinstance(part, list)]
    longest = max(texts, key=lambda i: len(segments[i][0]), default=None)
    length = len(segments[longest][0]) if longest is not None else 0
    if longest is None or length - excess < min(_MIN_INPUT_TOKENS, length):
        raise InputError(
            f"the prompt needs {max_tokens + excess:,} tokens without any history, the context "
            f"leaves {max_tokens:,}: ask something shorter, or ask for fewer new tokens"
        )
    part, record_id = segments[longest]
    segments[longest] = (part[: length - excess], record_id)
    return excess
