"""What every benchmark can be told on the command line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """``peers``: parts of names, all where empty; ``rebuild``: trust no saved index.

    ``keep_graph``: trust one of ours that another build of the core made.
    """

    rounds: int = 15
    data: tuple[str, ...] = ("real", "random")
    peers: tuple[str, ...] = ()
    rebuild: bool = False
    keep_graph: bool = False
    build_threads: int = 2

    def wants(self, peer: str) -> bool:
        """Tell whether ``peer`` is one of those asked for."""
        return not self.peers or any(part in peer for part in self.peers)
