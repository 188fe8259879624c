"""A manifest on its way into the ledger: staged, compared with what is known, then adopted in one transaction.

The staged rows live in a temporary table, which SQLite spills to disk, so a manifest of any length needs no
memory of ours. Nothing of the ledger proper changes before `adopt`.
"""

from __future__ import annotations

import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from batch.ledger.states import AT_RISK, Event, State
from batch.model import Problem, payload_key
from batch.parameters import MAX_SEED, RANDOM_SEED

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from batch.ledger.store import Ledger
    from batch.model import Payload

PAGE = 1000  # rows read at a time

_CREATE = """
CREATE TEMP TABLE staged (
    position   INTEGER PRIMARY KEY,
    number     INTEGER NOT NULL,
    id         TEXT    NOT NULL,
    derived    INTEGER NOT NULL,
    output     TEXT    NOT NULL,
    folded     TEXT    NOT NULL,
    asked_key  TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    random     INTEGER NOT NULL,
    parameters TEXT    NOT NULL,
    files      TEXT    NOT NULL,
    cells      TEXT    NOT NULL,
    selected   INTEGER NOT NULL DEFAULT 1
)
"""

_INSERT = (
    "INSERT INTO staged (number, id, derived, output, folded, asked_key, key, random, parameters, files, cells) "
    "VALUES (?,?,?,?,?,?,?,?,?,?,?)"
)

_PAID = ",".join(f"'{state}'" for state in (*AT_RISK, State.SAVED, State.EXPIRED))

_ASKED = "CASE WHEN rows.job = {1}.job THEN rows.asked_key ELSE {0}.asked_key END"
"""A row that comes back from a report names the seed that was drawn; what was asked for first is still its seed of -1."""

_COMPARE = f"""
SELECT s.number, s.id, s.key, new.state AS state,
       (old.job IS NOT NULL AND old.payload_key <> s.key
        AND (old.state IN ({_PAID}) OR old.cost IS NOT NULL)) AS was_paid
FROM staged s
LEFT JOIN jobs new ON new.payload_key = s.key
LEFT JOIN rows r ON r.id = s.id
LEFT JOIN jobs old ON old.job = r.job
WHERE s.selected
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: counts of the selected rows, and of the jobs it would pay for.

    `changed` names rows whose id was paid for with other work before: (row number, id). `price` is the last
    price a job of this folder cost, in micro-dollars, None when none is known.
    """

    rows: int
    new: int
    changed: tuple[tuple[int, str], ...]
    done: int
    in_flight: int
    unknown: int
    failed: int
    to_send: int
    price: int | None

    @property
    def cost(self) -> int | None:
        """Micro-dollars the jobs to send will cost, or None when no price is known."""
        return None if self.price is None else self.to_send * self.price


