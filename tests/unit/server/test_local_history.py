"""The history's rows and listings, on a clock that is given."""

import asyncio
import json

import pytest

from batch.server.http.history import lag_s, listing, row_body, single
from batch.server.http.openapi import describe
from batch.server.http.request import Call
from batch.server.settings import LocalSettings
from batch.server.simulation.files import Files
from batch.server.simulation.jobs import Completed, Failed, Job, Processing
from batch.server.simulation.responses import RequestRefused
from batch.server.state import ServerState

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
DAY = 86_400.0


@pytest.fixture
def service():
    clock = [NOW]
    with Files() as files:
        made = ServerState(LocalSettings(), "http://127.0.0.1:1", files, lambda: clock[0])
        made.at = clock
        yield made


def accept(service, name, *, at=NOW, state=None, **body):
    body = {"prompt": name, "seed": 7, **body}
    job = Job(name, len(service.jobs), "qwen-edit", body, 7, 30_000, at, "v2", "")
    service.jobs.accept(job)
    if state is not None:
        service.jobs.transition(job, Processing(at + 1))
    if state in ("COMPLETED", "FAILED"):
        end = (
            Completed(at + 1, at + 3, 0, "f.webp", 9)
            if state == "COMPLETED"
            else Failed(at + 1, at + 3, "why")
        )
        service.jobs.transition(job, end)


def ask(service, **query):
    given = {name: str(value) for name, value in query.items()}
    answer = asyncio.run(listing(service, Call("history", {}, {}, given, b"")))
    return json.loads(answer.body)


def names(answer, key="data"):
    return [row["request_id"] for row in answer[key]]


def test_a_completed_row_tells_what_was_sent_and_what_came(service):
    accept(service, "a", state="COMPLETED")
    (row,) = ask(service)["data"]
    assert row == {
        "request_id": "a",
        "model_name": "qwen-edit",
        "model_status": "COMPLETED",
        "credits_deduction": 0.03,
        "request_body": {"prompt": "a", "seed": 7},
        "generation_url": "http://127.0.0.1:1/files/outputs/f.webp",
        "latency_ms": 3000,
        "model_created": "2026-09-21T14:13:20.000Z",
        "model_completed": "2026-09-21T14:13:23.000Z",
        "error": None,
    }


def test_failed_and_running_rows_are_listed_and_cost_nothing(service):
    accept(service, "failed", state="FAILED")
    accept(service, "running", state="PROCESSING")
    accept(service, "waiting")
    rows = {row["request_id"]: row for row in ask(service)["data"]}
    assert [rows[name]["model_status"] for name in ("failed", "running", "waiting")] == [
        "FAILED",
        "PENDING",
        "PENDING",
    ]
    assert {row["credits_deduction"] for row in rows.values()} == {0}
    assert rows["failed"]["error"] == "why"


def test_pages_are_cut_from_the_newest_to_the_oldest(service):
    for n in range(5):
        accept(service, f"r{n}", at=NOW + n, state="COMPLETED" if n == 4 else None)
    service.at[0] += 10
    first, last = ask(service, per_page=2), ask(service, per_page=2, page=3)
    assert (names(first), names(last)) == (["r4", "r3"], ["r0"])
    assert (first["total"], first["total_pages"]) == (5, 3)
    assert names(ask(service, per_page=2, page=4)) == []
    assert names(ask(service, sort_by="credits_deduction"))[0] == "r4"
    assert names(ask(service, sort_order="asc")) == ["r0", "r1", "r2", "r3", "r4"]


def test_rows_are_filtered_by_model_status_and_day(service):
    accept(service, "old", at=NOW - 3 * DAY, state="COMPLETED")
    accept(service, "new", state="FAILED")
    assert names(ask(service, status="FAILED")) == ["new"]
    assert names(ask(service, model_name="wen-ed")) == ["new", "old"]
    assert names(ask(service, model_name="flux")) == []
    assert names(ask(service, from_date="2026-09-18", to_date="2026-09-19")) == ["old"]


def test_without_dates_the_last_seven_days_are_listed(service):
    accept(service, "eight days old", at=NOW - 8 * DAY)
    accept(service, "six days old", at=NOW - 6 * DAY)
    assert names(ask(service)) == ["six days old"]


def test_one_row_is_found_at_any_age(service):
    accept(service, "ancient", at=NOW - 400 * DAY, state="COMPLETED")
    answer = asyncio.run(single(service, Call("history", {"request_id": "ancient"}, {}, {}, b"")))
    assert json.loads(answer.body)["model_status"] == "COMPLETED"
    missing = asyncio.run(single(service, Call("history", {"request_id": "none"}, {}, {}, b"")))
    assert missing.status == 404


@pytest.mark.parametrize(
    "query",
    [
        {"page": 0},
        {"per_page": 101},
        {"per_page": "many"},
        {"status": "QUEUED"},
        {"sort_by": "prompt"},
        {"from_date": "yesterday"},
        {"from_date": "2026-01-01", "to_date": "2026-02-02"},
        {"from_date": "2026-09-21", "to_date": "2026-09-20"},
    ],
)
def test_a_query_out_of_range_is_refused(service, query):
    with pytest.raises(RequestRefused) as caught:
        ask(service, **query)
    assert caught.value.answer.status == 400


def test_the_filters_that_are_described_are_those_that_are_taken(service):
    described = describe("http://127.0.0.1")["paths"]["/inference-request/request-history"]["get"][
        "parameters"
    ]
    for name, schema in ((parameter["name"], parameter["schema"]) for parameter in described):
        for value in (*schema.get("enum", ()), schema.get("minimum"), schema.get("maximum")):
            if value is not None:
                ask(service, **{name: value})
        for value in ("nonsense", schema.get("minimum", 1) - 1, schema.get("maximum", 1) + 1):
            if {"enum", "minimum"} & set(schema):
                with pytest.raises(RequestRefused):
                    ask(service, **{name: value})


def test_a_row_lands_when_its_lag_has_passed(service):
    service.change({"history_lag_s": 60, "history_lag_by_prompt": {"slow": 300}})
    accept(service, "quick one")
    accept(service, "slow one")
    seen = []
    for moment in (59.9, 60.0, 300.0):
        service.at[0] = NOW + moment
        seen.append(sorted(names(ask(service))))
    assert seen == [[], ["quick one"], ["quick one", "slow one"]]
    assert lag_s(service.settings, "a slow one") == 300


def test_the_shape_of_the_listing_can_be_another_one(service):
    service.change({"history_list_key": "payload.items", "history_copies": 2, "history_body": "strings"})
    accept(service, "a", state="COMPLETED", base64=True)
    rows = ask(service)["payload"]["items"]
    assert [row["request_id"] for row in rows] == ["a", "a"]
    assert rows[0]["request_body"] == {"prompt": "a", "seed": "7", "base64": "true"}
    assert json.loads(row_body({"seed": 7}, "json_text")) == {"seed": 7}


def test_a_skewed_clock_shows_in_the_rows(service):
    service.change({"clock_skew_s": -60})
    accept(service, "a")
    assert ask(service)["data"][0]["model_created"] == "2026-09-21T14:12:20.000Z"
