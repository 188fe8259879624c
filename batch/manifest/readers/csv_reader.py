"""CSV and TSV manifests: the header, then rows as a stream.

Rule 1: cells are text and stay as they are (`00123`, `1E5`, `NA`, `TRUE`). Rule 2: one record is in memory, however long
the file; a line or a quoted cell that never ends is cut off at MAX_RECORD characters. Rule 3: the separator is found in
the header line by the columns that it yields; Excel's `sep=;` line is understood. Rule 4: a row's number is the line it
starts on, as an editor counts (LF, CRLF and CR each end a line, also inside quotes). Rule 5: columns at the end without a
name and without content do not count. Lines above the header are titles, which are not read (see `table_top`).
Rule 6: text after a closing quote, and a blank before an opening one, would send other words than the sheet shows. Each is
a problem, which is forgiven where the row was paid for, since earlier versions read such a cell as the csv module does.
Blanks after a closing quote are harmless, and so is a quote inside a cell that does not begin with one (5" wide).
"""

from __future__ import annotations

import csv
import re
from functools import cache
from itertools import chain, islice, takewhile
from typing import TYPE_CHECKING

from batch.core.models import Issue, Problem, Row
from batch.manifest.columns import ID
from batch.manifest.headings import header_problems
from batch.manifest.readers.base import (
    BOM,
    MAX_RECORD,
    SAVE_AS_UTF8,
    StreamingManifest,
    codec_of,
    numbered_lines,
    refuse,
)
from batch.manifest.readers.table_top import LOOKED_AT, KnownHeadings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
MAX_HEADER = 1 << 17
_EXCEL_HINT = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
_AFTER_QUOTE = Issue(
    'there is text after a closing quote; a quote inside text is written twice ("").',
    'Write "the ""rough"" look", or leave out the quotes around the text.',
)
_BEFORE_QUOTE = Issue(
    "there is a blank before the opening quote, so that the quotes would be taken for text.",
    'Remove the blank; a quote that is meant as text is written twice inside quotes: " ""so"" ".',
)


