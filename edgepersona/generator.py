"""The small local LLM: prefill, then one token at a time, streamed as text."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepersona.bundle import Bundle
from edgepersona.circles import hold_back
from edgepersona.decoder import PREFILL_CHUNK, Decoder, DecodingState, open_best, read_prompt
from edgepersona.drafting import Continuations, Drafting
from edgepersona.errors import EdgePersonaError, InputError
from edgepersona.layout import Layout, lay_out
from edgepersona.mixture import Mixture, without_persona
from edgepersona.passcosts import PassCosts
from edgepersona.prefixes import LEAST_HEAD, PrefixCache, SavedHeads
from edgepersona.prompt import Prompt, SoftSegment
from edgepersona.sampling import Sampler, SamplingParams
from edgepersona.structured import Form, Schemas
from edgepersona.text import ChatTemplate, StopStrings, TextStream, Tokenizer
from edgepersona.variants import Choice

_SCORED_CHUNK = 64
"""Tokens whose logits are held at once while the likelihood of a text is read."""


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer and how it came about; times in seconds."""

    text: str
    finish_reason: str
    """``stop`` (by the model or a stop string), ``length``, ``context`` or ``cancelled``."""
    prompt_tokens: int
    """Positions of the prompt, soft vectors included."""
    new_tokens: int
    ttft_s: float
    """From the start of prefill to the first token."""
    decode_s: float
    """From the first token to the last."""
    records: tuple[str, ...]
    """Ids of the records that stood in the prompt."""
    dropped: tuple[str, ...]
    """Ids of the records that were left out for room."""
    input_tokens_dropped: int
    seed: int
    provider: str
    strategy: str = ""
    left_out: tuple[str, ...] = ()
    """Faster variants of the model that do not run here, each with the reason."""
    drafted: int = 0
    """Tokens that were guessed and read along."""
    accepted: int = 0
    """Those of them that came."""
    reused_tokens: int = 0
    """Positions of the prompt that were read before, by an earlier answer or in an earlier run."""
    notes: tuple[str, ...] = ()
    """What the strategy has to say of the prompt, such as that there is no history yet."""

    @property
    def tokens_per_s(self) -> float:
        """Decoding speed, the first token left out; 0 where only one token came."""
        return (self.new_tokens - 1) / self.decode_s if self.new_tokens > 1 else 0.0


