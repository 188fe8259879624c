"""Runs against the local server playing the hosted service: every answer it can give, and what becomes of the rows."""

import itertools
from dataclasses import replace

import pytest
import support
from support import by_id, go, report, rows, statuses, submits, summary

from batch import FolderError, FolderLocked, ManifestError, RunHooks, UsageError
from batch.core.config import Backoff
from batch.output.folder import OutputFolder
from batch.server import LocalApi

pytestmark = pytest.mark.usefixtures("quick_polls")


@pytest.fixture
def impatient(waits):
    """Let retries come at once: what is tested is whether they come."""
    waits(
        not_accepted=Backoff(0.02, 20.0),
        no_answer=Backoff(0.1, 30.0, least=0.5),
        probe_s=0.6,
        history_tries=1,
        image_s=0.5,
        unreachable=Backoff(1.0, 0.05, least=1.0),
    )


def gap_s(api):
    """Return the longest time between two acceptances, and how many jobs were accepted before it."""
    moments = sorted(job["accepted_at"] for job in api.stats()["jobs"])
    return max(
        (after - before, index) for index, (before, after) in enumerate(itertools.pairwise(moments), 1)
    )


# -- a run that goes well ---------------------------------------------------------------------------------------------


def test_every_row_ends_with_its_own_picture(api, pairs, out):
    end = go(api, pairs(30), out)
    stats = api.stats()
    assert end.exit_code == 0
    assert statuses(out) == {"saved": 30}
    assert support.ids(report(out)) == [f"row-{n}" for n in range(30)]
    support.assert_pictures_belong(out, stats)
    support.assert_ledger_sound(out)
    assert (out / "images").is_dir()
    assert support.files_in(out / "images") == sorted(f"row-{n}.webp" for n in range(30))
    assert summary(out) == end.summary
    assert end.summary["spent_usd"] == stats["billed_micro_usd"] / 1e6
    assert stats["files_with_key"] == 0


def test_the_same_command_again_sends_nothing(api, pairs, out):
    manifest = pairs(20)
    go(api, manifest, out)
    before, written = api.stats(jobs=False)["calls"], report(out)
    again = go(api, manifest, out)
    assert (again.exit_code, again.summary["saved_by_resume_usd"]) == (0, pytest.approx(0.6))
    assert api.stats(jobs=False)["calls"] == before
    assert report(out) == written


@pytest.mark.quick(1)
@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("base64_text", ["true", "false"])
def test_every_format_comes_by_url_and_inside_the_result(api, pairs, out, image_format, base64_text):
    """A base64 result is the picture itself; no output file is asked for."""
    manifest = pairs(rows(2, image_format=image_format, base64=base64_text))
    assert go(api, manifest, out).exit_code == 0
    stats = api.stats()
    support.assert_pictures_belong(out, stats)
    assert stats["calls"]["image"] == (0 if base64_text == "true" else 2)
    extension = {"jpeg": "jpg"}.get(image_format, image_format)
    assert (out / "images" / f"row-0.{extension}").is_file()


def test_two_ids_with_one_payload_are_one_job_and_two_pictures(api, pairs, out):
    twins = [line | {"seed": 7, "prompt": "oak"} for line in rows(2)]
    assert go(api, pairs(twins), out).exit_code == 0
    assert submits(api) == 1
    first, second = ((out / "images" / f"row-{n}.webp").read_bytes() for n in range(2))
    assert first == second
    assert [row["cost"] for row in report(out)] == ["0.030000", "0.030000"]
    assert summary(out)["spent_usd"] == 0.03


def test_a_random_seed_is_drawn_once_and_written_down(api, pairs, out):
    """Rows that differ in nothing but the drawn seed are jobs of their own, and the next run knows them again."""
    manifest = pairs([line | {"seed": -1, "prompt": "oak"} for line in rows(5)])
    assert go(api, manifest, out).exit_code == 0
    drawn = [row["seed"] for row in report(out)]
    assert len(set(drawn)) == 5
    assert all(int(seed) >= 0 for seed in drawn)
    assert go(api, manifest, out).exit_code == 0
    assert [row["seed"] for row in report(out)] == drawn
    assert submits(api) == 5


@pytest.mark.quick(1)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_jobs_are_in_flight_than_asked_for(api, pairs, out, concurrency):
    api.settings(latency_s=0.1)
    heard = []
    listener = RunHooks(progress=lambda now: heard.append(now.in_flight))
    assert go(api, pairs(7), out, concurrency=concurrency, listener=listener).exit_code == 0
    assert max(heard) == concurrency
    assert api.stats(jobs=False)["most_in_flight"] <= concurrency


