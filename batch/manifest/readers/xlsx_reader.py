""".xlsx and .xlsm manifests: a sheet of a workbook, read whole (see `sheet_reader`); macros are never run.

Rule 1: a cell means what Excel shows, not what it stores: a number is written as its format shows it (SKU-00123, 20%;
see `manifest.shown`), with Excel's own 15 digits; without a format whole numbers have no point; dates are ISO 8601,
text is left alone. A parameter that is a number is taken as stored. Where a format is not understood the stored number
is taken, with a warning. Earlier versions knew only the format 00000: `Row.formerly` holds what they read. Rule 2: a
value that Excel itself changed is never guessed back: a time where the ratio 4:5 was typed is a problem with its
remedy. Rule 3: an error (#N/A) and a formula without a stored value are problems, not empty cells. openpyxl needs
about a second of CPU for 5,000 rows: long tables are better CSV.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from contextlib import contextmanager
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from batch.core.errors import ManifestError
from batch.core.models import Issue, Problem
from batch.manifest.readers.base import refuse
from batch.manifest.readers.cells import as_cell
from batch.manifest.readers.sheet_reader import (
    BLANK,
    LAST_ROW,
    MAX_CELLS,
    MAX_TEXT,
    STORED,
    TOP_ROWS,
    WRITE_TEXT,
    BookSheet,
    SheetManifest,
    SheetRow,
)
from batch.manifest.readers.xlsx_scan import Scan, TooLarge, check_sizes, check_top, scan
from batch.manifest.shown import EXCEL_DIGITS, number_shown, text_shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PADDED = re.compile(r"0{2,30}")
_OLE = b"\xd0\xcf\x11\xe0"
_WORKBOOK = "xl/workbook.xml"
_STRICT = b"http://purl.oclc.org/ooxml/spreadsheetml"
_LONGEST_START = 4096
_AS_CSV = "Use CSV: it is read as a stream."
_NO_WORKBOOK = 'Save it again as "Excel Workbook (.xlsx)", or as "CSV UTF-8".'
_AS_TYPED = frozenset(["", "General", "@"])  # formats that change nothing
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")


class XlsxSheet(BookSheet):
    """A worksheet as openpyxl reads it, with what it leaves out (`xlsx_scan`)."""

    def __init__(self, path: Path, sheet: Any) -> None:
        """Take a worksheet of the open workbook at `path`; a chart has no cells and counts as hidden."""
        self.title: str = sheet.title
        self._path = path
        self._sheet = sheet
        self.has_cells = hasattr(sheet, "iter_rows")
        self.visible = self.has_cells and sheet.sheet_state == "visible"
        self._scan = Scan()
        if self.has_cells:
            self._part: str = sheet._worksheet_path  # noqa: SLF001  read-only sheets have it nowhere else
            sheet.reset_dimensions()  # many programs write wrong ones

    def is_valueless(self, cell: Any) -> bool:
        """Return whether a cell is a formula without a stored value."""
        if cell.value is not None or not self._scan.valueless:
            return False
        return getattr(cell, "coordinate", None) in self._scan.valueless  # a cell that is not there has none

    def link(self, cell: Any) -> str | None:
        """Return where a cell links to, by itself or by the formula HYPERLINK."""
        return self._scan.links.get(cell.coordinate)

    def top(self) -> Iterator[SheetRow]:
        """Yield the rows with content among the first TOP_ROWS."""
        if not self.has_cells:
            return
        try:
            check_top(self._path, self._part, TOP_ROWS)
        except TooLarge as error:
            self._refuse(error)
        yield from self._given(self._sheet.iter_rows(max_row=TOP_ROWS))

    def rows(self) -> Iterator[SheetRow]:
        """Yield every row with content."""
        if not self.has_cells:
            return
        try:
            self._scan = scan(self._path, self._part)
        except TooLarge as error:
            self._refuse(error)
        self.merged = self._scan.merged
        self.has_unplaced = "" in self._scan.valueless
        yield from self._given(self._sheet.iter_rows())

    def _given(self, rows: Iterator[Sequence[Any]]) -> Iterator[SheetRow]:
        seen_cells = 0
        for row, cells in enumerate(rows, start=1):
            seen_cells += len(cells)
            if row > LAST_ROW or seen_cells > MAX_CELLS:
                self._refuse_size(row)
            given = [cell for cell in cells if cell.value is not None or self.is_valueless(cell)]
            if not all(isinstance(cell.value, str) and not cell.value.strip(BLANK) for cell in given):
                number = given[0].row
                yield SheetRow(number, number in self._scan.hidden, given)

    def _refuse(self, error: TooLarge) -> NoReturn:
        refuse(self._path, None, f"the sheet {self.title!r} {error}.", _AS_CSV)

    def _refuse_size(self, row: int) -> NoReturn:
        if row > LAST_ROW:
            reason = f"the sheet {self.title!r} has a row below the last one that Excel knows ({LAST_ROW:,})."
            refuse(self._path, None, reason, "Delete the cells far below the table.")
        reason = f"the sheet {self.title!r} has more than {MAX_CELLS:,} cells up to here; a workbook is read whole."
        refuse(self._path, row, reason, "Delete the cells far beside the table, or use CSV.")


class XlsxManifest(SheetManifest):
    """An open .xlsx or .xlsm manifest."""

    suffixes = (".xlsx", ".xlsm")

    @contextmanager
    def _workbook(self) -> Iterator[Sequence[BookSheet]]:
        """Open the workbook. openpyxl's warnings concern parts that we do not read."""
        _check(self.path)
        load = _openpyxl(self.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                book = load(self.path, read_only=True, data_only=True, keep_links=False)
                try:
                    yield [XlsxSheet(self.path, book[title]) for title in book.sheetnames]
                finally:
                    book.close()
            except ManifestError:
                raise
            except Exception as error:  # whatever a damaged file makes openpyxl raise
                reason = f"cannot be read as a workbook ({type(error).__name__}: {error})."
                raise ManifestError([Problem(self._file, None, None, reason, _NO_WORKBOOK)]) from error

    def _cell(self, cell: Any, name: str) -> tuple[str, str] | Issue:
        """Return what a cell shows, and what an earlier version read; or why it has no value."""
        stored = self._text(cell, name)
        return stored if isinstance(stored, Issue) else (self._shown(cell, name, stored), stored)

    def _text(self, cell: Any, name: str) -> str | Issue:
        """Return the content of a cell, as every version read it, or why it is not a value."""
        value = cell.value
        if cell.data_type == "e":
            return Issue(f"is Excel's error {value}.", "Fix its formula, or empty the cell.")
        if isinstance(value, str):
            if len(value) > MAX_TEXT:
                return Issue(f"is longer than {MAX_TEXT:,} characters.", "Write it shorter.")
            value = value.replace("_x000D_", "\r")  # how a workbook writes it
        elif isinstance(value, date | time | timedelta):
            return self._dated(cell, name, value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            value = self._number(cell, name, value)
        found = as_cell(value)
        return found if found is not None else ""

    def _shown(self, cell: Any, name: str, stored: str) -> str:
        """Return the text that Excel shows for a cell: `stored` under its format."""
        value = cell.value
        if name in STORED or value is None or isinstance(value, bool | date | time | timedelta):
            return stored
        form = cell.number_format or ""
        if isinstance(value, str):
            stored = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)
            shown = stored if "@" not in form or form == "@" else text_shown(stored, form)
        else:
            shown = stored if form in _AS_TYPED else number_shown(value, form)
        if shown is None:
            self._once(
                f"format {name} {form}", cell, name,
                f"what the number format {form!r} shows is not known: {stored!r} is taken.",
                f"If the sheet shows something else: {WRITE_TEXT}",
            )  # fmt: skip
            return stored
        return shown

    def _number(self, cell: Any, name: str, value: float) -> float | str:
        """Return a number as Excel knows it, with leading zeros where its format shows them."""
        if abs(value) >= 10**EXCEL_DIGITS:
            self._once(
                f"long {name}", cell, name, f"Excel keeps only {EXCEL_DIGITS} digits of a number.",
                f"If it has more: {WRITE_TEXT}",
            )  # fmt: skip
        if isinstance(value, float):
            value = float(f"{value:.{EXCEL_DIGITS}g}")
        shown = cell.number_format or ""
        if value >= 0 and value == int(value) and _PADDED.fullmatch(shown):
            return str(int(value)).zfill(len(shown))
        return value


def _check(path: Path) -> None:
    """Raise ManifestError for a file that is visibly not a workbook that is read, and for one that is too large."""
    with path.open("rb") as file:
        if file.read(len(_OLE)) == _OLE:
            refuse(path, None, "has a password, or is an old .xls.", f"Remove the password. {_NO_WORKBOOK}")
    try:
        check_sizes(path)
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            start = _start_of(archive, _WORKBOOK) if _WORKBOOK in names else b""
    except zipfile.BadZipFile:
        refuse(path, None, "is not an .xlsx workbook.", _NO_WORKBOOK)
    except TooLarge as error:
        refuse(path, None, f"{error}; a workbook is read whole.", _AS_CSV)
    if _STRICT in start:
        refuse(path, None, "is a Strict Open XML workbook, which is not read.", _NO_WORKBOOK)


def _start_of(archive: zipfile.ZipFile, part: str) -> bytes:
    with archive.open(part) as stream:
        return stream.read(_LONGEST_START)


def _openpyxl(path: Path) -> Any:
    try:
        from openpyxl import load_workbook  # noqa: PLC0415  start-up time
    except ImportError:
        reason = "workbooks need openpyxl, which is not installed."
        refuse(path, None, reason, "Run: pip install openpyxl.")
    return load_workbook
