"""The words around the soft tokens, laid out by the runtime: what is trained is what runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgepersona.bundle import Bundle
from edgepersona.layout import lay_out
from edgepersona.prompt import Prompt, SoftSegment
from edgepersona.records import Record, Task
from edgepersona.strategies.wording import write_prompt
from edgepersona.text import ChatTemplate, Tokenizer


@dataclass(frozen=True, slots=True)
class Written:
    """A prompt cut where the soft tokens stand."""

    before: tuple[int, ...]
    after: tuple[int, ...]


class PromptWriter:
    """Writes prompts for a bundle's LLM; ``text_tokens`` bounds what is read of the text."""

    def __init__(self, bundle: Bundle, *, text_tokens: int = 160) -> None:
        spec = bundle.generator
        self.tokenizer = Tokenizer(bundle.file(spec.tokenizer))
        self.end = next(iter(self.tokenizer.encode_template(spec.eos_token)), spec.stop_tokens[0])
        self._template = ChatTemplate(
            spec.chat_template, bos_token=spec.bos_token, eos_token=spec.eos_token
        )
        self._context = spec.context
        self._text_tokens = text_tokens

    def write(
        self, kind: str, record: Record, shown: Sequence[Record] = (), *, record_tokens: int = 96
    ) -> Written:
        """Ask for ``record``'s title; ``shown``, the most telling first, stand before it.

        Of their texts ``record_tokens`` are read.
        """
        kept = [replace(r, text=self._cut(r.text, record_tokens)) for r in shown]
        task = Task(self._cut(record.text, self._text_tokens), kind=kind)
        return self._split(write_prompt(task, kept))

    def target(self, record: Record, *, most: int) -> list[int]:
        """Return the tokens of the gold answer, behind its opening, and the one that ends it."""
        return [*self.tokenizer.encode(f" {record.title.strip()}")[:most], self.end]

    def _cut(self, text: str, most: int) -> str:
        ids = self.tokenizer.encode(text[: most * 16])
        return text if len(ids) <= most else self.tokenizer.decode(ids[:most])

    def _split(self, prompt: Prompt) -> Written:
        mark = SoftSegment(np.zeros((1, 1), np.float32))
        marked = replace(prompt, segments=(*prompt.segments, mark))
        layout = lay_out(marked, self.tokenizer, self._template, max_tokens=self._context)
        (place,) = (i for i, part in enumerate(layout.parts) if part is mark.vectors)
        before = [i for part in layout.parts[:place] for i in part]
        after = [i for part in layout.parts[place + 1 :] for i in part]
        return Written(tuple(before), tuple(after))
