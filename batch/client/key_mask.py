"""The key never shows: it is masked in whatever a service answers.

A service may quote the key that it refuses: in another case, in escapes of JSON, URLs or HTML, or in base64.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

SHORTEST_KEY = 8
"""Characters: a shorter key may be part of a request id or a prompt. It is masked only as a word of its own, in a text
that is meant for people; a longer one is masked everywhere in an answer."""
HIDDEN = "[key]"
LONGEST_TEXT = 64 * 1024
"""A longer text is an image: it is searched for the key as it is only."""

_FOR_PEOPLE = ("error", "message", "detail", "reason", "description")


class KeyMask:
    """Finds one key in texts and answers, and masks it.

    A text in lower case needs a closer look only where it has one of the `clues`; most have none.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._everywhere = len(key) >= SHORTEST_KEY
        # What base64 makes of the key whatever comes before and after it, for each of the three ways to align it.
        self._encoded: list[str] = []
        for before in range(3 if self._everywhere else 0):
            text = base64.b64encode(b"\0" * before + key.encode()).decode().rstrip("=")
            inner = text[(before * 8 + 5) // 6 : (before + len(key)) * 8 // 6]
            self._encoded += [inner, inner.replace("+", "-").replace("/", "_")]
        found = ("\\", "%", "&#", *(clue.lower() for clue in (key, *self._encoded)))
        self.clues: tuple[str, ...] = found if key else ()

    def __repr__(self) -> str:
        return "<KeyMask>"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        spelt = "".join(map(_spellings, self._key))
        if not self._everywhere:
            spelt = rf"(?<![A-Za-z0-9]){spelt}(?![A-Za-z0-9])"
        exact = "".join(f"|(?-i:{re.escape(text)})" for text in self._encoded)
        return re.compile(f"{spelt}{exact}", re.IGNORECASE)

    def text(self, text: str) -> str:
        """Return a text that is meant for people without the key."""
        if not self._key:
            return text
        if len(text) > LONGEST_TEXT:
            return text.replace(self._key, HIDDEN)
        lower = text.lower()
        return self._pattern.sub(HIDDEN, text) if any(clue in lower for clue in self.clues) else text

    def body(self, value: Any, *, for_people: bool = False) -> Any:
        """Return decoded JSON without the key, at any depth."""
        if isinstance(value, str):
            return self.text(value) if self._everywhere or for_people else value
        if isinstance(value, list):
            return [self.body(inner, for_people=for_people) for inner in value]
        if isinstance(value, Mapping):
            return {
                self.body(name): self.body(inner, for_people=for_people or _is_for_people(name))
                for name, inner in value.items()
            }
        return value


def _is_for_people(name: str) -> bool:
    return any(part in name.lower() for part in _FOR_PEOPLE)


def _spellings(character: str) -> str:
    """Return a pattern of one character as it is, and in the escapes of JSON, URLs and HTML."""
    code = ord(character)
    return (
        rf"(?:{re.escape(character)}|%{code:02x}|\\{{1,8}}(?:u00|x){code:02x}"
        rf"|&\#(?:0{{0,4}}{code}|x0{{0,4}}{code:x});)"
    )
