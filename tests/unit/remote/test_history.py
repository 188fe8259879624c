"""The account's history as it may come: any key and nesting, odd types, rows that arrive while it is read, no history."""

from __future__ import annotations

import email.utils
from datetime import date, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from batch.errors import NoAnswer
from batch.remote import history
from batch.remote.client import Client
from batch.remote.history import find_rows, look_up, read_back, read_entry

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
def hasty(monkeypatch):
    monkeypatch.setattr(history, "TRIES", 1)


@pytest.fixture
async def client(server):
    async with Client(server.service, clock=lambda: NOW) as client:
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
        pytest.param({"request_body": None}, {"body": None}, id="no body"),
        pytest.param({"credits_deduction": "0.03"}, {"cost": 30_000}, id="a cost as text"),
        pytest.param({"credits_deduction": None}, {"cost": None}, id="no cost"),
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
    assert [queried(call)["page"] for call in server.calls] == ["1", "2", "3", "4"]


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
    assert len(server.calls) == 2


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
    with pytest.raises(NoAnswer):
        await read_back(client, NOW - HOUR_S)


@pytest.mark.parametrize("end", ["reset", "finish"])
async def test_a_history_that_breaks_off_is_not_reachable(server, client, end):
    async def cut(call):
        await call.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        getattr(call, end)()

    server.handle = cut
    with pytest.raises(NoAnswer):
        await read_back(client, NOW - HOUR_S)


async def test_a_later_page_that_fails_makes_the_whole_unreachable(server, client):
    """Half a history proves nothing."""

    async def handle(call):
        if queried(call)["page"] == "1":
            await call.answer(200, {"data": [row(f"r{n}") for n in range(100)]})
        else:
            await call.answer(404, {"error": "no"})

    server.handle = handle
    with pytest.raises(NoAnswer):
        await read_back(client, NOW - HOUR_S)


async def test_a_moment_without_history_is_bridged(server, client, monkeypatch):
    monkeypatch.setattr(history, "TRIES", 3)

    async def handle(call):
        await call.answer(*((503, b"<html>") if len(server.calls) == 1 else (200, {"data": []})))

    server.handle = handle
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


@pytest.mark.parametrize("body", [row("s"), {"data": [row("s")]}, {}, {"data": []}])
async def test_another_requests_row_is_not_taken_for_it(server, client, body):
    server.handle = lambda call: call.answer(200, body)
    assert await look_up(client, "r") is None


@pytest.mark.parametrize(
    ("status", "body"), [case for case in NO_HISTORY if case.id not in ("404", "200 without a list")]
)
async def test_a_look_up_without_a_usable_answer_says_nothing(server, client, status, body):
    server.handle = lambda call: call.answer(status, body, Location="/elsewhere")
    with pytest.raises(NoAnswer):
        await look_up(client, "r")
