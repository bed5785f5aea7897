"""Run strategies over questions: each question's profile is made, asked, and thrown away."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepersona import __version__
from edgepersona.evaluation.answers import Answer
from edgepersona.prefixes import common_length
from edgepersona.prompt import TextSegment
from edgepersona.records import Record, Task
from edgepersona.sampling import SamplingParams
from edgepersona.strategies.wording import write_prompt

if TYPE_CHECKING:
    from collections.abc import Generator as Answers
    from collections.abc import Iterator, Sequence

    from edgepersona.bundle import Bundle
    from edgepersona.evaluation.answers import Journal
    from edgepersona.evaluation.benchmarks import Benchmark
    from edgepersona.evaluation.profiles import Profiles
    from edgepersona.evaluation.questions import Question
    from edgepersona.generator import Generator, Stream
    from edgepersona.prefixes import Position
    from edgepersona.profile import Profile

TEMPERATURES = tuple(2 ** (step / 4) for step in range(-4, 13))
"""Where likelihoods are measured: from 1/2 to 8; between them they are interpolated."""

CACHE_BYTES = 256 << 20
"""What a generator should keep of prompts: what rows of a question begin with is read once."""

_READ_THE_BUNDLE_ALONE = frozenset({"none", "recent", "rag", "cache"})
"""Parts of strategies that use no file of the bundle but the embedder's and the generator's."""

_MODELS = ("embedder/", "generator/")
"""Where the bundle's files of either lie."""

_HISTORIES = ("none", "own", "other")


@dataclass(frozen=True, slots=True)
class Models:
    """What answers: profiles on a bundle, and an LLM of one's own."""

    bundle: Bundle
    profiles: Profiles
    generator: Generator


@dataclass(frozen=True, slots=True)
class Case:
    """A question and, for the control, whose history stands in for its user's own."""

    question: Question
    other: Question | None = None
    scored_only: bool = False
    """Whether only the likelihood of the true answer is wanted, and nothing generated."""

    @property
    def histories(self) -> Iterator[tuple[str, tuple[Record, ...]]]:
        """What is read in place of the history, by name."""
        yield "own", self.question.history
        if self.other is not None:
            yield "other", self.other.history


@dataclass(frozen=True, slots=True)
class Row:
    """A strategy with a history: a row of the report."""

    strategy: str
    history: str


@dataclass(frozen=True, slots=True)
class _Read:
    """A prompt of the question at hand, and how long reading it takes."""

    positions: Sequence[Position]
    ttft_s: float


def rows(strategies: Sequence[str], *, control: bool) -> list[Row]:
    """Return the rows of a run: the LLM alone first, then each strategy with each history."""
    found = [Row("none", "none")]
    for strategy in dict.fromkeys(strategies):
        if strategy != "none":
            found.append(Row(strategy, "own"))
            found += [Row(strategy, "other")] if control else []
    return found


