"""A manifest on its way into the ledger: staged, compared with what is known, then adopted in one transaction.

The staged rows live in a temporary table, which SQLite spills to disk, so a manifest of any length needs no
memory of ours. What a row asks for goes straight to the ledger's jobs, so that it is written once and adopting is quick:
a planned job that no row of the ledger wants is neither sent nor counted. Nothing else of the ledger
changes before `adopt`. A ledger that is only read (`writable=False`) is not written at all.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
import sqlite3
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from batch.core.links import unsigned
from batch.core.models import CONTENT_PREFIX, InvalidRow, Problem, key_and_json, payload_key, texts_json
from batch.core.parameters import MAX_SEED, RANDOM_SEED, URL_PARAMETERS
from batch.core.units import format_price, format_usd
from batch.ledger import decisions, integrity, redone, runs
from batch.ledger.decisions import Decision
from batch.ledger.input_cache import LOOKING
from batch.ledger.matching import ASKED, WorkMatcher, separate_twins
from batch.ledger.meta import Meta
from batch.ledger.prices import PriceSource
from batch.ledger.redone import LinkRenewal, Naming
from batch.ledger.states import AT_RISK, State, paid

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from batch.core.models import Payload
    from batch.core.parameters import Scalar
    from batch.ledger.groups import PlannedGroups
    from batch.ledger.ledger import Ledger
    from batch.ledger.prices import JobPrice


ROWS_A_PAGE = 1000  # rows in memory at a time

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
    key        TEXT,                          -- … so this identifies the work
    files      TEXT    NOT NULL,
    cells      TEXT    NOT NULL,
    has_query  INTEGER NOT NULL,              -- a URL of it has a query
    stem       TEXT,                          -- its key without any query, where it has a URL
    links      TEXT,                          -- the URLs whose queries are ignored, without their signatures
    long_id    TEXT,
    seed       INTEGER,                       -- as the manifest's row says
    selected   INTEGER NOT NULL DEFAULT 1,
    other_query INTEGER NOT NULL DEFAULT 0,   -- perhaps the image of a paid row under another signature
    redone     INTEGER NOT NULL DEFAULT 0,    -- it keeps the work that a person had made for it
    spares     INTEGER NOT NULL DEFAULT 0     -- the image it asks for was rejected: another is there (1), or to be made (2)
)
"""

_CREATE_INVALID = """
CREATE TEMP TABLE staged_invalid (            -- positions are counted over both tables
    position   INTEGER PRIMARY KEY,
    number     INTEGER NOT NULL,
    id         TEXT    NOT NULL,
    derived    INTEGER NOT NULL,
    error      TEXT    NOT NULL,
    cells      TEXT    NOT NULL,
    texts      TEXT    NOT NULL,
    given      TEXT    NOT NULL,
    selected   INTEGER NOT NULL DEFAULT 1
)
"""

_CREATE_KEPT = """
CREATE TEMP TABLE staged_kept (               -- of the rows of `staged`, those that are invalid as the manifest has them now
    position   INTEGER PRIMARY KEY,
    error      TEXT    NOT NULL,
    given      TEXT    NOT NULL,
    fixed      INTEGER NOT NULL,              -- as in kept_invalid
    cells      TEXT    NOT NULL,              -- as in staged_invalid …
    texts      TEXT    NOT NULL               -- … where its id turns out to be another row's
)
"""

_COLUMNS = "number, id, derived, output, folded, asked_key, job, key, files, cells, has_query, stem, links, long_id, seed, position"

_INSERT = (
    f"INSERT INTO staged ({_COLUMNS}) "
    "VALUES (?1,?2,?3,?4,?5,?6,(SELECT job FROM jobs WHERE payload_key=?7),?8,?9,?10,?11,?12,?13,?14,?15,?16)"
)

_INSERT_FIRST = (  # both tables were empty: the row's number is its job's
    f"INSERT INTO staged ({_COLUMNS}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)"
)

_INSERT_INVALID = "INSERT INTO staged_invalid (position, number, id, derived, error, cells, texts, given) VALUES (?,?,?,?,?,?,?,?)"

_INSERT_KEPT = (
    "INSERT INTO staged_kept VALUES "
    "(?1, ?2, ?3, EXISTS (SELECT 1 FROM kept_invalid WHERE id = ?4 AND given = ?3 AND fixed), ?5, ?6)"
)

_WORK_OF_FIRST = "INSERT INTO jobs (payload_key, parameters) VALUES (?,?)"

_WORK = (  # a link may have been signed again since the job was planned, or since it failed
    "INSERT INTO jobs (payload_key, parameters) VALUES (?,?) ON CONFLICT (payload_key) "
    "DO UPDATE SET parameters=excluded.parameters "
    "WHERE parameters <> excluded.parameters AND state IN ('planned', 'failed', 'expired')"
)

_INDEXES_OF_JOBS = (
    "SELECT name, sql FROM sqlite_master WHERE type='index' AND tbl_name='jobs' AND sql IS NOT NULL"
)

MOST_CONTENTS = 4
"""Contents of one file that are tried when it is gone."""

_ASKED = (
    "CASE WHEN rows.job = excluded.job AND NOT (rows.redone OR excluded.redone) THEN rows.asked_key "
    "ELSE excluded.asked_key END"
)
"""A row that comes back from a report names the seed that was drawn; what it asked for is still a seed of -1."""

_REDONE = (
    f"CASE WHEN rows.job = s.job THEN rows.redone WHEN rows.asked_key = s.asked_key THEN 0 ELSE NOT {redone.IS_STILL_ASKED}"
    "(j.parameters, rows.asked_key, (SELECT a.plain FROM aliases a WHERE a.key = rows.asked_key)) END"
)
"""Whether a row that is merged has other work then than its row of the manifest asks for."""


_KEPT_STATES = ", ".join(f"'{state}'" for state in (State.SAVED, *AT_RISK))
"""A row with such work stays what it is although its line in the manifest has become invalid."""


