"""The account's history as it may come: any key and nesting, odd types, rows that arrive while it is read, no history."""

from __future__ import annotations

import email.utils
import time
from datetime import date, timedelta
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from batch.client import history, responses
from batch.client.client import Client
from batch.client.history import look_up, read_back
from batch.client.history_page import find_rows, read_entry
from batch.core.errors import NoResponse

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0  # 2027-01-15, 08:00 UTC
HOUR_S, DAY_S = 3600.0, 86_400.0


def row(name, **differing):
    return {
        "request_id": name, "model_name": "m", "model_status": "COMPLETED", "credits_deduction": 0.03,
        "request_body": {"prompt": name}, "generation_url": f"https://i/{name}", "error": None,
        "model_created": "2027-01-15T07:59:00Z",
    } | differing  # fmt: skip


@pytest.fixture(autouse=True)
def hasty(waits):
    waits(history_tries=1, history_again_s=0.0, history_page_s=0.0)


def opened(server):
    return Client(server.service, clock=lambda: NOW)


@pytest.fixture
async def client(server):
    async with opened(server) as client:
        yield client


def queried(call):
    """What a call asked for, as plain texts."""
    return {name: value[0] for name, value in parse_qs(urlsplit(call.line.split()[1]).query).items()}


def paged(server, listed, *, most=100, beyond=200):
    """Let the server list these rows, or `listed(number of the call)`, page by page, at most `most` rows each."""

    async def handle(call):
        asked = queried(call)
        rows = listed(len(server.calls)) if callable(listed) else listed
        size = min(int(asked["per_page"]), most)
        start = (int(asked["page"]) - 1) * size
        page = rows[start : start + size]
        await call.answer(
            200 if page else beyond, {"data": page} if page or beyond == 200 else {"error": "no page"}
        )

    server.handle = handle


# -- the list and its rows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param([{"request_id": "r"}], ["r"], id="the list itself"),
        pytest.param({"data": [{"request_id": "r"}]}, ["r"], id="under a key"),
        pytest.param({"a": {"b": {"c": [{"request_id": "r"}]}}}, ["r"], id="nested"),
        pytest.param(
            {"errors": [], "page": 1, "rows": [{"request_id": "r"}]}, ["r"], id="beside an empty list"
        ),
        pytest.param(
            {"models": [{"name": "m"}], "rows": [{"request_id": "r"}]}, ["r"], id="beside another list"
        ),
        pytest.param(
            {"rows": [{"note": 1}, {"request_id": "r"}]}, [None, "r"], id="with rows of another kind"
        ),
    ],
)
def test_the_list_of_requests_is_found_wherever_it_is(body, expected):
    assert [found.get("request_id") for found in find_rows(body)] == expected


def test_a_reason_of_any_length_fits_a_cell():
    assert len(read_entry(row("r", error="e" * 1_000_000)).error) == responses.LONGEST


def test_a_page_full_of_other_things_is_looked_through_at_once():
    page = {"models": {str(number): {} for number in range(200_000)}}
    began = time.thread_time()  # others may have the machine
    assert find_rows(page) is None
    assert time.thread_time() - began < 2.0


@pytest.mark.parametrize("body", [{"data": []}, {"data": {"items": []}}, []])
def test_an_empty_list_is_a_list(body):
    assert find_rows(body) == []


@pytest.mark.parametrize(
    "body", [{}, {"data": None}, "text", 7, None, {"data": [1, 2]}, {"rows": [{"name": "m"}]}]
)
def test_an_answer_without_such_a_list_has_none(body):
    assert find_rows(body) is None


def test_a_row_is_read_with_all_that_it_says():
    entry = read_entry(row("r", error=""))
    assert (entry.request_id, entry.status, entry.cost, entry.url, entry.error) == (
        "r", "COMPLETED", 30_000, "https://i/r", None,
    )  # fmt: skip
    assert entry.body == {"prompt": "r"}
    assert entry.created == NOW - 60


