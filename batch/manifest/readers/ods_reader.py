""".ods manifests, of LibreOffice, Google Sheets and others: a sheet of a workbook, read whole (see `sheet_reader`).

Rule 1: a cell means what the sheet shows, which the file holds beside the stored value; a parameter that is a number is
taken as stored, dates are ISO 8601, a truth is true or false. Rule 2: errors, formulas without a value and times where a
ratio was typed are problems, as in .xlsx. Rule 3: the file is parsed as a stream, and what it only says to repeat is made
when it is asked for: a row, the sheets and the cells have limits.
Source: OASIS OpenDocument 1.3, part 3, chapter 9.
"""

from __future__ import annotations

import re
import zipfile
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from xml.parsers import expat

from batch.core.errors import ManifestError
from batch.core.models import Issue, Problem
from batch.manifest.readers.base import refuse
from batch.manifest.readers.cells import as_cell
from batch.manifest.readers.sheet_reader import (
    LAST_ROW,
    MAX_TEXT,
    STORED,
    TOP_ROWS,
    BookSheet,
    SheetManifest,
    SheetRow,
    column_letters,
)
from batch.manifest.readers.table_top import LOOKED_AT
from batch.manifest.readers.xlsx_scan import MAX_ROW, MAX_UNPACKED, MOST_MERGED, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

MOST_SHEETS = 1000
MAX_UNFOLDED = 5_000_000
"""Cells of a sheet, counted as often as they are repeated."""

