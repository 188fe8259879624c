"""Facts of a worksheet that openpyxl's quick, read-only mode leaves out: merged cells, hidden rows, formulas without a value.

It is read from the sheet's own XML, a piece at a time. Rule 1: the archive is judged by the sizes it declares before a
byte of it is unpacked; zipfile unpacks no more than that. Rule 2: only plain facts are taken, with patterns that stay
within one tag; whatever is not understood is left to openpyxl. Rule 3: openpyxl holds a row, the styles and the shared
texts whole, so each of them has a limit.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_UNPACKED = 256 << 20
MAX_PART = 64 << 20  # of a part that is not a worksheet
MAX_STYLES = 8 << 20
MAX_ROW = 4 << 20
MAX_REST = 16 << 20  # bytes below the rows
MOST_MERGED = 100_000
STYLES = "xl/styles.xml"
WORKSHEETS = "xl/worksheets/"
PIECE = 1 << 20
LONGEST_END = 64
_ROW_END = re.compile(rb"</(?:\w+:)?row>")
_ROWS_END = re.compile(rb"</(?:\w+:)?sheetData>")
_ROW = re.compile(rb"<(?:\w+:)?row(\s[^<>]*)?>")
_HIDDEN = re.compile(rb"\bhidden=\"(?:1|true)\"")
_NUMBER = re.compile(rb"\br=\"([0-9]{1,9})\"")
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^<>]*?\bref=\"([A-Z]+[0-9]+):([A-Z]+[0-9]+)\"")
_VALUELESS = re.compile(
    rb"<(?:\w+:)?c(\s[^<>]*)?>\s*"
    rb"<(?:\w+:)?f(?:\s[^<>]*)?(?:/>|>[^<]*</(?:\w+:)?f>)\s*"
    rb"(?:<(?:\w+:)?v\s*(?:/>|>\s*</(?:\w+:)?v>)\s*)?</(?:\w+:)?c>"
)
_COORDINATE = re.compile(rb"\br=\"([A-Z]+[0-9]+)\"")
_TEXT = re.compile(rb"\bt=\"str\"")  # its value may well be an empty text


@dataclass(slots=True)
class Scan:
    """`merged` are (first cell, last cell); `hidden` the numbers of hidden rows, from 1.

    `valueless` are the cells of formulas that have no value, "" for unplaced ones.
    """

    merged: list[tuple[str, str]] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    valueless: set[str] = field(default_factory=set)


class TooLarge(ValueError):
    """Part of a workbook is larger than any that a person fills; the text says which."""


def check_sizes(path: Path) -> None:
    """Raise TooLarge where a workbook's parts unpack to too much, by its own word; raises zipfile.BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        sizes = {part.filename: part.file_size for part in archive.infolist()}
        total = sum(part.file_size for part in archive.infolist())
    if total > MAX_UNPACKED:
        raise TooLarge(f"unpacks to more than {MAX_UNPACKED >> 20} MiB")
    for name, size in sizes.items():
        limit = MAX_STYLES if name == STYLES else MAX_PART
        if size > limit and name.endswith(".xml") and not name.startswith(WORKSHEETS):
            raise TooLarge(f"has a part {name} of more than {limit >> 20} MiB")


def scan(path: Path, part: str) -> Scan:
    """Return what the worksheet at `part` of a workbook says of itself; raises TooLarge."""
    found = Scan()
    row = 0
    for piece in _pieces(path, part):
        for tag in _ROW.finditer(piece):
            number = _NUMBER.search(tag[1] or b"")
            row = int(number[1]) if number else row + 1
            if _HIDDEN.search(tag[1] or b""):
                found.hidden.add(row)
        merged = islice(_MERGED.finditer(piece), MOST_MERGED - len(found.merged))
        found.merged += [(cells[1].decode(), cells[2].decode()) for cells in merged]
        if b"f" not in piece:
            continue
        for cell in _VALUELESS.finditer(piece):
            attributes = cell[1] or b""
            if not _TEXT.search(attributes):
                coordinate = _COORDINATE.search(attributes)
                found.valueless.add(coordinate[1].decode() if coordinate else "")
    return found


def check_top(path: Path, part: str, rows: int) -> None:
    """Raise TooLarge where one of the first rows of the worksheet at `part` is larger than any that a person fills."""
    seen = 0
    for piece in _pieces(path, part):
        seen += len(_ROW_END.findall(piece))
        if seen > rows:
            return


def _pieces(path: Path, part: str) -> Iterator[bytes]:
    """Yield the worksheet's XML in pieces that end with a row, the last one with the file."""
    held = bytearray()
    with zipfile.ZipFile(path) as archive, archive.open(part) as stream:
        while data := stream.read(PIECE):
            start = max(len(held) - LONGEST_END, 0)  # the end of a row may be cut in two
            held += data
            ends = [match.end() for match in _ROW_END.finditer(held, start)]
            if ends:
                yield bytes(held[: ends[-1]])
                del held[: ends[-1]]
            if len(held) > MAX_ROW and not _ROWS_END.search(held):
                raise TooLarge(f"has a row of more than {MAX_ROW >> 20} MiB")
            if len(held) > MAX_REST:
                raise TooLarge(f"has more than {MAX_REST >> 20} MiB below the last row")
    yield bytes(held)
