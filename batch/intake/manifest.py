"""What every manifest is, whatever its format, and which file is which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from batch.intake import text
from batch.intake.columns import report_names
from batch.intake.lines import Lines
from batch.intake.listing import Listing
from batch.intake.parquet import Parquet
from batch.intake.table import Table
from batch.intake.workbook import Workbook

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batch.model import Problem, Row

TABLES = (".csv", ".tsv")
LISTINGS = (".yaml", ".yml")
OTHERS = (".jsonl", ".xlsx", ".parquet")


class Manifest(Protocol):
    """An open manifest. `rows` may be called again and reads the file anew.

    `columns` are the row's own columns as the manifest names them, parameters included; `defaults` is what the
    manifest gives to rows that lack a column; `texbatch_own` says that texbatch wrote the file; `header_line` is
    the line that names the columns, None where there is no such line. `tabular` manifests have rows only: no
    defaults and no matrix.
    """

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, in the order they were first seen."""

    @property
    def defaults(self) -> Mapping[str, str]:
        """Values for the columns a row does not give."""

    @property
    def texbatch_own(self) -> bool:
        """Whether the file is a report of texbatch."""

    @property
    def header_line(self) -> int | None:
        """The line with the columns' names."""

    @property
    def tabular(self) -> bool:
        """Whether the file is a table and nothing else."""

    def note(self, number: int, column: str) -> str:
        """Return what to say about the place of a cell beside its row's number and its column."""

    def rows(self) -> Iterator[Row | Problem]:
        """Yield warnings about the file first, then rows and their problems in order."""


def open_manifest(path: Path, *, encoding: str | None = None) -> Manifest:
    """Open a manifest by its suffix and check all that can be said before the first row.

    Raises ManifestError with every such problem. The file's path is kept as given, so that messages show it as
    the user wrote it.
    """
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return Table(path, encoding)
    if suffix in LISTINGS:
        return Listing(path, encoding)
    if suffix == ".jsonl":
        return Lines(path, encoding)
    if suffix == ".xlsx":
        return Workbook(path)
    if suffix == ".parquet":
        return Parquet(path)
    known = " ".join((*TABLES, *LISTINGS, *OTHERS))
    reason = f"{suffix} is no manifest format." if suffix else "the file has no suffix that tells its format."
    text.refuse(path, None, reason, f"Known are {known}.")
    return None


def own_columns(manifest: Manifest) -> tuple[str, ...]:
    """Return the columns that are no parameters, in order, as they stand in the report; "id" among them."""
    return tuple(report_names(manifest.columns).values())
