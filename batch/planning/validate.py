"""One pass over a manifest: stage every row, collect every problem, the first ones by name and the others as a count."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batch.core.config import DEFAULT_NAME
from batch.core.errors import ManifestError
from batch.core.models import InvalidRow, Payload, Problem, UncertainRow
from batch.core.units import counted, named_rows
from batch.ledger.ledger import Ledger
from batch.ledger.staging import KeptRow, Stage
from batch.manifest.columns import report_names
from batch.manifest.expand import Expander
from batch.manifest.headings import report_headings
from batch.manifest.manifest import open_manifest
from batch.manifest.naming import fold_name
from batch.output.known_headings import headings_beside
from batch.planning.redo import FolderRows, Rework

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from batch.core.config import Reading, Redo
    from batch.manifest.input_images import InputImageCache
    from batch.manifest.manifest import Manifest
    from batch.planning.links import ManifestLinks

NO_SUCH_ID = "Check the spelling; put an id with a comma in quotes: '\"Chair, oak\",mug'."
"""What to do about an id of --only that no row has."""

MOST_PROBLEMS = 10_000
"""Kept of errors, and as many of warnings: however many of these there are, they hide no error."""


@dataclass
class ValidationReport:
    """The problems of one pass over a manifest; `dropped` errors beyond MOST_PROBLEMS are only counted.

    `columns` are the manifest's own columns as the report writes them, `headings` all of them, each with the parameter or `id`
    that it is, "" for an own one; `sheet` is the sheet that they are in.
    `rows` is how many are good, `invalid` how many are not; `stops` says that there is a problem of another kind than those
    of single rows, so that no row can be sent. `unedited` are (row number, id) of rows to merge that were invalid before, and
    that nobody has edited since.
    """

    columns: tuple[str, ...] = ()
    headings: tuple[tuple[str, str], ...] = ()
    sheet: str = ""
    rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    dropped: int = 0
    invalid: int = 0
    stops: bool = False
    unedited: list[tuple[int, str]] = field(default_factory=list)
    _noted: Counter[bool] = field(default_factory=Counter)

    def add(self, problem: Problem, *, of_row: bool = False) -> None:
        """Add one problem; `of_row` says that it is one row's, which is invalid for it."""
        self.stops = self.stops or not (problem.warning or of_row)
        self._noted[problem.warning] += 1
        if self._noted[problem.warning] <= MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.dropped += not problem.warning

    def warn(self, path: Path, reason: str, remedy: str) -> None:
        """Add a warning about the whole manifest."""
        self.add(Problem(str(path), None, None, reason, remedy, warning=True))

    @property
    def errors(self) -> list[Problem]:
        """The problems that stop a run."""
        return [problem for problem in self.problems if not problem.warning]

    @property
    def warnings(self) -> list[Problem]:
        """The problems that do not."""
        return [problem for problem in self.problems if problem.warning]


def validate(path: Path, reading: Reading, links: ManifestLinks | None = None) -> ValidationReport:
    """Check a manifest without the network, and without a folder but for the headings of one that it lies in.

    Notes the links of its good rows in `links`.
    """
    try:
        manifest = open_manifest(path, reading, known=headings_beside(path))
    except ManifestError as exc:
        return ValidationReport(problems=list(exc.problems))
    with closing(Ledger.temporary()) as ledger:
        return validate_rows(
            manifest,
            reading,
            Stage(ledger, ignore_url_query=reading.ignore_url_query, writable=False),
            links=links,
        )


