"""`texbatch resolve`: what nobody knows about is listed with its cost, and a person's word decides it."""

import re
import shutil

import pytest
import support
from support import by_id, rows, statuses, submits, summary, write_csv

from batch import UsageError
from batch.core.errors import FolderError
from batch.ledger.states import Event
from batch.maintenance.resolve import open_resolution
from batch.output.folder import OutputFolder

NO_HISTORY = {"call": "history", "action": "status", "text": "unavailable"}


@pytest.fixture(autouse=True)
def hasty(waits):
    """Let a history that is off be given up at once."""
    waits(history_tries=1)


@pytest.fixture
def lost(hosted, command, manifest, out):
    """A folder with two saved rows, one whose POST arrived unanswered (row-1), one whose POST never did (row-2)."""
    hosted.faults(
        [
            {"call": "submit", "action": "reset_after", "prompt": "oak 1"},
            {"call": "submit", "action": "reset_before", "prompt": "oak 2"},
            NO_HISTORY,
        ]
    )
    code, *_ = command("run", manifest, "--out", out)
    assert (code, statuses(out)) == (4, {"saved": 2, "unknown": 2})
    hosted.faults([NO_HISTORY])
    return out


@pytest.fixture
def again(command, manifest, out):
    """Run the same command again; gives the exit code."""
    return lambda: command("run", manifest, "--out", out, "--settle", "0.1s")[0]


def request_of(api, prompt):
    (found,) = [job["request_id"] for job in api.stats()["jobs"] if job["prompt"] == prompt]
    return found


def assert_each_paid_once(api, out, count=4):
    stats = api.stats()
    assert (stats["accepted"], support.accepted_twice(stats)) == (count, [])
    support.assert_pictures_belong(out, stats)
    support.assert_ledger_sound(out)
    money = summary(out)
    assert money["spent_usd"] + money["at_risk_usd"] == pytest.approx(stats["billed_micro_usd"] / 1e6)


# -- listing ----------------------------------------------------------------------------------------------------------


def test_unknown_rows_are_listed_with_their_cost_at_risk_and_nothing_is_changed(hosted, command, lost):
    before = hosted.stats(jobs=False)["calls"]
    code, told, _ = command("resolve", lost)
    lines = told.splitlines()
    assert code == 0
    assert {line.split(":")[0] for line in lines[:-1]} == {"row-1", "row-2"}
    assert all("$0.0300 at risk" in line for line in lines[:-1])
    assert lines[-1] == "2 unknown jobs, $0.06 at risk"
    assert statuses(lost) == {"saved": 2, "unknown": 2}
    assert hosted.stats(jobs=False)["calls"] == before


def test_the_list_needs_no_key_and_no_network(monkeypatch, command, lost):
    monkeypatch.delenv("SEGMIND_API_KEY")
    monkeypatch.delenv("SEGMIND_BASE_URL")
    assert command("resolve", lost)[0] == 0


@pytest.mark.slow
def test_a_row_that_a_killed_run_was_sending_is_listed(hosted, command, manifest, out):
    hosted.faults([{"call": "submit", "action": "delay", "after_s": 30.0, "prompt": "oak 2"}])
    running = support.Command("run", manifest, "--out", out, "-v", env=support.environment(hosted))
    assert running.hears("job.saved", 3), running.output
    assert running.sees(lambda: hosted.stats(jobs=False)["accepted"] == 4)
    running.signal(9)
    code, told, _ = command("resolve", out)
    assert (code, "row-2" in told) == (0, True)
    assert by_id(out)["row-2"]["status"] == "unknown"


def test_a_folder_without_unknown_rows_says_so(hosted, command, manifest, out):
    assert command("run", manifest, "--out", out)[0] == 0
    code, told, _ = command("resolve", out)
    assert (code, told) == (0, "No unknown rows.\n")


def test_a_folder_that_is_none_is_an_error(hosted, command, tmp_path):
    code, _, told = command("resolve", tmp_path)
    assert code == 2
    assert "ledger" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_rows_of_one_payload_are_one_job(hosted, command, tmp_path, out):
    twins = write_csv(tmp_path / "twins.csv", [line | {"seed": 7, "prompt": "oak"} for line in rows(2)])
    hosted.faults([{"call": "submit", "action": "reset_after"}, NO_HISTORY])
    assert command("run", twins, "--out", out)[0] == 4
    _, told, _ = command("resolve", out)
    assert "row-0, row-1: " in told
    assert "1 unknown job," in told