LAST_COLUMN = 1 << 14
_CONTENT = "content.xml"
_RIGHTS = "META-INF/manifest.xml"
_PIECE = 1 << 16
_LONGEST_HEADING = 256
_URN = "urn:oasis:names:tc:opendocument:xmlns:"
_TABLE, _TEXT, _OFFICE, _STYLE = (f"{_URN}{name}:1.0 " for name in ("table", "text", "office", "style"))
_CALC_KIND = "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0 value-type"
_HREF = "http://www.w3.org/1999/xlink href"
_CELLS = frozenset({f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"})
_BLANKS = {f"{_TEXT}s": " ", f"{_TEXT}tab": "\t", f"{_TEXT}line-break": "\n"}
_NO_TEXT = frozenset({f"{_TEXT}note", f"{_TEXT}tracked-changes"})
_NO_TABLES = frozenset(
    {f"{_TABLE}dde-links", f"{_TABLE}tracked-changes"}
)  # of other files, and of former days
_TIME = re.compile(r"(-)?PT(\d{1,9})H(\d{1,2})M(\d{1,2})(?:[.,](\d{1,9}))?S")
_LINK = re.compile(r'(?:\w+:)?=HYPERLINK\("([^"]+)"\s*[;)]')
_AS_CSV = "Use CSV: it is read as a stream."
_SAVE_AGAIN = 'Save it again as "ODF Spreadsheet (.ods)", or as "CSV UTF-8".'


@dataclass(slots=True)
class OdsCell:
    """A cell with content. `value` is a text, a number, a truth or a date; `shown` the text that the sheet shows."""

    row: int
    column: int
    kind: str
    value: Any
    shown: str
    link: str | None = None

    @property
    def coordinate(self) -> str:
        """Its name: B7."""
        return f"{column_letters(self.column)}{self.row}"

    def at(self, row: int, column: int) -> OdsCell:
        """Return the same cell at another place."""
        return OdsCell(row, column, self.kind, self.value, self.shown, self.link)


@dataclass(slots=True)
class OdsTable:
    """A table as the file declares it, with its first rows."""

    title: str
    style: str
    top: list[SheetRow] = field(default_factory=list)


class OdsSheet(BookSheet):
    """A table of an open document."""

    def __init__(self, path: Path, index: int, table: OdsTable, *, visible: bool) -> None:
        """Take the table at `index`, from 0, of the document at `path`."""
        self.title = table.title
        self.visible = visible
        self._path = path
        self._index = index
        self._table = table

    def is_valueless(self, cell: Any) -> bool:
        """Return whether a cell is a formula without a stored value."""
        return bool(cell.kind == "valueless")

    def link(self, cell: Any) -> str | None:
        """Return where a cell links to."""
        return cell.link if isinstance(cell, OdsCell) else None

    def top(self) -> Iterator[SheetRow]:
        """Yield the rows with content among the first TOP_ROWS."""
        return iter(self._table.top)

    def rows(self) -> Iterator[SheetRow]:
        """Yield every row with content."""
        content = OdsContent(self._index)
        try:
            yield from _unfolded(_parsed(self._path, content))
        except TooLarge as error:
            refuse(self._path, None, f"the sheet {self.title!r} {error}.", _AS_CSV)
        self.merged = content.merged


class OdsManifest(SheetManifest):
    """An open .ods manifest."""

    suffixes = (".ods",)
    program = "the spreadsheet"
    read_before = False

    @contextmanager
    def _workbook(self) -> Iterator[Sequence[BookSheet]]:
        _check(self.path)
        content = OdsContent()
        try:
            for _ in _parsed(self.path, content):
                pass
            yield [
                OdsSheet(self.path, index, table, visible=table.style not in content.hidden_styles)
                for index, table in enumerate(content.tables)
            ]
        except TooLarge as error:
            refuse(self.path, None, f"{error}; a workbook is read whole.", _AS_CSV)
        except (expat.ExpatError, zipfile.BadZipFile, ValueError) as error:
            reason = f"cannot be read as a spreadsheet ({type(error).__name__}: {error})."
            raise ManifestError([Problem(self._file, None, None, reason, _SAVE_AGAIN)]) from error

    def _cell(self, cell: Any, name: str) -> tuple[str, str] | Issue:
        """Return what a cell shows, twice: no earlier version read this format."""
        shown = self._text(cell, name)
        return shown if isinstance(shown, Issue) else (shown, shown)

    def _text(self, cell: OdsCell, name: str) -> str | Issue:
        if cell.kind == "error":
            return Issue(f"is the error {cell.shown}.", "Fix its formula, or empty the cell.")
        if len(cell.shown) > MAX_TEXT:
            return Issue(f"is longer than {MAX_TEXT:,} characters.", "Write it shorter.")
        if isinstance(cell.value, date | time | timedelta):
            return self._dated(cell, name, cell.value)
        if isinstance(cell.value, bool) or (
            not isinstance(cell.value, str) and (name in STORED or not cell.shown)
        ):
            return as_cell(cell.value) or ""
        found = as_cell(cell.shown)
        return found if found is not None else ""


class OdsContent:
    """What content.xml says, a piece at a time: the tables and their first rows, or every row of one table.

    `rows` are the rows found so far that have content, each with the number of times it is there.
    """

    def __init__(self, index: int | None = None) -> None:
        """Look at the table at `index`, from 0, or at the top of each where it is None."""
        self.tables: list[OdsTable] = []
        self.hidden_styles: set[str] = set()
        self.merged: list[tuple[str, str]] = []
        self.rows: deque[tuple[SheetRow, int]] = deque()
        self._index = index
        self._skipped = 0  # elements that are open within one that says nothing
        self._in_table = False
        self._style = ""
        self._row: list[OdsCell] | None = None
        self._row_times, self._row_hidden, self._row_size = 1, False, 0
        self._number = self._column = 0
        self._cell: dict[str, str] | None = None
        self._paragraphs = self._open = 0
        self._pieces: list[str] = []
        self._link: str | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Take the start of an element."""
        if self._skipped or self._says_nothing(name):
            self._skipped += 1
        elif self._cell is not None:
            self._start_in_cell(name, attributes)
        elif name == f"{_TABLE}table":
            self._start_table(attributes)
        elif name == f"{_TABLE}table-row" and self._in_table:
            self._row = []
            self._row_times = _count(attributes.get(f"{_TABLE}number-rows-repeated"), LAST_ROW)
            self._row_hidden = attributes.get(f"{_TABLE}visibility", "visible") != "visible"
            self._column = self._row_size = 0
        elif name in _CELLS and self._row is not None:
            self._cell = attributes | {"": name}
            self._paragraphs = self._open = 0
            self._pieces, self._link = [], None
        elif name == f"{_STYLE}style":
            self._style = attributes.get(f"{_STYLE}name", "")
        elif name == f"{_STYLE}table-properties" and attributes.get(f"{_TABLE}display") == "false":
            self.hidden_styles.add(self._style)

    def end(self, name: str) -> None:
        """Take the end of an element."""
        if self._skipped:
            self._skipped -= 1
        elif name == f"{_TEXT}p":
            self._open = max(self._open - 1, 0)
        elif name in _CELLS and self._cell is not None:
            self._end_cell(self._cell)
            self._cell = None
        elif name == f"{_TABLE}table-row" and self._row is not None:
            self._end_row(self._row)
            self._row = None
        elif name == f"{_TABLE}table":
            self._in_table = False

    def text(self, data: str) -> None:
        """Take text between the tags."""
        if self._open and not self._skipped:
            self._add(data)

    def _says_nothing(self, name: str) -> bool:
        """Return whether an element within a table is none of its own: a comment, a drawing, a table in a cell."""
        if self._cell is None:
            return name in _NO_TABLES or (self._in_table and name == f"{_TABLE}table")
        return name in _NO_TEXT or not name.startswith(_TEXT)

    def _start_table(self, attributes: Mapping[str, str]) -> None:
        if len(self.tables) == MOST_SHEETS:
            raise TooLarge(f"has more than {MOST_SHEETS} sheets")
        style = attributes.get(f"{_TABLE}style-name", "")
        self.tables.append(OdsTable(attributes.get(f"{_TABLE}name", ""), style))
        self._in_table = True
        self._number = 0

    def _start_in_cell(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == f"{_TEXT}p":
            if self._paragraphs:
                self._add("\n")
            self._paragraphs += 1
            self._open += 1
        elif name == f"{_TEXT}a":
            self._link = self._link or attributes.get(_HREF)
        elif name in _BLANKS:
            self._add(_BLANKS[name] * _count(attributes.get(f"{_TEXT}c"), MAX_TEXT))

    def _add(self, text: str) -> None:
        self._row_size += len(text)
        if self._row_size > MAX_ROW:
            raise TooLarge(f"has a row of more than {MAX_ROW >> 20} MiB")
        self._pieces.append(text)

    @property
    def _is_read(self) -> bool:
        """Whether the rows of the present table are wanted."""
        if self._index is None:
            return self._number < TOP_ROWS and len(self.tables[-1].top) < LOOKED_AT
        return len(self.tables) - 1 == self._index

    def _end_cell(self, given: Mapping[str, str]) -> None:
        times = _count(given.get(f"{_TABLE}number-columns-repeated"), LAST_COLUMN)
        first, self._column = self._column + 1, self._column + times
        if not self._is_read or self._row is None or given[""] != f"{_TABLE}table-cell":
            return
        across = _count(given.get(f"{_TABLE}number-columns-spanned"), LAST_COLUMN)
        down = _count(given.get(f"{_TABLE}number-rows-spanned"), LAST_ROW)
        if across * down > 1 and self._index is not None and len(self.merged) < MOST_MERGED:
            row = self._number + 1
            last = f"{column_letters(first + across - 1)}{row + down - 1}"
            self.merged.append((f"{column_letters(first)}{row}", last))
        cell = _cell(given, "".join(self._pieces) if self._paragraphs else None, self._link)
        if cell is None:
            return
        if self._column > LAST_COLUMN:
            raise TooLarge(f"has more than {LAST_COLUMN:,} columns")
        if self._index is None:
            times = 1
            cell.shown = cell.shown[:_LONGEST_HEADING]
            cell.value = cell.value[:_LONGEST_HEADING] if isinstance(cell.value, str) else cell.value
        self._row += [cell.at(0, first + index) for index in range(times)]

    def _end_row(self, cells: Sequence[OdsCell]) -> None:
        number = self._number + 1
        if any(not isinstance(cell.value, str) or cell.value.strip() for cell in cells):
            row = SheetRow(number, self._row_hidden, cells)
            if self._index is None:
                self.tables[-1].top.append(
                    row._replace(cells=[cell.at(number, cell.column) for cell in cells])
                )
            else:
                self.rows.append((row, self._row_times))
        self._number += self._row_times


def _cell(given: Mapping[str, str], text: str | None, link: str | None) -> OdsCell | None:
    """Return a cell of these attributes and text, None where it has no content."""
    shown = text if text is not None else given.get(f"{_OFFICE}string-value", "")
    kind = given.get(f"{_OFFICE}value-type", "string" if shown else "")
    formula = given.get(f"{_TABLE}formula", "")
    if given.get(_CALC_KIND) == "error":
        return OdsCell(0, 0, "error", None, shown)
    if not kind and formula:
        return OdsCell(0, 0, "valueless", None, "")
    value = _value(kind, given, shown)
    if value == "":
        return None
    if found := _LINK.match(formula):
        link = found[1]
    elif link is not None:
        link = link.removeprefix("../")  # out of the package
    return OdsCell(0, 0, kind, value, shown, link)


def _value(kind: str, given: Mapping[str, str], shown: str) -> str | float | date | time | timedelta:
    """Return the stored value of a cell in its own type; what the sheet shows where that is text or cannot be read."""
    try:
        match kind:
            case "float" | "percentage" | "currency":
                return float(given[f"{_OFFICE}value"])
            case "boolean":
                return given[f"{_OFFICE}boolean-value"] == "true"
            case "date":
                return datetime.fromisoformat(given[f"{_OFFICE}date-value"])
            case "time":
                return _time(given[f"{_OFFICE}time-value"], shown)
    except (KeyError, ValueError):
        return shown
    return shown


def _time(stored: str, shown: str) -> time | timedelta | str:
    """Return a time of day, a duration where it is none, what the sheet shows where it is neither."""
    found = _TIME.fullmatch(stored)
    if found is None:
        return shown
    hours, minutes, seconds = (int(found[group]) for group in (2, 3, 4))
    fraction = int((found[5] or "0").ljust(6, "0")[:6])
    if found[1] is None and hours < 24:
        return time(hours, minutes, seconds, fraction)
    span = timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=fraction)
    return -span if found[1] else span


def _count(text: str | None, most: int) -> int:
    """Return how often something is repeated, 1 … most."""
    return min(max(int(text), 1), most) if text is not None and text.isdecimal() else 1


def _unfolded(rows: Iterable[tuple[SheetRow, int]]) -> Iterator[SheetRow]:
    """Yield every row as often as it is there; raises TooLarge."""
    seen_cells = 0
    for row, repeated in rows:
        seen_cells += len(row.cells) * repeated
        if row.number + repeated - 1 > LAST_ROW or seen_cells > MAX_UNFOLDED:
            raise TooLarge(f"has more than {LAST_ROW:,} rows, or {MAX_UNFOLDED:,} cells")
        for number in range(row.number, row.number + repeated):
            yield row._replace(number=number, cells=[cell.at(number, cell.column) for cell in row.cells])


def _parsed(path: Path, content: OdsContent) -> Iterator[tuple[SheetRow, int]]:
    """Parse a document's content, and yield the rows that `content` finds, as they come."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = content.start
    parser.EndElementHandler = content.end
    parser.CharacterDataHandler = content.text
    parser.StartDoctypeDeclHandler = _no_doctype
    with zipfile.ZipFile(path) as archive, archive.open(_CONTENT) as stream:
        while data := stream.read(_PIECE):
            parser.Parse(data, False)  # noqa: FBT003  expat takes no name for it
            while content.rows:
                yield content.rows.popleft()
    parser.Parse(b"", True)  # noqa: FBT003
    yield from content.rows


def _no_doctype(*_: object) -> None:
    raise ValueError("it declares a document type")


def _check(path: Path) -> None:
    """Raise ManifestError for a file that is visibly no spreadsheet that is read, and for one that is too large."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {part.filename: part.file_size for part in archive.infolist()}
            size = names.get(_RIGHTS, 0)
            rights = archive.read(_RIGHTS) if 0 < size < MAX_ROW else b""
    except zipfile.BadZipFile:
        refuse(path, None, "is not an .ods spreadsheet.", _SAVE_AGAIN)
    if b"encryption-data" in rights:
        refuse(path, None, "has a password.", f"Remove the password. {_SAVE_AGAIN}")
    if _CONTENT not in names:
        refuse(path, None, "is not an .ods spreadsheet.", _SAVE_AGAIN)
    if names[_CONTENT] > MAX_UNPACKED:
        refuse(
            path, None, f"unpacks to more than {MAX_UNPACKED >> 20} MiB; a workbook is read whole.", _AS_CSV
        )
