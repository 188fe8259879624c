"""What workbooks of every format have in common: which sheet is read, where its table begins, which of its rows count.

Rule 1: the sheet is the one that was named; else the only visible one that has the columns, or of several the one that the
output folder has read before; else the only visible one, or the only one whose headings people use for what we need.
Where several could be meant nothing is read, and the message lists them. Rule 2: the header is found below titles (see
`table_top`); what is above it is not read. Rule 3: hidden rows are rows, with one warning that counts them, unless they are
left out by name. Rule 4: row numbers are the sheet's, messages name the cell. Rule 5: merged cells are problems: only
the first of them has the value. Rule 6: an image's cell that is hyperlinked means its link where its text is not a
path. Rule 7: a workbook is read whole, at most MAX_ROWS rows.
"""

from __future__ import annotations

import re
import shlex
from abc import ABC, abstractmethod
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import unquote, urlsplit

from batch.core.errors import ManifestError
from batch.core.models import Issue, Problem, Row
from batch.core.parameters import BY_NAME, IMAGE_PARAMETERS, PARAMETERS
from batch.core.visible import shortened
from batch.manifest.columns import ID
from batch.manifest.headings import header_problems
from batch.manifest.naming import is_url
from batch.manifest.problems import ProblemLog, did_you_mean
from batch.manifest.readers.base import StreamingManifest, refuse
from batch.manifest.readers.cells import as_cell, without_midnight
from batch.manifest.readers.table_top import FEWEST, LOOKED_AT, KnownHeadings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import date, time, timedelta

MAX_ROWS = 50_000
MAX_TEXT = 1 << 20
TOP_ROWS = 1000
"""Rows, the empty ones included, among which the header is looked for."""

LAST_ROW = 1 << 20  # Excel's own
_NO_MORE = (LAST_ROW + 1, LAST_ROW + 1, "")
MAX_CELLS = 20_000_000
MERGED_NAMED = 20
BLANK = " \t\r\n"
_SHEETS_NAMED = 10
_HEADINGS_SHOWN = 8
_LONGEST_SHOWN = 40
_VALUELESS = Issue("the formula has no stored value.", "Save the workbook in Excel, or write the value.")
_NEEDED = tuple(sorted(parameter.name for parameter in PARAMETERS if parameter.required))


STORED = frozenset(
    parameter.name for parameter in PARAMETERS if parameter.kind in {"int", "bool"} or parameter.choices
)
"""Parameters that are taken as stored, whatever a number's format shows."""

WRITE_TEXT = "Format the column as Text, then write it again."
_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|jfif|png|webp|gif|bmp|tiff?|heic|heif|avif|svg|pdf)$", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)


class SheetRow(NamedTuple):
    """A row that has content: its number from 1, whether the sheet hides it, and its cells with content, from left to right."""

    number: int
    hidden: bool
    cells: Sequence[Any]


class BookSheet(ABC):
    """A sheet of an open workbook.

    When `rows` has come to its end, `merged` are (first cell, last cell), and `has_unplaced` says whether there is a
    formula without a value whose cell is not known.
    """

    title: str
    visible: bool
    merged: Sequence[tuple[str, str]] = ()
    has_unplaced = False

    @abstractmethod
    def is_valueless(self, cell: Any) -> bool:
        """Return whether a cell is a formula without a stored value; an empty text is a value."""

    @abstractmethod
    def link(self, cell: Any) -> str | None:
        """Return where a cell links to, as the file holds it, None where it does not; known once `rows` has begun."""

    @abstractmethod
    def top(self) -> Iterator[SheetRow]:
        """Yield the rows with content among the first TOP_ROWS; nothing more is held. Raises ManifestError."""

    @abstractmethod
    def rows(self) -> Iterator[SheetRow]:
        """Yield every row with content; raises ManifestError where the sheet is larger than any that a person fills."""


class SheetTop(NamedTuple):
    """What is known of a sheet before it is read: the header's number and headings, and which names these stand for."""

    sheet: BookSheet
    number: int | None
    headings: Sequence[str]
    known: set[str]


