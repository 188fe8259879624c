"""`texbatch report`: report, summary and contact sheet of a folder, written again from its ledger. No state is changed.

Rule: only the process that holds the folder writes report.csv, failures.csv and summary.json. While a run holds it, the
contact sheet alone is written, from a ledger that is only read.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch.core.errors import FolderLocked
from batch.ledger.ledger import Ledger
from batch.output import report
from batch.output.folder import OutputFolder
from batch.output.images import check_images
from batch.output.sheet import write_sheet

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was written: the sheet, and with `reports` the CSV files and the summary, whose figures are `summary`."""

    sheet: Path
    reports: bool
    summary: dict[str, Any]


def rebuild(path: Path) -> Rebuilt:
    """Write the contact sheet of a folder again, and its reports unless a run holds it; raises FolderError."""
    folder = OutputFolder(path)
    with ExitStack() as stack:
        # Before the lock, which would make the folder.
        ledger = stack.enter_context(Ledger.read(folder.ledger))
        try:
            stack.enter_context(folder.hold())
        except FolderLocked:
            held = False
        else:
            held = True
        check_images(ledger, folder.path)
        if held:
            report.write_report(ledger, folder)
        write_sheet(ledger, folder, thumbs_s=None, running=not held)
        return Rebuilt(folder.sheet, held, report.summary(ledger, ledger.clock))
