"""The command line on stand-ins: main() is called, the models are not there."""

from __future__ import annotations

import io
import json
import signal
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from edgepersona.cli import main
from edgepersona.generator import Generation
from edgepersona.layout import Layout
from edgepersona.manifest import Variant
from edgepersona.profile import Profile
from edgepersona.prompt import TextSegment
from edgepersona.store import Store
from edgepersona.variants import Choice
from tests.standins import EMBEDDER_HASH, NDIM, NumpyVectors, WordEmbedder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edgepersona.prompt import Prompt
    from edgepersona.sampling import SamplingParams


_RULE = "\nAnswer in one sentence."


CHOICE = Choice(Variant("cpu", "int8", "", "", ()), "CPUExecutionProvider")


class EchoStream:
    """Says the question back, word by word."""

    def __init__(self, prompt: Prompt, params: SamplingParams, strategy: str) -> None:
        texts = [s for s in prompt.segments if isinstance(s, TextSegment)]
        asked = texts[-1].text.rpartition("Question: ")[2].removesuffix(_RULE)
        self.words = asked.split(" ")
        self.interrupt_after: int | None = None
        self.layout = Layout(
            parts=([1, 2, 3],),
            records=tuple(s.record_id for s in texts if s.record_id),
            dropped=(),
            dropped_turns=0,
            input_tokens_dropped=0,
        )
        self.choice: Choice
        self.strategy = strategy
        self.seed = params.seed
        self.notes: tuple[str, ...] = ()
        self.given: list[str] = []
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def __iter__(self) -> Iterator[str]:
        for word in self.words:
            if len(self.given) == self.interrupt_after:
                signal.raise_signal(signal.SIGINT)
            if self.cancelled:
                return
            self.given.append(word)
            yield word if len(self.given) == 1 else f" {word}"

    @property
    def result(self) -> Generation:
        return Generation(
            text=" ".join(self.given),
            finish_reason="cancelled" if self.cancelled else "stop",
            prompt_tokens=3,
            new_tokens=len(self.given),
            ttft_s=0.25,
            decode_s=1.0,
            records=self.layout.records,
            dropped=(),
            input_tokens_dropped=0,
            seed=self.seed or 0,
            provider="CPUExecutionProvider",
            strategy=self.strategy,
            notes=self.notes,
        )


class EchoGenerator:
    """Keeps what it was asked, so that a test can look at it."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []
        self.params: list[SamplingParams] = []
        self.interrupt_after: int | None = None
        self.notes: tuple[str, ...] = ()
        self.choice = CHOICE
        self.target: str | None = None
        self.schemas: list[Any] = []
        self.prefixes = SimpleNamespace(clear=list)

    def stream(
        self, prompt: Prompt, params: SamplingParams, *, strategy: str, schema: Any, **rest: object
    ) -> EchoStream:
        self.prompts.append(prompt)
        self.schemas.append(schema)
        self.params.append(params)
        stream = EchoStream(prompt, params, strategy)
        stream.interrupt_after = self.interrupt_after
        stream.notes = self.notes
        stream.choice = self.choice
        return stream


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of an error."""
        prefix, _, message = self.err.partition("edgepersona: error: ")
        assert (prefix, message.count("\n")) == ("", 1), self.err
        return message.rstrip("\n")


@pytest.fixture
def generator() -> EchoGenerator:
    return EchoGenerator()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPERSONA_HOME", str(tmp_path))
    monkeypatch.delenv("EDGEPERSONA_KEY", raising=False)
    monkeypatch.delenv("EDGEPERSONA_BUNDLE", raising=False)
    return tmp_path


@pytest.fixture
def run(
    home: Path,
    generator: EchoGenerator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Ended]:
    """Run a command with stand-ins in place of a bundle's models."""

    def open_profile(
        path: Path,
        bundle: Path,
        *,
        key: str | None = None,
        create: bool = True,
        target: str | None = None,
    ) -> Profile:
        generator.target = target
        store = Store.open(path, key=key, embedder_hash=EMBEDDER_HASH, ndim=NDIM, create=create)
        return Profile(
            store, embedder=WordEmbedder, vectors=NumpyVectors, generator=lambda: generator
        )

    monkeypatch.setattr(Profile, "open", open_profile)

    def run_(*argv: object, stdin: bytes = b"") -> Ended:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
            capsys.readouterr()
            status = main([str(arg) for arg in argv])
        return Ended(status, *capsys.readouterr())

    return run_