@pytest.mark.parametrize(
    ("differing", "expected"),
    [
        pytest.param(
            {"request_body": '{"prompt": "p"}'}, {"body": {"prompt": "p"}}, id="a body as JSON text"
        ),
        pytest.param({"request_body": "p"}, {"body": None}, id="a body that is no JSON"),
        pytest.param({"request_body": [1]}, {"body": None}, id="a body that is a list"),
        pytest.param({"request_body": "[" * 100_000}, {"body": None}, id="a body nested beyond reason"),
        pytest.param(
            {"request_body": '{"prompt": ' + "[" * 200 + "]" * 200 + "}"},
            {"body": None},
            id="a body too deep",
        ),
        pytest.param({"request_body": None}, {"body": None}, id="no body"),
        pytest.param(
            {"model_created": "Fri, 31 Dec 9999 23:59:59 -1400"},
            {"created": None},
            id="a time beyond the calendar",
        ),
        pytest.param({"credits_deduction": "0.03"}, {"cost": 30_000}, id="a cost as text"),
        pytest.param({"credits_deduction": None}, {"cost": None}, id="no cost"),
        pytest.param({"credits_deduction": 0}, {"cost": None}, id="a cost of nought"),
        pytest.param({"credits_deduction": "0.00"}, {"cost": None}, id="a cost of nought as text"),
        pytest.param({"credits_deduction": "free"}, {"cost": None}, id="a cost that is none"),
        pytest.param({"credits_deduction": -1}, {"cost": None}, id="a negative cost"),
        pytest.param({"credits_deduction": True}, {"cost": None}, id="a cost that is a flag"),
        pytest.param({"model_status": "completed"}, {"status": "COMPLETED"}, id="a status in lower case"),
        pytest.param(
            {"model_status": None, "status": "FAILED"}, {"status": "FAILED"}, id="a status elsewhere"
        ),
        pytest.param({"model_status": 3}, {"status": "3"}, id="a status that is a number"),
        pytest.param({"generation_url": ["https://i/1"]}, {"url": None}, id="a list of URLs"),
        pytest.param({"generation_url": ""}, {"url": None}, id="an empty URL"),
        pytest.param({"error": {"code": 1}}, {"error": None}, id="an error that is an object"),
        pytest.param({"model_created": "soon"}, {"created": None}, id="a time that is none"),
        pytest.param(
            {"model_created": None, "created_at": NOW}, {"created": NOW}, id="a time elsewhere, epoch"
        ),
        pytest.param({"model_created": NOW * 1000}, {"created": NOW}, id="milliseconds"),
        pytest.param({"model_created": "2027-01-15 08:00:00"}, {"created": NOW}, id="no zone, a space"),
        pytest.param({"model_created": "2027-01-15T09:00:00+01:00"}, {"created": NOW}, id="another zone"),
        pytest.param({"model_created": True}, {"created": None}, id="a time that is a flag"),
        pytest.param(
            {"model_created": None, "dateCreated": NOW}, {"created": NOW}, id="under an unknown name"
        ),
    ],
)
def test_odd_types_are_read_or_left_out(differing, expected):
    entry = read_entry(row("r", **differing))
    assert {name: getattr(entry, name) for name in expected} == expected


@pytest.mark.parametrize("odd", [None, 3, "r", [], {}, {"request_id": 7}, {"request_id": None}])
def test_what_names_no_request_is_no_row(odd):
    assert read_entry(odd) is None


# -- every page of it -------------------------------------------------------------------------------------------------


async def test_every_page_is_read_to_the_end(server, client):
    paged(server, [row(f"r{n}") for n in range(250)])
    listing = await read_back(client, NOW - HOUR_S)
    assert [entry.request_id for entry in listing.entries] == [f"r{n}" for n in range(250)]
    assert listing.complete
    asked = [(queried(call)["page"], queried(call)["per_page"]) for call in server.calls]
    assert asked == [
        *[("1", "100"), ("2", "100"), ("3", "100")],
        # the end, looked at again: the page behind, once more, the next one, and the row behind the last, twice
        *[("4", "100"), ("4", "100"), ("5", "100"), ("251", "1"), ("251", "1")],
    ]


