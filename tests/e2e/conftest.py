"""The program as a user starts it: another process, its output, its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgepersona.bundle import MANIFEST, default_bundle_path
from edgepersona.records import Record, checked
from edgepersona.store import Store
from tests.sanitized import VARIABLES
from tests.standins import EMBEDDER_HASH, NDIM

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 300  # of one command; only a hang takes so long


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def error(self) -> str:
        """The one line that a command which failed must say."""
        assert self.status == 1, (self.status, self.out, self.err)
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("edgepersona: error: ")
        return self.err.removeprefix("edgepersona: error: ").rstrip("\n")


@dataclass
class Program:
    """Starts ``python -m edgepersona`` in a home of its own."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __call__(self, *argv: str | Path | bytes, stdin: bytes = b"", **env: str) -> Ended:
        process = self.start(*argv, env=env, stdin=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=TIMEOUT_S)
        return Ended(process.returncode, out, err)

    def start(
        self, *argv: str | Path | bytes, env: dict[str, str] | None = None, **streams: Any
    ) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        process = subprocess.Popen(
            [sys.executable, "-m", "edgepersona", *argv],
            env={**self.env, **(env or {})},
            cwd=self.home,
            # A test run in the background would hand its deafness to Ctrl-C down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            **pipes,
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """End what a failed test left running."""
        for process in self.started:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """The program with an empty home, and no bundle."""
    home = tmp_path / "home"
    home.mkdir()
    root = Path(__file__).parents[2]
    kept = {name: os.environ[name] for name in ("PATH", "LANG", *VARIABLES) if name in os.environ}
    own = {
        "HOME": str(home),
        "EDGEPERSONA_HOME": str(tmp_path / "data"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": f"{root}{os.pathsep}{root / 'export'}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    program = Program(home, {**kept, **own})
    yield program
    program.end()


@pytest.fixture(scope="session")
def bundle() -> Path:
    """A real bundle: EDGEPERSONA_TEST_BUNDLE, or where the command line looks for one."""
    path = Path(os.environ.get("EDGEPERSONA_TEST_BUNDLE") or default_bundle_path())
    if not (path / MANIFEST).is_file():
        reason = (
            f"NO BUNDLE at {path}: nothing that needs a model is tested; run "
            "'edgepersona export --preset default', or set EDGEPERSONA_TEST_BUNDLE"
        )
        print(f"\n{reason}", file=sys.__stderr__)
        pytest.skip(reason)
    return path


@pytest.fixture
def equipped(program: Program, bundle: Path) -> Program:
    """The program with a real bundle."""
    program.env["EDGEPERSONA_BUNDLE"] = str(bundle)
    return program


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A profile of 2,000 records, made without a model."""
    path = tmp_path / "stored.db"
    records = [checked(Record(f"Record {i}: {'tea ' * 20}", id=f"r{i}")) for i in range(2000)]
    vectors = np.eye(NDIM, dtype=np.float32)[np.arange(2000) % NDIM]
    store = Store.open(path, embedder_hash=EMBEDDER_HASH, ndim=NDIM)
    store.add(records, vectors)
    store.close()
    return path
