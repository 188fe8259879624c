"""The problems of one file as they are found, and the "Did you mean" of every message about a manifest."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from batch.core.errors import ManifestError
from batch.core.models import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


_SIMILAR = 0.6  # difflib's own default: about three letters in five


def edits(left: str, right: str, limit: int) -> int | None:
    """Return the number of edits between two words, None when it is more than `limit`.

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
    """Return the known word that is most like `word`, letter case aside; None when none is near."""
    folded = {candidate.casefold(): candidate for candidate in reversed(list(known))}
    matches = get_close_matches(word.casefold(), list(folded), n=1, cutoff=_SIMILAR)
    return folded[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "Did you mean x?", or nothing when no known word is near."""
    match = closest(word, known)
    return f"Did you mean {match}?" if match is not None else ""


class ProblemLog:
    """Collects problems and warnings of one file; the first problem does not end the search."""

    def __init__(self, path: Path) -> None:
        self._file = str(path)
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def __repr__(self) -> str:
        return f"<ProblemLog {self._file}: {len(self.problems)} problems, {len(self.warnings)} warnings>"

    def problem(self, line: int | None, column: str | None, reason: str, remedy: str) -> None:
        """Note what must be fixed."""
        self.problems.append(Problem(self._file, line, column, reason, remedy))

    def warning(self, line: int | None, column: str | None, reason: str, remedy: str) -> None:
        """Note what may well be meant."""
        self.warnings.append(Problem(self._file, line, column, reason, remedy, warning=True))

    @property
    def entries(self) -> list[Problem]:
        """All problems, then all warnings."""
        return [*self.problems, *self.warnings]

    def raise_if_any(self) -> None:
        """Raise ManifestError if there is any problem, with the warnings after the problems."""
        if self.problems:
            raise ManifestError(self.entries)
