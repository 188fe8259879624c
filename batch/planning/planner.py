"""From a manifest to a plan: read, expanded and checked in one pass, then compared with what the ledger knows.

Everything that can be wrong is found here, before anything is paid, and reported all at once. A manifest that was adopted
before and has not changed since is not read again: its rows are in the ledger (see fingerprint.py).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Protocol

from batch.core.config import DEFAULT_NAME, INVALID_STOP
from batch.core.errors import ManifestError, UsageError
from batch.core.models import Problem
from batch.core.units import counted, named, named_rows
from batch.ledger import candidates, connection, image_index, redone, runs, totals
from batch.ledger.input_cache import InputCache
from batch.ledger.ledger import Ledger
from batch.ledger.meta import Meta
from batch.ledger.planned_groups import planned_groups
from batch.ledger.prices import job_price
from batch.ledger.staging import (
    ADOPTED,
    OTHER_QUERY,
    STAGED,
    Differences,
    Plan,
    Stage,
    adopt_unchanged,
    compare,
)
from batch.manifest.headings import report_headings
from batch.manifest.manifest import open_manifest
from batch.manifest.naming import fold_name
from batch.output.files import PREVIOUS, ImageListing
from batch.output.folder import OutputFolder
from batch.output.groups import group_column, headings_of
from batch.output.known_headings import known_headings
from batch.pacing.observations import Observations
from batch.planning.fingerprint import fingerprint, is_unchanged, remember
from batch.planning.redo import FolderRows
from batch.planning.validate import NO_SUCH_ID, ValidationReport, under_heading, validate_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from batch.core.config import RunSettings
    from batch.manifest.manifest import Manifest

_FOR_STRANGERS = "Use run for new rows. Where a spreadsheet has changed the id (000123 to 123, 1E5 to 100000), read the column as text."
_FOREIGN = (
    "If it is your own, move it away or give another --out. If texbatch made it, the ledger has lost what it knows of it: "
    "restore the ledger, or the row is paid for again."
)
_LET_END = "Let it end: texbatch retry --status pending"
_SETTLE = dict.fromkeys(("unknown", "sending"), "Settle it: texbatch resolve")


def preview(
    path: Path, settings: RunSettings, *, merge: bool | None = None
) -> tuple[Plan, ValidationReport, bool]:
    """Return what a run would do; sends nothing and changes nothing, even while a run of the folder is going on.

    Returns the plan, what was found in the manifest, and whether the folder's money is simulated. Raises
    ManifestError and FolderError as a run would.
    """
    folder = OutputFolder(settings.out)
    if folder.path.is_dir():
        connection.check_not_gone(folder.ledger)
    opened = Ledger.read(folder.ledger, whole=True) if folder.ledger.is_file() else Ledger.temporary()
    with opened as ledger:
        staged = make_plan(path, settings, ledger, folder, merge=merge, writable=False)
        return staged.plan, staged.found, ledger.is_local()


def learned(path: Path) -> Observations:
    """Return what the runs of an output folder learned about the service; nothing where it has no ledger."""
    ledger_file = OutputFolder(path).ledger
    if not ledger_file.is_file():
        return Observations()
    with Ledger.read(ledger_file) as ledger:
        return Observations.from_json(ledger.observations())


class Adopt(Protocol):
    """Makes a staged plan the folder's own."""

    def __call__(self, *, pay_again: bool = False) -> None:
        """Adopt the rows; with `pay_again` those too whose work was paid for before."""


@dataclass(frozen=True, slots=True)
class StagedPlan:
    """A manifest compared with a folder: what a run would do, what was found.

    `adopt` makes it so, inside `atomic`; without `pay_again` the rows of `plan.again` are left out. `whole`: all rows of the
    manifest were chosen. `other`: it has no row of the manifest that was adopted last.
    """

    plan: Plan
    found: ValidationReport
    adopt: Adopt
    whole: bool = True
    other: bool = False


