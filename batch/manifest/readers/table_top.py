"""The top of a table: which of its first rows names the columns, under titles, dates and blank lines.

Rule 1: the row with the most headings that are known is the header, the first of several; it has at least two, or one that
the user mapped. Rule 2: where no row has, it is the row with the most headings that shops and people use (see guesses.py), else the
first one, or the widest below a first one of a single cell, so that the message about missing columns shows the headings that a
person sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.manifest.columns import SPELLINGS, fold
from batch.manifest.guesses import is_guessable
from batch.manifest.headings import NOTHING_KNOWN, FolderHeadings

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from batch.core.config import Reading

LOOKED_AT = 50
"""Rows with content among which the header is looked for."""

_LONGEST_HEADING = 200
FEWEST = 2
"""Headings that make a header."""

_OUTCOMES = ("payload_key", "run_id")  # of texbatch's own reports


class KnownHeadings:
    """The headings that a table is known by: of the parameters and the id, of a report's own columns, and the mapped ones."""

    def __init__(self, reading: Reading, known: FolderHeadings = NOTHING_KNOWN) -> None:
        """Take the mapping of `reading`, and what the output folder remembers."""
        self._names = {fold(heading): meaning for heading, meaning in known.meanings.items() if meaning}
        self._names |= SPELLINGS | {fold(name): name for name in _OUTCOMES}
        self._names |= {fold(heading): name for name, heading in reading.columns.items() if heading}
        self._mapped = frozenset(reading.columns)

    def known(self, row: Collection[str]) -> set[str]:
        """Return the parameters and other names that a row's texts are the headings of."""
        folds = (fold(text) for text in row if len(text) <= _LONGEST_HEADING)
        return {self._names[text] for text in folds if text in self._names}

    def is_header(self, row: Collection[str]) -> bool:
        """Return whether a row has enough known headings to be a header."""
        known = self.known(row)
        return len(known) >= FEWEST or bool(known & self._mapped)

    def guessable(self, row: Collection[str]) -> int:
        """Return how many of a row's texts are headings that shop systems and people use for what we need."""
        return sum(map(is_guessable, row))

    def header_in(self, rows: Sequence[Collection[str]]) -> int:
        """Return the index of the header among the first rows of a table, each given by its texts that are not empty.

        There is at least one row.
        """
        best = max(range(len(rows)), key=lambda index: len(self.known(rows[index])))
        if self.is_header(rows[best]):
            return best
        guessed = list(map(self.guessable, rows))
        if max(guessed) >= FEWEST:
            return guessed.index(max(guessed))
        if len(rows[0]) >= FEWEST or self.known(rows[0]):
            return 0
        return max(range(len(rows)), key=lambda index: (len(self.known(rows[index])), len(rows[index])))
