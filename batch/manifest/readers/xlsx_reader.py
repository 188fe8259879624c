""".xlsx manifests: the first visible sheet of a workbook, read whole, at most MAX_ROWS rows.

Rule 1: a cell means what Excel shows, not what it stores: a number is written as its format shows it (SKU-00123, 20%;
see `manifest.shown`), with Excel's own 15 digits; without a format whole numbers have no point; dates are ISO 8601,
text is left alone. A parameter that is a number is taken as stored. Where a format is not understood the stored number
is taken, with a warning. Earlier versions knew only the format 00000: `Row.formerly` holds what they read. Rule 2: a
value that Excel itself changed is never guessed back: a time where the ratio 4:5 was typed is a problem with its
remedy. Rule 3: an error (#N/A), a formula without a stored value and merged cells are problems, not empty cells. Rule
4: row numbers are Excel's, messages name the cell. A warning names the sheet that was read where there are several, and
the hidden rows. openpyxl needs about a second of CPU for 5,000 rows: long tables are better CSV.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from batch.core.errors import ManifestError
from batch.core.models import Issue, Problem, Row
from batch.core.parameters import BY_NAME, PARAMETERS
from batch.manifest.columns import ID, header_problems
from batch.manifest.problems import ProblemLog
from batch.manifest.readers.base import StreamingManifest, refuse
from batch.manifest.readers.cells import as_cell, without_midnight
from batch.manifest.readers.xlsx_scan import Scan, TooLarge, check_sizes, scan
from batch.manifest.shown import EXCEL_DIGITS, number_shown, text_shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_ROWS = 50_000
LAST_ROW = 1 << 20  # Excel's own
MAX_CELLS = 20_000_000
MAX_TEXT = 1 << 20
MERGED_NAMED = 20
_PADDED = re.compile(r"0{2,30}")
_OLE = b"\xd0\xcf\x11\xe0"
_AS_CSV = "Use CSV: it is read as a stream."
_NO_WORKBOOK = 'Save it again as "Excel Workbook (.xlsx)", or as "CSV UTF-8".'
BLANK = " \t\r\n"
_AS_TYPED = frozenset(["", "General", "@"])  # formats that change nothing
_STORED = frozenset(
    parameter.name for parameter in PARAMETERS if parameter.kind in {"int", "bool"} or parameter.choices
)
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_VALUELESS = Issue("the formula has no stored value.", "Save the workbook in Excel, or write the value.")
_WRITE_TEXT = "Format the column as Text, then write it again."


class XlsxManifest(StreamingManifest):
    """An open .xlsx manifest."""

    suffixes = (".xlsx",)
    is_text = False

    def _open(self) -> tuple[tuple[str, ...], Iterable[Problem]]:
        _check(self.path)
        self._found = ProblemLog(self.path)
        self._names: dict[int, str] = {}
        self._unnamed: set[int] = set()
        self._warned: set[str] = set()
        self._entries: list[Row | Problem] = []
        self._read()
        from openpyxl.utils import get_column_letter  # noqa: PLC0415  start-up time

        names = tuple(self._names.values())
        self._letters = {name: get_column_letter(index) for index, name in self._names.items()}
        header = header_problems(self._file, names, lambda _name: self.header_line)
        return names, [*self._found.entries, *header]

    def note(self, number: int, column: str) -> str:
        """Return the cell as a prefix for messages."""
        return f"(cell {self._letters[column]}{number}) " if column in self._letters else ""

    def _rows(self) -> Iterator[Row | Problem]:
        return iter(self._entries)

    def _read(self) -> None:
        """Read the header and the rows. openpyxl's warnings concern parts that we do not read."""
        load = _openpyxl(self.path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                book = load(self.path, read_only=True, data_only=True, keep_links=False)
                try:
                    sheet = self._sheet(book)
                    part: str = sheet._worksheet_path  # noqa: SLF001  read-only sheets have it nowhere else
                    seen = scan(self.path, part)
                    sheet.reset_dimensions()  # many programs write wrong ones
                    self._take(sheet, seen)
                finally:
                    book.close()
            except ManifestError:
                raise
            except TooLarge as error:
                refuse(self.path, None, f"the sheet {self._title!r} {error}.", _AS_CSV)
            except Exception as error:  # whatever a damaged file makes openpyxl raise
                reason = f"cannot be read as a workbook ({type(error).__name__}: {error})."
                raise ManifestError([Problem(self._file, None, None, reason, _NO_WORKBOOK)]) from error
        self._check_merges(seen)
        if seen.hidden_rows:
            are = "row of the sheet is" if seen.hidden_rows == 1 else "rows of the sheet are"
            reason = f"{seen.hidden_rows} hidden {are} read as well."
            remedy = "A filter hides rows and does not leave them out: delete what is not meant."
            self._found.warning(None, None, reason, remedy)

    def _sheet(self, book: Any) -> Any:
        """Return the first visible worksheet; warn which one it is where there are several."""
        visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        if not visible:
            refuse(self.path, None, "no sheet is visible.", "Unhide the one that holds the rows.")
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
        taken = seen_cells = 0
        for row, cells in enumerate(sheet.iter_rows(), start=1):
            seen_cells += len(cells)
            if row > LAST_ROW or seen_cells > MAX_CELLS:
                self._refuse_size(row)
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

    def _refuse_size(self, row: int) -> NoReturn:
        if row > LAST_ROW:
            reason = (
                f"the sheet {self._title!r} has a row below the last one that Excel knows ({LAST_ROW:,})."
            )
            refuse(self.path, None, reason, "Delete the cells far below the table.")
        reason = f"the sheet {self._title!r} has more than {MAX_CELLS:,} cells up to here; a workbook is read whole."
        refuse(self.path, row, reason, "Delete the cells far beside the table, or use CSV.")

    def _take_header(self, number: int, cells: list[Any]) -> None:
        self.header_line = number
        for cell in cells:
            name = self._text(cell, "")
            if isinstance(name, Issue):
                self._found.problem(number, None, f"{_at(cell)}{name.reason}", name.remedy)
            elif name.strip():
                self._names[cell.column] = name.strip()

    def _row(self, number: int, cells: list[Any], seen: Scan) -> Iterator[Row | Problem]:
        texts = dict.fromkeys(self._names.values(), "")
        formerly: dict[str, str] = {}
        faults: list[Problem] = []
        for cell in cells:
            name = self._names.get(cell.column)
            if name is None:
                self._without_name(cell)
                continue
            value = _VALUELESS if _is_valueless(cell, seen) else self._text(cell, name)
            if isinstance(value, Issue):
                faults.append(Problem(self._file, number, name, _at(cell) + value.reason, value.remedy))
            else:
                texts[name] = self._shown(cell, name, value)
                if texts[name] != value:
                    formerly[name] = value
        if faults:
            yield from faults
        else:
            yield Row(number, texts, formerly)

    def _without_name(self, cell: Any) -> None:
        """Note, once a column, that it has content and no name."""
        if cell.column not in self._unnamed and not (isinstance(cell.value, str) and not cell.value.strip()):
            self._unnamed.add(cell.column)
            reason = f"(cell {cell.coordinate}) is in a column without a name."
            remedy = f"Name the column in row {self.header_line}, or empty it."
            self._found.problem(cell.row, None, reason, remedy)

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
            shown = as_cell(without_midnight(value))
            if name in BY_NAME:
                return Issue(f"Excel took what was typed for a date or time ({shown}).", _WRITE_TEXT)
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

    def _shown(self, cell: Any, name: str, stored: str) -> str:
        """Return the text that Excel shows for a cell: `stored` under its format."""
        value = cell.value
        if name in _STORED or value is None or isinstance(value, bool | date | time | timedelta):
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
                f"If the sheet shows something else: {_WRITE_TEXT}",
            )  # fmt: skip
            return stored
        return shown

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
        if what not in self._warned:
            self._warned.add(what)
            self._found.warning(cell.row, name or None, _at(cell) + reason, remedy)

    def _check_merges(self, seen: Scan) -> None:
        top = self.header_line or 0
        ranges = [(first, last) for first, last in seen.merged if _row_of(last) >= top]
        ranges.sort(key=lambda cells: _row_of(cells[0]))
        for first, last in ranges[:MERGED_NAMED]:
            if _row_of(first) <= top:
                reason = f"the header is merged ({first}:{last}), so not every column has a name of its own."
                remedy = "Unmerge it, and let the first row that is not empty name each column once."
            else:
                reason = f"the cells {first}:{last} are merged: only the first of them has the value."
                remedy = "Unmerge them, and write the value into every row."
            self._found.problem(_row_of(first), None, reason, remedy)
        if len(ranges) > MERGED_NAMED:
            reason = f"{len(ranges) - MERGED_NAMED} more ranges are merged."
            self._found.problem(None, None, reason, "Unmerge all cells of the sheet.")