def test_a_result_that_names_its_output_only_is_fetched(api, pairs, out):
    api.settings(images_list=False)
    assert go(api, pairs(2), out).exit_code == 0
    support.assert_pictures_belong(out, api.stats())


def test_an_output_on_another_host_is_fetched_without_the_key(api, pairs, out):
    api.settings(file_base_url=api.base_url.replace("127.0.0.1", "localhost"))
    assert go(api, pairs(2), out).exit_code == 0
    assert api.stats(jobs=False)["files_with_key"] == 0


def test_poll_urls_of_another_host_are_not_followed(api, pairs, out):
    """The key goes to the configured host only."""
    api.settings(poll_base_url="http://127.0.0.1:9")
    assert go(api, pairs(2), out).exit_code == 0


# -- local pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_content_is_uploaded_once_whatever_its_files_are_called(api, pairs, tmp_path, out):
    one = support.picture(tmp_path / "a.png")
    support.picture(tmp_path / "sub" / "copy-of-a.png")
    support.picture(tmp_path / "oak.png", "brown")
    lines = [line | {"image_2": "oak.png"} for line in rows(6)]
    for line, name in zip(lines, ["a.png", "sub/copy-of-a.png"] * 3, strict=True):
        line["image_1"] = name
    assert go(api, pairs(lines), out).exit_code == 0
    uploaded = api.stats(jobs=False)["uploaded"]
    assert list(uploaded.values()) == [1, 1]
    assert api.stats(jobs=False)["accepted"] == 6
    more = pairs([*lines, *(line | {"image_1": str(one), "image_2": "oak.png"} for line in rows(2, first=6))])
    assert go(api, more, out).exit_code == 0
    assert api.stats(jobs=False)["uploaded"] == uploaded


