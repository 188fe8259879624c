"""One answer of the history: its rows, read as entries, and whether it says that more follow. Pure.

The field names are published, the names of the list and of its times are not: the list is whichever one has items with a
`request_id`, the time whichever readable field names creation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batch.client.http import from_json
from batch.client.responses import LONGEST, micro_dollars, read_time
from batch.core.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

_CREATED = ("model_created", "created_at", "created", "createdAt", "timestamp", "started_at")
_TOTALS = frozenset(
    {"total", "totalcount", "totalitems", "totalrecords", "totalresults", "totalrows", "totalelements"}
)
_PAGES = frozenset({"totalpages", "pagecount", "pages", "lastpage", "numpages"})
_MORE = frozenset({"hasnext", "hasmore", "hasnextpage", "more"})
_NEXT = frozenset({"next", "nextpage", "nexturl", "nextcursor", "nextpagetoken"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as the history lists it: `created` in epoch seconds by the service's clock, `cost` in micro-dollars.

    `status` is COMPLETED, FAILED, PENDING or any other word of the service; `body` None when it cannot be read. `coarse_s`
    is how coarse the time may be: 60 for one without seconds. `cost` None where the history names none, or zero.
    """

    request_id: str
    status: str
    body: Mapping[str, Any] | None
    created: float | None
    cost: int | None
    url: str | None
    error: str | None
    coarse_s: float = 0.0
    model: str | None = None


def find_rows(body: Any) -> list[Any] | None:
    """Return the list of requests wherever the answer keeps it; an empty list when that is all there is; else None."""
    empty: list[Any] | None = None
    waiting = [body]
    for value in waiting:  # which grows
        if isinstance(value, list):
            if any(isinstance(item, Mapping) and "request_id" in item for item in value):
                return value
            empty = value if not value else empty
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
    return empty


def read_entry(row: Any) -> Entry | None:
    """Read one row of the history; None for anything else."""
    if not isinstance(row, Mapping) or not isinstance(row.get("request_id"), str):
        return None
    url, error, model = row.get("generation_url"), row.get("error"), row.get("model_name")
    created, coarse_s = _created(row)
    return Entry(
        request_id=row["request_id"],
        status=str(row.get("model_status") or row.get("status") or "").upper(),
        body=_body(row.get("request_body")),
        created=created,
        cost=micro_dollars(row.get("credits_deduction")) or None,
        url=url if isinstance(url, str) and url else None,
        error=visible(error[:LONGEST]) if isinstance(error, str) and error else None,
        coarse_s=coarse_s,
        model=model if isinstance(model, str) and model else None,
    )


def _body(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str):
        value = from_json(value.encode())
    return value if isinstance(value, Mapping) else None


def _created(row: Mapping[str, Any]) -> tuple[float | None, float]:
    """Return when a request was created, None where no field has it, and how coarse that time may be, in seconds."""
    names = [*_CREATED, *(name for name in row if "creat" in name.lower() or "submit" in name.lower())]
    for name in names:
        value = row.get(name)
        moment = read_time(str(value)) if isinstance(value, str | int | float) else None
        if moment is not None:
            return moment, _coarse_s(str(value), moment)
    return None, 0.0


def _coarse_s(text: str, moment: float) -> float:
    """Return by how many seconds a time may be coarse: a whole minute, a whole hour or a bare date may have been cut."""
    try:
        written = datetime.fromisoformat(text.strip())
    except ValueError:
        written = datetime.fromtimestamp(moment, UTC)
    if written.microsecond:
        return 0.0
    if written.second:
        return 1.0
    if written.minute:
        return 60.0
    return 3600.0 if written.hour else 86_400.0


def ids_in(rows: Sequence[Any]) -> set[str]:
    """Return the request ids of a page's rows."""
    return {entry.request_id for entry in map(read_entry, rows) if entry is not None}


def last_time(rows: Sequence[Any], seen: AbstractSet[str], before: float) -> float:
    """Return the time of the last new row if the rows continue from `before`, newest first; else minus infinity."""
    for entry in map(read_entry, rows):
        if entry is None or entry.created is None:
            return -math.inf
        if entry.request_id in seen:  # of the page before, pushed down
            continue
        if entry.created > before:
            return -math.inf
        before = entry.created
    return before


def says_more(body: Any, rows: Sequence[Any], page: int, position: int) -> bool | None:
    """Return whether an answer says that rows follow behind `position`; None when it does not say.

    A total no larger than the first page may be the number of the page's own rows: it says nothing.
    """
    said: set[bool] = set()
    waiting = [body]
    while waiting:
        value = waiting.pop()
        if not isinstance(value, Mapping):
            continue
        for name, inner in value.items():
            plain = str(name).lower().replace("_", "").replace("-", "")
            number = isinstance(inner, int) and not isinstance(inner, bool)
            if number and plain in _TOTALS and (inner > position or page > 1 or not inner):
                said.add(inner > position)
            elif number and plain in _PAGES and rows:
                said.add(inner > page)
            elif isinstance(inner, bool) and plain in _MORE:
                said.add(inner)
            elif plain in _NEXT and (inner is None or isinstance(inner, str | int)):
                said.add(bool(inner))
            waiting.append(inner)
    return True if True in said else False if said else None
