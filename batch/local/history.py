"""The history host: rows made from jobs, filtered, sorted, paged; pure but for the two handlers at the end.

A row appears when its lag has passed, in flight or not, and stays for ever. The field names are those the official
SDK documents; the time fields and the name of the list are not published, hence settable or plainly named.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from batch.local.answers import Answer, as_json, refusal
from batch.local.billing import usd
from batch.local.checks import Refused
from batch.local.jobs import Completed, Failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batch.local.calls import Call
    from batch.local.jobs import Job, State
    from batch.local.service import Service
    from batch.local.settings import LocalSettings

STATUSES = ("COMPLETED", "FAILED", "PENDING")
SORTS = ("model_created", "model_name", "credits_deduction")
ORDERS = ("desc", "asc")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
DEFAULT_DAYS = 7
MAX_DAYS = 31


def row(service: Service, job: Job, state: State) -> dict[str, Any]:
    """Return what the history says of a job now."""
    skew_s = service.settings.clock_skew_s
    return {
        "request_id": job.request_id,
        "model_name": job.model,
        "model_status": told_status(state),
        "credits_deduction": told_cost(job, state),
        "request_body": told_body(job.body, service.settings.history_body),
        "generation_url": service.file_url("outputs", state.file) if isinstance(state, Completed) else None,
        "latency_ms": round((state.ended_at - job.accepted_at) * 1000)
        if isinstance(state, (Completed, Failed))
        else None,
        "model_created": _stamp(job.accepted_at + skew_s),
        "model_completed": _stamp(state.ended_at + skew_s)
        if isinstance(state, (Completed, Failed))
        else None,
        "error": state.reason if isinstance(state, Failed) else None,
    }


def told_status(state: State) -> str:
    """Return the state as the history names it."""
    return state.name if isinstance(state, (Completed, Failed)) else "PENDING"


def told_cost(job: Job, state: State) -> float:
    """Return what the job cost, USD."""
    return usd(job.cost) if isinstance(state, Completed) else 0


def told_body(body: Mapping[str, Any], style: str) -> Any:
    """Return the inputs as sent, with every scalar as text ("strings"), or as one JSON text ("json_text")."""
    if style == "strings":
        return {
            name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
            for name, value in body.items()
        }
    return json.dumps(body) if style == "json_text" else dict(body)


def lag_s(settings: LocalSettings, prompt: str) -> float:
    """Return the seconds after the submit at which this job's row appears."""
    for part, seconds in settings.history_lag_by_prompt.items():
        if part in prompt:
            return seconds
    return settings.history_lag_s


def listed(service: Service, job: Job) -> bool:
    """Return whether the job's row has appeared."""
    return service.clock() >= job.accepted_at + lag_s(service.settings, job.prompt)


def under(key: str, rows: list[Any]) -> dict[str, Any]:
    """Return the rows under a name; "data.rows" nests them."""
    head, _, rest = key.partition(".")
    return {head: under(rest, rows) if rest else rows}


class Query:
    """The parameters of a listing, checked; Refused with 400 for one that is out of range."""

    def __init__(self, query: Mapping[str, str], today: date) -> None:
        self.page = _number(query, "page", 1, 1, 10**9)
        self.per_page = _number(query, "per_page", 20, 1, 100)
        self.last = _day(query, "to_date", today)
        earliest = date.min + timedelta(days=DEFAULT_DAYS)
        self.first = _day(query, "from_date", max(self.last, earliest) - timedelta(days=DEFAULT_DAYS))
        if not timedelta(0) <= self.last - self.first <= timedelta(days=MAX_DAYS):
            raise Refused(refusal(400, f"from_date and to_date may span at most {MAX_DAYS} days"))
        self.model_name = query.get("model_name", "")
        self.status = _choice(query, "status", ("", *STATUSES))
        self.sort_by = _choice(query, "sort_by", SORTS)
        self.descending = _choice(query, "sort_order", ORDERS) == "desc"

    def takes(self, job: Job, state: State, skew_s: float) -> bool:
        """Return whether a job's row belongs to the listing; `skew_s` is added to its time."""
        day = datetime.fromtimestamp(job.accepted_at + skew_s, UTC).date()
        return (
            self.first <= day <= self.last
            and self.model_name in job.model
            and self.status in ("", told_status(state))
        )

    def rank(self, job: Job, state: State) -> Any:
        """Return what the listing is sorted by."""
        if self.sort_by == "model_name":
            return job.model
        return job.accepted_at if self.sort_by == "model_created" else told_cost(job, state)


async def listing(service: Service, call: Call) -> Answer:
    """Give one page of the history."""
    query = Query(call.queried(), datetime.fromtimestamp(service.told_time(), UTC).date())
    settings = service.settings
    rows: list[tuple[Job, State]] = []
    for job, state in service.jobs:
        if listed(service, job) and query.takes(job, state, settings.clock_skew_s):
            rows += [(job, state)] * (settings.history_copies if isinstance(state, Completed) else 1)
    rows.sort(key=lambda item: query.rank(*item), reverse=query.descending)
    start = (query.page - 1) * query.per_page
    counts = {
        "page": query.page,
        "per_page": query.per_page,
        "total": len(rows),
        "total_pages": -(-len(rows) // query.per_page),
    }
    page = [row(service, *item) for item in rows[start : start + query.per_page]]
    return as_json({**under(settings.history_list_key, page), **counts})


async def single(service: Service, call: Call) -> Answer:
    """Give the row of one request, of any age."""
    found = service.jobs.find(call.params["request_id"])
    if found is None or not listed(service, found[0]):
        return refusal(404, "Request not found")
    return as_json(row(service, *found))


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and low <= int(text) <= high):
        raise Refused(refusal(400, f"{name} must be {low} to {high}"))
    return int(text)


def _day(query: Mapping[str, str], name: str, default: date) -> date:
    text = query.get(name, "")
    wrong = Refused(refusal(400, f"{name} must be YYYY-MM-DD"))
    if text and not DAY.fullmatch(text):  # fromisoformat takes weeks as well
        raise wrong
    try:
        return date.fromisoformat(text) if text else default
    except ValueError as exc:
        raise wrong from exc


def _choice(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = query.get(name, choices[0])
    if value not in choices:
        raise Refused(refusal(400, f"{name} must be one of {', '.join(filter(None, choices))}"))
    return value