def test_a_broken_picture_fails_its_own_row_unbilled(api, pairs, tmp_path, out):
    """Its header is whole, so only decoding finds out; nothing of it is sent."""
    whole = support.picture(tmp_path / "good.png", size=(400, 300)).read_bytes()
    (tmp_path / "bad.png").write_bytes(whole[: len(whole) // 2])
    lines = rows(4)
    lines[1]["image_1"] = "bad.png"
    lines[2]["image_1"] = "good.png"
    end = go(api, pairs(lines), out)
    assert end.exit_code == 1
    assert statuses(out) == {"saved": 3, "failed": 1}
    row = by_id(out)["row-1"]
    assert (row["error_class"], row["attempts"], row["cost"]) == ("bad_input", "0", "")
    assert "bad.png" in row["error"]
    stats = api.stats(jobs=False)
    assert stats["accepted_by_prompt"].get("oak 1") is None
    assert list(stats["uploaded"].values()) == [1]


def test_a_picture_edited_between_plan_and_upload_is_not_sent(api, pairs, tmp_path, out):
    """What was planned is what is paid for: the row fails and says why."""
    chair = support.picture(tmp_path / "chair.png")

    def repaint(*_):
        support.picture(chair, "blue", (50, 50))

    lines = [rows(1)[0] | {"image_1": "chair.png"}]
    assert go(api, pairs(lines), out, listener=RunHooks(planned=repaint)).exit_code == 1
    assert submits(api) == 0
    assert by_id(out)["row-0"]["error_class"] == "bad_input"


def test_an_upload_that_fails_for_a_moment_is_tried_again(api, pairs, tmp_path, out):
    support.picture(tmp_path / "chair.png")
    api.faults([{"call": "upload", "action": "status", "text": "unavailable", "nth": 1}])
    assert go(api, pairs([rows(1)[0] | {"image_1": "chair.png"}]), out).exit_code == 0


@pytest.mark.slow
def test_a_host_of_uploads_that_is_away_for_longer_fails_no_row(api, pairs, tmp_path, out, impatient):
    """Away for more tries than a picture gets; those rows wait, and the one without a file goes its way."""
    lines = rows(4)
    for number, line in enumerate(lines[:3]):
        support.picture(tmp_path / f"{number}.png", ("red", "green", "blue")[number])
        line["image_1"] = f"{number}.png"
    api.faults([{"call": "upload", "action": "status", "text": "unavailable", "first": 12}])
    assert go(api, pairs(lines), out).exit_code == 0
    assert api.stats(jobs=False)["calls"]["upload"] > 12
    assert submits(api) == 4


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("away", ["no connection", "no answer"])
def test_a_host_of_uploads_that_stays_away_stops_the_run_and_bills_nothing(
    api, pairs, tmp_path, out, impatient, away
):
    """It is no row's fault, so none fails: the same command sends them when the host is back."""
    lines = rows(3)
    for number, line in enumerate(lines):
        support.picture(tmp_path / f"{number}.png", ("red", "green", "blue")[number])
        line["image_1"] = f"{number}.png"
    manifest, service = pairs(lines), support.service_of(api)
    if away == "no connection":
        service = replace(service, upload_url="http://127.0.0.1:9")
    else:
        api.faults([{"call": "upload", "action": "status", "text": "unavailable"}])
    end = support.run(manifest, support.RunSettings(out), service)
    assert (end.exit_code, statuses(out)) == (3, {"pending": 3})
    assert end.stopped.startswith(f"Images cannot be uploaded: POST {service.upload_url}/upload-asset: ")
    assert (submits(api), summary(out)["at_risk_usd"]) == (0, 0)
    api.faults([])
    assert go(api, manifest, out).exit_code == 0
    assert submits(api) == 3


def test_a_picture_that_is_never_answered_while_others_are_fails_its_own_rows(
    api, pairs, tmp_path, out, impatient, waits
):
    """Every other upload is the speck that tells whose fault it is."""
    waits(upload_tries=3)
    support.picture(tmp_path / "chair.png")
    api.faults([{"call": "upload", "action": "status", "text": "internal", "nth": list(range(1, 100, 2))}])
    lines = rows(3)
    lines[0]["image_1"] = "chair.png"
    end = go(api, pairs(lines), out)
    assert (end.exit_code, end.stopped) == (1, None)
    assert statuses(out) == {"failed": 1, "saved": 2}
    row = by_id(out)["row-0"]
    assert (row["error_class"], row["attempts"]) == ("upload", "0")
    assert "while another image was taken" in row["error"]


def test_a_refused_upload_fails_its_rows_unbilled(api, pairs, tmp_path, out):
    support.picture(tmp_path / "chair.png")
    api.faults([{"call": "upload", "action": "status", "status": 413, "body": {"error": "too large"}}])
    lines = rows(2)
    lines[0]["image_1"] = "chair.png"
    assert go(api, pairs(lines), out).exit_code == 1
    assert by_id(out)["row-0"]["error_class"] == "upload"
    assert by_id(out)["row-1"]["status"] == "saved"
    assert submits(api) == 1


# -- the answers to a submit ------------------------------------------------------------------------------------------


def test_one_429_makes_everybody_wait_for_the_announced_reset(api, pairs, out):
    """Only what was on its way when the gate closed may still arrive; nothing is sent until the window is over.

    On a busy machine the 429 is not the first of the answers to be read, and the next jobs are sent as each is.
    """
    heard = []

    def hear(now):
        if now.message.startswith("job.throttled"):
            heard.append(submits(api))

    api.faults([{"call": "submit", "action": "status", "text": "rate_limit", "nth": 5, "reset_in_s": 1.2}])
    assert go(api, pairs(28), out, concurrency=8, listener=RunHooks(progress=hear)).exit_code == 0
    waited, before = gap_s(api)
    assert waited >= 1.0
    assert before <= heard[0] - 1 + 7  # the 429 was heard and not accepted; seven others were on their way
    stats = api.stats(jobs=False)
    assert (stats["accepted"], stats["http_429"], summary(out)["http_429"]) == (28, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["iso_z", "iso", "epoch"])
def test_a_window_costs_a_few_429_not_one_a_row(api, pairs, out, style):
    api.settings(rate_limit=8, rate_window_s=1.0, reset_header=style)
    assert go(api, pairs(16), out).exit_code == 0
    stats = api.stats(jobs=False)
    assert stats["accepted"] == 16
    assert 1 <= stats["http_429"] <= 8
    assert summary(out)["http_429"] == stats["http_429"]


@pytest.mark.slow
def test_a_429_that_names_no_time_closes_the_gate_for_a_while(api, pairs, out, impatient):
    api.faults(
        [{"call": "submit", "action": "status", "text": "rate_limit", "nth": 5, "reset_header": "none"}]
    )
    assert go(api, pairs(16), out).exit_code == 0
    waited, _ = gap_s(api)
    assert waited >= 0.3  # 0.6; without a closure it is some milliseconds
    assert api.stats(jobs=False)["http_429"] == 1


@pytest.mark.slow
def test_polls_that_count_against_the_limit_are_paced_too(api, pairs, out, impatient):
    api.settings(rate_limit=12, rate_window_s=0.5, rate_counts="all")
    assert go(api, pairs(8), out).exit_code == 0
    assert api.stats(jobs=False)["accepted"] == 8


@pytest.mark.quick(1)
@pytest.mark.parametrize("text", ["malformed", "refused", "parameter"])
def test_a_refused_row_fails_alone(api, pairs, out, text):
    api.faults([{"call": "submit", "action": "status", "text": text, "prompt": "oak 3"}])
    assert go(api, pairs(8), out).exit_code == 1
    assert statuses(out) == {"saved": 7, "failed": 1}
    row = by_id(out)["row-3"]
    assert (row["error_class"], row["attempts"]) == ("refused", "1")
    assert row["http_status"] == {"malformed": "400", "refused": "422", "parameter": "406"}[text]
    assert [row["id"] for row in support.table(out / "failures.csv")] == ["row-3"]


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "text", ["missing_key", "wrong_key", "forbidden", "unknown_model", "retired", "spend_limit"]
)
def test_a_refusal_of_the_whole_account_stops_the_run_and_loses_nothing(api, pairs, out, text):
    api.faults([{"call": "submit", "action": "status", "text": text, "nth": list(range(6, 100))}])
    manifest = pairs(16)
    end = go(api, manifest, out)
    assert end.exit_code == 3
    assert end.stopped
    assert statuses(out) == {"saved": 5, "pending": 11}
    assert submits(api) <= 5 + 8  # those that were on their way
    api.faults([])
    assert go(api, manifest, out).exit_code == 0
    stats = api.stats()
    assert (stats["accepted"], support.accepted_twice(stats)) == (16, [])


def test_a_run_without_credits_stops_and_goes_on_when_there_are_some(pairs, out):
    """A job's price is reserved while it runs, so exactly five fit."""
    with LocalApi(**support.QUICK, balance_usd=0.15) as api:
        manifest = pairs(12)
        end = go(api, manifest, out)
        assert (end.exit_code, statuses(out)) == (3, {"saved": 5, "pending": 7})
        assert "credits" in end.stopped
        api.settings(balance_usd=100.0)
        assert go(api, manifest, out).exit_code == 0
        assert api.stats(jobs=False)["accepted"] == 12


@pytest.mark.slow
def test_the_vendors_500_is_sent_again_until_it_is_accepted(api, pairs, out, impatient):
    api.faults([{"call": "submit", "action": "status", "text": "internal", "prompt": "oak 1", "first": 2}])
    assert go(api, pairs(3), out).exit_code == 0
    assert by_id(out)["row-1"]["attempts"] == "3"


@pytest.mark.quick(1)
@pytest.mark.parametrize("retries", [0, 2])
def test_the_vendors_500_is_sent_again_at_most_as_often_as_asked(api, pairs, out, impatient, retries):
    api.faults([{"call": "submit", "action": "status", "text": "internal", "prompt": "oak 1"}])
    assert go(api, pairs(3), out, retries=retries).exit_code == 1
    row = by_id(out)["row-1"]
    assert (row["status"], row["http_status"], row["attempts"]) == ("failed", "500", str(retries + 1))
    assert submits(api) == 2 + retries + 1


@pytest.mark.slow
def test_a_service_that_cannot_be_reached_stops_the_run_and_bills_nothing(pairs, out, impatient):
    """It is no row's fault, so none fails: they stay planned for the next run."""
    nowhere = "http://127.0.0.1:9"
    end = support.run(
        pairs(2), support.RunSettings(out, retries=1), support.service_at(nowhere, api_key="k")
    )  # fmt: skip
    assert (end.exit_code, statuses(out)) == (3, {"pending": 2})
    assert "cannot be reached" in end.stopped
    assert {row["request_id"] for row in report(out)} == {""}
    assert (summary(out)["at_risk_usd"], summary(out)["spent_usd"]) == (0, 0)


NO_HISTORY = {"call": "history", "action": "status", "text": "unavailable"}

AMBIGUOUS = [
    pytest.param({"action": "status", "text": "bad_gateway"}, id="502 HTML, not handled"),
    pytest.param({"action": "status", "text": "bad_gateway", "handled": True}, id="502 HTML, handled"),
    pytest.param({"action": "status", "text": "gateway_timeout", "handled": True}, id="504 HTML"),
    pytest.param({"action": "status", "status": 503, "body": {"oops": 1}}, id="503, JSON of a stranger"),
    pytest.param({"action": "status", "status": 500, "body": "<html>no</html>"}, id="500 HTML"),
    pytest.param({"action": "reset_before"}, id="RST before it was handled"),
    pytest.param({"action": "reset_after"}, id="RST instead of the answer"),
    pytest.param({"action": "fin_after"}, id="closed instead of the answer"),
    pytest.param({"action": "half_head"}, id="half a response head"),
    pytest.param({"action": "truncated"}, id="half an answer"),
    pytest.param({"action": "garbage"}, id="200 with garbage"),
    pytest.param({"action": "empty"}, id="200 without a body"),
    pytest.param(
        {"action": "status", "status": 200, "body": {"status": "QUEUED"}}, id="200 without a request id"
    ),
    pytest.param({"action": "no_answer"}, id="no answer at all"),
]


@pytest.mark.quick(1)
@pytest.mark.parametrize("fault", AMBIGUOUS)
def test_a_submit_whose_fate_nobody_knows_is_never_sent_again(api, pairs, out, impatient, fault, waits):
    """Without a history nobody can say whether it was accepted; so no run sends it, however often it is started."""
    waits(connect_s=5.0, read_s=0.5)
    manifest = pairs(4)
    api.faults([{"call": "submit", "prompt": "oak 2", **fault}, NO_HISTORY])
    first = go(api, manifest, out)
    api.faults([NO_HISTORY])
    again = go(api, manifest, out, retry_failed=True)
    assert (first.exit_code, again.exit_code) == (4, 4)
    assert statuses(out) == {"saved": 3, "unknown": 1}
    assert by_id(out)["row-2"]["attempts"] == "1"
    assert submits(api) == 4
    assert summary(out)["at_risk_usd"] == 0.03
    assert support.table(out / "failures.csv") == []


@pytest.mark.quick(1)
@pytest.mark.parametrize("fault", AMBIGUOUS)
def test_the_history_settles_a_lost_submit(api, pairs, out, fault, waits):
    """Accepted: found, watched, saved. Never arrived: sent once more. Either way it is accepted once."""
    waits(connect_s=5.0, read_s=0.5)
    api.faults([{"call": "submit", "prompt": "oak 2", "first": 1, **fault}])
    end = go(api, pairs(4), out, settle_s=0.2)
    stats = api.stats()
    assert (end.exit_code, statuses(out)) == (0, {"saved": 4})
    assert (stats["accepted"], support.accepted_twice(stats)) == (4, [])
    support.assert_pictures_belong(out, stats)
    assert summary(out)["spent_usd"] == 0.12


# -- the answers afterwards -------------------------------------------------------------------------------------------


def test_a_failed_job_is_told_with_its_reason_and_costs_nothing(api, pairs, out):
    api.settings(blocked_words=["oak 5"])
    end = go(api, pairs(8), out)
    assert end.exit_code == 1
    row = by_id(out)["row-5"]
    assert (row["status"], row["error_class"], row["http_status"], row["cost"]) == (
        "failed",
        "job_failed",
        "422",
        "",
    )
    assert "blocked" in row["error"]
    assert [row["id"] for row in support.table(out / "failures.csv")] == ["row-5"]
    assert end.summary["spent_usd"] == pytest.approx(7 * 0.03)
    assert end.summary["top_errors"] == [{"error_class": "job_failed", "count": 1, "example": row["error"]}]


def test_a_failed_row_is_sent_again_only_when_asked(api, pairs, out):
    api.settings(blocked_words=["oak 1"])
    manifest = pairs(3)
    go(api, manifest, out)
    api.settings(blocked_words=[])
    assert go(api, manifest, out).exit_code == 1
    assert submits(api) == 3
    assert go(api, manifest, out, retry_failed=True).exit_code == 0
    assert submits(api) == 4


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"call": "status", "action": "status", "text": "unavailable"}, id="status 503"),
        pytest.param({"call": "status", "action": "status", "text": "internal"}, id="status 500 envelope"),
        pytest.param({"call": "status", "action": "status", "text": "malformed"}, id="status 400"),
        pytest.param({"call": "status", "action": "status", "text": "not_found"}, id="status 404"),
        pytest.param({"call": "status", "action": "garbage"}, id="status garbage"),
        pytest.param({"call": "status", "action": "reset_after"}, id="status RST"),
        pytest.param({"call": "status", "action": "truncated"}, id="status truncated"),
        pytest.param({"call": "result", "action": "status", "text": "bad_gateway"}, id="result 502"),
        pytest.param({"call": "result", "action": "status", "text": "not_found"}, id="result 404"),
        pytest.param({"call": "result", "action": "garbage"}, id="result garbage"),
        pytest.param({"call": "result", "action": "empty"}, id="result empty"),
        pytest.param({"call": "result", "action": "huge", "size_bytes": 90_000_000}, id="result over its limit"),
        pytest.param({"call": "image", "action": "status", "text": "not_found"}, id="image 404"),
        pytest.param({"call": "image", "action": "status", "text": "bad_gateway"}, id="image 502"),
        pytest.param({"call": "image", "action": "truncated"}, id="image truncated"),
        pytest.param({"call": "image", "action": "garbage"}, id="image garbage"),
        pytest.param({"call": "image", "action": "empty"}, id="image empty"),
        pytest.param({"call": "image", "action": "fin_after"}, id="image closed"),
    ],
)  # fmt: skip
def test_trouble_after_the_submit_is_asked_again_and_costs_nothing(api, pairs, out, impatient, fault):
    api.faults([{**fault, "prompt": "oak 1", "first": 1}])
    assert go(api, pairs(3), out).exit_code == 0
    stats = api.stats()
    support.assert_pictures_belong(out, stats)
    assert (stats["accepted"], sum(stats["faults"].values())) == (3, 1)


