"""Cutting streams: pieces between separators, values of a JSON list, dates."""

from __future__ import annotations

import io

import pytest

from edgepersona.errors import InputError
from edgepersona.importers import pieces as pieces_module
from edgepersona.importers.dates import iso_date
from edgepersona.importers.items import one_line
from edgepersona.importers.pieces import pieces
from edgepersona.importers.values import values


class Failing(io.BytesIO):
    """A file on a disk that fails after its last byte."""

    def read1(self, size: int | None = -1, /) -> bytes:
        data = super().read1(size)
        if not data:
            raise OSError(5, "Input/output error")
        return data


class Counting(io.BytesIO):
    """A file of one endless line, which counts what is asked of it."""

    def read1(self, size: int | None = -1, /) -> bytes:
        assert size == pieces_module.CHUNK_BYTES
        return super().read1(size)


def test_a_piece_over_the_limit_is_dropped_and_the_next_one_is_whole() -> None:
    stream = Counting(b"a\n" + b"x" * (3 * pieces_module.CHUNK_BYTES) + b"\nb")
    first, second, third = pieces(stream, b"\n", 10)
    assert (first.data, first.error) == (b"a", "")
    assert (second.number, second.data, second.error) == (2, b"", "longer than 10 bytes")
    assert (third.number, third.data) == (3, b"b")


def test_a_failing_disk_is_the_last_piece() -> None:
    first, last = pieces(Failing(b"a\nhalf"), b"\n", 10)
    assert first.data == b"a"
    assert "damaged" in last.error
    assert [value.error[:8] for value in values(Failing(b"[1,2"))] == ["", "the file"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"[]", []),
        (b' [1, "a,]", {"b": [2, 3]}] ', [b"1", b'"a,]"', b'{"b": [2, 3]}']),
        (b'\xef\xbb\xbf[{"a": "\\\\"}]', [b'{"a": "\\\\"}']),
        (b'{"a": 1}\n{"b":\n 2}', [b'{"a": 1}', b'{"b":\n 2}']),
    ],
)
def test_values_of_a_list_or_one_after_another(text: bytes, expected: list[bytes]) -> None:
    assert [value.data for value in values(io.BytesIO(text))] == expected


def test_a_value_over_the_limit_is_dropped() -> None:
    found = list(values(io.BytesIO(b'[1, "%s", 2]' % (b"x" * 50)), 20))
    assert [value.data for value in found] == [b"1", b"", b"2"]
    assert found[1].error == "longer than 20 bytes"


def test_a_list_that_is_cut_off_says_so() -> None:
    *whole, last = values(io.BytesIO(b'[{"a": 1}, {"b": '))
    assert [value.data for value in whole] == [b'{"a": 1}']
    assert "ends in the middle" in last.error


def test_text_after_the_list_is_reported() -> None:
    *_, last = values(io.BytesIO(b"[1] {}"))
    assert "after the end" in last.error


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, ""),
        ("", ""),
        ("2017", "2017"),
        ("2017-05", "2017-05"),
        ("2017-05-09", "2017-05-09"),
        ("2024-05-01T09:30:00.123456Z", "2024-05-01T09:30:00Z"),
        ("2024-05-01 09:30:00 UTC", "2024-05-01T09:30:00Z"),
        ("2024-05-01T09:30:00+02:00", "2024-05-01T09:30:00+02:00"),
        ("Wed, 01 May 2024 09:30:00 +0200", "2024-05-01T09:30:00+02:00"),
        ("Wed May 01 09:30:00 +0000 2024", "2024-05-01T09:30:00Z"),
        (1714555800, "2024-05-01T09:30:00Z"),
        (1714555800123, "2024-05-01T09:30:00Z"),
        ("1714555800.5", "2024-05-01T09:30:00Z"),
    ],
)
def test_dates_of_exports_become_iso(given: object, expected: str) -> None:
    assert iso_date(given) == expected


@pytest.mark.parametrize("given", ["soon", "2024-02-31", True, [], float("nan"), 10**400, "1/2/03"])
def test_what_is_no_date_is_refused(given: object) -> None:
    with pytest.raises(InputError, match="date"):
        iso_date(given)


def test_messages_are_one_printable_bounded_line() -> None:
    plain = one_line("a\nb\x1b[31m\udcff" + "x" * 1000)
    assert plain.startswith("a b [31m\\udcff")
    assert len(plain) == 300
