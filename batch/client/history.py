"""The account's request history: the only way to learn whether a submit without an answer was accepted.

Any error means "not reachable", never a stop. history_page.py reads one answer; this module asks for them.

Rules of reading the list:
- Only the days that matter are requested, newest first, and no further back than the last row that could matter by any
  doubt about clocks.
- The list has ended only when the answer's own total says so, or when a second look agrees: a page without new rows is
  requested again, then the page behind it, then the single row behind the last one read, twice too.
- A page shorter than requested may hide rows where others follow: it is requested again, and unless it was cut that once,
  the list is read again in pages of that size.
- A list that claims more rows than it gives, or whose pages do not fit together, is not complete.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio

from batch.client import responses
from batch.client.history_page import Entry, find_rows, ids_in, last_time, read_entry, says_more
from batch.client.http import HISTORY_LIMIT
from batch.core.errors import KeyRefused, NoResponse, RunStopped, ServiceError
from batch.core.parameters import MODEL
from batch.pacing import backoff
from batch.pacing.limiter import Priority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batch.client.calls import Calls

PATH = "/inference-request/request-history"
PER_PAGE = 100
MOST_PAGES = 3000
MOST_DAYS = 31  # the service lists no longer window
DAY_S = 86_400.0

NEAR_S = 3600.0
"""An entry is certainly older or newer than a submit only when the times differ by more than this: the clocks of the
service's nodes may be minutes apart."""
ZONES_S = 26 * 3600.0
"""The same where the listed times may be in any time zone."""
FRESH_S = 1200.0
"""A newest entry this close to now shows that the listed times are in our zone."""

QUIET_PAGES = 3  # pages in a row without new rows before the list is taken to have ended
PASSES = 4
MOST_STEPS = 8  # rows requested singly, one behind the other
FREE_PAGES = 5  # read without a pause

MORE = "the history says that it lists more requests than it gives"


@dataclass(frozen=True, slots=True)
class Listing:
    """The history back to `since` (our clock), each request once, newest first.

    `complete`: every page back to there was read, and every row of it understood; else `gap` is the reason. `skew` is our
    clock minus the service's in seconds, give or take `spread`; None when the answers carry no date. `zone_known`: the
    listed times were seen to be in our time zone.
    """

    entries: tuple[Entry, ...]
    since: float
    complete: bool
    skew: float | None
    spread: float = 0.0
    zone_known: bool = False
    gap: str = "the history does not reach back to it"


async def read_back(
    client: Calls, since: float, until: float | None = None, own: AbstractSet[str] = frozenset()
) -> Listing:
    """Read the list of requests created between `since` and `until` (epoch seconds, our clock; None: up to now).

    Requests that are certainly outside are left out, but for those in `own`. Raises NoResponse when the history is not
    reachable.
    """
    return await _HistoryReader(client, since, until, own).read()


@dataclass
class _Pass:
    """One pass through the list, in pages of `size` rows; `page` is the next one, behind `position` rows.

    `length` is the number of rows of the last page that had new ones, `read` the position behind its last row. `quiet`
    counts the pages since without a new row, `skipped` says that one of them was empty and was passed over. `order` is the
    time of the last row, minus infinity where the rows are not in order; `said` whether more rows follow, by the answers.
    """

    size: int
    length: int
    page: int = 1
    position: int = 0
    read: int = 0
    quiet: int = 0
    skipped: bool = False
    order: float = math.inf
    said: bool | None = None
    seen: set[str] = field(default_factory=set)

    def step(self, rows: Sequence[Any], ids: AbstractSet[str]) -> None:
        """Go on behind a page that had new rows."""
        self.order = last_time(rows, self.seen, self.order)
        self.seen |= ids
        self.read = self.position = self.position + len(rows)
        self.page, self.length = self.page + 1, len(rows)
        self.quiet, self.skipped = 0, False


