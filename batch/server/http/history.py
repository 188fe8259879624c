"""The history host: rows made from jobs, filtered, sorted, paged; pure but for the two handlers at the end.

A row appears when its lag has passed, in flight or not, and stays for good. The field names are those the official
SDK documents; the time fields and the name of the list are not published, hence settable or plainly named.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from batch.server.http.request import Call
from batch.server.settings import LocalSettings
from batch.server.simulation.account import usd
from batch.server.simulation.jobs import Completed, Failed, Job
from batch.server.simulation.responses import Answer, RequestRefused, as_json, refusal
from batch.server.state import ServerState

DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
DEFAULT_DAYS = 7
MAX_DAYS = 31


def row(server: ServerState, job: Job) -> dict[str, Any]:
    """Return the job's row as it is now."""
    skew_s, state = server.settings.clock_skew_s, job.state
    ended_at = state.ended_at if isinstance(state, (Completed, Failed)) else None
    return {
        "request_id": job.request_id,
        "model_name": job.model,
        "model_status": row_status(job),
        "credits_deduction": row_cost(job),
        "request_body": row_body(job.body, server.settings.history_body),
        "generation_url": server.file_url("outputs", state.file) if isinstance(state, Completed) else None,
        "latency_ms": None if ended_at is None else round((ended_at - job.accepted_at) * 1000),
        "model_created": _stamp(job.accepted_at + skew_s),
        "model_completed": None if ended_at is None else _stamp(ended_at + skew_s),
        "error": state.reason if isinstance(state, Failed) else None,
    }


def row_status(job: Job) -> str:
    """Return the state under the name that the history gives it."""
    return job.state.name if isinstance(job.state, (Completed, Failed)) else "PENDING"


def row_cost(job: Job) -> float:
    """Return what the job cost, USD."""
    return usd(job.cost) if isinstance(job.state, Completed) else 0


def row_body(body: Mapping[str, Any], style: str) -> Any:
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


def listed(server: ServerState, job: Job) -> bool:
    """Return whether the job's row has appeared."""
    return server.clock() >= job.accepted_at + lag_s(server.settings, job.prompt)


def under(key: str, rows: list[Any]) -> dict[str, Any]:
    """Return the rows under a name; "data.rows" nests them."""
    head, _, rest = key.partition(".")
    return {head: under(rest, rows) if rest else rows}


class Query:
    """The parameters of a listing, checked; RequestRefused with 400 for one that is out of range."""

    def __init__(self, query: Mapping[str, str], today: date) -> None:
        self.page = _number(query, "page", 1, 1, 10**9)
        self.per_page = _number(query, "per_page", 20, 1, 100)
        self.last = _day(query, "to_date", today)
        earliest = date.min + timedelta(days=DEFAULT_DAYS)
        self.first = _day(query, "from_date", max(self.last, earliest) - timedelta(days=DEFAULT_DAYS))
        if not timedelta(0) <= self.last - self.first <= timedelta(days=MAX_DAYS):
            raise RequestRefused(refusal(400, f"from_date and to_date may span at most {MAX_DAYS} days"))
        self.model_name = query.get("model_name", "")
        self.status = _choice(query, "status", ("", "COMPLETED", "FAILED", "PENDING"))
        self.sort_by = _choice(query, "sort_by", ("model_created", "model_name", "credits_deduction"))
        self.descending = _choice(query, "sort_order", ("desc", "asc")) == "desc"

    def matches(self, job: Job, skew_s: float) -> bool:
        """Return whether a job's row belongs to the listing; `skew_s` is added to its time."""
        day = datetime.fromtimestamp(job.accepted_at + skew_s, UTC).date()
        return (
            self.first <= day <= self.last
            and self.model_name in job.model
            and self.status in ("", row_status(job))
        )

    def rank(self, job: Job) -> Any:
        """Return the value that the listing is sorted by."""
        if self.sort_by == "model_name":
            return job.model
        return job.accepted_at if self.sort_by == "model_created" else row_cost(job)


async def listing(server: ServerState, call: Call) -> Answer:
    """Return one page of the history."""
    query = Query(call.query, datetime.fromtimestamp(server.reported_time(), UTC).date())
    settings = server.settings
    rows: list[Job] = []
    for job in server.jobs:
        if listed(server, job) and query.matches(job, settings.clock_skew_s):
            rows += [job] * (settings.history_copies if isinstance(job.state, Completed) else 1)
    rows.sort(key=query.rank, reverse=query.descending)
    start = (query.page - 1) * query.per_page
    counts = {
        "page": query.page,
        "per_page": query.per_page,
        "total": len(rows),
        "total_pages": -(-len(rows) // query.per_page),
    }
    page = [row(server, job) for job in rows[start : start + query.per_page]]
    return as_json({**under(settings.history_list_key, page), **counts})


async def single(server: ServerState, call: Call) -> Answer:
    """Return the row of one request, of any age."""
    job = server.jobs.find(call.params["request_id"])
    if job is None or not listed(server, job):
        return refusal(404, "Request not found")
    return as_json(row(server, job))


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and low <= int(text) <= high):
        raise RequestRefused(refusal(400, f"{name} must be {low} to {high}"))
    return int(text)


def _day(query: Mapping[str, str], name: str, default: date) -> date:
    text = query.get(name, "")
    wrong = RequestRefused(refusal(400, f"{name} must be YYYY-MM-DD"))
    if text and not DAY.fullmatch(text):  # fromisoformat takes weeks as well
        raise wrong
    try:
        return date.fromisoformat(text) if text else default
    except ValueError as exc:
        raise wrong from exc


def _choice(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = query.get(name, choices[0])
    if value not in choices:
        raise RequestRefused(refusal(400, f"{name} must be one of {', '.join(filter(None, choices))}"))
    return value
