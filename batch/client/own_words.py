"""The words of a refusal that are the service's own: what it quotes from the request that was sent is left out.

A prompt may speak of a balance bike or a credit card, and a refusal may quote it: that says nothing about the account.
Quoted is: a value of the request, or the name of a file in it, whole; SAME_WORDS of its words in the same order, for a
quotation that was cut; a part of it in quotation marks; a value of one word after a colon, at the end.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SAME_WORDS = 4
MOST_TEXT = 4_000
"""Characters of each text that are read."""
MOST_TEXTS = 50

_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_QUOTED = re.compile(
    r"\"([^\"]*)\"|(?<!\w)'([^']*)'(?!\w)|`([^`]*)`|\u201c([^\u201d]*)\u201d|\u2018([^\u2019]*)\u2019|\xab([^\xbb]*)\xbb"
)
_LAST = re.compile(r"[:=]\s*([^\s:=]+)\s*$")


def texts_in(value: Any) -> list[str]:
    """Return the first MOST_TEXTS texts in decoded JSON, outer ones first; names of fields are not texts."""
    found: list[str] = []
    waiting = [value]
    for inner in waiting:  # which grows
        if isinstance(inner, str):
            found.append(inner[:MOST_TEXT])
        elif isinstance(inner, Mapping):
            waiting.extend(inner.values())
        elif isinstance(inner, list | tuple):
            waiting.extend(inner)
        if len(found) == MOST_TEXTS:
            break
    return found


def own_words(said: Iterable[str], sent: Iterable[str]) -> tuple[str, ...]:
    """Return the words of the texts `said`, in lower case, without those quoted from the texts that were sent."""
    values = []
    for text in sent:
        names = [text.rpartition("/")[2].partition("?")[0]] if "/" in text else []
        values += [found for found in map(_words, [text, *names]) if found]
    return tuple(word for text in said for word in _own(_plain(text), values))


def _own(text: str, values: Sequence[list[str]]) -> list[str]:
    found = [(match[0].casefold(), match.start()) for match in _WORD.finditer(text)]
    spoken = [word for word, _ in found]
    quoted: set[int] = set()
    for value in values:
        size = min(SAME_WORDS, len(value))
        if size > 1:
            runs = {tuple(value[at : at + size]) for at in range(len(value) - size + 1)}
            for at in range(len(spoken) - size + 1):
                if tuple(spoken[at : at + size]) in runs:
                    quoted.update(range(at, at + size))
    for marks in _QUOTED.finditer(text):
        inside = [number for number, (_, start) in enumerate(found) if marks.start() < start < marks.end()]
        part = [spoken[number] for number in inside]
        if part and any(_has(value, part) for value in values):
            quoted.update(inside)
    if (last := _LAST.search(text)) and _words(last[1]) in values:
        quoted.update(number for number, (_, start) in enumerate(found) if start >= last.start(1))
    return [word for number, word in enumerate(spoken) if number not in quoted]


def _has(value: Sequence[str], part: Sequence[str]) -> bool:
    """Return whether a value has these words one after the other; the last of them may be cut."""
    for at in range(len(value) - len(part) + 1):
        here = value[at : at + len(part)]
        if here[:-1] == part[:-1] and here[-1].startswith(part[-1]):
            return True
    return False


def _plain(text: str) -> str:
    return _CAMEL.sub(" ", html.unescape(unquote(text)))


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(_plain(text))]
