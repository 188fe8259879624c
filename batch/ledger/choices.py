"""Which of its images a row has: a person chooses by seed, among its candidates and its earlier work.

A choice is one append, which waits for nobody. It is applied by who holds the folder (`settle`, then output/chosen.py
moves the images), never while jobs are in flight: one of them may be about to write the row's image. Choosing a row's work is
like a redo: it lasts until that row of the manifest is edited (see redone.py). A choice is void when the row has other work
by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from batch.core.parameters import EXTENSIONS
from batch.ledger import integrity
from batch.ledger.meta import Meta
from batch.ledger.redone import is_still_asked
from batch.ledger.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch.ledger.ledger import Ledger

_APPLIED = "coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = :applied), 0)"
_NEW = f"(SELECT row, max(seq) AS seq FROM choices WHERE seq > {_APPLIED} GROUP BY row)"
"""The last choice of each row that was not applied yet."""

_VALUES = {"applied": Meta.CHOSEN}


class RowImage(NamedTuple):
    """One of the images that were made, or are to be, for a row. `present`: of its series, not of earlier work."""

    job: int
    seed: int
    state: str
    present: bool


@dataclass(frozen=True, slots=True)
class ChoosableRow:
    """A row of which an image can be chosen; `job` is what it has, or will have by a choice that waits. `output`: its name."""

    row: int
    id: str
    listed: bool
    job: int
    output: str
    images: tuple[RowImage, ...]

    def saved(self, seed: int) -> RowImage | None:
        """Return the saved image of this seed, that of its present series first, then the latest; None for none."""
        found = [image for image in self.images if image.seed == seed and image.state == State.SAVED]
        return max(found, key=lambda image: (image.present, image.job), default=None)


class NewChoice(NamedTuple):
    """A choice of a person: this job for this row."""

    row: int
    job: int
    by: str


class Unplaced(NamedTuple):
    """A chosen job whose image does not lie at its row's place yet."""

    id: str
    job: int


def choosable(ledger: Ledger, row_id: str) -> ChoosableRow | None:
    """Return a row with all of its images, None when there is no such row."""
    execute = ledger.connection.execute
    row = execute(
        "SELECT r.row AS row, r.position IS NOT NULL AS listed, r.output AS output, r.job AS own, coalesce("
        f"(SELECT c.job FROM {_NEW} n JOIN choices c USING (seq) WHERE n.row = r.row AND c.had = r.job), r.job) AS job "
        "FROM rows r WHERE r.id = :id",
        {**_VALUES, "id": row_id},
    ).fetchone()
    if row is None:
        return None
    images = execute(
        "SELECT j.job, json_extract(j.parameters, '$.seed') AS seed, j.state, "
        "j.job = :own OR c.series IS (SELECT series FROM candidates WHERE row = :row AND job = :own) AS present "
        "FROM (SELECT job, series FROM candidates WHERE row = :row UNION ALL SELECT :own, NULL "
        "WHERE NOT EXISTS (SELECT 1 FROM candidates WHERE row = :row AND job = :own)) c JOIN jobs j ON j.job = c.job "
        "ORDER BY j.job",
        {"row": row["row"], "own": row["own"]},
    )
    found = tuple(
        RowImage(each["job"], each["seed"], each["state"], bool(each["present"])) for each in images
    )
    return ChoosableRow(row["row"], row_id, bool(row["listed"]), row["job"], row["output"], found)


def are_waiting(ledger: Ledger) -> bool:
    """Return whether a choice was not applied yet."""
    found = ledger.connection.execute(f"SELECT 1 FROM choices WHERE seq > {_APPLIED} LIMIT 1", _VALUES)
    return found.fetchone() is not None


def append(ledger: Ledger, chosen: Iterable[NewChoice]) -> None:
    """Append choices, made now. Runs inside `atomic`."""
    now = ledger.clock()
    ledger.connection.executemany(
        "INSERT INTO choices (row, job, had, by, at) SELECT row, ?, job, ?, ? FROM rows WHERE row = ?",
        [(new.job, new.by, now, new.row) for new in chosen],
    )


def settle(ledger: Ledger) -> list[str]:
    """Give rows the work that was chosen for them, as far as they have the work of then; return the ids of the others."""
    if not are_waiting(ledger):
        return []
    execute = ledger.connection.execute
    query = (
        f"SELECT r.row AS row, r.id AS id, r.job = c.had AS holds, c.job AS job, c.seq AS seq, r.asked_key AS asked_key, "
        "(SELECT a.plain FROM aliases a WHERE a.key = r.asked_key) AS plain, j.parameters AS parameters, r.output AS output "
        f"FROM {_NEW} n JOIN choices c USING (seq) JOIN rows r ON r.row = c.row JOIN jobs j ON j.job = c.job ORDER BY c.seq"
    )
    with ledger.atomic():
        chosen = execute(query, _VALUES).fetchall()
        for row in chosen:
            if row["holds"]:
                redone = not is_still_asked(row["parameters"], row["asked_key"], row["plain"])
                output = _named_for(ledger, row["row"], row["output"], row["parameters"])
                execute(
                    "UPDATE rows SET job=?, redone=?, output=? WHERE row=?",
                    (row["job"], redone, output, row["row"]),
                )
        ledger.set_meta(Meta.CHOSEN, str(chosen[-1]["seq"]))
    return [row["id"] for row in chosen if not row["holds"]]


def _named_for(ledger: Ledger, row: int, output: str, parameters: str) -> str:
    """Return a row's output with the suffix of chosen work, which may be of another format; as it is where that is taken."""
    suffix = EXTENSIONS[integrity.parsed(parameters)["image_format"]]
    name = str(PurePosixPath(output).with_suffix(f".{suffix}"))
    taken = "SELECT 1 FROM rows WHERE output=? AND row<>? AND position IS NOT NULL"
    return output if ledger.connection.execute(taken, (name, row)).fetchone() else name


def unplaced(ledger: Ledger) -> list[Unplaced]:
    """Return the chosen jobs whose image is to be put at their row's place."""
    found = ledger.connection.execute(
        "SELECT r.id AS id, r.job AS job FROM (SELECT DISTINCT row, job FROM choices) c "
        "JOIN rows r ON r.row = c.row AND r.job = c.job JOIN jobs j ON j.job = r.job "
        "WHERE r.position IS NOT NULL AND j.state = 'saved' AND r.kept_job IS NOT r.job ORDER BY r.position"
    )
    return [Unplaced(row["id"], row["job"]) for row in found]


def seed_at_place(ledger: Ledger, row_id: str) -> int | None:
    """Return the seed of the image that lies at a row's place now, whatever the row has by the ledger; None for no image."""
    found = ledger.connection.execute(
        "SELECT json_extract(k.parameters, '$.seed') AS seed FROM rows r JOIN jobs k ON k.job = r.kept_job WHERE r.id = ?",
        (row_id,),
    ).fetchone()
    return None if found is None else found["seed"]
