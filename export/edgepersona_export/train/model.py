"""The persona head: a user's history and what they ask, to soft tokens for a frozen LLM.

After PPlug (arXiv 2409.11901): attention of the question over the history, a projector into the
LLM's embedding space, an instruction embedding beside it. On a small LLM that vector alone says
next to nothing about the person, so the titles of the records attended to most go along, a soft
token for each of their words: vectors the LLM knows how to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgepersona.errors import InputError
from edgepersona.headfile import BESIDE, MAX_COUNT, READS

BESIDE_RECORDS = "+rag"
"""Ends the name of a task whose prompts show records in words beside the soft tokens."""

Embed = Callable[[Tensor], Tensor]
"""Token ids (…) to the LLM's embeddings (…, hidden)."""

_NOWHERE = -1e4
"""A score that softmax makes zero of, also in half precision."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a head."""

    ndim: int
    hidden: int
    tasks: tuple[str, ...]
    before: int = 10
    """Instruction tokens before the persona."""
    after: int = 1
    """Instruction tokens after it."""
    pooled: int = 2
    """Persona tokens, each a weighted sum over the whole history; 0: none."""
    reads: str = "words"
    records: int = 5
    """So many of the records with the largest weights show their titles; 0: none."""
    lead: int = 4
    """Tokens before each title."""
    words: int = 16
    """Tokens of a title that are read."""
    inner: int = 128
    """Width of a projector's hidden layer."""
    adapted: bool = True
    """Whether the question's vector is turned before it is compared with the records'."""
    beside: str = "nearest"
    """Whose titles are read where the prompt shows records already, the nearest or the newest."""
    records_beside: int | None = None
    """How many are read there; None: as many as elsewhere."""

    def __post_init__(self) -> None:
        if self.reads not in READS:
            raise InputError(f"reads {self.reads!r}: expected one of {', '.join(READS)}")
        if self.beside not in BESIDE:
            raise InputError(f"beside {self.beside!r}: expected one of {', '.join(BESIDE)}")
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise InputError(f"tasks {self.tasks!r}: expected one or more, each once")
        counts = {name: getattr(self, name) for name in ("before", "after", "pooled", "lead")}
        counts |= {"records": self.records, "records_beside": self.titles(BESIDE_RECORDS)}
        least = dict.fromkeys(counts, 0) | {"words": 1, "inner": 1}
        for name, bound in least.items():
            if (size := counts.get(name, getattr(self, name))) < bound:
                raise InputError(f"{name} {size}: expected {bound} or more")
        # Else hours of training would come to a head that is refused when it is read.
        if max(counts.values()) > MAX_COUNT:
            raise InputError(f"no size of a head may be more than {MAX_COUNT}")
        titles = max(counts["records"], counts["records_beside"])
        tokens = self.before + self.pooled + titles * (self.words + self.lead) + self.after
        if tokens > 4 * MAX_COUNT:
            raise InputError(f"{tokens} soft tokens: expected at most {4 * MAX_COUNT}")
        if self.pooled > self.words and self.reads == "words":
            raise InputError(
                f"{self.pooled} pooled tokens of {self.words} words of a title: expected at most "
                "as many"
            )

    @property
    def reads_titles(self) -> bool:
        """Whether any task reads titles word by word."""
        return bool(self.records or self.records_beside)

    def titles(self, task: str) -> int:
        """Return how many titles ``task`` reads."""
        beside = self.records_beside
        return self.records if beside is None or not task.endswith(BESIDE_RECORDS) else beside

    def to_json(self) -> dict[str, Any]:
        """Return the sizes as JSON holds them."""
        changed = {"tasks": list(self.tasks), "records_beside": self.titles(BESIDE_RECORDS)}
        return asdict(self) | changed


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A batch of questions, each with its user's records, the oldest first, and then padding."""

    queries: Tensor
    """(n, ndim)"""
    items: Tensor
    """(n, records, ndim): vectors of whole records."""
    outputs: Tensor
    """(n, records, ndim): vectors of their titles."""
    words: Tensor
    """int64 (n, records, words): the first tokens of their titles."""
    is_word: Tensor
    """bool, of the same shape."""
    is_record: Tensor
    """bool (n, records)"""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The LLM's embedding table in two figures, so that soft tokens lie where words lie."""

    centre: Tensor
    """(hidden,): the mean embedding, a large part of every one."""
    spread: float
    """Mean length of what is left of an embedding without the centre."""


@torch.no_grad()
def calibrate(table: Tensor) -> Calibration:
    """Measure the embeddings of the LLM's vocabulary."""
    table = table.float()
    centre = table.mean(0)
    return Calibration(centre, float((table - centre).norm(dim=1).mean()))


