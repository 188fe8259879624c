"""A list of problems under way: what a reader found in one file so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batch.errors import ManifestError
from batch.model import Problem

if TYPE_CHECKING:
    from pathlib import Path


class Findings:
    """Collects problems and warnings of one file; the first problem does not end the search."""

    def __init__(self, path: Path) -> None:
        self._file = str(path)
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def __repr__(self) -> str:
        return f"<Findings {self._file}: {len(self.problems)} problems, {len(self.warnings)} warnings>"

    def problem(self, line: int | None, column: str | None, reason: str, remedy: str) -> None:
        """Note what must be mended."""
        self.problems.append(Problem(self._file, line, column, reason, remedy))

    def warning(self, line: int | None, column: str | None, reason: str, remedy: str) -> None:
        """Note what may be meant as it is."""
        self.warnings.append(Problem(self._file, line, column, reason, remedy, warning=True))

    def settle(self) -> None:
        """Raise ManifestError if there is any problem, with the warnings after the problems."""
        if self.problems:
            raise ManifestError([*self.problems, *self.warnings])
