"""Staged rows that are work which the folder knows under another name: then nothing is new, and nothing is paid again.

A link that is signed again, a folder made by a version that left less out of a key, `--ignore-url-query` given or left
out, a row without an id whose other columns changed: the row keeps the job, the id and the image that it has. A row
whose images differ from paid ones in a URL's query alone is marked: perhaps the same image under a new signature.

`aliases` maps a stored key to what the same parameters are called now. It is filled only when a staged row with a link
would be sent, and only for jobs that no staged row has found by its key; a ledger that is only read gets a temporary copy.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from batch.core.models import payload_key
from batch.core.parameters import RANDOM_SEED
from batch.ledger.redone import keep_work, name_now
from batch.ledger.states import State, paid

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from batch.core.parameters import Scalar
    from batch.ledger.redone import Naming

LINKED_JOBS_A_PAGE = 1000

_RANK = (
    "CASE {0}.state WHEN 'saved' THEN 0 WHEN 'completed' THEN 1 WHEN 'accepted' THEN 2 WHEN 'sending' THEN 3 "
    "WHEN 'unknown' THEN 4 WHEN 'expired' THEN 5 WHEN 'abandoned' THEN 6 WHEN 'failed' THEN 7 ELSE 8 END"
)
"""Of several jobs for one work: the one with the image first."""

_FRESH = "(s.job IS NULL OR EXISTS (SELECT 1 FROM jobs f WHERE f.job = s.job AND f.state = 'planned'))"

_TO_SEND = "(s.job IS NULL OR EXISTS (SELECT 1 FROM jobs f WHERE f.job = s.job AND f.state IN ('planned', 'sending', 'unknown')))"
"""The same, or would be once the history shows that it never arrived."""

_DERIVED = "*-" + "[0-9a-f]" * 10
"""What a derived id looks like, as GLOB has it."""

_RENAME = (
    "id={0}, output=replace(s.output, s.id, {0}), folded=fold_name(replace(s.output, s.id, {0})), cells="
    "CASE WHEN s.cells <> '' AND json_extract(s.cells, '$.id') = s.id THEN json_set(s.cells, '$.id', {0}) "
    "ELSE s.cells END"
)


ASKED = (
    "(SELECT id, asked_key, job, 0 AS past FROM rows WHERE NOT redone UNION ALL "
    "SELECT id, asked_key, job, 1 FROM drawn)"
)
"""What rows ask for with the work for it, and what those that asked for any seed were given in the past; what they ask for
now comes first. The work of redone rows is not what they ask for (see redone.py)."""


def separate_twins(connection: sqlite3.Connection, fold: Callable[[str], str]) -> None:
    """Give rows whose derived ids are alike only because a query was left out the ids that they have with it."""
    connection.create_function("fold_name", 1, fold, deterministic=True)
    connection.execute(
        f"UPDATE staged AS s SET {_RENAME.format('s.long_id')} WHERE s.long_id IS NOT NULL "
        "AND s.id IN (SELECT id FROM staged GROUP BY id HAVING count(*) > 1)"
    )


class WorkMatcher:
    """Finds the staged rows whose work the ledger has under another name; `base` is the last job that was there before."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        base: int,
        *,
        ignore_url_query: bool,
        writable: bool,
        merge: bool,
    ) -> None:
        self._connection = connection
        self._ignores_url_query = ignore_url_query
        self._now = "stem" if ignore_url_query else "plain"
        self._writable = writable
        self._merge = merge
        self._copied = self._searched = False
        self._base = base

    def match(self, naming: Naming) -> None:
        """Give staged rows the job, and rows with derived ids the id, that the folder has for their work; mark the rest.

        Then rows that were redone keep what a person had made for them.
        """
        self._connection.create_function("fold_name", 1, naming.fold, deterministic=True)
        execute = self._connection.execute
        execute("CREATE INDEX temp.staged_job ON staged (job)")
        # Aliases are filled only where a row with a link would be sent: reading every job's parameters takes time.
        linked = execute(f"SELECT 1 FROM staged s WHERE s.stem IS NOT NULL AND {_TO_SEND} LIMIT 1").fetchone()
        if linked:
            self.fill()
            self._by_name()
        orphans = execute(
            "SELECT 1 FROM staged s WHERE s.derived AND NOT EXISTS (SELECT 1 FROM rows r WHERE r.id = s.id) LIMIT 1"
        ).fetchone()
        if linked or orphans:
            self._list_vanished()
        if orphans:
            self._keep_ids("s.asked_key", "asked", also="job=t.job, ")
        if linked:
            self._mark_other_queries()
        keeps = keep_work(self._connection, naming, merge=self._merge)
        if self._writable and (
            linked or orphans or keeps
        ):  # jobs planned for rows that turned out to have one
            execute(
                "DELETE FROM jobs WHERE job > ? AND NOT EXISTS (SELECT 1 FROM staged s WHERE s.job = jobs.job)",
                (self._base,),
            )

    def fill(self, job: int | None = None) -> None:
        """Bring `aliases` up to date: for one job, or for every job with a query that no staged row has found."""
        execute = self._connection.execute
        if not self._writable and not self._copied:
            self._copied = True
            execute("CREATE TEMP TABLE aliases AS SELECT * FROM main.aliases")
            execute("CREATE UNIQUE INDEX temp.aliases_key ON aliases (key)")
            execute("CREATE INDEX temp.aliases_plain ON aliases (plain)")
            execute("CREATE INDEX temp.aliases_stem ON aliases (stem)")
        after = 0
        while page := execute(
            "SELECT job, payload_key, parameters FROM jobs j WHERE job > ? AND job <= ? AND (?3 IS NULL OR job = ?3) "
            "AND instr(parameters, '?') AND NOT EXISTS (SELECT 1 FROM staged s WHERE s.job = j.job) "
            "AND NOT EXISTS (SELECT 1 FROM aliases a WHERE a.key = j.payload_key) ORDER BY job LIMIT ?4",
            (after, self._base, job, LINKED_JOBS_A_PAGE),
        ).fetchall():
            after = page[-1]["job"]
            names = [name for row in page for name in self._names(row)]
            self._connection.executemany("INSERT OR IGNORE INTO aliases VALUES (?,?,?)", names)

    def _names(self, row: sqlite3.Row) -> list[tuple[str, str, str]]:
        """Return a job's keys as they are stored, each with what it would be now."""
        parameters: Mapping[str, Scalar] = json.loads(row["parameters"])
        names = [(row["payload_key"], *_both(parameters))]
        asked = self._connection.execute(
            f"SELECT DISTINCT asked_key FROM {ASKED} WHERE job=? AND asked_key <> ?",
            (row["job"], row["payload_key"]),
        ).fetchall()
        if asked:
            any_seed = _both({**parameters, "seed": RANDOM_SEED})
            names += [(found["asked_key"], *any_seed) for found in asked]
        return names

    def _by_name(self) -> None:
        # `found` maps staged rows without known work to the job that has it: first the row's own job (also where its seed
        # was drawn, so that its key is not that of what it asks for), then the best job of the same name.
        own = (
            f"SELECT s.position, r.job, min(r.past) FROM staged s JOIN {ASKED} r ON r.id = s.id WHERE r.job IS NOT s.job "
            f"AND s.has_query AND {_FRESH} AND (SELECT a.{self._now} FROM aliases a WHERE a.key = r.asked_key) = s.asked_key "
            "GROUP BY s.position"
        )
        any_such = (
            f"SELECT s.position, (SELECT j.job FROM aliases a JOIN jobs j ON j.payload_key = a.key "
            f"WHERE a.{self._now} = s.asked_key AND j.state <> '{State.PLANNED}' "
            f"ORDER BY {_RANK.format('j')}, j.job DESC LIMIT 1) AS job FROM staged s WHERE s.has_query AND {_FRESH}"
        )
        for found in (own, any_such):
            self._connection.execute("DROP TABLE IF EXISTS temp.found")
            self._connection.execute(f"CREATE TEMP TABLE found AS {found}")
            self._connection.execute("DELETE FROM found WHERE job IS NULL")
            self._renew_links("found")
            self._connection.execute(
                "UPDATE staged AS s SET job=f.job FROM found f WHERE f.position = s.position"
            )

    def _renew_links(self, found: str) -> None:
        """Give known jobs that may still be sent the links that their rows have now; `found` has rows and known jobs."""
        if self._writable:
            self._connection.execute(
                "UPDATE jobs AS j SET parameters=json_set(planned.parameters, '$.seed', json_extract(j.parameters, '$.seed')) "
                f"FROM {found} f JOIN staged s USING (position) JOIN jobs planned ON planned.job = s.job "
                "WHERE f.job = j.job AND s.job <> j.job AND planned.state = 'planned' "
                "AND j.state IN ('planned', 'failed', 'expired') "
                "AND NOT EXISTS (SELECT 1 FROM rows r WHERE r.job = j.job AND r.redone)"  # that is other work
            )

    def _list_vanished(self) -> None:
        """List the ledger's rows that are not staged, with their work as it would be called now."""
        execute = self._connection.execute
        execute("DROP TABLE IF EXISTS temp.vanished")
        execute(
            "CREATE TEMP TABLE vanished AS SELECT r.id, r.job, r.position, r.row AS entry, "
            f"r.id GLOB '{_DERIVED}' AS derived, substr(r.id, 1, length(r.id) - 10) AS stems, r.cells, "
            f"coalesce((SELECT a.{self._now} FROM aliases a WHERE a.key = r.asked_key), r.asked_key) AS asked, "
            "coalesce((SELECT a.stem FROM aliases a WHERE a.key = r.asked_key), r.asked_key) AS stem, "
            f"{_RANK.format('j')} AS rank FROM rows r JOIN jobs j USING (job) "
            "WHERE NOT EXISTS (SELECT 1 FROM staged s WHERE s.id = r.id)"
        )
        execute("CREATE INDEX temp.vanished_stem ON vanished (stem)")

    def _keep_ids(self, ours: str, theirs: str, *, also: str = "", only: str = "1") -> None:
        """Give rows that derived a new id the id of a row that is not staged, of the same images and the same work.

        `ours` and `theirs` name the work. Each such id is taken once: by the first row, from the best job.
        """
        execute = self._connection.execute
        # Pairs the n-th new row of some work and images with the n-th best vanished row of the same: each id is taken once.
        # The last ten characters of a derived id are a hash; what comes before them names the images.
        execute("DROP TABLE IF EXISTS temp.taken")
        execute(
            "CREATE TEMP TABLE taken AS SELECT o.position AS position, v.id AS id, v.job AS job FROM "
            "(SELECT position, work, stems, row_number() OVER (PARTITION BY work, stems ORDER BY position) AS turn FROM "
            f"(SELECT s.position, {ours} AS work, substr(s.id, 1, length(s.id) - 10) AS stems FROM staged s "
            f"WHERE s.derived AND {only} AND NOT EXISTS (SELECT 1 FROM rows r WHERE r.id = s.id))) o JOIN "
            "(SELECT id, job, work, stems, row_number() OVER (PARTITION BY work, stems "
            "ORDER BY rank, position IS NULL, position, entry DESC) AS turn FROM "
            f"(SELECT *, {theirs} AS work FROM vanished WHERE derived)) v "
            "ON v.work = o.work AND v.stems = o.stems AND v.turn = o.turn"
        )
        if also:
            self._renew_links("taken")
        execute(
            f"UPDATE staged AS s SET {also}{_RENAME.format('t.id')} FROM taken t WHERE t.position = s.position"
        )
        execute("DELETE FROM vanished WHERE id IN (SELECT id FROM taken)")

    def _mark_other_queries(self) -> None:
        """Mark rows to send whose images differ from paid ones, that no row asks for any more, in a query alone."""
        execute = self._connection.execute
        unasked = "NOT EXISTS (SELECT 1 FROM staged t WHERE t.job = p.job)"
        if self._merge:  # the rows that are not merged stay in the manifest
            unasked += (
                " AND NOT EXISTS (SELECT 1 FROM rows q WHERE q.job = p.job AND q.position IS NOT NULL "
                "AND NOT EXISTS (SELECT 1 FROM staged t WHERE t.id = q.id))"
            )
        execute(
            f"UPDATE staged AS s SET other_query=1 FROM rows r, jobs p WHERE r.id = s.id AND p.job = r.job "
            f"AND p.job IS NOT s.job AND s.stem IS NOT NULL AND {_TO_SEND} AND {paid('p')} AND {unasked} "
            "AND coalesce((SELECT a.stem FROM aliases a WHERE a.key = r.asked_key), r.asked_key) = s.stem"
        )
        chosen = (  # a paid row of the same path and another query exists: queries choose the image
            "SELECT 1 FROM staged t JOIN jobs k USING (job) WHERE t.stem = s.stem AND k.state NOT IN ('planned', 'sending', 'unknown')"
        )
        if self._merge:
            chosen += (
                " UNION ALL SELECT 1 FROM aliases a JOIN jobs k ON k.payload_key = a.key JOIN rows q USING (job) "
                "WHERE a.stem = s.stem AND k.state NOT IN ('planned', 'sending', 'unknown') AND q.position IS NOT NULL "
                "AND NOT EXISTS (SELECT 1 FROM staged t WHERE t.id = q.id)"
            )
        execute("CREATE INDEX temp.staged_stem ON staged (stem)")
        execute(
            f"UPDATE staged AS s SET other_query=1 WHERE s.derived AND s.stem IS NOT NULL AND {_TO_SEND} "
            "AND EXISTS (SELECT 1 FROM vanished v JOIN jobs p USING (job) "
            f"WHERE v.stem = s.stem AND {paid('p')} AND {unasked}) AND NOT EXISTS ({chosen})"
        )
        execute(  # paid under another id, or before an edit
            f"UPDATE staged AS s SET other_query=1 WHERE NOT s.other_query AND s.stem IS NOT NULL AND {_TO_SEND} "
            "AND EXISTS (SELECT 1 FROM jobs p WHERE (p.payload_key = s.stem OR p.payload_key IN "
            f"(SELECT a.key FROM aliases a WHERE a.stem = s.stem)) AND {paid('p')} AND {unasked}) "
            f"AND NOT EXISTS ({chosen})"
        )
        if execute("SELECT 1 FROM staged WHERE other_query LIMIT 1").fetchone() is None:
            return
        cells = " || json_remove({}cells, '$.id')"  # other columns that differ speak of another product
        self._keep_ids(
            "s.stem" + cells.format("s."), "stem" + cells.format(""), only="s.other_query AND " + _FRESH
        )
        execute(  # what one of them asks for is not sent for another either
            "UPDATE staged SET other_query=1 WHERE NOT other_query AND "
            "coalesce(job, key) IN (SELECT coalesce(job, key) FROM staged WHERE other_query)"
        )

    def job_of(self, row_id: str, asked: str, *, own_only: bool, has_query: bool) -> sqlite3.Row | None:
        """Return the job (job, state, paid, redone) of a row that asks for this work, else of any such work; None if unknown.

        `own_only` says that only the row's own job can be meant; `has_query` that its links have queries, so that it may
        be known under another name.
        """
        execute = self._connection.execute
        own = execute("SELECT job, asked_key, redone FROM rows WHERE id=?", (row_id,)).fetchone()
        if own is not None and has_query:
            self.fill(own["job"])
        facts = f"SELECT j.job AS job, j.state AS state, {paid('j')} AS paid, ?3 AS redone"
        if own is not None and own["redone"]:
            now = own["asked_key"]
            if has_query and now != asked:
                now = name_now(self._connection, row_id, now, ignore_url_query=self._ignores_url_query)
            if now == asked:
                redone: sqlite3.Row = execute(
                    f"{facts} FROM jobs j WHERE j.job = ?1", (own["job"], None, 1)
                ).fetchone()
                return redone
        names = f"(SELECT ?2 UNION ALL SELECT key FROM aliases WHERE {self._now} = ?2)"
        found: sqlite3.Row | None = None
        if own is not None:
            found = execute(
                f"{facts} FROM {ASKED} r JOIN jobs j USING (job) WHERE r.id = ?1 AND r.asked_key IN {names} "
                "ORDER BY r.past LIMIT 1",
                (row_id, asked, 0),
            ).fetchone()
        if found is None and not own_only:
            if has_query and not self._searched:
                self._searched = True
                self.fill()
            found = execute(
                f"{facts} FROM jobs j WHERE ?1 IS NOT NULL AND j.payload_key IN {names} "
                f"ORDER BY {_RANK.format('j')}, j.job DESC LIMIT 1",
                (row_id, asked, 0),
            ).fetchone()
        return found


def _both(parameters: Mapping[str, Scalar]) -> tuple[str, str]:
    return payload_key(parameters), payload_key(parameters, ignore_url_query=True)