def test_a_key_refused_while_polling_stops_the_submitting_and_keeps_what_was_paid(api, pairs, out, impatient):
    api.faults([{"call": "status", "action": "status", "text": "wrong_key"}])
    manifest = pairs(14)
    end = go(api, manifest, out, job_timeout_s=0.5, concurrency=4)
    assert end.exit_code == 3
    paid = submits(api)
    assert paid < 14
    assert statuses(out) == {"pending": 14}
    api.faults([])
    assert go(api, manifest, out).exit_code == 0
    stats = api.stats()
    assert (stats["accepted"], support.accepted_twice(stats)) == (14, [])


@pytest.mark.slow
def test_a_job_that_outlasts_the_timeout_is_finished_by_the_next_run(api, pairs, out):
    api.settings(latency_s=0.8)
    manifest = pairs(3)
    first = go(api, manifest, out, job_timeout_s=0.1)
    assert (first.exit_code, statuses(out)) == (7, {"pending": 3})
    assert all(row["request_id"] for row in report(out))
    assert first.summary["at_risk_usd"] == 0.09  # by the list price
    assert go(api, manifest, out).exit_code == 0
    assert submits(api) == 3
    support.assert_pictures_belong(out, api.stats())


def test_paid_results_are_fetched_before_anything_new_is_sent(api, pairs, out):
    """What the last run left in flight comes first, in the order of its submits."""
    api.settings(latency_s=1.0)
    go(api, pairs(4), out, job_timeout_s=0.2)
    api.settings(latency_s=0.01)
    accepted = sorted(report(out), key=lambda row: row["submitted_at"])
    heard = []
    go(api, pairs(8), out, concurrency=1, listener=RunHooks(progress=lambda now: heard.append(now.message)))
    told = [message.split()[:2] for message in heard if message.startswith(("job.accepted", "job.saved"))]
    assert told[:5] == [*(["job.saved", f"id={row['id']}"] for row in accepted), ["job.accepted", "id=row-4"]]


