"""Work that a person had made for a row stays the row's: a redo, a fix in failures.csv, a choice.

`rows.asked_key` is what the row of the manifest asks for, and `rows.job` the work that it was given; `rows.redone` says that
a person made these differ. In a later run of the manifest a row that asks for the same keeps that work; a row that asks for
anything else is a changed row, like any. Three rules, applied to the rows of a manifest once they are staged and matched:

Rule 1: a redone row that asks for the same, whatever its links are called now, keeps its work (`staged.redone`). Where a redo
        failed, unpaid, the row keeps the image that it still has, unless that was rejected.
Rule 2: a row that asks for what another id asked for, which is not staged or asks for something else now, takes over the work
        that was made for that one, and what was decided about it (`took_over`): it was renamed, or ids were exchanged.
Rule 3: an image that was rejected for a row is never put in the place of another one: the row has another image of the same
        work, or one is to be made (`staged.spares`). One that still lies there, because what was asked for since failed unpaid, is the row's again.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch.core.links import unsigned
from batch.core.models import key_and_json, payload_key
from batch.core.parameters import MAX_SEED, RANDOM_SEED, URL_PARAMETERS
from batch.ledger import integrity
from batch.ledger.decisions import WAS_REJECTED
from batch.ledger.meta import Meta
from batch.ledger.states import State, paid

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from batch.core.models import Payload
    from batch.core.parameters import Scalar
    from batch.ledger.ledger import Ledger

ROWS_AT_A_TIME = 1000

_FACTS = (
    "SELECT r.row, r.id, r.job, r.asked_key, r.output, r.cells, r.files, s.position, s.asked_key AS wants, "
    "s.output AS wanted_output, s.cells AS wanted_cells, s.files AS wanted_files, s.has_query, s.job AS wanted_job"
)

_MADE_NOTHING = (
    f"redo.state = '{State.FAILED}' AND NOT {paid('redo')} AND kept.state = '{State.SAVED}' "
    f"AND NOT {WAS_REJECTED.format('r', 'kept')}"
)
_JOBS = "JOIN jobs redo ON redo.job = r.job LEFT JOIN jobs kept ON kept.job = r.kept_job WHERE r.redone"
_WITH_WORK = (
    f"{_FACTS}, CASE WHEN {_MADE_NOTHING} THEN r.kept_job END AS fallback, coalesce(r.kept_for, r.kept_output) AS kept_output "
    f"FROM {{0}} {_JOBS}"
)
_REDONE = _WITH_WORK.format("rows r INDEXED BY rows_redone JOIN staged s ON s.id = r.id")
_TAKEN_OVER = _WITH_WORK.format(
    "took_over t JOIN rows r USING (row) JOIN staged s ON s.position = t.position"
)
_STILL_THERE = f"r.kept_job = new.job AND old.state = '{State.FAILED}' AND NOT {paid('old')}"
"""The rejected image is in nobody's place: it never left, because what the row asked for since made nothing."""
_REJECTED = (
    f"{_FACTS}, new.parameters, {paid('old')} AS was_paid FROM (SELECT DISTINCT row FROM decisions) d JOIN rows r USING (row) JOIN staged s ON s.id = r.id "
    "JOIN jobs new ON new.job = s.job JOIN jobs old ON old.job = r.job "
    f"WHERE new.state = '{State.SAVED}' AND r.job <> s.job AND old.state <> '{State.PLANNED}' AND "
    f"{WAS_REJECTED.format('r', 'new')} AND NOT ({_STILL_THERE})"
)

_OTHER_IMAGES = (
    "SELECT j.job AS job, j.parameters AS parameters, j.job = r.job AS present, j.state AS state, coalesce((SELECT d.decision "
    "FROM decisions d WHERE d.row = r.row AND d.sha256 = j.sha256 ORDER BY d.seq DESC LIMIT 1) = 'accepted', 0) AS accepted "
    "FROM rows r JOIN jobs j ON j.job = r.job OR j.job IN (SELECT job FROM candidates WHERE row = r.row) "
    f"WHERE r.row = ? AND (j.state = '{State.SAVED}' OR (j.job = r.job AND j.state <> '{State.FAILED}')) "
    f"AND NOT {WAS_REJECTED.format('r', 'j')} ORDER BY present DESC, accepted DESC, j.job DESC"
)
"""What a row has and had, the best first: what it has now, then what was accepted, then the latest."""

