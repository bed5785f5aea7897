"""The tasks of LaMP and LongLaMP: how a question is put, and what its answers are measured by."""

from __future__ import annotations

from dataclasses import dataclass

from edgepersona.errors import InputError
from edgepersona.records import Task

_MOVIE_TAGS = (
    "sci-fi", "based on a book", "comedy", "action", "twist ending", "dystopia", "dark comedy",
    "classic", "psychology", "fantasy", "romance", "thought-provoking", "social commentary",
    "violence", "true story",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One task: LaMP (Salemi 2023, arXiv 2304.11406) or LongLaMP (Kumar 2024, arXiv 2407.11016)."""

    name: str
    kind: str
    """Of the Task that a question becomes."""
    metrics: tuple[str, ...]
    max_new_tokens: int
    marker: str = ""
    """Where the text begins in a question's input; what stands before is its instruction."""
    keeps_marker: bool = False
    instruction: str = ""
    """In place of the question's own, for a kind without one. Empty: the question's own."""
    labels: tuple[str, ...] = ()
    """The answers there are, where they are to be chosen from."""

    @property
    def one_line(self) -> bool:
        """Whether an answer is a single line."""
        return self.max_new_tokens < 128

    @property
    def learns_from_history(self) -> bool:
        """Whether a record is a question with its answer, so that histories hold questions too."""
        return self.question("x").field == "title"

    def question(self, given: str) -> Task:
        """Return the Task of a question's input, as LaMP's files have it."""
        before, marker, after = given.partition(self.marker) if self.marker else ("", "", given)
        text = (f"{marker}{after}" if self.keeps_marker else after).strip()
        if (self.marker and not marker) or not text:
            before, text = "", given
        instruction = self.instruction
        if self.kind == "tag" or (self.kind == "instruction" and not instruction):
            instruction = before.strip()
        if self.kind == "instruction" and not instruction:
            instruction = "Answer the following."
        return Task(text, kind=self.kind, instruction=instruction)


_ROUGE = ("rouge-1", "rouge-L")
_LONG = {
    "kind": "instruction",
    "metrics": (*_ROUGE, "meteor"),
    "max_new_tokens": 512,
    "instruction": "Write what the following asks for, in the way I write.",
}

BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "LaMP_1", "instruction", ("accuracy", "macro-f1"), 8, "[1]:", keeps_marker=True,
            labels=("[1]", "[2]"),
        ),
        Benchmark(
            "LaMP_2", "tag", ("accuracy", "macro-f1"), 8, "description:", labels=_MOVIE_TAGS
        ),
        Benchmark("LaMP_3", "rating", ("mae", "rmse"), 8, "review:"),
        Benchmark("LaMP_4", "headline", _ROUGE, 48, "article:"),
        Benchmark("LaMP_5", "title", _ROUGE, 48, "paper:"),
        Benchmark("LaMP_6", "subject", _ROUGE, 48, "email:"),
        Benchmark(
            "LaMP_7", "instruction", _ROUGE, 64, "before or after it:",
            instruction="Paraphrase the following tweet in the way I write. Answer with the tweet "
            "alone.",
        ),
        *(Benchmark(f"LongLaMP_{i}", **_LONG) for i in (1, 2, 3, 4)),  # type: ignore[arg-type]
    )
}  # fmt: skip
"""Name → task. Of LongLaMP: 1 mails, 2 abstracts, 3 product reviews, 4 posts on a topic."""


def find_benchmark(name: str) -> Benchmark:
    """Return the task of that name, or raise InputError with the names there are."""
    try:
        return BENCHMARKS[name]
    except KeyError:
        known = ", ".join(BENCHMARKS)
        raise InputError(f"task {name!r} is not known; expected one of {known}") from None
