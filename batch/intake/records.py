"""Cut delimited text into records, and each block of records into text that pandas reads without surprise.

pandas splits cells well, but it pads short records silently, drops the end of long ones or stops at them, and
knows no line numbers. So this file looks first: it counts cells and lines, sets bad records aside as problems
and hands on blocks in which every record has exactly the header's number of cells.

Rule 1: a record's number is the line it starts on, as an editor counts (LF, CRLF and CR each end a line, also
inside quotes). Rule 2: a quote opens a cell only as its first character; inside, two quotes are one (RFC 4180).
Rule 3: at most one block is held; a quoted cell that never ends is cut off at MAX_RECORD characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.intake.text import SAVE_AS_UTF8
from batch.model import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK_RECORDS = 2048
BLOCK_CHARACTERS = 1 << 20
MAX_RECORD = 1 << 20
_CLOSING = re.compile(r'(?:[^"]++|"")*+"')


@dataclass(frozen=True, slots=True)
class Block:
    """Some records: their text, the line each one starts on, and the problems of those set aside."""

    text: str
    numbers: list[int]
    problems: list[Problem]


@dataclass(frozen=True, slots=True)
class Record:
    """One record as written: its first line, its text, and how many cells; None when a quote never closes."""

    number: int
    text: str
    cells: int | None


class Cutter:
    """Reads the lines of one stream in order: first single records (the header), then blocks.

    `number` is the line last read. The stream belongs to the caller.
    """

    def __init__(self, lines: Iterator[str], file: str, separator: str) -> None:
        self._lines = lines
        self._file = file
        self.number = 0
        self.split_at(separator)

    def split_at(self, separator: str) -> None:
        """Use another separator from the next record on."""
        mark = re.escape(separator)
        self._separator = separator
        begins = rf'"(?<![^{mark}]")'  # a quote right after a separator, or first of all
        self._quoted = re.compile(rf'{begins}(?:[^"]++|"")*+"')
        self._open = re.compile(begins)

    def line(self) -> str | None:
        """Return the next physical line, None at the end."""
        text = next(self._lines, None)
        if text is not None:
            self.number += 1
        return text

    def record(self, first: str) -> Record:
        """Return the record that begins with a line just read, taking more lines while a quote is open."""
        start = self.number
        gaps, inside = self._scan(first, inside=False)
        if not inside:
            return Record(start, first, gaps + 1)
        pieces = [first]
        size = len(first)
        while inside and size <= MAX_RECORD:
            text = self.line()
            if text is None:
                break
            more, inside = self._scan(text, inside=True)
            gaps += more
            size += len(text)
            pieces.append(text)
        return Record(start, "".join(pieces), None if inside else gaps + 1)

    def _scan(self, text: str, *, inside: bool) -> tuple[int, bool]:
        """Count the separators between cells in one line; tell whether it ends inside quotes."""
        if inside:
            closing = _CLOSING.match(text)
            if closing is None:
                return 0, True
            text = "x" + text[closing.end() :]  # the rest of a cell: a quote here opens nothing
        bare = self._quoted.sub("", text)
        opening = self._open.search(bare)
        if opening is None:
            return bare.count(self._separator), False
        return bare.count(self._separator, 0, opening.start()), True

    def blocks(self, width: int) -> Iterator[Block]:
        """Yield the remaining records, those with `width` cells as text, the others as problems.

        Lines without any text are skipped, also those made of separators only, which spreadsheets leave behind.
        A quote that never closes ends the stream, and so does a NUL byte: what follows cannot be trusted.
        """
        blank = self._separator + " \t\r\n"
        texts: list[str] = []
        numbers: list[int] = []
        problems: list[Problem] = []
        size = 0
        for line in self._lines:
            self.number += 1
            number, text = self.number, line
            bare = self._quoted.sub("", line) if '"' in line else line
            if '"' in bare:
                record = self.record(line)
                if record.cells is None:
                    problems.append(self._unclosed(number))
                    break
                text, cells = record.text, record.cells
            elif not line.strip(blank):
                continue
            else:
                cells = bare.count(self._separator) + 1
            if "\0" in text:
                problems.append(self._nul(number))
                break
            if cells == width:
                texts.append(text)
                numbers.append(number)
                size += len(text)
            else:
                problems.append(self._ragged(number, cells, width))
            if len(numbers) + len(problems) >= BLOCK_RECORDS or size >= BLOCK_CHARACTERS:
                yield Block("".join(texts), numbers, problems)
                texts, numbers, problems, size = [], [], [], 0
        yield Block("".join(texts), numbers, problems)

    def _ragged(self, number: int, cells: int, width: int) -> Problem:
        name = {"\t": "a tab", ",": "a comma", ";": "a semicolon"}.get(self._separator, self._separator)
        remedy = (
            f'Put text that holds {name} in double quotes ("…"), or remove the surplus.'
            if cells > width
            else "Add the missing cells: an empty cell still needs its separator."
        )
        return Problem(self._file, number, None, f"has {cells} cells, the header has {width}.", remedy)

    def _nul(self, number: int) -> Problem:
        return Problem(
            self._file,
            number,
            None,
            "there is a NUL byte: the file is damaged or no text; what follows was not read.",
            SAVE_AS_UTF8,
        )

    def _unclosed(self, number: int) -> Problem:
        return Problem(
            self._file,
            number,
            None,
            "a double quote opens a cell here and is never closed; what follows was not read.",
            'Close it, or write a quote inside quoted text twice ("").',
        )