_OF_EARLIER_VERSION = (
    f"{_FACTS} FROM rows r JOIN staged s ON s.id = r.id JOIN jobs new ON new.job = s.job JOIN jobs old ON old.job = r.job "
    "WHERE r.manifest_seed IS NULL AND r.position IS NOT NULL AND r.asked_key <> s.asked_key "
    f"AND r.job <> s.job AND old.state = '{State.SAVED}' AND new.state IN ('{State.SAVED}', '{State.FAILED}', '{State.EXPIRED}') "
    f"AND NOT EXISTS (SELECT 1 FROM meta WHERE name = '{Meta.FINGERPRINT}')"
)
"""An earlier version did not note what a redo changed. That its last command was one is known: only then it forgot the
manifest's fingerprint. A row that would go back to earlier work was redone by it, then."""

_OF_A_PERSON = "SELECT row FROM rows WHERE redone UNION SELECT row FROM decisions"
"""Rows with something that a person made or said."""

KEPT, TO_BE_MADE = 1, 2
"""`staged.spares`: another image of the work is there, or is to be made."""

IS_STILL_ASKED = "is_still_asked"
"""The SQL function of `is_still_asked`."""


@dataclass(frozen=True, slots=True)
class Naming:
    """How this manifest names its work and its images.

    `fold` makes output names equal that a file system may hold to be equal; `ignores_url_query` says that queries are not
    part of a payload key, `writable` that the ledger may be written, and `same_template` that --name is the one that the folder's images have.
    """

    fold: Callable[[str], str]
    ignores_url_query: bool
    same_template: bool
    writable: bool


def keep_work(connection: sqlite3.Connection, naming: Naming, *, merge: bool) -> bool:
    """Let staged rows keep the work that a person had made for them; return whether any does.

    With `merge` the rows come from a person who wants them changed, and only the third rule applies.
    """
    keeper = _Keeper(connection, naming)
    if not merge:
        for entry in connection.execute(_OF_EARLIER_VERSION).fetchall():
            keeper.keep(entry, entry["wants"], same_output=keeper.is_named_alike(entry))
        keeper.keep_redone(_REDONE)
        if _take_over(connection, naming):
            keeper.keep_redone(_TAKEN_OVER, renamed=True)
    for entry in connection.execute(_REJECTED).fetchall():
        keeper.spare(entry)
    return keeper.keeps


def any_made_nothing(ledger: Ledger) -> bool:
    """Return whether a redo has failed whose row still has an image, which the next run gives back to it."""
    failed = f"SELECT 1 FROM rows r INDEXED BY rows_redone {_JOBS} AND {_MADE_NOTHING} LIMIT 1"
    return ledger.connection.execute(failed).fetchone() is not None


def any_made(ledger: Ledger) -> bool:
    """Return whether the last run saved the image of a row that has other work than its row of the manifest asks for."""
    made = (
        "SELECT 1 FROM rows r INDEXED BY rows_redone JOIN jobs j ON j.job = r.job WHERE r.redone AND j.state = 'saved' "
        "AND j.run_id = (SELECT run_id FROM runs ORDER BY run DESC LIMIT 1) LIMIT 1"
    )
    return ledger.connection.execute(made).fetchone() is not None


def name_now(
    connection: sqlite3.Connection, row_id: str, asked_key: str, *, ignore_url_query: bool
) -> str | None:
    """Return what a key that a row was adopted with is called now, None when the ledger has no such work."""
    found = connection.execute(
        "SELECT parameters, 0 AS any_seed FROM jobs WHERE payload_key = ?2 UNION ALL "
        "SELECT j.parameters, 1 FROM drawn d JOIN jobs j USING (job) WHERE d.id = ?1 AND d.asked_key = ?2 LIMIT 1",
        (row_id, asked_key),
    ).fetchone()
    if found is None:
        return None
    parameters: dict[str, Scalar] = integrity.parsed(found["parameters"])
    if found["any_seed"]:
        parameters["seed"] = RANDOM_SEED
    return payload_key(parameters, ignore_url_query=ignore_url_query)


