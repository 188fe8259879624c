"""Lost submits against the service's history, whatever state that is in: found, proven absent, or left to a person."""

import json
import sqlite3
import time
from contextlib import closing

import pytest
import support
from support import by_id, go, rows, statuses, submits, write_csv

from batch import RunHooks
from batch.core.config import Backoff
from batch.server import LocalApi, LocalProcess

LOST_AFTER = {"call": "submit", "action": "reset_after", "prompt": "oak 2", "first": 1}
LOST_BEFORE = {"call": "submit", "action": "reset_before", "prompt": "oak 2", "first": 1}
NO_HISTORY = {"call": "history", "action": "status", "text": "unavailable"}


@pytest.fixture(autouse=True)
def hasty(waits):
    """Let what is asked again be asked at once: what is tested is what comes of it."""
    waits(
        connect_s=5.0,
        read_s=1.5,
        no_answer=Backoff(0.1, 30.0, least=0.5),
        history_tries=1,
        settle_again_s=0.2,
        image_s=0.5,
    )


def assert_each_accepted_once(api, count=4):
    stats = api.stats()
    assert (stats["accepted"], support.accepted_twice(stats)) == (count, [])
    return stats


def assert_all_saved(api, end, out):
    stats = assert_each_accepted_once(api)
    assert (end.exit_code, statuses(out)) == (0, {"saved": 4})
    support.assert_pictures_belong(out, stats)
    support.assert_ledger_sound(out)


# -- found ------------------------------------------------------------------------------------------------------------


def test_a_submit_whose_answer_was_lost_is_found_and_its_picture_fetched(api, manifest, out):
    """It is not sent a second time, not even refused: the service saw four POSTs."""
    api.faults([LOST_AFTER])
    end = go(api, manifest, out, settle_s=30.0)
    assert_all_saved(api, end, out)
    assert submits(api) == 4
    row = by_id(out)["row-2"]
    assert (row["attempts"], row["cost"], row["error_class"]) == ("1", "0.030000", "")
    assert support.events(out, "lose") >= 1
    assert support.events(out, "find_done") + support.events(out, "find_running") >= 1
    assert end.summary["at_risk_usd"] == 0


@pytest.mark.slow
def test_a_server_in_a_process_of_its_own_says_the_same(manifest, out):
    with LocalProcess(**support.QUICK) as process:
        process.faults([LOST_AFTER])
        assert_all_saved(process, go(process, manifest, out, settle_s=30.0), out)


@pytest.mark.slow
def test_a_found_request_that_is_still_at_work_is_watched_to_its_end(api, manifest, out):
    api.settings(latency_s=0.6)
    api.faults([LOST_AFTER | {"prompt": "oak"}])  # the first to come, so that the others are not waited for
    end = go(api, write_csv(manifest, rows(1)), out, settle_s=30.0)
    assert (end.exit_code, support.events(out, "find_running")) == (0, 1)
    support.assert_pictures_belong(out, assert_each_accepted_once(api, 1))


def test_a_found_request_that_failed_fails_its_row_unbilled_with_the_services_reason(api, manifest, out):
    api.settings(blocked_words=["oak 2"])
    api.faults([LOST_AFTER])
    end = go(api, manifest, out, settle_s=30.0)
    assert (end.exit_code, statuses(out)) == (1, {"saved": 3, "failed": 1})
    row = by_id(out)["row-2"]
    assert (row["error_class"], row["cost"]) == ("job_failed", "")
    assert "blocked" in row["error"]
    assert row["request_id"]
    assert end.summary["spent_usd"] == pytest.approx(0.09)
    assert_each_accepted_once(api)


@pytest.mark.slow
def test_every_submit_lost_is_every_request_found(api, manifest, out):
    api.faults([{"call": "submit", "action": "reset_after"}])
    assert_all_saved(api, go(api, manifest, out, settle_s=30.0), out)


def test_rows_that_differ_in_nothing_but_the_seed_find_their_own_requests(api, manifest, out):
    write_csv(manifest, [line | {"prompt": "oak"} for line in rows(4)])
    api.faults([{"call": "submit", "action": "reset_after"}])
    assert_all_saved(api, go(api, manifest, out, settle_s=30.0), out)