# -- the manifest changes ---------------------------------------------------------------------------------------------


def test_a_changed_row_is_not_paid_for_again_unasked(api, pairs, out):
    lines = rows(3)
    go(api, pairs(lines), out)
    kept = (out / "images" / "row-1.webp").read_bytes()
    before = support.files_in(out), report(out)
    lines[1]["prompt"] = "walnut"
    with pytest.raises(UsageError, match=r"row-1 \(row 3\).*\$0\.03.*--yes") as refused:
        go(api, pairs(lines), out)
    assert refused.value.exit_code == 2
    assert submits(api) == 3
    assert (support.files_in(out), report(out)) == before

    assert go(api, pairs(lines), out, yes=True).exit_code == 0
    assert submits(api) == 4
    assert by_id(out)["row-1"]["prompt"] == "walnut"
    (previous,) = (out / "images" / ".previous").iterdir()
    assert previous.read_bytes() == kept
    assert (out / "images" / "row-1.webp").read_bytes() != kept
    assert summary(out)["spent_usd"] == 0.12
    support.assert_pictures_belong(out, api.stats())


def test_a_person_who_agrees_is_not_asked_for_a_flag(api, pairs, out):
    lines = rows(2)
    go(api, pairs(lines), out)
    lines[0]["seed"] = 99
    asked = []
    agree = RunHooks(confirm=lambda plan: asked.append(plan.changed) is None)
    assert go(api, pairs(lines), out, listener=agree).exit_code == 0
    assert asked == [((2, "row-0"),)]


