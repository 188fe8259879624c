""".xlsx manifests: the first visible sheet of a workbook, read whole, at most MAX_ROWS rows.

Rule 1: a cell means what Excel shows, not how it stores it: whole numbers have no point, a number formatted 00000
keeps its zeros, dates are ISO 8601, numbers have Excel's own 15 digits, text is left alone. Rule 2: what Excel itself
changed is never guessed back: a time where somebody typed the ratio 4:5 is a problem with its remedy. Rule 3: an
error (#N/A), a formula without a stored value and merged cells are problems, not empty cells. Rule 4: row numbers are
Excel's, messages name the cell. Which sheet was read, and that hidden rows were, is said where it could be missed.
openpyxl needs about a second of CPU for 5,000 rows: long tables are better CSV.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any

from batch.errors import ManifestError
from batch.intake import own, text
from batch.intake.columns import ID, is_own
from batch.intake.findings import Findings
from batch.intake.header import header_problems
from batch.intake.sheet_scan import MAX_UNPACKED, Scan, scan, unpacked_size
from batch.intake.typed import Fault
from batch.intake.values import as_cell, without_midnight
from batch.model import Problem, Row
from batch.parameters import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_ROWS = 50_000
MOST_MERGED = 20
EXCEL_DIGITS = 15
_PADDED = re.compile(r"0{2,30}")
_OLE = b"\xd0\xcf\x11\xe0"
_NO_WORKBOOK = 'Save it anew as "Excel Workbook (.xlsx)", or as "CSV UTF-8".'
BLANK = " \t\r\n"
_VALUELESS = Fault("the formula has no stored value.", "Save the workbook in Excel, or write the value.")
_WRITE_TEXT = "Format the column as Text, then write it again."


class Workbook:
    """An open .xlsx manifest."""

    tabular = True

    def __init__(self, path: Path) -> None:
        """Read the sheet; raise ManifestError with everything that is wrong with its header and its shape."""
        _check(path)
        self.path = path
        self.defaults: Mapping[str, str] = {}
        self.header_line: int | None = None
        self._file = str(path)
        self._found = Findings(path)
        self._names: dict[int, str] = {}
        self._unnamed: set[int] = set()
        self._told: set[str] = set()
        self._entries: list[Row | Problem] = []
        self._read()
        names = tuple(self._names.values())
        self.texbatch_own = is_own(names)
        self.columns = own.kept(names) if self.texbatch_own else names
        self._letters = {name: _letter(index) for index, name in self._names.items()}
        for problem in header_problems(self._file, names, lambda _name: self.header_line):
            (self._found.warnings if problem.warning else self._found.problems).append(problem)
        self._found.settle()

    def __repr__(self) -> str:
        return f"<Workbook {self._file} with {len(self.columns)} columns>"

    def note(self, number: int, column: str) -> str:
        """Return the cell that is meant, to stand before a message."""
        return f"(cell {self._letters[column]}{number}) " if column in self._letters else ""

    def rows(self) -> Iterator[Row | Problem]:
        """Yield the warnings, then the rows and problems in the order of the sheet."""
        yield from self._found.warnings
        yield from own.reopened(self._entries, self._file) if self.texbatch_own else self._entries

    def _read(self) -> None:
        """Read the header and the rows; openpyxl's warnings are about what we do not read."""
        load = _openpyxl(self.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                book = load(self.path, read_only=True, data_only=True)
                try:
                    sheet = self._sheet(book)
                    part: str = sheet._worksheet_path  # noqa: SLF001  read-only sheets tell it nowhere else
                    seen = scan(self.path, part)
                    sheet.reset_dimensions()  # many programs write wrong ones
                    self._take(sheet, seen)
                finally:
                    book.close()
            except ManifestError:
                raise
            except Exception as error:  # whatever a damaged file makes openpyxl raise
                reason = f"cannot be read as a workbook ({type(error).__name__}: {error})."
                raise ManifestError([Problem(self._file, None, None, reason, _NO_WORKBOOK)]) from error
        self._judge_merges(seen)
        if seen.hidden_rows:
            reason = f"{seen.hidden_rows} hidden rows of the sheet are read as well."
            remedy = "A filter hides rows and does not leave them out: delete what is not meant."
            self._found.warning(None, None, reason, remedy)

    def _sheet(self, book: Any) -> Any:
        """Return the first visible worksheet; say which one it is where there are several."""
        visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        if not visible:
            text.refuse(self.path, None, "no sheet is visible.", "Unhide the one that holds the rows.")
        if len(visible) > 1:
            others = ", ".join(repr(sheet.title) for sheet in visible[1:4])
            more = f" and {len(visible) - 4} more" if len(visible) > 4 else ""
            reason = f"the first sheet, {visible[0].title!r}, is read, not {others}{more}."
            self._found.warning(None, None, reason, "Move the sheet with the rows to the front.")
        self._title: str = visible[0].title
        return visible[0]

    def _take(self, sheet: Any, seen: Scan) -> None:
        if "" in seen.valueless:
            reason = "a formula has no stored value."
            self._found.problem(None, None, reason, "Open and save the workbook in Excel.")
        taken = 0
        for cells in sheet.iter_rows():
            given = [cell for cell in cells if cell.value is not None or _is_valueless(cell, seen)]
            if all(isinstance(cell.value, str) and not cell.value.strip(BLANK) for cell in given):
                continue
            number = given[0].row
            if self.header_line is None:
                self._take_header(number, given)
                continue
            taken += 1
            if taken > MAX_ROWS:
                reason = f"there are more than {MAX_ROWS} rows; a workbook is read whole."
                self._found.problem(number, None, reason, "Use CSV: it has no limit.")
                return
            self._entries += self._row(number, given, seen)
        if self.header_line is None:
            reason = f"the sheet {self._title!r} is empty."
            remedy = "Its first row names the columns: image_1, image_2, prompt."
            self._found.problem(None, None, reason, remedy)

    def _take_header(self, number: int, cells: list[Any]) -> None:
        self.header_line = number
        for cell in cells:
            name = self._text(cell, "")
            if isinstance(name, Fault):
                self._found.problem(number, None, f"{_at(cell)}{name.reason}", name.remedy)
            elif name.strip():
                self._names[cell.column] = name.strip()

    def _row(self, number: int, cells: list[Any], seen: Scan) -> Iterator[Row | Problem]:
        texts = dict.fromkeys(self._names.values(), "")
        faults: list[Problem] = []
        for cell in cells:
            name = self._names.get(cell.column)
            if name is None:
                self._without_name(cell)
                continue
            value = _VALUELESS if _is_valueless(cell, seen) else self._text(cell, name)
            if isinstance(value, Fault):
                faults.append(Problem(self._file, number, name, _at(cell) + value.reason, value.remedy))
            else:
                texts[name] = value
        if faults:
            yield from faults
        else:
            yield Row(number, texts)

    def _without_name(self, cell: Any) -> None:
        """Note, once a column, that there is something under no name."""
        if cell.column not in self._unnamed and not (isinstance(cell.value, str) and not cell.value.strip()):
            self._unnamed.add(cell.column)
            reason = f"(cell {cell.coordinate}) stands in a column without a name."
            remedy = f"Name the column in row {self.header_line}, or empty it."
            self._found.problem(cell.row, None, reason, remedy)

    def _text(self, cell: Any, name: str) -> str | Fault:
        """Return what a cell shows, or why that is no value."""
        value = cell.value
        if cell.data_type == "e":
            return Fault(f"is Excel's error {value}.", "Mend its formula, or empty the cell.")
        if isinstance(value, str):
            value = value.replace("_x000D_", "\r")  # how a workbook writes it
        elif isinstance(value, date | time | timedelta):
            shown = as_cell(without_midnight(value))
            if name in BY_NAME:
                return Fault(f"Excel took what was typed for a date or time ({shown}).", _WRITE_TEXT)
            if name == ID:
                self._once(
                    f"date {name}", cell, name, f"Excel holds a date or time here ({shown}).",
                    f"If something else was typed: {_WRITE_TEXT}",
                )  # fmt: skip
            value = without_midnight(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            value = self._number(cell, name, value)
        found = as_cell(value)
        return found if found is not None else ""

    def _number(self, cell: Any, name: str, value: float) -> float | str:
        """Return a number as Excel knows it, with leading zeros where its format shows them."""
        if abs(value) >= 10**EXCEL_DIGITS:
            self._once(
                f"long {name}", cell, name, f"Excel keeps only {EXCEL_DIGITS} digits of a number.",
                f"If it has more: {_WRITE_TEXT}",
            )  # fmt: skip
        if isinstance(value, float):
            value = float(f"{value:.{EXCEL_DIGITS}g}")
        shown = cell.number_format or ""
        if value >= 0 and value == int(value) and _PADDED.fullmatch(shown):
            return str(int(value)).zfill(len(shown))
        return value

    def _once(self, what: str, cell: Any, name: str, reason: str, remedy: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._found.warning(cell.row, name or None, _at(cell) + reason, remedy)

    def _judge_merges(self, seen: Scan) -> None:
        top = self.header_line or 0
        ranges = [(first, last) for first, last in seen.merged if _row_of(last) >= top]
        ranges.sort(key=lambda cells: _row_of(cells[0]))
        for first, last in ranges[:MOST_MERGED]:
            if _row_of(first) <= top:
                reason = f"the header is merged ({first}:{last}), so not every column has a name of its own."
                remedy = "Unmerge it, and let the first row that is not empty name each column once."
            else:
                reason = f"the cells {first}:{last} are merged: only the first of them has the value."
                remedy = "Unmerge them, and write the value into every row."
            self._found.problem(_row_of(first), None, reason, remedy)
        if len(ranges) > MOST_MERGED:
            reason = f"{len(ranges) - MOST_MERGED} more ranges are merged."
            self._found.problem(None, None, reason, "Unmerge all cells of the sheet.")


def _check(path: Path) -> None:
    """Raise ManifestError for what is no workbook at first sight, and for one that is too large."""
    text.check_readable(path)
    with path.open("rb") as file:
        if file.read(len(_OLE)) == _OLE:
            text.refuse(
                path, None, "has a password, or is an old .xls.", f"Remove the password. {_NO_WORKBOOK}"
            )
    try:
        size = unpacked_size(path)
    except zipfile.BadZipFile:
        text.refuse(path, None, "is no .xlsx workbook.", _NO_WORKBOOK)
    if size > MAX_UNPACKED:
        reason = f"unpacks to more than {MAX_UNPACKED >> 20} MiB; a workbook is read whole."
        text.refuse(path, None, reason, "Use CSV: it is read as a stream.")


def _openpyxl(path: Path) -> Any:
    try:
        from openpyxl import load_workbook  # noqa: PLC0415  start-up time
    except ImportError:
        reason = "workbooks need openpyxl, which is not installed."
        text.refuse(path, None, reason, "Run: pip install openpyxl.")
    return load_workbook


def _is_valueless(cell: Any, seen: Scan) -> bool:
    """Tell whether a cell is a formula without a stored value; an empty text is a value."""
    if cell.value is not None or not seen.valueless:
        return False
    return getattr(cell, "coordinate", None) in seen.valueless  # a cell that is not there has none


def _at(cell: Any) -> str:
    """Return the name of a cell, to stand before a message."""
    return f"(cell {cell.coordinate}) "


def _letter(column: int) -> str:
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _row_of(coordinate: str) -> int:
    return int(coordinate.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
