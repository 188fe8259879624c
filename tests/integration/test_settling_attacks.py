"""Histories that once made us pay twice, each with its siblings: what is counted is the POSTs that the service accepted."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest
import support
from support import by_id, go, rows, statuses, submits, summary, write_csv

from batch import RunHooks
from batch.core.config import Backoff
from batch.server.http import history

LOST_AFTER = {"call": "submit", "action": "reset_after", "prompt": "oak 2", "first": 1}
LOST_BEFORE = {"call": "submit", "action": "reset_before", "prompt": "oak 2", "first": 1}
NO_HISTORY = {"call": "history", "action": "status", "text": "unavailable"}
NOT_FOUND = {"action": "status", "text": "not_found"}
SLOW = pytest.mark.slow  # siblings of those that run each time
ARRIVED = pytest.mark.parametrize("fault", [LOST_AFTER, LOST_BEFORE], ids=["it arrived", "it did not"])


@pytest.fixture(autouse=True)
def hasty(waits):
    """Let what is asked again be asked at once: what is tested is what comes of it."""
    waits(
        connect_s=5.0,
        read_s=1.5,
        no_answer=Backoff(0.1, 30.0, least=0.5),
        history_tries=1,
        history_again_s=0.01,
        settle_again_s=0.2,
        image_s=0.5,
    )


def assert_paid_once(api, end, out, count=4):
    """Every row is saved, and the service accepted each body once."""
    stats = api.stats()
    assert (stats["accepted"], support.accepted_twice(stats)) == (count, [])
    assert (end.exit_code, statuses(out)) == (0, {"saved": count})
    assert end.summary["spent_usd"] == pytest.approx(0.03 * count)
    support.assert_pictures_belong(out, stats)
    support.assert_ledger_sound(out)


def assert_left_to_a_person(api, end, out, accepted=4):
    """The row is unknown, nothing was sent for it again, and a further run changes nothing about that."""
    stats = api.stats()
    assert (stats["accepted"], support.accepted_twice(stats)) == (accepted, [])
    assert (end.exit_code, statuses(out)) == (4, {"saved": 3, "unknown": 1})


# -- clocks -----------------------------------------------------------------------------------------------------------

ODD_DATES = [
    pytest.param([{"call": "credits", "action": "delay", "after_s": 0.01, "skew_s": 20}], id="the balance, 20 s ahead"),
    pytest.param([{"call": "credits", "action": "delay", "after_s": 0.01, "skew_s": -20}], id="the balance, 20 s behind", marks=SLOW),
    pytest.param(
        [{"call": "history", "action": "delay", "after_s": 0.01, "skew_s": 90, "nth": 1}], id="the history, 90 s ahead"
    ),
    pytest.param(
        [{"call": "history", "action": "delay", "after_s": 0.01, "skew_s": -900}], id="the history, 15 min behind", marks=SLOW
    ),
    pytest.param([{"call": "credits", "action": "delay", "after_s": 0.01, "skew_s": 80_000}], id="a day ahead", marks=SLOW),
]  # fmt: skip


@pytest.mark.quick(1)
@ARRIVED
@pytest.mark.parametrize("odd", ODD_DATES)
def test_one_answer_with_an_odd_date_pays_nothing_twice(api, manifest, out, odd, fault):
    """The first row is lost, so that no other answer came between; the others are shown as they were sent."""
    api.faults([*odd, fault | {"prompt": "oak 0"}])
    end = go(api, manifest, out, settle_s=0.3, concurrency=1)
    assert_paid_once(api, end, out)


# -- a history that tidies --------------------------------------------------------------------------------------------


def rewriting(monkeypatch, rewrite):
    """Let the history show each body rewritten."""
    truly = history.row_body
    monkeypatch.setattr(history, "row_body", lambda body, style: rewrite(dict(truly(body, style))))


def encoded(url):
    return "".join(
        character if character.isascii() else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in url
    )


TIDIED = [
    pytest.param({"image_1": "https://pictures.example/stühl.png"},
                 lambda body: body | {"image_1": encoded(body["image_1"])}, id="a path percent-encoded"),
    pytest.param({"image_2": "https://Pictures.Example/oak.png"},
                 lambda body: body | {"image_2": body["image_2"].lower()}, id="a host in small letters"),
    pytest.param({"image_2": "https://pictures.example/oak.png?b=2&a=1"},
                 lambda body: body | {"image_2": body["image_2"].replace("b=2&a=1", "a=1&b=2")}, id="a query in order", marks=SLOW),
    pytest.param({"image_2": "https://pictures.example/oak.png?token=secret"},
                 lambda body: body | {"image_2": body["image_2"].partition("?")[0]}, id="a query left out", marks=SLOW),
    pytest.param({"prompt": "oak 2, geölt"}, lambda body: body | {"prompt": encoded(body["prompt"])},
                 id="a prompt percent-encoded"),
    pytest.param({"prompt": "oak 2, geölt"},
                 lambda body: body | {"prompt": body["prompt"].encode("ascii", "ignore").decode()}, id="letters left out", marks=SLOW),
    pytest.param({"prompt": "oak 2 & elm"}, lambda body: body | {"prompt": body["prompt"].replace("&", "and")},
                 id="an ampersand written out", marks=SLOW),
]  # fmt: skip


def with_odd_row(manifest, differing):
    lines = rows(4)
    lines[2] |= differing
    return write_csv(manifest, lines)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize(("differing", "rewrite"), TIDIED)
def test_a_row_whose_own_form_was_tidied_is_not_vouched_for_by_others(
    api, manifest, out, monkeypatch, differing, rewrite
):
    rewriting(monkeypatch, rewrite)
    api.faults([LOST_AFTER])
    with_odd_row(manifest, differing)
    assert_left_to_a_person(api, go(api, manifest, out, settle_s=0.2), out)
    assert_left_to_a_person(api, go(api, manifest, out, settle_s=0.2), out)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize(("differing", "rewrite"), TIDIED)
def test_a_row_of_such_a_form_that_never_arrived_is_sent_again(
    api, manifest, out, monkeypatch, differing, rewrite
):
    """The history lists no request that could be it."""
    rewriting(monkeypatch, rewrite)
    api.faults([LOST_BEFORE])
    with_odd_row(manifest, differing)
    assert_paid_once(api, go(api, manifest, out, settle_s=0.2), out)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("differing", [case.values[0] for case in TIDIED])
def test_a_row_of_such_a_form_is_found_where_the_history_shows_it_as_it_was_sent(
    api, manifest, out, differing
):
    api.faults([LOST_AFTER])
    with_odd_row(manifest, differing)
    assert_paid_once(api, go(api, manifest, out, settle_s=0.2), out)


# -- coarse times -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.quick(1)
@ARRIVED
@pytest.mark.parametrize(
    "form",
    [
        pytest.param("%Y-%m-%dT%H:%M:00Z", id="minutes"),
        pytest.param("%Y-%m-%d %H:%M", id="minutes without seconds", marks=SLOW),
        pytest.param("%Y-%m-%dT%H:00:00.000Z", id="hours", marks=SLOW),
        pytest.param("%Y-%m-%d", id="dates"),
    ],
)
def test_times_that_were_cut_pay_nothing_twice(api, manifest, out, monkeypatch, form, fault):
    monkeypatch.setattr(history, "_stamp", lambda at: datetime.fromtimestamp(at, UTC).strftime(form))
    api.faults([fault])
    assert_paid_once(api, go(api, manifest, out, settle_s=0.3), out)


# -- pages ------------------------------------------------------------------------------------------------------------

COUNTS = {"page", "per_page", "total", "total_pages"}


@pytest.fixture(params=["its total said", "no total said"])
def short_pages(request, monkeypatch):
    """A history that gives three rows a page whatever it is asked for."""
    truly, queried = history.as_json, history.Query.__init__

    def capped(self, *asked):
        queried(self, *asked)
        self.per_page = min(self.per_page, 3)

    monkeypatch.setattr(history.Query, "__init__", capped)
    if request.param == "no total said":
        monkeypatch.setattr(
            history,
            "as_json",
            lambda body: truly(
                {name: body[name] for name in body if name not in COUNTS or "request_id" in body}
            ),
        )


@pytest.mark.slow
@ARRIVED
@pytest.mark.parametrize("nth", [pytest.param(2, marks=SLOW), pytest.param(3, marks=SLOW), 4])
@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(NOT_FOUND, id="404"),
        pytest.param({"action": "status", "status": 200, "body": {"data": []}}, id="empty"),
    ],
)
@pytest.mark.usefixtures("short_pages")
def test_a_page_that_is_not_there_once_is_not_the_end(api, manifest, out, waits, odd, nth, fault):
    """Ten requests on four pages; the first to be sent was lost and is on the last."""
    waits(history_tries=2)  # it may be the first page
    write_csv(manifest, rows(10))
    api.faults([{"call": "history", "nth": nth, **odd}, fault | {"prompt": "oak 0"}])
    assert_paid_once(api, go(api, manifest, out, settle_s=0.3, concurrency=1), out, 10)


# -- time that passed -------------------------------------------------------------------------------------------------


def set_clock(monkeypatch, seconds):
    """Let the next run find the wall clock set on by so much; the server's is as it was."""
    monkeypatch.setattr("batch.execution.runner.steady_clock", lambda: lambda: time.time() + seconds)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [600.0, 86_400.0, -600.0], ids=["10 min on", "a day on", "10 min back"])
