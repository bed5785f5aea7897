"""Run the command line: ``python -m edgepersona``."""

import sys

from edgepersona.cli import main

if __name__ == "__main__":
    sys.exit(main())
