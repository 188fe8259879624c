"""What is read from the ledger, held against what can have been written: a disk may flip a bit, and SQLite would not see it.

A text that is not what it was is refused where something is decided by it: it is never taken for other work. Every
column is examined only when an error of ours is being reported, to distinguish a damaged file from a mistake in the program.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from batch.core.errors import FolderError
from batch.core.models import KEY_PREFIX, payload_key
from batch.core.parameters import PARAMETERS
from batch.ledger.states import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batch.core.parameters import Scalar

RESTORE = (
    "Restore it from a copy, and leave it where it is: it alone knows which rows were paid for. Without a copy, the "
    "account's request history shows what was paid for."
)
"""What to do about a damaged ledger."""

_TYPES: dict[str, dict[str, tuple[str, ...]]] = {
    "jobs": {
        "text": ("payload_key", "parameters", "state", "request_id", "output_url", "sent", "error_class", "error", "sha256", "run_id"),
        "integer": ("attempts", "estimate", "cost", "http_status", "width", "height"),
        "real": ("submitted_at", "completed_at", "skew", "queue_s", "inference_s", "total_s"),
    },
    "rows": {
        "text": ("id", "asked_key", "output", "cells", "files", "kept_output"),
        "integer": ("position", "job", "selected", "kept_job"),
    },
    "events": {
        "text": ("event", "state", "detail", "request_id", "run_id"),
        "integer": ("job", "attempt", "estimate", "cost"),
        "real": ("at",),
    },
    "meta": {"text": ("name", "value")},
}  # fmt: skip


def examine(connection: sqlite3.Connection) -> str | None:
    """Return what in a ledger cannot be right, None when nothing is found."""
    try:
        found: str = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        found = next(missing_columns(connection), found)
        _check_types(connection)
        _check_texts(connection)
    except sqlite3.Error as exc:
        away = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _AWAY
        return None if away else str(exc)
    except (FolderError, ValueError, AttributeError) as exc:
        return str(exc)
    return None if found == "ok" else found


def missing_columns(connection: sqlite3.Connection) -> Iterator[str]:
    """Yield what every ledger has and this one has not: a flipped bit may have changed a name."""
    for table, names in _columns().items():
        for name in names - {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}:
            yield f"table {table} has no column {name}"


@cache
def _columns() -> dict[str, set[str]]:
    """Return the columns of every table that the first ledgers had already."""
    with closing(sqlite3.connect(":memory:")) as empty:
        empty.executescript(
            resources.files("batch.ledger").joinpath("schema.sql").read_text(encoding="utf-8")
        )
        tables = [row[0] for row in empty.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return {table: {row[1] for row in empty.execute(f"PRAGMA table_info({table})")} for table in tables}


def _check_types(connection: sqlite3.Connection) -> None:
    """Check that every column holds the type of value that is written there; raises ValueError."""
    for table, kinds in _TYPES.items():
        for kind, columns in kinds.items():
            for row in connection.execute(f"SELECT {', '.join(columns)} FROM {table}"):
                for name, value in zip(columns, row, strict=True):
                    if value is not None and not isinstance(value, _PYTHON[kind]):
                        raise ValueError(f"{table}.{name} holds {value!r}")


def _check_texts(connection: sqlite3.Connection) -> None:
    """Read every text that has a form; raises FolderError, ValueError."""
    for row in connection.execute("SELECT state, parameters, sent FROM jobs"):
        state_of(row["state"])
        parsed(row["sent"] or "{}")
        for name in {parameter.name for parameter in PARAMETERS} - parsed(row["parameters"]).keys():
            raise ValueError(f"a job has no {name}")
    for row in connection.execute("SELECT cells, files FROM rows"):
        parsed(row["cells"])
        parsed(row["files"])
    for row in connection.execute("SELECT event, state FROM events"):
        state_of(row["state"])
        Event(row["event"])


_AWAY = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOMEM,
    }
)  # fmt: skip
"""SQLite's result codes that say nothing of what is in the file."""

_PYTHON: dict[str, tuple[type, ...]] = {"text": (str,), "integer": (int,), "real": (int, float)}


def damaged(what: str) -> FolderError:
    """Return the error for a ledger whose content cannot be right."""
    return FolderError(f"ledger.sqlite: is damaged ({what}). {RESTORE}")


def parsed(text: str) -> Any:
    """Return the object that a JSON text of the ledger holds; raises FolderError when it holds none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise damaged(f"{text[:60]!r} is not JSON: {exc}") from exc
    if not isinstance(found, dict | list):
        raise damaged(f"{text[:60]!r} is not what was written there")
    return found


def state_of(text: str) -> State:
    """Return the state that a text of the ledger names; raises FolderError."""
    try:
        return State(text)
    except ValueError as exc:
        raise damaged(f"{text!r} is not a state") from exc


def other_work(key: str) -> FolderError:
    """Return the error for work whose parameters are not those that its key was made of."""
    return damaged(f"the parameters of {key} are not what they were")


def differs(key: str, parameters: Mapping[str, Scalar]) -> bool:
    """Return whether a key certainly is that of other parameters; a URL with a query may have been keyed in several ways."""
    try:
        if not key.startswith(KEY_PREFIX):
            return False
        if any(isinstance(value, str) and "://" in value and "?" in value for value in parameters.values()):
            return False
        return payload_key(parameters) != key
    except (KeyError, TypeError, ValueError) as exc:
        raise damaged(f"parameters are missing: {exc!r}") from exc