def make_plan(
    path: Path,
    settings: RunSettings,
    ledger: Ledger,
    folder: OutputFolder,
    *,
    merge: bool | None,
    writable: bool = True,
    check: Callable[[], None] = lambda: None,
) -> StagedPlan:
    """Compare a manifest with a folder, by the ledger alone when nothing has changed since it was adopted last.

    `merge` None means: merge when the manifest is this folder's own report or failures. Without `writable` nothing is written
    at all; with it jobs may be planned that no row wants yet. Raises ManifestError, and what `check` raises at a row.
    """
    price = job_price(ledger, settings.price)
    listing = ImageListing(folder.image_store.list(skip=PREVIOUS), check)
    image_index.load_listing(ledger, listing.pages())
    for name in listing.partial_files if writable else ():
        folder.image_store.delete(name)
    if writable:
        with ledger.atomic():
            image_index.search_again_if_new(ledger)
    adopt_candidates = partial(
        candidates.adopt,
        ledger,
        settings.candidates,
        retry_failed=settings.retry_failed,
        pay_again=settings.yes,
    )
    known = None
    if not (merge or settings.redo or path.resolve().parent == folder.path.resolve()):
        known = fingerprint(path, settings.reading, check)
    whole = not settings.only and not listing.has_symlinks
    by_group = settings.group_by is not None and not writable  # a preview shows what is to be sent for each
    unread = known and whole and not by_group and is_unchanged(ledger, known, check)
    if unread and not (_newly_taken(ledger) or redone.any_made_nothing(ledger)):
        plan = compare(
            ledger, ADOPTED, retry_failed=settings.retry_failed, price=price, pay_again=settings.yes
        )
        found = ValidationReport(
            tuple(totals.columns(ledger)), tuple(totals.headings(ledger) or ()), rows=plan.rows
        )

        def adopt_again(*, pay_again: bool = False) -> None:
            adopt_unchanged(ledger, retry_failed=settings.retry_failed, pay_again=pay_again)
            adopt_candidates()

        if settings.candidates > 1:
            plan = _with_candidates(plan, ledger, ADOPTED, settings, named=False)
        return StagedPlan(_with_groups(plan, ledger, found, settings, writable=writable), found, adopt_again)
    with ledger.atomic() if writable else nullcontext():
        stage, found, merging = stage_manifest(
            path,
            settings,
            ledger,
            folder,
            merge=merge,
            check=check,
            writable=writable,
            linked=listing.has_symlinks,
        )
    plan = compare(ledger, STAGED, retry_failed=settings.retry_failed, price=price, pay_again=settings.yes)
    plan = replace(plan, redo=settings.redo is not None)
    differences = stage.differences()
    _add_notices(found, path, differences, plan)
    if plan.changed:
        stage.check_changed(number for number, _ in plan.changed)
    if settings.candidates > 1:
        rows_named = bool(settings.only) or (merging and settings.redo is None)
        plan = _with_candidates(plan, ledger, STAGED, settings, named=rows_named)

    plan = _with_groups(plan, ledger, found, settings, writable=writable)

    def adopt(*, pay_again: bool = False) -> None:
        whole = stage.adopt(
            found.columns,
            headings=found.headings,
            sheet=found.sheet,
            merge=merging,
            retry_failed=settings.retry_failed,
            name=settings.reading.name or DEFAULT_NAME,
            pay_again=pay_again,
        )
        adopt_candidates()
        remember(ledger, path, known if whole and not merging and not found.problems else None)

    return StagedPlan(
        plan,
        found,
        adopt,
        whole=not (merging or settings.only or settings.redo),
        other=0 < differences.whole == differences.gone,
    )


def _with_candidates(plan: Plan, ledger: Ledger, rows: str, settings: RunSettings, *, named: bool) -> Plan:
    """Return the plan with the further images of its rows, STAGED or ADOPTED; `named`: accepted rows are meant too."""
    more = candidates.plan(
        ledger,
        rows,
        settings.candidates,
        named=named,
        retry_failed=settings.retry_failed,
        pay_again=settings.yes,
    )
    return replace(plan, candidates=more, to_send=plan.to_send + more)


