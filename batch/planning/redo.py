"""A redo: rows of a folder made again on purpose, each changed a little first, so that it is other work.

The same work is never paid for twice, so a redo is other work: another seed, a longer prompt. It is paid for like any
changed row, the earlier image is kept as a version, and later runs of the manifest leave the row what was made for it, until
the row is edited there (see ledger/redone.py).
Rule 1: rows come from the ledger, save failed and expired ones that failures.csv holds: there a person's edits count.
Rule 2: a row that may be at the service is never redone: an unknown one goes through `resolve`, a pending one ends first.
Rule 3: what would send nothing is refused with the remedy, not passed over.
Rule 4: an accepted row is redone only when it is named: by id, or in a file.
"""

from __future__ import annotations

import secrets
from shlex import quote
from typing import TYPE_CHECKING

from batch.core.config import SEED_KEEP, SEED_NEXT
from batch.core.csv_format import unescape_formula
from batch.core.errors import UsageError
from batch.core.models import Problem, Row
from batch.core.parameters import MAX_SEED, RANDOM_SEED
from batch.ledger import decisions, integrity, totals
from batch.ledger.decisions import Decision
from batch.manifest.manifest import open_manifest
from batch.manifest.readers import own_report
from batch.manifest.values import TemplateError, parse_template, parse_value
from batch.output import report
from batch.output.known_headings import known_headings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batch.core.config import Reading, Redo
    from batch.core.parameters import Scalar
    from batch.ledger.ledger import Ledger
    from batch.ledger.totals import ReportRow
    from batch.output.folder import OutputFolder

_CLOSES = ",.;:!?"

_ENDED = frozenset({"saved", "abandoned"})
"""Rows that are not sent again as they are: a redo draws another seed for them, unless it says which."""


class FolderRows:
    """The rows of a folder that a redo chooses, as a manifest; they read like lines of its report.csv."""

    tabular = True
    texbatch_own = True
    header_line: int | None = 1
    sheet = ""

    def __init__(
        self, ledger: Ledger, folder: OutputFolder, redo: Redo, only: Sequence[str], reading: Reading
    ) -> None:
        """Choose rows by id, by status, or rejected ones; else the failed and expired ones. Raises UsageError.

        `accepted` are the chosen rows that are left out, (row number, id), once `rows` has been read.
        """
        _check_statuses(redo, folder)
        self.path = folder.report
        self.defaults: Mapping[str, str] = {}
        self._ledger = ledger
        self._base = folder.path
        self._redo = redo
        self._only = frozenset(only)
        self._statuses = frozenset(redo.statuses or (() if only or redo.rejected else report.FAILURES))
        self._rejected = decisions.rows_with(ledger, Decision.REJECTED, failed=True)
        self._accepted = decisions.rows_with(ledger, Decision.ACCEPTED)
        self.accepted: list[tuple[int, str]] = []
        self._report = report.report_columns(ledger)
        known = known_headings(ledger)
        self._edits = (
            open_manifest(folder.failures, reading, known=known) if folder.failures.exists() else None
        )
        names = own_report.without_outcomes(self._report.names)
        self._headings = {self._report.keys[name]: name for name in names}
        self.columns = tuple(dict.fromkeys([*self._headings, *(self._edits.columns if self._edits else ())]))
        self._edited: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<FolderRows {self._base}: {', '.join(sorted(self._statuses | self._only))}>"

    @property
    def wanted(self) -> str:
        """Which rows were asked for, to be said where there are none: "that is rejected"."""
        words = ["rejected"] if self._redo.rejected else sorted(self._statuses)
        return f"that is {' or '.join(words)}" if words else "of these ids"

    def heading(self, name: str) -> str:
        """Return what the report calls a column."""
        return self._headings.get(name, name)

    def note(self, number: int, column: str) -> str:  # noqa: ARG002  a row has one line
        """Return where an edited row was edited."""
        return f"(failures.csv, row {self._edited[number]}) " if number in self._edited else ""

    def rows(self) -> Iterator[Row | Problem]:
        """Yield the chosen rows in the report's order, and why one cannot be redone."""
        edits: dict[str, Row] = {}
        yield from self._read_edits(edits)
        for number, row in enumerate(totals.report_rows(self._ledger), start=2):
            if not self._chosen(row):
                continue
            if refusal := self._refusal(row):
                yield Problem(str(self.path), number, "id", f"{row.id!r} {refusal[0]}", refusal[1])
                continue
            if not row.as_given and integrity.differs(
                row.payload_key, row.parameters
            ):  # it becomes a manifest, and is paid for
                raise integrity.other_work(row.payload_key)
            if row.id in self._accepted and row.id not in self._only:
                self.accepted.append((number, row.id))
                continue
            cells = self._report.cells(row, self._base)
            texts = {key: unescape_formula(str(cells[name])) for key, name in self._headings.items()}
            if self._redo.seed is None and row.status in _ENDED:
                texts["seed"] = str(_another_seed(row.parameters["seed"]))
            edited = edits.get(texts["id"]) if row.status in report.FAILURES else None
            if edited is not None:
                self._edited[number] = edited.number
            yield Row(number, texts if edited is None else edited.cells)

    def _read_edits(self, edits: dict[str, Row]) -> Iterator[Problem]:
        """Enter the rows of failures.csv into `edits` by id; yield what is wrong with them."""
        for entry in self._edits.rows() if self._edits else ():
            if isinstance(entry, Problem):
                yield entry
            elif entry.problems:
                yield from entry.problems
            else:
                edits[entry.cells.get("id", "").strip()] = entry

    def _chosen(self, row: ReportRow) -> bool:
        if self._only:
            return row.id in self._only
        return row.id in self._rejected if self._redo.rejected else row.status in self._statuses

    def _refusal(self, row: ReportRow) -> tuple[str, str] | None:
        """Return why a chosen row cannot be redone, and what to do; None when it can."""
        status, folder = row.status, self._base
        if status == "unknown":
            return (
                "may have been accepted although no answer came (unknown).",
                f"`texbatch resolve {quote(str(folder))}` settles it; only then can it be sent again.",
            )
        if self._statuses and status not in self._statuses:
            return f"is {status}.", f"--status chooses {', '.join(sorted(self._statuses))} among --only."
        if self._redo.rejected and row.id not in self._rejected:
            return (
                "is not rejected.",
                "--rejected chooses the rejected rows among --only. Leave one of them out.",
            )
        if status == "pending" and self._redo.changes:
            return (
                "has not ended (pending).",
                f"Let it end first: texbatch retry {quote(str(folder))} --status pending",
            )
        keeps = self._redo.seed == SEED_KEEP and not self._redo.changes
        if status in _ENDED and keeps and not (self._redo.further and status == "saved"):
            return (
                f"is {status}: sent as it is it would be the same work, which is never paid for twice.",
                'Leave --seed keep out, or add --prompt-append "…".',
            )
        return None