def test_a_clock_that_is_set_does_not_shorten_the_settle_time(api, manifest, out, monkeypatch, seconds):
    """The lost row is listed 2 s after its submit; the next run gives it 3 s from when it was lost."""
    api.settings(history_lag_by_prompt={"oak 2": 2.0})
    api.faults([LOST_AFTER, NO_HISTORY])
    assert go(api, manifest, out, settle_s=0.1).exit_code == 4
    api.faults([])
    set_clock(monkeypatch, seconds)
    assert_paid_once(api, go(api, manifest, out, settle_s=3.0), out)


@pytest.mark.quick(1)
@pytest.mark.parametrize("seconds", [600.0, -600.0], ids=["10 min on", "10 min back"])
def test_a_clock_that_is_set_does_not_keep_a_row_from_being_settled(api, manifest, out, monkeypatch, seconds):
    """What never arrived is sent again after the settle time, counted from when it was lost."""
    api.faults([LOST_BEFORE, NO_HISTORY])
    assert go(api, manifest, out, settle_s=0.1).exit_code == 4
    api.faults([])
    set_clock(monkeypatch, seconds)
    began = time.monotonic()
    assert_paid_once(api, go(api, manifest, out, settle_s=1.0), out)
    assert time.monotonic() - began < 20.0


@pytest.mark.slow
def test_a_loss_that_an_older_version_noted_is_given_its_time_from_the_beginning_of_the_run(
    api, manifest, out, monkeypatch
):
    """It did not note the time that passed; nor does it count after the machine was started again."""
    api.settings(history_lag_by_prompt={"oak 2": 2.0})
    api.faults([LOST_AFTER, NO_HISTORY])
    assert go(api, manifest, out, settle_s=0.1).exit_code == 4
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        ledger.execute("UPDATE jobs SET lost_boot = 'another start'")
        ledger.commit()
    api.faults([])
    set_clock(monkeypatch, 600.0)
    assert_paid_once(api, go(api, manifest, out, settle_s=3.0), out)


