"""Text from outside, made safe to show: a control character can move a cursor, forge a line or reverse the text."""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Return text with control characters shown as escapes, on one line."""
    return _CONTROL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def shortened(text: str, most: int) -> str:
    """Return a text for a message: at most so many characters of it, and … where it has more."""
    return text if len(text) <= most else f"{text[:most]}…"
