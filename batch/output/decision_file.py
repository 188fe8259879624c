"""decisions.csv: what people decided, a line a row, for a spreadsheet; and such a file, perhaps edited, read back.

Rule 1: a line that says what holds, or what held when the file was written, is not an edit. Rule 2: an edited line counts
only for the image that it names, and only where nobody decided since. Rule 3: decisions.csv is not written over while it has
edits that were not taken in: it is texbatch's own as long as it is what texbatch wrote last, by its hash.

The ids are under the manifest's heading for them, or under `id`. Lines are read as a spreadsheet may leave them: semicolons, tabs, UTF-16, a byte order mark, any line ends, escaped
formulas, capitals. Other columns are ignored, so a whole report.csv is such a file too.
"""

from __future__ import annotations

import codecs
import hashlib
from dataclasses import dataclass
from operator import attrgetter
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from batch.core.config import Reading
from batch.core.csv_format import OWN_PREFIX, csv_lines, escape_formula, unescape_formula
from batch.core.errors import ManifestError
from batch.core.models import Problem
from batch.ledger import decisions
from batch.ledger.decisions import REASONS, Decision, ShownDecision
from batch.ledger.image_index import UNREADABLE
from batch.manifest.columns import ID, spelt
from batch.manifest.headings import NOTHING_KNOWN, FolderHeadings, Headings
from batch.manifest.readers.base import NONE_SAID
from batch.manifest.readers.csv_reader import CsvManifest
from batch.output.known_headings import headings_beside, known_headings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from hashlib import _Hash as Digest
    from pathlib import Path
    from typing import BinaryIO

    from batch.ledger.decisions import JudgedRow
    from batch.ledger.ledger import Ledger
    from batch.ledger.totals import ReportRow
    from batch.output.folder import OutputFolder

SHOWN_COLUMNS = ("decision", "decision_reason", "decision_note", "decided_by", "decided_at")
COLUMNS = ("id", *SHOWN_COLUMNS, "output_sha256")
"""The columns of decisions.csv; the user's heading is above the ids."""

_LONGEST_HEADER = 1 << 16

WINDOWS = "cp1252"
"""The encoding in which a spreadsheet saves a plain CSV file on most machines with Windows."""

_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NO_COLUMN = "there is no column {}."
_NEEDED = "A list of decisions has the columns id and decision."


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """A line that says something about a row, as read: None for a column that the file does not have."""

    number: int
    id: str
    decision: Decision
    reason: str | None
    note: str | None
    by: str | None
    at: str | None
    sha256: str | None


class Edit(NamedTuple):
    """What an edited line asks for; `by` None where the line does not say who decided."""

    decision: Decision
    reason: str
    note: str
    by: str | None


class NotApplied(NamedTuple):
    """An edited line that is left out, and why."""

    line: DecisionLine
    why: str


@dataclass(frozen=True, slots=True)
class DecisionList:
    """The lines of a file that say something, in its order."""

    path: Path
    lines: tuple[DecisionLine, ...]
    id_heading: str = ID

    def problem(self, line: DecisionLine, reason: str, remedy: str) -> Problem:
        """Return what is wrong with the id of a line."""
        return Problem(str(self.path), line.number, self.id_heading, reason, remedy)


class _DecisionTable(CsvManifest):
    """A CSV file of decisions, or a report: its cells as they are, whatever other columns it has.

    Its id is in the column `id`, in any spelling, or in the one that the folder knows as the id.
    """

    def __init__(self, path: Path, encoding: str | None, known: FolderHeadings) -> None:
        super().__init__(path, Reading(encoding=encoding), known=known)
        self.is_report, self.texbatch_own = self.texbatch_own, False
        self.columns = self._headings.names

    def _take_headings(self, written: Sequence[str], said: Mapping[str, str] = NONE_SAID) -> None:  # noqa: ARG002
        ids = [written.index(ID)] if ID in written else self._ids_among(written)
        names = [ID if [index] == ids[:1] else heading for index, heading in enumerate(written)]
        self._headings = Headings(tuple(names), {ID: written[ids[0]]} if ids else {})

    def _ids_among(self, written: Sequence[str]) -> list[int]:
        """Return the places of the headings that can be the id, the likeliest first."""
        known = {heading for heading, meaning in self._known.meanings.items() if meaning == ID}
        plain = [unescape_formula(heading) for heading in written]
        return [index for index, heading in enumerate(plain) if heading in known] + [
            index for index, heading in enumerate(plain) if spelt(heading) == ID
        ]

    def _misspelt(self) -> Iterator[Problem]:
        yield from ()  # any other columns are welcome

    def _header_problems(self) -> Iterator[Problem]:
        for name in {*COLUMNS, *map(_prefixed, COLUMNS)}:
            if self._header.count(name) > 1:
                yield Problem(self._file, self.header_line, name, "is there twice.", "Remove one of the two.")
        for name in ("id", "decision"):
            if name not in self._headings.names:
                yield Problem(self._file, self.header_line, None, _NO_COLUMN.format(name), _NEEDED)


