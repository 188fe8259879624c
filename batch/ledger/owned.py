"""Which files below `images/` are the ledger's: all it wrote, set against a listing, in bounded memory.

A folder of a million pictures is listed within a second or two, where asking for each file takes many. The listing is
compared a page at a time: names that the ledger does not know are set aside in a temporary table, `strangers`, and the
others are counted. A name is listed once and kept by one row at most, so when the counts are equal nothing is missing;
when they are not, each file is asked for, and only what certainly is not there is forgotten. Rows on their way in
(`staged`) may not take the name of a file that is nobody's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from batch.ledger.store import Ledger

PAGE = 1000


def set_aside(connection: sqlite3.Connection, pages: Iterable[tuple[Sequence[str], Sequence[str]]]) -> int:
    """Fill `strangers` with listed names that are no kept picture; return how many are.

    A page has names of plain files, and of all else, which can be no picture.
    """
    connection.execute("DROP TABLE IF EXISTS temp.strangers")
    connection.execute("CREATE TEMP TABLE strangers (name TEXT NOT NULL)")
    known = 0
    for files, others in pages:
        connection.executemany("INSERT INTO strangers VALUES (?)", ((name,) for name in others))
        strange = connection.execute(
            "INSERT INTO strangers SELECT value FROM json_each(?) "
            "WHERE NOT EXISTS (SELECT 1 FROM rows WHERE kept_output = value)",
            (json.dumps(files),),
        ).rowcount
        known += len(files) - strange
    return known


def strangers(connection: sqlite3.Connection) -> Iterator[list[str]]:
    """Yield the names set aside, a page at a time."""
    after = 0
    while page := connection.execute(
        "SELECT rowid, name FROM strangers WHERE rowid > ? ORDER BY rowid LIMIT ?", (after, PAGE)
    ).fetchall():
        after = page[-1]["rowid"]
        yield [row["name"] for row in page]


def kept_pictures(ledger: Ledger) -> int:
    """Count the pictures that should lie below `images/`."""
    count: int = ledger.connection.execute(
        "SELECT count(*) FROM rows WHERE kept_output IS NOT NULL"
    ).fetchone()[0]
    return count


def forget_missing(ledger: Ledger, exists: Callable[[str], bool]) -> int:
    """Forget saved pictures that are no longer in the folder; return how many. Runs inside `atomic`."""
    forgotten, after = 0, ""
    while page := ledger.connection.execute(
        "SELECT row, kept_output FROM rows WHERE kept_output > ? ORDER BY kept_output LIMIT ?", (after, PAGE)
    ).fetchall():
        after = page[-1]["kept_output"]
        missing = [(row["row"],) for row in page if not exists(row["kept_output"])]
        ledger.connection.executemany("UPDATE rows SET kept_job=NULL, kept_output=NULL WHERE row=?", missing)
        forgotten += len(missing)
    return forgotten


def wanted_elsewhere(
    connection: sqlite3.Connection, folded: Sequence[str], fold: Callable[[str], str]
) -> bool:
    """Tell whether a row of the manifest adopted last wants its picture at one of these folded names."""
    connection.create_function("fold", 1, fold, deterministic=True)
    found = connection.execute(
        "SELECT 1 FROM rows WHERE position IS NOT NULL AND fold(output) IN (SELECT value FROM json_each(?)) LIMIT 1",
        (json.dumps(folded),),
    ).fetchone()
    return found is not None


def folders(connection: sqlite3.Connection) -> set[str]:
    """Return the folders below `images/` that the rows' pictures want to lie in."""
    named = connection.execute("SELECT output FROM staged WHERE instr(output, '/')")
    return {row["output"].rpartition("/")[0] for row in named}


def places(connection: sqlite3.Connection) -> Iterator[list[str]]:
    """Yield where the rows' pictures want to lie, a page at a time."""
    after = 0
    while page := connection.execute(
        "SELECT position, output FROM staged WHERE position > ? ORDER BY position LIMIT ?", (after, PAGE)
    ).fetchall():
        after = page[-1]["position"]
        yield [row["output"] for row in page]


def unowned(connection: sqlite3.Connection, folded: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield (row number, output) of rows whose output is one of these folded names and no picture that the ledger wrote.

    A run that was killed between a picture's rename and its record leaves one that only its job vouches for.
    """
    wanted = {
        row["output"]: row["number"]
        for row in connection.execute(
            "SELECT s.number, s.output FROM json_each(?) n JOIN staged s ON s.folded = n.value "
            "WHERE NOT EXISTS (SELECT 1 FROM rows r WHERE r.kept_output = s.output) ORDER BY s.position",
            (json.dumps(folded),),
        )
    }
    if not wanted:
        return
    vouched = {
        row["output"]
        for row in connection.execute(
            "SELECT r.output FROM rows r WHERE r.output IN (SELECT value FROM json_each(?)) "
            "AND EXISTS (SELECT 1 FROM events e WHERE e.job = r.job AND e.state = 'completed')",
            (json.dumps(list(wanted)),),
        )
    }
    yield from ((number, output) for output, number in wanted.items() if output not in vouched)