@pytest.mark.slow
def test_an_uploaded_picture_is_recognised_by_the_url_it_was_sent_with(api, tmp_path, manifest, out):
    support.picture(tmp_path / "chair.png")
    write_csv(manifest, [line | {"image_1": "chair.png"} for line in rows(4)])
    api.faults([LOST_AFTER])
    assert_all_saved(api, go(api, manifest, out, settle_s=30.0), out)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "ways",
    [
        pytest.param({"history_list_key": "data"}, id="its list under data"),
        pytest.param({"history_list_key": "requests"}, id="its list under requests"),
        pytest.param({"history_list_key": "payload.history.items"}, id="its list deep inside"),
        pytest.param({"history_body": "strings"}, id="numbers as text"),
        pytest.param({"history_body": "json_text"}, id="inputs as JSON in a text"),
        pytest.param({"history_copies": 3}, id="a request once for each output"),
        pytest.param({"clock_skew_s": -3000.0}, id="a clock that is behind"),
        pytest.param({"clock_skew_s": 3000.0}, id="a clock that is ahead"),
    ],
)
def test_a_lost_submit_is_found_in_whatever_way_the_history_tells_it(api, manifest, out, ways):
    api.settings(**ways)
    api.faults([LOST_AFTER])
    assert_all_saved(api, go(api, manifest, out, settle_s=30.0), out)


@pytest.mark.slow
def test_a_row_beyond_the_first_page_is_found(api, manifest, out, monkeypatch):
    """Ten requests, newest first, the one that was lost among the first: three fit on a page."""
    monkeypatch.setattr("batch.client.history.PER_PAGE", 3)
    write_csv(manifest, rows(10))
    api.faults([LOST_AFTER | {"prompt": "oak 0"}])
    end = go(api, manifest, out, settle_s=30.0)
    assert (end.exit_code, statuses(out)) == (0, {"saved": 10})
    assert api.stats(jobs=False)["calls"]["history"] >= 4
    assert_each_accepted_once(api, 10)


def test_a_record_that_expired_is_fetched_from_the_url_the_history_gives(api, manifest, out):
    """Every poll answers 404, as after an hour; the file itself lives a week."""
    api.settings(record_lifetime_s=0.0)
    api.faults([LOST_AFTER])
    assert_all_saved(api, go(api, manifest, out, settle_s=30.0), out)
    assert api.stats(jobs=False)["answers"].get("status 200") is None


def test_a_404_early_in_a_jobs_life_is_not_its_end(api, manifest, out):
    """The record is not there yet, the history lists the job as running."""
    api.settings(latency_s=0.6)
    api.faults([{"call": "status", "action": "status", "text": "not_found", "prompt": "oak 2", "first": 2}])
    assert_all_saved(api, go(api, manifest, out), out)


@pytest.mark.slow
def test_a_404_early_in_a_jobs_life_that_the_history_cannot_explain_is_not_its_end(api, manifest, out):
    api.settings(latency_s=0.6)
    api.faults(
        [
            {"call": "status", "action": "status", "text": "not_found", "prompt": "oak 2", "first": 2},
            NO_HISTORY,
        ]
    )
    assert_all_saved(api, go(api, manifest, out), out)


# -- absent -----------------------------------------------------------------------------------------------------------


def test_a_submit_that_never_arrived_is_sent_again_after_the_settle_time(api, manifest, out):
    api.faults([LOST_BEFORE])
    began = time.time()
    end = go(api, manifest, out, settle_s=0.8)
    assert_all_saved(api, end, out)
    accepted = {job["prompt"]: job["accepted_at"] for job in api.stats()["jobs"]}
    assert accepted["oak 2"] >= began + 0.8
    assert by_id(out)["row-2"]["attempts"] == "2"
    assert support.events(out, "absent") == 1
    assert end.unsettled is None


@pytest.mark.slow
def test_a_submit_that_never_arrives_time_and_again_is_sent_until_it_does(api, manifest, out):
    api.faults([LOST_BEFORE | {"first": 3}])
    end = go(api, manifest, out, settle_s=0.1)
    assert_all_saved(api, end, out)
    assert by_id(out)["row-2"]["attempts"] == "4"


@pytest.mark.slow
def test_a_time_limit_ends_the_sending_again(api, manifest, out):
    """The row that is still unknown stays so; the next run goes on."""
    api.faults([LOST_BEFORE | {"first": 1000}])
    end = go(api, manifest, out, settle_s=0.2, max_duration_s=0.8, retries=100)
    assert end.exit_code in {4, 7}
    assert statuses(out)["saved"] == 3
    api.faults([])
    assert_all_saved(api, go(api, manifest, out, settle_s=0.1), out)