class Differences(NamedTuple):
    """How staged rows differ from the manifest adopted last.

    `rereads` are (row number, id) of rows that stay as an earlier version read them and were not listed yet; `gone` of the
    `whole` rows of that manifest are not staged, under any id. `renamed` are (id, earlier id) of rows that take over what was made for
    and decided about another; `spared` and `remade` are (row number, id) of rows that ask for an image that was rejected: they
    have another one of the same work, or it is to be made.
    """

    rereads: Sequence[tuple[int, str]] = ()
    gone: int = 0
    whole: int = 0
    renamed: Sequence[tuple[str, str]] = ()
    spared: Sequence[tuple[int, str]] = ()
    remade: Sequence[tuple[int, str]] = ()


class KeptRow(NamedTuple):
    """A row of the manifest that cannot be sent as it is now, and stays what the folder has (see `Stage.keeps`).

    `cells`, `texts` and `reasons` are as in InvalidRow.
    """

    number: int
    id: str
    cells: Mapping[str, str]
    texts: Mapping[str, str]
    reasons: str


class Stage:
    """The staged manifest on one connection; a second Stage on it replaces the first.

    `merge` says that its rows are some of the manifest that was adopted last. `retry_failed` and `pay_again` say which
    known work will be sent once more: only a row that is not may miss its files. `same_template` says that --name is the
    one that the folder's images have. `parted` counts, once they are filled in, the rows that were to stay as the folder has
    them and are invalid, because another row has their id. With `group_by`, a
    column, the temporary table `grouped` gets what each row has there, by its position.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        ignore_url_query: bool = False,
        writable: bool = True,
        merge: bool = False,
        retry_failed: bool = False,
        pay_again: bool = False,
        same_template: bool = True,
        group_by: str | None = None,
    ) -> None:
        self.ledger = ledger
        connection = self._connection = ledger.connection
        self._merge = merge
        self._retry_failed, self._pay_again = retry_failed, pay_again
        self.ignores_url_query = ignore_url_query
        self._keyed = partial(key_and_json, ignore_url_query=ignore_url_query)
        self._writable = writable
        self._jobs = itertools.count(1)
        self._positions = itertools.count(1)
        base, self._knows_rows = connection.execute(
            "SELECT (SELECT coalesce(max(job), 0) FROM jobs), EXISTS (SELECT 1 FROM rows)"
        ).fetchone()
        self._first = writable and base == 0
        self._same_template = same_template
        self._group_by = group_by
        self._matcher: WorkMatcher | None = None
        self._links: LinkRenewal | None = None
        if self._knows_rows:  # else no work can be known under another name
            self._matcher = WorkMatcher(
                connection, base, ignore_url_query=ignore_url_query, writable=writable, merge=merge
            )
            self._links = LinkRenewal(connection) if writable and not merge else None
        self.parted = 0
        self._has_kept = False
        self._long_ids = self._collapsing = self._knows_inputs = False
        self._fold: Callable[[str], str] = str
        for table in (
            "staged", "staged_invalid", "staged_kept", "inputs", "rereads", "aliases", "looking", "took_over", "grouped",
        ):  # fmt: skip
            connection.execute(f"DROP TABLE IF EXISTS temp.{table}")
        connection.execute(_CREATE)
        connection.execute(_CREATE_INVALID)
        connection.execute(_CREATE_KEPT)
        connection.execute("CREATE TEMP TABLE rereads (number INTEGER PRIMARY KEY)")
        connection.execute("CREATE TEMP TABLE took_over (position INTEGER PRIMARY KEY, row INTEGER NOT NULL)")
        connection.execute("CREATE TEMP TABLE grouped (position INTEGER PRIMARY KEY, value TEXT NOT NULL)")
        connection.execute(LOOKING)

    def fill(self, payloads: Iterable[Payload | InvalidRow | KeptRow], fold: Callable[[str], str]) -> int:
        """Take in rows in manifest order, in one transaction; return how many of them are good.

        `fold` makes names equal that a file system may hold to be equal. A seed of -1 is drawn here, the same one as before
        where the row is unchanged: so every body differs from every other, and a second run finds the work of the first.
        """
        execute, self._fold = self._connection.execute, fold
        execute("SAVEPOINT filling")
        try:
            # Keys come in no order, so each would touch another page of an index. Past a few hundred thousand the pages do
            # not fit in memory any more, and every insert reads and writes one. Sorting them once afterwards has no such
            # end: a first run goes without the indexes of `jobs` until its rows are in.
            indexes = execute(_INDEXES_OF_JOBS).fetchall() if self._first else []
            for index in indexes:
                execute(f"DROP INDEX {index['name']}")
            waiting, rows = iter(payloads), 0
            while page := list(itertools.islice(waiting, ROWS_A_PAGE)):
                rows += self._take_in(page)
            for index in indexes:
                try:
                    execute(index["sql"])
                except sqlite3.IntegrityError:  # rows that want the same work
                    self._merge_twins()
                    execute(index["sql"])
            execute("CREATE INDEX temp.staged_id ON staged (id)")
            execute("CREATE INDEX temp.staged_folded ON staged (folded)")
            if self._has_kept:
                rows -= self._part_twins()
            execute("CREATE INDEX temp.staged_invalid_id ON staged_invalid (id, position)")
            execute("CREATE INDEX temp.staged_invalid_number ON staged_invalid (number)")
            if self._long_ids:
                separate_twins(self._connection, fold)
            if self._matcher is not None:
                self._matcher.match(Naming(fold, self.ignores_url_query, self._same_template, self._writable))
        except BaseException:
            if self._connection.in_transaction:  # SQLite itself rolls back when the disk is full
                execute("ROLLBACK TO filling")
                execute("RELEASE filling")
            raise
        execute("RELEASE filling")
        return rows

    def _take_in(self, page: Sequence[Payload | InvalidRow | KeptRow]) -> int:
        """Insert rows and their work; return how many of them are good."""
        work: list[tuple[str, str]] = []
        staged: list[tuple[object, ...]] = []
        for row, position in zip(page, self._positions):  # noqa: B905  the positions have no end
            if isinstance(row, InvalidRow):
                self._stage_invalid(row, position)
                continue
            known = self._as_it_is(row, position) if isinstance(row, KeptRow) else self._staged(row, work)
            staged.append((*known, position))
            if self._group_by is not None:
                value = _value_in(row, self._group_by)
                self._connection.execute("INSERT INTO grouped VALUES (?, ?)", (position, value))
        if self._writable:
            self._connection.executemany(_WORK_OF_FIRST if self._first else _WORK, work)
        self._connection.executemany(_INSERT_FIRST if self._first else _INSERT, staged)
        return len(staged)

    def _as_it_is(self, row: KeptRow, position: int) -> tuple[object, ...]:
        """Return a row of `staged` but for its position: what the ledger has. Note why the manifest's line cannot be used."""
        self._has_kept = True
        texts = texts_json(row.cells), texts_json(row.texts)
        self._connection.execute(_INSERT_KEPT, (position, row.reasons, _given(row), row.id, *texts))
        known = self._connection.execute(
            "SELECT r.*, j.payload_key FROM rows r JOIN jobs j USING (job) WHERE r.id=?", (row.id,)
        ).fetchone()
        return (
            row.number,
            row.id,
            False,
            known["output"],
            self._fold(known["output"]),
            known["asked_key"],
            known["payload_key"],
            None if self._writable else known["payload_key"],
            known["files"] if self._writable else "",
            known["cells"] if self._writable else "",
            False,
            None,
            None,
            None,
            known["manifest_seed"],
        )

    def _part_twins(self) -> int:
        """Let a kept row whose id another row has be invalid; return how many there are.

        What the folder has is for the good row of that id, or for the first one where none is good.
        """
        execute = self._connection.execute
        execute(
            "CREATE TEMP TABLE parted AS SELECT k.position FROM staged_kept k JOIN staged s USING (position) WHERE EXISTS "
            "(SELECT 1 FROM staged o WHERE o.id = s.id AND o.position <> s.position "
            "AND (o.position < s.position OR o.position NOT IN (SELECT position FROM staged_kept)))"
        )
        self.parted = execute(
            "INSERT INTO staged_invalid (position, number, id, derived, error, cells, texts, given) "
            "SELECT position, s.number, s.id, 0, k.error, k.cells, k.texts, k.given "
            "FROM staged_kept k JOIN staged s USING (position) WHERE position IN (SELECT position FROM parted)"
        ).rowcount
        for table in ("staged", "staged_kept"):
            execute(f"DELETE FROM {table} WHERE position IN (SELECT position FROM parted)")
        execute("DROP TABLE temp.parted")
        return self.parted

    def _stage_invalid(self, row: InvalidRow, position: int) -> None:
        self._connection.execute(
            _INSERT_INVALID,
            (
                position,
                row.number,
                row.id,
                row.derived_id,
                row.reasons,
                texts_json(row.cells),
                texts_json(row.texts),
                _given(row),
            ),
        )

    def _staged(self, payload: Payload, work: list[tuple[str, str]]) -> tuple[object, ...]:
        """Return a row of `staged` but for its position; append its key and parameters to `work`."""
        parameters = payload.parameters
        asked_key, text = self._keyed(parameters)
        key = asked_key
        if parameters["seed"] == RANDOM_SEED:
            key, text = self._with_drawn_seed(payload, asked_key)
        work.append((key, text))
        urls = [
            url
            for name in URL_PARAMETERS
            if (url := str(parameters[name])) and not url.startswith(CONTENT_PREFIX)
        ]
        has_query, stem, links = self._linked(parameters, urls, asked_key) if urls else (False, None, None)
        if has_query and self._links:
            self._links.renew(payload)
        self._long_ids = self._long_ids or bool(payload.long_id)
        return (
            payload.number,
            payload.id,
            payload.derived_id,
            payload.output,
            self._fold(payload.output),
            asked_key,
            next(self._jobs) if self._first else key,
            None if self._writable else key,
            texts_json({content: str(path) for content, path in payload.files.items()})
            if self._writable
            else "",
            texts_json(payload.cells) if self._writable or stem else "",
            has_query,
            stem,
            links,
            payload.long_id or None,
            parameters["seed"],
        )

    def _linked(
        self, parameters: Mapping[str, Scalar], urls: Sequence[str], asked_key: str
    ) -> tuple[bool, str | None, str | None]:
        """Return whether a URL has a query, the key without any, and the URLs whose queries are ignored."""
        if not any("?" in url for url in urls):
            return False, asked_key, None
        if not self.ignores_url_query:
            if not self._knows_rows:  # then there is nothing to compare it with
                return True, None, None
            return True, payload_key(parameters, ignore_url_query=True), None
        self._collapsing = True
        return True, asked_key, "\n".join(map(unsigned, urls))

    def _with_drawn_seed(self, payload: Payload, asked_key: str) -> tuple[str, str]:
        """Return key and parameters of a row that asks for any seed: with the seed that it was given before, or a new one."""
        if self._knows_rows:
            before = self._connection.execute(
                f"SELECT j.payload_key, j.parameters FROM {ASKED} r JOIN jobs j USING (job) "
                "WHERE r.id=? AND r.asked_key=? ORDER BY r.past LIMIT 1",
                (payload.id, asked_key),
            ).fetchone()
            if before is not None:
                seed = json.loads(before["parameters"])["seed"]  # with the links of now
                return before["payload_key"], self._keyed({**payload.parameters, "seed": seed})[1]
        return self._keyed({**payload.parameters, "seed": secrets.randbelow(MAX_SEED + 1)})

    def _merge_twins(self) -> None:
        """Let rows that want the same work share the first one's job."""
        execute = self._connection.execute
        execute(
            "CREATE TEMP TABLE twins AS SELECT job, first FROM "
            "(SELECT job, min(job) OVER (PARTITION BY payload_key) AS first FROM jobs) WHERE job <> first"
        )
        execute("UPDATE staged SET job=t.first FROM twins t WHERE t.job = staged.job")
        execute("DELETE FROM jobs WHERE job IN (SELECT job FROM twins)")
        execute("DROP TABLE temp.twins")

    def problems(self, file: str) -> Iterator[Problem]:
        """Yield a problem for each row that repeats an earlier row's id or output name.

        And a warning for each that gets the image of another only because queries are ignored.
        """
        for row in self._connection.execute(
            "SELECT s.number, s.id, s.derived, f.first FROM staged s JOIN "
            "(SELECT id, min(number) AS first FROM staged GROUP BY id HAVING count(*) > 1) f USING (id) "
            "WHERE s.number > f.first ORDER BY s.number"
        ):
            if row["derived"]:
                yield Problem(file, row["number"], None, f"is the same as row {row['first']}.",
                              "Delete one of them, or give both an id.")  # fmt: skip
            else:
                yield _taken(file, row)
        for row in self._connection.execute(
            "SELECT s.number, s.output, o.number AS other, o.output AS taken FROM staged s JOIN "
            "(SELECT folded, min(number) AS first FROM staged GROUP BY folded HAVING count(*) > 1) f USING (folded) "
            "JOIN staged o ON o.number = f.first WHERE s.number > f.first AND s.id <> o.id ORDER BY s.number"
        ):
            same = row["output"] == row["taken"]
            reason = "the same" if same else f"but for upper and lower case the same ({row['taken']!r})"
            yield Problem(file, row["number"], "id", f"its output name {row['output']!r} is {reason} as row "
                          f"{row['other']}'s.", "Change an id, or --name.")  # fmt: skip

        if not self._collapsing:
            return
        for row in self._connection.execute(
            "SELECT s.number, s.id, o.number AS first, o.id AS other FROM staged s JOIN "
            "(SELECT coalesce(job, key) AS work, min(position) AS place FROM staged WHERE links IS NOT NULL "
            "GROUP BY coalesce(job, key) HAVING count(DISTINCT links) > 1) g ON g.work = coalesce(s.job, s.key) "
            "JOIN staged o ON o.position = g.place WHERE s.links IS NOT NULL AND s.links <> o.links ORDER BY s.position"
        ):
            yield Problem(
                file, row["number"], None,
                f"{row['id']!r} differs from {row['other']!r} (row {row['first']}) only in the query of a URL, which "
                "--ignore-url-query leaves out: both get one image, paid once.",
                "If these are different images, run without --ignore-url-query.",
                warning=True,
            )  # fmt: skip

    def problems_of_invalid(self, file: str) -> Iterator[Problem]:
        """Yield a problem for each id that an invalid row shares with another row; afterwards its id is one of its own.

        The later one of the two has the problem. What is yielded by `problems` is not yielded here again.
        """
        execute = self._connection.execute
        for row in execute(
            "WITH every AS (SELECT number, id, 0 AS invalid FROM staged UNION ALL "
            "SELECT number, id, 1 FROM staged_invalid WHERE NOT derived) "
            "SELECT s.number, s.id, s.invalid, f.first FROM every s JOIN (SELECT id, min(number) AS first, "
            "min(number) FILTER (WHERE NOT invalid) AS good FROM every GROUP BY id HAVING count(*) > 1) f USING (id) "
            "WHERE s.number > f.first AND (s.invalid OR s.number = f.good) ORDER BY s.number"
        ).fetchall():
            problem = _taken(file, row)
            if row["invalid"]:
                execute(
                    "UPDATE staged_invalid SET error=ltrim(error || '; ' || ?, '; ') WHERE number=?",
                    (str(problem), row["number"]),
                )
            yield problem
        execute(
            "UPDATE staged_invalid AS i SET id=printf('%s (row %d)', id, number) WHERE id IN (SELECT id FROM staged) "
            "OR EXISTS (SELECT 1 FROM staged_invalid o WHERE o.id = i.id AND o.position < i.position)"
        )

    def keeps(self, row: InvalidRow) -> bool:
        """Return whether the folder has this row with an image, or with work that may be paid: then it stays what it is."""
        if self._merge or not self._knows_rows:
            return False
        found = self._connection.execute(
            f"SELECT 1 FROM rows r JOIN jobs j USING (job) WHERE r.id=? AND j.state IN ({_KEPT_STATES})",
            (row.id,),
        )
        return found.fetchone() is not None

    def is_unedited(self, row: InvalidRow) -> bool:
        """Return whether a row to merge was invalid in the manifest already, and nobody has edited it since."""
        if not self._merge:
            return False
        found = self._connection.execute("SELECT cells, texts FROM invalid WHERE id=?", (row.id,)).fetchone()
        return found is not None and all(
            integrity.parsed(found[name]) == given
            for name, given in (("cells", row.cells), ("texts", row.texts))
        )

    def select(self, ids: Collection[str]) -> list[str]:
        """Select only these ids; return those that no row has."""
        execute = self._connection.execute
        for table in ("staged", "staged_invalid"):
            execute(f"UPDATE {table} SET selected=0")
        return [
            wanted
            for wanted in ids
            if not sum(
                execute(f"UPDATE {table} SET selected=1 WHERE id=?", (wanted,)).rowcount
                for table in ("staged", "staged_invalid")
            )
        ]

    def unknown_ids(self) -> Iterator[tuple[int, str]]:
        """Yield (row number, id) of rows whose id the manifest that was adopted last does not have."""
        for row in self._connection.execute(
            "SELECT number, id FROM (SELECT position, number, id FROM staged UNION ALL "
            "SELECT position, number, id FROM staged_invalid) "
            "WHERE id NOT IN (SELECT id FROM rows WHERE position IS NOT NULL UNION ALL SELECT id FROM invalid) "
            "ORDER BY position"
        ):
            yield row["number"], row["id"]

    def changed_at_risk(self) -> Iterator[tuple[int, str, str]]:
        """Yield (row number, id, state) of selected rows that ask for other work while theirs may be at the service."""
        states = ",".join(f"'{state}'" for state in AT_RISK)
        for row in self._connection.execute(
            "SELECT s.number, s.id, j.state FROM staged s JOIN rows r ON r.id = s.id JOIN jobs j ON j.job = r.job "
            f"WHERE s.selected AND r.job IS NOT s.job AND (r.redone OR r.asked_key <> s.asked_key) AND j.state IN ({states}) "
            "ORDER BY s.position"
        ):
            yield row["number"], row["id"], row["state"]

    # -- what only the folder knows of a row --------------------------------------------------------------------------

    def contents_of(self, path: str) -> list[str]:
        """Return the contents that a file had when it was adopted, the likeliest first; empty for a file never seen."""
        if not self._knows_rows:
            return []
        if not self._knows_inputs:
            self._knows_inputs = True
            self._connection.execute(
                "CREATE TEMP TABLE inputs AS SELECT f.value AS path, f.key AS content, max(r.position IS NOT NULL) AS now, "
                "max(r.row) AS entry FROM rows r, json_each(r.files) f GROUP BY f.value, f.key"
            )
            self._connection.execute("CREATE INDEX temp.inputs_path ON inputs (path)")
        found = self._connection.execute(
            "SELECT content FROM inputs WHERE path=? ORDER BY now DESC, entry DESC LIMIT ?",
            (path, MOST_CONTENTS),
        )
        return [row["content"] for row in found]

    def needs_no_sending(self, payload: Payload) -> bool:
        """Return whether a row's work is known, and is neither sent for the first time nor once more."""
        job = self._known(payload)
        if job is None or job["state"] == State.PLANNED:
            return False
        if job["state"] not in {State.FAILED, State.EXPIRED}:
            return True
        return not self._retry_failed or (bool(job["paid"]) and not self._pay_again)

    def has_paid(self, payload: Payload) -> bool:
        """Return whether this very row's work was paid for in this folder, or perhaps was, or a person had it redone.

        One without an id is known by its work: its id may have been made of what has changed since.
        """
        job = self._known(payload, own_only=not payload.derived_id)
        return job is not None and bool(job["paid"] or job["redone"])

    def has_adopted(self, payload: Payload) -> bool:
        """Return whether the folder has this row with this work."""
        asked_key, _ = self._keyed(payload.parameters)
        found = self._connection.execute(
            "SELECT 1 FROM rows WHERE id=? AND asked_key=?", (payload.id, asked_key)
        )
        return found.fetchone() is not None

    def _known(self, payload: Payload, *, own_only: bool = False) -> sqlite3.Row | None:
        if self._matcher is None:
            return None
        asked_key, _ = self._keyed(payload.parameters)
        return self._matcher.job_of(
            payload.id,
            asked_key,
            own_only=own_only or payload.parameters["seed"] == RANDOM_SEED,
            has_query=any("?" in str(payload.parameters[name]) for name in URL_PARAMETERS),
        )

    def keep_reading(self, payload: Payload) -> None:
        """Note a row that stays as an earlier version read it."""
        self._connection.execute("INSERT OR IGNORE INTO rereads VALUES (?)", (payload.number,))

    def differences(self) -> Differences:
        """Return how these rows differ from the manifest that was adopted last."""
        if not self._knows_rows:
            return Differences()
        rereads = self._connection.execute(
            "SELECT s.number, s.id FROM staged s JOIN rereads USING (number) "
            "WHERE s.id NOT IN (SELECT id FROM kept_readings) ORDER BY s.position"
        ).fetchall()
        renamed = self._connection.execute(
            "SELECT s.id, r.id FROM took_over t JOIN staged s USING (position) JOIN rows r USING (row) ORDER BY s.position"
        ).fetchall()
        spares = "SELECT number, id FROM staged WHERE spares=? AND selected ORDER BY position"
        spared, remade = (
            [*map(tuple, self._connection.execute(spares, (how,)))]
            for how in (redone.KEPT, redone.TO_BE_MADE)
        )
        gone, whole = 0, 0
        if not self._merge:
            gone, whole = self._connection.execute(
                "SELECT count(*) FILTER (WHERE NOT EXISTS (SELECT 1 FROM staged s WHERE s.id = r.id) "
                "AND r.id NOT IN (SELECT id FROM staged_invalid) AND r.row NOT IN (SELECT row FROM took_over)), count(*) FROM rows r WHERE r.position IS NOT NULL"
            ).fetchone()
        return Differences(
            [(row["number"], row["id"]) for row in rereads],
            gone,
            whole,
            [*map(tuple, renamed)],
            spared,
            remade,
        )

    # -- what a run would do, and doing it -----------------------------------------------------------------------------

    def check_changed(self, numbers: Iterable[int]) -> None:
        """Refuse rows that seem to have changed since they were paid for only because the ledger is damaged.

        `numbers` are those of staged rows. Raises FolderError.
        """
        for number in numbers:
            self._connection.execute("CREATE INDEX IF NOT EXISTS temp.staged_number ON staged (number)")
            row = self._connection.execute(
                "SELECT s.id, s.asked_key AS wanted, r.asked_key AS asked, r.redone, old.payload_key AS key, old.parameters "
                "FROM staged s JOIN rows r ON r.id = s.id JOIN jobs old ON old.job = r.job WHERE s.number = ?",
                (number,),
            ).fetchone()
            if row is None:
                continue
            parameters: dict[str, Scalar] = integrity.parsed(row["parameters"])
            if integrity.differs(row["key"], parameters):
                raise integrity.other_work(row["key"])
            if row["redone"]:  # its work says nothing of what its manifest asked for
                continue
            any_seed = {**parameters, "seed": RANDOM_SEED}
            asked = row["asked"] != row["key"] and integrity.differs(row["asked"], any_seed)
            if row["wanted"] == row["key"] or (asked and not integrity.differs(row["wanted"], any_seed)):
                raise integrity.damaged(f"what row {row['id']!r} asked for is not what it was")

    def adopt(
        self,
        columns: Sequence[str],
        *,
        headings: Sequence[tuple[str, str]] | None = None,
        sheet: str = "",
        merge: bool,
        retry_failed: bool,
        name: str | None = None,
        pay_again: bool = False,
    ) -> bool:
        """Make the staged rows the ledger's own; runs inside `atomic`. Return whether all of them are what was asked for.

        `columns` are the manifest's own columns, in order, `headings` all of them (see Meta.HEADINGS), None where they are
        the columns' own names, `sheet` the workbook's sheet that they are in, and `name` the template of its output names. With `merge`
        the rows replace those of the same id and the manifest stays what it was; without, they are the manifest from
        now on, and rows that are no longer in it keep their history but leave the report. A row that was paid for and
        asks for other work keeps what it has, unless it is selected and, where it may be the same image, `pay_again`
        says so.
        """
        ledger, execute = self.ledger, self._connection.execute
        held = self._knows_rows and self._keep_paid_work(pay_again=pay_again)
        execute(  # a seed that was drawn for a row is used again when it asks for the same once more
            "INSERT OR REPLACE INTO drawn SELECT r.id, r.asked_key, r.job FROM rows r JOIN staged s USING (id) "
            "JOIN jobs j ON j.job = r.job WHERE s.job <> r.job AND j.payload_key <> r.asked_key AND NOT r.redone"
        )
        execute("UPDATE rows SET selected=0 WHERE selected")
        if merge:
            self._take_in_repaired()
            self._connection.create_function(
                redone.IS_STILL_ASKED, 3, redone.is_still_asked, deterministic=True
            )
            execute(  # what the manifest asks for stays what it was
                f"UPDATE rows SET selected=s.selected, output=s.output, redone={_REDONE}, "
                "files=json_patch(rows.files, s.files), cells=json_patch(rows.cells, s.cells), job=s.job "
                "FROM staged s JOIN jobs j ON j.job = s.job WHERE s.id = rows.id"
            )
        else:
            execute("DELETE FROM invalid")
            execute(
                "INSERT INTO invalid (position, number, id, error, cells, texts, given, selected) "
                "SELECT position, number, id, error, cells, texts, given, selected FROM staged_invalid"
            )
            execute("DELETE FROM kept_invalid")
            execute(
                "INSERT INTO kept_invalid (id, error, given, fixed) "
                "SELECT s.id, k.error, k.given, k.fixed FROM staged_kept k JOIN staged s USING (position)"
            )
            execute("UPDATE rows SET position=NULL WHERE position IS NOT NULL")
            execute(
                "INSERT INTO rows (id, position, job, asked_key, output, cells, files, selected, redone, manifest_seed) "
                "SELECT id, position, job, asked_key, output, cells, files, selected, redone, seed FROM staged WHERE true "
                "ORDER BY position ON CONFLICT (id) DO UPDATE SET position=excluded.position, job=excluded.job, "
                f"asked_key={_ASKED}, output=excluded.output, cells=excluded.cells, files=excluded.files, "
                "selected=excluded.selected, redone=excluded.redone, manifest_seed=excluded.manifest_seed"
            )
            execute(  # the earlier work and the decisions of a row that was renamed
                "INSERT INTO candidates (row, series, job) SELECT r.row, c.series, c.job FROM took_over t "
                "JOIN staged s USING (position) JOIN rows r ON r.id = s.id JOIN candidates c ON c.row = t.row "
                "WHERE true ON CONFLICT DO NOTHING"
            )
            execute(
                "INSERT INTO decisions (row, decision, reason, note, by, at, sha256) "
                "SELECT r.row, d.decision, d.reason, d.note, d.by, d.at, d.sha256 FROM took_over t "
                "JOIN staged s USING (position) JOIN rows r ON r.id = s.id JOIN decisions d ON d.row = t.row ORDER BY d.seq"
            )
            ledger.set_meta(Meta.COLUMNS, json.dumps(list(columns), ensure_ascii=False))
            if headings is not None:
                ledger.set_meta(Meta.HEADINGS, json.dumps(list(headings), ensure_ascii=False))
                ledger.set_meta(Meta.SHEET, sheet)
            if name is not None:
                ledger.set_meta(Meta.NAME, name)
            ledger.set_meta(Meta.IGNORE_URL_QUERY, str(int(self.ignores_url_query)))
        execute("INSERT OR IGNORE INTO kept_readings SELECT s.id FROM staged s JOIN rereads USING (number)")
        if retry_failed:
            runs.requeue_failed(ledger, pay_again=pay_again)
        return not held

    def _take_in_repaired(self) -> None:
        """Let rows to merge that were invalid in the manifest take the places of these; note those that still are.

        What the manifest says of a row that a person gave other work is noted, so that no later run complains of it.
        """
        execute = self._connection.execute
        execute("UPDATE invalid SET selected=0 WHERE selected")
        execute(
            "UPDATE kept_invalid SET fixed=1 WHERE id IN "
            "(SELECT s.id FROM staged s JOIN rows r USING (id) WHERE r.job <> s.job)"
        )
        execute(
            "INSERT OR REPLACE INTO kept_invalid (id, error, given, fixed) "
            "SELECT id, error, given, 1 FROM invalid WHERE id IN (SELECT id FROM staged)"
        )
        execute(
            "UPDATE invalid AS i SET selected=s.selected, cells=s.cells, texts=s.texts, "
            "error=CASE WHEN i.cells = s.cells AND i.texts = s.texts THEN i.error ELSE s.error END "
            "FROM staged_invalid s WHERE s.id = i.id"
        )
        execute(
            "INSERT INTO rows (id, position, job, asked_key, output, cells, files, manifest_seed) "
            "SELECT s.id, i.position, s.job, s.asked_key, s.output, s.cells, s.files, s.seed "
            "FROM staged s JOIN invalid i USING (id) WHERE true ON CONFLICT (id) DO UPDATE SET position=excluded.position, "
            "job=excluded.job, asked_key=excluded.asked_key, output=excluded.output, cells=excluded.cells, "
            "files=excluded.files, redone=0, manifest_seed=excluded.manifest_seed"
        )
        execute("DELETE FROM invalid WHERE id IN (SELECT id FROM staged)")

    def _keep_paid_work(self, *, pay_again: bool) -> bool:
        """Let rows keep what was paid for where other work was not confirmed; return whether there are any."""
        execute = self._connection.execute
        marked = (
            execute("SELECT 1 FROM staged WHERE other_query LIMIT 1").fetchone() is not None and not pay_again
        )
        if not marked and execute("SELECT 1 FROM staged WHERE NOT selected LIMIT 1").fetchone() is None:
            return False
        # A row keeps its job while the new one is only planned (nothing is lost by forgetting it), the old one was paid, and
        # the row is left out by --only or waits for a yes.
        kept = execute(
            "UPDATE staged AS s SET job=r.job, asked_key=r.asked_key, output=r.output, files=r.files, other_query=0, "
            "redone=r.redone, seed=r.manifest_seed "
            "FROM rows r, jobs old, jobs new WHERE r.id = s.id AND old.job = r.job AND new.job = s.job AND r.job <> s.job AND new.state = 'planned' "
            f"AND (NOT s.selected OR (s.other_query AND NOT ?)) AND {paid('old')}",
            (pay_again,),
        ).rowcount
        if marked:  # those that have nothing to keep wait
            execute("UPDATE staged SET selected=0 WHERE other_query")
        return marked or kept > 0