def validate_rows(
    manifest: Manifest,
    reading: Reading,
    stage: Stage,
    seen: InputImageCache | None = None,
    *,
    name: str = DEFAULT_NAME,
    check: Callable[[], None] = lambda: None,
    redo: Redo | None = None,
    only: Collection[str] = (),
    links: ManifestLinks | None = None,
    skip: bool = False,
) -> ValidationReport:
    """Read every row into `stage`, invalid ones too; return what was found.

    With `skip` the run goes on without the invalid rows: one whose image the folder has stays what it is, with a warning.
    `name` is the template where `reading` has none; `check` is called at each row and may raise, to end it early. A
    `redo` changes the rows and takes in those of `only` alone, since the others stay what they are.
    """
    found = ValidationReport(
        tuple(report_names(manifest.columns).values()),
        tuple(report_headings(manifest.columns, manifest.heading)),
        manifest.sheet,
    )
    rework = Rework(redo) if redo is not None and redo.changes else None
    rows = Expander(
        manifest,
        overrides=reading.parameters,
        name_template=reading.name or name,
        seen=seen,
        rework=rework,
        lost=stage.contents_of,
        ignore_url_query=stage.ignores_url_query,
        uploads_links=reading.upload_links is not None,
    )
    chosen = frozenset(only) if rework else frozenset()
    gone: list[tuple[int, str]] = []
    read = _rows(rows, stage, found, gone, check=check, skip=skip)
    if links is not None:
        read = _with_links(read, links, manifest)
    found.rows = stage.fill((row for row in read if not chosen or row.id in chosen), fold_name)
    found.invalid += stage.parted
    for problem in stage.problems(str(manifest.path)):
        found.add(under_heading(manifest, problem))
    for problem in stage.problems_of_invalid(str(manifest.path)) if found.invalid else ():
        found.add(under_heading(manifest, problem), of_row=True)
    if gone:
        which = f"{counted(len(gone), 'row')} that need no sending: {named_rows(gone)}"
        remedy = "What was paid for stays their work until their cells are edited."
        found.warn(manifest.path, f"images that are gone or cannot be read, in {which}.", remedy)
    if found.unedited:
        one = len(found.unedited) == 1
        which = f"{counted(len(found.unedited), 'row')} that {'is' if one else 'are'} still invalid: {named_rows(found.unedited)}"
        found.warn(manifest.path, f"left out, {which}.", "Fix what their column `error` says.")
    if not (found.rows or found.invalid or found.unedited or found.errors):
        none = f"has no row {manifest.wanted}." if isinstance(manifest, FolderRows) else "has no rows."
        found.warn(manifest.path, none, "Nothing will be sent.")
    return found


def _with_links(
    rows: Iterable[Payload | InvalidRow | KeptRow], links: ManifestLinks, manifest: Manifest
) -> Iterator[Payload | InvalidRow | KeptRow]:
    for row in rows:
        if isinstance(row, Payload):
            links.note(row, manifest)
        yield row


def under_heading(manifest: Manifest, problem: Problem) -> Problem:
    """Return a problem of a column under the heading that the file has for it."""
    return problem if problem.column is None else replace(problem, column=manifest.heading(problem.column))


def _rows(
    rows: Iterable[Payload | InvalidRow | Problem | UncertainRow],
    stage: Stage,
    found: ValidationReport,
    gone: list[tuple[int, str]],
    *,
    check: Callable[[], None],
    skip: bool,
) -> Iterator[Payload | InvalidRow | KeptRow]:
    """Yield the rows; add the problems to `found`."""
    for row in rows:
        check()
        for item in _decide(row, stage, gone) if isinstance(row, UncertainRow) else (row,):
            if isinstance(item, Problem):
                found.add(item)
            elif isinstance(item, InvalidRow):
                yield _note_invalid(item, stage, found, skip=skip)
            else:
                yield item


def _note_invalid(
    row: InvalidRow, stage: Stage, found: ValidationReport, *, skip: bool
) -> InvalidRow | KeptRow:
    """Add the problems of an invalid row to `found`; return what it is staged as."""
    if stage.is_unedited(row):
        found.unedited.append((row.number, row.id))
        return row
    if skip and stage.keeps(row):
        for problem in row.problems:
            found.add(replace(problem, warning=True))
        return KeptRow(row.number, row.id, row.cells, row.texts, row.reasons)
    found.invalid += 1
    for problem in row.problems:
        found.add(problem, of_row=True)
    return row


def _decide(
    row: UncertainRow, stage: Stage, gone: list[tuple[int, str]]
) -> list[Payload | InvalidRow | Problem]:
    """Return what the folder decides that a row is; add it to `gone` when its files are gone and need not be there."""
    paid = next(filter(stage.has_paid, row.formerly), None)
    if paid is not None and (isinstance(row.now, InvalidRow) or not stage.has_adopted(row.now)):
        stage.keep_reading(paid)
        return [*row.warnings, paid]
    finished = next(filter(stage.needs_no_sending, row.lost), None)
    if finished is not None:
        gone.append((finished.number, finished.id))
        return [*row.notes, finished]
    return [row.now] if isinstance(row.now, InvalidRow) else [*row.notes, row.now]
