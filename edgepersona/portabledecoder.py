"""The engine on TensorRT: a graph in standard operators, whose caches grow behind what they hold.

TensorRT compiles a graph for a range of shapes, and is fast where these are alike: so one engine
reads prompts and another single tokens. ONNX Runtime's provider keeps to one range a session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepersona.embeddings import Embeddings
from edgepersona.engines import EngineCache, Profile, Shape, engine_cache
from edgepersona.errors import EdgePersonaError, InputError
from edgepersona.memory import Binding, Rows
from edgepersona.providers import PROVIDERS
from edgepersona.runtime import Session, require

if TYPE_CHECKING:
    from edgepersona.bundle import Bundle
    from edgepersona.manifest import GeneratorSpec, Variant

_CONTEXT = 4096
"""The most positions that engines are built for: what they hold back grows with it."""

_PROMPT = 512
"""Tokens that the prompt's engine reads at once."""

_WANTED = 64
"""Tokens whose logits it gives at once: a row of them is as long as the vocabulary."""


class PortableDecoder:
    """A bundle's LLM on two engines, for prompts and for single tokens.

    Raises EdgePersonaError where the engines are not built yet: ``build_engines`` does that.
    ``session`` runs the graph in place of both, on whatever it was loaded for.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: Variant,
        *,
        threads: int | None = None,
        session: Session | None = None,
        build: Callable[[str], None] | None = None,
    ) -> None:
        spec = bundle.generator
        self.layers = spec.layers
        self.hidden = spec.hidden
        self.vocab = spec.vocab
        self.row = (spec.kv_heads, spec.head_dim)
        self.limits = limits(spec)
        self.context = self.limits.context
        self.variant = variant
        if session:
            self.prompts = self.tokens = session
        else:
            self.prompts, self.tokens = _open(bundle, variant, threads, build)
        self.provider = self.tokens.provider
        self._table = Embeddings(bundle.file(spec.embeddings), vocab=spec.vocab, hidden=spec.hidden)

    def embed(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Look token ids up: float32 (n, hidden)."""
        return self._table[ids]

    def start(self, *, capacity: int) -> PortableState:
        """Begin a sequence of at most ``capacity`` positions."""
        return PortableState(self, capacity=capacity)


