"""What strange answers do to a whole run: nothing is paid twice, nothing is lost, and the words are true."""

from __future__ import annotations

import json

import pytest
import support
from support import accepted_twice, go, statuses, submits, summary

from batch.ledger.ledger import Ledger
from batch.pacing.observations import Observations

FAILED = {"status": "FAILED", "error": "blocked"}


def fault(call, status, body, **more):
    return {"call": call, "action": "status", "status": status, "body": body, **more}


@pytest.mark.quick(1)
@pytest.mark.parametrize("call", ["status", "result"])
@pytest.mark.parametrize("status", [200, 429, 500, 502, 503])
def test_a_failure_under_another_code_is_no_failure(api, manifest, out, quick_polls, call, status):
    api.settings(latency_s=0.1)
    api.faults([fault(call, status, FAILED, nth=[1, 2])])
    assert (go(api, manifest, out).exit_code, statuses(out)) == (0, {"saved": 4})
    assert submits(api) == 4


@pytest.mark.quick(1)
@pytest.mark.parametrize("call", ["status", "result"])
def test_a_failure_that_is_always_told_as_200_is_one_once_the_history_says_so(
    api, pairs, out, quick_polls, call
):
    api.settings(failure_rate=1.0)
    api.faults([fault(call, 200, FAILED)])
    assert (go(api, pairs(1), out).exit_code, statuses(out)) == (1, {"failed": 1})


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            500,
            {
                "timestamp": "2026-11-23T08:00:00Z",
                "status": 500,
                "error": "Internal Server Error",
                "path": "/v2/x",
            },
        ),
        (500, {"error": "Internal Server Error", "message": "x", "statusCode": 500}),
        (408, {"error": "Request Timeout"}),
        (409, {"error": "Conflict"}),
        (425, "<html>Too Early</html>"),
        (499, {"error": "Client Closed Request"}),
    ],
    ids=lambda value: value if isinstance(value, int) else "",
)
def test_an_accepted_submit_that_a_gateway_answered_is_found_and_not_paid_again(
    api, manifest, out, quick_polls, status, body
):
    api.faults([fault("submit", status, body, nth=2, handled=True)])
    finished = go(api, manifest, out, settle_s=0.2)
    stats = api.stats()
    assert (accepted_twice(stats), stats["accepted"]) == ([], 4)
    assert (finished.exit_code, statuses(out)) == (0, {"saved": 4})


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("status", "text"),
    [
        (402, "no"),
        (406, "Not enough balance"),
        (403, "Payment overdue"),
        (422, "quota exceeded"),
        (400, "Out of credits"),
    ],
)
def test_an_account_out_of_money_stops_the_run_in_whatever_words(api, pairs, out, quick_polls, status, text):
    manifest = pairs(6, prompt="a balance bike, payment by credit card")
    api.faults([fault("submit", status, {"error": text})])
    finished = go(api, manifest, out, concurrency=1)
    assert (finished.exit_code, statuses(out), submits(api)) == (3, {"pending": 6}, 1)
    assert "Add credits" in finished.stopped
    api.faults([])
    assert (go(api, manifest, out).exit_code, statuses(out)) == (0, {"saved": 6})


def test_a_refusal_that_quotes_a_prompt_about_money_fails_its_row_alone(api, pairs, out, quick_polls):
    manifest = pairs(2, prompt="a credit card on a balance sheet")
    api.faults([fault("submit", 422, {"error": "blocked: a credit card on a balance sheet"}, nth=1)])
    assert (go(api, manifest, out).exit_code, statuses(out)) == (1, {"saved": 1, "failed": 1})


def test_a_reason_of_any_length_keeps_the_reports_readable(api, pairs, out, quick_polls):
    api.faults([fault("status", 422, {"status": "FAILED", "error": "e" * 1_500_000})])
    assert (go(api, pairs(1), out).exit_code, statuses(out)) == (1, {"failed": 1})
    api.faults([])
    assert go(api, out / "failures.csv", out, merge=True, retry_failed=True).exit_code == 0


def test_a_balance_below_zero_is_a_number(api, manifest, out, quick_polls):
    api.faults([fault("credits", 200, {"credits": -1.2, "free-credits": 0})])
    finished = go(api, manifest, out, price=30_000)
    assert (finished.exit_code, submits(api)) == (3, 0)
    assert "$-1.20" in finished.stopped


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_told_as_one_by_the_upload_too(hosted, tmp_path, command, status):
    support.picture(tmp_path / "chair.png")
    lines = [line | {"image_1": str(tmp_path / "chair.png")} for line in support.rows(3)]
    manifest = support.write_csv(tmp_path / "pairs.csv", lines)
    hosted.faults([fault("upload", status, {"error": "unauthorized"})])
    code, told, err = command("run", manifest, "--out", tmp_path / "out")
    assert (code, submits(hosted)) == (3, 0)
    assert f"The key was not accepted ({status}). Nothing was sent." in told + err
    assert "host" not in told + err


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("status", "text"), [(402, "no"), (406, "Not enough balance"), (403, "Payment overdue")]
)
def test_an_upload_that_is_refused_for_want_of_money_stops_the_run(api, tmp_path, out, status, text):
    support.picture(tmp_path / "chair.png")
    lines = [line | {"image_1": str(tmp_path / "chair.png")} for line in support.rows(3)]
    api.faults([fault("upload", status, {"error": text})])
    finished = go(api, support.write_csv(tmp_path / "pairs.csv", lines), out)
    assert (finished.exit_code, statuses(out), submits(api)) == (3, {"pending": 3}, 0)
    assert "Add credits" in finished.stopped


