"""From a typed value to the text that a CSV of the same table would hold, so that every format means the same.

Rule 1: whole numbers are digits, whatever type carried them (7.0 is 7); other numbers keep every digit they need
and no more; truth is true and false; dates and times are ISO 8601. Rule 2: null, NaN and NaT are not given.
Rule 3: what no cell can hold is an Issue: a list, an infinity, a NUL, half a character.
"""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from batch.core.csv_format import unsendable
from batch.core.models import Issue

MOST_DIGITS = 40
"""The digits up to which a number is written out; one like 1e1000000 stays as it is."""

_SECONDS_AN_HOUR = 3600


def as_cell(value: Any) -> str | Issue | None:
    """Return the text of a value, None where there is none, or why it has no text."""
    kind = type(value)
    if kind is str:
        return unsendable(value) or value
    if value is None:
        return None
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return str(value)
    if isinstance(value, float):
        return _of_float(float(value))
    return _rarer(value)


def _of_float(value: float) -> str | Issue | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return Issue("is infinite.", "Give a number, or leave it empty.")
    return str(int(value)) if value.is_integer() else repr(value)


def _rarer(value: Any) -> str | Issue | None:
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if value != value:  # noqa: PLR0124  NaT, which is a datetime without a value
        return None
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return _of_duration(value)
    if isinstance(value, bytes):
        try:
            return as_cell(value.decode())
        except UnicodeDecodeError:
            return Issue("holds bytes that are not UTF-8 text.", "Write the column as text.")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list | tuple | dict):
        return Issue("is a list or an object.", "Give one value.")
    return Issue(f"holds a {type(value).__name__}, which has no text.", "Write the column as text.")


def _of_decimal(value: Decimal) -> str | Issue | None:
    if not value.is_finite():
        return None if value.is_nan() else Issue("is infinite.", "Give a number, or leave it empty.")
    if not -MOST_DIGITS < value.adjusted() < MOST_DIGITS:
        return str(value)
    return str(int(value)) if value == value.to_integral_value() else f"{value:f}"


def _of_duration(value: timedelta) -> str:
    """Return hours:minutes:seconds, as a spreadsheet shows a duration; days become hours."""
    sign = "-" if value < timedelta() else ""
    seconds, rest = divmod(abs(value), timedelta(seconds=1))
    hours, minutes = divmod(seconds, _SECONDS_AN_HOUR)
    fraction = f".{rest.microseconds:06d}".rstrip("0") if rest else ""
    return f"{sign}{hours}:{minutes // 60:02d}:{minutes % 60:02d}{fraction}"


def without_midnight(value: Any) -> Any:
    """Return the date of a datetime at midnight; everything else as it is. For formats without dates."""
    if isinstance(value, datetime) and value.time() == time.min:
        return value.date()
    return value
