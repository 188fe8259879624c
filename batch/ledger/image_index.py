"""Which files below `images/` are the ledger's: all it wrote, set against a listing, in bounded memory.

The listing is compared a page at a time: names that the ledger does not know, the foreign files, go into a temporary
table. Rows on their way in (`staged`) may not take the name of a foreign file. An image that is missing was moved away by a
person: its row stays saved, and its place stays its own. The result of checking the images (output/images.py) is in
another temporary table, `away`: rows whose image was moved away or changed.

In `rows.kept_size`, -1 says that an image is in no file at all, and -2 that it is to be searched for again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from batch.ledger import candidates
from batch.ledger.decisions import WAS_REJECTED
from batch.ledger.meta import Meta
from batch.ledger.states import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from batch.ledger.ledger import Ledger

NAMES_A_PAGE = 1000

UNREADABLE = ""
"""In place of the hash of a changed image that cannot be read: no image has it."""


class SavedImage(NamedTuple):
    """A row's image as it was saved, and the facts of its file when it was last read: None where it never was.

    `found_sha256` is the hash that the file then had where it was `changed`.
    """

    row: int
    output: str
    size: int | None
    mtime_ns: int | None
    changed: bool
    sha256: str | None
    found_sha256: str | None


def load_listing(ledger: Ledger, pages: Iterable[tuple[Sequence[str], Sequence[str]]]) -> None:
    """List the foreign files: listed names that are not a saved image.

    A page has names of plain files, and of all else, which cannot be an image.
    """
    ledger.connection.execute("DROP TABLE IF EXISTS temp.foreign_files")
    ledger.connection.execute("CREATE TEMP TABLE foreign_files (name TEXT NOT NULL)")
    for files, others in pages:
        ledger.connection.executemany("INSERT INTO foreign_files VALUES (?)", ((name,) for name in others))
        ledger.connection.execute(
            "INSERT INTO foreign_files SELECT value FROM json_each(?) "
            "WHERE NOT EXISTS (SELECT 1 FROM rows WHERE kept_output = value) "
            "OR value IN (SELECT kept_output FROM rows WHERE kept_size < 0)",  # nobody's: that image is in no file
            (json.dumps(files),),
        )


def foreign_files(ledger: Ledger) -> Iterator[list[str]]:
    """Yield the names of foreign files, a page at a time."""
    after = 0
    while page := ledger.connection.execute(
        "SELECT rowid, name FROM foreign_files WHERE rowid > ? ORDER BY rowid LIMIT ?", (after, NAMES_A_PAGE)
    ).fetchall():
        after = page[-1]["rowid"]
        yield [row["name"] for row in page]


def search_again_if_new(ledger: Ledger) -> None:
    """Let images that were in no file be searched for again when other foreign files lie there now. Runs inside `atomic`."""
    nowhere = ledger.connection.execute("SELECT 1 FROM rows WHERE kept_size < 0 LIMIT 1").fetchone()
    if nowhere is not None and ledger.meta(Meta.SEARCHED) != ledger.digest_of_foreign_files():
        ledger.connection.execute("UPDATE rows SET kept_size=-2 WHERE kept_size = -1")


def saved_images(ledger: Ledger, ids: Sequence[str] | None = None) -> Iterator[list[SavedImage]]:
    """Begin a check of the images: forget what the last one noted, and yield the saved images of the manifest's rows.

    They come a page at a time, each with the facts of its file when it was read last; with `ids` only these rows'.
    """
    ledger.connection.execute("DELETE FROM temp.away")
    facts = "r.row, r.kept_output, r.kept_size, r.kept_mtime_ns, r.kept_changed, j.sha256, r.kept_sha256"
    saved = "r.position IS NOT NULL AND r.kept_job = r.job AND j.state = 'saved'"
    if ids is not None:
        distinct = list(dict.fromkeys(ids))
        for first in range(0, len(distinct), NAMES_A_PAGE):
            named = ledger.connection.execute(
                f"SELECT {facts} FROM json_each(?) n CROSS JOIN rows r ON r.id = n.value JOIN jobs j USING (job) WHERE {saved}",
                (json.dumps(distinct[first : first + NAMES_A_PAGE]),),
            ).fetchall()
            yield [SavedImage(*row) for row in named]
        return
    after = -1
    while page := ledger.connection.execute(
        f"SELECT {facts} FROM rows r JOIN jobs j USING (job) WHERE r.row > ? AND {saved} ORDER BY r.row LIMIT ?",
        (after, NAMES_A_PAGE),
    ).fetchall():
        after = page[-1]["row"]
        yield [SavedImage(*row) for row in page]


def not_in_manifest(ledger: Ledger, ids: Iterable[str]) -> list[str]:
    """Return those of these ids that no row of the manifest has."""
    known = "SELECT 1 FROM rows WHERE id=? AND position IS NOT NULL"
    return [row_id for row_id in ids if ledger.connection.execute(known, (row_id,)).fetchone() is None]


class Missing(NamedTuple):
    """What a restore leaves where it is, as long as it is not named: ids of rows whose image was changed or rejected.

    `unsaved` are rows that were named and are not saved, with their state.
    """

    changed: list[str]
    rejected: list[str]
    unsaved: dict[str, str]


def select_missing(ledger: Ledger, only: Sequence[str]) -> Missing:
    """Select the rows whose saved image is not at its place. Runs inside `atomic`, after the images were checked.

    Of the rows named in `only`, or of all; an image that was changed or rejected is wanted only by a row that is named.
    Return those that were not selected for this reason.
    """
    execute = ledger.connection.execute
    named = {"named": json.dumps(list(only)), "all": not only}
    meant = "position IS NOT NULL AND (:all OR id IN (SELECT value FROM json_each(:named)))"
    execute("UPDATE rows SET selected=0 WHERE selected")
    candidates.forget_wanted(ledger)
    execute(
        f"UPDATE rows SET selected=1 WHERE {meant} AND job IN (SELECT job FROM jobs WHERE state='saved') "
        "AND (kept_job IS NOT job OR coalesce(kept_for, kept_output) IS NOT output "
        "OR row IN (SELECT row FROM temp.away WHERE state='moved' OR NOT :all))",
        named,
    )
    refused = execute(
        f"SELECT id FROM rows r JOIN jobs j USING (job) WHERE :all AND selected AND {WAS_REJECTED.format('r', 'j')} ORDER BY position",
        named,
    ).fetchall()
    execute(
        "UPDATE rows AS r SET selected=0 WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps([row["id"] for row in refused]),),
    )
    left = execute(
        f"SELECT id FROM rows JOIN temp.away a USING (row) WHERE a.state='changed' AND NOT selected AND {meant}",
        named,
    )
    unsaved = execute(
        f"SELECT id, state FROM rows JOIN jobs USING (job) WHERE NOT :all AND {OPEN} AND {meant}",
        named,
    )
    return Missing(
        [row["id"] for row in left],
        [row["id"] for row in refused],
        {row["id"]: row["state"] for row in unsaved},
    )


def selected_jobs(ledger: Ledger, *, unsaved: bool = False) -> list[int]:
    """Return the jobs of the selected rows; `unsaved`: only those that are not saved."""
    found = ledger.connection.execute(
        "SELECT DISTINCT r.job AS job FROM rows r JOIN jobs j USING (job) WHERE r.selected AND r.position IS NOT NULL "
        f"AND (NOT ? OR j.{OPEN}) ORDER BY r.position",
        (unsaved,),
    )
    return [row["job"] for row in found]


def selected_ids(ledger: Ledger, job: int) -> list[str]:
    """Return the ids of the selected rows that share a job."""
    found = ledger.connection.execute(
        "SELECT id FROM rows WHERE job=? AND selected ORDER BY position", (job,)
    )
    return [row["id"] for row in found]


def last_word(ledger: Ledger, job: int) -> str | None:
    """Return the detail of a job's last event."""
    found = ledger.connection.execute(
        "SELECT detail FROM events WHERE job=? ORDER BY seq DESC LIMIT 1", (job,)
    )
    said: str | None = found.fetchone()["detail"]
    return said


