"""``python -m bench [WORK …]``: run benchmarks and write build/bench/<work>.json."""

from __future__ import annotations

import sys

from bench import generation

WORKS = {"decode": generation.run, "prefill": generation.run}


def main(asked: list[str]) -> None:
    """Run each measuring once for all the works it serves."""
    asked = asked or list(WORKS)
    if unknown := set(asked) - set(WORKS):
        sys.exit(f"unknown work {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    for run in dict.fromkeys(WORKS[work] for work in asked):
        run({work for work in asked if WORKS[work] is run})


if __name__ == "__main__":
    main(sys.argv[1:])
