"""The command line: ``edgepersona`` and ``python -m edgepersona``."""

from edgepersona.cli.program import main

__all__ = ["main"]