class Projector(nn.Module):
    """centre + gain · (x + W₂ gelu(W₁ x)) + offset, for each slot.

    ``direct``: ``x`` are centred word embeddings, one for each slot, and it begins as the identity.
    Otherwise ``x`` is a unit vector that all slots are made from, without the direct path.
    """

    def __init__(
        self, slots: int, width: int, inner: int, calibration: Calibration, *, direct: bool
    ) -> None:
        super().__init__()
        hidden = len(calibration.centre)
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, hidden if direct else slots * hidden, bias=False)
        if direct:
            nn.init.zeros_(self.outer.weight)
        self.gain = nn.Parameter(torch.ones(slots, 1))
        self.offset = nn.Parameter(torch.zeros(slots, hidden))
        self.register_buffer("centre", calibration.centre.clone())
        # So that gelu's inputs are of the size that it bends, and what comes of a unit vector lies
        # as far from the centre as a word.
        self.input_scale = width**0.5 / (calibration.spread if direct else 1.0)
        self.output_scale = 1.0 if direct else calibration.spread / (0.2 * hidden**0.5)
        self._slots, self._direct = slots, direct

    def forward(self, x: Tensor) -> Tensor:
        """Words: (…, slots, hidden), centred. Vectors: (…, width), to (…, slots, hidden)."""
        made = (
            self.outer(functional.gelu(self.inner(x * self.input_scale), approximate="tanh"))
            * self.output_scale
        )
        if self._direct:
            return self.gain * (x + made)
        return self.gain * made.unflatten(-1, (self._slots, -1))

    def place(self, x: Tensor) -> Tensor:
        """Put projected values, or a weighted mean of them, among the embeddings."""
        centre: Tensor = self.get_buffer("centre")
        return centre + x + self.offset


