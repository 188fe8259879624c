"""How far apart two words are, and the "Did you mean" of every message of the intake."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SIMILAR = 0.6  # difflib's own default: about three letters in five


def edits(left: str, right: str, limit: int) -> int | None:
    """Return how many edits part two words, None when more than `limit`.

    An edit inserts, deletes or replaces a letter, or swaps two neighbours (optimal string alignment).
    """
    if abs(len(left) - len(right)) > limit:
        return None
    before: list[int] = []
    above = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        line = [i]
        for j, b in enumerate(right, start=1):
            cost = min(above[j] + 1, line[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            line.append(cost)
        if min(line) > limit:
            return None
        before, above = above, line
    return above[-1] if above[-1] <= limit else None


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was probably meant to be, letter case aside."""
    folded = {candidate.casefold(): candidate for candidate in reversed(list(known))}
    matches = get_close_matches(word.casefold(), list(folded), n=1, cutoff=_SIMILAR)
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "Did you mean x?", or nothing when no known word is near."""
    match = closest(word, known)
    return f"Did you mean {match}?" if match is not None else ""
