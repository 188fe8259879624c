"""The base of every reader: opening a file of unknown making, its columns, and rows read as a stream.

Rule 1: UTF-8 with or without BOM, and UTF-16 with one, are read as they are; any other encoding must be named
(`--encoding`), never guessed: a
wrong guess is a wrong prompt that costs money. A byte that does not decode is reported with its line as an editor counts
it. Rule 2: all problems of the columns are reported together, when the file is opened; warnings about them come before
the first row. Rule 3: texbatch's own reports are read back as the rows they were made of. Rule 4: a row with a control
character in a cell is refused, unless it was paid for: an earlier version sent such rows.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from functools import partial
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from batch.core.csv_format import bad_character, unsendable
from batch.core.errors import ManifestError
from batch.core.models import Issue, Problem, Row
from batch.manifest.columns import MAX_COLUMNS, is_own
from batch.manifest.headings import NOTHING_KNOWN, FolderHeadings, Headings, find_headings, misspelt
from batch.manifest.naming import shown
from batch.manifest.problems import did_you_mean
from batch.manifest.readers import own_report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TextIO

    from batch.core.config import Reading

BOM = "\ufeff"
DEFAULT = "utf-8-sig"
SAVE_AS_UTF8 = 'Save it as "CSV UTF-8", or name its encoding with --encoding (from Excel often cp1252).'
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ZIP = b"PK\x03\x04"
_HEAD = 512
NONE_SAID: Mapping[str, str] = MappingProxyType({})
MAX_RECORD = 1 << 20
"""Characters of a line, and of a record of several lines: one that never ends is not held."""


class StreamingManifest(ABC):
    """An open manifest: its columns are known, each call of `rows` reads the file again.

    A reader of text, as `is_text` says, takes an encoding; one that `has_sheets` takes the name of a sheet. `has_globs`: its
    rows depend on more than the file's own bytes.
    """

    suffixes: tuple[str, ...]
    is_text = True
    has_sheets = False
    has_globs = False
    tabular = True
    header_line: int | None = None
    sheet = ""

    def __init__(
        self,
        path: Path,
        reading: Reading,
        out: Path | None = None,
        known: FolderHeadings = NOTHING_KNOWN,
    ) -> None:
        """Open a file; raise ManifestError with all problems of its columns, and with the warnings after them.

        `out` is the output folder of this run, whose images no glob yields; `known` what that remembers of headings.
        """
        check_readable(path)
        self.path = path
        self.defaults: Mapping[str, str] = {}
        self._file = str(path)
        self._reading = reading
        self._encoding = reading.encoding
        self._codec = DEFAULT
        self._out = out
        self._known = known
        self._headings = Headings(())
        try:
            found = self._open()
        except UnicodeError:
            raise ManifestError([undecodable(path, self._codec)]) from None
        names = self._headings.names
        found = [*found]
        resembling = [*self._misspelt()] if self.tabular else []
        if not all(problem.warning for problem in found):
            raise ManifestError(sorted([*found, *resembling], key=attrgetter("warning")))
        # A misspelt column hides no row's problem: all are reported together.
        self._first = sorted([*found, *resembling], key=attrgetter("warning"))
        self.texbatch_own = is_own(names)
        self.columns = own_report.restored_names(names) if self.texbatch_own else names
        if self.texbatch_own and (issue := own_report.lost_id(names, reading.columns, known)):
            # Beside the problem of a required column, which has the same reason.
            self._first.append(Problem(self._file, self.header_line, None, issue.reason, issue.remedy))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._file} with {len(self.columns)} columns>"

    def heading(self, name: str) -> str:
        """Return what the file calls a column; the name itself where no heading is it."""
        return self._headings.heading(name)

    def note(self, number: int, column: str) -> str:  # noqa: ARG002  for formats that name a cell
        """Return "": a row's number says where it is."""
        return ""

    def rows(self) -> Iterator[Row | Problem]:
        """Yield what is left to say about the columns, then every row and problem in the order of the file.

        A problem of one row is in `Row.problems`; one that is yielded concerns the file, or ends the reading. A bad character
        in a cell is a problem, which a row that was paid for is forgiven.
        """
        yield from self._first
        try:
            for read in self._rows():
                entry = read
                if isinstance(read, Row) and bad_character("".join(read.cells.values())):
                    entry = self._with_problems(read)
                yield own_report.restored(entry, self._file) if self.texbatch_own else entry
        except UnicodeError:
            yield undecodable(self.path, self._codec)

    def _misspelt(self) -> Iterator[Problem]:
        """Yield the columns whose headings resemble a parameter's name."""
        names = [name for name in self._headings.names[:MAX_COLUMNS] if not bad_character(name)]
        for heading, issue, warning in misspelt(names, self._headings):
            line = self._line_of(heading)
            yield Problem(self._file, line, heading, issue.reason, issue.remedy, warning)

    def _line_of(self, heading: str) -> int | None:  # noqa: ARG002  for formats whose rows name their columns
        """Return the line that names a column."""
        return self.header_line

    @abstractmethod
    def _open(self) -> Iterable[Problem]:
        """Take in the headings; return all problems and warnings that are found before the first row.

        Raises ManifestError where there are no columns to speak of.
        """

    def _take_headings(self, written: Sequence[str], said: Mapping[str, str] = NONE_SAID) -> None:
        """Find which of the headings is which parameter; `said` is a mapping in the file, which options go before."""
        mapping = {**said, **self._reading.columns}
        if is_own(written):
            self._headings = own_report.headings(tuple(written), mapping, self._known)
        else:
            self._headings = find_headings(written, mapping, self._known)

    @abstractmethod
    def _rows(self) -> Iterator[Row | Problem]:
        """Yield every row in the order of the file, and every problem that is not of one row alone."""

    def _row_of(self, number: int, values: Iterable[tuple[str, str | Issue | None]]) -> Iterator[Row]:
        """Yield the row of these values by column, with what is wrong with them; nothing for a row that gives nothing."""
        cells: dict[str, str] = {}
        problems: list[Problem] = []
        for name, value in values:
            if isinstance(value, Issue):
                column = self.heading(name) or None
                problems.append(Problem(self._file, number, column, value.reason, value.remedy))
            elif value is not None:
                cells[name] = value
        if problems or any(cells.values()):
            yield Row(number, cells, problems=tuple(problems))

    def _with_problems(self, row: Row) -> Row:
        """Return a row that is forgiven the bad characters in its cells where it was paid for.

        One with half a character never was, since it cannot be sent.
        """
        problems = [
            Problem(
                self._file,
                row.number,
                self.heading(name),
                self.note(row.number, name) + issue.reason,
                issue.remedy,
            )
            for name, cell in row.cells.items()
            if (issue := bad_character(cell))
        ]
        if row.problems or any(unsendable(cell.replace("\0", "")) for cell in row.cells.values()):
            bad = {problem.column for problem in problems}
            cells = {name: "" if name in bad else cell for name, cell in row.cells.items()}
            return Row(row.number, cells, problems=(*row.problems, *row.unless_paid, *problems))
        return row._replace(unless_paid=(*row.unless_paid, *problems))


