"""Write down what a person decides of images: `texbatch mark`. Nothing is sent, and no image is touched.

A decision is one append to the ledger, even while a run holds the folder, and each is about the image that its row has at
that moment. All that is asked for is checked first: with one problem nothing is written. Then the reports are written again,
unless a run holds the folder, which does that at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batch.core.csv_format import bad_character
from batch.core.errors import DecisionsRefused, FolderError, FolderLocked, ManifestError
from batch.core.models import Problem
from batch.ledger import connection, decisions
from batch.ledger.decisions import Decision, NewDecision
from batch.ledger.image_index import UNREADABLE
from batch.ledger.ledger import Ledger
from batch.output.decision_file import Edit, NotApplied, edit_of, hash_of, is_edited, read_decisions
from batch.output.folder import OutputFolder
from batch.output.images import check_images
from batch.output.known_headings import known_headings
from batch.output.reports import write_current
from batch.planning.validate import NO_SUCH_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batch.ledger.decisions import JudgedRow
    from batch.output.decision_file import DecisionLine, DecisionList

FREE_WITHIN_S = 1.0
"""How long another command may go on to hold the folder before it is left to that to write the reports."""


class Named(NamedTuple):
    """A row that is named on the command line: what is decided of it, and by which option."""

    id: str
    decision: Decision
    option: str


@dataclass(frozen=True, slots=True)
class AskedDecisions:
    """What a person asks for: rows by name, every undecided row to be accepted, or the lines of a file.

    `file` None, with nothing named: the folder's own decisions.csv. `by` is who decides; where that is None, who a file's line
    says, else `user`, the person at this machine, None where nobody knows. `encoding` is that of the file.
    """

    named: Sequence[Named] = ()
    unflagged: bool = False
    reason: str | None = None
    note: str | None = None
    by: str | None = None
    user: str | None = None
    file: Path | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Marked:
    """What became of it: the rows by decision, those that were so already, and the lines that were left out.

    `reports` says whether they were written again: else a run, or another command, does it when it ends. `edited`: the
    folder's decisions.csv has edits that were not taken in.
    """

    counts: Mapping[Decision, int]
    unchanged: int
    not_applied: Sequence[NotApplied]
    reports: bool
    edited: bool


def mark(path: Path, asked: AskedDecisions) -> Marked:
    """Write down the decisions of a person in a folder, then its reports.

    Raises DecisionsRefused with every problem, FolderError, and FolderLocked only where an older texbatch holds the folder.
    """
    folder = OutputFolder(path)
    bring_up_to_date(folder)
    with Ledger.append_to(folder.ledger) as ledger:
        marking = _Marking(ledger, folder, asked)
        marking.decide()
        try:
            reports, edited = marking.write_reports()
        except FolderError as exc:
            raise FolderError(f"The decisions are in the ledger. {exc}") from exc
        counts = {each: sum(new.decision == each for new in marking.new) for each in Decision}
        return Marked(counts, marking.unchanged, marking.not_applied, reports, edited)


def bring_up_to_date(folder: OutputFolder) -> None:
    """Give a ledger of an older texbatch today's tables; raises FolderError, and FolderLocked where a run holds the folder."""
    if connection.needs_upgrade(folder.ledger):
        with folder.hold(within_s=FREE_WITHIN_S):
            Ledger.create_or_open(folder.ledger).close()


