from __future__ import annotations

import json
import os

import pytest

from edgepersona.cli import backup
from edgepersona.errors import InputError
from edgepersona.profile import Profile
from edgepersona.records import MAX_TEXT_BYTES, Record
from tests.standins import EMBEDDER_HASH

TEA = "I take my tea at four."


@pytest.fixture
def history(tmp_path):
    path = tmp_path / "history.jsonl"
    lines = [
        {"id": "tea", "text": TEA, "title": "Tea", "date": "2024-05-01", "kind": "note"},
        {"id": "run", "text": "I ran ten miles.", "date": "2024-05-03T07:00:00Z", "kind": "log"},
        {"id": "old", "text": "A letter about ships.", "kind": "note", "source": "attic"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_add_prints_the_id_that_forget_takes(run):
    added = run("add", TEA)
    again = run("add", TEA, "--json").json
    assert again == {"id": added.out.strip(), "added": 0}
    assert run("forget", added.out.strip()).status == 0
    assert run("profile", "show", "--json").json["records"] == 0


@pytest.mark.parametrize("argv", [[], ["-"]])
def test_add_reads_stdin(run, argv):
    run("add", *argv, "--id", "x", stdin="Grüße\naus Köln\n".encode())
    assert run("profile", "list", "--json").json["records"][0]["text"] == "Grüße\naus Köln"


def test_add_keeps_every_field(run):
    fields = {"title": "T", "date": "2024", "source": "s", "kind": "k", "id": "i"}
    run("add", TEA, *[part for name, value in fields.items() for part in (f"--{name}", value)])
    assert run("profile", "list", "--json").json == {"records": [{"text": TEA, **fields}]}


@pytest.mark.parametrize(
    ("argv", "stdin", "message"),
    [
        ([""], b"", "the text is empty"),
        ([], b" \n", "the text is empty"),
        ([], b"a\0b", "NUL"),
        ([], b"caf\xe9 au lait", "byte 0xe9 at position 3"),
        ([], b"x" * (MAX_TEXT_BYTES + 1), "more than 1,048,576 bytes"),
        (["\udcff"], b"", "lone surrogate"),
        ([TEA, "--date", "soon"], b"", "no ISO 8601 date"),
    ],
)
def test_add_refuses_what_no_record_can_hold(run, home, argv, stdin, message):
    ended = run("add", *argv, stdin=stdin)
    assert (ended.status, ended.out) == (1, "")
    assert message in ended.error
    assert not (home / "profiles").exists()


def test_import_counts_and_a_second_run_changes_nothing(run, history):
    assert run("import", history).out == "3 added, 0 unchanged, 0 skipped\n"
    assert run("import", history, "--json").json == {
        "added": 0,
        "updated": 0,
        "unchanged": 3,
        "skipped": 0,
        "errors": [],
        "total": 3,
    }


def test_import_names_the_first_ten_bad_lines_and_keeps_the_good(run, history):
    history.write_text(history.read_text() + "broken\n" * 12)
    ended = run("import", history)
    assert ended.status == 0
    assert ended.out == "3 added, 0 unchanged, 12 skipped\n"
    lines = ended.err.splitlines()
    assert len(lines) == 11
    assert "line 4" in lines[0]
    assert lines[-1] == "skipped: 2 more"


def test_import_of_nothing_but_bad_lines_fails(run, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text("broken\n")
    assert run("import", path).status == 1
    path.write_text("")
    assert run("import", path).status == 0


@pytest.mark.parametrize("name", ["missing.jsonl", "photo.png"])
def test_import_refuses_what_it_cannot_read(run, tmp_path, name):
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    ended = run("import", tmp_path / name)
    assert (ended.status, ended.out) == (1, "")
    assert name in ended.error


def test_interrupted_import_says_what_is_stored(run, history, monkeypatch):
    add = Profile.add

    def add_then_interrupt(self, records, **options):
        add(self, records, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Profile, "add", add_then_interrupt)
        ended = run("import", history)
    assert (ended.status, ended.error) == (
        1,
        "interrupted; 3 records are stored, 3 of them new: run the same command again for the rest",
    )


def test_search_finds_and_filters(run, history):
    run("import", history)
    hits = run("search", "tea at four", "--json").json["hits"]
    assert hits[0]["id"] == "tea"
    assert hits[0]["score"] >= hits[-1]["score"]
    assert " tea  2024-05-01  note  Tea: I take" in run("search", "tea", "-k", 1).out
    filtered = run("search", "tea", "--since", "2024-05-02", "--json").json["hits"]
    assert [hit["id"] for hit in filtered] == ["run"]
    nothing = run("search", "tea", "--kind", "mail")
    assert (nothing.status, nothing.out, nothing.err) == (0, "", "no record found\n")


def test_a_record_cannot_steer_the_terminal(run):
    run("add", "\x1b]0;owned\x07 quiet\r\n text", "--id", "x")
    assert "\x1b" not in run("search", "quiet").out
    assert run("profile", "list").out == "x  \ufffd]0;owned\ufffd quiet text\n"


def test_forget_removes_all_or_nothing(run, history):
    run("import", history)
    ended = run("forget", "tea", "nobody", "nothing")
    assert (ended.status, ended.out) == (1, "")
    assert ended.error == "no record has the id nobody, nothing; nothing was removed"
    assert run("forget", "tea", "--dry-run", "--json").json == {"ids": ["tea"], "forgotten": 0}
    assert run("forget", "tea", "run", "tea", "--json").json == {
        "ids": ["tea", "run"],
        "forgotten": 2,
    }
    assert [r["id"] for r in run("profile", "list", "--json").json["records"]] == ["old"]


def test_profile_show(run, history, home):
    run("import", history)
    shown = run("profile", "show", "--json").json
    assert shown.pop("size_bytes") > 0
    assert shown == {
        "path": str(home / "profiles" / "default.db"),
        "records": 3,
        "generation": 1,
        "embedder_hash": EMBEDDER_HASH,
        "dates": {"first": "2024-05-01", "last": "2024-05-03T07:00:00Z"},
        "kinds": {"note": 2, "log": 1},
        "sources": {"jsonl:history": 2, "attic": 1},
        "encrypted": False,
    }
    assert "note 2 · log 1" in run("profile", "show").out


def test_profile_list_newest_first(run, history):
    run("import", history)
    listed = run("profile", "list").out.splitlines()
    assert [line.split()[0] for line in listed] == ["run", "tea", "old"]
    assert len(run("profile", "list", "--limit", 1).out.splitlines()) == 1
    assert [
        r["id"] for r in run("profile", "list", "--kind", "note", "--json").json["records"]
    ] == ["tea", "old"]


def test_export_and_import_carry_every_record_exactly(run, tmp_path):
    texts = ['quo"te \\ back', "line\nend\ttab\r", "Zürich 東京 🫖", " spaced ", "\u2028\ufeff\x1b"]
    for i, text in enumerate(texts):
        run("add", text, "--id", f"id {i}", "--date", "2024-05", "--title", f"{text[:3]}!")
    run("add", "--title", "only a title")
    copy, file = tmp_path / "copy.db", tmp_path / "out.jsonl"
    assert run("profile", "export", file).err == f"6 records written to {file}\n"
    loaded = run("profile", "import", file, "--profile", copy, "--json")
    assert loaded.json == {"added": 6, "unchanged": 0}
    assert run("profile", "import", file, "--profile", copy).out == "0 added, 6 unchanged\n"
    mine, theirs = (run("profile", "export", "-", "--profile", p).out for p in ("default", copy))
    assert mine == theirs == file.read_text("utf-8")
    lists = [run("profile", "list", "--json", "--profile", p).json for p in ("default", copy)]
    assert lists[0] == lists[1]


def test_export_replaces_a_file_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("before")

    def records():
        yield Record("one", id="1")
        raise InputError("damaged")

    with pytest.raises(InputError):
        backup.write_backup(records(), str(path))
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_export_is_readable_by_its_owner_alone(run, history, tmp_path):
    run("import", history)
    run("profile", "export", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").stat().st_mode & 0o077 == 0


def test_export_writes_through_a_link_and_into_a_device(run, history, tmp_path):
    run("import", history)
    (tmp_path / "link").symlink_to(tmp_path / "real.jsonl")
    assert run("profile", "export", tmp_path / "link").status == 0
    assert (tmp_path / "link").is_symlink()
    assert len((tmp_path / "real.jsonl").read_text().splitlines()) == 3
    assert run("profile", "export", os.devnull).status == 0
    assert not os.path.isfile(os.devnull)


@pytest.mark.parametrize("name", ["", "no/such/folder/out.jsonl"])
def test_export_to_a_place_that_is_none_fails(run, history, tmp_path, name):
    run("import", history)
    assert str(tmp_path) in run("profile", "export", tmp_path / name).error


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no json", "no record"),
        ("[1]", "no record"),
        ('{"text": "a"}', "no record"),
        ('{"id": "a", "text": "a", "more": 1}', "no record"),
        ('{"id": "a", "text": 1}', "text is int"),
        ('{"id": "a", "text": ""}', "is empty"),
        ('{"id": "a", "text": "\\ud800"}', "lone surrogate"),
        ("[" * 100_000, "no record"),
    ],
)
def test_profile_import_refuses_a_damaged_file_whole(run, tmp_path, line, message):
    path = tmp_path / "in.jsonl"
    path.write_text(f'{{"id": "fine", "text": "fine"}}\n{line}\n')
    ended = run("profile", "import", path)
    assert ended.status == 1
    assert f"{path}: line 2: " in ended.error
    assert message in ended.error
    assert "there is no profile here" in run("profile", "list").error


def test_profile_import_stops_at_an_id_that_is_taken(run, tmp_path):
    run("add", TEA, "--id", "tea")
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": "tea", "text": "coffee"}\n')
    ended = run("profile", "import", path)
    assert ended.status == 1
    assert "(0 of 1 records were stored before)" in ended.error