async def test_the_query_names_the_model_the_day_and_the_order(server, client):
    paged(server, [])
    await read_back(client, NOW - HOUR_S)
    assert queried(server.calls[0]) == {
        "page": "1", "per_page": "100", "from_date": "2027-01-14", "sort_by": "model_created",
        "model_name": "qwen-image-edit-plus-texture-apply", "sort_order": "desc",
    }  # fmt: skip


async def test_rows_that_arrive_while_it_is_read_push_none_out(server, client):
    """Between two pages 30 new requests come on top: some are seen twice, none is missed."""
    paged(
        server,
        lambda call: (
            [row(f"new{n}") for n in range(30 * (call - 1))][::-1] + [row(f"r{n}") for n in range(250)]
        ),
    )
    listing = await read_back(client, NOW - HOUR_S)
    seen = [entry.request_id for entry in listing.entries]
    assert len(seen) == len(set(seen))
    assert {f"r{n}" for n in range(250)} <= set(seen)
    assert listing.complete


async def test_a_service_that_gives_fewer_rows_than_asked_for_is_read_to_the_end(server, client):
    paged(server, [row(f"r{n}") for n in range(60)], most=20)
    listing = await read_back(client, NOW - HOUR_S)
    assert (len(listing.entries), listing.complete) == (60, True)


@pytest.mark.parametrize("beyond", [200, 400, 404, 422])
@pytest.mark.parametrize("count", [5, 40])
async def test_the_page_beyond_the_last_may_be_refused(server, client, beyond, count):
    paged(server, [row(f"r{n}") for n in range(count)], most=20, beyond=beyond)
    listing = await read_back(client, NOW - HOUR_S)
    assert (len(listing.entries), listing.complete) == (count, True)


async def test_a_service_that_knows_no_pages_is_read_once(server, client):
    server.handle = lambda call: call.answer(200, {"data": [row("r"), row("s")]})
    listing = await read_back(client, NOW - HOUR_S)
    assert ([entry.request_id for entry in listing.entries], listing.complete) == (["r", "s"], True)
    assert len(server.calls) == 5  # it is the same whatever is asked


async def test_a_history_without_end_is_not_complete(server, client, monkeypatch):
    monkeypatch.setattr(history, "MOST_PAGES", 3)
    monkeypatch.setattr(history, "PER_PAGE", 10)
    paged(server, [row(f"r{n}") for n in range(1000)])
    listing = await read_back(client, NOW - HOUR_S)
    assert (len(listing.entries), listing.complete) == (30, False)


async def test_a_row_that_cannot_be_read_leaves_the_history_incomplete(server, client):
    """It may be the one that is looked for."""
    paged(server, [row("r"), row("s") | {"request_id": 7}])
    listing = await read_back(client, NOW - HOUR_S)
    assert ([entry.request_id for entry in listing.entries], listing.complete) == (["r"], False)


async def test_a_request_with_several_outputs_is_one(server, client):
    paged(
        server,
        [
            row("r", generation_url="https://i/1"),
            row("r", generation_url="https://i/2"),
            row("s"),
        ],
    )
    listing = await read_back(client, NOW - HOUR_S)
    assert [entry.request_id for entry in listing.entries] == ["r", "s"]


@pytest.mark.parametrize(
    ("ago_s", "complete", "first_day"),
    [
        pytest.param(10 * DAY_S, True, "2027-01-04", id="within the window"),
        pytest.param(29 * DAY_S, True, "2026-12-16", id="just within"),
        pytest.param(40 * DAY_S, False, "2026-12-16", id="older than the service lists"),
    ],
)
async def test_the_window_is_at_most_31_days(server, client, ago_s, complete, first_day):
    paged(server, [row("r")])
    listing = await read_back(client, NOW - ago_s)
    asked = queried(server.calls[0])["from_date"]
    assert (asked, listing.complete) == (first_day, complete)
    assert date(2027, 1, 15) - date.fromisoformat(asked) <= timedelta(days=31)


