"""What prompts begin with, kept read: keys and values of a beginning do not depend on the rest.

Sequences of finished answers stay in memory, so that a chat's next turn reads only what is new in
it. Between runs a profile keeps heads: what all prompts of a kind begin with.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgepersona import __version__
from edgepersona.decoder import Decoder, DecodingState
from edgepersona.errors import InputError

Position = int | bytes
"""What stands at a position: a token's id, or the bytes of a soft vector."""

_LAYOUT = "blocks"  # of saved keys and values; another one has another name

LEAST_HEAD = 16
"""A shorter beginning is read anew: keeping it takes as long."""


class SavedHeads(Protocol):
    """Where heads are kept between runs. What goes wrong there is no error of an answer's."""

    def load(self, key: bytes) -> bytes | None:
        """Return what was saved under ``key``; None where that is nothing, or not whole."""

    def note_use(self, key: bytes) -> bool:
        """Note that the head under ``key`` was used; say whether it is to be saved."""

    def save(self, key: bytes, state: bytes) -> None:
        """Keep ``state`` under ``key``."""

    def is_stale(self) -> bool:
        """Say whether records of the prompt may be gone by now: nothing of it is then kept."""


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    positions: Sequence[Position]
    state: DecodingState
    stem: int


class PrefixCache:
    """Sequences of one decoder that were read before. May be used from any thread.

    Parameters
    ----------
    generator_hash
        Tells the heads of this model from those of others.
    size_bytes
        What sequences may take together, the newest apart, which is kept whatever its size. Those
        not used for the longest go first. 0 keeps none.
    """

    def __init__(self, decoder: Decoder, generator_hash: str, *, size_bytes: int) -> None:
        self._decoder = decoder
        self._generator_hash = generator_hash
        self._size_bytes = size_bytes
        self._position_bytes = 0
        self._kept: list[_Kept] = []  # the last used last
        self._lock = threading.Lock()

    def take(
        self,
        positions: Sequence[Position],
        *,
        capacity: int,
        head: int = 0,
        saved: SavedHeads | None = None,
    ) -> DecodingState:
        """Return a sequence that has read what is known of ``positions``, for the caller alone.

        It has read at most all but the last; its ``length`` says. Where memory has less than the
        first ``head``, ``saved`` is asked for them.
        """
        if saved is not None and head >= LEAST_HEAD:
            with self._lock:
                _, common = self._longest(positions)
            if common < head and (data := saved.load(self.key(positions[:head]))) is not None:
                state = self._start(capacity)
                with contextlib.suppress(InputError):  # not of this decoder after all
                    state.load(data, head)
                    return state
        with self._lock:
            found, common = self._longest(positions)
            if found is not None:
                return self._split(found, common, capacity)
        return self._start(capacity)

    def put(
        self, positions: Sequence[Position], state: DecodingState, *, stem: int | None = None
    ) -> None:
        """Keep a sequence that has read ``positions``; it is the caller's no longer.

        What comes after the first ``stem`` of them matters to this answer alone.
        """
        if not self._size_bytes or not positions:
            return
        with self._lock:
            self._position_bytes = self._position_bytes or len(state.save(1))
            held = [kept for kept in self._kept if not _begins(positions, kept.positions)]
            stem = len(positions) if stem is None else stem
            self._kept, left = [_Kept(positions, state, stem)], self._size_bytes
            for kept in reversed(held):
                left -= kept.state.capacity * self._position_bytes
                if left < 0:
                    break
                self._kept.insert(0, kept)

    def clear(self) -> None:
        """Let go of all sequences."""
        with self._lock:
            self._kept = []

    def key(self, head: Sequence[Position]) -> bytes:
        """Return what tells a saved head from all others, of whatever model and version."""
        variant = self._decoder.variant
        # A state's bytes are its engine's; its numbers depend on weights and kernels.
        names = (variant.target, variant.precision, self._decoder.provider, __version__, _LAYOUT)
        found = hashlib.sha256("\0".join((self._generator_hash, *names, "")).encode())
        for position in head:
            part = position if isinstance(position, bytes) else position.to_bytes(8, "little")
            found.update(len(part).to_bytes(8, "little") + part)
        return found.digest()

    def _longest(self, positions: Sequence[Position]) -> tuple[_Kept | None, int]:
        """Return what has most in common with all but the last of ``positions``, and how much."""
        best, longest = None, 0
        for kept in self._kept:
            common = min(common_length(kept.positions, positions), len(positions) - 1)
            if common >= max(longest, LEAST_HEAD):
                best, longest = kept, common
        return best, longest

    def _split(self, found: _Kept, common: int, capacity: int) -> DecodingState:
        """Hand a sequence out that has read the first ``common``, and keep what is worth it."""
        self._kept.remove(found)
        # What is not common is given up where it is little, or no later turn begins with it: then
        # nothing is copied.
        if common < found.stem and len(found.positions) - common > common // 4:
            self._kept.append(found)
        elif found.state.capacity >= capacity:
            found.state.rewind(common)
            return found.state
        state = self._start(capacity)
        state.load(found.state.save(common), common)
        return state

    def _start(self, capacity: int) -> DecodingState:
        """Begin a sequence with room for a next turn, which else is copied into a larger one."""
        if self._size_bytes:
            more = min(capacity // 4, self._decoder.context - capacity)
            capacity += max(more, 0)
        return self._decoder.start(capacity=capacity)


def common_length(one: Sequence[Position], other: Sequence[Position]) -> int:
    """Return how many positions at the beginning are the same.

    >>> common_length([1, 2, 3, 4], [1, 2, 4])
    2
    """
    same, end = 0, min(len(one), len(other))
    if one[:end] == other[:end]:
        return end
    while end - same > 1:  # slices are compared in C
        middle = (same + end) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            end = middle
    return same


def _begins(whole: Sequence[Position], part: Sequence[Position]) -> bool:
    return len(part) <= len(whole) and common_length(whole, part) == len(part)
