"""The account's request history: the only way to learn whether a submit without an answer was accepted.

Its field names are published, the name of its list and of its times are not: the list is whichever one has items with
a `request_id`, the time whichever readable field speaks of creation. Any error means "not reachable", never a stop.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import stamina

from batch.errors import NoAnswer, RunStopped, ServiceError
from batch.parameters import MODEL
from batch.remote.api import HISTORY_LIMIT
from batch.remote.values import micro_dollars, read_time

if TYPE_CHECKING:
    from batch.remote.client import Client

PATH = "/inference-request/request-history"
PER_PAGE = 100
MOST_PAGES = 1000
MOST_DAYS = 31  # the service lists no longer window
DAY_S = 86_400.0
TRIES = 4

_CREATED = ("model_created", "created_at", "created", "createdAt", "timestamp", "started_at")


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as the history tells it: `created` in epoch seconds by the service's clock, `cost` micro-dollars.

    `status` is COMPLETED, FAILED, PENDING or what else the service says; `body` None when it cannot be read.
    """

    request_id: str
    status: str
    body: Mapping[str, Any] | None
    created: float | None
    cost: int | None
    url: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The history back to `since` (service's clock), each request once, newest first.

    `complete` says that every page back to there was read, and every row of them understood; `skew` is our clock minus
    the service's, in seconds, None when the answers carry no date.
    """

    entries: tuple[Entry, ...]
    since: float
    complete: bool
    skew: float | None


async def read_back(client: Client, since: float) -> Listing:
    """Read every page back to `since` (epoch seconds, our clock). Raises NoAnswer when the history is not reachable."""
    entries: dict[str, Entry] = {}
    skew: float | None = None
    readable, short = True, False
    # A day earlier: the dates are calendar days of an unknown time zone, and clocks differ.
    first = datetime.fromtimestamp(max(since, client.clock() - (MOST_DAYS - 2) * DAY_S) - DAY_S, UTC).date()
    for page in range(1, MOST_PAGES + 1):
        query: dict[str, str | int] = {
            "page": page, "per_page": PER_PAGE, "from_date": first.isoformat(), "model_name": MODEL,
            "sort_by": "model_created", "sort_order": "desc",
        }  # fmt: skip
        try:
            body, date = await _get(client, PATH, query, may_end=short)
        except _NotListed:
            rows: list[Any] = []
        else:
            if date is not None:
                skew = client.clock() - date
            found_rows = find_rows(body)
            if found_rows is None:
                raise NoAnswer("the history's answer has no list of requests")
            rows = found_rows
        found = {entry.request_id: entry for entry in map(read_entry, rows) if entry is not None}
        readable = readable and all(read_entry(row) is not None for row in rows)
        short = len(rows) < PER_PAGE
        # A short page alone may be a service that gives fewer rows than it is asked for.
        if not rows or (short and found.keys() <= entries.keys()):
            in_reach = since >= client.clock() - (MOST_DAYS - 2) * DAY_S
            return Listing(tuple((entries | found).values()), since, in_reach and readable, skew)
        entries |= found
    return Listing(tuple(entries.values()), since, complete=False, skew=skew)


async def look_up(client: Client, request_id: str) -> Entry | None:
    """Return one request of any age, None when the history does not list it. Raises NoAnswer when not reachable."""
    try:
        body, _ = await _get(client, f"{PATH}/{quote(request_id, safe='')}", None)
    except _NotListed:
        return None
    for candidate in (body, *(body.values() if isinstance(body, Mapping) else ())):
        entry = read_entry(candidate)
        if entry is not None and entry.request_id == request_id:
            return entry
    rows = find_rows(body) or []
    return next((entry for entry in map(read_entry, rows) if entry and entry.request_id == request_id), None)


class _NotListed(Exception):
    """There is no such request, or no such page."""


async def _get(
    client: Client, path: str, query: Mapping[str, str | int] | None, *, may_end: bool = False
) -> tuple[Any, float | None]:
    """GET one page of the history host, tried a few times; raises NoAnswer whatever is wrong with it.

    Raises _NotListed for a request that is not listed, and, with `may_end`, for a page beyond the last.
    """
    url = client.service.history_url.rstrip("/") + path
    nowhere = {404} if query is None else {400, 404, 422} if may_end else set()
    async for attempt in stamina.retry_context(on=NoAnswer, attempts=TRIES, timeout=60.0, wait_max=5.0):
        with attempt:
            try:
                reply = await client.read(url, params=query, limit=HISTORY_LIMIT)
            except (RunStopped, ServiceError) as exc:
                raise NoAnswer(str(exc)) from exc
            if reply.status in nowhere:
                raise _NotListed
            if reply.status != 200 or reply.body is None:
                raise NoAnswer(f"the history is not reachable ({reply.reason})")
    return reply.body, read_time(reply.headers.get("date"))


def find_rows(body: Any) -> list[Any] | None:
    """Find the list of requests wherever the answer keeps it; an empty list when there is one but nothing in it."""
    empty: list[Any] | None = None
    waiting = [body]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, list):
            if any(isinstance(item, Mapping) and "request_id" in item for item in value):
                return value
            empty = value if not value else empty
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
    return empty


def read_entry(row: Any) -> Entry | None:
    """Read one row of the history; None when it is none."""
    if not isinstance(row, Mapping) or not isinstance(row.get("request_id"), str):
        return None
    url, error = row.get("generation_url"), row.get("error")
    return Entry(
        request_id=row["request_id"],
        status=str(row.get("model_status") or row.get("status") or "").upper(),
        body=_body(row.get("request_body")),
        created=_created(row),
        cost=micro_dollars(row.get("credits_deduction")),
        url=url if isinstance(url, str) and url else None,
        error=error if isinstance(error, str) and error else None,
    )


def _body(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, Mapping) else None


def _created(row: Mapping[str, Any]) -> float | None:
    names = [*_CREATED, *(name for name in row if "creat" in name.lower() or "submit" in name.lower())]
    for name in names:
        value = row.get(name)
        moment = read_time(str(value)) if isinstance(value, str | int | float) else None
        if moment is not None:
            return moment
    return None
