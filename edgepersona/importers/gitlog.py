"""Read one author's commit messages from a git repository, which may be hostile."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from io import BufferedIOBase
from typing import TYPE_CHECKING, cast

from edgepersona.errors import InputError
from edgepersona.importers.dates import iso_date
from edgepersona.importers.items import Item, bad, good, one_line, source_name
from edgepersona.importers.people import is_by
from edgepersona.importers.pieces import pieces
from edgepersona.records import MAX_TEXT_BYTES, Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FIELDS = ("%H", "%aN", "%aE", "%aI", "%B")
_LOG = (
    "log",
    "-z",
    f"--format={'%x00'.join(_FIELDS)}",
    "--encoding=UTF-8",
    "--use-mailmap",
    "--no-merges",
    "--no-show-signature",
    "--no-notes",
    "--no-color",
    "--no-patch",
    "--no-ext-diff",
    "--no-textconv",
)
# What a repository's own configuration could make git run or fetch.
_SAFE = (
    "--no-pager",
    "-c",
    "core.fsmonitor=false",
    "-c",
    f"core.hooksPath={os.devnull}",
    "-c",
    "log.showSignature=false",
    "-c",
    "protocol.allow=never",
)
_KEPT_VARIABLES = {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_EXEC_PATH"}
_MAX_AUTHORS_SEEN = 20_000

_TRAILER = re.compile(
    r"([A-Za-z0-9]+(-[A-Za-z0-9]+)+|Fixes|Closes|Cc|Link|Bug|Refs?|Resolves|Issue|PR)\s*:\s.*"
    r"|\(cherry picked from commit [0-9a-f]+\)"
)


def read(path: Path, *, user: str | None, author: str | None) -> Iterator[Item]:
    """Yield an item for each commit by ``author``, or by the repository's configured user."""
    if not path.is_dir():
        raise InputError(f"{one_line(path)}: a file, expected the folder of a git repository")
    if _run(path, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").returncode:
        raise InputError(f"{one_line(path)}: {_why_unreadable(path)}")
    return _items(path, _identities(path, author), source_name("git", path.resolve()))


def size_hint(path: Path, *, user: str | None, author: str | None) -> int | None:
    """Count the author's commits."""
    wanted = _wanted(_identities(path, author))
    done = _run(path, "rev-list", "--count", "--no-merges", "-F", "-i", *wanted, "HEAD", "--")
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else None


def is_repository(path: Path) -> bool:
    """Whether a folder is a repository: a working tree, or a bare one."""
    return (path / ".git").exists() or (
        (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()
    )


def _items(path: Path, identities: list[str], source: str) -> Iterator[Item]:
    command = _command(path, *_LOG, "--reverse", "-F", "-i", *_wanted(identities), "HEAD", "--")
    position = 0
    with subprocess.Popen(  # noqa: S603  no shell, arguments of our own making
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
    ) as process:
        try:
            for fields in _commits(cast(BufferedIOBase, process.stdout)):
                if any(is_by(identity, fields[1], fields[2]) for identity in identities):
                    position += 1
                    yield _item(fields, source, position)
            status = process.wait()
        finally:
            process.kill()  # a reader that stops early leaves git running
    if status:
        yield bad(f"git log ended with {status}: the repository is damaged", position + 1, "git")
    elif not position:
        raise InputError(
            f"{one_line(path)}: no commits by {' or '.join(map(one_line, identities))}; "
            f"{_most_active(path)}: choose one with --author"
        )


def _commits(stream: BufferedIOBase) -> Iterator[list[str]]:
    """Yield the fields of each commit; an empty last one stands for a message too long."""
    fields: list[str] = []
    for piece in pieces(stream, b"\0", MAX_TEXT_BYTES):
        fields.append(piece.data.decode("utf-8", "replace"))
        if len(fields) == len(_FIELDS):
            if piece.error:
                fields[-1] = ""
            yield fields
            fields = []


def _item(fields: list[str], source: str, position: int) -> Item:
    commit, _name, _address, day, message = fields
    place = f"commit {commit[:12]}"
    subject, text = split_message(message)
    if not subject:
        return bad(f"no message, or one longer than {MAX_TEXT_BYTES:,} bytes", position, place)
    try:
        date = iso_date(day)
    except InputError:
        date = ""
    record = Record(text=text, title=subject, date=date, source=source, kind="commit", id=commit)
    return good(record, position, place)


def split_message(message: str) -> tuple[str, str]:
    """Return subject and body of a commit message, without the trailers at its end."""
    subject, _, body = message.replace("\r\n", "\n").strip().partition("\n\n")
    paragraphs = body.strip().split("\n\n")
    while paragraphs and all(_is_trailer(line) for line in paragraphs[-1].splitlines()):
        del paragraphs[-1]
    return " ".join(subject.split()), "\n\n".join(paragraphs).strip()


def _is_trailer(line: str) -> bool:
    return not line.strip() or line[:1].isspace() or bool(_TRAILER.fullmatch(line))


def _identities(path: Path, author: str | None) -> list[str]:
    if author is not None:
        return [author]
    configured = []
    for key in ("user.email", "user.name"):
        value = _run(path, "config", "--includes", "--get", key).stdout
        configured.append(value.decode("utf-8", "replace").strip())
    identities = [value for value in configured if value]
    if not identities:
        raise InputError(
            f"{one_line(path)}: whose commits? git has no user.email here; "
            f"{_most_active(path)}: choose one with --author"
        )
    return identities


def _wanted(identities: list[str]) -> list[str]:
    # Names may be written with other spaces than git stores, so git only narrows by words.
    return [
        f"--author={identity.strip().rpartition('<')[2].rstrip('>')}" for identity in identities
    ]


def _most_active(path: Path) -> str:
    limit = f"--max-count={_MAX_AUTHORS_SEEN}"
    done = _run(path, "log", "-z", "--format=%aN <%aE>", limit, "--no-show-signature", "HEAD", "--")
    names = [name for name in done.stdout.decode("utf-8", "replace").split("\0") if name]
    listed = ", ".join(one_line(name)[:80] for name, _ in Counter(names).most_common(3))
    return f"most commits are by {listed}" if listed else "it has no commits"


def _why_unreadable(path: Path) -> str:
    done = _run(path, "rev-parse", "--git-dir")
    if done.returncode == 0:
        return "a git repository without commits"
    return (
        f"no git repository that git would read: {one_line(done.stderr.decode('utf-8', 'replace'))}"
    )


def _run(path: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603  no shell, arguments of our own making
        _command(path, *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=_environment(),
        check=False,
    )


def _command(path: Path, *arguments: str) -> list[str]:
    git = shutil.which("git")
    if git is None:
        raise InputError("git is not installed or not on the PATH: it reads the repository's log")
    return [git, "-C", str(path), *_SAFE, *arguments]


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name in _KEPT_VARIABLES
    }
    return kept | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        # A partial clone names a remote for missing objects: it must never be asked.
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "",
    }