# -- a busy account ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@ARRIVED
@pytest.mark.usefixtures("short_pages")
def test_a_busy_account_settles_all_the_same(api, manifest, out, tmp_path, fault):
    """Other people's requests lie in between, with the same pictures and another prompt or seed."""
    theirs = rows(12, first=50) + [line | {"id": f"t{n}", "seed": 900 + n} for n, line in enumerate(rows(4))]
    api.faults([fault | {"first": 1}])
    write_csv(tmp_path / "theirs.csv", [line for line in theirs if line["prompt"] != "oak 2"])
    assert go(api, tmp_path / "theirs.csv", tmp_path / "theirs").exit_code == 0
    end = go(api, manifest, out, settle_s=0.3)
    assert (end.exit_code, statuses(out)) == (0, {"saved": 4})
    stats = api.stats()
    assert (stats["accepted"], support.accepted_twice(stats)) == (15 + 4, [])


def test_a_history_that_is_too_long_is_told_and_leaves_it_to_a_person(api, manifest, out, monkeypatch):
    monkeypatch.setattr("batch.client.history.MOST_PAGES", 2)
    monkeypatch.setattr("batch.client.history.PER_PAGE", 1)
    api.faults([LOST_BEFORE])
    end = go(api, manifest, out, settle_s=0.2)
    assert_left_to_a_person(api, end, out, accepted=3)
    assert "more requests since" in end.unsettled
    assert "2 pages" in end.unsettled


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("older_s", "expected"),
    [
        pytest.param(30 * 60.0, (4, {"saved": 3, "unknown": 1}), id="half an hour before"),
        pytest.param(2 * 3600.0, (0, {"saved": 4}), id="two hours before"),
    ],
)
def test_a_request_with_our_body_from_another_folder_is_ours_to_decide_while_it_may_be_ours(
    api, manifest, out, tmp_path, monkeypatch, older_s, expected
):
    """The same manifest ran elsewhere; here one row's POST never arrived."""
    assert go(api, manifest, tmp_path / "other").exit_code == 0
    stamp, theirs = history._stamp, {job["accepted_at"] for job in api.stats()["jobs"]}
    monkeypatch.setattr(history, "_stamp", lambda at: stamp(at - older_s if at in theirs else at))
    monkeypatch.setattr(history.Query, "rank", lambda _, job: job.accepted_at)
    api.faults([LOST_BEFORE])
    end = go(api, manifest, out, settle_s=0.2)
    assert (end.exit_code, statuses(out)) == expected
    ours = {row["request_id"] for row in support.report(out) if row["request_id"]}
    assert not ours & {row["request_id"] for row in support.report(tmp_path / "other")}
    if expected[0] == 4:
        assert "may be this one" in end.unsettled


