"""--group-by: the column by which a folder's rows and money are counted, and how summary.json has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from batch.core.errors import UsageError
from batch.core.parameters import PARAMETERS
from batch.core.units import MICRO
from batch.ledger import totals
from batch.ledger.groups import folder_groups
from batch.ledger.meta import Meta
from batch.manifest.columns import ID, fold

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batch.ledger.groups import Group
    from batch.ledger.ledger import Ledger

_PARAMETERS = tuple(parameter.name for parameter in PARAMETERS)


class GroupColumn(NamedTuple):
    """A column by which rows are counted: its name in rows, a parameter's or an own column's, and its heading."""

    name: str
    heading: str


def group_column(asked: str, headings: Iterable[tuple[str, str]]) -> GroupColumn:
    """Return the column that --group-by means; `headings` are the manifest's, as Meta.HEADINGS has them.

    It is a heading or a parameter. Case, blanks, - and _ do not matter where only one is spelled so. Raises UsageError, with
    the columns there are.
    """
    known = {heading: meaning or heading for heading, meaning in headings if ID not in {heading, meaning}}
    known |= {name: name for name in _PARAMETERS if name not in known.values()}
    if asked in known:
        return GroupColumn(known[asked], asked)
    alike = [
        GroupColumn(name, heading)
        for heading, name in known.items()
        if fold(asked) in {fold(heading), fold(name)}
    ]
    if len(alike) == 1:
        return alike[0]
    if alike:
        which = " or ".join(repr(each.heading) for each in alike)
        raise UsageError(f"--group-by {asked}: may be {which}. Write it as the heading is.")
    raise UsageError(f"--group-by {asked}: no column has that heading. There are: {', '.join(known)}.")


def headings_of(ledger: Ledger) -> list[tuple[str, str]]:
    """Return the headings of a folder's manifest, those of one that an earlier version adopted too."""
    return totals.headings(ledger) or [(name, "") for name in totals.columns(ledger)]


def remember(ledger: Ledger, asked: str) -> None:
    """Let the folder's later reports count by a column too. Runs inside `atomic`; raises UsageError."""
    ledger.set_meta(Meta.GROUP_BY, group_column(asked, headings_of(ledger)).name)


def missing_column(ledger: Ledger) -> str | None:
    """Return the column that the folder remembers where the manifest of today does not have it; else None."""
    column = ledger.meta(Meta.GROUP_BY)
    return None if column in {None, *totals.columns(ledger), *_PARAMETERS} else column


def grouped(ledger: Ledger, asked: str | None = None) -> dict[str, Any] | None:
    """Return the figures by the column `asked`, else by the one that the folder remembers, as summary.json has them.

    None where there is neither, or where the manifest of today does not have the remembered column.
    """
    remembered = ledger.meta(Meta.GROUP_BY)
    if asked is not None:
        column = group_column(asked, headings_of(ledger))
    elif remembered is None or missing_column(ledger) is not None:
        return None
    else:
        written = {meaning or heading: heading for heading, meaning in headings_of(ledger)}
        column = GroupColumn(remembered, written.get(remembered, remembered))
    found, other = folder_groups(ledger, column.name)
    figures: dict[str, Any] = {
        "column": column.heading,
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
