from __future__ import annotations

import subprocess
import sys

import pytest

from edgepersona import __version__
from edgepersona.cli import main

COMMANDS = [
    *("export", "train", "import", "add", "search"),
    *("ask", "chat", "profile", "forget", "doctor"),
]


def test_version(run):
    assert run("--version").out == f"edgepersona {__version__}\n"


def test_without_a_command_it_shows_help_and_says_wrong_usage(run):
    ended = run()
    assert (ended.status, ended.out) == (2, "")
    assert all(command in ended.err for command in COMMANDS)


@pytest.mark.parametrize("command", [[c] for c in COMMANDS] + [["profile", "list"]])
def test_every_command_helps_with_an_example(run, command):
    ended = run(*command, "--help")
    assert ended.status == 0
    assert f"example: edgepersona {' '.join(command)}" in " ".join(ended.out.split())


@pytest.mark.parametrize(
    "argv",
    [
        ["nonsense"],
        ["search"],
        ["search", "tea", "-k", "0"],
        ["search", "tea", "-k", "many"],
        ["search", "tea", "-k", "9" * 30],
        ["search", "tea", "--since", "yesterday"],
        ["search", "tea", "--source", "\udcff"],
        ["ask", "tea", "--strategy", "magic"],
        ["ask", "tea", "--compare", "rag,"],
        ["ask", "tea", "--compare", "rag,none", "--strategy", "rag"],
        ["ask", "tea", "--top-p", "7"],
        ["ask", "tea", "--temperature", "nan"],
        ["ask", "tea", "--instruction", ""],
        ["ask", "tea", "--task", "title", "--instruction", "Shout."],
        ["chat", "--strategy", "magic"],
        ["import", "here", "--kind", "magic"],
        ["profile"],
        ["profile", "show", "--profile", ""],
        ["forget"],
        ["export"],
        ["export", "--llm", "here"],
        ["export", "--embedder", "here"],
        ["export", "--preset", "default", "--precision", "int3"],
        ["export", "--preset", "default", "--target", "cpu,tpu"],
        ["export", "--preset", "default", "--target", "cuda", "--precision", "int8"],
        ["train", "--preset", "default", "--out", "here"],
        ["train", "--data", "here", "--out", "here"],
        ["train", "--data", "here", "--out", "here", "--preset", "default", "--llm", "here"],
        ["train", "--data", "a", "--tasks", "title,rating", "--preset", "default", "--out", "x"],
        ["train", "--data", "a", "--batch", "0", "--preset", "default", "--out", "x"],
        ["train", "--data", "a", "--title-tokens", "0", "--preset", "default", "--out", "x"],
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(run, argv):
    ended = run(*argv)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("usage: edgepersona")


def test_help_loads_nothing_heavy():
    heavy = "numpy", "onnxruntime", "tokenizers", "apsw", "tqdm", "jinja2", "torch"
    code = (
        "import sys; from edgepersona.cli import main; main(['--help']);"
        f"sys.exit(','.join(m for m in {heavy} if m in sys.modules) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_interrupt_is_one_line(monkeypatch, run):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgepersona.cli.doctor._run", interrupted)
    ended = run("doctor")
    assert (ended.status, ended.error) == (1, "interrupted; what was stored before is kept")


def test_an_error_of_the_system_is_one_line(monkeypatch, run):
    def no_room(args):
        raise OSError(28, "No space left on device", "/a/file")

    monkeypatch.setattr("edgepersona.cli.doctor._run", no_room)
    ended = run("doctor")
    assert (ended.status, ended.error) == (1, "/a/file: No space left on device")


def test_main_leaves_other_errors_to_python(monkeypatch, run):
    def broken(args):
        raise ZeroDivisionError

    monkeypatch.setattr("edgepersona.cli.doctor._run", broken)
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])
