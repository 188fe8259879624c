"""One pass over a manifest: stage every row, collect every problem, the first ones by name and the others as a count."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batch.core.config import DEFAULT_NAME
from batch.core.errors import ManifestError
from batch.core.models import Problem, UncertainRow
from batch.core.units import counted, named_rows
from batch.ledger.ledger import Ledger
from batch.ledger.staging import Stage
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
    from batch.core.models import Payload
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
    that it is, "" for an own one.
    """

    columns: tuple[str, ...] = ()
    headings: tuple[tuple[str, str], ...] = ()
    rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    dropped: int = 0
    _noted: Counter[bool] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        """Add one problem."""
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
) -> ValidationReport:
    """Read every row into `stage`; return what was found.

    `name` is the template where `reading` has none; `check` is called at each row and may raise, to end it early. A
    `redo` changes the rows and takes in those of `only` alone, since the others stay what they are.
    """
    found = ValidationReport(
        tuple(report_names(manifest.columns).values()),
        tuple(report_headings(manifest.columns, manifest.heading)),
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
    payloads = _payloads(rows, stage, found, gone, chosen=chosen, check=check)
    found.rows = stage.fill(payloads if links is None else _with_links(payloads, links, manifest), fold_name)
    for problem in stage.problems(str(manifest.path)):
        found.add(under_heading(manifest, problem))
    if gone:
        which = f"{counted(len(gone), 'row')} that need no sending: {named_rows(gone)}"
        remedy = "What was paid for stays their work until their cells are edited."
        found.warn(manifest.path, f"images that are gone or cannot be read, in {which}.", remedy)
    if not found.rows and not found.errors:
        none = f"has no row {manifest.wanted}." if isinstance(manifest, FolderRows) else "has no rows."
        found.warn(manifest.path, none, "Nothing will be sent.")
    return found


def _with_links(payloads: Iterable[Payload], links: ManifestLinks, manifest: Manifest) -> Iterator[Payload]:
    for payload in payloads:
        links.note(payload, manifest)
        yield payload


def under_heading(manifest: Manifest, problem: Problem) -> Problem:
    """Return a problem of a column under the heading that the file has for it."""
    return problem if problem.column is None else replace(problem, column=manifest.heading(problem.column))


def _payloads(
    rows: Iterable[Payload | Problem | UncertainRow],
    stage: Stage,
    found: ValidationReport,
    gone: list[tuple[int, str]],
    *,
    chosen: Collection[str],
    check: Callable[[], None],
) -> Iterator[Payload]:
    """Yield the payloads of the chosen ids, of all if none is chosen; add the problems to `found`."""
    for row in rows:
        check()
        for item in _decide(row, stage, gone) if isinstance(row, UncertainRow) else (row,):
            if isinstance(item, Problem):
                found.add(item)
            elif not chosen or item.id in chosen:
                yield item


def _decide(row: UncertainRow, stage: Stage, gone: list[tuple[int, str]]) -> list[Payload | Problem]:
    """Return what the folder decides that a row is; add it to `gone` when its files are gone and need not be there."""
    paid = next(filter(stage.has_paid, row.formerly), None)
    now = row.now if all(problem.warning for problem in row.problems) else None
    if paid is not None and (now is None or not stage.has_adopted(now)):
        stage.keep_reading(paid)
        return [*(problem for problem in row.warnings if problem.warning), paid]
    finished = next(filter(stage.needs_no_sending, row.lost), None)
    if finished is not None:
        gone.append((finished.number, finished.id))
        return [*(problem for problem in row.problems if problem.warning), finished]
    return [*row.problems] if row.now is None else [*row.problems, row.now]
