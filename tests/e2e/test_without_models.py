"""What needs no bundle, and what is said where one is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def test_doctor_on_a_new_machine_says_what_to_do(program):
    ended = program("doctor")
    assert ended.status == 1
    assert "problem: " in ended.out
    assert "run 'edgepersona export --out" in ended.out
    assert ended.err == ""


def test_doctor_names_both_ways_to_install_onnxruntime(program, tmp_path):
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "onnxruntime.py").write_text("raise ImportError('not here')")
    path = f"{stub}{os.pathsep}{program.env['PYTHONPATH']}"
    problems = program("doctor", "--json", PYTHONPATH=path).json["problems"]
    assert any("edgepersona[cpu]" in p and "edgepersona[gpu]" in p for p in problems)


def test_nothing_is_made_where_there_is_no_bundle(program, tmp_path):
    for argv in (["add", "tea"], ["import", __file__, "--kind", "folder"]):
        assert "run 'edgepersona export --out" in program(*argv).error
    assert not (tmp_path / "data").exists()
    assert os.listdir(program.home) == []


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"", "is empty"),
        (b"x" * ((1 << 20) + 1), "more than 1,048,576 bytes"),
        (b"tea\0", "NUL character at position 3"),
        (b"tea \xff\xfe", "byte 0xff at position 4"),
    ],
)
@pytest.mark.parametrize("command", ["add", "ask"])
def test_stdin_that_is_no_text_is_refused_in_one_line(program, command, stdin, message):
    assert message in program(command, "-", stdin=stdin).error


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are text on Windows")
def test_arguments_that_are_no_utf8(program, tmp_path):
    assert "lone surrogate" in program("add", b"caf\xe9").error
    ended = program("search", "tea", "--source", b"caf\xe9")
    assert (ended.status, b"is not valid UTF-8" in ended.stderr) == (2, True)
    strange = os.fsencode(tmp_path) + b"/caf\xe9.db"
    assert "there is no profile here" in program("profile", "show", "--profile", strange).error


def test_a_profile_without_models_can_be_read_and_forgotten(program, stored):
    at = ("--profile", stored)
    assert program("profile", "show", "--json", *at).json["records"] == 2000
    assert program("forget", "r7", *at).out.startswith("forgot  r7")
    ids = {record["id"] for record in program("profile", "list", "--json", *at).json["records"]}
    assert len(ids) == 1999
    assert "r7" not in ids
    assert program("profile", "export", "-", *at).out.count("\n") == 1999


def test_a_wrong_key_is_named(program, stored, tmp_path):
    key = tmp_path / "key"
    key.write_text("guess\n")
    show = ("profile", "show", "--profile")
    assert "not encrypted" in program(*show, stored, "--key-file", key).error
    noise = tmp_path / "noise.db"
    noise.write_bytes(os.urandom(8192))
    assert "wrong key" in program(*show, noise, EDGEPERSONA_KEY="k").error
    assert "needs a key" in program(*show, noise).error


def test_a_reader_that_leaves_early_is_no_error(program, stored):
    process = program.start("profile", "list", "--profile", stored)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"r")
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("argv", [["list"], ["show"], ["export", "-"]])
def test_a_full_disk_under_stdout_is_one_line(program, stored, argv):
    with open("/dev/full", "wb") as full:
        process = program.start("profile", *argv, "--profile", stored, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 1
    assert err.decode() == ("edgepersona: error: cannot read or write: No space left on device\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_backup_to_a_full_disk_is_one_line(program, stored):
    error = program("profile", "export", "/dev/full", "--profile", stored).error
    assert error == "/dev/full: cannot be written: No space left on device"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="a superuser writes anywhere"
)
def test_a_folder_that_cannot_be_written(program, stored):
    stored.parent.chmod(0o500)
    try:
        error = program("profile", "export", stored.parent / "x", "--profile", stored).error
    finally:
        stored.parent.chmod(0o700)
    assert "ermission" in error


def test_models_that_are_not_there_cannot_be_exported(program, tmp_path):
    models = ("--embedder", "nobody/no-such-model", "--llm", tmp_path / "no-such.gguf")
    error = program("export", *models, "--out", tmp_path / "bundle").error
    assert "nobody/no-such-model" in error or "pip install 'edgepersona[cpu,export]'" in error
    assert sorted(os.listdir(tmp_path)) == ["home"]


def test_an_unknown_preset_is_named(program, tmp_path):
    error = program("export", "--preset", "nonsense", "--out", tmp_path / "bundle").error
    assert "nonsense" in error or "pip install 'edgepersona[cpu,export]'" in error


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_streams_are_no_error(program, stored, closed):
    command = f'"$0" -m edgepersona profile show --profile "$1" {closed}'
    ended = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, stored],
        env=program.env,
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
