"""The end of a run: its line in the ledger is closed, its reports are written, and its exit code says how it went."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from batch import errors
from batch.ledger import bill, feed
from batch.results import report
from batch.results.sheet import write_sheet

if TYPE_CHECKING:
    from batch.folder import OutputFolder
    from batch.halt import Halt
    from batch.ledger.store import Ledger
    from batch.work import Figures


def end(ledger: Ledger, folder: OutputFolder, halt: Halt, figures: Figures, *, thumbs_s: float) -> int:
    """Close the run's line in the ledger; write report, summary and contact sheet; return the exit code.

    The sheet's new thumbnails get `thumbs_s`: somebody may be waiting for the end.
    """
    statuses = bill.statuses(ledger, selected_only=True)
    if feed.paid_jobs(ledger):  # also of rows that were not selected, or have changed: they are paid
        statuses["pending"] = statuses.get("pending", 0) + 1
    code = exit_code(statuses, halt)
    with ledger.atomic() as connection:
        connection.execute(
            "UPDATE runs SET ended_at=?, rows_saved=?, status_calls=?, http_429=?, exit_code=? WHERE run_id=?",
            (ledger.clock(), figures.rows_saved, figures.status_calls, figures.http_429, code, ledger.run_id),
        )
    report.write_report(ledger, folder)
    report.write_summary(report.summary(ledger, ledger.clock), folder)
    write_sheet(ledger, folder, thumbs_s=thumbs_s)
    return code


def exit_code(statuses: dict[str, int], halt: Halt) -> int:
    """Return the first exit code that applies to the selected rows, in the documented order."""
    applying = {code for status, code in _CODES.items() if statuses.get(status)}
    if halt.reason:
        applying.add(halt.reason.exit_code)
    return next((code for code in _ORDER if code in applying), errors.EXIT_OK)


_CODES = {
    "unknown": errors.EXIT_UNKNOWN,
    "pending": errors.EXIT_ROWS_LEFT,
    "failed": errors.EXIT_SOME_FAILED,
    "expired": errors.EXIT_SOME_FAILED,
    "abandoned": errors.EXIT_SOME_FAILED,
}
_ORDER = (
    128 + signal.SIGINT,
    128 + signal.SIGTERM,
    errors.EXIT_STOPPED,
    errors.EXIT_CAP,
    errors.EXIT_UNKNOWN,
    errors.EXIT_ROWS_LEFT,
    errors.EXIT_SOME_FAILED,
)
