"""The pages say what is there: names, commands, tables, links, and the program in the README."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import fields
from pathlib import Path

import apsw
import pytest

import edgepersona
from edgepersona.bundle import write_manifest
from edgepersona.cli.program import _parser
from edgepersona.manifest import EmbedderSpec, FileEntry, GeneratorSpec, Variant
from edgepersona.profile import Profile
from edgepersona.store import Store
from edgepersona_export.verify import Check
from tests.standins import EMBEDDER_HASH, NDIM, NumpyVectors, WordEmbedder
from tests.unit.test_layers import LAYERS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

NETWORK = {
    "aiohttp", "asyncio", "ftplib", "http", "httpx", "imaplib", "poplib", "requests", "smtplib",
    "socket", "socketserver", "ssl", "urllib", "urllib3", "webbrowser", "xmlrpc",
}  # fmt: skip

# The README's program on a bundle of tiny models; ends at once where Python itself opens a socket.
PROGRAM = """
import os, sys
from pathlib import Path

def watch(event, arguments):
    if event.startswith("socket."):
        os.write(2, f"{event} {arguments}".encode())
        os._exit(3)

sys.addaudithook(watch)
from edgepersona.bundle import Bundle
from edgepersona.generator import Generator
from tests.unit.test_docs import run_readme
run_readme(Path(sys.argv[1]), lambda: Generator(Bundle.open(sys.argv[2])))
"""


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def run_readme(folder: Path, make_generator) -> None:
    """Run the README's program in ``folder``, on stand-ins for the embedder and the index."""

    def open_profile(path, bundle, *, key=None, create=True):
        store = Store.open(folder / path, key=key, embedder_hash=EMBEDDER_HASH, ndim=NDIM)
        return Profile(store, embedder=WordEmbedder, vectors=NumpyVectors, generator=make_generator)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Profile, "open", open_profile)
        for block in python_blocks(README):
            exec(compile(block, str(README), "exec"), {})


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return {
        name: command
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, command in action.choices.items()
    }


def example_calls() -> list[list[str]]:
    """Return the arguments of every example in the README's table of commands."""
    row = r"^\| `edgepersona \w+` \|.*\| `edgepersona (.*)` \|$"
    rows = re.findall(row, README.read_text("utf-8"), re.MULTILINE)
    return [shlex.split(row) for row in rows]


def describes(text: str, table: str, column: str) -> bool:
    """Whether ``column`` has its row under ``table`` in bold, or stands in the row of ``table``."""
    section = re.search(rf"^\*\*{table}\*\*.*?(?=^\*\*|^#)", text, re.MULTILINE | re.DOTALL)
    if section is None:
        return bool(re.search(rf"^\| `{table}` \|.*`{column}`", text, re.MULTILINE))
    as_rows = "| column |" in section[0]
    return (f"\n| `{column}` |" if as_rows else f"`{column}`") in section[0]


def manifest_rows() -> list[tuple[str, str]]:
    """Return the rows of the table that lists the keys of bundle.json."""
    text = (ROOT / "docs" / "format.md").read_text("utf-8")
    section = text[text.index("### bundle.json") : text.index("### Hashes")]
    return re.findall(r"^\| (`.+?`) \| (.*) \|$", section, re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="export extra is not installed")
    from tests import tiny

    folder = tmp_path_factory.mktemp("bundle")
    tiny.write_bundle(folder, tiny.llama(259, max_position_embeddings=2048))
    return folder


def test_every_command_has_its_row_in_the_readme() -> None:
    documented = re.findall(r"^\| `edgepersona (\w+)` \|", README.read_text("utf-8"), re.MULTILINE)
    assert sorted(documented) == sorted(commands(_parser()))


def test_every_subcommand_of_profile_is_named_in_its_row() -> None:
    row = next(
        line
        for line in README.read_text("utf-8").splitlines()
        if line.startswith("| `edgepersona profile` |")
    )
    subcommands = commands(commands(_parser())["profile"])
    assert [name for name in subcommands if f"`{name}`" not in row] == []


@pytest.mark.parametrize("call", example_calls(), ids=lambda call: call[0])
def test_every_example_of_a_command_is_accepted(call: list[str]) -> None:
    assert callable(_parser().parse_args(call).run)


def test_every_exported_name_has_its_row_in_the_readme() -> None:
    documented = re.findall(r"^\| `(\w+)` \| .", README.read_text("utf-8"), re.MULTILINE)
    assert [name for name in edgepersona.__all__ if name not in documented] == []


def test_every_extra_has_its_row_in_the_readme() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = README.read_text("utf-8")
    assert [e for e in project["optional-dependencies"] if f"| `{e}` |" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (heading and heading not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_pages_compiles_and_its_imports_are_there(page: Path) -> None:
    for block in python_blocks(page):
        tree = ast.parse(block, filename=str(page))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, type_ignores=[]), str(page), "exec"), {})


def test_every_table_and_column_of_a_profile_is_described(store: Store, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "format.md").read_text("utf-8")
    database = apsw.Connection(str(tmp_path / "profile.db"))
    tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    columns = {
        table: database.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
        for (table,) in tables
    }
    database.close()
    assert {"meta", "record", "record_fts"} <= columns.keys()
    undescribed = [
        f"{table}.{column}"
        for table in columns
        for (column,) in columns[table]
        if not describes(text, table, column)
    ]
    assert undescribed == []


