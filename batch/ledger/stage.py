"""A manifest on its way into the ledger: staged, compared with what is known, then adopted in one transaction.

The staged rows live in a temporary table, which SQLite spills to disk, so a manifest of any length needs no
memory of ours. What a row asks for goes straight to the ledger's jobs, so that it is written once and adopting is quick:
a planned job that no row of the ledger wants is nobody's, it is neither sent nor counted. Nothing else of the ledger
changes before `adopt`. A ledger that is only read (`keep=False`) is not written at all.
"""

from __future__ import annotations

import itertools
import json
import secrets
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from batch.ledger import bulk, feed
from batch.ledger.compare import STAGED, Plan, compare
from batch.ledger.states import AT_RISK
from batch.model import Problem, keyed, payload_key, texts_json
from batch.parameters import MAX_SEED, RANDOM_SEED

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from batch.ledger.store import Ledger
    from batch.model import Payload

PAGE = 1000  # rows in memory at a time

_CREATE = """
CREATE TEMP TABLE staged (
    position   INTEGER PRIMARY KEY,
    number     INTEGER NOT NULL,
    id         TEXT    NOT NULL,
    derived    INTEGER NOT NULL,
    output     TEXT    NOT NULL,
    folded     TEXT    NOT NULL,
    asked_key  TEXT    NOT NULL,
    job        INTEGER,                       -- NULL: the ledger has none for it, and is not ours to write …
    key        TEXT,                          -- … so this tells the work
    files      TEXT    NOT NULL,
    cells      TEXT    NOT NULL,
    selected   INTEGER NOT NULL DEFAULT 1
)
"""

_INSERT = (
    "INSERT INTO staged (number, id, derived, output, folded, asked_key, job, key, files, cells) "
    "VALUES (?1,?2,?3,?4,?5,?6,(SELECT job FROM jobs WHERE payload_key=?7),?8,?9,?10)"
)

_INSERT_FIRST = (  # both tables were empty: the row's number is its job's
    "INSERT INTO staged (number, id, derived, output, folded, asked_key, job, key, files, cells) "
    "VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)"
)

_WORK_OF_FIRST = "INSERT INTO jobs (payload_key, parameters) VALUES (?,?)"

_WORK = (  # a link may have been signed anew since the job was planned, or since it failed
    "INSERT INTO jobs (payload_key, parameters) VALUES (?,?) ON CONFLICT (payload_key) "
    "DO UPDATE SET parameters=excluded.parameters "
    "WHERE parameters <> excluded.parameters AND state IN ('planned', 'failed', 'expired')"
)

_ASKED = "CASE WHEN rows.job = {0}.job THEN rows.asked_key ELSE {0}.asked_key END"
"""A row that comes back from a report names the seed that was drawn; what was asked for first is still its seed of -1."""