def read_decisions(
    path: Path, encoding: str | None = None, known: FolderHeadings = NOTHING_KNOWN
) -> DecisionList:
    """Read the decisions of a file; raises ManifestError with every problem of its columns and lines.

    `known` is what the folder remembers of headings. Lines without a decision say nothing. The encoding is UTF-8, or UTF-16 with a byte order mark, unless it is named.
    """
    table = _DecisionTable(path, encoding or _encoding_of(path), known)
    # A manifest's own column of such a name keeps it; ours is then prefixed.
    wanted = (*COLUMNS, "output_state")
    places = {name: _prefixed(name) if _prefixed(name) in table.columns else name for name in wanted}
    read = set(map(table.heading, places.values()))
    lines: list[DecisionLine] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for row in table.rows():
        if isinstance(row, Problem):
            problems.append(row)
            continue
        if row.problems:
            problems += row.problems
            continue
        bad = [problem for problem in row.unless_paid if problem.column in read]
        line, found = _line(row.number, row.cells, places, str(path), in_report=table.is_report)
        if line is None and not found:
            continue
        problems += (*bad, *found)
        if line is not None and line.id in seen:
            reason = f"{line.id} is on line {seen[line.id]} already."
            remedy = "Leave one line for each row."
            problems.append(Problem(str(path), row.number, table.heading(ID), reason, remedy))
        elif line is not None:
            seen[line.id] = row.number
            lines.append(line)
    if any(not problem.warning for problem in problems):
        raise ManifestError(sorted(problems, key=attrgetter("warning")))
    return DecisionList(path, tuple(lines), table.heading(ID))


def _prefixed(name: str) -> str:
    return OWN_PREFIX + name


def _line(
    number: int, cells: Mapping[str, str], places: Mapping[str, str], file: str, *, in_report: bool
) -> tuple[DecisionLine | None, list[Problem]]:
    """Return what a line says, None where it says nothing; and what is wrong with it."""
    said = {name: _text(cells[place]) if place in cells else None for name, place in places.items()}
    word, reason = (said["decision"] or "").lower(), said["decision_reason"]
    if not word:
        return None, []
    problems = []
    if word not in tuple(Decision):
        remedy = f"Write {', '.join(Decision)}, or leave it empty."
        problems.append(Problem(file, number, places["decision"], f"{word!r} is not a decision.", remedy))
    if reason and reason.lower() not in REASONS:
        remedy = f"Known are {', '.join(REASONS)}."
        column = places["decision_reason"]
        problems.append(Problem(file, number, column, f"{reason!r} is not a reason.", remedy))
    row_id = said["id"] or ""
    if not row_id:
        problems.append(Problem(file, number, "id", "is empty.", "Say which row is meant."))
    if problems:
        return None, problems
    if in_report:  # a report is a manifest, whose ids are templates
        row_id = row_id.replace("{{", "{").replace("}}", "}")
    # A report has the hash of the image as it was saved, also where it says that the file was changed since.
    of_saved_image = in_report and said["output_state"] == "changed"
    line = DecisionLine(
        number,
        row_id,
        Decision(word),
        reason and reason.lower(),
        said["decision_note"],
        said["decided_by"],
        said["decided_at"],
        None if of_saved_image else (said["output_sha256"] or "").lower() or None,
    )
    return line, []


def _text(cell: str) -> str:
    """Return a cell without what a spreadsheet adds to it."""
    return "\n".join(unescape_formula(cell.strip()).splitlines()).strip()


# -- a line against what holds -----------------------------------------------------------------------------------------


def edit_of(ledger: Ledger, line: DecisionLine, row: JudgedRow) -> Edit | str | None:
    """Return what an edited line asks for, why it is not applied, or None where it was not edited."""
    before = _before(ledger, line, row)
    if before is None:
        return None
    if why := _why_not(line, row, before):
        return why
    if line.decision == Decision.CLEARED and row.shown.decision in {"", Decision.CLEARED}:
        return None  # nothing is decided of the present image
    reason = line.reason or "" if line.decision == Decision.REJECTED else ""
    of_another_image = not before.by and line.note == before.note
    by = line.by if line.by and line.by != before.by else None
    return Edit(line.decision, reason, "" if of_another_image else line.note or "", by)