@pytest.mark.slow
def test_some_arrived_and_some_did_not(api, manifest, out):
    """With nothing but the history's word for every row, each is accepted once."""
    api.faults(
        [
            {"call": "submit", "action": "reset_before", "prompt": "oak 0", "first": 1},
            {"call": "submit", "action": "reset_before", "prompt": "oak 3", "first": 1},
            {"call": "submit", "action": "reset_after"},
        ]
    )
    assert_all_saved(api, go(api, manifest, out, settle_s=0.5), out)


@pytest.mark.slow
def test_a_row_that_is_listed_late_is_waited_for(api, manifest, out):
    """Its row appears after 1 s, the others at once: only --settle keeps it from being sent again."""
    api.settings(history_lag_by_prompt={"oak 2": 1.0})
    api.faults([LOST_AFTER])
    assert_all_saved(api, go(api, manifest, out, settle_s=1.6), out)


@pytest.mark.slow
def test_a_history_that_lags_is_waited_for_beyond_the_settle_time(api, manifest, out):
    """No row of ours is listed for 1.5 s, though the settle time was over after 0.2 s: the lag shows in the others."""
    api.settings(history_lag_s=1.5)
    api.faults([LOST_AFTER])
    end = go(api, manifest, out, settle_s=0.2, concurrency=1)  # so that a row is accepted after the lost one
    assert_all_saved(api, end, out)


@pytest.mark.slow
def test_a_history_that_never_catches_up_leaves_the_row_unknown(api, manifest, out, waits):
    waits(settle_lag_s=0.5)
    api.settings(history_lag_s=10_000.0)
    api.faults([LOST_BEFORE])
    end = go(api, manifest, out, settle_s=0.2)
    assert (end.exit_code, statuses(out)) == (4, {"saved": 3, "unknown": 1})
    assert "lags" in end.unsettled
    assert_each_accepted_once(api, 3)


# -- neither ----------------------------------------------------------------------------------------------------------


def rewriting(api, monkeypatch, rewrite):
    """Let the history show each body rewritten, as the service gave it."""
    from batch.server.http import history  # noqa: PLC0415

    truly = history.row_body
    monkeypatch.setattr(history, "row_body", lambda body, style: rewrite(dict(truly(body, style))))


@pytest.mark.quick(1)
@pytest.mark.parametrize("fault", [LOST_AFTER, LOST_BEFORE], ids=["it arrived", "it did not"])
def test_a_service_that_rewrites_what_it_was_sent_leaves_it_to_a_person(
    api, manifest, out, fault, monkeypatch
):
    rewriting(
        api, monkeypatch, lambda body: body | {"prompt": body["prompt"].upper(), "image_1": "s3://copy"}
    )
    api.faults([fault])
    end = go(api, manifest, out, settle_s=0.2)
    assert (end.exit_code, statuses(out)) == (4, {"saved": 3, "unknown": 1})
    assert "does not show requests as they were sent" in end.unsettled
    assert go(api, manifest, out, settle_s=0.2).exit_code == 4
    assert submits(api) == 4


@pytest.mark.slow
def test_a_first_run_whose_submits_were_all_lost_is_not_sent_again_by_a_rewriting_service(
    api, manifest, out, monkeypatch
):
    """Nothing of ours vouches for the comparison, so four requests that differ in their pictures may be ours."""
    rewriting(
        api, monkeypatch, lambda body: body | {"image_1": "https://copies/1", "image_2": "https://copies/2"}
    )
    api.faults([{"call": "submit", "action": "reset_after"}])
    end = go(api, manifest, out, settle_s=0.2)
    assert (end.exit_code, statuses(out)) == (4, {"unknown": 4})
    assert "may be this one" in end.unsettled
    assert_each_accepted_once(api)


@pytest.mark.quick(1)
@pytest.mark.parametrize("count", [1, 4], ids=["one row alone", "four rows"])
def test_a_history_that_tells_times_of_an_unnamed_zone_sends_nothing_again(
    api, manifest, out, monkeypatch, count
):
    """Eight hours behind, without a zone: what arrived seems to be long before the reserve."""
    from batch.server.http import history  # noqa: PLC0415

    stamp = history._stamp
    monkeypatch.setattr(history, "_stamp", lambda at: stamp(at - 8 * 3600).removesuffix("Z"))
    api.faults([{"call": "submit", "action": "reset_after", "first": 1}])
    end = go(api, write_csv(manifest, rows(count)), out, settle_s=0.2)
    assert (end.exit_code, statuses(out)["unknown"]) == (4, 1)
    assert_each_accepted_once(api, count)