def _with_groups(
    plan: Plan, ledger: Ledger, found: ValidationReport, settings: RunSettings, *, writable: bool
) -> Plan:
    """Return the plan, in a preview counted by --group-by; raises UsageError where no column has that heading."""
    if settings.group_by is None:
        return plan
    column = group_column(settings.group_by, found.headings or headings_of(ledger))
    if writable:
        return plan
    return replace(
        plan,
        groups=planned_groups(
            ledger,
            column.heading,
            settings.candidates,
            retry_failed=settings.retry_failed,
            pay_again=settings.yes,
        ),
    )


def _add_notices(found: ValidationReport, path: Path, found_beside: Differences, plan: Plan) -> None:
    """Add what a person should know of a manifest beside this folder, one warning for each kind."""
    if reread := found_beside.rereads:
        rows = f"{counted(len(reread), 'row')}, {named_rows(reread)}"
        reason = f"read otherwise by an earlier version of texbatch, which paid for it: {rows}."
        remedy = "They keep that reading and their images, until their cells are edited. Listed once."
        found.warn(path, reason, remedy)
    queries = [row_id for row_id, why in plan.again if why == OTHER_QUERY]
    if queries:
        rows = f"{counted(len(queries), 'row')}, {named(queries)}"
        reason = f"the same but for the query of a URL as rows that were paid for: {rows}."
        remedy = "If the links are only signed again, add --ignore-url-query: then it is the same work, at no cost."
        found.warn(path, reason, remedy)
    if renamed := found_beside.renamed:
        rows = (
            f"{counted(len(renamed), 'row')}, {named([f'{now} (was {before})' for now, before in renamed])}"
        )
        reason = f"known under another id before: {rows}."
        found.warn(path, reason, "What was made for them, and what was decided about it, goes with them.")
    if spared := found_beside.spared:
        rows = f"{counted(len(spared), 'row')}, {named_rows(spared)}"
        reason = (
            f"asking for an image that was rejected, and having another one of the same work instead: {rows}."
        )
        found.warn(path, reason, "Give another seed or prompt, or clear the rejection.")
    if remade := found_beside.remade:
        rows = f"{counted(len(remade), 'row')}, {named_rows(remade)}"
        reason = f"asking for an image that was rejected: {rows}."
        found.warn(path, reason, "Another one is made, of another seed, for which you are asked.")
    if gone := found_beside.gone:
        rows = f"{gone} of the {counted(found_beside.whole, 'row')} of the manifest before"
        remedy = "Their images stay, and what was paid for them is not forgotten."
        verb, they = ("is", "it leaves") if gone == 1 else ("are", "they leave")
        found.warn(path, f"{rows} {verb} not in this one: {they} the report.", remedy)


def _add_chosen(found: ValidationReport, manifest: FolderRows) -> None:
    """Say which rows a redo leaves alone."""
    if manifest.accepted:
        rows = f"{counted(len(manifest.accepted), 'row')}, {named_rows(manifest.accepted)}"
        found.warn(
            manifest.path,
            f"accepted, and left as they are: {rows}.",
            "Name them with --only to make them again.",
        )


def _newly_taken(ledger: Ledger) -> bool:
    """Return whether a file that texbatch did not write may be where a row of the manifest wants its image."""
    return any(
        image_index.wanted_elsewhere(ledger, [fold_name(name) for name in page], fold_name)
        for page in image_index.foreign_files(ledger)
    )


