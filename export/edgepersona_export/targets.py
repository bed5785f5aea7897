"""What an export compiles a generator for: targets, and the precisions that each of them knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgepersona.errors import InputError

PRECISIONS = {
    "cpu": ("int8", "int4", "fp32"),
    "cuda": ("fp16", "int4"),
    "tensorrt": ("fp16",),
}
"""Target → its precisions, the one that is taken by default first."""

EMBEDDER_PRECISIONS = ("int8", "fp16", "fp32")


@dataclass(frozen=True, slots=True)
class Build:
    """One variant of the generator that is to be made."""

    target: str
    precision: str

    @property
    def name(self) -> str:
        """What the variant is called."""
        return f"{self.target}-{self.precision}"


def plan(
    targets: str, precisions: str = "", *, defaults: Mapping[str, str] = MappingProxyType({})
) -> tuple[Build, ...]:
    """Return the variants to make, in the order in which they were asked for.

    ``targets``: names with commas between (``cpu,cuda``). ``precisions``: one for all targets that
    know it (``int4``), or a target's own (``cuda=int4``); commas between several, and a target
    that is named twice gets a variant of each. A target that is left without one gets its default,
    which is that of ``defaults`` where it has one.

    Raises InputError that names what is possible.
    """
    wanted = [name.strip() for name in targets.split(",")]
    for name in wanted:
        if name not in PRECISIONS:
            raise InputError(f"target {name[:40]!r} is not known; {_possible(PRECISIONS)}")
    chosen: dict[str, list[str]] = {name: [] for name in wanted}
    for item in filter(None, (part.strip() for part in precisions.split(","))):
        target, _, precision = item.rpartition("=")
        if target and target not in chosen:
            raise InputError(
                f"--precision {item[:60]}: {target[:40]} is none of --target {targets}"
            )
        takers = [t for t in ([target] if target else chosen) if precision in PRECISIONS[t]]
        if not takers:
            raise InputError(
                f"precision {precision[:40]!r} is not known for {target or ' or '.join(chosen)}; "
                f"{_possible([target] if target else chosen)}"
            )
        for taker in takers:
            chosen[taker] += [] if precision in chosen[taker] else [precision]
    return tuple(
        Build(target, precision)
        for target, named in chosen.items()
        for precision in named or (defaults.get(target, PRECISIONS[target][0]),)
    )


def _possible(targets: Iterable[str]) -> str:
    return "there are " + ", ".join(f"{t} ({', '.join(PRECISIONS[t])})" for t in targets)