class PortableState:
    """The KV cache of one sequence, position by position. Not for two threads at once."""

    def __init__(self, decoder: PortableDecoder, *, capacity: int) -> None:
        self._decoder = decoder
        self.capacity = min(capacity, decoder.context)
        self.length = 0
        kind = decoder.tokens.dtype("past_key_values.0.key")
        self._cache = {
            f"{layer}.{part}": decoder.tokens.buffer((self.capacity, *decoder.row), kind)
            for layer in range(decoder.layers)
            for part in ("key", "value")
        }
        self._position_bytes = len(self._cache) * int(np.prod(decoder.row)) * kind.itemsize
        self._kind = kind
        self._prompts, self._tokens = decoder.prompts.binding(), decoder.tokens.binding()

    def extend(self, vectors: NDArray[np.float32], *, wanted: int = 1) -> NDArray[np.float32]:
        """Read vectors (n, hidden); return the last ``wanted`` logits: (wanted, vocab)."""
        n, limits = len(vectors), self._decoder.limits
        if self.length + n > self.capacity:
            raise InputError(f"{self.length + n} tokens do not fit a cache of {self.capacity}")
        logits: NDArray[np.float32] = np.empty((wanted, self._decoder.vocab), np.float32)
        done, plain = 0, n - wanted
        while done < n:
            # Near the end of the context no whole piece fits: what is left goes one by one.
            count = min(limits.prompt, n - done) if self.length <= limits.prompt_past else 1
            count = min(count, max(plain - done, 0) + limits.wanted)
            end = done + count
            self._read(vectors[done:end], logits[max(done - plain, 0) : max(end - plain, 0)])
            done = end
        return logits

    def step(self, token: int) -> NDArray[np.float32]:
        """Read one token; return the logits after it: (vocab,)."""
        logits: NDArray[np.float32] = self.extend(self._decoder.embed([token]))[0]
        return logits

    def verify(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Read tokens; return the logits after each: (n, vocab)."""
        return self.extend(self._decoder.embed(tokens), wanted=len(tokens))

    def rewind(self, length: int) -> None:
        """Forget the positions from ``length`` on."""
        self._check(length)
        self.length = length

    def save(self, length: int) -> bytes:
        """Return the keys and values of the first ``length`` positions."""
        self._check(length)
        return b"".join(cache.read()[:length].tobytes() for cache in self._cache.values())

    def load(self, saved: bytes, length: int) -> None:
        """Take what ``save`` returned into an empty sequence; InputError where it does not fit."""
        fits = 0 <= length <= self.capacity and len(saved) == length * self._position_bytes
        if self.length or not fits:
            raise InputError("saved keys and values that do not fit this model, or a used sequence")
        shape = (len(self._cache), length, *self._decoder.row)
        rows = np.frombuffer(saved, self._kind).reshape(shape)
        for cache, first in zip(self._cache.values(), rows, strict=True):
            whole = cache.read()
            whole[:length] = first
            cache.write(whole)
        self.length = length

    def _read(self, vectors: NDArray[np.float32], logits: NDArray[np.float32]) -> None:
        """Run the graph once; ``logits`` (0..n, vocab) are those after the last vectors."""
        n, start = len(vectors), self.length
        # A graph without logits would be another one: one row too many where none is wanted.
        given = logits if len(logits) else np.empty((1, self._decoder.vocab), np.float32)
        binding: Binding = self._tokens if n == 1 else self._prompts
        caches = self._cache.items()
        binding.bind(
            {
                "inputs_embeds": np.ascontiguousarray(vectors[None], np.float32),
                "logits_at": np.arange(n - len(given), n, dtype=np.int32),
                **{f"past_key_values.{name}": Rows(cache, 0, start) for name, cache in caches},
            },
            {
                "logits": given[None],
                **{f"present.{name}": Rows(cache, start, n) for name, cache in caches},
            },
        )
        binding.run()
        self.length += n

    def _check(self, length: int) -> None:
        if not 0 <= length <= self.length:
            raise InputError(f"a sequence of {self.length} tokens has no first {length}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What engines are built for, in positions: none reads beyond ``context``."""

    context: int
    prompt: int
    """Of one piece of a prompt."""
    wanted: int
    """Of a piece that get logits."""

    @property
    def prompt_past(self) -> int:
        """The greatest past that a piece can follow: any piece may be of full length."""
        return self.context - self.prompt


def limits(spec: GeneratorSpec) -> Limits:
    """Return how far a model's engines reach."""
    context = min(spec.context, _CONTEXT)
    prompt = min(_PROMPT, max(1, context // 2))
    return Limits(context, prompt, min(_WANTED, prompt))


def build_engines(bundle: Bundle, variant: Variant, *, log: Callable[[str], None]) -> None:
    """Build a variant's engines for this GPU, run each once, and keep them; it takes minutes."""
    decoder = PortableDecoder(bundle, variant, build=log)
    state = decoder.start(capacity=min(8, decoder.context))
    state.extend(decoder.embed([0, 0]))
    state.step(0)
    engines(bundle, variant).seal()


def engines(bundle: Bundle, variant: Variant) -> EngineCache:
    """Return where a variant's engines are kept; EdgePersonaError where no GPU is found."""
    return engine_cache(bundle, variant, profiles(bundle.generator))


def profiles(spec: GeneratorSpec) -> dict[str, Profile]:
    """Return the shapes that each engine is built for: the least, the likeliest, the greatest."""
    reach = limits(spec)
    usual = reach.context // 4
    return {
        "prompt": _profile(
            spec,
            length=(1, reach.prompt, reach.prompt),
            wanted=(1, 1, reach.wanted),
            past=(0, 0, reach.prompt_past),
        ),
        "token": _profile(
            spec, length=(1, 1, 1), wanted=(1, 1, 1), past=(0, usual, reach.context - 1)
        ),
    }


_Range = tuple[int, int, int]


def _profile(spec: GeneratorSpec, *, length: _Range, wanted: _Range, past: _Range) -> Profile:
    def each(shape: Callable[[int], Shape], sizes: _Range) -> tuple[Shape, Shape, Shape]:
        least, usual, most = map(shape, sizes)
        return least, usual, most

    caches = [f"{i}.{part}" for i in range(spec.layers) for part in ("key", "value")]
    return {
        "inputs_embeds": each(lambda n: (1, n, spec.hidden), length),
        "logits_at": each(lambda n: (n,), wanted),
        **{
            f"past_key_values.{name}": each(lambda n: (1, n, spec.kv_heads, spec.head_dim), past)
            for name in caches
        },
    }


def _open(
    bundle: Bundle,
    variant: Variant,
    threads: int | None,
    build: Callable[[str], None] | None,
) -> tuple[Session, Session]:
    require(variant.target)
    cache = engines(bundle, variant)
    if build is None:
        cache.require_warm()
    cache.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in variant.files:
        bundle.file(name)
    sessions = []
    for name, profile in profiles(bundle.generator).items():
        if build:
            build(name)
        session = Session(
            bundle.file(variant.path),
            target=variant.target,
            threads=threads,
            options=cache.options(name, profile),
        )
        placed = session.placement()
        if placed and not placed.get(PROVIDERS[variant.target]):
            raise EdgePersonaError(f"TensorRT took no part of {variant.path}: {placed}")
        sessions.append(session)
    prompts, tokens = sessions
    return prompts, tokens