# -- asking the history -----------------------------------------------------------------------------------------------


def test_the_history_decides_what_it_can_and_the_next_run_does_the_rest(hosted, command, lost, again):
    hosted.faults([])
    code, told, _ = command("resolve", lost, "--reconcile", "--settle", "0.1s")
    assert (code, told) == (0, "No unknown rows.\n")
    assert statuses(lost) == {"saved": 2, "pending": 2}
    assert by_id(lost)["row-1"]["request_id"] == request_of(hosted, "oak 1")
    assert submits(hosted) == 4
    assert again() == 0
    assert submits(hosted) == 5
    assert_each_paid_once(hosted, lost)


def test_a_history_that_cannot_be_read_leaves_them_unknown_and_says_why(hosted, command, lost):
    code, told, said = command("resolve", lost, "--reconcile", "--settle", "0.1s")
    assert code == 0
    assert "2 unknown jobs" in told
    assert "not reachable" in said
    assert statuses(lost) == {"saved": 2, "unknown": 2}


@pytest.mark.slow
def test_it_says_what_it_waits_for_and_how_long(hosted, command, lost):
    """Each thing once, however often the history is read."""
    hosted.faults([])
    code, told, said = command("resolve", lost, "--reconcile", "--settle", "2s")
    assert (code, told) == (0, "No unknown rows.\n")
    assert re.fullmatch(
        r"1 submit whose answer was lost: the account's history is given [12] s more to list what arrived "
        r"\(--settle\)\.\n",
        said,
    )


def test_the_history_is_asked_with_the_key_of_this_folder_only(hosted, command, lost, monkeypatch):
    """Another account's history would prove that nothing ever arrived."""
    hosted.faults([])
    hosted.settings(api_key="another key", history_lag_s=3600.0)  # it lists nothing: as another account's
    monkeypatch.setenv("SEGMIND_API_KEY", "another key")
    code, _, told = command("resolve", lost, "--reconcile")
    assert code == 2
    assert "Give --same-account" in told
    assert hosted.api_key not in told
    assert statuses(lost) == {"saved": 2, "unknown": 2}


@pytest.mark.slow
def test_what_the_history_cannot_tell_can_be_decided_in_the_same_breath(hosted, command, lost, again, waits):
    """It lags, so only one row is found; --all means the other then, and what was found is not sent again."""
    waits(settle_lag_s=0.1, settle_again_s=0.1)
    hosted.faults([])
    hosted.settings(history_lag_by_prompt={"oak 0": 10_000.0})
    code, told, said = command(
        "resolve", lost, "--reconcile", "--settle", "0.1s", "--resubmit", "--all", "--yes"
    )  # fmt: skip
    assert (code, told) == (0, "No unknown rows.\n")
    # Where it was the last one to be sent, nothing later shows that it lags.
    assert "lags" in said or "Not all could be settled" not in said
    assert statuses(lost) == {"saved": 2, "pending": 2}
    assert again() == 0
    assert_each_paid_once(hosted, lost)


# -- a person's word --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_resubmitted_rows_are_sent_by_the_next_run(hosted, command, lost, again):
    code, told, _ = command("resolve", lost, "--resubmit", "--id", "row-2", "--yes")
    assert (code, submits(hosted)) == (0, 4)
    assert "1 unknown job," in told
    assert statuses(lost) == {"saved": 2, "unknown": 1, "pending": 1}
    assert again() == 4
    assert statuses(lost) == {"saved": 3, "unknown": 1}
    assert_each_paid_once(hosted, lost)


def test_resubmitting_what_had_arrived_pays_twice_and_the_bill_says_so(hosted, command, lost, again):
    """A person's word: the first job's picture is nobody's, its cost stays at the service."""
    assert command("resolve", lost, "--resubmit", "--all", "--yes")[0] == 0
    assert again() == 0
    stats = hosted.stats()
    assert stats["accepted_by_prompt"]["oak 1"] == 2
    support.assert_pictures_belong(lost, stats)
    assert statuses(lost) == {"saved": 4}


def test_resubmitting_asks_on_a_terminal_and_without_one_needs_a_yes(hosted, command, lost):
    code, _, told = command("resolve", lost, "--resubmit", "--all")
    assert code == 2
    assert "--yes" in told
    assert "2 jobs" in told
    assert statuses(lost) == {"saved": 2, "unknown": 2}