class Stage:
    """The staged manifest on one connection; a second Stage on it replaces the first."""

    def __init__(
        self, connection: sqlite3.Connection, *, ignore_url_query: bool = False, keep: bool = True
    ) -> None:
        self.connection = connection
        self.ignores_url_query = ignore_url_query
        self._keyed = partial(keyed, ignore_url_query=ignore_url_query)
        self._keep = keep
        self._places = itertools.count(1)
        self._first = keep and _is_empty(connection, "jobs")
        self._knows_rows = not _is_empty(connection, "rows")
        connection.execute("DROP TABLE IF EXISTS temp.staged")
        connection.execute(_CREATE)

    def __len__(self) -> int:
        count: int = self.connection.execute("SELECT count(*) FROM staged").fetchone()[0]
        return count

    def add(self, payloads: Iterable[Payload], fold: Callable[[str], str]) -> None:
        """Append rows in manifest order; `fold` makes names equal that a file system may hold to be equal.

        A seed of -1 is drawn here, the same one as before where the row is unchanged: so every body differs from every
        other, and a second run finds the work of the first.
        """
        waiting = iter(payloads)
        while page := list(itertools.islice(waiting, PAGE)):
            work: list[tuple[str, str]] = []
            rows = [self._staged(payload, fold, work) for payload in page]
            if self._keep:
                self.connection.executemany(_WORK_OF_FIRST if self._first else _WORK, work)
            self.connection.executemany(_INSERT_FIRST if self._first else _INSERT, rows)

    def _staged(
        self, payload: Payload, fold: Callable[[str], str], work: list[tuple[str, str]]
    ) -> tuple[object, ...]:
        asked_key, text = self._keyed(payload.parameters)
        key = asked_key
        if payload.parameters["seed"] == RANDOM_SEED:
            key, text = self._drawn(payload, asked_key)
        work.append((key, text))
        return (
            payload.number,
            payload.id,
            payload.derived_id,
            payload.output,
            fold(payload.output),
            asked_key,
            next(self._places) if self._first else key,
            None if self._keep else key,
            texts_json({content: str(path) for content, path in payload.files.items()}) if self._keep else "",
            texts_json(payload.cells) if self._keep else "",
        )

    def _drawn(self, payload: Payload, asked_key: str) -> tuple[str, str]:
        if self._knows_rows:
            before = self.connection.execute(
                "SELECT j.payload_key, j.parameters FROM rows r JOIN jobs j USING (job) WHERE r.id=? AND r.asked_key=?",
                (payload.id, asked_key),
            ).fetchone()
            if before is not None:
                return before["payload_key"], before["parameters"]
        return self._keyed({**payload.parameters, "seed": secrets.randbelow(MAX_SEED + 1)})

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Take in rows within the block, in one transaction; look-ups are quick afterwards."""
        self.connection.execute("SAVEPOINT filling")
        try:
            if self._first:
                with bulk.loading(self.connection, "jobs", self._merge_twins):
                    yield
            else:
                yield
            self.connection.execute("CREATE INDEX temp.staged_id ON staged (id)")
            self.connection.execute("CREATE INDEX temp.staged_folded ON staged (folded)")
        except BaseException:
            if self.connection.in_transaction:  # SQLite itself rolls back when the disk is full
                self.connection.execute("ROLLBACK TO filling")
                self.connection.execute("RELEASE filling")
            raise
        self.connection.execute("RELEASE filling")

    def _merge_twins(self) -> None:
        """Let rows that want the same work share the first one's job."""
        run = self.connection.execute
        run(
            "CREATE TEMP TABLE twins AS SELECT job, first FROM "
            "(SELECT job, min(job) OVER (PARTITION BY payload_key) AS first FROM jobs) WHERE job <> first"
        )
        run("UPDATE staged SET job=t.first FROM twins t WHERE t.job = staged.job")
        run("DELETE FROM jobs WHERE job IN (SELECT job FROM twins)")
        run("DROP TABLE temp.twins")

    def clashes(self, file: str) -> Iterator[Problem]:
        """Yield a problem for each row that repeats an earlier row's id or output name."""
        for row in self.connection.execute(
            "SELECT s.number, s.id, s.derived, f.first FROM staged s JOIN "
            "(SELECT id, min(number) AS first FROM staged GROUP BY id HAVING count(*) > 1) f USING (id) "
            "WHERE s.number > f.first ORDER BY s.number"
        ):
            if row["derived"]:
                yield Problem(file, row["number"], None, f"is the same as row {row['first']}.",
                              "Delete one of them, or give both an id.")  # fmt: skip
            else:
                yield Problem(file, row["number"], "id", f"{row['id']!r} is already the id of row {row['first']}.",
                              "Give each row an id of its own.")  # fmt: skip
        for row in self.connection.execute(
            "SELECT s.number, s.output, o.number AS other, o.output AS taken FROM staged s JOIN "
            "(SELECT folded, min(number) AS first FROM staged GROUP BY folded HAVING count(*) > 1) f USING (folded) "
            "JOIN staged o ON o.number = f.first WHERE s.number > f.first AND s.id <> o.id ORDER BY s.number"
        ):
            same = row["output"] == row["taken"]
            reason = "the same" if same else f"but for upper and lower case the same ({row['taken']!r})"
            yield Problem(file, row["number"], "id", f"its output name {row['output']!r} is {reason} as row "
                          f"{row['other']}'s.", "Change an id, or --name.")  # fmt: skip

    def select(self, ids: Collection[str]) -> list[str]:
        """Select only these ids; return those that no row has."""
        self.connection.execute("UPDATE staged SET selected=0")
        return [
            wanted
            for wanted in ids
            if self.connection.execute("UPDATE staged SET selected=1 WHERE id=?", (wanted,)).rowcount == 0
        ]

    def strangers(self) -> Iterator[tuple[int, str]]:
        """Yield (row number, id) of rows whose id the manifest that was adopted last does not have."""
        for row in self.connection.execute(
            "SELECT number, id FROM staged WHERE id NOT IN (SELECT id FROM rows WHERE position IS NOT NULL) "
            "ORDER BY position"
        ):
            yield row["number"], row["id"]

    def unsettled(self) -> Iterator[tuple[int, str, str]]:
        """Yield (row number, id, state) of selected rows that ask for other work while theirs may be at the service."""
        states = ",".join(f"'{state}'" for state in AT_RISK)
        for row in self.connection.execute(
            "SELECT s.number, s.id, j.state FROM staged s JOIN rows r ON r.id = s.id JOIN jobs j ON j.job = r.job "
            f"WHERE s.selected AND r.job IS NOT s.job AND r.asked_key <> s.asked_key AND j.state IN ({states}) "
            "ORDER BY s.position"
        ):
            yield row["number"], row["id"], row["state"]

    def compare(self, *, retry_failed: bool, price: int | None) -> Plan:
        """Say what a run of the selected rows would do; changes nothing."""
        plan = compare(self.connection, STAGED, retry_failed=retry_failed, price=price)
        if self._keep:
            return plan
        unwritten: int = self.connection.execute(
            "SELECT count(*) FROM (SELECT 1 FROM staged WHERE selected AND job IS NULL GROUP BY key)"
        ).fetchone()[0]
        return replace(plan, to_send=plan.to_send + unwritten)

    def adopt(
        self,
        ledger: Ledger,
        columns: Sequence[str],
        *,
        merge: bool,
        retry_failed: bool,
        name: str | None = None,
    ) -> None:
        """Make the staged rows the ledger's own; runs inside `atomic`.

        `columns` are the manifest's own columns, in order, and `name` the template of its output names. With `merge`
        the rows replace those of the same id and the manifest stays what it was; without, they are the manifest from
        now on, and rows that are no longer in it keep their history but leave the report.
        """
        run = self.connection.execute
        run("UPDATE rows SET selected=0 WHERE selected")
        if merge:
            self.connection.create_function("any_seed", 1, self._any_seed, deterministic=True)
            run(  # a row that asked for any seed has what it asked for, whichever seed it is given
                "UPDATE rows SET selected=s.selected, output=s.output, asked_key="
                f"CASE WHEN rows.asked_key = any_seed(j.parameters) THEN rows.asked_key ELSE {_ASKED.format('s')} END, "
                "files=s.files, cells=json_patch(rows.cells, s.cells), job=s.job "
                "FROM staged s JOIN jobs j ON j.job = s.job WHERE s.id = rows.id"
            )
        else:
            run("UPDATE rows SET position=NULL WHERE position IS NOT NULL")
            run(
                "INSERT INTO rows (id, position, job, asked_key, output, cells, files, selected) "
                "SELECT id, position, job, asked_key, output, cells, files, selected FROM staged WHERE true "
                "ORDER BY position ON CONFLICT (id) DO UPDATE SET position=excluded.position, job=excluded.job, "
                f"asked_key={_ASKED.format('excluded')}, output=excluded.output, "
                "cells=excluded.cells, files=excluded.files, selected=excluded.selected"
            )
            ledger.set_meta("columns", json.dumps(list(columns), ensure_ascii=False))
            if name is not None:
                ledger.set_meta("name", name)
            ledger.set_meta("ignore_url_query", str(int(self.ignores_url_query)))
        if retry_failed:
            feed.retry_all(ledger)

    def _any_seed(self, parameters: str) -> str:
        asked = json.loads(parameters) | {"seed": RANDOM_SEED}
        return payload_key(asked, ignore_url_query=self.ignores_url_query)


def _is_empty(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is None