def adopt_unchanged(ledger: Ledger, *, retry_failed: bool, pay_again: bool = False) -> None:
    """Make the manifest that was adopted last the current one again, all its rows selected. Runs inside `atomic`."""
    ledger.connection.execute(
        "UPDATE rows SET selected = position IS NOT NULL WHERE selected <> (position IS NOT NULL)"
    )
    if retry_failed:
        runs.requeue_failed(ledger, pay_again=pay_again)


# -- what a run would do: the rows of a manifest beside what the ledger knows of them ----------------------------------


def _given(row: InvalidRow | KeptRow) -> str:
    """Return what identifies an invalid row as the manifest has it now."""
    return hashlib.sha256(f"{texts_json(row.cells)}{texts_json(row.texts)}".encode()).hexdigest()


def _value_in(payload: Payload | KeptRow, column: str) -> str:
    """Return what a row has in a column, a parameter or one of its own; of a local image the file, "" for nothing."""
    if isinstance(payload, KeptRow):
        return payload.cells.get(column, payload.texts.get(column, ""))
    value = payload.parameters.get(column)
    if value is None:
        return payload.cells.get(column, "")
    if isinstance(value, bool):
        return str(value).lower()
    return str(payload.files.get(str(value), value))


STAGED = f"""
SELECT s.position AS place, s.number, s.id, coalesce(s.job, s.key) AS work, new.state AS state, s.other_query,
       old.job IS NOT NULL AND {paid("old")} AS was_paid,
       coalesce(new.state IN ('failed', 'expired') AND {paid("new")}, 0) AS ended_paid,
       s.redone AND NOT s.spares AND s.position NOT IN (SELECT position FROM staged_kept WHERE NOT fixed) AS kept
FROM staged s
LEFT JOIN jobs new ON new.job = s.job
LEFT JOIN rows r ON r.id = s.id
LEFT JOIN jobs old ON old.job = r.job AND r.job IS NOT s.job
WHERE s.selected
"""

