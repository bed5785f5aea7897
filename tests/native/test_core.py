"""The C++ core's own tests, which need no Python, run from here too."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sanitized import SANITIZED

NATIVE = Path(__file__).parents[2] / "native"


@pytest.mark.skipif(
    shutil.which("make") is None or shutil.which(os.environ.get("CXX", "c++")) is None,
    reason="THE C++ CORE IS NOT TESTED HERE: make and a C++ compiler are needed",
)
@pytest.mark.skipif(SANITIZED, reason="make sanitize runs them under sanitizers of their own")
def test_core_passes_its_own_tests():
    command = ["make", "--silent", "-C", str(NATIVE), "test"]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith(" passed, 0 failed")