@pytest.mark.slow
def test_a_changed_row_that_was_never_paid_for_needs_no_yes(api, pairs, out):
    api.settings(blocked_words=["oak 1"])
    lines = rows(2)
    go(api, pairs(lines), out)
    lines[1]["prompt"] = "walnut"
    assert go(api, pairs(lines), out).exit_code == 0


@pytest.mark.slow
def test_a_row_changed_back_is_known_again(api, pairs, out):
    """The first job is still in the ledger; its picture was set aside, so it is fetched, not paid for."""
    lines = rows(2)
    go(api, pairs(lines), out)
    first = (out / "images" / "row-0.webp").read_bytes()
    go(api, pairs([lines[0] | {"prompt": "walnut"}, lines[1]]), out, yes=True)
    assert go(api, pairs(lines), out).exit_code == 0
    assert submits(api) == 3
    assert (out / "images" / "row-0.webp").read_bytes() == first


@pytest.mark.slow
def test_other_names_for_the_pictures_cost_nothing(api, pairs, out):
    manifest = pairs([line | {"range": "spring"} for line in rows(3)])
    go(api, manifest, out)
    fetched = api.stats(jobs=False)["calls"]
    assert go(api, manifest, out, name="{range}/{id}-x.{ext}").exit_code == 0
    assert api.stats(jobs=False)["calls"] == fetched
    support.assert_pictures_belong(out, api.stats())
    assert {row["output_path"] for row in report(out)} == {f"images/spring/row-{n}-x.webp" for n in range(3)}


