"""Chats: only what the user wrote, from every export."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edgepersona.errors import InputError
from edgepersona.importers import Item, detect, read

if TYPE_CHECKING:
    from pathlib import Path


def export(path: Path, value: object) -> list[Item]:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    assert detect(path) == "chat"
    return list(read(path))


def texts(items: list[Item]) -> list[str]:
    return [item.record.text for item in items if item.record]


def test_conversations_with_a_mapping(tmp_path: Path) -> None:
    def node(role: str, parts: list, kind: str = "text", **more: object) -> dict:
        content = {"content_type": kind, "parts": parts}
        return {"message": {"author": {"role": role}, "content": content, **more}}

    mapping = {
        "root": {"message": None},
        "a": node("system", ["be kind"]),
        "b": node("user", ["Does it rise?"], id="b-1", create_time=1714555800.5),
        "c": node("assistant", ["Yes."]),
        "d": node("user", [{"asset": "loaf.png"}, "And this?"], "multimodal_text"),
        "e": node("user", [{"asset": "loaf.png"}], "multimodal_text"),
    }
    items = export(tmp_path / "conversations.json", [{"title": "By a model", "mapping": mapping}])
    first, second = (item.record for item in items)
    assert first is not None
    assert (first.text, first.id, first.title) == ("Does it rise?", "b-1", "")
    assert (first.date, first.source) == ("2024-05-01T09:30:00Z", "chat:conversations")
    assert second is not None
    assert second.text == "And this?"


@pytest.mark.parametrize(
    "value",
    [
        [{"role": "user", "content": "mine"}, {"role": "assistant", "content": "not"}],
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "mine"}]}]},
        [{"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "mine"}]}],
        [{"chat_messages": [{"sender": "human", "text": "mine", "content": []}]}],
        '{"messages": [{"role": "user", "content": "mine"}]}\n{"messages": []}\n',
    ],
)
def test_messages_of_other_programs(tmp_path: Path, value: object) -> None:
    assert texts(export(tmp_path / "chat.json", value)) == ["mine"]


def test_a_bad_message_is_named_and_the_rest_go_on(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "one"},
        {"content": "no role"},
        "text",
        {"role": "user", "content": 3},
        {"role": "user", "content": "\0"},
        {"role": "user", "content": "two"},
    ]
    items = export(tmp_path / "chat.json", [{"messages": messages}, {"other": 1}])
    assert texts(items) == ["one", "two"]
    errors = [item.error for item in items if item.error]
    assert errors[0] == "item 1, message 2: no role in it"
    assert errors[-1] == "item 2: neither a message with a role nor a conversation"
    assert len(errors) == 5


def test_an_author_for_a_json_export_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text('[{"role": "user", "content": "mine"}]')
    with pytest.raises(InputError, match="leave it out"):
        read(file, author="Ann")


ANDROID = """12/31/23, 21:04 - Messages are end-to-end encrypted.
12/31/23, 21:04 - Ann: It rose!
And how.
1/2/24, 9:05\u202fPM - Bob: Good: very good
1/2/24, 21:06 - Ann: <Media omitted>
1/2/24, 21:07 - Ann: Bye <This message was edited>
"""
APPLE = """\u200e[31.12.23, 21:04:05] Ann: \u200eIt rose!
[01.01.24, 09:00:00] Ann: \u200eimage omitted
[01.01.24, 09:01:00] Ann: Morning
"""


def test_a_text_export_of_android(tmp_path: Path) -> None:
    file = tmp_path / "chat.txt"
    file.write_text(ANDROID, encoding="utf-8")
    assert detect(file) == "chat"
    with pytest.raises(InputError, match=r"\(Ann, Bob\).*--author"):
        read(file)
    first, second = (item.record for item in read(file, author="ann"))
    assert first is not None
    assert (first.text, first.date) == ("It rose!\nAnd how.", "2023-12-31T21:04:00")
    assert second is not None
    assert second.text == "Bye"
    (item,) = read(file, author="Bob")
    assert item.record is not None
    assert (item.record.text, item.record.date) == ("Good: very good", "2024-01-02T21:05:00")
    with pytest.raises(InputError, match=r"'Eve'.*Ann, Bob"):
        list(read(file, author="Eve"))


def test_a_text_export_of_apple_with_one_name_needs_no_author(tmp_path: Path) -> None:
    file = tmp_path / "_chat.txt"
    file.write_text(APPLE, encoding="utf-8")
    records = [item.record for item in read(file) if item.record]
    assert [record.text for record in records] == ["It rose!", "Morning"]
    assert records[0].date == "2023-12-31T21:04:05"


def test_a_date_that_may_be_read_two_ways_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "chat.txt"
    file.write_text("3/4/23, 21:04 - Ann: when?\n")
    (item,) = read(file)
    assert item.record is not None
    assert item.record.date == ""


def test_bad_lines_spoil_only_their_message(tmp_path: Path) -> None:
    file = tmp_path / "chat.txt"
    file.write_bytes(b"3/4/23, 21:04 - Ann: a\n\xff\n3/4/23, 21:05 - Ann: b\n")
    bad, fine = read(file)
    assert bad.error == "message 1: not UTF-8"
    assert fine.record is not None


def test_a_text_without_a_chat_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "chat.txt"
    file.write_text("just words")
    with pytest.raises(InputError, match="no chat in it"):
        read(file, kind="chat")