def _check_statuses(redo: Redo, folder: OutputFolder) -> None:
    for status in redo.statuses:
        if status not in report.STATUSES:
            raise UsageError(f"--status {status}: is not a status. Known are {', '.join(report.STATUSES)}.")
        if status == "unknown":
            raise UsageError(
                f"--status unknown: these may have been accepted. `texbatch resolve {quote(str(folder.path))}` settles them; "
                "only then can they be sent again."
            )


class Rework:
    """Changes the texts of a row's parameters as a redo asks; used for each row once it is identified."""

    def __init__(self, redo: Redo) -> None:
        self._seed = None if redo.seed == SEED_KEEP else redo.seed
        try:
            self._append = parse_template(redo.prompt_append)
        except TemplateError as error:
            raise UsageError(f"--prompt-append: {error.reason} {error.remedy}") from error

    def __call__(self, given: dict[str, str], scope: Mapping[str, str]) -> None:
        """Change `given`; `scope` is what a template may take. Raises TemplateError for a column that is not there."""
        appended = self._append.render(scope).strip()
        if appended and given["prompt"]:
            given["prompt"] += appended if appended[0] in _CLOSES else f" {appended}"
        if self._seed is not None:
            given["seed"] = self._next(given["seed"])

    def _next(self, seed: str) -> str:
        """Return the seed that follows; one that is not a number is left to later checks."""
        before = parse_value("seed", seed)
        if not isinstance(before, int):
            return seed
        if self._seed == SEED_NEXT and before != RANDOM_SEED:
            return str(before + 1 if before < MAX_SEED else 0)
        return str(_another_seed(before))


def _another_seed(before: Scalar) -> int:
    while (drawn := secrets.randbelow(MAX_SEED + 1)) == before:
        pass
    return drawn