@pytest.mark.slow
def test_a_prompt_that_the_service_tidied_is_not_sent_again(api, manifest, out, monkeypatch):
    """The other rows are shown as they were sent, so the comparison is trusted; this one has lost its spaces."""
    lines = rows(4)
    lines[2]["prompt"] = "oak 2 \u00a0 on a chair"
    rewriting(api, monkeypatch, lambda body: body | {"prompt": " ".join(body["prompt"].split())})
    api.faults([LOST_AFTER])
    end = go(api, write_csv(manifest, lines), out, settle_s=0.2)
    assert (end.exit_code, statuses(out)) == (4, {"saved": 3, "unknown": 1})
    assert_each_accepted_once(api)


HISTORY_OFF = [
    pytest.param({"action": "status", "text": "wrong_key"}, id="401"),
    pytest.param({"action": "status", "text": "not_found"}, id="404"),
    pytest.param({"action": "status", "text": "internal"}, id="500"),
    pytest.param({"action": "status", "status": 200, "body": "<html>log in</html>"}, id="200 HTML"),
    pytest.param({"action": "status", "status": 200, "body": {"data": "none"}}, id="200 without a list"),
    pytest.param({"action": "no_answer"}, id="no answer"),
    pytest.param({"action": "huge"}, id="30 MB"),
    pytest.param({"action": "status", "text": "forbidden"}, id="403", marks=pytest.mark.slow),
    pytest.param({"action": "status", "text": "wrong_verb"}, id="405", marks=pytest.mark.slow),
    pytest.param({"action": "status", "text": "rate_limit"}, id="429", marks=pytest.mark.slow),
    pytest.param({"action": "status", "text": "bad_gateway"}, id="502 HTML", marks=pytest.mark.slow),
    pytest.param({"action": "garbage"}, id="garbage", marks=pytest.mark.slow),
    pytest.param({"action": "empty"}, id="empty", marks=pytest.mark.slow),
    pytest.param({"action": "truncated"}, id="truncated", marks=pytest.mark.slow),
    pytest.param({"action": "reset_before"}, id="reset", marks=pytest.mark.slow),
]


@pytest.mark.quick(1)
@pytest.mark.parametrize("off", HISTORY_OFF)
def test_without_a_history_the_row_stays_unknown_until_there_is_one(api, manifest, out, off):
    """Never a stop, never a second POST; the same command settles it when the history is back."""
    api.faults([LOST_AFTER, {"call": "history", **off}])
    end = go(api, manifest, out, settle_s=0.1)
    assert (end.exit_code, statuses(out)) == (4, {"saved": 3, "unknown": 1})
    assert end.unsettled
    assert end.stopped is None
    assert submits(api) == 4
    assert end.summary["at_risk_usd"] == 0.03
    api.faults([])
    assert_all_saved(api, go(api, manifest, out, settle_s=0.1), out)


@pytest.mark.slow
def test_without_a_history_a_row_that_never_arrived_stays_unknown_too(api, manifest, out):
    api.faults([LOST_BEFORE, NO_HISTORY])
    assert go(api, manifest, out, settle_s=0.1).exit_code == 4
    assert statuses(out) == {"saved": 3, "unknown": 1}
    api.faults([])
    assert_all_saved(api, go(api, manifest, out, settle_s=0.1), out)


def test_unknown_rows_are_listed_for_a_person(hosted, command, manifest, out):
    hosted.faults([LOST_AFTER, NO_HISTORY])
    code, told, heard = command("run", manifest, "--out", out, "--settle", "0.1s", "--progress", "none")
    assert code == 4
    assert "resolve" in told + heard
    code, told, _ = command("resolve", out)
    assert "row-2" in told
    assert "0.03" in told


# -- what an earlier run left -----------------------------------------------------------------------------------------


def kill_while_sending(api, manifest, out):
    """Kill a run while the answer to a submit is on its way; that row is left as sending."""
    api.faults([{"call": "submit", "action": "delay", "after_s": 30.0, "prompt": "oak 2"}])
    args = ("run", manifest, "--out", out, "-v", "--settle", "1s")
    command = support.Command(*args, env=support.environment(api))
    assert command.hears("job.saved", 3), command.output
    assert command.sees(lambda: api.stats(jobs=False)["accepted"] == 4)
    assert command.signal(9) == -9
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        states = sorted(state for (state,) in ledger.execute("SELECT state FROM jobs"))
    assert states == ["saved", "saved", "saved", "sending"]


