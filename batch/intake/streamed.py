"""What CSV, JSONL and Parquet manifests have in common: tables whose rows are read as a stream, anew each time.

Rule 1: what is wrong with the columns is told when the file is opened, all of it at once. Rule 2: warnings about them
come before the first row. Rule 3: texbatch's own reports are read back as the rows they were made of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from batch.errors import ManifestError
from batch.intake import own, text
from batch.intake.columns import is_own

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from batch.model import Problem, Row


class Streamed(ABC):
    """An open manifest: its columns are known, its rows are read anew by each call of `rows`."""

    tabular = True

    def __init__(self, path: Path) -> None:
        text.check_readable(path)
        self.path = path
        self.defaults: Mapping[str, str] = {}
        self._file = str(path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._file} with {len(self.columns)} columns>"

    def _take_columns(self, names: tuple[str, ...], problems: Iterable[Problem]) -> None:
        """Take the columns; raise ManifestError with all problems when one of them is no warning."""
        problems = list(problems)
        self._warnings = [problem for problem in problems if problem.warning]
        if len(problems) > len(self._warnings):
            raise ManifestError(problems)
        self.texbatch_own = is_own(names)
        self.columns = own.kept(names) if self.texbatch_own else names

    def note(self, _number: int, _column: str) -> str:
        """Return nothing: a row's number already is its place."""
        return ""

    def rows(self) -> Iterator[Row | Problem]:
        """Yield the warnings about the columns, then every row and problem in the order of the file."""
        yield from self._warnings
        rows = self._rows()
        yield from own.reopened(rows, self._file) if self.texbatch_own else rows

    @abstractmethod
    def _rows(self) -> Iterator[Row | Problem]:
        """Yield every row and problem as the file has them."""
