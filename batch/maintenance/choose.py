"""Choose which of its images a row has: `texbatch mark --choose ID=SEED`. Nothing is sent, and no image is lost.

All that is asked for is checked first: with one problem nothing is written. The choice is one append; then it is applied
at once, unless a run holds the folder, which does that at its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.core.errors import DecisionsRefused, FolderLocked
from batch.core.models import Problem
from batch.core.units import counted
from batch.ledger import choices
from batch.ledger.choices import NewChoice
from batch.ledger.ledger import Ledger
from batch.ledger.states import REPORTED, State
from batch.maintenance.mark import FREE_WITHIN_S, bring_up_to_date
from batch.output import images
from batch.output.chosen import apply_choices
from batch.output.folder import OutputFolder
from batch.output.previous import PreviousVersions
from batch.output.reports import write_current

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from batch.ledger.choices import ChoosableRow, RowImage


@dataclass(frozen=True, slots=True)
class Chosen:
    """What became of it: how many rows have another image now, or had that one already; `notes` are for a person.

    `applied` False: a run holds the folder, and applies it when it ends.
    """

    changed: int
    unchanged: int
    applied: bool
    notes: Sequence[str]


def choose(path: Path, asked: Sequence[tuple[str, int]], by: str) -> Chosen:
    """Let rows have their image of a seed: (id, seed) each; `by` says so.

    Raises DecisionsRefused with every problem, then nothing was written, and FolderError.
    """
    folder = OutputFolder(path)
    bring_up_to_date(folder)
    with Ledger.append_to(folder.ledger) as ledger:
        new, kept = _check(ledger, folder, asked, by)
        with ledger.atomic():
            choices.append(ledger, new)
        applied, notes = _apply(ledger, folder)
        return Chosen(len(new), len(kept), applied, [*notes, *_of_same_seed(kept)])


def _apply(ledger: Ledger, folder: OutputFolder) -> tuple[bool, list[str]]:
    """Apply the choices and write the reports, unless another command holds the folder; return whether, and the notes."""
    try:
        with folder.hold(within_s=FREE_WITHIN_S):
            notes = apply_choices(ledger, folder.image_store)
            write_current(ledger, folder)
            return True, notes
    except FolderLocked:
        return False, []


def _check(
    ledger: Ledger, folder: OutputFolder, asked: Sequence[tuple[str, int]], by: str
) -> tuple[list[NewChoice], list[tuple[ChoosableRow, RowImage]]]:
    """Return the choices to append, and the rows that have that image already, with it; raises DecisionsRefused."""
    problems: list[Problem] = []
    new: list[NewChoice] = []
    kept: list[tuple[ChoosableRow, RowImage]] = []
    previous = PreviousVersions(folder.image_store)
    seeds = dict(asked)
    for row_id, seed in dict.fromkeys(asked):
        if seeds[row_id] != seed:
            reason = f"is given the seeds {seed} and {seeds[row_id]}."
            problems.append(Problem("--choose", None, row_id, reason, "Choose one."))
            continue
        row = choices.choosable(ledger, row_id)
        if row is None or not row.listed:
            reason = "this folder's manifest has no such row."
            problems.append(Problem("--choose", None, row_id, reason, "Check the spelling."))
            continue
        image = row.saved(seed)
        if image is None:
            problems.append(_no_such_image(row, seed))
        elif image.job == row.job:
            kept.append((row, image))
        elif not _is_there(ledger, previous, row, image):
            reason = f"its image of seed {seed} is in no file of {folder.images} any more."
            remedy = (
                "Put the file back into images/.previous/, under any name, or choose another seed; texbatch restore "
                "brings back only images that rows have now."
            )
            problems.append(Problem("--choose", None, row_id, reason, remedy))
        else:
            new.append(NewChoice(row.row, image.job, by))
    if problems:
        raise DecisionsRefused(problems)
    return new, kept


def _of_same_seed(kept: Sequence[tuple[ChoosableRow, RowImage]]) -> Iterator[str]:
    """Yield a note on each row that keeps an image whose seed other images of the row have too."""
    for row, image in kept:
        others = sum(each.seed == image.seed and each.state == State.SAVED for each in row.images) - 1
        if others:
            yield (
                f"{row.id}: has this image of seed {image.seed} already; {counted(others, 'earlier image')} of it "
                f"{'has' if others == 1 else 'have'} the same seed. To have one of them, edit the row of the manifest "
                "back to what it asked for then: that costs nothing."
            )


def _no_such_image(row: ChoosableRow, seed: int) -> Problem:
    """Return the problem of a seed of which a row has no image, which names those that it has."""
    there = sorted({image.seed for image in row.images if image.state == State.SAVED})
    known = [image.state for image in row.images if image.seed == seed]
    status = f": it is {REPORTED.get(State(known[-1]), known[-1])}" if known else ""
    remedy = f"Its seeds are {', '.join(map(str, there))}." if there else "It has no image yet."
    return Problem("--choose", None, row.id, f"it has no image of seed {seed}{status}.", remedy)


def _is_there(ledger: Ledger, previous: PreviousVersions, row: ChoosableRow, image: RowImage) -> bool:
    """Return whether an image is in some file: under the row's names first, then by its hash."""
    (task,) = ledger.tasks([image.job])
    names = (*task.sources, *previous.versions_of([row.output]))
    if task.sha256 is not None and images.find(previous.image_store, names, task.sha256) is not None:
        return True
    return images.find_existing(previous, task, lambda: (), lambda: None) is not None