@pytest.mark.slow
def test_the_row_that_a_killed_run_was_sending_is_found(api, manifest, out):
    kill_while_sending(api, manifest, out)
    api.faults([])
    assert_all_saved(api, go(api, manifest, out, settle_s=30.0), out)
    assert submits(api) == 4


@pytest.mark.slow
def test_the_row_that_a_killed_run_was_sending_is_not_sent_before_the_history_can_be_read(api, manifest, out):
    kill_while_sending(api, manifest, out)
    api.faults([NO_HISTORY])
    assert go(api, manifest, out, settle_s=0.1).exit_code == 4
    assert go(api, manifest, out, settle_s=0.1, retry_failed=True).exit_code == 4
    api.faults([])
    assert_all_saved(api, go(api, manifest, out, settle_s=0.1), out)
    assert submits(api) == 4


@pytest.mark.slow
def test_an_unknown_row_that_left_the_manifest_is_settled_all_the_same(api, manifest, out):
    """It may have been paid: it is fetched, and known again when it comes back."""
    api.faults([LOST_AFTER, NO_HISTORY])
    go(api, manifest, out, settle_s=0.1)
    api.faults([])
    fewer = write_csv(manifest.with_name("fewer.csv"), [line for line in rows(4) if line["id"] != "row-2"])
    assert go(api, fewer, out, settle_s=0.1).exit_code == 0
    assert go(api, manifest, out, settle_s=0.1).exit_code == 0
    support.assert_pictures_belong(out, assert_each_accepted_once(api))
    assert statuses(out) == {"saved": 4}


@pytest.mark.slow
def test_a_run_of_some_rows_leaves_the_others_unsent(api, manifest, out):
    """What was unknown and is proven absent waits for a run that selects it."""
    api.faults([LOST_BEFORE, NO_HISTORY])
    go(api, manifest, out, settle_s=0.1)
    api.faults([])
    assert go(api, manifest, out, settle_s=0.1, only=("row-1",)).exit_code == 0
    assert statuses(out) == {"saved": 3, "pending": 1}
    assert_each_accepted_once(api, 3)
    assert_all_saved(api, go(api, manifest, out, settle_s=0.1), out)


def test_what_was_found_is_written_down_before_it_is_fetched(api, manifest, out):
    """A run that finds it and cannot fetch it holds its request id; the next one only fetches."""
    api.faults([LOST_AFTER, {"call": "image", "action": "status", "text": "unavailable", "prompt": "oak 2"}])
    end = go(api, manifest, out, settle_s=30.0, job_timeout_s=1.0)
    assert (end.exit_code, statuses(out)) == (7, {"saved": 3, "pending": 1})
    assert by_id(out)["row-2"]["request_id"] in {job["request_id"] for job in api.stats()["jobs"]}
    api.faults([NO_HISTORY])
    assert_all_saved(api, go(api, manifest, out), out)


@pytest.mark.slow
def test_twice_the_same_manifest_into_two_folders_pays_each_folder_once(api, manifest, out, tmp_path, waits):
    """Another folder's requests have the very same bodies, a little older: they are not taken for ours."""
    waits(clock_doubt_s=1.0)
    assert go(api, manifest, out).exit_code == 0
    time.sleep(2.1)  # beyond the clocks' doubt, and the second that a Date header rounds away
    other = tmp_path / "other"
    api.faults([LOST_AFTER])
    assert go(api, manifest, other, settle_s=30.0).exit_code == 0
    stats = api.stats()
    assert set(stats["accepted_by_body"].values()) == {2}
    ours, theirs = ({row["request_id"] for row in support.report(folder)} for folder in (out, other))
    assert not ours & theirs


@pytest.mark.slow
def test_the_events_tell_the_whole_story(api, manifest, out):
    api.faults([LOST_BEFORE])
    go(api, manifest, out, settle_s=0.1)
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        story = ledger.execute(
            "SELECT e.event, e.attempt FROM events e JOIN rows USING (job) WHERE id = 'row-2' ORDER BY e.seq"
        ).fetchall()
        (sent,) = ledger.execute(
            "SELECT parameters FROM jobs JOIN rows USING (job) WHERE id = 'row-2'"
        ).fetchone()
    assert story == [
        ("reserve", 1), ("lose", 1), ("absent", 1), ("reserve", 2), ("accept", 2), ("complete", 2), ("keep", 2),
    ]  # fmt: skip
    assert json.loads(sent)["prompt"] == "oak 2"


