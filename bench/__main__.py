"""``python -m bench [WORK …]``: run benchmarks and write build/bench/<work>.json."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from bench import (
    add,
    answering,
    asking,
    embedding,
    frontier,
    generation,
    memory,
    native_works,
    opening,
    personas,
    search,
)
from bench.options import Options

Run = Callable[[set[str], Options], None]

GENERATION: dict[str, Run] = {
    **dict.fromkeys(("decode", "prefill"), generation.run),
    **dict.fromkeys(embedding.WORKS, embedding.run),
    **dict.fromkeys(asking.WORKS, asking.run),
    **dict.fromkeys(answering.WORKS, answering.run),
    **dict.fromkeys(personas.WORKS, personas.run),
    **dict.fromkeys(frontier.WORKS, frontier.run),
}
INDEX: dict[str, Run] = {
    **dict.fromkeys(search.EXACT, search.run_exact),
    **dict.fromkeys(search.APPROXIMATE, search.run),
    **dict.fromkeys(memory.WORKS, memory.run),
    **dict.fromkeys(native_works.ATTEND, native_works.run_attend),
    **dict.fromkeys(add.WORKS, add.run),
    **dict.fromkeys(opening.WORKS, opening.run),
    **dict.fromkeys(native_works.NGRAM, native_works.run_ngram),
}
WORKS = {**GENERATION, **INDEX}
GROUPS = {"generation": GENERATION, "index": INDEX}


def main(arguments: list[str]) -> None:
    """Run each measuring once for all the works it serves."""
    asked, options = _parsed(arguments)
    works = [work for name in asked or ["generation"] for work in GROUPS.get(name, [name])]
    if unknown := set(works) - set(WORKS):
        sys.exit(f"unknown work {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    for run in dict.fromkeys(WORKS[work] for work in works):
        run({work for work in works if WORKS[work] is run}, options)


def _parsed(arguments: list[str]) -> tuple[list[str], Options]:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("works", nargs="*", metavar="WORK", help=", ".join([*GROUPS, *WORKS]))
    parser.add_argument("--rounds", type=int, default=Options().rounds)
    parser.add_argument("--data", choices=Options().data, action="append")
    parser.add_argument("--peer", action="append", help="only peers with this in their name")
    parser.add_argument("--rebuild", action="store_true", help="build saved indexes again")
    parser.add_argument(
        "--keep-graph", action="store_true", help="use our graph of another build of the core"
    )
    parser.add_argument("--build-threads", type=int, default=Options().build_threads)
    given = parser.parse_args(arguments)
    return given.works, Options(
        rounds=given.rounds,
        data=tuple(given.data or Options().data),
        peers=tuple(given.peer or ()),
        rebuild=given.rebuild,
        keep_graph=given.keep_graph,
        build_threads=given.build_threads,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