def test_every_index_and_own_key_of_a_profile_is_described(store: Store, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "format.md").read_text("utf-8")
    database = apsw.Connection(str(tmp_path / "profile.db"))
    indexes = database.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    keys = database.execute("SELECT key FROM meta").fetchall()
    numbers = [str(database.pragma(name)) for name in ("application_id", "page_size")]
    database.close()
    wanted = [f"`{name}`" for (name,) in [*indexes, *keys]] + numbers
    assert [name for name in wanted if name not in text] == []


@pytest.mark.parametrize(
    ("part", "kind"), [("embedder", EmbedderSpec), ("generator", GeneratorSpec)]
)
def test_every_key_that_is_read_of_a_model_has_its_row(part: str, kind: type) -> None:
    documented: set[str] = set()
    for row in manifest_rows():
        if row[0].startswith(f"`{part}."):
            documented |= set(re.findall(r"\.(\w+)(?:\[\])?`", row[0]))
    assert [f.name for f in fields(kind) if f.name not in documented] == []


def test_every_other_key_of_a_manifest_is_described(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"created_by": "", "inputs": {}, "verification": []})
    keys = json.loads((tmp_path / "bundle.json").read_text("utf-8"))
    first = [row[0] for row in manifest_rows()]
    assert [key for key in keys if not any(cell.startswith(f"`{key}") for cell in first)] == []
    members = {
        "generator.variants[]": [f.name for f in fields(Variant)],
        "files": [f.name for f in fields(FileEntry)],
        "verification[]": [*(f.name for f in fields(Check)), "passed"],
    }
    described = {row[0].strip("`"): row[1] for row in manifest_rows()}
    assert [
        f"{key}.{name}"
        for key, names in members.items()
        for name in names
        if f"`{name}`" not in described[key]
    ] == []


def test_every_key_of_a_native_variant_is_described(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="export extra is not installed")
    from tests import tiny

    tiny.write_bundle(tmp_path, tiny.llama(259), precision="int4")
    model = json.loads((tmp_path / "generator/cpu-int4/model.json").read_text("utf-8"))
    text = (ROOT / "docs" / "format.md").read_text("utf-8")
    section = text[text.index("### The weights") : text.rindex("### What a reader checks")]
    layer = model["layers"][0]
    members = {key for part in layer.values() if isinstance(part, dict) for key in part}
    wanted = model.keys() | members | model["ropes"][0].keys()
    of_a_layer = {name if name in ("window", "rope") else f"layers.i.{name}" for name in layer}
    missing = [name for name in wanted | of_a_layer if f"`{name}`" not in section]
    assert sorted(missing) == []


def test_the_table_of_layers_is_the_one_that_is_held() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    block = text[text.index("## Layers") :].split("```")[1]
    rows = [re.split(r" {2,}", line)[0] for line in block.strip().splitlines()]
    assert [set(row.split(", ")) for row in rows] == LAYERS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_a_page_names_is_there(page: Path) -> None:
    folders = ("edgepersona", "export", "tests", "bench", "native", "examples")
    there = [path.as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    named = re.findall(r"`([\w/]+\.py)`", page.read_text("utf-8"))
    assert [name for name in named if not any(p.endswith(f"/{name}") for p in there)] == []


def test_the_readmes_program_runs(bundle_folder: Path, tmp_path: Path, capsys) -> None:
    from edgepersona.bundle import Bundle
    from edgepersona.generator import Generator

    run_readme(tmp_path, lambda: Generator(Bundle.open(bundle_folder)))
    out = capsys.readouterr().out
    assert "The key to the shed hangs in the blue box." in out
    left = Store.open(
        tmp_path / "me.db", key="a passphrase", embedder_hash=EMBEDDER_HASH, ndim=NDIM
    )
    assert left.count() == 1
    left.close()


def test_the_example_in_profiles_docstring_is_of_the_readmes_program() -> None:
    assert Profile.__doc__ is not None
    example = inspect.cleandoc(Profile.__doc__).partition("::\n\n")[2]
    readme = README.read_text("utf-8").splitlines()
    compile(textwrap.dedent(example), "Profile", "exec")
    assert len(example.splitlines()) > 3
    assert [line for line in textwrap.dedent(example).splitlines() if line not in readme] == []


def test_the_readmes_program_opens_no_socket(bundle_folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(_program(tmp_path, bundle_folder), cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_readmes_program_opens_no_internet_socket_by_the_kernels_word(
    bundle_folder: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.txt"
    strace = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(trace)]
    if subprocess.run([*strace, "true"], capture_output=True).returncode:
        pytest.skip("strace may not trace here")
    done = subprocess.run([*strace, *_program(tmp_path, bundle_folder)], cwd=ROOT)
    assert done.returncode == 0
    assert "AF_INET" not in trace.read_text()


@pytest.mark.parametrize(
    "path", sorted((ROOT / "edgepersona").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_no_module_imports_a_network_library(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(ast.walk(tree))
    imported = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in imported} & NETWORK


def _program(folder: Path, bundle: Path) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(folder), str(bundle)]
