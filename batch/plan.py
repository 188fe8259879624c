"""From a manifest to a plan: read, expanded and checked in one pass, then compared with what the ledger knows.

Everything that can be wrong is found here, before a credit is spent, and told all at once.
"""

from __future__ import annotations

import itertools
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from batch.config import LOCAL_SERVICE, NAME
from batch.errors import ManifestError, UsageError
from batch.folder import OutputFolder
from batch.intake import expand, fold_name, open_manifest, own_columns
from batch.ledger import bill
from batch.ledger.stage import Plan, Stage
from batch.ledger.store import Ledger
from batch.model import Problem
from batch.redo import FolderRows, Rework

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from batch.config import Reading, Redo, RunSettings
    from batch.intake import Manifest, PictureCache

T = TypeVar("T")

CHUNK = 1000  # rows that live as Python objects at a time
MOST_PROBLEMS = 10_000
_LET_END = "Let it end: texbatch retry --status pending"
_SETTLE = dict.fromkeys(("unknown", "sending"), "Settle it: texbatch resolve")


@dataclass
class Survey:
    """What one pass over a manifest found; `dropped` problems beyond MOST_PROBLEMS are only counted."""

    columns: tuple[str, ...] = ()
    rows: int = 0
    problems: list[Problem] = field(default_factory=list)
    dropped: int = 0

    def note(self, problem: Problem) -> None:
        """Take in one problem."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.dropped += not problem.warning

    @property
    def errors(self) -> list[Problem]:
        """The problems that stop a run."""
        return [problem for problem in self.problems if not problem.warning]

    @property
    def warnings(self) -> list[Problem]:
        """The problems that do not."""
        return [problem for problem in self.problems if problem.warning]

    def raise_for_errors(self) -> None:
        """Raise ManifestError with every problem, when one of them stops a run."""
        if self.errors:
            raise ManifestError(self.problems, dropped=self.dropped)


def survey(
    manifest: Manifest,
    reading: Reading,
    stage: Stage,
    seen: PictureCache | None = None,
    *,
    name: str = NAME,
    check: Callable[[], None] = lambda: None,
    redo: Redo | None = None,
    only: Collection[str] = (),
) -> Survey:
    """Read every row into `stage`; return what was found.

    `name` is the template where `reading` has none; `check` is called at each row and may raise, to end it early. A
    `redo` changes the rows and takes in those of `only` alone, since the others stay what they are.
    """
    found = Survey(own_columns(manifest))
    rework = Rework(redo) if redo is not None and redo.changes else None
    rows = expand(
        manifest, overrides=reading.parameters, name_template=reading.name or name, seen=seen, rework=rework
    )
    items = _checked(rows, check)
    chosen = frozenset(only) if rework else frozenset()
    with stage.filling():
        while chunk := list(itertools.islice(items, CHUNK)):
            for item in chunk:
                if isinstance(item, Problem):
                    found.note(item)
            payloads = (item for item in chunk if not isinstance(item, Problem))
            stage.add((item for item in payloads if not chosen or item.id in chosen), fold_name)
    found.rows = len(stage)
    for problem in stage.clashes(str(manifest.path)):
        found.note(problem)
    if not found.rows and not found.errors:
        found.note(
            Problem(str(manifest.path), None, None, "has no rows.", "Nothing will be sent.", warning=True)
        )
    return found


def _checked(items: Iterable[T], check: Callable[[], None]) -> Iterator[T]:
    for item in items:
        check()
        yield item


def validate(path: Path, reading: Reading) -> Survey:
    """Check a manifest without a folder and without the network."""
    try:
        manifest = open_manifest(path, encoding=reading.encoding)
    except ManifestError as exc:
        return Survey(problems=list(exc.problems))
    with closing(Ledger.scratch()) as ledger:
        return survey(manifest, reading, Stage(ledger.connection, ignore_url_query=reading.ignore_url_query))


def preview(path: Path, settings: RunSettings, *, merge: bool | None = None) -> tuple[Plan, Survey, bool]:
    """Say what a run would do; sends nothing and changes nothing, also while a run of the folder is going on.

    Returns the plan, what was found in the manifest, and whether the folder's money is simulated. Raises
    ManifestError and FolderError as a run would.
    """
    folder = OutputFolder(Path(settings.out))
    opened = Ledger.read(folder.ledger) if folder.ledger.is_file() else Ledger.scratch()
    with opened as ledger:
        stage, found, _ = stage_manifest(path, settings, ledger, folder, merge=merge)
        price = settings.price if settings.price is not None else bill.price(ledger)
        plan = stage.compare(retry_failed=settings.retry_failed, price=price)
        return plan, found, ledger.meta("service") == LOCAL_SERVICE


def stage_manifest(
    path: Path,
    settings: RunSettings,
    ledger: Ledger,
    folder: OutputFolder,
    *,
    merge: bool | None,
    seen: PictureCache | None = None,
    check: Callable[[], None] = lambda: None,
) -> tuple[Stage, Survey, bool]:
    """Read and check a manifest against a folder; return it staged, what was found, and whether its rows merge.

    `merge` None means: merge when it is this folder's own report or failures. Raises ManifestError, and what `check`
    raises at a row.
    """
    redo = settings.redo
    manifest: Manifest
    if redo is not None and redo.from_folder:
        manifest = FolderRows(ledger, folder, redo, settings.only, settings.reading.encoding)
        path = manifest.path
    else:
        manifest = open_manifest(path, encoding=settings.reading.encoding)
    ours = manifest.texbatch_own and path.resolve().parent == folder.path.resolve()
    merging = ours if merge is None else merge
    if redo is not None and not merging:
        raise UsageError(f"{path}: a redo changes rows of a folder: it goes with retry, not with run.")
    ignore_url_query = settings.reading.ignore_url_query or (
        merging and ledger.meta("ignore_url_query") == "1"
    )
    stage = Stage(ledger.connection, ignore_url_query=ignore_url_query)
    name = (ledger.meta("name") if merging else None) or NAME
    found = survey(
        manifest, settings.reading, stage, seen, name=name, check=check, redo=redo, only=settings.only
    )
    found.raise_for_errors()
    _check_against_folder(path, stage, folder, settings.only, merge=merging)
    stage.draw_seeds()
    return stage, found, merging


def _check_against_folder(
    path: Path, stage: Stage, folder: OutputFolder, only: Sequence[str], *, merge: bool
) -> None:
    """Find what is wrong with the staged rows in this folder; raises ManifestError with all of it.

    Ids asked for with --only that no row has, rows to merge that the folder does not know or that may be at the service
    with other work, and pictures in the folder that texbatch did not write.
    """
    problems = []
    if only:
        problems += [
            Problem(str(path), None, "id", f"--only: no row has the id {wanted!r}.", "Check the spelling.")
            for wanted in stage.select(only)
        ]
    if merge:
        problems += [
            Problem(str(path), number, "id", f"{row_id!r} is no row of this folder.", "Use run for new rows.")
            for number, row_id in stage.strangers()
        ]
        problems += [
            Problem(str(path), number, "id", f"{row_id!r} has changed, and may be at the service ({state}).",
                    f"{_SETTLE.get(state, _LET_END)} {folder.path}; only then can it be sent again.")
            for number, row_id, state in stage.unsettled()
        ]  # fmt: skip
    if folder.images.is_dir():
        outside = {
            parent
            for parent in stage.folders()
            if not (folder.images / parent).resolve().is_relative_to(folder.images.resolve())
        }
        problems += [
            Problem(str(path), None, None, f"a link at {folder.images / parent} leads out of the output folder.",
                    "Remove the link, or use another --name.")
            for parent in sorted(outside)
        ]  # fmt: skip
        problems += [
            Problem(
                str(path), number, None, f"would overwrite {folder.images / output}, which texbatch did not write.",
                "Move that file away, or use another --out or --name.",
            )
            for number, output in stage.unowned()
            if (folder.images / output).exists()
        ]  # fmt: skip
    if problems:
        raise ManifestError(problems)


class SeenPictures:
    """The ledger's memory of content hashes, as the intake's PictureCache."""

    def __init__(self, ledger: Ledger) -> None:
        self._connection = ledger.connection

    def recall(self, path: str, size: int, mtime_ns: int) -> str | None:
        """Return the hash of a file that has not changed, or None."""
        row = self._connection.execute(
            "SELECT sha256 FROM pictures WHERE path=? AND size=? AND mtime_ns=?", (path, size, mtime_ns)
        ).fetchone()
        return row["sha256"] if row else None

    def remember(self, path: str, size: int, mtime_ns: int, sha256: str) -> None:
        """Remember the hash of a file."""
        self._connection.execute(
            "INSERT OR REPLACE INTO pictures VALUES (?,?,?,?)", (path, size, mtime_ns, sha256)
        )