async def test_the_clocks_are_compared_by_the_date_of_the_answers(server, client):
    stamp = email.utils.formatdate(NOW - 300, usegmt=True)
    server.handle = lambda call: call.answer(200, {"data": []}, Date=stamp)
    assert (await read_back(client, NOW - HOUR_S)).skew == 300.0


async def test_answers_without_a_date_leave_the_clocks_unknown(server, client):
    server.handle = lambda call: call.answer(200, {"data": []})
    assert (await read_back(client, NOW - HOUR_S)).skew is None


# -- no history -------------------------------------------------------------------------------------------------------

NO_HISTORY = [
    pytest.param(401, b'{"error": "unauthorized"}', id="401"),
    pytest.param(403, b'{"error": "no"}', id="403"),
    pytest.param(404, b'{"error": "no"}', id="404"),
    pytest.param(405, b"<html>405</html>", id="405 HTML"),
    pytest.param(429, b'{"error": "slow down"}', id="429"),
    pytest.param(500, b'{"error": "oops"}', id="500"),
    pytest.param(502, b"<html>502</html>", id="502 HTML"),
    pytest.param(302, b"", id="a redirect"),
    pytest.param(200, b"<html>log in</html>", id="200 HTML"),
    pytest.param(200, b"", id="200 without a body"),
    pytest.param(200, b"\x00\xff{", id="200 garbage"),
    pytest.param(200, b'{"data": null}', id="200 without a list"),
    pytest.param(200, b'{"data": [' + b" " * 30_000_000 + b"]}", id="30 MB"),
]


@pytest.mark.parametrize(("status", "body"), NO_HISTORY)
async def test_whatever_is_wrong_the_history_is_not_reachable(server, client, status, body):
    server.handle = lambda call: call.answer(status, body, Location="/elsewhere")
    with pytest.raises(NoResponse):
        await read_back(client, NOW - HOUR_S)


@pytest.mark.parametrize("end", ["reset", "finish"])
async def test_a_history_that_breaks_off_is_not_reachable(server, client, end):
    async def cut(call):
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        getattr(call, end)()

    server.handle = cut
    with pytest.raises(NoResponse):
        await read_back(client, NOW - HOUR_S)


async def test_a_later_page_that_fails_makes_the_whole_unreachable(server, client):
    """Half a history proves nothing."""

    async def handle(call):
        if queried(call)["page"] == "1":
            await call.answer(200, {"data": [row(f"r{n}") for n in range(100)]})
        else:
            await call.answer(404, {"error": "no"})

    server.handle = handle
    with pytest.raises(NoResponse):
        await read_back(client, NOW - HOUR_S)


async def test_a_moment_without_history_is_bridged(server, waits):
    waits(history_tries=3)

    async def handle(call):
        await call.answer(*((503, b"<html>") if len(server.calls) == 1 else (200, {"data": []})))

    server.handle = handle
    async with opened(server) as client:
        assert (await read_back(client, NOW - HOUR_S)).complete


# -- one request ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(row("r"), id="the row itself"),
        pytest.param({"data": row("r")}, id="under a key"),
        pytest.param({"data": [row("s"), row("r")]}, id="in a list"),
        pytest.param([row("r")], id="a list alone"),
    ],
)
async def test_one_request_is_looked_up_by_its_id(server, client, body):
    server.handle = lambda call: call.answer(200, body)
    assert (await look_up(client, "r")).url == "https://i/r"


