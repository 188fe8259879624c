"""Facts of a worksheet that openpyxl's read-only mode leaves out: merged cells, hidden rows, links, formulas without a value.

It is read from the sheet's own XML, a piece at a time. Rule 1: the archive is judged by the sizes it declares before a
byte of it is unpacked; zipfile unpacks no more than that. Rule 2: only plain facts are taken, with patterns that stay
within one tag; whatever is not understood is left to openpyxl. Rule 3: openpyxl holds a row, the styles and the shared
texts whole, so each of them has a limit.
"""

from __future__ import annotations

import html
import re
import zipfile
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

MAX_UNPACKED = 256 << 20
MAX_PART = 64 << 20  # of a part that is not a worksheet
MAX_STYLES = 8 << 20
MAX_ROW = 4 << 20
MAX_REST = 16 << 20  # bytes below the rows
MOST_MERGED = 100_000
MOST_LINKED = 100_000
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
_LINKED = re.compile(rb"<(?:\w+:)?hyperlink\s([^<>]*)>")
_LINK_ID = re.compile(rb"\b\w+:id=\"([^\"]*)\"")
_REFERENCE = re.compile(rb"\bref=\"([A-Z]{1,3})([0-9]{1,7})(?::\1([0-9]{1,7}))?\"")
_RELATION = re.compile(rb"<(?:\w+:)?Relationship\s([^<>]*)>")
_RELATION_ID = re.compile(rb"\bId=\"([^\"]*)\"")
_TARGET = re.compile(rb"\bTarget=\"([^\"]*)\"")
_LINK_FORMULA = re.compile(
    rb"<(?:\w+:)?c(\s[^<>]*)>\s*<(?:\w+:)?f(?:\s[^<>]*)?>\s*HYPERLINK\(\s*"
    rb"(?:\"|&quot;)([^\"<>]*?)(?:\"|&quot;)\s*[,)]"
)
_TEXT = re.compile(rb"\bt=\"str\"")  # its value may well be an empty text


@dataclass(slots=True)
class Scan:
    """`merged` are (first cell, last cell); `hidden` the numbers of hidden rows, from 1.

    `valueless` are the cells of formulas that have no value, "" for unplaced ones; `links` says where cells link to.
    """

    merged: list[tuple[str, str]] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    valueless: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)


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
        _add_links(found, piece, lambda: _relations(path, part))
        if b"f" not in piece:
            continue
        for cell in _VALUELESS.finditer(piece):
            attributes = cell[1] or b""
            if not _TEXT.search(attributes):
                coordinate = _COORDINATE.search(attributes)
                found.valueless.add(coordinate[1].decode() if coordinate else "")
    return found


def _add_links(found: Scan, piece: bytes, relations: Callable[[], Mapping[bytes, str]]) -> None:
    """Add the cells with a link in a piece of a sheet; `relations` gives the links by their ids."""
    if b"HYPERLINK(" in piece:
        for cell in _LINK_FORMULA.finditer(piece):
            if coordinate := _COORDINATE.search(cell[1]):
                found.links[coordinate[1].decode()] = _unescaped(cell[2])
    if b"hyperlink" not in piece:
        return
    targets = relations()
    for link in _LINKED.finditer(piece):
        cells, key = _REFERENCE.search(link[1]), _LINK_ID.search(link[1])
        if cells is None or key is None or key[1] not in targets:
            continue
        first, last = int(cells[2]), int(cells[3] or cells[2])
        for row in range(first, min(last + 1, first + MOST_LINKED - len(found.links))):
            found.links[f"{cells[1].decode()}{row}"] = targets[key[1]]


def _relations(path: Path, part: str) -> dict[bytes, str]:
    """Return the targets of a worksheet's relations by their ids."""
    folder, _, name = part.rpartition("/")
    with zipfile.ZipFile(path) as archive:
        try:
            with archive.open(f"{folder}/_rels/{name}.rels") as stream:
                data = stream.read(MAX_REST)
        except KeyError:
            return {}
    found: dict[bytes, str] = {}
    for relation in _RELATION.finditer(data):
        key, target = _RELATION_ID.search(relation[1]), _TARGET.search(relation[1])
        if key and target:
            found[key[1]] = _unescaped(target[1])
    return found


def _unescaped(text: bytes) -> str:
    return html.unescape(text.decode("utf-8", "replace"))


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