# -- a cost that is none ----------------------------------------------------------------------------------------------

NO_COST = pytest.mark.parametrize(
    "cost", [0, None, "n/a", pytest.param("0.00", marks=SLOW), pytest.param(-1, marks=SLOW)], ids=str
)


@pytest.mark.slow
@NO_COST
def test_a_found_request_without_a_cost_is_on_the_bill_at_its_estimate(api, manifest, out, monkeypatch, cost):
    monkeypatch.setattr(history, "row_cost", lambda *_: cost)
    said = []
    api.faults([LOST_AFTER])
    end = go(api, manifest, out, settle_s=0.3, listener=RunHooks(warn=said.append))
    assert_paid_once(api, end, out)
    assert end.summary["estimated_usd"] == 0.03
    assert by_id(out)["row-2"]["cost"] == "0.030000"
    assert any("names no cost" in line and "$0.0300" in line for line in said)


@pytest.mark.slow
def test_a_found_request_with_a_cost_is_on_the_bill_with_it(api, manifest, out, monkeypatch):
    monkeypatch.setattr(history, "row_cost", lambda *_: 0.05)
    api.faults([LOST_AFTER])
    end = go(api, manifest, out, settle_s=0.3)
    assert end.summary["spent_usd"] == pytest.approx(0.14)
    assert "estimated_usd" not in end.summary


@pytest.mark.slow
@pytest.mark.quick(1)
@NO_COST
def test_an_expired_record_that_the_history_bills_at_nothing_is_on_the_bill_at_its_estimate(
    api, manifest, out, monkeypatch, cost
):
    """Every poll answers 404; the history gives the picture, and no cost."""
    monkeypatch.setattr(history, "row_cost", lambda *_: cost)
    api.settings(record_lifetime_s=0.0)
    end = go(api, manifest, out, price=30_000)
    assert_paid_once(api, end, out)
    assert end.summary["estimated_usd"] == 0.12


@pytest.mark.quick(1)
@NO_COST
def test_the_cap_holds_where_no_cost_is_named(api, manifest, out, monkeypatch, cost):
    monkeypatch.setattr(history, "row_cost", lambda *_: cost)
    api.settings(record_lifetime_s=0.0)
    end = go(api, manifest, out, price=30_000, max_cost=60_000)
    assert end.exit_code == 8
    assert (submits(api), summary(out)["spent_usd"]) == (2, 0.06)


# -- expired rows come back -------------------------------------------------------------------------------------------


@pytest.fixture
def expired(api, manifest, out, waits):
    """A folder with a row whose record and whose place in the history are gone: expired, its estimate on the bill."""
    waits(record_s=0.0)
    api.faults([{"call": "status", "prompt": "oak 2", **NOT_FOUND}, {"call": "history", **NOT_FOUND}])
    end = go(api, manifest, out, price=30_000)
    assert (end.exit_code, statuses(out)) == (1, {"saved": 3, "expired": 1})
    assert (summary(out)["spent_usd"], summary(out)["estimated_usd"]) == (0.12, 0.03)
    waits(record_s=3600.0)
    api.faults([{"call": "status", "prompt": "oak 2", **NOT_FOUND}])
    return out


@pytest.mark.quick(1)
@pytest.mark.parametrize("more", [{}, {"retry_failed": True}], ids=["run", "retry"])
def test_an_expired_row_that_the_history_lists_is_fetched_free(api, manifest, expired, more):
    assert_paid_once(api, go(api, manifest, expired, **more), expired)
    assert submits(api) == 4
    assert "estimated_usd" not in summary(expired)
    assert by_id(expired)["row-2"]["cost"] == "0.030000"


@pytest.mark.slow
def test_the_true_cost_of_an_expired_row_takes_the_place_of_the_estimate(api, manifest, expired, monkeypatch):
    monkeypatch.setattr(history, "row_cost", lambda *_: 0.05)
    end = go(api, manifest, expired)
    assert (end.exit_code, end.summary["spent_usd"]) == (0, pytest.approx(0.14))
    assert by_id(expired)["row-2"]["cost"] == "0.050000"