async def test_an_id_with_odd_characters_stays_one_part_of_the_path(server, client):
    server.handle = lambda call: call.answer(404, {"error": "no"})
    assert await look_up(client, "a/b?c") is None
    assert server.calls[0].line.split()[1] == "/inference-request/request-history/a%2Fb%3Fc"


async def test_a_404_says_that_it_is_not_listed(server, client):
    server.handle = lambda call: call.answer(404, {"error": "no"})
    assert await look_up(client, "r") is None


@pytest.mark.parametrize("body", [{}, {"data": []}])
async def test_nothing_says_that_it_is_not_listed(server, client, body):
    server.handle = lambda call: call.answer(200, body)
    assert await look_up(client, "r") is None


@pytest.mark.parametrize("body", [row("s"), {"data": [row("s")]}, {"message": "maintenance"}, ["r"]])
async def test_an_answer_about_something_else_settles_nothing(server, client, body):
    server.handle = lambda call: call.answer(200, body)
    with pytest.raises(NoResponse, match="something else"):
        await look_up(client, "r")


async def test_a_gateways_404_settles_nothing(server, client):
    """Its page says that a proxy knows no such place, not that the history does not list the request."""
    server.handle = lambda call: call.answer(404, b"<html>404 Not Found</html>")
    with pytest.raises(NoResponse):
        await look_up(client, "r")


@pytest.mark.parametrize(
    ("status", "body"), [case for case in NO_HISTORY if case.id not in ("404", "200 without a list")]
)
async def test_a_look_up_without_a_usable_answer_says_nothing(server, client, status, body):
    server.handle = lambda call: call.answer(status, body, Location="/elsewhere")
    with pytest.raises(NoResponse):
        await look_up(client, "r")


# -- the end of the list ----------------------------------------------------------------------------------------------


def strange(server, listed, oddity, *, most=20, totals=None):
    """Let the server list these rows in pages of `most` at the most, but answer call n as `oddity` says."""
    calls = []

    async def handle(call):
        asked = queried(call)
        calls.append(asked)
        size, page = min(int(asked["per_page"]), most), int(asked["page"])
        found = listed[(page - 1) * size : page * size]
        answer = {"data": found} | (totals(page, size) if totals else {})
        status, answer = oddity(len(calls), page, answer) or (200, answer)
        await call.answer(status, answer)

    server.handle = handle
    return calls


@pytest.mark.quick(3)
@pytest.mark.parametrize("count", [21, 40, 60, 61])
@pytest.mark.parametrize(
    "odd",
    [
        pytest.param((404, {"error": "no"}), id="404"),
        pytest.param((400, {"error": "no"}), id="400"),
        pytest.param((200, {"data": []}), id="empty"),
        pytest.param((200, {"data": [row(f"r{n}") for n in range(20)]}), id="the first page again"),
        pytest.param((200, {"data": [row(f"r{n}") for n in range(20, 23)]}), id="cut"),
    ],
)
@pytest.mark.parametrize("call", [2, 3])
async def test_a_page_that_is_odd_once_hides_nothing(server, client, count, odd, call):
    """Twenty rows a page although a hundred were asked for, and no total is given."""
    strange(
        server, [row(f"r{n}") for n in range(count)], lambda n, _page, _answer: odd if n == call else None
    )
    listing = await read_back(client, NOW - HOUR_S)
    assert {entry.request_id for entry in listing.entries} >= {f"r{n}" for n in range(count)}
    assert listing.complete


