"""Dates as exports write them, to ISO 8601."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from edgepersona.errors import InputError
from edgepersona.importers.items import one_line

_YEAR_OR_MONTH = re.compile(r"\d{4}(-(0[1-9]|1[0-2]))?")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_EPOCH = re.compile(r"\d{9,16}(\.\d{1,9})?")
_ZONE_NAME = re.compile(r" ?(UTC|GMT)$")


def iso_date(value: object) -> str:
    """Return ISO 8601 for ISO, mail (RFC 5322) and Unix times; empty for none, else InputError."""
    if value is None or value == "":
        return ""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _from_epoch(float(value))
        if isinstance(value, str):
            return _from_text(value.strip()[:100])
    except (ValueError, OverflowError, OSError, TypeError, IndexError):
        pass  # said below, once for every form
    raise InputError(f"date {one_line(repr(value)[:60])} is none of ISO 8601, mail or Unix time")


def iso_time(moment: datetime) -> str:
    """Write a moment to the second, UTC as Z."""
    offset = moment.utcoffset()
    if offset is not None and offset % timedelta(minutes=1):
        moment = moment.astimezone(UTC)  # ISO 8601 knows no seconds in a zone
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _from_epoch(seconds: float) -> str:
    while abs(seconds) > 1e11:  # milli-, micro- or nanoseconds: 1e11 s is the year 5138
        seconds /= 1000
    return iso_time(datetime.fromtimestamp(int(seconds), UTC))


def _from_text(text: str) -> str:
    if not text or _YEAR_OR_MONTH.fullmatch(text):
        return text
    if _EPOCH.fullmatch(text):
        return _from_epoch(float(text))
    try:
        moment = datetime.fromisoformat(_ZONE_NAME.sub("Z", text))
    except ValueError:
        return iso_time(parsedate_to_datetime(text))
    return text if _DAY.fullmatch(text) else iso_time(moment)