class Stage:
    """The staged manifest on one connection; a second Stage on it replaces the first."""

    def __init__(self, connection: sqlite3.Connection, *, ignore_url_query: bool = False) -> None:
        self.connection = connection
        self.ignores_url_query = ignore_url_query
        self._key = partial(payload_key, ignore_url_query=ignore_url_query)
        connection.execute("DROP TABLE IF EXISTS temp.staged")
        connection.execute(_CREATE)

    def __len__(self) -> int:
        count: int = self.connection.execute("SELECT count(*) FROM staged").fetchone()[0]
        return count

    def add(self, payloads: Iterable[Payload], fold: Callable[[str], str]) -> None:
        """Append rows in manifest order; `fold` makes names equal that a file system may hold to be equal."""
        self.connection.executemany(_INSERT, (self._staged(payload, fold) for payload in payloads))

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Take in rows within the block, in one transaction; look-ups are quick afterwards."""
        self.connection.execute("BEGIN")
        try:
            yield
            self.connection.execute("CREATE INDEX temp.staged_id ON staged (id)")
            self.connection.execute("CREATE INDEX temp.staged_folded ON staged (folded)")
            self.connection.execute("CREATE INDEX temp.staged_key ON staged (key)")
        finally:
            self.connection.execute("COMMIT")

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
            "SELECT s.number, s.id, j.state FROM staged s JOIN rows r ON r.id = s.id JOIN jobs j USING (job) "
            f"WHERE s.selected AND j.payload_key <> s.key AND r.asked_key <> s.asked_key AND j.state IN ({states}) "
            "ORDER BY s.position"
        ):
            yield row["number"], row["id"], row["state"]

    def draw_seeds(self) -> None:
        """Give each row with a seed of -1 a seed of its own, the same one as before where the row is unchanged.

        So every body differs from every other, and a second run finds the work of the first.
        """
        after = 0
        while page := self.connection.execute(
            "SELECT s.position, s.parameters, j.payload_key, j.parameters AS before FROM staged s "
            "LEFT JOIN rows r ON r.id = s.id AND r.asked_key = s.asked_key LEFT JOIN jobs j ON j.job = r.job "
            "WHERE s.random AND s.position > ? ORDER BY s.position LIMIT ?",
            (after, PAGE),
        ).fetchall():
            after = page[-1]["position"]
            self.connection.executemany(
                "UPDATE staged SET key=?, parameters=? WHERE position=?", map(self._drawn, page)
            )

    def _drawn(self, row: sqlite3.Row) -> tuple[str, str, int]:
        if row["payload_key"] is not None:
            return row["payload_key"], row["before"], row["position"]
        values = json.loads(row["parameters"]) | {"seed": secrets.randbelow(MAX_SEED + 1)}
        return self._key(values), json.dumps(values, ensure_ascii=False), row["position"]

    def folders(self) -> set[str]:
        """Return the folders below `images/` that the rows' pictures want to lie in."""
        named = self.connection.execute("SELECT output FROM staged WHERE instr(output, '/')")
        return {row["output"].rpartition("/")[0] for row in named}

    def unowned(self) -> Iterator[tuple[int, str]]:
        """Yield (row number, output) of rows whose output is no picture that the ledger wrote.

        A run that was killed between a picture's rename and its record leaves one that only its job vouches for.
        """
        for row in self.connection.execute(
            "SELECT number, output FROM staged WHERE output NOT IN "
            "(SELECT kept_output FROM rows WHERE kept_output IS NOT NULL) AND output NOT IN "
            "(SELECT r.output FROM rows r JOIN events e USING (job) WHERE e.state = 'completed')"
        ):
            yield row["number"], row["output"]

    def compare(self, *, retry_failed: bool, price: int | None) -> Plan:
        """Say what a run of the selected rows would do; changes nothing."""
        fresh = "(state IS NULL OR state = 'planned')"
        ended = "state IN ('failed', 'expired', 'abandoned')"
        again = "state IN ('failed', 'expired')" if retry_failed else "0"
        counts = self.connection.execute(
            f"SELECT count(*) AS rows, count(*) FILTER (WHERE {fresh} AND NOT was_paid) AS new, "
            "count(*) FILTER (WHERE state = 'saved') AS done, count(*) FILTER (WHERE state = 'unknown') AS unknown, "
            "count(*) FILTER (WHERE state IN ('sending', 'accepted', 'completed')) AS in_flight, "
            f"count(*) FILTER (WHERE {ended}) AS failed, "
            f"count(DISTINCT key) FILTER (WHERE {fresh} OR {again}) AS to_send FROM ({_COMPARE})"
        ).fetchone()
        changed = self.connection.execute(
            f"SELECT number, id FROM ({_COMPARE}) WHERE {fresh} AND was_paid ORDER BY number"
        )
        return Plan(**dict(counts), changed=tuple((row["number"], row["id"]) for row in changed), price=price)

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

        `columns` are the manifest's own columns, in order, and `name` the template of its output names. With `merge` the rows replace those of the same id and
        the manifest stays what it was; without, they are the manifest from now on, and rows that are no longer in
        it keep their history but leave the report.
        """
        run = self.connection.execute
        run(
            "INSERT OR IGNORE INTO jobs (payload_key, parameters) SELECT key, parameters FROM staged ORDER BY position"
        )
        run("UPDATE rows SET selected=0")
        if merge:
            self.connection.create_function("any_seed", 1, self._any_seed, deterministic=True)
            run(  # a row that asked for any seed has what it asked for, whichever seed it is given
                "UPDATE rows SET selected=s.selected, output=s.output, asked_key="
                f"CASE WHEN rows.asked_key = any_seed(s.parameters) THEN rows.asked_key ELSE {_ASKED.format('s', 'j')} END, "
                "files=s.files, cells=json_patch(rows.cells, s.cells), job=j.job "
                "FROM staged s JOIN jobs j ON j.payload_key = s.key WHERE s.id = rows.id"
            )
        else:
            run("UPDATE rows SET position=NULL WHERE position IS NOT NULL")
            run(
                "INSERT INTO rows (id, position, job, asked_key, output, cells, files, selected) "
                "SELECT s.id, s.position, j.job, s.asked_key, s.output, s.cells, s.files, s.selected "
                "FROM staged s JOIN jobs j ON j.payload_key = s.key WHERE true ORDER BY s.position "
                "ON CONFLICT (id) DO UPDATE SET position=excluded.position, job=excluded.job, "
                f"asked_key={_ASKED.format('excluded', 'excluded')}, output=excluded.output, "
                "cells=excluded.cells, files=excluded.files, "
                "selected=excluded.selected"
            )
            ledger.set_meta("columns", json.dumps(list(columns), ensure_ascii=False))
            if name is not None:
                ledger.set_meta("name", name)
            ledger.set_meta("ignore_url_query", str(int(self.ignores_url_query)))
        if retry_failed:
            again = run(
                "SELECT DISTINCT j.job FROM rows r JOIN jobs j USING (job) "
                "WHERE r.selected AND j.state IN ('failed', 'expired') ORDER BY j.job"
            ).fetchall()
            for row in again:
                ledger.move(row["job"], Event.RETRY)
        run(  # a link that was signed anew since it was planned
            "UPDATE jobs SET parameters=s.parameters FROM staged s "
            "WHERE s.key = jobs.payload_key AND jobs.state = 'planned' AND jobs.parameters <> s.parameters"
        )

    def _any_seed(self, parameters: str) -> str:
        return self._key(json.loads(parameters) | {"seed": RANDOM_SEED})

    def _staged(self, payload: Payload, fold: Callable[[str], str]) -> tuple[object, ...]:
        key = self._key(payload.parameters)
        return (
            payload.number,
            payload.id,
            payload.derived_id,
            payload.output,
            fold(payload.output),
            key,
            key,
            payload.parameters["seed"] == RANDOM_SEED,
            json.dumps(dict(payload.parameters), ensure_ascii=False),
            json.dumps({content: str(path) for content, path in payload.files.items()}, ensure_ascii=False),
            json.dumps(dict(payload.cells), ensure_ascii=False),
        )