def is_still_asked(parameters: str, *names: str | None) -> bool:
    """Return whether work, as the JSON of its parameters, is what one of these asked keys asks for.

    A row that asks for any seed has what it asked for, whichever seed it was given.
    """
    given: dict[str, Scalar] = integrity.parsed(parameters)
    return any(
        payload_key(each, ignore_url_query=ignored) in names
        for each in (given, given | {"seed": RANDOM_SEED})
        for ignored in (False, True)
    )


class LinkRenewal:
    """Gives redone work that may still be sent the links of today, where they are the same but for the signature."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._jobs: dict[str, tuple[int, dict[str, Scalar]]] = {
            row["id"]: (row["job"], integrity.parsed(row["parameters"]))
            for row in connection.execute(
                "SELECT r.id, r.job, j.parameters FROM rows r JOIN jobs j USING (job) WHERE r.redone "
                "AND j.state IN ('planned', 'failed', 'expired') AND instr(j.parameters, '?')"
            )
        }

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def renew(self, payload: Payload) -> None:
        """Take over the links of a row as it is in the manifest."""
        if payload.id not in self._jobs:
            return
        job, parameters = self._jobs[payload.id]
        signed = {
            name: payload.parameters[name]
            for name in URL_PARAMETERS
            if unsigned(str(payload.parameters[name])) == unsigned(str(parameters[name]))
        }
        if signed.items() - parameters.items():
            _, text = key_and_json(parameters | signed)
            self._connection.execute("UPDATE jobs SET parameters=? WHERE job=?", (text, job))


def _of_any_seed(parameters: dict[str, Scalar]) -> str:
    return payload_key(parameters | {"seed": RANDOM_SEED})


def _take_over(connection: sqlite3.Connection, naming: Naming) -> bool:
    """Pair rows whose id asks for other work now with the ids that asked for that work; return whether any is.

    An id that is new, or was given to another row, with one that is not in the manifest, or asks for something else. The n-th
    with the n-th: where several rows ask for one work, their order says which is which.
    """
    now = (
        f"(SELECT {'stem' if naming.ignores_url_query else 'plain'} FROM aliases a WHERE a.key = r.asked_key)"
    )
    same = f"r.id = s.id AND s.asked_key IN (r.asked_key, {now})"
    left = (
        f"SELECT r.row, r.position, coalesce({now}, r.asked_key) AS asked FROM rows r "
        f"WHERE NOT EXISTS (SELECT 1 FROM staged s WHERE {same})"
    )
    if connection.execute(f"{left} AND r.row IN ({_OF_A_PERSON}) LIMIT 1").fetchone() is None:
        return False
    cursor = connection.execute(
        "INSERT INTO took_over SELECT n.position, o.row FROM "
        "(SELECT position, asked_key, row_number() OVER (PARTITION BY asked_key ORDER BY position) AS turn "
        f"FROM staged s WHERE NOT EXISTS (SELECT 1 FROM rows r WHERE {same})) n JOIN "
        "(SELECT row, asked, row_number() OVER (PARTITION BY asked ORDER BY position IS NULL, position, row) AS turn "
        f"FROM ({left})) o ON o.asked = n.asked_key AND o.turn = n.turn WHERE o.row IN ({_OF_A_PERSON})"
    )
    return cursor.rowcount > 0


class _Keeper:
    """Gives staged rows the work that their rows have in the ledger."""

    def __init__(self, connection: sqlite3.Connection, naming: Naming) -> None:
        self._connection = connection
        self._naming = naming
        self.keeps = False

    def keep_redone(self, rows: str, *, renamed: bool = False) -> None:
        """Keep the work of those of `rows`, a query, whose row of the manifest asks for the same as before."""
        for entry in self._pages(rows):
            if not renamed and not self._asks_for_the_same(entry):
                continue
            if entry["fallback"] is not None and entry["fallback"] == entry["wanted_job"]:
                continue  # what it has is what the manifest asks for
            same_output = not renamed and self.is_named_alike(entry)
            self.keep(entry, entry["asked_key"], same_output=same_output, fallback=entry["fallback"])

    def keep(
        self, entry: sqlite3.Row, asked_key: str, *, same_output: bool, fallback: int | None = None
    ) -> None:
        """Let a staged row have the job that it has in the ledger, or `fallback`; it asks for `asked_key`."""
        self.keeps = True
        output = entry["output"] if fallback is None else entry["kept_output"]
        if not same_output:  # only the suffix is the work's
            output = f"{entry['wanted_output'].rpartition('.')[0]}.{output.rpartition('.')[2]}"
        if self._is_taken(output, entry["position"]):
            output = entry["wanted_output"]
        files = entry["wanted_files"]
        if files:
            files = json.dumps(json.loads(entry["files"]) | json.loads(files), ensure_ascii=False)
        self._connection.execute(
            "UPDATE staged SET job=?, asked_key=?, output=?, folded=?, files=?, redone=1, other_query=0 WHERE position=?",
            (
                fallback or entry["job"],
                asked_key,
                output,
                self._naming.fold(output),
                files,
                entry["position"],
            ),
        )

    def spare(self, entry: sqlite3.Row) -> None:
        """Give a row that asks for its rejected image another one of the same work: one it has or had, else one of a new seed.

        Where that is to be made the row is a changed one, whose price is asked for. A row that nothing was paid for since keeps
        what it has.
        """
        self.keeps = True
        asked: dict[str, Scalar] = integrity.parsed(entry["parameters"])
        work = _of_any_seed(asked)
        others = self._connection.execute(_OTHER_IMAGES, (entry["row"],)).fetchall()
        job = next(
            (each["job"] for each in others if _of_any_seed(integrity.parsed(each["parameters"])) == work),
            None,
        )
        key, spares = None, KEPT
        if job is None and not entry["was_paid"]:
            job = entry["job"]
        elif job is None:
            spares = TO_BE_MADE
            seed = secrets.randbelow(MAX_SEED + 1)
            key, text = key_and_json(asked | {"seed": seed}, ignore_url_query=self._naming.ignores_url_query)
            if self._naming.writable:
                insert = "INSERT INTO jobs (payload_key, parameters) VALUES (?, ?) RETURNING job"
                (job,) = self._connection.execute(insert, (key, text)).fetchone()
        self._connection.execute(
            "UPDATE staged SET job=?, key=coalesce(?, key), redone=1, spares=?, other_query=0 WHERE position=?",
            (job, key, spares, entry["position"]),
        )

    def _pages(self, rows: str) -> Iterator[sqlite3.Row]:
        after = 0
        while page := self._connection.execute(
            f"{rows} AND r.row > ? ORDER BY r.row LIMIT ?", (after, ROWS_AT_A_TIME)
        ).fetchall():
            after = page[-1]["row"]
            yield from page

    def _asks_for_the_same(self, entry: sqlite3.Row) -> bool:
        if entry["asked_key"] == entry["wants"]:
            return True
        if not entry["has_query"]:
            return False
        ignores = self._naming.ignores_url_query
        now = name_now(self._connection, entry["id"], entry["asked_key"], ignore_url_query=ignores)
        return now is not None and now == entry["wants"]

    def is_named_alike(self, entry: sqlite3.Row) -> bool:
        """Return whether the row's image still has the name that the redo gave it: nothing that a name is made of differs."""
        cells = entry["wanted_cells"]
        return self._naming.same_template and (
            not cells or json.loads(cells) == integrity.parsed(entry["cells"])
        )

    def _is_taken(self, output: str, position: int) -> bool:
        found = self._connection.execute(
            "SELECT 1 FROM staged WHERE folded=? AND position<>?", (self._naming.fold(output), position)
        )
        return found.fetchone() is not None
