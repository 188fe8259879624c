"""Many rows into an empty table: its indexes are left out meanwhile, and made anew by sorting.

Hashes come in no order, so each would touch another page of an index; past a few hundred thousand the pages no longer
fit in memory, and every insert reads and writes one. Sorting has no such end. All of it belongs to the transaction
that is open: a run that is killed meanwhile leaves the table and its indexes as they were.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def loading(connection: sqlite3.Connection, table: str, merge_twins: Callable[[], None]) -> Iterator[None]:
    """Fill `table` within the block; `merge_twins` is called when rows turn out to break a unique index."""
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type='index' AND tbl_name=? AND sql IS NOT NULL", (table,)
    ).fetchall()
    for index in indexes:
        connection.execute(f"DROP INDEX {index['name']}")
    yield
    for index in indexes:
        try:
            connection.execute(index["sql"])
        except sqlite3.IntegrityError:
            merge_twins()
            connection.execute(index["sql"])