def test_nothing_was_sent_is_said_only_when_nothing_was(api, tmp_path, out, quick_polls):
    support.picture(tmp_path / "chair.png")
    lines = support.rows(3)
    lines[2]["image_1"] = str(tmp_path / "chair.png")
    manifest = support.write_csv(tmp_path / "pairs.csv", lines)
    api.faults([fault("upload", 401, {"error": "unauthorized"}, before_s=1.0)])
    finished = go(api, manifest, out)
    assert submits(api) == 2
    assert "The key was not accepted (401). Check" in finished.stopped


def test_no_spelling_of_the_key_and_no_control_character_of_a_service_is_kept(hosted, manifest, out, command):
    key = hosted.api_key
    said = f"\x1b[2J\x1b]0;{key}\x07\r\njob.saved id=forged \u202e " + "".join(f"%{ord(c):02X}" for c in key)
    text = json.dumps({"error": said}).replace(key, "".join(f"\\u{ord(c):04x}" for c in key))
    hosted.faults([fault("submit", 422, text)])
    code, told, err = command("run", manifest, "--out", out, "-v", "--progress", "log")
    shown = told + err + command("status", out)[1]
    assert code == 1
    assert support.without_controls(shown)
    for file in ("report.csv", "failures.csv", "summary.json", "report.html", "ledger.sqlite"):
        data = (out / file).read_bytes()
        assert key.encode() not in data
        if file != "ledger.sqlite":
            assert support.without_controls(data.decode().replace("\r\n", "\n").replace("\ufeff", ""))
    for row in support.report(out):
        assert row["error"].count("[key]") == 2
        assert "\\x1b[2J" in row["error"]
        assert key not in shown


def test_times_told_in_milliseconds_hold_nothing_up(api, pairs, out, quick_polls):
    """Neither this run nor the next."""
    api.faults([fault("status", 200, {"status": "COMPLETED", "metrics": {"total_time": 23_400}})])
    api.settings(latency_s=0.0)
    finished = go(api, pairs(24), out, concurrency=4, job_timeout_s=100)
    assert (finished.exit_code, finished.summary["seconds"] < 60) == (0, True)
    with Ledger.read(out / "ledger.sqlite") as ledger:
        assert max(max(times) for times in Observations.from_json(ledger.observations()).times.values()) < 15
    api.faults([])
    assert go(api, pairs(48), out, concurrency=4, job_timeout_s=100).exit_code == 0
    assert summary(out)["seconds"] < 60


@pytest.mark.slow
def test_a_folder_that_learned_such_times_from_an_earlier_version_forgets_them(
    api, manifest, pairs, out, quick_polls
):
    assert go(api, manifest, out).exit_code == 0
    poisoned = json.loads(
        Observations({"1:1": (2340.0,) * 50, "match_input_image": (2340.0,) * 50}).to_json()
    )
    poisoned["times"] = poisoned.pop("watched_times")
    with (
        Ledger.create_or_open(out / "ledger.sqlite") as ledger,
        ledger.atomic(),
    ):
        ledger.set_meta("learned", json.dumps(poisoned))
    finished = go(api, pairs(8), out, job_timeout_s=100)
    assert (finished.exit_code, finished.summary["seconds"] < 60) == (0, True)


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "location", ["http://xn--/", "http://a..b/p.png", "https://h:99999/", "http://[::1/"]
)
def test_a_picture_that_is_redirected_to_nonsense_stays_paid_and_is_fetched_later(
    api, pairs, out, quick_polls, waits, location
):
    waits(image_s=0.3)
    api.faults([fault("image", 302, "", headers={"location": location})])
    manifest = pairs(1)
    assert (go(api, manifest, out, job_timeout_s=0.5).exit_code, statuses(out)) == (1, {"pending": 1})
    api.faults([])
    assert (go(api, manifest, out).exit_code, statuses(out), submits(api)) == (0, {"saved": 1}, 1)


@pytest.mark.parametrize(
    "url", ["http://a..b", "http://-", "http://[::1", "http://h ost", "http://a%", "http://xn--a"]
)
def test_a_base_url_that_is_none_is_wrong_usage(hosted, manifest, out, command, monkeypatch, url):
    monkeypatch.setenv("SEGMIND_BASE_URL", url)
    code, told, err = command("run", manifest, "--out", out)
    assert (code, "is not a valid base URL" in told + err, (out / "images").exists()) == (2, True, False)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "named", [{"seed": 99}, {"seed": "99"}, {"request_id": "another"}, {"request_id": "another", "seed": 99}]
)
def test_a_result_of_another_row_is_never_saved(api, pairs, out, quick_polls, named):
    """It names another seed, or another request; the history, or the next answer, knows the right one."""
    picture = f"{api.base_url}/files/none.png"
    api.faults([fault("result", 200, {"status": "COMPLETED", "output": picture} | named, nth=[1, 3])])
    finished = go(api, pairs(4), out, job_timeout_s=100)
    assert (finished.exit_code, statuses(out)) == (0, {"saved": 4})
    support.assert_pictures_belong(out, api.stats())