def stage_manifest(
    path: Path,
    settings: RunSettings,
    ledger: Ledger,
    folder: OutputFolder,
    *,
    merge: bool | None,
    check: Callable[[], None],
    writable: bool,
    linked: bool,
) -> tuple[Stage, ValidationReport, bool]:
    """Read and check a manifest against a folder; return it staged, what was found, and whether its rows merge.

    `linked` says that there are links below `images/`. Raises ManifestError, and what `check` raises at a row.
    """
    redo = settings.redo
    manifest: Manifest
    if redo is not None and redo.from_folder:
        manifest = FolderRows(ledger, folder, redo, settings.only, settings.reading)
        path = manifest.path
    else:
        known = known_headings(ledger)
        manifest = open_manifest(path, settings.reading, out=folder.path, known=known)
    ours = manifest.texbatch_own and path.resolve().parent == folder.path.resolve()
    merging = ours if merge is None else merge
    if redo is not None and not merging:
        raise UsageError(f"{path}: a redo changes rows of a folder: it goes with retry, not with run.")
    ignore_url_query = settings.reading.ignore_url_query or (
        merging and ledger.meta(Meta.IGNORE_URL_QUERY) == "1"
    )
    grouped = None
    if settings.group_by is not None:
        grouped = group_column(settings.group_by, report_headings(manifest.columns, manifest.heading)).name
    stage = Stage(
        ledger,
        ignore_url_query=ignore_url_query,
        writable=writable,
        merge=merging,
        retry_failed=settings.retry_failed,
        pay_again=settings.yes,
        same_template=(settings.reading.name or DEFAULT_NAME) == (ledger.meta(Meta.NAME) or DEFAULT_NAME),
        group_by=None if writable else grouped,
    )
    name = (ledger.meta(Meta.NAME) if merging else None) or DEFAULT_NAME
    seen = InputCache(ledger) if writable else None
    found = validate_rows(
        manifest,
        settings.reading,
        stage,
        seen,
        name=name,
        check=check,
        redo=redo,
        only=settings.only,
        skip=settings.invalid != INVALID_STOP,
    )
    if isinstance(manifest, FolderRows):
        _add_chosen(found, manifest)
    if found.stops or (found.invalid and (settings.invalid == INVALID_STOP or not found.rows)):
        good = 0 if found.stops else found.rows
        raise ManifestError(found.problems, dropped=found.dropped, good=good)
    if wrong := list(_problems_beside(path, stage, folder, settings.only, merge=merging, linked=linked)):
        raise ManifestError([under_heading(manifest, problem) for problem in wrong])
    return stage, found, merging


def _problems_beside(
    path: Path, stage: Stage, folder: OutputFolder, only: Sequence[str], *, merge: bool, linked: bool
) -> Iterator[Problem]:
    """Yield what is wrong with the staged rows in this folder.

    Ids asked for with --only that no row has, rows to merge that the folder does not know or that may be at the service
    with other work, and files in the folder that texbatch did not write. Where the ledger has lost its end once they may be
    its own, and are kept under images/.previous/ when they are in another's way.
    """
    file = str(path)
    for wanted in stage.select(only) if only else ():
        yield Problem(file, None, "id", f"--only: no row has the id {wanted!r}.", NO_SUCH_ID)
    if merge:
        for number, row_id in stage.unknown_ids():
            yield Problem(file, number, "id", f"{row_id!r} is not a row of this folder.", _FOR_STRANGERS)
        for number, row_id, state in stage.changed_at_risk():
            reason = f"{row_id!r} has changed, and may be at the service ({state})."
            first = f"{_SETTLE.get(state, _LET_END)} {quote(str(folder.path))}"
            yield Problem(file, number, "id", reason, f"{first}; only then can it be sent again.")
    if linked:
        inside = folder.images.resolve()
        for parent in sorted(image_index.wanted_folders(stage.ledger)):
            if not (folder.images / parent).resolve().is_relative_to(inside):
                reason = f"a link at {folder.images / parent} leads out of the output folder."
                yield Problem(file, None, None, reason, "Remove the link, or use another --name.")
    # A listing does not follow links.
    pages = image_index.wanted_places(stage.ledger) if linked else image_index.foreign_files(stage.ledger)
    taken = (
        (number, folder.images / output)
        for page in (() if runs.has_lost_end(stage.ledger) else pages)
        for number, output in image_index.conflicts(stage.ledger, [fold_name(name) for name in page])
    )
    for number, image in taken:
        if image.exists():
            reason = f"would overwrite {image}, which texbatch did not write."
            yield Problem(file, number, None, reason, _FOREIGN)
