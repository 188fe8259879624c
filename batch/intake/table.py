"""CSV and TSV manifests: the header, then rows as a stream.

Rule 1: pandas reads the cells as text and changes none of them (`00123`, `1E5`, `NA`, `TRUE`). Rule 2: only one
block of records is in memory, however long the file. Rule 3: the separator is found in the header line, quotes
respected, by the columns it yields; Excel's `sep=;` line is understood. Rule 4: pandas' own errors never reach
the reader: `records` has looked at every line before.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from batch.errors import ManifestError
from batch.intake import text
from batch.intake.columns import ID
from batch.intake.header import header_problems
from batch.intake.records import Block, Cutter
from batch.intake.streamed import Streamed
from batch.model import Problem, Row
from batch.parameters import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEPARATORS = (",", ";", "\t")
_EXCEL_HINT = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)


class Table(Streamed):
    """An open CSV or TSV manifest."""

    def __init__(self, path: Path, encoding: str | None) -> None:
        """Read the header; raise ManifestError with everything that is wrong with it."""
        super().__init__(path)
        self._codec = text.codec_of(path, encoding)
        try:
            with text.open_text(path, self._codec) as stream:
                self._read_header(stream)
        except UnicodeError:
            raise ManifestError([text.undecodable(path, self._codec)]) from None
        self._take_columns(self._header, self._header_problems())

    def _read_header(self, stream: Iterator[str]) -> None:
        cutter = Cutter(stream, self._file, ",")
        line = _first_line(cutter)
        hint = _EXCEL_HINT.fullmatch(line or "")
        if hint and hint[1] not in SEPARATORS:
            text.refuse(
                self.path, 1, f"the separator {hint[1]!r} is not known.", "Use comma, semicolon or tab."
            )
        if hint:
            line = _first_line(cutter)
        if line is None:
            text.refuse(
                self.path,
                1,
                "the file is empty.",
                "The first line names the columns: image_1,image_2,prompt.",
            )
        if len(line) > csv.field_size_limit():
            text.refuse(
                self.path, cutter.number, "the header is longer than any table's.", "Is this a CSV file?"
            )
        self.separator = hint[1] if hint else max(SEPARATORS, key=lambda mark: _score(line, mark))
        cutter.split_at(self.separator)
        record = cutter.record(line)
        if record.cells is None:
            text.refuse(
                self.path, record.number, "a double quote in the header is never closed.", "Close it."
            )
        self.header_line, self._header_ends = record.number, cutter.number
        self._header = tuple(name.strip() for name in _cells(record.text, self.separator))

    def _header_problems(self) -> Iterator[Problem]:
        if len(self._header) == 1 and "|" in self._header[0]:
            reason, remedy = "the columns are separated by |.", "Use comma, semicolon or tab."
            yield Problem(self._file, self.header_line, None, reason, remedy)
            return
        yield from header_problems(self._file, self._header, lambda _name: self.header_line)

    def _rows(self) -> Iterator[Row | Problem]:
        try:
            with text.open_text(self.path, self._codec) as stream:
                cutter = Cutter(stream, self._file, self.separator)
                while cutter.number < self._header_ends:
                    cutter.line()
                for block in cutter.blocks(len(self._header)):
                    yield from self._block_rows(block)
        except UnicodeError:
            yield text.undecodable(self.path, self._codec)

    def _block_rows(self, block: Block) -> Iterator[Row | Problem]:
        rows = self._parsed(block)
        if not block.problems:
            yield from rows
            return
        merged: list[Row | Problem] = [*rows, *block.problems]
        yield from sorted(merged, key=_line)

    def _parsed(self, block: Block) -> Iterator[Row]:
        if not block.numbers:
            return
        from pandas import read_csv  # noqa: PLC0415  0.3 s that `--help` must not pay

        frame = read_csv(
            io.StringIO(block.text),
            sep=self.separator,
            header=None,
            names=list(range(len(self._header))),
            index_col=False,
            dtype=object,
            keep_default_na=False,
            na_filter=False,
            skip_blank_lines=False,
        )
        header = self._header
        cells = zip(*(frame[index].tolist() for index in frame.columns), strict=True)
        for number, values in zip(block.numbers, cells, strict=True):
            yield Row(number, dict(zip(header, values, strict=True)))


def _line(entry: Row | Problem) -> int:
    return entry.number if isinstance(entry, Row) else entry.row or 0


def _first_line(cutter: Cutter) -> str | None:
    """Return the next line with any text, without a byte order mark."""
    while (line := cutter.line()) is not None:
        line = line.removeprefix(text.BOM)
        if line.strip():
            return line
    return None


def _cells(record: str, separator: str) -> list[str]:
    return next(csv.reader(io.StringIO(record, newline=""), delimiter=separator), [])


def _score(line: str, separator: str) -> tuple[int, int]:
    """Return how well a separator fits a header: known names, then the number of columns."""
    names = [name.strip() for name in _cells(line, separator)]
    return sum(name in BY_NAME or name == ID for name in names), len(names)
