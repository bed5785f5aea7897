"""Trains a head: from histories and two frozen models to a folder with the head and its log."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from accelerate import Accelerator

from edgepersona.bundle import Bundle
from edgepersona.errors import InputError
from edgepersona_export.train import checkpoint, log
from edgepersona_export.train.batches import epochs
from edgepersona_export.train.frozen import FrozenModel
from edgepersona_export.train.histories import read_corpus
from edgepersona_export.train.judge import Verdict, judge
from edgepersona_export.train.memory import give_back
from edgepersona_export.train.model import PersonaHead
from edgepersona_export.train.objective import Objective
from edgepersona_export.train.options import Options, Places
from edgepersona_export.train.persona_head import write_head
from edgepersona_export.train.prepare import Prepared, prepare, rows_read, shape_of, steps_in
from edgepersona_export.train.start import check_only_beside, read_start
from edgepersona_export.train.vectors import Encodes, Vectors, vectors_of

CHECKPOINT, LOG, CURVE, VECTORS = "checkpoint.pt", "log.jsonl", "curve.png", "vectors.npz"

_GIVEN_BACK_EVERY = 5
"""Steps after which freed memory goes back: each time costs a second, and each step holds more."""

Progress = Callable[[int, int, float], None]
"""Steps done, steps in all, the last loss."""


def _say_nothing(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told of a run, and how much of it a stop may cost."""

    note: Callable[[str], None] = _say_nothing
    progress: Progress = _say_nothing
    save_every: int = 25
    """Steps between checkpoints."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    steps: int
    samples: int
    loss: float
    verdict: Verdict
    seconds: float
    processes: int = 1
    beside: Verdict = field(default_factory=Verdict)
    """With records in the prompts as well; of no samples where nothing was learnt beside any."""


def train(
    bundle: Bundle,
    embedder: Encodes,
    places: Places,
    options: Options,
    *,
    resume: bool = False,
    frozen: FrozenModel | None = None,
    watcher: Watcher = Watcher(),
) -> Outcome:
    """Train, and write ``places.out``/head.json and head.bin.

    A run that was stopped goes on from its last checkpoint with ``resume``. Several processes
    (``accelerate launch``) share each batch; the first of them writes. Raises InputError where
    data, options or a checkpoint do not fit.
    """
    began = time.monotonic()
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    if options.batch % accelerator.num_processes:
        raise InputError(
            f"a batch of {options.batch} cannot be shared by {accelerator.num_processes} processes"
        )
    is_first = bool(accelerator.is_main_process)
    # Whatever is wrong with it shows before the vectors, which take minutes.
    shape = shape_of(options, bundle.embedder.ndim, bundle.generator.hidden)
    earlier = read_start(places.start, shape, bundle) if places.start else None
    if options.only_beside:
        check_only_beside(earlier, shape)
    corpus = read_corpus(
        places.sources,
        seed=options.seed,
        window=options.window,
        most_per_user=options.most_per_user,
    )
    rows = rows_read(corpus, options)

    def vectors_read() -> Vectors:
        reads_titles = options.shape.get("reads") == "output"
        file = places.run / VECTORS
        return vectors_of(corpus.records, embedder, file, rows=rows, outputs=reads_titles)

    if is_first:
        watcher.note(
            f"{len(corpus.records):,} records, {len(corpus.samples):,} of them to foretell; "
            f"vectors of the {len(rows):,} that this run reads come first, once"
        )
        vectors_read()
    accelerator.wait_for_everyone()
    vectors = vectors_read()
    frozen = frozen or FrozenModel.load(
        places.llm, dtype=options.dtype, device=str(accelerator.device)
    )
    prepared = prepare(bundle, corpus, vectors, frozen, places, options, earlier=earlier)
    weight = options.contrast / options.contrasted
    objective = Objective(prepared.head, frozen, contrast=weight)
    file = places.run / CHECKPOINT
    state = _State(prepared.head, file, prepared.recipe, options)
    start = state.restore() if resume else 0
    if start and is_first:
        watcher.note(f"goes on from step {start:,}")
    steps, loss = _learn(accelerator, objective, prepared, state, start, places, options, watcher)
    verdict = beside = Verdict()
    if is_first:
        verdict = judge(objective, prepared.judging, prepared.held_out, batch=options.batch)
        if prepared.judging_beside:
            shown = prepared.judging_beside
            beside = judge(objective, shown, prepared.held_out, batch=options.batch)
        _finish(prepared, (verdict, beside), steps, bundle, places, watcher)
    accelerator.wait_for_everyone()
    return Outcome(
        steps,
        len(prepared.learnt),
        loss,
        verdict,
        time.monotonic() - began,
        int(accelerator.num_processes),
        beside,
    )


class _State:
    """What changes from step to step."""

    def __init__(
        self, head: PersonaHead, file: Path, recipe: Mapping[str, Any], options: Options
    ) -> None:
        groups = _groups(head, options.lr)
        self._rates = [group["lr"] for group in groups]
        # What a run leaves as it is stands in the same arrays, and would decay with the rest.
        decay = 0.0 if options.only_beside else 1e-4
        self.optimizer = torch.optim.AdamW(groups, weight_decay=decay, betas=(0.9, 0.98))
        self._head, self._file, self._recipe = head, file, recipe

    def set_rate(self, factor: float) -> None:
        """Learn at so much of the full rate."""
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def save(self, step: int) -> None:
        """Write a checkpoint: ``step`` steps are done."""
        state = {"head": self._head.state_dict(), "optimizer": self.optimizer.state_dict()}
        checkpoint.save(self._file, step=step, recipe=self._recipe, state=state)

    def restore(self) -> int:
        """Take up a checkpoint where there is one; return the steps done."""
        found = checkpoint.load(self._file, recipe=self._recipe)
        if found is None:
            return 0
        self._head.load_state_dict(found["head"])
        self.optimizer.load_state_dict(found["optimizer"])
        return int(found["step"])


def _learn(
    accelerator: Accelerator,
    objective: Objective,
    prepared: Prepared,
    state: _State,
    start: int,
    places: Places,
    options: Options,
    watcher: Watcher,
) -> tuple[int, float]:
    """Go through all steps; return how many there are, and the last loss."""
    is_first, size, seed = bool(accelerator.is_main_process), options.batch, options.seed
    total = steps_in(prepared.learnt, options)
    model, optimizer = accelerator.prepare(objective, state.optimizer)
    if is_first:
        log.begin(places.run / LOG, start=start)
    loss = math.nan
    records = prepared.records
    drawn = epochs(prepared.learnt, records, batch=size, seed=seed, start=start)
    for step, samples in islice(drawn, max(0, total - start)):
        state.set_rate(factor := _schedule(step, total))
        batch = prepared.collator.collate(samples, f"{seed}:{step}")
        contrasted = Random(f"{seed}:{step}:contrast").random() < options.contrasted  # noqa: S311
        mine = batch.share(accelerator.process_index, accelerator.num_processes)
        cost, own = model(mine, contrasted=contrasted)
        optimizer.zero_grad()
        accelerator.backward(cost)
        accelerator.clip_grad_norm_(prepared.head.parameters(), 1.0)
        optimizer.step()
        loss = float(accelerator.reduce(own, reduction="mean"))
        watcher.progress(step + 1, total, loss)
        if is_first:
            log.add(places.run / LOG, step + 1, loss=loss, lr=options.lr * factor)
            if (step + 1) % watcher.save_every == 0 or step + 1 == total:
                state.save(step + 1)
        if (step + 1) % _GIVEN_BACK_EVERY == 0:
            give_back()
    return total, loss


def _finish(
    prepared: Prepared,
    verdicts: tuple[Verdict, Verdict],
    steps: int,
    bundle: Bundle,
    places: Places,
    watcher: Watcher,
) -> None:
    for name, verdict in zip(("held_out", "held_out_beside"), verdicts, strict=True):
        if verdict.samples:
            values = {name: verdict.own, f"{name}_other": verdict.other}
            log.add(places.run / LOG, steps, **values)
    write_head(prepared.head, bundle, places.out, recipe=prepared.recipe, credits_=prepared.credits)
    if not log.draw(log.read(places.run / LOG), places.run / CURVE):
        watcher.note("no curve was drawn: for one, run pip install 'edgepersona[eval]'")


def _groups(head: PersonaHead, lr: float) -> list[dict[str, Any]]:
    """Matrices turn what all tokens share, word by word: they learn at a tenth of the rate."""
    matrices: list[Any] = []
    others: list[Any] = []
    learnt = [(name, p) for name, p in head.named_parameters() if p.requires_grad]
    for name, parameter in learnt:
        is_matrix = name.endswith("weight") or name == "adapter"
        (matrices if is_matrix else others).append(parameter)
    groups = [{"params": others, "lr": lr}]
    return [*groups, {"params": matrices, "lr": lr / 10}] if matrices else groups


def _schedule(step: int, total: int) -> float:
    """Warm up over 5 %, then fall as a cosine."""
    warm = min(1.0, (step + 1) / max(1.0, 0.05 * total))
    return warm * (0.5 + 0.5 * math.cos(math.pi * step / total))