def _check(path: Path) -> None:
    """Raise ManifestError for a file that is visibly not a workbook, and for one that is too large."""
    with path.open("rb") as file:
        if file.read(len(_OLE)) == _OLE:
            refuse(path, None, "has a password, or is an old .xls.", f"Remove the password. {_NO_WORKBOOK}")
    try:
        check_sizes(path)
    except zipfile.BadZipFile:
        refuse(path, None, "is not an .xlsx workbook.", _NO_WORKBOOK)
    except TooLarge as error:
        refuse(path, None, f"{error}; a workbook is read whole.", _AS_CSV)


def _openpyxl(path: Path) -> Any:
    try:
        from openpyxl import load_workbook  # noqa: PLC0415  start-up time
    except ImportError:
        reason = "workbooks need openpyxl, which is not installed."
        refuse(path, None, reason, "Run: pip install openpyxl.")
    return load_workbook


def _is_valueless(cell: Any, seen: Scan) -> bool:
    """Return whether a cell is a formula without a stored value; an empty text is a value."""
    if cell.value is not None or not seen.valueless:
        return False
    return getattr(cell, "coordinate", None) in seen.valueless  # a cell that is not there has none


def _at(cell: Any) -> str:
    """Return the name of a cell as a prefix for messages."""
    return f"(cell {cell.coordinate}) "


def _row_of(coordinate: str) -> int:
    return int(coordinate.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