class Generator:
    """A bundle's LLM. Streams of one generator may run side by side.

    Parameters
    ----------
    bundle
        Where the model is; its hashes are checked here.
    threads
        Of one run; by default the physical cores.
    max_context
        Positions of prompt and answer together, at most what the model was made for. The cache
        grows with what is asked, not with this.
    target
        Where to run: ``cpu``, ``cuda``, ``tensorrt``, or a variant such as ``cuda-int4``. Without
        it ``EDGEPERSONA_TARGET`` says, or else the fastest variant that loads is taken; ``choice``
        then says which, and why none before it.
    cache_bytes
        What sequences of earlier prompts and answers may take in memory, so that what a prompt has
        in common with one of them is not read again. The last one is kept whatever its size; 0
        keeps none.
    decoder
        What runs the model in place of the engine that the bundle would be loaded on.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        max_context: int = 4096,
        target: str | None = None,
        cache_bytes: int = 64 << 20,
        decoder: Decoder | None = None,
    ) -> None:
        spec = bundle.generator
        self.hash = bundle.generator_hash
        self.tokenizer = Tokenizer(bundle.file(spec.tokenizer))
        self.stop_tokens = frozenset(spec.stop_tokens)
        self._template = ChatTemplate(
            spec.chat_template, bos_token=spec.bos_token, eos_token=spec.eos_token
        )
        if decoder is None:
            decoder, self.choice = open_best(bundle, threads=threads, target=target)
        else:
            self.choice = Choice(decoder.variant, decoder.provider)
        self.decoder = decoder
        self.context = min(max_context, self.decoder.context)
        self.costs = PassCosts()
        self._schemas = Schemas(
            bundle.file(spec.tokenizer), vocab=decoder.vocab, stop_tokens=spec.stop_tokens
        )
        self.prefixes = PrefixCache(decoder, self.hash, size_bytes=cache_bytes)

    def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        schema: Mapping[str, Any] | None = None,
        strategy: str = "",
        continuations: Continuations | None = None,
        heads: SavedHeads | None = None,
    ) -> Stream:
        """Start an answer; text comes out of the returned Stream as it is made.

        With a JSON ``schema`` the answer is JSON that fits it, unless it ends for another reason
        than ``stop``. The prompt's bias is applied to every token, before the schema and
        ``params``; an answer that is to be ``brief`` is kept from going in circles.

        Tokens are drafted from the prompt, the answer itself and ``continuations``, unless
        ``params.drafts`` is off: the same answer, sooner. ``heads`` keep what prompts begin with
        between runs. Raises InputError where the user's own words do not fit the context, or where
        the schema cannot be followed.
        """
        params = params or SamplingParams()
        if schema is not None and params.stop:
            raise InputError("stop texts would cut JSON anywhere: give a schema, or them")
        form = None if schema is None else self._schemas.form(schema)
        for segment in prompt.segments:
            if isinstance(segment, SoftSegment):
                _check_vectors(segment.vectors, self.decoder.hidden)
        if form is not None:  # JSON begins with itself
            prompt = replace(prompt, opening="")
        # A prompt is worth more than a long answer: the answer is promised a quarter at most.
        promised = min(params.max_new_tokens, self.context // 4)
        layout = self._lay_out(prompt, promised)
        plain = self._lay_out(without_persona(prompt), promised) if prompt.mixed else None
        return Stream(self, layout, params, strategy, form, continuations, heads, prompt, plain)

    def _lay_out(self, prompt: Prompt, promised: int) -> Layout:
        room = self.context - promised
        return lay_out(prompt, self.tokenizer, self._template, max_tokens=room)


class Stream:
    """An answer in the making: iterate for its text, then read ``result``.

    May be iterated once. ``cancel`` may be called from any thread.
    """

    def __init__(
        self,
        generator: Generator,
        layout: Layout,
        params: SamplingParams,
        strategy: str,
        form: Form | None,
        continuations: Continuations | None,
        heads: SavedHeads | None,
        prompt: Prompt,
        plain: Layout | None,
    ) -> None:
        self.layout = layout
        self.choice = generator.choice
        self.at_end: Callable[[], None] | None = None
        """Called when the answer is whole, and nothing of it is left to do."""
        self._generator = generator
        seed = secrets.randbits(32) if params.seed is None else params.seed
        self._params = replace(params, seed=seed)
        self._seed = seed
        self._strategy = strategy
        self._form = form
        self._continuations = continuations
        self._heads = heads
        self._bias = prompt.bias
        self._plain = plain
        self._brief = prompt.brief and form is None  # JSON says the same marks again and again
        self._notes = prompt.notes
        self._positions = layout.positions
        self._cancelled = threading.Event()
        self._result: Generation | None = None
        self._pieces = self._run()

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def cancel(self) -> None:
        """End the answer after the token now being made; its text so far is kept."""
        self._cancelled.set()

    @property
    def result(self) -> Generation:
        """The whole answer; raises EdgePersonaError before its end."""
        if self._result is None:
            raise EdgePersonaError("the answer is not finished: iterate over the stream first")
        return self._result

    def log_probs(
        self, answer: str, *, temperatures: Sequence[float] = (1.0,)
    ) -> NDArray[np.float32]:
        """Return how likely each token of ``answer`` would be: natural logarithms, float32 (t, n).

        A row for each of ``temperatures``. The tokens are those of the text, behind a space where
        the prompt opens the answer, and without an end; those beyond the context are left out.
        Nothing is generated, and the answer that iterating gives is no other for it.
        """
        generator, prompt_tokens = self._generator, self.layout.token_count
        space = " " if self.layout.opening else ""
        ids = generator.tokenizer.encode(space + answer)[: generator.context - prompt_tokens]
        positions = [*self._positions, *ids]
        state = generator.prefixes.take(positions, capacity=len(positions))
        state.rewind(min(state.length, prompt_tokens - 1))
        embed = generator.decoder.embed
        vectors = self.layout.vectors(embed, state.length)
        if ids[:-1]:  # nothing is asked of the logits after the last one
            vectors = np.concatenate([vectors, embed(ids[:-1])])
        unscored = len(vectors) - len(ids)
        for start in range(0, unscored, PREFILL_CHUNK):
            state.extend(vectors[start : min(start + PREFILL_CHUNK, unscored)], wanted=0)
        mixture = self._mixture(state, room=len(ids))
        found = np.empty((len(temperatures), len(ids)), np.float32)
        for start in range(0, len(ids), _SCORED_CHUNK):
            some = slice(start, min(start + _SCORED_CHUNK, len(ids)))
            logits = state.extend(vectors[unscored:][some], wanted=some.stop - start)
            for at, row in enumerate(logits, start=start):
                self._steer(row, ids[:at], mixture)
            for row, temperature in enumerate(temperatures):
                found[row, some] = _log_probs(logits, ids[some], temperature)
        generator.prefixes.put(positions[: state.length], state)
        return found

    def _run(self) -> Iterator[str]:
        params, generator, form = self._params, self._generator, self._form
        prompt_tokens, ids = self.layout.token_count, self.layout.token_ids
        limit = min(params.max_new_tokens, generator.context - prompt_tokens)
        sampler = Sampler(params, ids)
        text = TextStream(generator.tokenizer, trim=bool(self.layout.opening))
        stops = StopStrings(params.stop)
        given: list[str] = []
        tokens: list[int] = []
        started = first = last = time.perf_counter()
        reason = "cancelled"
        state = generator.prefixes.take(
            self._positions,
            capacity=prompt_tokens + limit,
            head=self.layout.head,
            saved=self._heads,
        )
        reused = state.length
        logits = self._prefill(state)
        mixture = self._mixture(state, room=limit, is_cancelled=self._cancelled.is_set)
        passes = Drafting(
            state,
            ids,
            limit=limit,
            costs=generator.costs,
            enabled=params.drafts,
            restraint=form,
            continuations=self._continuations,
        )
        try:
            while logits is not None and not self._cancelled.is_set():
                self._steer(logits, tokens, mixture)
                if form:  # after the bias, which may bring back what is ruled out
                    form.restrict(logits)
                token = sampler.sample(logits)
                last = time.perf_counter()
                if not tokens:
                    first = last
                tokens.append(token)
                if token in generator.stop_tokens:
                    reason = "stop"
                    break
                if form:
                    form.take(token)
                if piece := stops.add(text.add(token)):
                    given.append(piece)
                    yield piece
                if stops.found or (form and form.is_whole):
                    reason = "stop"
                    break
                if len(tokens) == limit:
                    reason = "length" if limit == params.max_new_tokens else "context"
                    break
                logits = passes.after(token)
            if not stops.found and (piece := stops.add(text.flush()) + stops.flush()):
                given.append(piece)
                yield piece
        except GeneratorExit:  # nobody wants the rest
            passes.settle()
            self._keep(state, tokens)
            raise
        self._result = Generation(
            text="".join(given),
            finish_reason=reason,
            prompt_tokens=prompt_tokens,
            new_tokens=len(tokens),
            ttft_s=first - started,
            decode_s=last - first,
            records=self.layout.records,
            dropped=self.layout.dropped,
            input_tokens_dropped=self.layout.input_tokens_dropped,
            seed=self._seed,
            provider=generator.decoder.provider,
            strategy=self._strategy,
            left_out=self.choice.left_out,
            drafted=passes.drafted,
            accepted=passes.accepted,
            reused_tokens=reused,
            notes=self._notes,
        )
        passes.settle()
        data = self._unsaved_head(state)
        self._keep(state, tokens)
        if data and self._heads is not None:
            self._heads.save(self._head_key(), data)
        if self.at_end is not None:
            self.at_end()

    def _mixture(
        self, state: DecodingState, *, room: int, is_cancelled: Callable[[], bool] = lambda: False
    ) -> Mixture | None:
        """Read the prompt without its persona, where that is mixed into the answer."""
        if self._plain is None:
            return None
        mixture = Mixture(self._generator.decoder, self._plain, room=room)
        mixture.begin(self.layout, state, is_cancelled)
        return mixture

    def _steer(
        self, logits: NDArray[np.float32], answer: Sequence[int], mixture: Mixture | None
    ) -> None:
        """Change the logits of what follows ``answer`` as the prompt asks."""
        self._bend(logits, answer)
        if mixture:
            mixture.mix(logits, answer, self._bend)

    def _bend(self, logits: NDArray[np.float32], answer: Sequence[int]) -> None:
        if self._bias:
            self._bias.apply(logits, answer)
        if self._brief:
            hold_back(logits, answer)

    def _prefill(self, state: DecodingState) -> NDArray[np.float32] | None:
        """Read what the state has not read of the prompt; None where that was cancelled."""
        vectors = self.layout.vectors(self._generator.decoder.embed, state.length)
        return read_prompt(state, vectors, self._cancelled.is_set)

    def _unsaved_head(self, state: DecodingState) -> bytes:
        """Return the state of the prompt's head, nothing where it need not be saved."""
        head = self.layout.head
        if self._heads is None or not LEAST_HEAD <= head <= state.length:
            return b""
        return state.save(head) if self._heads.note_use(self._head_key()) else b""

    def _head_key(self) -> bytes:
        return self._generator.prefixes.key(self._positions[: self.layout.head])

    def _keep(self, state: DecodingState, tokens: list[int]) -> None:
        """Keep what was read, for later answers, whose the state is from here on."""
        prefixes = self._generator.prefixes
        read = [*self._positions, *tokens][: state.length]
        prefixes.put(read, state, stem=self.layout.stem)
        # Asked afterwards: a record that goes after this question is followed by a clear().
        if self._heads is not None and self._heads.is_stale():
            prefixes.clear()


def _log_probs(
    logits: NDArray[np.float32], ids: Sequence[int], temperature: float
) -> NDArray[np.float32]:
    """Return the logarithm of each token's share in its row of logits."""
    scaled = (logits - logits.max(axis=1, keepdims=True)) / np.float32(temperature)
    chosen = scaled[np.arange(len(ids)), ids]
    shares: NDArray[np.float32] = chosen - np.log(np.exp(scaled, out=scaled).sum(axis=1))
    return shares


def _check_vectors(vectors: NDArray[np.float32], hidden: int) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != hidden or vectors.dtype != np.float32:
        raise InputError(
            f"soft vectors are {vectors.dtype} {vectors.shape}, this model reads float32 "
            f"(n, {hidden}): they were made for another one"
        )
    if not np.isfinite(vectors).all():
        raise InputError("soft vectors hold NaN or infinity")
