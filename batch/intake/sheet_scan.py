"""What openpyxl's quick, read-only way does not tell of a worksheet: merged cells, hidden rows, formulas without a value.

It is read from the sheet's own XML, a piece at a time. Rule 1: the archive is judged by the sizes it declares before a
byte of it is unpacked; zipfile unpacks no more than that. Rule 2: only plain facts are taken, with patterns that stay
within one row; whatever is not understood is left to openpyxl.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_UNPACKED = 256 << 20
PIECE = 1 << 20
LONGEST_END = 64
_ROW_END = re.compile(rb"</(?:\w+:)?row>")
_HIDDEN = re.compile(rb"<(?:\w+:)?row\s[^>]*?\bhidden=\"(?:1|true)\"")
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?\bref=\"([A-Z]+[0-9]+):([A-Z]+[0-9]+)\"")
_VALUELESS = re.compile(
    rb"<(?:\w+:)?c(\s[^>]*)?>\s*"
    rb"<(?:\w+:)?f(?:\s[^>]*)?(?:/>|>[^<]*</(?:\w+:)?f>)\s*"
    rb"(?:<(?:\w+:)?v\s*(?:/>|>\s*</(?:\w+:)?v>)\s*)?</(?:\w+:)?c>"
)
_PLACE = re.compile(rb"\br=\"([A-Z]+[0-9]+)\"")
_TEXT = re.compile(rb"\bt=\"str\"")  # its value may well be an empty text


@dataclass(slots=True)
class Scan:
    """`merged` are (first cell, last cell); `valueless` the cells of formulas that have no value, "" for unplaced ones."""

    merged: list[tuple[str, str]] = field(default_factory=list)
    hidden_rows: int = 0
    valueless: set[str] = field(default_factory=set)


def unpacked_size(path: Path) -> int:
    """Return the bytes that a workbook's parts unpack to, by its own word; raises zipfile.BadZipFile."""
    with zipfile.ZipFile(path) as archive:
        return sum(part.file_size for part in archive.infolist())


def scan(path: Path, part: str) -> Scan:
    """Return what the worksheet at `part` of a workbook says of itself."""
    found = Scan()
    for piece in _pieces(path, part):
        found.hidden_rows += sum(1 for _ in _HIDDEN.finditer(piece))
        found.merged += [(first.decode(), last.decode()) for first, last in _MERGED.findall(piece)]
        if b"f" not in piece:
            continue
        for cell in _VALUELESS.finditer(piece):
            attributes = cell[1] or b""
            if not _TEXT.search(attributes):
                place = _PLACE.search(attributes)
                found.valueless.add(place[1].decode() if place else "")
    return found


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
    yield bytes(held)