@pytest.mark.quick(1)
@pytest.mark.parametrize(("agrees", "code", "unknown"), [(True, 0, 0), (False, 2, 2)])
def test_a_person_at_a_terminal_is_asked(hosted, command, lost, monkeypatch, agrees, code, unknown):
    asked = []
    monkeypatch.setattr("batch.cli.console.confirm_resubmit", lambda jobs: asked.append(len(jobs)) or agrees)
    assert command("resolve", lost, "--resubmit", "--all")[0] == code
    assert asked == [2]
    assert statuses(lost)["unknown"] == unknown


def test_abandoned_rows_are_never_sent_again(hosted, command, lost, again):
    code, told, _ = command("resolve", lost, "--abandon", "--id", "row-1", "--id", "row-2")
    assert (code, told) == (0, "No unknown rows.\n")
    assert statuses(lost) == {"saved": 2, "abandoned": 2}
    assert again() == 1
    assert submits(hosted) == 4
    assert summary(lost)["abandoned"] == 2
    assert summary(lost)["at_risk_usd"] == 0


def test_an_attached_request_is_fetched_by_the_next_run(hosted, command, lost, again):
    request_id = request_of(hosted, "oak 1")
    code, told, _ = command("resolve", lost, "--attach", f"row-1={request_id}")
    assert code == 0
    assert "row-1" not in told
    assert (by_id(lost)["row-1"]["status"], by_id(lost)["row-1"]["request_id"]) == ("pending", request_id)
    assert again() == 4
    row = by_id(lost)["row-1"]
    assert (row["status"], row["request_id"], row["cost"]) == ("saved", request_id, "0.030000")
    assert submits(hosted) == 4
    support.assert_pictures_belong(lost, hosted.stats())


@pytest.mark.slow
def test_several_words_in_one_command(hosted, command, lost, again):
    """The one attached is settled, so --all means the other."""
    request_id = request_of(hosted, "oak 1")
    code, told, _ = command(
        "resolve", lost, "--attach", f"row-1={request_id}", "--resubmit", "--all", "--yes"
    )  # fmt: skip
    assert (code, told) == (0, "No unknown rows.\n")
    assert again() == 0
    assert_each_paid_once(hosted, lost)