TOTALS = [
    pytest.param(lambda total: lambda _page, _size: {"total": total}, id="total"),
    pytest.param(lambda total: lambda _page, _size: {"pagination": {"totalCount": total}}, id="totalCount"),
    pytest.param(
        lambda total: lambda page, size: {"meta": {"total_pages": -(-total // size), "page": page}},
        id="total_pages",
    ),
    pytest.param(lambda total: lambda page, size: {"has_next": page * size < total}, id="has_next"),
    pytest.param(
        lambda total: lambda page, size: {"next": "/more" if page * size < total else None}, id="next"
    ),
]


@pytest.mark.quick(2)
@pytest.mark.parametrize("totals", TOTALS)
async def test_the_answers_own_total_is_taken_for_the_end(server, client, totals):
    calls = strange(server, [row(f"r{n}") for n in range(60)], lambda *_: None, totals=totals(60))
    listing = await read_back(client, NOW - HOUR_S)
    assert (len(listing.entries), listing.complete) == (60, True)
    assert (
        len(calls) == 8
    )  # two pages, the first again, then three of twenty rows, and the row behind the last, twice


@pytest.mark.quick(2)
@pytest.mark.parametrize("totals", TOTALS)
async def test_a_list_that_says_that_it_has_more_than_it_gives_is_not_complete(server, client, totals):
    """Page 2 is a 404 for good."""
    strange(
        server, [row(f"r{n}") for n in range(60)],
        lambda _n, page, _answer: (404, {"error": "no"}) if page > 1 else None, totals=totals(60),
    )  # fmt: skip
    listing = await read_back(client, NOW - HOUR_S)
    assert (len(listing.entries), listing.complete) == (20, False)
    assert "more requests than it gives" in listing.gap


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", ["total", "count", "pages", "has_more"])
async def test_a_total_that_is_none_hides_nothing(server, client, name):
    """It counts the rows of this page, or says that there is no more although there is."""
    wrong = {"total": 20, "count": 20, "pages": 1, "has_more": False}[name]
    strange(
        server, [row(f"r{n}") for n in range(60)], lambda *_: None, totals=lambda *_: {name: wrong}
    )  # fmt: skip
    listing = await read_back(client, NOW - HOUR_S)
    assert (len(listing.entries), listing.complete) == (60, True)


@pytest.mark.quick(2)
@pytest.mark.parametrize("odd", [None, *range(2, 12)])
@pytest.mark.parametrize("count", [21, 250])
async def test_a_page_that_skips_the_rows_it_was_too_short_for_hides_nothing(server, client, count, odd):
    """It gives twenty rows at most, but the second page begins where a hundred would have ended; one call is a 404."""

    async def handle(call):
        asked = queried(call)
        size, page = int(asked["per_page"]), int(asked["page"])
        start = (page - 1) * size
        found = [row(f"r{n}") for n in range(count)][start : start + min(size, 20)]
        strayed = len(server.calls) == odd and page > 1
        await call.answer(404 if strayed else 200, {"error": "no"} if strayed else {"data": found})

    server.handle = handle
    listing = await read_back(client, NOW - HOUR_S)
    assert (len(listing.entries), listing.complete) == (count, True)


async def test_pages_that_never_fit_together_are_not_complete(server, client):
    """Every page holds back its last row."""

    async def handle(call):
        asked = queried(call)
        size, page = int(asked["per_page"]), int(asked["page"])
        found = [row(f"r{n}") for n in range(60)][(page - 1) * size : page * size]
        await call.answer(200, {"data": found[:-1] if size > 1 else found})

    server.handle = handle
    listing = await read_back(client, NOW - HOUR_S)
    assert not listing.complete
    assert "do not fit together" in listing.gap


# -- no further than it matters ---------------------------------------------------------------------------------------


def busy(server, *, every_s=1.0, date=True, **differing):
    """Let the server list an endless past of requests, one every second, newest first."""
    fields = {"Date": email.utils.formatdate(NOW, usegmt=True)} if date else {}

    async def handle(call):
        asked = queried(call)
        size, page = int(asked["per_page"]), int(asked["page"])
        numbers = range((page - 1) * size, page * size)
        found = [row(f"r{n}", model_created=NOW - n * every_s, **differing) for n in numbers]
        await call.answer(200, {"data": found}, **fields)

    server.handle = handle


async def test_a_busy_account_is_read_no_further_than_it_matters(server, client):
    """An hour of doubt before the ten minutes that are asked about: 43 pages and the first beyond, not a day's 864."""
    busy(server)
    listing = await read_back(client, NOW - 600.0)
    assert listing.complete
    assert len(server.calls) == 44
    assert len(listing.entries) >= 4200


async def test_no_page_follows_another_without_a_pause(server, monkeypatch, waits):
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    waits(history_page_s=0.2)
    monkeypatch.setattr(history.anyio, "sleep", sleep)
    busy(server, every_s=5.0)
    async with opened(server) as client:
        await read_back(client, NOW - 600.0)
    assert len(server.calls) > history.FREE_PAGES
    assert waited == [0.2] * (len(server.calls) - history.FREE_PAGES)


async def test_a_page_waits_at_a_closed_gate_and_a_429_closes_it(server, client):
    reset = {"x_rate_limit_reset_at_utc": str(NOW + 1.0), "Date": email.utils.formatdate(NOW, usegmt=True)}

    async def handle(call):
        await call.answer(
            *((429, {"error": "slow down"}) if len(server.calls) == 1 else (200, {"data": []})), **reset
        )

    server.handle = handle
    with pytest.raises(NoResponse):
        await read_back(client, NOW - HOUR_S)
    assert client.pace.gate.counts_gets
    assert client.pace.gate.opens_at > anyio.current_time()


async def test_where_the_order_is_another_one_the_list_is_read_to_its_end(server, client):
    """Oldest first: that a page is older than what is asked about says nothing of those behind it."""
    ages = range(9 * 3600, 0, -300)
    paged(server, [row(f"r{age}", model_created=NOW - age) for age in ages], most=20)
    listing = await read_back(client, NOW - 600.0)
    assert listing.complete
    assert {f"r{age}" for age in range(600, 0, -300)} <= {entry.request_id for entry in listing.entries}


async def test_a_list_of_another_time_zone_is_read_further(server, client):
    """Its newest request is dated eight hours ago, so those of the time asked about may be older still."""
    numbers = range(0, 30 * 3600, 600)
    paged(server, [row(f"r{n}", model_created=NOW - 8 * HOUR_S - n) for n in numbers], most=20)
    listing = await read_back(client, NOW - 600.0)
    assert listing.complete
    assert not listing.zone_known
    assert "r0" in {entry.request_id for entry in listing.entries}


async def test_an_old_submit_is_looked_for_in_its_own_days(server, client):
    paged(server, [row("r")])
    listing = await read_back(client, NOW - 40 * DAY_S, NOW - 40 * DAY_S + 60.0)
    asked = queried(server.calls[0])
    assert (asked["from_date"], asked["to_date"], listing.complete) == ("2026-12-05", "2026-12-07", True)


async def test_what_is_ours_is_kept_whatever_its_time(server, client):
    listed = [row("ours", model_created=NOW - 9 * DAY_S), row("theirs", model_created=NOW - 9 * DAY_S)]
    paged(server, [row("now", model_created=NOW), *listed])
    listing = await read_back(client, NOW - 600.0, own={"ours"})
    assert [entry.request_id for entry in listing.entries] == ["now", "ours"]


@pytest.mark.parametrize(
    ("told", "coarse_s"),
    [
        ("2027-01-15T07:59:01.5Z", 0.0),
        ("2027-01-15T07:59:01Z", 1.0),
        ("2027-01-15T07:59:00.000Z", 60.0),
        ("2027-01-15 07:59", 60.0),
        ("2027-01-15T07:00:00Z", 3600.0),
        ("2027-01-15", DAY_S),
        ("2027-01-15T00:00:00+05:30", DAY_S),
        ("Fri, 15 Jan 2027 07:59:00 GMT", 60.0),
        (NOW - 60.0, 60.0),
        (NOW + 0.25, 0.0),
    ],
)
def test_how_coarse_a_time_is_shows_in_what_is_nought(told, coarse_s):
    assert read_entry(row("r", model_created=told)).coarse_s == coarse_s