def _before(ledger: Ledger, line: DecisionLine, row: JudgedRow) -> ShownDecision | None:
    """Return what an edited line said before somebody edited it, None where nobody did: it says what held once."""
    now = row.shown
    if _says(line, now):
        return None
    if line.at == now.at or (line.at is None and line.sha256 is None):  # or a list that somebody wrote
        return now
    history = decisions.earlier(ledger, row.row)
    if line.at in history or line.at == "":  # the file is older than what was decided last
        before = history.get(line.at, ShownDecision())
        if not line.at and line.decision == Decision.CLEARED:
            return None  # as texbatch writes it of an image that nobody decided about
        return None if _says(line, before) else before
    # The time is lost, or a spreadsheet wrote it otherwise: where there are several, nobody knows which it was.
    return now if len(history) < 2 else ShownDecision()


def _why_not(line: DecisionLine, row: JudgedRow, before: ShownDecision) -> str | None:
    """Return why an edited line is not applied, None where it can be."""
    now = row.shown
    if before != now and now.by:
        return f"{now.by} has {now.decision} it since ({now.at})"
    if not row.listed:
        return "it is not in the manifest any more"
    if row.image is None:
        return f"it has no image: it is {row.status}"
    if row.image == UNREADABLE:
        return "its image was changed and cannot be read"
    if line.sha256 is not None and line.sha256 != row.image:
        return "it has another image now"
    if line.reason and line.decision != Decision.REJECTED and line.reason != before.reason:
        return f"a reason is for a rejection only, and it is {line.decision}"
    return None


def _says(line: DecisionLine, shown: ShownDecision) -> bool:
    """Return whether a line says what is shown, as far as it says anything."""
    pairs = (
        (line.decision, shown.decision),
        (line.reason, shown.reason),
        (line.note, _text(shown.note)),
        (line.by, _text(shown.by)),
    )
    return all(said is None or said == known for said, known in pairs)


# -- the folder's own file ---------------------------------------------------------------------------------------------


def decision_columns(id_heading: str) -> list[str]:
    """Return what is written above the columns of decisions.csv; the manifest may call its ids like one of the others."""
    return [ID if id_heading in COLUMNS else id_heading, *COLUMNS[1:]]


def write_decisions(file: BinaryIO, rows: Iterable[ReportRow], digest: Digest) -> None:
    """Write a line for each of these rows that was ever decided about, into the hash of the file too."""
    data = csv_lines([_cells(row) for row in rows if row.decision.decision])
    digest.update(data)
    file.write(data)


def _cells(row: ReportRow) -> list[str]:
    """Return a row's cells in decisions.csv."""
    shown = row.decision
    cells = (row.id, shown.decision, shown.reason, shown.note, shown.by, shown.at, row.image or "")
    return [escape_formula(cell) for cell in cells]


def is_edited(ledger: Ledger, folder: OutputFolder) -> bool:
    """Return whether decisions.csv has edits that were not taken in, as far as it is not what texbatch wrote last.

    Call it after the images were checked.
    """
    if not folder.decisions.exists() or hash_of(folder.decisions) in decisions.written_files(ledger):
        return False
    try:
        listed = read_decisions(folder.decisions, known=known_headings(ledger))
    except ManifestError:
        return not _has_header_alone(folder.decisions)
    rows = decisions.judged_rows(ledger, [line.id for line in listed.lines])
    return any(line.id not in rows or edit_of(ledger, line, rows[line.id]) for line in listed.lines)


def _has_header_alone(path: Path) -> bool:
    """Return whether a file has no line below the headings of a list of decisions: nobody can have edited one."""
    try:
        with path.open("rb") as file:
            header, *lines = file.read(_LONGEST_HEADER).splitlines() or [b""]
    except OSError:  # what cannot be read is left as it is
        return False
    return not any(map(bytes.strip, lines)) and all(name.encode() in header for name in COLUMNS[1:])


def hash_of(path: Path) -> str | None:
    """Return the hash of a file, None where there is none that can be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def edited_notice(folder: OutputFolder) -> str:
    """Return what to say of a decisions.csv that was not written over: it was edited, or is not a list of decisions."""
    path, name, encoding = folder.decisions, quote(str(folder.path)), ""
    known = headings_beside(path)
    try:
        _DecisionTable(path, _encoding_of(path), known)
    except ManifestError:
        if not _is_list(path, WINDOWS, known):
            return f"{path} is not a list of decisions, and was left as it is. Move it away; then: texbatch report {name}"
        encoding = f" --encoding {WINDOWS}"
    return (
        f"{path} was edited: texbatch mark {name}{encoding} takes the edits in; to drop them, delete the file, then: "
        f"texbatch report {name}"
    )


def _is_list(path: Path, encoding: str, known: FolderHeadings) -> bool:
    """Return whether a file is a list of decisions when it is read in this encoding."""
    try:
        _DecisionTable(path, encoding, known)
    except ManifestError:
        return False
    return True


def _encoding_of(path: Path) -> str | None:
    """Return utf-16 for a file with its byte order mark, None for any other."""
    try:
        with path.open("rb") as file:
            return "utf-16" if file.read(2) in _BOMS else None
    except OSError:
        return None
