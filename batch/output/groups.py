"""--group-by: the column by which a folder's rows and money are counted, and how summary.json has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batch.core.errors import UsageError
from batch.core.parameters import PARAMETERS
from batch.core.units import MICRO
from batch.ledger import totals
from batch.ledger.groups import folder_groups
from batch.ledger.meta import Meta

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch.ledger.groups import Group
    from batch.ledger.ledger import Ledger

_PARAMETERS = tuple(parameter.name for parameter in PARAMETERS)


def group_column(asked: str, own: Iterable[str]) -> str:
    """Return the column that --group-by means, a parameter or one of the manifest's `own`.

    Case, blanks, - and _ do not matter where only one column is spelled so. Raises UsageError, with the columns there are.
    """
    known = list(dict.fromkeys((*(name for name in own if name != "id"), *_PARAMETERS)))
    if asked in known:
        return asked
    alike = [name for name in known if _fold(name) == _fold(asked)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        raise UsageError(
            f"--group-by {asked}: may be {' or '.join(map(repr, alike))}. Write it as the heading is."
        )
    raise UsageError(f"--group-by {asked}: no column has that heading. There are: {', '.join(known)}.")


def _fold(name: str) -> str:
    return "".join(
        character for character in name.casefold() if not character.isspace() and character not in "-_"
    )


def remember(ledger: Ledger, asked: str) -> None:
    """Let the folder's later reports count by a column too. Runs inside `atomic`; raises UsageError."""
    ledger.set_meta(Meta.GROUP_BY, group_column(asked, totals.columns(ledger)))


def missing_column(ledger: Ledger) -> str | None:
    """Return the column that the folder remembers where the manifest of today does not have it; else None."""
    column = ledger.meta(Meta.GROUP_BY)
    return None if column in {None, *totals.columns(ledger), *_PARAMETERS} else column


def grouped(ledger: Ledger, asked: str | None = None) -> dict[str, Any] | None:
    """Return the figures by the column `asked`, else by the one that the folder remembers, as summary.json has them.

    None where there is neither, or where the manifest of today does not have the remembered column.
    """
    own = totals.columns(ledger)
    column = group_column(asked, own) if asked is not None else ledger.meta(Meta.GROUP_BY)
    if column is None or (asked is None and missing_column(ledger) is not None):
        return None
    found, other = folder_groups(ledger, column)
    figures: dict[str, Any] = {
        "column": column,
        "values": [{"value": each.value, **_figures(each)} for each in found],
    }
    if other is not None:
        figures["other"] = _figures(other)
    return figures


def _figures(group: Group) -> dict[str, Any]:
    return {
        "rows": group.rows,
        "saved": group.saved,
        "failed": group.failed,
        "spent_usd": group.spent / MICRO,
    }