_KEPT_INVALID = "SELECT s.id FROM staged_kept k JOIN staged s USING (position) WHERE s.selected AND NOT k.fixed ORDER BY position"

ADOPTED = f"""
SELECT r.position AS place, r.position AS number, r.id, r.job AS work, new.state AS state, 0 AS other_query, 0 AS was_paid,
       new.state IN ('failed', 'expired') AND {paid("new")} AS ended_paid, r.redone AS kept
FROM rows r JOIN jobs new ON new.job = r.job
WHERE r.position IS NOT NULL
"""
"""The rows of the manifest adopted last, all selected: each has the job it had, so none has changed."""

OTHER_QUERY = "its image was paid for under another URL query"
EXPIRED_PAID = "expired, paid"
FAILED_PAID = "failed, paid"
_WHY = {State.FAILED: FAILED_PAID, State.EXPIRED: EXPIRED_PAID}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do: counts of the selected rows, and of the jobs it would pay for.

    `changed` names rows whose id was paid for with other work before: (row number, id). `again` names rows whose very
    work was paid for before and would be once more, with the reason: (id, why); `again_jobs` is how many
    jobs that is, which are in `to_send` only when the settings say yes to them. `jobs` counts the jobs of each kind of
    row, by the kind's name here: rows that want the same work share one, and it is paid for once. `price` is what
    one job is expected to cost, in micro-dollars, and `price_source` where that is known from. `candidates` of the jobs in `to_send` are
    further images of rows, which were asked for. `invalid` rows are left out, and in none of the other counts. `kept` are the ids of rows that keep what a person had made for them,
    `kept_invalid` those of saved, perhaps paid rows that the manifest has as invalid now and that stay what they are,
    `accepted` those of changed rows whose image was accepted. `redo`: a person asked to have rows made again, so that what
    was paid for before is `changed` by that and not by an edit. `groups` counts the rows by a column, where one was
    asked for.
    """

    rows: int
    new: int
    changed: tuple[tuple[int, str], ...]
    done: int
    in_flight: int
    unknown: int
    failed: int
    to_send: int
    price: int
    price_source: PriceSource
    again: tuple[tuple[str, str], ...] = ()
    again_jobs: int = 0
    jobs: Mapping[str, int] = field(default_factory=dict)
    invalid: int = 0
    candidates: int = 0
    kept: tuple[str, ...] = ()
    kept_invalid: tuple[str, ...] = ()
    accepted: frozenset[str] = frozenset()
    redo: bool = False
    groups: PlannedGroups | None = None

    def piloted(self, pilot: int, candidates: int = 1) -> int:
        """Return how many of the jobs to send a pilot of `pilot` rows sends, each with its candidates."""
        return min(self.to_send, pilot * candidates)

    @property
    def each(self) -> str:
        """The price of one job in words, and where it is known from."""
        return f"{format_price(self.price)} each ({self.price_source})"

    def about(self, cost: int) -> str:
        """Return a cost in micro-dollars in words, with where the price is known from unless it was paid."""
        known = "" if self.price_source is PriceSource.PAID else f" ({self.price_source})"
        return f"about {format_usd(cost)}{known}"

    def cost_of(self, kind: str) -> int:
        """Return the micro-dollars that the jobs of one kind of row cost."""
        return self.jobs[kind] * self.price

    @property
    def candidates_cost(self) -> int:
        """Micro-dollars that further images of rows cost."""
        return self.candidates * self.price

    @property
    def again_cost(self) -> int:
        """Micro-dollars that paying for the same work again costs."""
        return self.again_jobs * self.price

    @property
    def cost(self) -> int:
        """Micro-dollars the jobs to send will cost."""
        return self.to_send * self.price


_FRESH = "(state IS NULL OR state = 'planned')"
"""Of a row of STAGED or ADOPTED: nothing was sent for its job."""


def _again(*, retry_failed: bool) -> str:
    """Return the condition on a row of STAGED or ADOPTED that its work would be paid for again, which needs a yes."""
    return f"((({_FRESH} OR state IN ('sending', 'unknown')) AND other_query) OR ({int(retry_failed)} AND ended_paid))"


def sent_condition(*, retry_failed: bool, pay_again: bool) -> str:
    """Return the condition on a row of STAGED or ADOPTED that its job is to be sent."""
    ended = f"({int(retry_failed)} AND state IN ('failed', 'expired'))"
    return f"(({_FRESH} OR {ended}) AND ({int(pay_again)} OR NOT {_again(retry_failed=retry_failed)}))"


def compare(
    ledger: Ledger,
    rows: str,
    *,
    retry_failed: bool,
    price: JobPrice,
    pay_again: bool = False,
) -> Plan:
    """Return what a run of these rows, STAGED or ADOPTED, would do; with `pay_again` it pays for the same work again."""
    fresh, again = _FRESH, _again(retry_failed=retry_failed)
    sent = sent_condition(retry_failed=retry_failed, pay_again=pay_again)
    edited = f"{fresh} AND was_paid AND NOT other_query"
    ended = "state IN ('failed', 'expired', 'abandoned')"
    # Each row is of one kind; rows that share a job are counted each, and their job once.
    kinds = {
        "new": f"{fresh} AND NOT was_paid AND NOT other_query",
        "changed": edited,
        "done": "state = 'saved'",
        "unknown": "state = 'unknown'",
        "in_flight": "state IN ('sending', 'accepted', 'completed')",
        "failed": ended,
    }
    counted = "".join(
        f"count(*) FILTER (WHERE {of}) AS {kind}, count(DISTINCT work) FILTER (WHERE {of}) AS {kind}_jobs, "
        for kind, of in kinds.items()
    )
    counts = ledger.connection.execute(
        f"SELECT count(*) AS rows, {counted}"
        f"count(DISTINCT work) FILTER (WHERE {sent}) AS to_send, "
        f"count(DISTINCT work) FILTER (WHERE {again}) AS again_jobs, count(*) FILTER (WHERE kept) AS kept FROM ({rows})"
    ).fetchone()
    figures = dict(counts)
    kept_invalid: tuple[str, ...] = ()
    if rows == STAGED:
        kept_invalid = tuple(row["id"] for row in ledger.connection.execute(_KEPT_INVALID))
        (figures["invalid"],) = ledger.connection.execute(
            "SELECT count(*) FROM staged_invalid WHERE selected"
        ).fetchone()
    jobs = {kind: figures.pop(f"{kind}_jobs") for kind in kinds}
    changed = _numbered(ledger, rows, edited) if figures.pop("changed") else ()
    kept = _numbered(ledger, rows, "kept") if figures.pop("kept") else ()
    accepted: frozenset[str] = frozenset()
    if changed:
        accepted = decisions.rows_with(ledger, Decision.ACCEPTED).intersection(
            row_id for _, row_id in changed
        )
    paid_before: list[tuple[str, str]] = []
    if figures["again_jobs"]:
        found = ledger.connection.execute(f"SELECT id, state FROM ({rows}) WHERE {again} ORDER BY place")
        paid_before = [(row["id"], _WHY.get(row["state"], OTHER_QUERY)) for row in found]
    return Plan(
        **figures,
        changed=changed,
        again=tuple(paid_before),
        jobs=jobs,
        price=price.micro,
        price_source=price.source,
        kept=tuple(row_id for _, row_id in kept),
        kept_invalid=kept_invalid,
        accepted=accepted,
    )


def _numbered(ledger: Ledger, rows: str, condition: str) -> tuple[tuple[int, str], ...]:
    found = ledger.connection.execute(f"SELECT number, id FROM ({rows}) WHERE {condition} ORDER BY number")
    return tuple((row["number"], row["id"]) for row in found)


def _taken(file: str, row: sqlite3.Row) -> Problem:
    """Return the problem of a row whose id is that of the row `first`."""
    reason = f"{row['id']!r} is already the id of row {row['first']}."
    return Problem(file, row["number"], "id", reason, "Give each row an id of its own.")
