"""Commit logs: whose commits, what of a message, and no command of the repository's is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edgepersona.errors import InputError
from edgepersona.importers import detect, read, size_hint
from edgepersona.importers.gitlog import split_message

if TYPE_CHECKING:
    from pathlib import Path

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, name: str, message: str, day: str = "2024-05-01T09:30:00+02:00") -> None:
    address = f"{name.split()[0].lower()}@example.org"
    git(
        folder,
        *("-c", f"user.name={name}", "-c", f"user.email={address}"),
        *("commit", "-q", "--allow-empty", "--cleanup=verbatim", f"--date={day}", "-m", message),
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "bakery"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


@needs_git
def test_commits_by_the_author_become_records_oldest_first(repository: Path) -> None:
    commit(repository, "Ann Lee", "Add bread\n\nIt rises.\n\nSigned-off-by: Ann <a@example.org>")
    commit(repository, "Joann Lee", "Add cake")
    commit(repository, "Ann Lee", "Bake")
    first, second = read(repository, author="ANN@example.org")
    assert first.record is not None
    assert (first.record.title, first.record.text) == ("Add bread", "It rises.")
    assert (first.record.kind, first.record.source) == ("commit", "git:bakery")
    assert first.record.date == "2024-05-01T09:30:00+02:00"
    assert first.record.id == git(repository, "rev-parse", "HEAD~2")
    assert second.record is not None
    assert (second.record.title, second.record.text, second.position) == ("Bake", "", 2)
    assert size_hint(repository, "git", author="Ann@example.org") == 3  # Joann's too: a hint


@needs_git
@pytest.mark.parametrize("author", ["ann lee", "Ann Lee <ann@example.org>"])
def test_an_author_may_be_named_in_other_ways(repository: Path, author: str) -> None:
    commit(repository, "Ann Lee", "Bake")
    assert len(list(read(repository, author=author))) == 1


@needs_git
def test_the_configured_user_is_the_author_by_default(repository: Path) -> None:
    commit(repository, "Ann Lee", "Bake")
    commit(repository, "Bob", "Eat")
    git(repository, "config", "user.email", "ann@example.org")
    (item,) = read(repository)
    assert item.record is not None
    assert item.record.title == "Bake"


@needs_git
def test_without_a_user_the_most_active_authors_are_named(repository: Path) -> None:
    for name in ("Ann", "Bob", "Bob"):
        commit(repository, name, "Bake")
    with pytest.raises(InputError, match=r"Bob <bob@example.org>, Ann.*--author"):
        read(repository)
    with pytest.raises(InputError, match=r"no commits by Eve.*Bob.*--author"):
        list(read(repository, author="Eve"))


@needs_git
def test_no_command_that_a_repository_names_is_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "win32":
        pytest.skip("the trap is a shell script")
    for title in ("one", "two", "three"):
        commit(repository, "Ann", title)
    trap, sprung = tmp_path / "trap.sh", tmp_path / "sprung"
    trap.write_text(f"#!/bin/sh\ntouch '{sprung}'\nexit 1\n")
    trap.chmod(0o755)
    settings = {
        "core.repositoryformatversion": "1",
        "core.fsmonitor": str(trap),
        "core.pager": str(trap),
        "core.sshCommand": str(trap),
        "log.showSignature": "true",
        "gpg.program": str(trap),
        "diff.external": str(trap),
        "pager.log": str(trap),
        "alias.log": f"!{trap}",
        "protocol.file.allow": "always",
        "protocol.ext.allow": "always",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": str(tmp_path),
        "remote.origin.uploadpack": str(trap),
    }
    lost = git(repository, "rev-parse", "HEAD~1")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert len(list(read(repository, kind="git", author="Ann"))) == 3
    monkeypatch.delenv("GIT_DIR")
    for key, value in settings.items():
        git(repository, "config", key, value)
    (repository / ".git" / "objects" / lost[:2] / lost[2:]).unlink()
    (item,) = read(repository, author="Ann")
    assert item.error == "git: git log ended with 128: the repository is damaged"
    assert not sprung.exists()


@needs_git
def test_bytes_that_are_no_utf8_are_replaced(repository: Path) -> None:
    body = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
    body += b"author Ann <ann@example.org> 1 +0000\ncommitter Ann <a@b> 1 +0000\n\ncaf\xe9\n"
    git(repository, "hash-object", "-t", "tree", "-w", os.devnull)
    done = subprocess.run(
        ["git", "-C", str(repository), "hash-object", "-t", "commit", "-w", "--stdin"],
        input=body,
        check=True,
        capture_output=True,
    )
    git(repository, "reset", "-q", "--soft", done.stdout.decode().strip())
    (item,) = read(repository, author="Ann")
    assert item.record is not None
    assert item.record.title == "caf\ufffd"
    assert item.record.date == "1970-01-01T00:00:01Z"


@needs_git
def test_a_bare_repository_is_one_too(repository: Path, tmp_path: Path) -> None:
    commit(repository, "Ann", "Bake")
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(bare))
    assert detect(bare) == detect(repository) == "git"
    assert len(list(read(bare, author="Ann"))) == 1


@needs_git
def test_what_is_no_repository_or_empty_is_refused(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without commits"):
        read(repository, author="Ann")
    (tmp_path / "plain").mkdir()
    with pytest.raises(InputError, match="no git repository"):
        read(tmp_path / "plain", kind="git", author="Ann")


@needs_git
def test_a_reader_that_stops_early_leaves_no_process(repository: Path) -> None:
    for number in range(3):
        commit(repository, "Ann", f"Bake {number}")
    items = read(repository, author="Ann")
    next(items)
    items.close()  # type: ignore[attr-defined]  # an unclosed pipe would be a warning, and so fail


def test_without_git_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="git is not installed"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("subject", ("subject", "")),
        ("two\nlines\n\nbody\n", ("two lines", "body")),
        ("s\n\nbody\n\nFixes: #3\nCo-authored-by: B <b@x>\n\nChange-Id: I1", ("s", "body")),
        ("s\n\nNote: this stays\n", ("s", "Note: this stays")),
        ("s\n\n(cherry picked from commit abc123)", ("s", "")),
        ("", ("", "")),
    ],
)
def test_a_message_loses_its_trailers(message: str, expected: tuple[str, str]) -> None:
    assert split_message(message) == expected