def numbered_lines(stream: TextIO) -> Iterator[tuple[int, str]]:
    """Return an iterator over the lines with their numbers; one of more than MAX_RECORD characters is cut there."""
    return enumerate(iter(partial(stream.readline, MAX_RECORD + 1), ""), start=1)


def refuse(path: Path, row: int | None, reason: str, remedy: str, column: str | None = None) -> NoReturn:
    """Raise the ManifestError of one problem."""
    raise ManifestError([Problem(str(path), row, column, reason, remedy)])


def check_readable(path: Path) -> None:
    """Raise ManifestError unless `path` is a file that can be read."""
    try:
        if path.is_dir():
            refuse(path, None, "is a folder.", "Name the manifest file inside it.")
        if path.exists() and not path.is_file():
            refuse(path, None, "is not a regular file.", "Write the manifest to a file: it is read twice.")
        with path.open("rb"):
            return
    except FileNotFoundError:
        refuse(path, None, "does not exist.", _similar(path) or "Check the path.")
    except OSError as error:
        refuse(path, None, f"cannot be read ({error.strerror}).", "Check its permissions.")


def _similar(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent} either: check the path."
    return did_you_mean(path.name, [shown(entry.name) for entry in path.parent.iterdir()])


def codec_of(path: Path, encoding: str | None) -> str:
    """Return the codec to read a file with: UTF-8, or UTF-16 where the file begins with its mark.

    Raises ManifestError when it is visibly neither.
    """
    if encoding is not None:
        try:
            name = codecs.lookup(encoding).name
            "".encode(name)  # codecs such as base64 are not text encodings
        except LookupError:
            refuse(path, None, f"the encoding {encoding!r} is not known.", "Try utf-8, utf-16 or cp1252.")
        return DEFAULT if name == "utf-8" else name
    with path.open("rb") as file:
        head = file.read(_HEAD)
    for bom, name in _UTF16.items():
        if head.startswith(bom):
            return name
    if head.startswith(_ZIP):
        reason = "is a ZIP archive, perhaps an Excel workbook, not text."
        refuse(path, None, reason, 'Save it as "CSV UTF-8".')
    if b"\0" in head:
        order = "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
        line = head[: head.index(b"\0")].count(b"\n") + 1
        reason = "there are NUL bytes: the file is UTF-16 or not text at all."
        refuse(path, line, reason, f"Save it as UTF-8, or add --encoding {order}.")
    return DEFAULT


def undecodable(path: Path, codec: str) -> Problem:
    """Return the problem of a file that failed to decode, with the first line that does not."""
    line = _first_bad_line(path, codec)
    name = "UTF-8" if codec == DEFAULT else codec
    remedy = SAVE_AS_UTF8 if codec == DEFAULT else f"The file is not {name}: name its real --encoding."
    return Problem(str(path), line, None, f"there are bytes that are not {name}.", remedy)


def _first_bad_line(path: Path, codec: str) -> int:
    """Decode step by step, one physical line of bytes at a time."""
    decoder = codecs.getincrementaldecoder(codec)()
    number = 1
    with path.open("rb") as file:
        # Split at the byte LF, in UTF-16 perhaps half a letter: lines are counted in the text.
        for raw in file:
            try:
                text = decoder.decode(raw)
            except UnicodeDecodeError as error:
                before = raw[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
                return number + before.count(b"\n")
            number += text.count("\n") + text.replace("\r\n", "").count("\r")
    return number  # the last line ends within a letter