def hashes_of(ledger: Ledger, jobs: Sequence[int]) -> set[str]:
    """Return the hashes of the images of these jobs, as far as they were saved."""
    found = ledger.connection.execute(
        "SELECT sha256 FROM jobs WHERE sha256 IS NOT NULL AND job IN (SELECT value FROM json_each(?))",
        (json.dumps(jobs),),
    )
    return {row["sha256"] for row in found}


def still_missing(ledger: Ledger) -> list[tuple[str, int]]:
    """Return the selected rows, with their job, that are saved and have no image at their place when it was checked."""
    found = ledger.connection.execute(
        "SELECT id, job FROM rows JOIN jobs USING (job) WHERE selected AND position IS NOT NULL AND state='saved' "
        "AND (kept_job IS NOT job OR row IN (SELECT row FROM temp.away)) ORDER BY position"
    )
    return [(row["id"], row["job"]) for row in found]


def searchable_files(ledger: Ledger) -> Iterator[str]:
    """Yield names below `images/` that may hold any image: foreign files, and changed ones."""
    for page in foreign_files(ledger):
        yield from page
    for row in ledger.connection.execute(
        "SELECT kept_output FROM rows JOIN temp.away a USING (row) WHERE a.state='changed'"
    ).fetchall():
        yield row["kept_output"]