@pytest.mark.slow
def test_an_account_that_others_use_too_is_no_obstacle(manifest, out, tmp_path):
    """Somebody else's requests lie in the window; ours are shown as sent, so theirs are told apart."""
    with LocalApi(**support.QUICK) as api:
        api.faults([LOST_BEFORE])
        theirs = write_csv(tmp_path / "theirs.csv", rows(6, first=50))
        assert go(api, theirs, tmp_path / "theirs").exit_code == 0
        end = go(api, manifest, out, settle_s=0.2)
        assert (end.exit_code, statuses(out)) == (0, {"saved": 4})
        assert_each_accepted_once(api, 10)


# -- told and counted -------------------------------------------------------------------------------------------------


@pytest.fixture
def heard():
    """A listener, and what it hears: every progress, every warning."""

    moments, warnings = [], []
    return RunHooks(progress=moments.append, warn=warnings.append), moments, warnings


def named(moments, name):
    return [moment.event for moment in moments if moment.event is not None and moment.event.name == name]


@pytest.mark.slow
def test_a_found_request_is_told_and_counted_once(api, manifest, out, heard):
    listener, moments, _ = heard
    api.faults([LOST_AFTER])
    assert_all_saved(api, go(api, manifest, out, settle_s=30.0, listener=listener), out)
    [found] = named(moments, "job.found")
    assert (found.fields["id"], found.fields["attempt"]) == ("row-2", 1)
    assert found.fields["request_id"] == by_id(out)["row-2"]["request_id"]
    last = moments[-1]
    assert (last.total, last.saved, last.unknown, last.ended) == (4, 4, 0, 4)
    assert last.spent == 120_000


@pytest.mark.slow
def test_an_absent_one_is_told_with_what_is_waited_for(api, manifest, out, heard):
    listener, moments, warnings = heard
    api.faults([LOST_BEFORE])
    assert_all_saved(api, go(api, manifest, out, settle_s=0.8, listener=listener), out)
    [absent] = named(moments, "job.absent")
    assert (absent.level, absent.fields["id"]) == ("warning", "row-2")
    assert (moments[-1].saved, moments[-1].unknown, moments[-1].ended) == (4, 0, 4)
    [waits] = [text for text in warnings if "--settle" in text]
    assert waits.startswith("1 submit whose answer was lost: the account's history is given 1 s more")


def test_a_request_found_failed_counts_against_max_failures(api, manifest, out, heard):
    listener, moments, _ = heard
    api.settings(blocked_words=["oak 2"])
    api.faults([LOST_AFTER])
    end = go(api, manifest, out, settle_s=30.0, listener=listener, max_failures=1)
    assert (end.exit_code, statuses(out)) == (3, {"saved": 3, "failed": 1})
    assert "--max-failures 1" in end.stopped
    [failed] = named(moments, "job.failed")
    assert (failed.level, failed.fields["id"], failed.fields["error_class"]) == (
        "error",
        "row-2",
        "job_failed",
    )
    assert (moments[-1].failed, moments[-1].unknown) == (1, 0)


@pytest.mark.slow
def test_one_that_never_arrives_is_told_as_failed(api, manifest, out, heard):
    listener, moments, _ = heard
    api.faults([LOST_BEFORE | {"first": 1000}])
    end = go(api, manifest, out, settle_s=0.1, retries=1, listener=listener)
    assert (end.exit_code, statuses(out)) == (1, {"saved": 3, "failed": 1})
    [failed] = named(moments, "job.failed")
    assert failed.fields["error_class"] == "never_arrives"
    assert (moments[-1].failed, moments[-1].unknown, moments[-1].ended) == (1, 0, 4)


@pytest.mark.slow
def test_unknown_rows_of_an_earlier_run_are_part_of_this_ones_count(api, manifest, out, heard):
    listener, moments, _ = heard
    api.faults([LOST_AFTER, NO_HISTORY])
    assert go(api, manifest, out, settle_s=0.1).exit_code == 4
    api.faults([])
    assert go(api, manifest, out, settle_s=0.1, listener=listener).exit_code == 0
    assert (moments[0].total, moments[0].unknown, moments[0].ended) == (1, 1, 1)
    assert (moments[-1].total, moments[-1].saved, moments[-1].unknown) == (1, 1, 0)
    assert len(named(moments, "job.found")) == 1