class PersonaHead(nn.Module):
    """Everything that is trained.

    ``first_words``: the token embeddings that learnt tokens begin as, each (tasks, n, hidden): the
    instruction before and after the persona, and what leads to a title.
    """

    def __init__(
        self,
        shape: Shape,
        calibration: Calibration,
        *,
        first_words: tuple[Tensor, Tensor, Tensor],
        scale: float = 30.0,
    ) -> None:
        super().__init__()
        self.shape = shape
        before, after, lead = first_words
        self._before = nn.Parameter(before.float().clone())
        self._after = nn.Parameter(after.float().clone())
        # Which tasks take part in what all learn together.
        self.register_buffer("_shares", torch.ones(len(before), 1, 1), persistent=False)
        # What all tasks learn of what is asked, so that each needs fewer samples of its own.
        self._before_all = nn.Parameter(torch.zeros_like(self._before[0]))
        self._after_all = nn.Parameter(torch.zeros_like(self._after[0]))
        self.register_buffer("centre", calibration.centre.clone())
        self.log_scale = nn.Parameter(torch.tensor(scale).log())
        if shape.adapted:
            self.adapter = nn.Parameter(torch.eye(shape.ndim))
        if shape.pooled:
            by_word = shape.reads == "words"
            self.pool = Projector(
                shape.pooled,
                shape.hidden if by_word else shape.ndim,
                shape.inner,
                calibration,
                direct=by_word,
            )
        if shape.reads_titles:
            self.title = Projector(shape.words, shape.hidden, shape.inner, calibration, direct=True)
            self._lead = nn.Parameter(lead.float().clone())
            self._lead_all = nn.Parameter(torch.zeros_like(self._lead[0]))

    @property
    def before(self) -> Tensor:
        """Instruction tokens before the persona: (tasks, before, hidden)."""
        return self._before + self._shared(self._before_all)

    @property
    def after(self) -> Tensor:
        """Those after it: (tasks, after, hidden)."""
        return self._after + self._shared(self._after_all)

    @property
    def lead(self) -> Tensor:
        """Tokens before each title: (tasks, lead, hidden)."""
        return self._lead + self._shared(self._lead_all)

    def by_task(self) -> dict[str, nn.Parameter]:
        """Return what each task learns for itself: before, after and lead, as a head names them."""
        tokens = {"before": self._before, "after": self._after}
        return tokens | ({"lead": self._lead} if self.shape.reads_titles else {})

    def learn_only_beside(self) -> None:
        """Leave all as it is but the instructions of tasks beside records in words.

        Prompt tuning (Lester et al. 2021, arXiv 2104.08691): what a head says without records was
        measured, and is to stay so.
        """
        rows = [task.endswith(BESIDE_RECORDS) for task in self.shape.tasks]
        beside = self.get_buffer("_shares").new_tensor(rows)[:, None, None]
        self.register_buffer("_shares", beside, persistent=False)
        self.requires_grad_(requires_grad=False)
        for tokens in self.by_task().values():
            tokens.requires_grad_()
            tokens.register_hook(lambda gradient: gradient * self.get_buffer("_shares"))
        shared = [self._before_all, self._after_all]
        for tokens in [*shared, *([self._lead_all] if self.shape.reads_titles else [])]:
            tokens.requires_grad_()

    def _shared(self, tokens: Tensor) -> Tensor:
        return tokens * self.get_buffer("_shares")

    def forward(self, history: History, tasks: Tensor, embed: Embed) -> tuple[Tensor, Tensor]:
        """Return soft tokens (n, k, hidden) and which of them are there, bool (n, k)."""
        count = len(tasks)
        scores = self.scores(history)
        before, after = self.before[tasks], self.after[tasks]
        parts = [(before, _all(before))]
        if self.shape.pooled:
            there = history.is_record.any(1, keepdim=True).expand(count, self.shape.pooled)
            parts.append((self._pooled(history, scores, embed), there))
        if self.shape.reads_titles and history.is_record.shape[1]:
            ranks = self._ranks(history, scores, tasks)
            parts.append(self._titles(history, ranks, tasks, embed))
        parts.append((after, _all(after)))
        return _closed_up(torch.cat([p[0] for p in parts], 1), torch.cat([p[1] for p in parts], 1))

    def scores(self, history: History) -> Tensor:
        """Return how near each record is to the question, (n, records), padding far below."""
        queries = history.queries @ self.adapter if self.shape.adapted else history.queries
        scores = torch.einsum("nd,nrd->nr", queries, history.items)
        return (scores * self.log_scale.exp()).masked_fill(~history.is_record, _NOWHERE)

    def _ranks(self, history: History, scores: Tensor, tasks: Tensor) -> Tensor:
        """Return what titles are chosen by, (n, records): the score, or how new a record is."""
        names = self.shape.tasks
        by_age = [self.shape.beside == "newest" and t.endswith(BESIDE_RECORDS) for t in names]
        is_by_age = torch.tensor(by_age, device=scores.device)[tasks, None]
        ages = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
        return torch.where(is_by_age & history.is_record, ages.to(scores.dtype), scores)

    def _pooled(self, history: History, scores: Tensor, embed: Embed) -> Tensor:
        weights = scores.softmax(1) * history.is_record
        if self.shape.reads == "words":
            kept = self.shape.pooled
            values = self.pool(
                embed(history.words[:, :, :kept]).float() - self.get_buffer("centre")
            )
            values = values * history.is_word[:, :, :kept, None]
        else:
            values = self.pool(history.items if self.shape.reads == "item" else history.outputs)
        return self.pool.place(torch.einsum("nr,nrsh->nsh", weights, values))

    def _titles(
        self, history: History, ranks: Tensor, tasks: Tensor, embed: Embed
    ) -> tuple[Tensor, Tensor]:
        """Show the titles of the records that rank highest, the highest last, behind the lead."""
        lead, counts = self.lead[tasks], [self.shape.titles(task) for task in self.shape.tasks]
        most = min(max(counts), ranks.shape[1])
        best = ranks.topk(most, dim=1).indices.flip(1)
        rows = torch.arange(len(best), device=best.device)[:, None]
        places = torch.arange(most, 0, -1, device=best.device)
        is_read = places <= torch.tensor(counts, device=best.device)[tasks, None]
        vectors = embed(history.words[rows, best]).float() - self.get_buffer("centre")
        vectors = self.title.place(self.title(vectors))
        there = history.is_record[rows, best] & is_read
        leads = lead[:, None].expand(-1, best.shape[1], -1, -1)
        vectors = torch.cat([leads, vectors], 2).flatten(1, 2)
        mask = history.is_word[rows, best] & there[..., None]
        is_led = there[..., None].expand(-1, -1, lead.shape[1])
        return vectors, torch.cat([is_led, mask], 2).flatten(1, 2)


def words_of(tokens: Sequence[int], count: int) -> list[int]:
    """Cut tokens to the last ``count``, or repeat the first one: an instruction begins as words."""
    return [*[tokens[0]] * (count - len(tokens)), *tokens[max(0, len(tokens) - count) :]]


def _closed_up(vectors: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move what is there to the front of its row and cut the rest: titles are shorter than slots.

    The LLM takes as long for a place that is masked as for one that is not.
    """
    order = (~mask).byte().argsort(dim=1, stable=True)[:, : int(mask.sum(1).max())]
    rows = torch.arange(len(order), device=order.device)[:, None]
    return vectors[rows, order], mask[rows, order]


def _all(vectors: Tensor) -> Tensor:
    return torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