class _HistoryReader:
    """One reading of the list."""

    def __init__(self, client: Calls, since: float, until: float | None, own: AbstractSet[str]) -> None:
        self._client = client
        self._since = since
        self._until = until
        self._own = own
        self._entries: dict[str, Entry] = {}
        self._newest: float | None = None
        self._readable = True
        self._pages = 0
        self._short = False  # a page had fewer rows than PER_PAGE: the next one may be refused
        self._hole = False
        self._believes = True  # the answers' own total
        self._gap = ""
        now = client.clock()
        # A day earlier and later: the dates are calendar days of an unknown time zone, and clocks differ.
        last = now if until is None else min(until + DAY_S, now)
        self._bounded = last < now - DAY_S
        self._in_reach = since >= last - (MOST_DAYS - 2) * DAY_S
        self._query: dict[str, str | int] = {
            "from_date": _date(max(since, last - (MOST_DAYS - 2) * DAY_S) - DAY_S), "model_name": MODEL,
            "sort_by": "model_created", "sort_order": "desc",
        }  # fmt: skip
        if self._bounded:
            self._query["to_date"] = _date(last)

    async def read(self) -> Listing:
        """Read the list until a pass has no hole, PASSES times at most."""
        size = PER_PAGE
        for _ in range(PASSES):
            self._hole, self._gap = False, ""
            size = await self._pass(size)
            if not self._hole:
                break
        else:
            self._gap = "the pages of the history do not fit together"
        if not self._in_reach:
            self._gap = "the history does not reach back to it"
        elif not self._readable:
            self._gap = "the history lists a request that cannot be read"
        clocks = self._client.clocks
        return Listing(
            tuple(self._entries.values()),
            self._since,
            not self._gap,
            clocks.skew,
            clocks.spread,
            self._zone_known,
            self._gap,
        )

    async def _pass(self, size: int) -> int:
        """Read every page, newest first; return the page size for the next pass, where this one had a hole."""
        at = _Pass(size, size)
        while self._pages < MOST_PAGES:
            rows, more = await self._page(at.page, size, at.position, may_end=at.page > 1 and self._short)
            ids = self._take(rows)
            at.said = at.said if more is None else more
            ended = more is False and self._believes
            if ids - at.seen:
                whole = await self._length_now(at)
                self._hole = at.skipped or whole < size
                if self._hole:
                    return min(whole, size)
                at.position += whole - at.length
                at.step(rows, ids)
                self._short = self._short or len(rows) < PER_PAGE
                if at.order > -math.inf and self._all_older(rows):
                    return size
                if not ended:
                    continue
            elif at.quiet + 1 < QUIET_PAGES and not ended:
                at.quiet += 1
                await anyio.sleep(self._client.timeouts.history_again_s * at.quiet)
                if (
                    at.quiet == QUIET_PAGES - 1
                ):  # it may be what the page before was, pushed down by new requests
                    at.page, at.position, at.skipped = at.page + 1, at.position + len(rows), not rows
                continue
            if await self._is_over(at, ended=ended):
                return min(size, at.length)
            self._believes = False  # what it calls its total is none
        self._gap = f"the history lists more requests since {_date(self._since)} than can be read ({MOST_PAGES} pages)"
        return size

    async def _is_over(self, at: _Pass, *, ended: bool) -> bool:
        """Return whether a pass is over where the list seems to end, or `ended` by its own total; note what is missing."""
        if await self._ends(at):
            self._gap = MORE if at.said and self._believes else ""
            # The rest may be copies of its rows.
            self._hole = bool(self._gap) and at.position == at.length < at.size
            return True
        self._hole = not ended
        return self._hole

    async def _length_now(self, at: _Pass) -> int:
        """Return how many rows the last page has; if it was shorter than requested, although others follow, read it again.

        It may have been cut that once. Else no page has more, and the next one may begin anywhere.
        """
        if at.length >= at.size:
            return at.length
        rows, _ = await self._page(at.page - 1, at.size, 0, may_end=True)
        at.seen |= self._take(rows)
        return max(len(rows), at.length)

    async def _ends(self, at: _Pass) -> bool:
        """Return whether no row is missing behind the last row that was new: the one behind it is requested singly.

        One that was seen may be a copy, or was pushed down by a new request: then the row behind that, and at last the one
        behind as many rows as all pages had. A service that gives more than one row ignores the
        size.
        """
        for behind in sorted({at.read, at.position}):
            for row in range(behind + 1, behind + 1 + MOST_STEPS):
                found, _ = await self._page(row, 1, behind, may_end=True)
                if not found:  # requested again, as a page is: one answer may be odd
                    found, _ = await self._page(row, 1, behind, may_end=True)
                if len(found) != 1 or not ids_in(found) <= at.seen:
                    return ids_in(found) <= at.seen
        top, _ = await self._page(1, 1, 0, may_end=True)
        return not ids_in(top) <= at.seen  # new requests keep coming and push the others down all the time

    async def _page(
        self, page: int, size: int, position: int, *, may_end: bool
    ) -> tuple[list[Any], bool | None]:
        """Return one page's rows, none where there is no such page, and whether more follow, None where it is not said."""
        if self._pages >= FREE_PAGES:
            await anyio.sleep(self._client.timeouts.history_page_s)
        self._pages += 1
        try:
            body = await _get(
                self._client, PATH, {"page": page, "per_page": size, **self._query}, may_end=may_end
            )
        except _NotListed:
            return [], None
        rows = find_rows(body)
        if rows is None:
            raise NoResponse("the history's answer has no list of requests")
        return rows, says_more(body, rows, page, position + len(rows))

    def _take(self, rows: Sequence[Any]) -> set[str]:
        """Keep the rows that matter; return the ids of all."""
        ids = set()
        for row in rows:
            entry = read_entry(row)
            if entry is None:
                self._readable = False
                continue
            ids.add(entry.request_id)
            if entry.created is not None:
                self._newest = max(self._newest or entry.created, entry.created)
            if entry.request_id in self._own or self._near(entry):
                self._entries.setdefault(entry.request_id, entry)
        return ids

    @property
    def _zone_known(self) -> bool:
        """Whether the newest entry is dated now; one of another zone would be half an hour off at least."""
        if self._newest is None or self._bounded:
            return False
        return abs(self._newest - self._client.clock() + (self._client.clocks.skew or 0.0)) <= FRESH_S

    @property
    def _doubt_s(self) -> float:
        clocks = self._client.clocks
        return abs(clocks.spread) + (NEAR_S if self._zone_known and clocks.skew is not None else ZONES_S)

    def _near(self, entry: Entry) -> bool:
        """Return whether an entry may have been created in the time in question."""
        if entry.created is None:
            return True
        skew, doubt_s = self._client.clocks.skew or 0.0, self._doubt_s + entry.coarse_s
        until = self._until if self._until is not None and self._bounded else math.inf
        return self._since - skew - doubt_s <= entry.created <= until - skew + doubt_s

    def _all_older(self, rows: Sequence[Any]) -> bool:
        """Return whether a whole page is certainly older than the time in question."""
        entries = [entry for entry in map(read_entry, rows) if entry is not None]
        floor = self._since - (self._client.clocks.skew or 0.0) - self._doubt_s
        return all(entry.created is not None and entry.created + entry.coarse_s < floor for entry in entries)


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


