"""A bundle: the exported models, pinned by hash, that a profile runs on."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from edgepersona.errors import BundleError
from edgepersona.manifest import EmbedderSpec, FileEntry, GeneratorSpec, HeadSpec, parse

FORMAT = 2
MANIFEST = "bundle.json"
_PARTIAL = f".{MANIFEST}.partial"
_MAX_MANIFEST_BYTES = 4 << 20


class Bundle:
    """A checked view of a bundle folder; opening reads the manifest only, no model.

    Each file's hash is verified when the file is first asked for, so that a search never
    pays for the generator. The folder is taken as immutable while it is in use.

    >>> Bundle.open("no/such/folder")
    Traceback (most recent call last):
    edgepersona.errors.BundleError: no/such/folder: no bundle here (bundle.json is missing); \
run 'edgepersona export --out no/such/folder'
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        where = f"{path / MANIFEST}: "
        self.path = path
        self.manifest = manifest
        self.embedder = parse(EmbedderSpec, manifest.get("embedder"), f"{where}embedder")
        self.generator = parse(GeneratorSpec, manifest.get("generator"), f"{where}generator")
        self._files = _parse_files(path, manifest.get("files"))
        self._verified: set[str] = set()
        self.persona_head: HeadSpec | None = None
        if manifest.get("persona_head") is not None:
            self.persona_head = parse(HeadSpec, manifest["persona_head"], f"{where}persona_head")
        self.embedder_hash = self._part_hash("embedder")
        self.generator_hash = self._part_hash("generator")

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Read ``bundle.json`` and check that every file is there with its size.

        Raises BundleError that names the file and what is wrong with it.
        """
        path = Path(path)
        bundle = cls(path, _read_manifest(path))
        for name, entry in bundle._files.items():
            size_bytes = _size_bytes(path / name)
            if size_bytes is None:
                raise BundleError(f"{path}: {name} is missing; export the bundle again")
            if size_bytes != entry.size_bytes:
                raise BundleError(
                    f"{path}: {name} has {size_bytes:,} bytes, expected {entry.size_bytes:,}; "
                    "export the bundle again"
                )
        return bundle

    def file(self, name: str) -> Path:
        """Return the path of a file of the bundle after its SHA-256 was found right."""
        entry = self._files.get(name)
        if entry is None:
            raise BundleError(f"{self.path}: {name} is not listed in {MANIFEST}")
        file = self.path / name
        if name not in self._verified:
            found = hash_file(file)
            if found != entry.sha256:
                raise BundleError(
                    f"{self.path}: {name} is damaged (sha256 {found[:12]}…, expected "
                    f"{entry.sha256[:12]}…); export the bundle again"
                )
            self._verified.add(name)
        return file

    def verify(self) -> None:
        """Check the hash of every file; raise BundleError at the first that differs."""
        for name in self._files:
            self.file(name)

    def _part_hash(self, part: str) -> str:
        """Identify the embedder or generator by its files and by what the manifest says of it."""
        files = {
            name: entry.sha256 for name, entry in self._files.items() if name.startswith(f"{part}/")
        }
        return _digest([files, self.manifest[part]])


def default_bundle_path() -> Path:
    """Return where the command line looks for a bundle when none is named.

    ``EDGEPERSONA_BUNDLE`` wins, then ``EDGEPERSONA_HOME``/bundle, then the platform's data folder.
    """
    if named := os.environ.get("EDGEPERSONA_BUNDLE"):
        return Path(named)
    return data_home() / "bundle"


def data_home() -> Path:
    """Return the folder that holds profiles and the default bundle; it may not exist yet."""
    if home := os.environ.get("EDGEPERSONA_HOME"):
        return Path(home)
    from platformdirs import user_data_path

    return user_data_path("edgepersona", appauthor=False)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Hash every file under ``folder`` and write its ``bundle.json``; used by export."""
    names = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and file.name not in (MANIFEST, _PARTIAL)
    )
    files = {name: file_entry(folder / name) for name in names}
    sign_manifest(folder, {"format": FORMAT, **manifest, "files": files})


def sign_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest that lists its files already, whole or not at all; used by export."""
    whole = {key: value for key, value in manifest.items() if key != "sha256"}
    whole["sha256"] = _digest(whole)
    partial = folder / _PARTIAL
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(folder / MANIFEST)


def file_entry(file: Path) -> dict[str, Any]:
    """Return what a manifest says of a file."""
    return {"sha256": hash_file(file), "size_bytes": file.stat().st_size}


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{file}: cannot be read: {error.strerror}") from error


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    try:
        if file.stat().st_size > _MAX_MANIFEST_BYTES:
            raise BundleError(f"{file}: larger than any manifest; export the bundle again")
        manifest = json.loads(file.read_bytes())
        json.dumps(manifest, ensure_ascii=False).encode()  # escapes that name no character
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{path}: no bundle here ({MANIFEST} is missing); run 'edgepersona export --out {path}'"
        ) from None
    except OSError as error:
        raise BundleError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise BundleError(f"{file}: is no JSON; export the bundle again") from None
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise BundleError(f"{file}: is no bundle manifest; export the bundle again")
    if manifest["format"] != FORMAT:
        raise BundleError(
            f"{file}: has format {manifest['format']!r}, this version reads {FORMAT}; "
            "export the bundle again, or upgrade edgepersona"
        )
    claimed = manifest.pop("sha256", None)
    if claimed != _digest(manifest):
        raise BundleError(f"{file}: was changed after export; export the bundle again")
    return manifest


def _size_bytes(file: Path) -> int | None:
    try:
        return file.stat().st_size if file.is_file() else None
    except OSError as error:  # a name that is too long is one too
        raise BundleError(f"{file}: cannot be read: {error.strerror}") from error


def _parse_files(path: Path, value: object) -> dict[str, FileEntry]:
    if not isinstance(value, dict):
        raise BundleError(f"{path / MANIFEST}: lists no files; export the bundle again")
    for name in value:
        _check_name(path, name)
    entries = {
        name: parse(FileEntry, entry, f"{path / MANIFEST}: {name}") for name, entry in value.items()
    }
    for name, entry in entries.items():
        if not re.fullmatch("[0-9a-f]{64}", entry.sha256):
            raise BundleError(f"{path / MANIFEST}: {name} has no SHA-256; export the bundle again")
    return entries


def _check_name(path: Path, name: str) -> None:
    pure = PurePosixPath(name)
    inside = not pure.is_absolute() and ".." not in pure.parts and "\\" not in name
    if not (
        inside and name.isprintable() and (path / name).resolve().is_relative_to(path.resolve())
    ):
        raise BundleError(f"{path}: {name!r} leads out of the bundle; refuse to use it")


def _digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