class SheetManifest(StreamingManifest):
    """An open workbook, of which one sheet is read."""

    is_text = False
    has_sheets = True
    program = "Excel"
    read_before = True
    """Whether an earlier version read this format, and may have paid for its rows."""

    def _open(self) -> Iterable[Problem]:
        self._found = ProblemLog(self.path)
        self._known_at_top = KnownHeadings(self._reading, self._known)
        self._written: tuple[str, ...] = ()
        self._names: dict[int, str] = {}
        self._unnamed: set[int] = set()
        self._warned: set[str] = set()
        self._entries: list[Row] = []
        with self._workbook() as sheets:
            top = self._chosen(sheets)
            self.sheet = top.sheet.title
            self._take(top)
        self._check_merges(top.sheet.merged)
        self._letters = {name: column_letters(index) for index, name in self._names.items()}
        header = header_problems(self._file, self._headings, lambda _name: self.header_line, self._written)
        return [*self._found.entries, *header]

    def note(self, number: int, column: str) -> str:
        """Return the cell as a prefix for messages."""
        return f"(cell {self._letters[column]}{number}) " if column in self._letters else ""

    def _rows(self) -> Iterator[Row | Problem]:
        return iter(self._entries)

    @abstractmethod
    def _workbook(self) -> AbstractContextManager[Sequence[BookSheet]]:
        """Open the workbook for a while; give its sheets in order, hidden ones included. Raises ManifestError."""

    @abstractmethod
    def _cell(self, cell: Any, name: str) -> tuple[str, str] | Issue:
        """Return what a cell shows in the column `name`, and what an earlier version read; or why it has no value.

        `name` is "" for a cell of the header.
        """

    # -- the sheet -----------------------------------------------------------------------------------------------------

    def _chosen(self, sheets: Sequence[BookSheet]) -> SheetTop:
        """Return the sheet to read; raises ManifestError where none or several could be meant."""
        if self._reading.sheet is not None:
            return self._top(self._named(sheets, self._reading.sheet))
        visible = [sheet for sheet in sheets if sheet.visible]
        if not visible:
            refuse(
                self.path,
                None,
                "no sheet is visible.",
                "Unhide the one that holds the rows, or name it with --sheet.",
            )
        tops = [self._top(sheet) for sheet in visible]
        needed = {name for name in _NEEDED if name not in self._reading.parameters}
        able = [top for top in tops if needed <= top.known]
        if not able:
            most = max(len(top.known) for top in tops)
            able = [top for top in tops if len(top.known) == most]
            likely = [self._known_at_top.guessable(top.headings) for top in able]
            if max(likely) >= FEWEST and likely.count(max(likely)) == 1:  # its columns are proposed then
                able = [able[likely.index(max(likely))]]
        if len(able) > 1:
            wanted = visible[0].title if self._known.exact else self._known.sheet
            before = [top for top in able if top.sheet.title == wanted]
            if not before:
                self._refuse_choice(able, needed)
            reason = f"the sheet {wanted!r} is read, as before; others have the columns too."
            self._found.warning(None, None, reason, "If another is meant, name it: --sheet NAME.")
            return before[0]
        return able[0]

    def _refuse_choice(self, tops: Sequence[SheetTop], needed: set[str]) -> NoReturn:
        shown = ", ".join(map(_described, tops[:_SHEETS_NAMED]))
        more = f" and {len(tops) - _SHEETS_NAMED} more" if len(tops) > _SHEETS_NAMED else ""
        columns = ", ".join(name for name in _NEEDED if name in needed)
        what = "several sheets have" if needed <= tops[0].known else "no sheet has"
        likely = max(tops, key=lambda top: len(top.headings))
        remedy = f"Name the one that holds the rows: --sheet {_quoted(likely.sheet.title)}"
        refuse(self.path, None, f"{what} the columns {columns}: {shown}{more}.", remedy)

    def _named(self, sheets: Sequence[BookSheet], wanted: str) -> BookSheet:
        """Return the sheet with a title, or with a number from 1 where no sheet has that title."""
        for sheet in sheets:
            if sheet.title.strip().casefold() == wanted.strip().casefold():
                return sheet
        if wanted.isdecimal() and 1 <= int(wanted) <= len(sheets):
            return sheets[int(wanted) - 1]
        titles = [sheet.title for sheet in sheets]
        shown = ", ".join(
            f"{number} {title!r}" for number, title in enumerate(titles[:_SHEETS_NAMED], start=1)
        )
        more = f" and {len(titles) - _SHEETS_NAMED} more" if len(titles) > _SHEETS_NAMED else ""
        reason = f"there is no sheet {wanted!r}; the sheets are {shown}{more}."
        remedy = did_you_mean(wanted, titles) or "Give the title or the number of one."
        raise ManifestError([Problem(self._file, None, None, reason, remedy)])

    def _top(self, sheet: BookSheet) -> SheetTop:
        rows: list[tuple[int, list[str]]] = []
        for row in islice(sheet.top(), LOOKED_AT):
            texts = [cell.value for cell in row.cells if isinstance(cell.value, str)]
            rows.append((row.number, [text.strip() for text in texts if text.strip()]))
        if not rows:
            return SheetTop(sheet, None, (), set())
        number, headings = rows[self._known_at_top.header_in([texts for _, texts in rows])]
        return SheetTop(sheet, number, headings, self._known_at_top.known(headings))

    # -- its rows ------------------------------------------------------------------------------------------------------

    def _take(self, top: SheetTop) -> None:
        taken = hidden = 0
        for row in top.sheet.rows():
            if top.number is not None and row.number < top.number:
                continue
            if self.header_line is None:
                self._take_header(row)
                continue
            hidden += row.hidden
            if row.hidden and self._reading.skip_hidden:
                continue
            taken += 1
            if taken > MAX_ROWS:
                reason = f"there are more than {MAX_ROWS} rows; a workbook is read whole."
                self._found.problem(row.number, None, reason, "Use CSV: it has no limit.")
                break
            self._entries.append(self._row(top.sheet, row))
        if self.header_line is None:
            reason = f"the sheet {top.sheet.title!r} is empty."
            remedy = "Its first row names the columns: image_1, image_2, prompt."
            self._found.problem(None, None, reason, remedy)
        if hidden:
            self._warn_of_hidden(hidden)
        if top.sheet.has_unplaced:
            reason = "a formula has no stored value."
            self._found.problem(None, None, reason, "Open and save the workbook in Excel.")

    def _warn_of_hidden(self, hidden: int) -> None:
        rows = "1 hidden row" if hidden == 1 else f"{hidden} hidden rows"
        if self._reading.skip_hidden:
            reason = f"{rows} of the sheet {'is' if hidden == 1 else 'are'} left out."
            self._found.warning(
                None, None, reason, "Show them in the sheet, or leave out --skip-hidden, to have them too."
            )
        else:
            reason = f"{rows} of the sheet {'is' if hidden == 1 else 'are'} read as well."
            remedy = "A filter hides rows and does not leave them out: --skip-hidden does, or delete what is not meant."
            self._found.warning(None, None, reason, remedy)

    def _take_header(self, row: SheetRow) -> None:
        self.header_line = row.number
        for cell in row.cells:
            value = self._cell(cell, "")
            if isinstance(value, Issue):
                self._found.problem(row.number, None, at(cell) + value.reason, value.remedy)
            elif name := value[1].strip():
                self._names[cell.column] = name
        self._written = tuple(self._names.values())
        self._take_headings(self._written)
        self._names = dict(zip(self._names, self._headings.names, strict=True))

    def _row(self, sheet: BookSheet, row: SheetRow) -> Row:
        texts = dict.fromkeys(self._names.values(), "")
        formerly: dict[str, str] = {}
        faults: list[Problem] = []
        for cell in row.cells:
            name = self._names.get(cell.column)
            if name is None:
                self._without_name(cell)
                continue
            value = _VALUELESS if sheet.is_valueless(cell) else self._cell(cell, name)
            if isinstance(value, Issue):
                column = self.heading(name)
                faults.append(Problem(self._file, row.number, column, at(cell) + value.reason, value.remedy))
            else:
                texts[name], before = value
                if name in IMAGE_PARAMETERS and (link := sheet.link(cell)):
                    texts[name] = self._linked(texts[name], link)
                if texts[name] != before and self.read_before:
                    formerly[name] = before
        return Row(row.number, texts, {} if faults else formerly, problems=tuple(faults))

    def _without_name(self, cell: Any) -> None:
        """Note, once a column, that it has content and no name."""
        if cell.column not in self._unnamed and not (isinstance(cell.value, str) and not cell.value.strip()):
            self._unnamed.add(cell.column)
            reason = f"{at(cell)}is in a column without a name."
            remedy = f"Name the column in row {self.header_line}, or empty it."
            self._found.problem(cell.row, None, reason, remedy)

    def _linked(self, text: str, link: str) -> str:
        """Return the image of a cell that links somewhere: its text where that is a URL or a path, else the link."""
        written = text.strip()
        if not written or is_url(written) or _IMAGE_SUFFIX.search(written) or self._is_file(written):
            return text
        return link_target(link) or text

    def _is_file(self, written: str) -> bool:
        try:
            return (self.path.parent / written).is_file()
        except (OSError, ValueError):  # too long, or with a NUL
            return False

    def _dated(self, cell: Any, name: str, value: date | time | timedelta) -> str | Issue:
        """Return a date or time as text; a problem where it is a parameter's value, a warning where it is an id."""
        value = without_midnight(value)
        shown = str(as_cell(value))
        if name in BY_NAME:
            return Issue(f"{self.program} took what was typed for a date or time ({shown}).", WRITE_TEXT)
        if name == ID:
            self._once(
                f"date {name}", cell, name, f"{self.program} holds a date or time here ({shown}).",
                f"If something else was typed: {WRITE_TEXT}",
            )  # fmt: skip
        return shown

    def _once(self, what: str, cell: Any, name: str, reason: str, remedy: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self._found.warning(cell.row, self.heading(name) or None, at(cell) + reason, remedy)

    def _check_merges(self, merged: Sequence[tuple[str, str]]) -> None:
        """Note merged cells: in the header as a problem of the sheet, below it as one of each row that they cover."""
        top = self.header_line or 0
        ranges = sorted(
            (_row_of(first), _row_of(last), f"{first}:{last}")
            for first, last in merged
            if _row_of(last) >= top
        )
        in_header = [(first, cells) for first, _, cells in ranges if first <= top]
        for first, cells in in_header[:MERGED_NAMED]:
            reason = f"the header is merged ({cells}), so not every column has a name of its own."
            self._found.problem(first, None, reason, "Unmerge it, and let one row name each column once.")
        if len(in_header) > MERGED_NAMED:
            reason = f"{len(in_header) - MERGED_NAMED} more ranges of the header are merged."
            self._found.problem(top, None, reason, "Unmerge them all.")
        below, covered = iter(ranges[len(in_header) :]), (0, 0, "")
        for index, row in enumerate(self._entries):
            while covered[1] < row.number:
                covered = next(below, _NO_MORE)
            if covered[0] <= row.number:
                reason = f"the cells {covered[2]} are merged: only the first of them has the value."
                remedy = "Unmerge them, and write the value into every row."
                problem = Problem(self._file, row.number, None, reason, remedy)
                self._entries[index] = row._replace(problems=(*row.problems, problem))


def at(cell: Any) -> str:
    """Return the name of a cell as a prefix for messages."""
    return f"(cell {cell.coordinate}) "


def link_target(link: str) -> str | None:
    """Return the image that a link means, a URL or a path from the manifest's folder; None for mail and the like."""
    if is_url(link):
        return link
    if link.lower().startswith("file:"):
        parts = urlsplit(link.replace("\\", "/"))
        host = f"//{parts.netloc}" if parts.netloc not in {"", "localhost"} else ""
        return host + unquote(parts.path) or None
    if _SCHEME.match(link):
        return None
    return unquote(link.partition("#")[0]).replace("\\", "/") or None


def column_letters(column: int) -> str:
    """Return the letters of a column, counted from 1: A, Z, AA."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _row_of(coordinate: str) -> int:
    return int(coordinate.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))


def _described(top: SheetTop) -> str:
    """Return a sheet's title with its headings, shortened."""
    if top.number is None:
        return f"{top.sheet.title!r} (empty)"
    headings = [shortened(text, _LONGEST_SHOWN) for text in top.headings[:_HEADINGS_SHOWN]]
    more = ", …" if len(top.headings) > _HEADINGS_SHOWN else ""
    return f"{top.sheet.title!r} (row {top.number}: {', '.join(headings) or 'no text'}{more})"


def _quoted(title: str) -> str:
    """Return a title as it can be pasted into a shell."""
    return f'"{title}"' if not set(title) & set('"$`\\!') else shlex.quote(title)