def note_away(ledger: Ledger, rows: Sequence[tuple[int, str, str | None]]) -> None:
    """Note rows whose image was moved away or changed: (row, state, hash of the changed image, UNREADABLE for none)."""
    ledger.connection.executemany("INSERT INTO temp.away (row, state, sha256) VALUES (?, ?, ?)", rows)


def remember_facts(ledger: Ledger, rows: Sequence[tuple[int, int, bool, str | None, int]]) -> None:
    """Remember the facts of files that were read: (size, modification time in ns, whether changed, its hash then, row)."""
    with ledger.atomic() as connection:
        connection.executemany(
            "UPDATE rows SET kept_size=?, kept_mtime_ns=?, kept_changed=?, kept_sha256=? WHERE row=?", rows
        )


def wanted_elsewhere(ledger: Ledger, folded: Sequence[str], fold: Callable[[str], str]) -> bool:
    """Return whether a row of the manifest adopted last wants its image at one of these folded names."""
    ledger.connection.create_function("fold", 1, fold, deterministic=True)
    found = ledger.connection.execute(
        "SELECT 1 FROM rows WHERE position IS NOT NULL AND fold(output) IN (SELECT value FROM json_each(?)) LIMIT 1",
        (json.dumps(folded),),
    ).fetchone()
    return found is not None


def wanted_folders(ledger: Ledger) -> set[str]:
    """Return the folders below `images/` in which the staged rows want their images."""
    named = ledger.connection.execute("SELECT output FROM staged WHERE instr(output, '/')")
    return {row["output"].rpartition("/")[0] for row in named}


def wanted_places(ledger: Ledger) -> Iterator[list[str]]:
    """Yield where the staged rows want their images, a page at a time."""
    after = 0
    while page := ledger.connection.execute(
        "SELECT position, output FROM staged WHERE position > ? ORDER BY position LIMIT ?",
        (after, NAMES_A_PAGE),
    ).fetchall():
        after = page[-1]["position"]
        yield [row["output"] for row in page]


def conflicts(ledger: Ledger, folded: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield (row number, output) of staged rows whose output has one of these folded names and is not ours.

    If a run is killed after renaming an image into place but before recording it, the file exists without a row: a completed
    job with that output name proves that it is ours.
    """
    wanted = {
        row["output"]: row["number"]
        for row in ledger.connection.execute(
            "SELECT s.number, s.output FROM json_each(?) n JOIN staged s ON s.folded = n.value "
            "WHERE NOT EXISTS (SELECT 1 FROM rows r WHERE r.kept_output = s.output) ORDER BY s.position",
            (json.dumps(folded),),
        )
    }
    if not wanted:
        return
    vouched = {
        row["output"]
        for row in ledger.connection.execute(
            "SELECT r.output FROM rows r WHERE r.output IN (SELECT value FROM json_each(?)) "
            "AND EXISTS (SELECT 1 FROM events e WHERE e.job = r.job AND e.state = 'completed')",
            (json.dumps(list(wanted)),),
        )
    }
    yield from ((number, output) for output, number in wanted.items() if output not in vouched)