class Run:
    """Makes the answers that a journal does not hold yet.

    Parameters
    ----------
    benchmark
        The task.
    models
        What answers; the generator should keep ``CACHE_BYTES`` of prompts.
    journal
        Where answers are kept.
    max_new_tokens
        Of an answer; by default what suits the task.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        models: Models,
        journal: Journal,
        *,
        max_new_tokens: int | None = None,
    ) -> None:
        self.models = models
        self._journal = journal
        self.params = SamplingParams(
            max_new_tokens=max_new_tokens or benchmark.max_new_tokens,
            temperature=0.0,
            stop=("\n",) if benchmark.one_line else (),
        )
        self._settings = _settings(benchmark, models, self.params)
        self._other_files = _other_files(models.bundle)

    def key(self, case: Case, row: Row) -> str:
        """Return what an answer is kept under: a hash of all that it depends on."""
        parts = [self._settings, case.question.hash, row.strategy, row.history]
        if not _READ_THE_BUNDLE_ALONE.issuperset(row.strategy.split("+")):
            parts.append(self._other_files)
        if row.history == "other" and case.other is not None:
            parts.append(case.other.hash)
        if case.scored_only:
            parts.append("scored only")
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:24]

    def missing(self, case: Case, wanted: Sequence[Row]) -> list[Row]:
        """Return for which rows an answer to a question is still to be made."""
        return [row for row in wanted if self.key(case, row) not in self._journal]

    def check(self, task: Task, strategies: Sequence[str]) -> None:
        """Raise what would be raised for each question, as where the bundle lacks a part."""
        with self.models.profiles.open((), self.models.generator) as profile:
            for strategy in strategies:
                profile.stream(task, strategy=strategy, params=self.params)

    def answer(self, case: Case, wanted: Sequence[Row]) -> Answers[Answer, None, None]:
        """Yield the answers of one question; those that are missing are made and kept first.

        First without a history, then own, then other: prompts of a history often begin alike.
        """
        histories = dict(case.histories)
        read: list[_Read] = []
        with ExitStack() as opened:
            profiles: dict[str, Profile] = {}
            for row in sorted(wanted, key=_place):
                key = self.key(case, row)
                if key not in self._journal:
                    history = "own" if row.history == "none" else row.history
                    if history not in profiles:
                        profiles[history] = opened.enter_context(
                            self.models.profiles.open(histories[history], self.models.generator)
                        )
                    self._journal.add(self._make(key, case, row, profiles[history], read))
                yield self._journal[key]

    def _make(self, key: str, case: Case, row: Row, profile: Profile, read: list[_Read]) -> Answer:
        question = case.question
        if "cache" in row.strategy.split("+"):
            profile.weigh(question.task)  # else done between answers, for later ones
        started = time.perf_counter()
        stream = profile.stream(question.task, strategy=row.strategy, params=self.params)
        write_s = time.perf_counter() - started
        made: dict[str, Any] = {} if case.scored_only else _generated(stream, write_s, read)
        log_probs = stream.log_probs(question.answer.strip(), temperatures=TEMPERATURES)
        return Answer(
            key=key,
            question=question.id,
            strategy=row.strategy,
            history=row.history,
            nats=tuple(round(float(-total), 5) for total in log_probs.sum(axis=1)),
            true_tokens=log_probs.shape[1],
            prompt_tokens=stream.layout.token_count,
            records=len(stream.layout.records),
            **made,
        )


def _place(row: Row) -> tuple[int, str]:
    return _HISTORIES.index(row.history), row.strategy


def _generated(stream: Stream, write_s: float, read: list[_Read]) -> dict[str, Any]:
    """Finish an answer; say what came and how long it took.

    What an earlier row of the question had read already was not read again: the time that it took
    there counts, in proportion to the positions.
    """
    for _ in stream:
        pass
    result = stream.result
    positions = stream.layout.positions
    saved_s = 0.0
    for earlier in read:
        same = min(common_length(earlier.positions, positions), result.reused_tokens)
        saved_s = max(saved_s, earlier.ttft_s * same / len(earlier.positions))
    ttft_s = result.ttft_s + saved_s
    read.append(_Read(positions, ttft_s))
    return {
        "output": result.text.strip(),
        "new_tokens": result.new_tokens,
        "ttft_s": round(write_s + ttft_s, 4),
        "seconds": round(write_s + ttft_s + result.decode_s, 4),
    }


def _settings(benchmark: Benchmark, models: Models, params: SamplingParams) -> str:
    generator = models.generator
    variant = generator.decoder.variant
    return json.dumps(
        [
            __version__,
            benchmark.name,
            models.bundle.embedder_hash,
            generator.hash,
            [variant.target, variant.precision, generator.decoder.provider],
            [params.max_new_tokens, params.temperature, params.stop],
            TEMPERATURES,
            _wording(benchmark),
        ]
    )


def _other_files(bundle: Bundle) -> str:
    """Return a hash of what the bundle has beside embedder and generator, as a persona head."""
    names = [name for name in bundle.manifest["files"] if not name.startswith(_MODELS)]
    return json.dumps([bundle.manifest["files"][name] for name in sorted(names)], sort_keys=True)


def _wording(benchmark: Benchmark) -> str:
    """Return how a question and a record are put into words: other words make other answers."""
    record = Record("a text", title="a title", date="2024-05-01", id="an id")
    task: Task = benchmark.question(f"an instruction {benchmark.marker} a question")
    prompts = [write_prompt(task, []), write_prompt(task, [record])]
    return repr(
        [
            (prompt.system, [s.text for s in prompt.segments if isinstance(s, TextSegment)])
            for prompt in prompts
        ]
    )
