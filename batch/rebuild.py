"""What a folder shows, written anew from its ledger: `texbatch report`. Nothing is sent, no state is changed.

Rule: only the one who holds the folder writes report.csv, failures.csv and summary.json. While a run holds it, the
contact sheet alone is written, whole or not at all, from a ledger that is only read.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batch.errors import FolderBusy
from batch.folder import OutputFolder
from batch.ledger.store import Ledger
from batch.results import report
from batch.results.sheet import write_sheet

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was written: the sheet, and with `reports` the CSV files and the summary, whose figures are `summary`."""

    sheet: Path
    reports: bool
    summary: dict[str, Any]


def rebuild(path: Path) -> Rebuilt:
    """Write the contact sheet of a folder anew, and its reports unless a run holds it; raises FolderError."""
    folder = OutputFolder(path)
    with ExitStack() as stack:
        ledger = stack.enter_context(
            closing(Ledger.read(folder.ledger))
        )  # before the lock: it makes no folder
        try:
            stack.enter_context(folder.hold())
        except FolderBusy:
            running = True
        else:
            running = False
            report.write_report(ledger, folder)
            report.write_summary(report.summary(ledger, ledger.clock), folder)
        write_sheet(ledger, folder, thumbs_s=None, running=running)
        return Rebuilt(folder.sheet, not running, report.summary(ledger, ledger.clock))