@pytest.mark.slow
def test_a_manifest_may_shrink_and_grow(api, pairs, out):
    """Rows that left the manifest leave the report; when they come back they are known."""
    go(api, pairs(4), out)
    assert go(api, pairs(rows(4)[::-1][:2]), out).exit_code == 0
    assert support.ids(report(out)) == ["row-3", "row-2"]
    assert support.files_in(out / "images") == [f"row-{n}.webp" for n in range(4)]
    assert go(api, pairs(6), out).exit_code == 0
    assert support.ids(report(out)) == [f"row-{n}" for n in range(6)]
    assert submits(api) == 6


def test_only_some_rows_are_sent_and_the_report_has_all(api, pairs, out):
    manifest = pairs(5)
    end = go(api, manifest, out, only=("row-3", "row-1"))
    assert end.exit_code == 0
    assert statuses(out) == {"saved": 2, "pending": 3}
    assert {job["prompt"] for job in api.stats()["jobs"]} == {"oak 1", "oak 3"}
    assert go(api, manifest, out).exit_code == 0
    assert submits(api) == 5


def test_an_id_that_no_row_has_is_an_error(api, pairs, out):
    with pytest.raises(ManifestError, match="row-77"):
        go(api, pairs(2), out, only=("row-77",))
    assert submits(api) == 0


def test_an_empty_manifest_is_a_warning(api, tmp_path, out):
    empty = tmp_path / "empty.csv"
    empty.write_text("id,image_1,image_2,prompt\n")
    end = go(api, empty, out)
    assert end.exit_code == 0
    assert "no rows" in str(end.warnings[0])
    assert report(out) == []


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("encoding", "newline", "delimiter"),
    [
        pytest.param("utf-8-sig", "\r\n", ";", id="as Excel in Germany saves it"),
        pytest.param("utf-8", "\r\n", ",", id="CRLF"),
        pytest.param("utf-8", "\n", "\t", id="tabs"),
        pytest.param("utf-8-sig", "\n", ",", id="BOM"),
    ],
)  # fmt: skip
def test_a_csv_of_another_hand_is_read(api, tmp_path, out, encoding, newline, delimiter):
    lines = [
        ["id", "image_1", "image_2", "prompt", "sku"],
        ["stühle", support.PRODUCT, support.TEXTURE, "Eiche, geölt; matt", "00123"],
        ["1E5", support.PRODUCT, support.TEXTURE, "Nußbaum", "TRUE"],
    ]
    text = newline.join(
        delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in line) for line in lines
    )
    manifest = tmp_path / "pairs.csv"
    manifest.write_bytes((text + newline).encode(encoding))
    assert go(api, manifest, out).exit_code == 0
    assert [(row["id"], row["prompt"], row["sku"]) for row in report(out)] == [
        ("stühle", "Eiche, geölt; matt", "00123"),
        ("1E5", "Nußbaum", "TRUE"),
    ]


# -- the folder -------------------------------------------------------------------------------------------------------


def test_a_folder_takes_one_run_at_a_time(api, pairs, out):
    with OutputFolder(out).hold(), pytest.raises(FolderLocked) as busy:
        go(api, pairs(1), out)
    assert busy.value.exit_code == 6


def test_a_folder_belongs_to_one_service(api, pairs, out):
    manifest = pairs(1)
    go(api, manifest, out)
    with pytest.raises(FolderError, match="Use another --out") as refused:
        support.run(manifest, support.RunSettings(out))
    assert refused.value.exit_code == 2
    assert api.api_key not in str(refused.value)


def test_a_file_that_texbatch_did_not_write_is_not_overwritten(api, pairs, out):
    (out / "images").mkdir(parents=True)
    (out / "images" / "row-1.webp").write_text("mine")
    with pytest.raises(ManifestError, match=r"row-1\.webp"):
        go(api, pairs(3), out)
    assert submits(api) == 0
    assert (out / "images" / "row-1.webp").read_text() == "mine"