@pytest.mark.slow
def test_a_row_that_expired_without_a_known_price_is_on_the_bill_with_what_the_history_names(
    api, manifest, expired
):
    """As an earlier version left it: nothing was set aside, so nothing is on the bill, and nothing is marked."""
    with closing(sqlite3.connect(expired / "ledger.sqlite")) as ledger:
        ledger.executescript(
            "DROP TRIGGER events_no_update; UPDATE events SET cost = NULL, estimated = NULL WHERE event = 'expire'; "
            "UPDATE jobs SET cost = NULL WHERE state = 'expired'"
        )
    assert_paid_once(api, go(api, manifest, expired), expired)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("word", ["CANCELLED", ""])
def test_an_expired_row_of_which_the_history_says_an_unknown_word_stays_as_it_is(
    api, manifest, expired, monkeypatch, word
):
    truly = history.row
    monkeypatch.setattr(history, "row", lambda *given: truly(*given) | {"model_status": word})
    end = go(api, manifest, expired)
    assert (end.exit_code, statuses(expired)) == (1, {"saved": 3, "expired": 1})
    assert end.summary["spent_usd"] == pytest.approx(0.12)


@pytest.mark.slow
@pytest.mark.quick(1)
@NO_COST
def test_an_expired_row_without_a_cost_keeps_its_estimate(api, manifest, expired, monkeypatch, cost):
    monkeypatch.setattr(history, "row_cost", lambda *_: cost)
    end = go(api, manifest, expired)
    assert_paid_once(api, end, expired)
    assert end.summary["estimated_usd"] == 0.03


def test_an_expired_row_that_the_history_lists_as_failed_was_not_billed(api, manifest, expired, monkeypatch):
    truly = history.row
    monkeypatch.setattr(
        history,
        "row",
        lambda *given: (
            truly(*given) | {"model_status": "FAILED", "error": "no chair", "generation_url": None}
        ),
    )
    end = go(api, manifest, expired)
    assert (end.exit_code, statuses(expired)) == (1, {"saved": 3, "failed": 1})
    row = by_id(expired)["row-2"]
    assert (row["error"], row["cost"]) == ("no chair", "")
    assert end.summary["spent_usd"] == pytest.approx(0.09)
    assert "estimated_usd" not in end.summary


@pytest.mark.slow
def test_an_expired_row_that_still_runs_is_waited_for_and_its_money_is_at_risk(
    api, manifest, expired, monkeypatch
):
    truly = history.row
    monkeypatch.setattr(
        history, "row", lambda *given: truly(*given) | {"model_status": "PENDING", "generation_url": None}
    )
    end = go(api, manifest, expired, job_timeout_s=0.3)
    assert (end.exit_code, statuses(expired)) == (7, {"saved": 3, "pending": 1})
    assert (end.summary["spent_usd"], end.summary["at_risk_usd"]) == (pytest.approx(0.09), 0.03)
    monkeypatch.undo()
    assert_paid_once(api, go(api, manifest, expired), expired)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "off", [NO_HISTORY, {"call": "history", **NOT_FOUND}], ids=["unreachable", "not listed"]
)
def test_an_expired_row_that_the_history_does_not_list_stays_as_it_is(api, manifest, expired, off):
    said = []
    api.faults([off])
    end = go(api, manifest, expired, listener=RunHooks(warn=said.append))
    assert (end.exit_code, statuses(expired)) == (1, {"saved": 3, "expired": 1})
    assert end.summary["spent_usd"] == pytest.approx(0.12)
    assert any("could not be looked up" in line for line in said) == (off is NO_HISTORY)


@pytest.mark.slow
def test_a_row_that_expired_more_than_a_week_ago_is_not_asked_for(api, manifest, expired):
    """The service has its picture no longer."""
    with closing(sqlite3.connect(expired / "ledger.sqlite")) as ledger:
        ledger.execute("UPDATE jobs SET submitted_at = submitted_at - 8 * 86400 WHERE state = 'expired'")
        ledger.commit()
    before = api.stats(jobs=False)["calls"]["history"]
    assert go(api, manifest, expired).exit_code == 1
    assert api.stats(jobs=False)["calls"]["history"] == before


@pytest.mark.slow
def test_resolve_asks_for_expired_rows_too(api, manifest, expired, command, monkeypatch):
    monkeypatch.setenv("SEGMIND_BASE_URL", api.base_url)
    monkeypatch.setenv("SEGMIND_API_KEY", api.api_key)
    assert command("resolve", expired, "--reconcile")[0] == 0
    assert statuses(expired) == {"saved": 3, "pending": 1}
    assert_paid_once(api, go(api, manifest, expired), expired)