@dataclass
class _Marking:
    """Decisions on their way into the ledger of a folder."""

    ledger: Ledger
    folder: OutputFolder
    asked: AskedDecisions
    new: list[NewDecision] = field(default_factory=list)
    unchanged: int = 0
    not_applied: list[NotApplied] = field(default_factory=list)
    taken: str | None = None
    """The hash of the folder's own decisions.csv when it was read."""

    def decide(self) -> None:
        """Append what is asked for; raises DecisionsRefused, with nothing written.

        It is worked out before the transaction, which a run may wait for, and again when somebody else decided meanwhile.
        """
        asked, ledger = self.asked, self.ledger
        problems = list(_wrong_words(asked))
        listed = None if asked.named or asked.unflagged else self._read(problems)
        named = [line.id for line in listed.lines] if listed is not None else [row.id for row in asked.named]
        # Who does not hold the folder may see a file that a run is about to replace: that is nothing to remember.
        check_images(ledger, self.folder.path, ids=None if asked.unflagged else named, remember=False)
        while True:
            known = decisions.last(ledger)
            ids = [*named, *(decisions.undecided(ledger, named) if asked.unflagged else ())]
            found = problems + self._work_out(listed, decisions.judged_rows(ledger, ids))
            if found:
                raise DecisionsRefused(found)
            with ledger.atomic():
                if decisions.last(ledger) == known:
                    decisions.append(ledger, self.new)
                    if self.taken is not None:
                        decisions.note_file(ledger, self.taken)
                    return

    def write_reports(self) -> tuple[bool, bool]:
        """Write the reports again unless another command holds the folder; return whether, and whether edits wait there."""
        if decisions.are_shown(self.ledger) and self.taken is None:
            return True, is_edited(self.ledger, self.folder)
        try:
            with self.folder.hold(within_s=FREE_WITHIN_S):
                return True, write_current(self.ledger, self.folder)
        except FolderLocked:  # another command may have written them meanwhile
            shown = decisions.are_shown(self.ledger) and self.taken is None
            return shown, is_edited(self.ledger, self.folder)

    def _read(self, problems: list[Problem]) -> DecisionList | None:
        """Read the file of decisions, the folder's own where none is named; add what is wrong with it."""
        own = self.folder.decisions
        file = own if self.asked.file is None else self.asked.file
        if own.exists() and file.exists() and file.samefile(own):
            self.taken = hash_of(own)  # before it is read: what is saved there meanwhile is not taken in
        try:
            return read_decisions(file, self.asked.encoding, known_headings(self.ledger))
        except ManifestError as exc:
            problems += exc.problems
            return None

    def _work_out(self, listed: DecisionList | None, rows: Mapping[str, JudgedRow]) -> list[Problem]:
        """Note what is asked for; return the problems."""
        self.new, self.unchanged, self.not_applied = [], 0, []
        return self._take_named(rows) if listed is None else self._take_lines(listed, rows)

    def _take_named(self, rows: Mapping[str, JudgedRow]) -> list[Problem]:
        """Note the decisions about the named rows; return the problems."""
        asked, named = self.asked, {row.id: row for row in self.asked.named}
        problems = []
        for row_id in dict.fromkeys([*named, *rows]):
            decision, option = Decision.ACCEPTED, "--accept-unflagged"
            if row_id in named:
                _, decision, option = named[row_id]
            row = rows.get(row_id)
            if row is None or not row.listed or row.image is None or row.image == UNREADABLE:
                problems.append(_cannot_be_judged(option, row_id, row))
                continue
            reason = asked.reason if decision == Decision.REJECTED else None
            self._add(row, Edit(decision, reason or "", asked.note or "", None), problems)
        for each in asked.named:
            if each.decision != named[each.id].decision:
                reason = f"is named with {named[each.id].option} too."
                problems.append(Problem(each.option, None, each.id, reason, "Give each row one decision."))
        return problems

    def _take_lines(self, listed: DecisionList, rows: Mapping[str, JudgedRow]) -> list[Problem]:
        """Note what the edited lines of a file ask for; return the problems."""
        problems: list[Problem] = []
        for line in listed.lines:
            row = rows.get(line.id)
            if row is None:
                reason = f"this folder has no row {line.id!r}."
                problems.append(listed.problem(line, reason, self._who_is_meant(line)))
                continue
            edit = edit_of(self.ledger, line, row)
            if isinstance(edit, Edit):
                self._add(row, edit, problems)
            elif edit is None:
                self.unchanged += 1
            else:
                self.not_applied.append(NotApplied(line, edit))
        return problems

    def _who_is_meant(self, line: DecisionLine) -> str:
        """Return what to do about a line whose id no row has: by its image it may be known which one is meant."""
        ids = decisions.ids_with(self.ledger, line.sha256) if line.sha256 else []
        if len(ids) != 1:
            return "Correct the id, or remove the line."
        return f"Is it {ids[0]!r}? A spreadsheet may have changed the id: read that column as text."

    def _add(self, row: JudgedRow, edit: Edit, problems: list[Problem]) -> None:
        """Note a decision unless it holds already; where nobody is known who makes it, that is a problem."""
        by = self.asked.by or edit.by or self.asked.user
        shown = row.shown
        if by is None:
            nobody = Problem(
                "--as", None, None, "this machine does not say who you are.", "Give your name: --as NAME."
            )
            problems += [] if nobody in problems else [nobody]
        elif (edit.decision, edit.reason, edit.note, by) == (
            shown.decision,
            shown.reason,
            shown.note,
            shown.by,
        ) or (edit.decision == Decision.CLEARED and shown.decision in {"", Decision.CLEARED}):
            self.unchanged += 1
        else:
            self.new.append(
                NewDecision(
                    row.row, edit.decision, edit.reason or None, edit.note or None, by, str(row.image)
                )
            )


def _wrong_words(asked: AskedDecisions) -> list[Problem]:
    """Return what is wrong with the options themselves."""
    problems = []
    for option, text in (("--note", asked.note), ("--as", asked.by)):
        if issue := bad_character(text or ""):
            problems.append(Problem(option, None, None, issue.reason, issue.remedy))
    if asked.reason is not None and not any(row.decision == Decision.REJECTED for row in asked.named):
        problems.append(
            Problem("--reason", None, None, "is for a rejection.", "Give it with --reject, or leave it out.")
        )
    if asked.note is not None and not (asked.named or asked.unflagged):
        remedy = "Write it into the column decision_note, or name rows: --accept, --reject, --clear."
        problems.append(
            Problem("--note", None, None, "the decisions of a file have their own notes.", remedy)
        )
    return problems


def _cannot_be_judged(option: str, row_id: str, row: JudgedRow | None) -> Problem:
    if row is None:
        return Problem(option, None, row_id, "this folder has no such row.", NO_SUCH_ID)
    if not row.listed:
        remedy = "Put it back into the manifest and run that first."
        return Problem(option, None, row_id, "is not in the manifest any more.", remedy)
    if row.image is None:
        return Problem(
            option, None, row_id, f"has no image: it is {row.status}.", "Only an image can be judged."
        )
    return Problem(
        option, None, row_id, "its image was changed and cannot be read.", "Make it readable for this user."
    )
