"""report.csv, failures.csv and summary.json: written whole, in one pass over the ledger, in manifest order.

Both CSV files are valid manifests as they stand: local image paths are relative to the folder, expanded text has its
braces doubled, and cells that a spreadsheet would run as a formula are neutralised. They hold prompts and URLs, so
only their user can read them.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from batch.config import LOCAL_SERVICE
from batch.errors import FolderError
from batch.ledger import bill
from batch.parameters import PARAMETERS
from batch.results.keep import IMAGES, write_whole
from batch.table import OUTCOME_COLUMNS, double_braces, neutralise
from batch.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from batch.folder import OutputFolder
    from batch.ledger.bill import ReportRow
    from batch.ledger.store import Ledger

CHUNK = 2000  # rows in memory at a time

_ROOM = "Make room or mend it, then run again: the old file is as it was."

STATUSES = ("saved", "failed", "expired", "unknown", "pending", "abandoned")
FAILURES = frozenset({"failed", "expired"})

TEMPLATED = tuple(parameter.name for parameter in PARAMETERS if parameter.kind in {"text", "image", "url"})
_TIMES = frozenset({"submitted_at", "completed_at"})


def write_report(ledger: Ledger, folder: OutputFolder) -> None:
    """Write report.csv and failures.csv; raises FolderError when the disk refuses, leaving the old files."""
    own = own_columns(ledger)
    header = header_of(own)
    with ExitStack() as stack:
        report = stack.enter_context(_Replaced(folder.report, header))
        failures = stack.enter_context(_Replaced(folder.failures, header))
        for rows in _chunks(bill.report_rows(ledger)):
            report.append([cells_of(row, own, folder.path) for row in rows])
            failures.append([cells_of(row, own, folder.path) for row in rows if row.status in FAILURES])


def own_columns(ledger: Ledger) -> list[str]:
    """Return the manifest's own columns as the report has them, without the id."""
    return [name for name in bill.columns(ledger) if name != "id"]


def header_of(own: Iterable[str]) -> list[str]:
    """Return the report's columns, in order."""
    return ["id", *own, *(parameter.name for parameter in PARAMETERS), *OUTCOME_COLUMNS]


def cells_of(row: ReportRow, own: Iterable[str], base: Path) -> dict[str, Any]:
    """Return a row's cells as a report in `base` has them, by column."""
    cells = {"id": double_braces(row.id)} | {name: row.cells.get(name, "") for name in own}
    cells |= {name: _written(row, name, base) for name in row.parameters}
    cells |= {name: _outcome(row, name) for name in OUTCOME_COLUMNS}
    return {name: neutralise(cell) if isinstance(cell, str) else cell for name, cell in cells.items()}


def _written(row: ReportRow, name: str, base: Path) -> Any:
    """Return a parameter as a manifest in `base` writes it."""
    value = row.parameters[name]
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str) or name not in TEMPLATED:
        return value
    if value in row.files:
        value = os.path.relpath(row.files[value], base)
    return double_braces(value)


def _outcome(row: ReportRow, name: str) -> Any:
    value = row.outcome.get(name)
    match name:
        case "status":
            return row.status
        case "cost":
            return None if value is None else f"{value // bill.MICRO}.{value % bill.MICRO:06d}"
        case "output_path":
            return None if row.output is None or row.status != "saved" else f"{IMAGES}/{row.output}"
        case "output_sha256":
            return row.outcome["sha256"]
        case _:
            return iso(value) if name in _TIMES else value


def _chunks(rows: Iterator[ReportRow]) -> Iterator[list[ReportRow]]:
    while chunk := list(itertools.islice(rows, CHUNK)):
        yield chunk


class _Replaced:
    """A CSV file that takes the place of an old one when its block ends well."""

    def __init__(self, path: Path, header: list[str]) -> None:
        self._path = path
        self._header = header

    def __enter__(self) -> Self:
        try:
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".texbatch-", suffix=".part")
        except OSError as exc:
            raise FolderError(f"{self._path}: cannot be written ({exc.strerror}). {_ROOM}") from exc
        self._temporary = Path(name)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
        try:
            self.append([], header=True)
        except BaseException as exc:
            self.__exit__(type(exc), exc, None)
            raise
        return self

    def append(self, rows: list[dict[str, Any]], *, header: bool = False) -> None:
        """Append rows, by column name."""
        import pandas as pd  # noqa: PLC0415  start-up time

        frame = pd.DataFrame(rows, columns=self._header, dtype=object)
        # Before Python 3.13 csv does not quote a lone CR, and a reader would take it for the end of the row.
        lone_cr = any("\r" in cell for row in rows for cell in row.values() if isinstance(cell, str))
        quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if lone_cr else csv.QUOTE_MINIMAL
        try:
            frame.to_csv(self._file, index=False, header=header, lineterminator="\n", quoting=quoting)
        except OSError as exc:
            raise FolderError(f"{self._path}: cannot be written ({exc.strerror}). {_ROOM}") from exc

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
            if kind is None:
                self._temporary.replace(self._path)
        except OSError as error:
            raise FolderError(f"{self._path}: cannot be written ({error.strerror}). {_ROOM}") from error
        finally:
            self._temporary.unlink(missing_ok=True)


def summary(ledger: Ledger, now: Callable[[], float]) -> dict[str, Any]:
    """Return the folder in figures: rows by status, money in USD, and the last run's times and calls.

    Money is the folder's, over its whole life: an exact bill whatever was interrupted. `saved_by_resume_usd` is the
    price of work that was done before the last run began and was not sent again.
    """
    total, run = bill.bill(ledger), bill.last_run(ledger)
    figures: dict[str, Any] = {"rows": total.rows}
    for status in STATUSES:
        figures[status] = total.statuses.get(status, 0)
    figures["spent_usd"] = total.spent / bill.MICRO
    figures["at_risk_usd"] = None if total.at_risk is None else total.at_risk / bill.MICRO
    figures["saved_by_resume_usd"] = (run["already_done"] if run else 0) / bill.MICRO
    figures["simulated"] = ledger.meta("service") == LOCAL_SERVICE
    figures |= _run_figures(run, now)
    figures["top_errors"] = [
        {"error_class": error_class, "count": count, "example": example}
        for error_class, count, example in total.errors
    ]
    return figures


def _run_figures(run: Mapping[str, Any] | None, now: Callable[[], float]) -> dict[str, Any]:
    if run is None:
        return dict.fromkeys(
            ("started_at", "ended_at", "seconds", "rows_per_minute", "status_calls", "http_429", "exit_code")
        )
    seconds = max((run["ended_at"] or now()) - run["started_at"], 0.0)
    return {
        "started_at": iso(run["started_at"]),
        "ended_at": iso(run["ended_at"]) or None,
        "seconds": round(seconds, 3),
        "rows_per_minute": round(run["rows_saved"] * 60 / seconds, 2) if seconds else 0.0,
        "status_calls": run["status_calls"],
        "http_429": run["http_429"],
        "exit_code": run["exit_code"],
    }


def write_summary(figures: Mapping[str, Any], folder: OutputFolder) -> None:
    """Write summary.json; raises FolderError when the disk refuses."""
    try:
        write_whole(
            folder.summary, (json.dumps(figures, indent=2, ensure_ascii=False) + "\n").encode(), 0o600
        )
    except OSError as exc:
        raise FolderError(f"{folder.summary}: cannot be written ({exc.strerror}). {_ROOM}") from exc