def test_every_problem_is_told_before_anything_is_sent(api, pairs, out):
    lines = rows(4)
    lines[1]["seed"] = "many"
    lines[2]["prompt"] = ""
    lines[3]["image_1"] = "missing.png"
    with pytest.raises(ManifestError) as refused:
        go(api, pairs(lines), out)
    assert [(problem.row, problem.column) for problem in refused.value.problems] == [
        (3, "seed"), (4, "prompt"), (5, "image_1"),
    ]  # fmt: skip
    assert submits(api) == 0


# -- retry ------------------------------------------------------------------------------------------------------------


def test_a_failing_row_is_mended_in_failures_csv_and_retried(hosted, command, pairs, out):
    """One row fails: exit 1, that row in failures.csv, mended there, retry ends with 0 and a whole report."""
    hosted.settings(blocked_words=["forbidden"])
    lines = [line | {"sku": f"00{n}", "note": "=1+1"} for n, line in enumerate(rows(6))]
    lines[2]["prompt"] = "a forbidden oak {sku}"
    assert command("run", pairs(lines), "--out", out)[0] == 1
    failures = out / "failures.csv"
    (failed,) = support.table(failures)
    assert (failed["id"], failed["prompt"], failed["sku"]) == ("row-2", "a forbidden oak 002", "002")

    failures.write_text(failures.read_text().replace("forbidden", "kosher"))
    code, told, _ = command("retry", out)
    assert code == 0, told
    assert support.ids(report(out)) == [f"row-{n}" for n in range(6)]
    assert statuses(out) == {"saved": 6}
    mended = by_id(out)["row-2"]
    assert (mended["prompt"], mended["sku"], mended["note"]) == ("a kosher oak 002", "002", "'=1+1")
    assert by_id(out)["row-1"]["note"] == "'=1+1"
    assert support.table(failures) == []
    assert submits(hosted) == 7
    support.assert_pictures_belong(out, hosted.stats())
    code, *_ = command("retry", out)
    assert (code, submits(hosted)) == (0, 7)


@pytest.mark.slow
def test_a_row_mended_in_the_manifest_is_sent_by_the_same_run(hosted, command, pairs, out):
    hosted.settings(blocked_words=["forbidden"])
    lines = rows(3)
    lines[1]["prompt"] = "forbidden"
    assert command("run", pairs(lines), "--out", out)[0] == 1
    lines[1]["prompt"] = "allowed"
    assert command("run", pairs(lines), "--out", out)[0] == 0
    assert submits(hosted) == 4


@pytest.mark.slow
def test_failures_with_local_pictures_can_be_retried_from_anywhere(
    hosted, command, pairs, tmp_path, out, monkeypatch
):
    """Paths in failures.csv are relative to its own folder."""
    support.picture(tmp_path / "in" / "chair.png")
    hosted.settings(blocked_words=["oak 1"])
    lines = [line | {"image_1": "in/chair.png"} for line in rows(2)]
    assert command("run", pairs(lines), "--out", out)[0] == 1
    (failed,) = support.table(out / "failures.csv")
    assert failed["image_1"] == "../in/chair.png"
    hosted.settings(blocked_words=[])
    monkeypatch.chdir("/")
    assert command("retry", out)[0] == 0


@pytest.mark.slow
def test_running_a_folders_own_failures_into_it_is_a_retry_that_merges(hosted, command, pairs, out):
    hosted.settings(blocked_words=["oak 1"])
    assert command("run", pairs(3), "--out", out)[0] == 1
    failures = out / "failures.csv"
    failures.write_text(failures.read_text().replace("oak 1", "walnut"))
    assert command("run", failures, "--out", out)[0] == 0
    assert support.ids(report(out)) == ["row-0", "row-1", "row-2"]


def test_retry_keeps_the_names_the_folder_was_made_with(hosted, command, pairs, out):
    hosted.settings(blocked_words=["oak 1"])
    assert command("run", pairs(2), "--out", out, "--name", "x-{id}.{ext}")[0] == 1
    hosted.settings(blocked_words=[])
    assert command("retry", out)[0] == 0
    assert support.files_in(out / "images") == ["x-row-0.webp", "x-row-1.webp"]


def test_retry_refuses_rows_that_may_be_paid_for_already(hosted, command, pairs, out, impatient):
    hosted.faults([{"call": "submit", "action": "reset_after", "prompt": "oak 1"}, NO_HISTORY])
    assert command("run", pairs(2), "--out", out)[0] == 4
    code, _, told = command("retry", out, out / "report.csv")
    assert (code, submits(hosted)) == (2, 2)
    assert "row-1" in told


@pytest.mark.slow
def test_retry_refuses_rows_of_another_folder(hosted, command, pairs, out):
    assert command("run", pairs(2), "--out", out)[0] == 0
    code, _, told = command("retry", out, pairs(3, name="more.csv"))
    assert (code, submits(hosted)) == (2, 2)
    assert "row-2" in told
