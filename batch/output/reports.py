"""The reports of a folder, written from its ledger: at the end of a run, by `texbatch report`, after a decision.

Rule 1: only the process that holds the folder writes report.csv, failures.csv, decisions.csv and summary.json. While a run
holds it, `texbatch report` writes the contact sheet alone, from a ledger that is only read. Rule 2: who holds the folder
writes them again as long as somebody decides meanwhile, since a decision waits for nobody.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from batch.core.errors import FolderLocked, LedgerLost, UsageError
from batch.ledger import choices, connection, decisions
from batch.ledger.ledger import Ledger
from batch.output import groups, report
from batch.output.chosen import apply_choices
from batch.output.decision_file import is_edited
from batch.output.folder import OutputFolder
from batch.output.images import check_images
from batch.output.sheet import THUMBS_STOPPED_S, write_sheet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was written: the sheet, and with `reports` the CSV files and the summary, whose figures are `summary`.

    `edited`: decisions.csv has edits that were not taken in.
    """

    sheet: Path
    reports: bool
    summary: dict[str, Any]
    edited: bool


def rebuild(path: Path, group_by: str | None = None) -> Rebuilt:
    """Write the contact sheet of a folder again, and its reports unless a run holds it; raises FolderError.

    With `group_by`, a column, summary.json counts rows and money by it from now on. Raises UsageError where no column
    has that heading, or a run holds the folder.
    """
    folder = OutputFolder(path)
    older = connection.needs_upgrade(folder.ledger)  # raises before the lock would make the folder
    with ExitStack() as stack:
        held = True
        try:
            stack.enter_context(folder.hold())
        except FolderLocked:
            held = False
        ledger = stack.enter_context(_open(folder, writable=held and not older))
        if group_by is not None:
            if not ledger.writable:
                raise UsageError(
                    "--group-by: a run holds the folder, and writes summary.json. Try again when it has ended."
                )
            with ledger.atomic():
                groups.remember(ledger, group_by)
        check_images(ledger, folder.path)
        edited = write_reports(ledger, folder) if held else is_edited(ledger, folder)
        write_sheet(ledger, folder, thumbs_s=None, running=not held)
        return Rebuilt(
            folder.sheet, held, report.summary(ledger, ledger.clock, groups.grouped(ledger)), edited
        )


def _open(folder: OutputFolder, *, writable: bool) -> Ledger:
    """Open the ledger of a folder to report on it; where it can be written, it remembers what was reported."""
    if writable:
        with suppress(LedgerLost):  # it is shown as it is, and left alone
            return Ledger.append_to(folder.ledger)
    return Ledger.read(folder.ledger)


def write_reports(
    ledger: Ledger, folder: OutputFolder, and_then: Callable[[], object] = lambda: None
) -> bool:
    """Write the reports of a folder that is held, then what else is to be; return whether decisions.csv has edits of a person.

    What was decided meanwhile is written too. Call it after the images were checked; raises FolderError.
    """
    shown = decisions.last(ledger)
    edited = report.write_report(ledger, folder)
    and_then()
    while ledger.writable and not decisions.are_shown(ledger):
        # Not before: a run that finds the folder held waits for reports that are being written.
        with ledger.atomic():
            decisions.note_shown(ledger, shown)
        if not decisions.are_shown(ledger):
            shown = decisions.last(ledger)
            edited = report.write_report(ledger, folder)
    return edited


def write_current(ledger: Ledger, folder: OutputFolder) -> bool:
    """Check the images, then write the reports, as `write_reports` does, and the contact sheet; somebody waits for it."""
    check_images(ledger, folder.path)
    return write_reports(ledger, folder, partial(write_sheet, ledger, folder, thumbs_s=THUMBS_STOPPED_S))


@contextmanager
def shows_decisions(ledger: Ledger, folder: OutputFolder) -> Iterator[None]:
    """Let a command that holds the folder show at its end, however it ends, what people decided and chose meanwhile."""
    try:
        yield
    except BaseException:
        with suppress(Exception):  # the first error says what is wrong
            _show_late(ledger, folder)
        raise
    _show_late(ledger, folder)


def _show_late(ledger: Ledger, folder: OutputFolder) -> None:
    late = choices.are_waiting(ledger)
    if late:
        apply_choices(ledger, folder.image_store)
    if late or not decisions.are_shown(ledger):
        write_current(ledger, folder)
