"""Which compiled form of a bundle's generator runs here, and why no better one does."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from edgepersona.bundle import Bundle
from edgepersona.errors import BundleError, EdgePersonaError
from edgepersona.manifest import Variant

TARGETS = ("tensorrt", "cuda", "cpu")
"""The fastest first, where it runs at all."""

VARIABLE = "EDGEPERSONA_TARGET"
"""Names the target, or the variant, where no caller does."""


class _Runs(Protocol):
    provider: str


Loaded = TypeVar("Loaded", bound=_Runs)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A variant that does not load here, and why, in one line."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant in use, what runs it, and the ones that would have been taken before it."""

    variant: Variant
    provider: str
    refusals: tuple[Refusal, ...] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was passed over, a line each."""
        return tuple(f"{refusal.name}: {refusal.reason}" for refusal in self.refusals)

    def __str__(self) -> str:
        told = f"runs {variant_name(self.variant)} on {self.provider}"
        return f"{told}; left out: {'; '.join(self.left_out)}" if self.refusals else told


def variant_name(variant: Variant) -> str:
    """Return what a variant is called: its target and its precision."""
    return f"{variant.target}-{variant.precision}"


def asked_target(target: str | None) -> str:
    """Return what a caller asks for, or else the environment; empty for the best there is."""
    return target or os.environ.get(VARIABLE, "")


def candidates(bundle: Bundle, target: str | None = None) -> list[Variant]:
    """Return the bundle's variants to be tried, the best first.

    ``target`` keeps those of a target, or the one of that name (``cuda-int4``); without it, the
    environment's ``EDGEPERSONA_TARGET`` does. Of one target the first exported comes first.

    Raises BundleError where none is left.
    """
    target = asked_target(target)
    variants = bundle.generator.variants
    kept = [v for v in variants if target in ("", v.target, variant_name(v))]
    if not kept:
        found = ", ".join(map(variant_name, variants)) or "none"
        wanted = f" for {target[:40]!r}" if target else ""
        raise BundleError(f"{bundle.path}: no generator{wanted} (found: {found})")
    return sorted(kept, key=_rank)


def first_that_loads(
    variants: Sequence[Variant], load: Callable[[Variant], Loaded]
) -> tuple[Loaded, Choice]:
    """Load the first variant that can be loaded, and say why those before it could not.

    Raises BundleError that gives every reason where none can; the one error where there is but one
    variant.
    """
    refusals: list[Refusal] = []
    for variant in variants:
        try:
            loaded = load(variant)
        except EdgePersonaError as error:
            if len(variants) == 1:
                raise
            refusals.append(Refusal(variant_name(variant), " ".join(str(error).split())))
        else:
            return loaded, Choice(variant, loaded.provider, tuple(refusals))
    reasons = "; ".join(f"{refusal.name}: {refusal.reason}" for refusal in refusals)
    raise BundleError(f"none of the bundle's generators runs here: {reasons}")


def _rank(variant: Variant) -> int:
    return TARGETS.index(variant.target) if variant.target in TARGETS else len(TARGETS)
