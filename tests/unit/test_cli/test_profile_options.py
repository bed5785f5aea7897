from __future__ import annotations

import pytest


def test_a_bare_name_lies_in_the_data_folder_and_a_path_where_it_says(run, home, monkeypatch):
    monkeypatch.chdir(home)
    for name in ("work", "here.db", "sub/file"):
        assert run("add", "tea", "--profile", name).status == 0
    assert (home / "profiles" / "work.db").is_file()
    assert (home / "here.db").is_file()
    assert (home / "sub" / "file").is_file()


@pytest.mark.parametrize(
    "argv", [["search", "x"], ["ask", "x"], ["chat"], ["profile", "show"], ["forget", "x"]]
)
def test_reading_a_profile_that_is_not_there_makes_none(run, home, argv):
    ended = run(*argv)
    assert (ended.status, ended.out) == (1, "")
    assert "there is no profile here: check --profile, or make one" in ended.error
    assert list(home.iterdir()) == []


def test_a_profile_below_a_file_cannot_be_made(run, home):
    (home / "file").write_text("")
    assert "cannot be made" in run("add", "tea", "--profile", home / "file" / "p.db").error


def test_a_key_from_a_file_or_the_environment_opens_an_encrypted_profile(run, home, monkeypatch):
    key, wrong = home / "key", home / "wrong"
    key.write_bytes(b"s3cret\r\n")
    wrong.write_bytes(b"guess")
    assert run("add", "tea", "--key-file", key).status == 0
    assert run("profile", "show", "--json", "--key-file", key).json["encrypted"] is True
    assert "wrong key" in run("profile", "show", "--key-file", wrong).error
    assert "needs a key" in run("profile", "show").error
    monkeypatch.setenv("EDGEPERSONA_KEY", "s3cret")
    assert run("profile", "show").status == 0
    assert "wrong key" in run("profile", "show", "--key-file", wrong).error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the key cannot be read"),
        (b"", "the key is empty"),
        (b"\xff", "not UTF-8"),
        (b"x" * 5000, "this is no key"),
        (b"a\0b", "NUL"),
    ],
)
def test_a_file_that_holds_no_key_is_refused(run, home, content, message):
    if content is not None:
        (home / "key").write_bytes(content)
    ended = run("add", "tea", "--key-file", home / "key")
    assert ended.status == 1
    assert message in ended.error


def test_no_option_takes_the_key_itself(run):
    assert run("profile", "show", "--key", "s3cret").status == 2