class CsvManifest(StreamingManifest):
    """An open CSV or TSV manifest."""

    suffixes = (".csv", ".tsv")

    def _open(self) -> Iterable[Problem]:
        self._codec = codec_of(self.path, self._encoding)
        self._table_top = KnownHeadings(self._reading, self._known)
        # Of the process, and only ever raised: csv's own limit is an eighth of the longest cell that we read.
        csv.field_size_limit(max(csv.field_size_limit(), 2 * MAX_RECORD + 2))
        with self.path.open(encoding=self._codec, newline="") as stream:
            self._read_header(numbered_lines(stream))
        if len(self._header) == 1 and "|" in self._header[0]:
            reason, remedy = "the columns are separated by |.", "Use comma, semicolon or tab."
            return [Problem(self._file, self.header_line, None, reason, remedy)]
        self._take_headings(self._header)
        return self._header_problems()

    def _header_problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the names of the columns."""
        return header_problems(self._file, self._headings, lambda _name: self.header_line, self._header)

    def _read_header(self, lines: Iterator[tuple[int, str]]) -> None:
        texts = ((number, line) for number, text in lines if (line := text.removeprefix(BOM)).strip())
        number, line = next(texts, (1, ""))
        hint = _EXCEL_HINT.fullmatch(line)
        if hint and hint[1] not in SEPARATORS:
            reason = f"the separator {hint[1]!r} is not known."
            refuse(self.path, 1, reason, "Use comma, semicolon or tab.")
        if hint:
            number, line = next(texts, (1, ""))
        if not line:
            remedy = "The first line names the columns: image_1,image_2,prompt."
            refuse(self.path, 1, "the file is empty.", remedy)
        lines = self._from_header(number, line, lines)
        number, line = next(lines)
        self.separator = hint[1] if hint else self._separator_in(line)
        records = _records(chain([(number, line)], lines), self.separator)
        self.header_line, self._header_ends, written, names, closed = next(records)
        if not closed and len(line) <= MAX_HEADER:
            reason = "a double quote in the header is never closed."
            refuse(self.path, self.header_line, reason, "Close it.")
        if len(written) > MAX_HEADER:
            reason = "the header is longer than any table's."
            refuse(self.path, self.header_line, reason, "Is this a CSV file?")
        self._width = len(names)
        names = [name.strip() for name in names]
        while len(names) > 1 and not names[-1]:
            names.pop()
        self._header = tuple(names)

    def _from_header(
        self, number: int, line: str, lines: Iterator[tuple[int, str]]
    ) -> Iterator[tuple[int, str]]:
        """Return the lines from the header on: titles above it are not read. `line` is the first that is not blank."""
        if (
            self._table_top.known(_cells(line, self._separator_in(line)))
            or "|" in line
            or len(line) > MAX_HEADER
        ):
            return chain([(number, line)], lines)
        short = takewhile(lambda entry: len(entry[1]) <= MAX_HEADER, lines)
        seen = [(number, line), *islice(short, LOOKED_AT)]
        written = [index for index, (_, text) in enumerate(seen) if text.strip()]
        rows = [_cells(seen[index][1], self._separator_in(seen[index][1])) for index in written]
        header = self._table_top.header_in([list(filter(None, map(str.strip, row))) for row in rows])
        return chain(seen[written[header] :], lines)

    def _separator_in(self, line: str) -> str:
        """Return the separator that makes the most headings of a line, or else the most cells."""
        rows = {mark: _cells(line, mark) for mark in SEPARATORS}
        return max(SEPARATORS, key=lambda mark: (len(self._table_top.known(rows[mark])), len(rows[mark])))

    def _rows(self) -> Iterator[Row | Problem]:
        blank = self.separator + " \t\r\n"
        with self.path.open(encoding=self._codec, newline="") as stream:
            lines = islice(numbered_lines(stream), self._header_ends, None)
            for first, last, written, cells, closed in _records(lines, self.separator):
                if not closed or len(written) > MAX_RECORD or "\0" in written:
                    issue = _unreadable(written, closed=closed, one_line=first == last)
                    yield Problem(self._file, first, None, issue.reason, issue.remedy)
                    return
                if written.strip(blank):  # spreadsheets leave lines of separators behind
                    yield self._row(first, written, cells)

    def _row(self, number: int, written: str, cells: list[str]) -> Row:
        header, width = self._headings.names, self._width
        misquoted = _misquoted(written, self.separator) if '"' in written else {}
        if not len(header) <= len(cells) <= width:
            issue = next(iter(misquoted.values()), None) or self._wrong_width(len(cells))
            # The cells may have moved: only the first is sure to be in its place.
            first = {ID: cells[0]} if header[0] == ID else {}
            return Row(number, first, problems=(self._problem(number, None, issue),))
        if any(map(str.strip, cells[len(header) :])):
            reason = f"there is text in a column without a name, after the column {self._header[-1]}."
            issue = Issue(reason, "Name the column in the header, or empty it.")
            read = dict(zip(header, cells, strict=False))
            return Row(number, read, problems=(self._problem(number, None, issue),))
        row = Row(number, dict(zip(header, cells, strict=False)))
        if not misquoted:
            return row
        named = [(header[index], issue) for index, issue in misquoted.items() if index < len(header)]
        problems = [self._problem(number, self.heading(name), issue) for name, issue in named]
        return row._replace(
            formerly={name: row.cells[name] for name, _ in named}, unless_paid=tuple(problems)
        )

    def _problem(self, number: int, column: str | None, issue: Issue) -> Problem:
        return Problem(self._file, number, column, issue.reason, issue.remedy)

    def _wrong_width(self, cells: int) -> Issue:
        remedy = (
            f'Put text that holds {SEPARATORS[self.separator]} in double quotes ("…"), or remove the surplus.'
            if cells > self._width
            else "Add the missing cells: an empty cell still needs its separator."
        )
        return Issue(f"has {cells} cells, the header has {self._width}.", remedy)


def _cells(line: str, separator: str) -> list[str]:
    """Return the cells of a record of one line."""
    return next(csv.reader([line], delimiter=separator))


def _records(
    lines: Iterator[tuple[int, str]], separator: str
) -> Iterator[tuple[int, int, str, list[str], bool]]:
    """Yield (first line, last line, text as written, cells, whether all quotes are closed) of each record.

    One that is longer than MAX_RECORD, or has an open quote, is the last.
    """
    written: list[str] = []
    number, size, exhausted = 0, 0, False

    def feed() -> Iterator[str]:
        nonlocal number, size, exhausted
        for number, line in lines:  # noqa: B007  read below
            written.append(line)
            size += len(line)
            yield line
            if size > MAX_RECORD:
                break
        exhausted = True  # asked for more before the record was whole: a quote is open

    for cells in csv.reader(feed(), delimiter=separator):
        yield number - len(written) + 1, number, "".join(written), cells, not exhausted
        if size > MAX_RECORD:
            return
        written.clear()
        size = 0


def _unreadable(written: str, *, closed: bool, one_line: bool) -> Issue:
    """Return why nothing after a record can be trusted."""
    too_long = len(written) > MAX_RECORD
    if too_long and (closed or one_line):
        reason = f"the record is longer than {MAX_RECORD:,} characters; what follows was not read."
        return Issue(reason, "Write one record a line, and no whole file into a cell.")
    if not closed:
        longer = f", or after more than {MAX_RECORD:,} characters" if too_long else ""
        reason = f"a double quote opens a cell here and is never closed{longer}; what follows was not read."
        return Issue(reason, 'Close it, or write a quote inside quoted text twice ("").')
    reason = "there is a NUL byte: the file is damaged or not text; what follows was not read."
    return Issue(reason, SAVE_AS_UTF8)


@cache
def _quoting(separator: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the patterns of a record without an issue, and of one cell."""
    mark, quoted = re.escape(separator), r'"(?:[^"]++|"")*+"'
    blanks = "[ \t]*+".replace(separator, "")
    plain = rf'(?:{quoted}{blanks}|(?!{blanks}")[^{mark}\r\n]*+)'
    record = rf"{plain}(?:{mark}{plain})*+[\r\n]*+"
    cell = rf"(?P<quoted>{quoted})?(?P<rest>[^{mark}\r\n]*+)(?P<ends>{mark}?)"
    return re.compile(record), re.compile(cell)


def _misquoted(record: str, separator: str) -> dict[int, Issue]:
    """Return the issues of one whole record's quotes, by the cell's index, from 0.

    The csv module reads such cells without complaint.
    """
    plain, cell_pattern = _quoting(separator)
    if plain.fullmatch(record):  # nearly every record, and quickly
        return {}
    found: dict[int, Issue] = {}
    for index, cell in enumerate(cell_pattern.finditer(record)):
        rest = cell["rest"].strip(" \t")
        if cell["quoted"] and rest:
            found[index] = _AFTER_QUOTE
        elif not cell["quoted"] and rest.startswith('"') and not cell["rest"].startswith('"'):
            found[index] = _BEFORE_QUOTE
        if not cell["ends"]:
            break
    return found