@pytest.mark.slow
def test_an_id_with_an_equals_sign_can_be_attached(hosted, command, tmp_path, out):
    lines = [line | {"id": f"a=b{n}"} for n, line in enumerate(rows(2))]
    manifest = write_csv(tmp_path / "odd.csv", lines)
    hosted.faults([{"call": "submit", "action": "reset_after", "prompt": "oak 1"}, NO_HISTORY])
    assert command("run", manifest, "--out", out)[0] == 4
    assert command("resolve", out, "--attach", f"a=b1={request_of(hosted, 'oak 1')}")[0] == 0
    assert command("run", manifest, "--out", out)[0] == 0


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--resubmit", "--id", "row-9", "--yes"], "row-9", id="a row that is not there"),
        pytest.param(["--abandon", "--id", "row-0"], "row-0", id="a row that is saved"),
        pytest.param(["--abandon", "--id", "row-1", "--id", "row-0"], "row-0", id="one of two"),
        pytest.param(["--resubmit", "--abandon", "--all", "--yes"], "one of them", id="both"),
        pytest.param(["--resubmit", "--yes"], "--all or --id", id="no rows named"),
        pytest.param(["--abandon"], "--all or --id", id="no rows named, abandoned"),
        pytest.param(["--all"], "--resubmit or --abandon", id="nothing to do with all"),
        pytest.param(["--id", "row-1"], "--resubmit or --abandon", id="nothing to do with one"),
        pytest.param(["--attach", "row-1"], "ID=REQUEST_ID", id="no request"),
        pytest.param(["--attach", "row-1="], "ID=REQUEST_ID", id="an empty request"),
        pytest.param(["--attach", "=r"], "ID=REQUEST_ID", id="an empty id"),
        pytest.param(["--attach", "row-9=r"], "row-9", id="a request for a row that is not there"),
        pytest.param(["--attach", "row-0=r"], "row-0", id="a request for a saved row"),
        pytest.param(["--attach", "row-1=r", "--attach", "row-2=r"], "row-2=r", id="one request for two rows"),
        pytest.param(["--attach", "row-1=r", "--attach", "row-1=s"], "row-1", id="two requests for one row"),
        pytest.param(["--abandon", "--all", "--attach", "row-7=r"], "row-7", id="a wrong one beside a right one"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_refused_and_nothing_is_changed(command, lost, words, expected):
    before = (lost / "report.csv").read_bytes()
    code, _, told = command("resolve", lost, *words)
    assert code == 2
    assert expected in told
    assert statuses(lost) == {"saved": 2, "unknown": 2}
    command("resolve", lost)
    assert (lost / "report.csv").read_bytes() == before


@pytest.mark.slow
def test_a_decision_that_is_refused_leaves_the_others_of_the_command_undone(hosted, command, lost):
    """The request is right, but resubmitting the other row is not confirmed."""
    request_id = request_of(hosted, "oak 1")
    for words in (["--all"], ["--id", "row-0", "--yes"], ["--id", "row-1", "--yes"]):
        assert command("resolve", lost, "--attach", f"row-1={request_id}", "--resubmit", *words)[0] == 2
        assert statuses(lost) == {"saved": 2, "unknown": 2}


def test_two_requests_for_rows_of_one_job_are_refused(hosted, command, tmp_path, out):
    twins = write_csv(tmp_path / "twins.csv", [line | {"seed": 7, "prompt": "oak"} for line in rows(2)])
    hosted.faults([{"call": "submit", "action": "reset_after"}, NO_HISTORY])
    command("run", twins, "--out", out)
    code, _, told = command("resolve", out, "--attach", "row-0=r", "--attach", "row-1=s")
    assert (code, "the same job" in told) == (2, True)
    assert statuses(out) == {"unknown": 2}


@pytest.mark.slow
def test_a_request_that_another_row_holds_is_refused(hosted, command, lost):
    held = by_id(lost)["row-0"]["request_id"]
    code, _, told = command("resolve", lost, "--attach", f"row-1={held}")
    assert code == 2
    assert "another row of this folder holds that request" in told
    assert statuses(lost) == {"saved": 2, "unknown": 2}


def test_a_folder_that_a_run_holds_is_not_decided(command, lost):
    with OutputFolder(lost).hold():
        code, _, told = command("resolve", lost, "--abandon", "--all")
    assert code == 6
    assert told
    assert command("resolve", lost)[0] == 0
    assert statuses(lost) == {"saved": 2, "unknown": 2}


# -- what is written afterwards ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_report_failures_and_summary_are_written_anew(command, lost):
    for name in ("report.csv", "failures.csv", "summary.json"):
        (lost / name).unlink()
    shutil.rmtree(lost / "thumbs", ignore_errors=True)
    assert command("resolve", lost, "--abandon", "--id", "row-1")[0] == 0
    assert statuses(lost) == {"saved": 2, "unknown": 1, "abandoned": 1}
    figures = summary(lost)
    assert (figures["unknown"], figures["abandoned"], figures["at_risk_usd"]) == (1, 1, 0.03)
    assert support.table(lost / "failures.csv") == []


@pytest.mark.slow
def test_a_resubmitted_rows_money_is_counted_when_it_is_paid(hosted, command, lost, again):
    assert summary(lost)["spent_usd"] == 0.06
    assert summary(lost)["at_risk_usd"] == 0.06
    command("resolve", lost, "--resubmit", "--id", "row-2", "--yes")
    assert (summary(lost)["spent_usd"], summary(lost)["at_risk_usd"]) == (0.06, 0.03)
    again()
    assert (summary(lost)["spent_usd"], summary(lost)["at_risk_usd"]) == (0.09, 0.03)


def decide_then_fail(folder):
    """Abandon one row, then meet an error of the caller's own."""
    with open_resolution(folder, None) as resolution:
        resolution.decide(resolution.chosen(["row-1"], every=False), Event.ABANDON)
        raise UsageError("the second decision was wrong")


@pytest.mark.slow
def test_what_was_decided_before_an_error_is_in_the_report(lost):
    with pytest.raises(UsageError, match="the second decision was wrong"):
        decide_then_fail(lost)
    assert statuses(lost) == {"saved": 2, "unknown": 1, "abandoned": 1}
    assert summary(lost)["abandoned"] == 1


@pytest.mark.slow
def test_a_report_that_cannot_be_written_does_not_hide_the_first_error(lost, monkeypatch):
    def no_room(*_):
        raise FolderError("report.csv: cannot be written")

    monkeypatch.setattr("batch.output.report.write_report", no_room)
    with pytest.raises(UsageError, match="the second decision was wrong"):
        decide_then_fail(lost)
