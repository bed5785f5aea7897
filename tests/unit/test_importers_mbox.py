"""Mailboxes: one record a mail, in the sender's own words."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from typing import TYPE_CHECKING

import pytest

from edgepersona.errors import InputError
from edgepersona.importers import Item, detect, read, size_hint
from edgepersona.importers.mailhtml import html_to_text
from edgepersona.importers.mailtext import own_words
from edgepersona.importers.mbox import MAX_HEAD_BYTES

if TYPE_CHECKING:
    from pathlib import Path

START = b"From ann@example.org Wed May  1 09:30:00 2024\n"
HEAD = b"From: Ann Lee <ann@example.org>\nSubject: Bread\nDate: Wed, 01 May 2024 09:30:00 +0200\n"


def mailbox(path: Path, *mails: bytes) -> list[Item]:
    path.write_bytes(b"".join(START + mail + b"\n\n" for mail in mails))
    return list(read(path, kind="mbox"))


def test_a_mail_becomes_a_record(tmp_path: Path) -> None:
    (item,) = mailbox(tmp_path / "Sent.mbox", HEAD + b"Message-ID: <1@x>\n\nIt rose.\n")
    record = item.record
    assert record is not None
    assert (record.title, record.text, record.kind) == ("Bread", "It rose.", "mail")
    assert (record.date, record.source) == ("2024-05-01T09:30:00+02:00", "mbox:Sent")
    assert len(record.id) == 16


def test_a_mail_without_an_id_keeps_its_id_in_another_file(tmp_path: Path) -> None:
    (one,) = mailbox(tmp_path / "a", HEAD + b"\nIt rose.\n")
    (two,) = mailbox(tmp_path / "b", HEAD + b"\nIt rose.\n")
    assert one.record is not None
    assert two.record is not None
    assert one.record.id == two.record.id


def test_mails_are_split_at_from_lines_only(tmp_path: Path) -> None:
    first, second = mailbox(
        tmp_path / "m",
        HEAD + b"\nDear all,\n\nFrom here on we bake.\n\n>From now on too.\n",
        HEAD + b"\nSecond.\n",
    )
    assert first.record is not None
    assert first.record.text == "Dear all,\n\nFrom here on we bake.\n\nFrom now on too."
    assert (second.position, size_hint(tmp_path / "m", "mbox")) == (2, 3)  # a hint, no more


def test_quotes_and_signature_are_left_out() -> None:
    text = (
        "Yes.\r\n\r\nOn Wed, 1 May 2024 at 09:30, Bob <bob@example.org>\r\nwrote:\r\n"
        "> Will it rise?\r\n>\r\n> B\r\n\r\nAnd thanks.\r\n-- \r\nAnn\r\n"
    )
    assert own_words(text) == "Yes.\n\nAnd thanks."


def test_words_that_only_look_like_an_attribution_stay() -> None:
    assert own_words("On Monday she wrote:\nit rose") == "On Monday she wrote:\nit rose"
    assert own_words("Mine.\n-----Original Message-----\nTheirs.") == "Mine."


def test_a_mail_of_quotes_alone_is_skipped_and_counted(tmp_path: Path) -> None:
    item, fine = mailbox(tmp_path / "m", HEAD + b"\n> theirs\n", HEAD + b"\nmine\n")
    assert item.error == "message 1: no words of its own: only quotes, attachments, or nothing"
    assert fine.record is not None


def test_plain_text_is_preferred_and_html_is_stripped(tmp_path: Path) -> None:
    both, html = EmailMessage(), EmailMessage()
    both.set_content("plain words")
    both.add_alternative("<p>html words</p>", subtype="html")
    html.set_content(
        "<style>p{}</style><p>Hé &amp; <b>she</b></p><blockquote>no</blockquote>", subtype="html"
    )
    first, second = mailbox(tmp_path / "m", both.as_bytes(), html.as_bytes())
    assert first.record is not None
    assert first.record.text == "plain words"
    assert second.record is not None
    assert second.record.text == "Hé & she"


def test_html_quotes_of_mail_programs_are_left_out() -> None:
    markup = '<div>Mine</div><div class="gmail_quote"><div>On x wrote:</div>no</div><div>Too</div>'
    assert own_words(html_to_text(markup)) == "Mine\n\nToo"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<br>b<!-- <p>no --> c", "a\nb c"),
        ("<p title='>'>a &lt;&eacute;&#33;</P >b", "\na <é!\nb"),
        ("<SCRIPT>no<p></script>a<style>no</style >", "a"),
        ("1 < 2 and 3 > 2 <3", "1 < 2 and 3 > 2 <3"),
        ("<blockquote><blockquote>no</blockquote>no</blockquote>a", "a"),
        ("a<b", "a"),
        ("a<script>no", "a"),
        ("a<!-- no", "a"),
        ("a<img class=gmail_quote>b", "ab"),
        ("<a title=it's>b</a>", "b"),
    ],
)
def test_html_as_a_reader_sees_it(markup: str, text: str) -> None:
    assert html_to_text(markup) == text


@pytest.mark.parametrize(
    "unit", ["<a ", "<!--", "<a b='", "</script ", "<script>", "<?", "&#", "<b>"]
)
def test_hostile_markup_of_a_megabyte_is_read_at_once(unit: str) -> None:
    assert html_to_text("a" + unit * ((1 << 20) // len(unit))).startswith("a")


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        (b"iso-8859-1", b"caf\xe9", "café"),
        (b"utf-8", b"caf\xe9!", "caf\ufffd!"),
        (b"x-nonsense", b"caf\xe9", "café"),
        (b"zlib", "café".encode(), "café"),
        (b"idna", "café".encode(), "café"),
    ],
)
def test_any_charset_gives_text(tmp_path: Path, charset: bytes, body: bytes, text: str) -> None:
    kind = b"Content-Type: text/plain; charset=" + charset
    (item,) = mailbox(tmp_path / "m", HEAD + kind + b"\nContent-Transfer-Encoding: 8bit\n\n" + body)
    assert item.record is not None
    assert item.record.text == text


def test_a_subject_in_encoded_words_is_decoded(tmp_path: Path) -> None:
    (item,) = mailbox(tmp_path / "m", b"Subject: =?utf-8?q?Caf=C3=A9?=\n now\nDate: never\n\nyes")
    assert item.record is not None
    assert (item.record.title, item.record.date) == ("Café now", "")


@pytest.mark.parametrize("author", ["ANN@example.org", "ann lee", "Ann  Lee <ann@example.org>"])
def test_author_keeps_only_their_mails(tmp_path: Path, author: str) -> None:
    other = b"From: Joann <joann@example.org>\n\nnot mine"
    mailbox(tmp_path / "m", other, HEAD + b"\nmine\n")
    (item,) = read(tmp_path / "m", author=author)
    assert item.position == 2


def test_an_author_who_sent_nothing_is_refused_with_those_who_did(tmp_path: Path) -> None:
    mailbox(tmp_path / "m", HEAD + b"\nmine\n")
    with pytest.raises(InputError, match=r"'an'.*Ann Lee <ann@example.org>.*--author"):
        list(read(tmp_path / "m", author="an"))


def test_a_large_attachment_is_passed_over_and_the_text_kept(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["Subject"] = "Photo"
    mail.set_content("See the loaf.")
    mail.add_attachment(b"\x01" * MAX_HEAD_BYTES, maintype="image", subtype="png", filename="l.png")
    first, second = mailbox(tmp_path / "m", mail.as_bytes(), HEAD + b"\nnext\n")
    assert first.record is not None
    assert (first.record.title, first.record.text) == ("Photo", "See the loaf.")
    assert second.record is not None


def test_a_text_too_long_is_skipped_and_the_next_mail_read(tmp_path: Path) -> None:
    long = b"word and word\n" * (MAX_HEAD_BYTES // 10)
    no_break = base64.b64encode(bytes(2 * MAX_HEAD_BYTES))
    first, second, third = mailbox(
        tmp_path / "m", HEAD + b"\n" + long, HEAD + b"\n" + no_break, HEAD + b"\nnext\n"
    )
    assert "message 1: longer than 2,097,152 bytes" in first.error
    assert "message 2: longer than" in second.error
    assert third.record is not None


@pytest.mark.parametrize(
    "mail",
    [
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * 400_000,
        b"".join(
            b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n)
            for n in range(30_000)
        ),
        b"Content-Type: message/rfc822\n\n" * 1000,
    ],
)
def test_a_mail_of_nothing_but_parts_is_one_bad_item(tmp_path: Path, mail: bytes) -> None:
    item, fine = mailbox(tmp_path / "m", mail, HEAD + b"\nnext\n")
    assert item.error.startswith("message 1: ")
    assert fine.record is not None


def test_endless_headers_do_no_harm(tmp_path: Path) -> None:
    folded = b"Subject: a" + b"\n =?utf-8?q?b?=" * 50_000
    wide = b"To: " + b"x@example.org, " * 50_000
    (item,) = mailbox(tmp_path / "m", folded + b"\n" + wide + b"\nDate: 2024-05-01\n\nText.")
    assert item.record is not None
    assert (item.record.text, item.record.date) == ("Text.", "2024-05-01")


def test_a_single_saved_mail_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mail.eml"
    file.write_bytes((HEAD + b"\nIt rose.").replace(b"\n", b"\r\n"))
    assert detect(file) == "mbox"
    (item,) = read(file)
    assert item.record is not None
    assert item.record.text == "It rose."