async def greet(client: Calls) -> None:
    """Request one row, so that the clocks are compared before anything is looked for; raises NoResponse."""
    await _get(client, PATH, {"page": 1, "per_page": 1, "model_name": MODEL})


async def look_up(client: Calls, request_id: str) -> Entry | None:
    """Return one request of any age, None when the history does not list it. Raises NoResponse when not reachable."""
    try:
        body = await _get(client, f"{PATH}/{quote(request_id, safe='')}", None)
    except _NotListed:
        return None
    for candidate in (body, *(body.values() if isinstance(body, Mapping) else ())):
        entry = read_entry(candidate)
        if entry is not None and entry.request_id == request_id:
            return entry
    rows = find_rows(body)
    found = next(
        (entry for entry in map(read_entry, rows or []) if entry and entry.request_id == request_id), None
    )
    if found is None and body and rows != []:
        raise NoResponse("the history's answer is about something else than the request")
    return found


class _NotListed(Exception):
    """There is no such request, or no such page."""


async def _get(
    client: Calls, path: str, query: Mapping[str, str | int] | None, *, may_end: bool = False
) -> Any:
    """GET one page from the history host, with a few retries; raises NoResponse whatever is wrong with it.

    A page of the list waits at the gate as a status does, and closes it when it is throttled. Raises _NotListed for a
    request that is not listed, and, with `may_end`, for a page beyond the last.
    """
    return await backoff.retry(
        partial(_get_once, client, path, query, may_end=may_end),
        NoResponse,
        client.timeouts.retry,
        attempts=client.timeouts.history_tries,
    )


async def _get_once(client: Calls, path: str, query: Mapping[str, str | int] | None, *, may_end: bool) -> Any:
    url = client.service.history_url.rstrip("/") + path
    nowhere = {404} if query is None else {400, 404, 422} if may_end else set()
    try:
        async with client.pace.acquire(Priority.STATUS) if query else nullcontext():
            reply = await client.read(url, params=query, limit=HISTORY_LIMIT)
    except (RunStopped, ServiceError) as exc:
        raise NoResponse(str(exc)) from exc
    if reply.status == 429 and query is not None:
        client.pace.throttled(responses.read_throttle(reply), client.clock(), on_get=True)
    # A gateway's own 404 says nothing of what the history lists.
    if reply.status in nowhere and (query is not None or reply.body is not None):
        raise _NotListed
    if reply.status == 401 or (reply.status == 403 and reply.vendor):
        raise KeyRefused(f"the history is not reachable ({reply.reason})", reply.status)
    if reply.status != 200 or reply.body is None:
        raise NoResponse(f"the history is not reachable ({reply.reason})")
    return reply.body
