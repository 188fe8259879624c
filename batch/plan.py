"""From a manifest to a plan: read, expanded and checked in one pass, then compared with what the ledger knows.

Everything that can be wrong is found here, before a credit is spent, and told all at once. A manifest that was adopted
before and has not changed since is not read again: its rows are in the ledger (see `unchanged`).
"""

from __future__ import annotations

from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batch import unchanged
from batch.config import LOCAL_SERVICE, NAME
from batch.errors import ManifestError, UsageError
from batch.folder import OutputFolder
from batch.intake import PREVIOUS, fold_name, open_manifest
from batch.ledger import bill, owned
from batch.ledger.compare import ADOPTED, Plan, compare
from batch.ledger.stage import Stage
from batch.ledger.store import Ledger
from batch.model import Problem
from batch.redo import FolderRows
from batch.shelf import Shelf
from batch.survey import Survey, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batch.config import Reading, RunSettings
    from batch.intake import Manifest, PictureCache

_LET_END = "Let it end: texbatch retry --status pending"
_SETTLE = dict.fromkeys(("unknown", "sending"), "Settle it: texbatch resolve")


def validate(path: Path, reading: Reading) -> Survey:
    """Check a manifest without a folder and without the network."""
    try:
        manifest = open_manifest(path, encoding=reading.encoding)
    except ManifestError as exc:
        return Survey(problems=list(exc.problems))
    with closing(Ledger.scratch()) as ledger:
        return survey(
            manifest, reading, Stage(ledger.connection, ignore_url_query=reading.ignore_url_query, keep=False)
        )


def preview(path: Path, settings: RunSettings, *, merge: bool | None = None) -> tuple[Plan, Survey, bool]:
    """Say what a run would do; sends nothing and changes nothing, also while a run of the folder is going on.

    Returns the plan, what was found in the manifest, and whether the folder's money is simulated. Raises
    ManifestError and FolderError as a run would.
    """
    folder = OutputFolder(Path(settings.out))
    opened = Ledger.read(folder.ledger) if folder.ledger.is_file() else Ledger.scratch()
    with opened as ledger:
        drafted = draft(path, settings, ledger, folder, merge=merge, keep=False)
        return drafted.plan, drafted.found, ledger.meta("service") == LOCAL_SERVICE


@dataclass(frozen=True, slots=True)
class Draft:
    """A manifest compared with a folder: what a run would do, what was found; `adopt` makes it so, inside `atomic`."""

    plan: Plan
    found: Survey
    adopt: Callable[[], None]


def draft(
    path: Path,
    settings: RunSettings,
    ledger: Ledger,
    folder: OutputFolder,
    *,
    merge: bool | None,
    keep: bool = True,
    check: Callable[[], None] = lambda: None,
) -> Draft:
    """Compare a manifest with a folder, from the ledger alone where nothing has changed since it was adopted last.

    `merge` None means: merge when it is this folder's own report or failures. Without `keep` nothing is written at all;
    with it pictures that are gone from the folder are forgotten, and jobs may be planned that no row wants yet. Raises
    ManifestError, and what `check` raises at a row.
    """
    price = settings.price if settings.price is not None else bill.price(ledger)
    shelf = Shelf(folder.images, PREVIOUS, check)
    lying = owned.set_aside(ledger.connection, shelf.pages())
    for name in shelf.leavings if keep else ():
        with suppress(OSError):  # then it stays, and harms nobody
            (folder.images / name).unlink()
    if keep and (shelf.linked or lying != owned.kept_pictures(ledger)):
        with ledger.atomic():
            owned.forget_missing(ledger, lambda output: (folder.images / output).is_file())
    imprint = None
    if not (merge or settings.redo or path.resolve().parent == folder.path.resolve()):
        imprint = unchanged.imprint(path, settings.reading, check)
    whole = not settings.only and not shelf.linked
    if imprint and whole and unchanged.since(ledger, imprint, check) and not _newly_taken(ledger):
        plan = compare(ledger.connection, ADOPTED, retry_failed=settings.retry_failed, price=price)
        found = Survey(tuple(bill.columns(ledger)), plan.rows)
        return Draft(plan, found, partial(unchanged.adopt, ledger, retry_failed=settings.retry_failed))
    with ledger.atomic() if keep else nullcontext():
        looks = unchanged.Looks(ledger) if keep else None
        stage, found, merging = stage_manifest(
            path,
            settings,
            ledger,
            folder,
            merge=merge,
            seen=looks,
            check=check,
            keep=keep,
            linked=shelf.linked,
        )
    plan = stage.compare(retry_failed=settings.retry_failed, price=price)

    def adopt() -> None:
        stage.adopt(
            ledger,
            found.columns,
            merge=merging,
            retry_failed=settings.retry_failed,
            name=settings.reading.name or NAME,
        )
        unchanged.remember(ledger, path, None if merging or found.problems else imprint)

    return Draft(plan, found, adopt)


def _newly_taken(ledger: Ledger) -> bool:
    """Tell whether a file that texbatch did not write may lie where a row of the manifest wants its picture."""
    return any(
        owned.wanted_elsewhere(ledger.connection, [fold_name(name) for name in page], fold_name)
        for page in owned.strangers(ledger.connection)
    )


def stage_manifest(
    path: Path,
    settings: RunSettings,
    ledger: Ledger,
    folder: OutputFolder,
    *,
    merge: bool | None,
    seen: PictureCache | None,
    check: Callable[[], None],
    keep: bool,
    linked: bool,
) -> tuple[Stage, Survey, bool]:
    """Read and check a manifest against a folder; return it staged, what was found, and whether its rows merge.

    `linked` says that there are links below `images/`. Raises ManifestError, and what `check` raises at a row.
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
    stage = Stage(ledger.connection, ignore_url_query=ignore_url_query, keep=keep)
    name = (ledger.meta("name") if merging else None) or NAME
    found = survey(
        manifest, settings.reading, stage, seen, name=name, check=check, redo=redo, only=settings.only
    )
    found.raise_for_errors()
    _check_against_folder(path, stage, folder, settings.only, merge=merging, linked=linked)
    return stage, found, merging


def _check_against_folder(
    path: Path, stage: Stage, folder: OutputFolder, only: Sequence[str], *, merge: bool, linked: bool
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
    if linked:
        outside = {
            parent
            for parent in owned.folders(stage.connection)
            if not (folder.images / parent).resolve().is_relative_to(folder.images.resolve())
        }
        problems += [
            Problem(str(path), None, None, f"a link at {folder.images / parent} leads out of the output folder.",
                    "Remove the link, or use another --name.")
            for parent in sorted(outside)
        ]  # fmt: skip
    places = (
        owned.places(stage.connection) if linked else owned.strangers(stage.connection)
    )  # a listing does not follow links
    problems += [
        Problem(
            str(path), number, None, f"would overwrite {folder.images / output}, which texbatch did not write.",
            "Move that file away, or use another --out or --name.",
        )
        for page in places
        for number, output in owned.unowned(stage.connection, [fold_name(name) for name in page])
        if (folder.images / output).exists()
    ]  # fmt: skip
    if problems:
        raise ManifestError(problems)
