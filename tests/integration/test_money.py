"""Money: the cap, the balance, the bill; every claim is checked against what the server billed.

What --max-cost promises: no job is sent whose price, as far as it is known, would take the sum of what is spent, in
flight and perhaps paid over the cap. A price that rises while jobs are in flight can be seen only when the first of
them is billed, so at most the rise of those in flight then is spent beyond it.
"""

import base64
import signal
import sqlite3

import pytest
import support
from support import go, rows, statuses, summary, write_csv

from batch import RunHooks
from batch.core.config import Backoff, RunSettings
from batch.server import LocalApi, placeholder_image

PRICE = 30_000  # micro-dollars, what the server bills for a job
NO_HISTORY = {"call": "history", "action": "status", "text": "unavailable"}
INSTANT = support.QUICK | {"latency_s": 0.0}


@pytest.fixture
def one_try(waits):
    """Ask a history that is out of order once, not with backoff."""
    waits(history_tries=1)


def billed(api):
    return api.stats(jobs=False)["billed_micro_usd"]


def accepted(api):
    return api.stats(jobs=False)["accepted"]


def warnings_of(api, manifest, out, **settings):
    """Run and return the run and what a person was warned of."""
    warned = []
    end = go(api, manifest, out, listener=RunHooks(warn=warned.append), **settings)
    return end, warned


def as_if_killed(out):
    """Leave the ledger as a killed run leaves it: the run's line is still open."""
    with sqlite3.connect(out / "ledger.sqlite") as connection:
        connection.execute("UPDATE runs SET ended_at=NULL, exit_code=NULL")
    connection.close()


# -- the cap ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_cap_holds_with_five_hundred_in_flight_and_is_used_to_the_last_job(pairs, out):
    """$3.00 pay for 100 jobs of $0.03; the next run has a cap of its own."""
    with LocalApi(**INSTANT) as api:
        manifest = pairs(520)
        end = go(api, manifest, out, concurrency=500, max_cost=100 * PRICE, price=PRICE)
        assert (end.exit_code, billed(api)) == (8, 100 * PRICE)
        assert statuses(out) == {"saved": 100, "pending": 420}
        assert "--max-cost $3.00" in end.stopped
        end = go(api, manifest, out, concurrency=500, max_cost=50 * PRICE)
        assert (end.exit_code, billed(api)) == (8, 150 * PRICE)
        assert support.accepted_twice(api.stats()) == []


@pytest.mark.slow
def test_the_cap_holds_while_jobs_fail_and_submits_are_turned_away(pairs, out, waits):
    """What was not billed is given back at once and may be spent on the next row."""
    waits(reset_margin_s=0.01, not_accepted=Backoff(0.02, 20.0))
    faults = [
        {"call": "submit", "action": "status", "text": "rate_limit", "nth": [40, 90], "reset_in_s": 0.05},
        {"call": "submit", "action": "status", "text": "internal", "probability": 0.2},
        {"call": "submit", "action": "status", "text": "refused", "probability": 0.1},
    ]
    with LocalApi(**INSTANT, failure_rate=0.3) as api:
        api.faults(faults)
        end = go(api, pairs(400), out, concurrency=500, max_cost=60 * PRICE, price=PRICE)
        assert end.exit_code == 8
        assert billed(api) <= 60 * PRICE
        assert accepted(api) > 60  # more than the cap pays for: failed ones cost nothing
        assert end.summary["spent_usd"] == billed(api) / 1e6


def test_what_was_unknown_before_counts_against_the_cap(pairs, out, one_try):
    """Two submits of unknown fate may have cost 2 x $0.03; three more fit under 5 x $0.03."""
    with LocalApi(**INSTANT) as api:
        manifest = pairs(20)
        lost = {"call": "submit", "action": "reset_after", "first": 2}
        api.faults([lost, NO_HISTORY])
        go(api, manifest, out, only=("row-0", "row-1"), price=PRICE)
        assert statuses(out)["unknown"] == 2
        api.faults([NO_HISTORY])
        assert go(api, manifest, out, max_cost=5 * PRICE, price=PRICE).exit_code == 8
        assert (accepted(api), billed(api)) == (5, 5 * PRICE)


@pytest.mark.slow
def test_a_job_that_was_free_does_not_open_the_purse(pairs, out):
    """The folder's last job cost nothing: the next ones are still set aside at what the others cost."""
    with LocalApi(**INSTANT) as api:
        go(api, pairs(3), out)
        api.settings(price_usd=0.0)
        go(api, pairs(4), out)
        api.settings(price_usd=PRICE / 1e6, latency_s=0.2)
        end = go(api, pairs(40), out, max_cost=2 * PRICE, concurrency=20)
        assert (end.exit_code, accepted(api), billed(api)) == (8, 4 + 2, 5 * PRICE)


@pytest.mark.quick(1)
@pytest.mark.parametrize("known", [True, False], ids=["price given", "list price"])
def test_what_was_in_flight_before_counts_once(pairs, out, known):
    """Three jobs of the first run are billed in the second; two new ones fit beside them under 5 x $0.03."""
    with LocalApi(**INSTANT) as api:
        api.settings(latency_s=1.0)
        manifest = pairs(20)
        settings = {"price": PRICE} if known else {}
        go(api, manifest, out, only=("row-0", "row-1", "row-2"), job_timeout_s=0.2, **settings)
        api.settings(latency_s=0.0)
        end = go(api, manifest, out, concurrency=1, max_cost=5 * PRICE, price=PRICE)
        assert (end.exit_code, accepted(api), billed(api)) == (8, 5, 5 * PRICE)


@pytest.mark.slow
def test_a_killed_run_keeps_its_cap_when_continued(tmp_path):
    """kill -9, three times, then the same command: all of them together stay under the cap of one."""
    with LocalApi(**support.QUICK) as server:
        server.settings(latency_s=0.2)
        write_csv(tmp_path / "pairs.csv", rows(60))
        args = ("run", "pairs.csv", "--out", "out", "--max-cost", "0.90", "--price", "0.03", "-v",
                "--settle", "1s", "--concurrency", "4")  # fmt: skip
        env = support.environment(server)
        for event in ("job.saved", "job.accepted", "job.completed"):
            command = support.Command(*args, env=env, cwd=tmp_path)
            assert command.hears(event, 2), command.output
            assert command.signal(signal.SIGKILL) == -signal.SIGKILL
        last = support.Command(*args, env=env, cwd=tmp_path)
        assert last.end() == 8, last.output
        stats = server.stats()
        figures = summary(tmp_path / "out")
        # A submit that a kill cut in the middle stays set aside: it may have been billed or not.
        assert figures["spent_usd"] * 1e6 <= stats["billed_micro_usd"] <= 30 * PRICE
        assert round((figures["spent_usd"] + figures["at_risk_usd"]) * 1e6) == 30 * PRICE, last.output
        assert support.accepted_twice(stats) == []
        support.assert_ledger_sound(tmp_path / "out")


@pytest.mark.slow
def test_a_service_that_names_no_cost_is_still_capped_after_a_kill(pairs, out):
    """What was set aside for such a job stays set aside, in this run and in the one that continues it."""
    picture = base64.b64encode(placeholder_image({"prompt": "x", "image_format": "webp"})).decode()
    with LocalApi(**INSTANT) as api:
        api.faults([{"call": "result", "action": "status", "status": 200,
                     "body": {"status": "COMPLETED", "output": picture, "metrics": {}}}])  # fmt: skip
        manifest = pairs(10, base64="true")
        assert go(api, manifest, out, max_cost=3 * PRICE, price=PRICE).exit_code == 8
        assert accepted(api) == 3
        as_if_killed(out)
        assert go(api, manifest, out, max_cost=3 * PRICE, price=PRICE).exit_code == 8
        assert accepted(api) == 3


@pytest.mark.slow
def test_a_price_that_rises_is_set_aside_from_the_first_bill_on(pairs, out):
    """Beyond the cap goes at most the rise of what was in flight when the first new bill came: here 4 x $0.03."""
    with LocalApi(**support.QUICK) as api:

        def dearer(progress):
            if progress.spent >= 10 * PRICE:
                api.settings(price_usd=0.06)

        end = go(api, pairs(200), out, listener=RunHooks(progress=dearer), concurrency=4,
                 max_cost=40 * PRICE, price=PRICE)  # fmt: skip
        assert end.exit_code == 8
        assert 38 * PRICE <= billed(api) <= 40 * PRICE + 4 * PRICE
        assert end.summary["spent_usd"] == billed(api) / 1e6


def test_a_cap_needs_no_price(hosted, command, pairs, out):
    """The list price bounds the first jobs of a folder, and what is paid for them the others."""
    told = command("plan", pairs(3), "--out", out)[1]
    assert "3 jobs to send, for about $0.09, $0.03 each (the list price of November 2026)" in told
    assert command("run", pairs(3), "--out", out, "--max-cost", "0.06", "--concurrency", 1)[0] == 8
    assert accepted(hosted) == 2
    told = command("plan", pairs(3), "--out", out, "--price", "5")[1]
    assert "1 job to send, for about $0.03, $0.03 each (as paid last)" in told


def test_a_folder_that_has_paid_once_knows_the_price(api, pairs, out):
    manifest = pairs(10)
    go(api, manifest, out, only=("row-0",))
    assert go(api, manifest, out, max_cost=2 * PRICE).exit_code == 8
    assert accepted(api) == 3


def test_a_cap_that_pays_for_no_job_sends_none_and_says_so(api, pairs, out):
    end = go(api, pairs(3), out, max_cost=PRICE - 1, price=PRICE)
    assert (end.exit_code, accepted(api)) == (8, 0)


@pytest.mark.slow
def test_the_local_service_is_capped_alike(tmp_path, monkeypatch):
    """And like any other it makes nothing again for an image that was moved away."""
    monkeypatch.chdir(tmp_path)
    support.picture(tmp_path / "chair.png")
    support.picture(tmp_path / "oak.png", "brown")
    lines = [line | {"image_1": "chair.png", "image_2": "oak.png"} for line in rows(4)]
    write_csv(tmp_path / "pairs.csv", lines)
    settings = RunSettings("out", max_cost=2 * PRICE, price=PRICE)
    first = support.run("pairs.csv", settings)
    assert (first.exit_code, first.summary["saved"], first.summary["simulated"]) == (8, 2, True)
    for name in support.files_in(tmp_path / "out" / "images"):
        (tmp_path / "out" / "images" / name).unlink()
    again = support.run("pairs.csv", settings)
    assert (again.exit_code, again.summary["saved"], again.summary["moved"]) == (0, 4, 2)


# -- the balance ------------------------------------------------------------------------------------------------------


def test_a_balance_that_covers_no_job_is_refused_before_anything_is_sent(pairs, out):
    with LocalApi(**INSTANT, balance_usd=0.02) as api:
        manifest = pairs(3)
        end = go(api, manifest, out, price=PRICE)
        assert (end.exit_code, statuses(out)) == (3, {"pending": 3})
        assert "$0.02 left, one job costs $0.0300. Add credits" in end.stopped
        calls = api.stats(jobs=False)["calls"]
        assert (calls["submit"], calls["upload"], calls["credits"]) == (0, 0, 1)
        api.settings(balance_usd=10.0)
        assert go(api, manifest, out, price=PRICE).exit_code == 0


@pytest.mark.slow
def test_a_balance_that_covers_a_part_is_a_warning(pairs, out):
    with LocalApi(**INSTANT, balance_usd=0.10) as api:
        end, warned = warnings_of(api, pairs(10), out, price=PRICE)
        assert (end.exit_code, statuses(out)) == (3, {"saved": 3, "pending": 7})
        (warning,) = warned
        assert "The account has $0.10, this run may cost $0.30" in warning


@pytest.mark.slow
def test_an_ample_balance_is_no_news(api, pairs, out):
    assert warnings_of(api, pairs(2), out, price=PRICE)[1] == []


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "fault",
    [
        {"action": "status", "text": "unavailable"},
        {"action": "status", "text": "wrong_key"},
        {"action": "status", "status": 404, "body": "<html>no</html>"},
        {"action": "garbage"},
        {"action": "reset_after"},
        {"action": "huge"},
        {"action": "status", "status": 200, "body": {"credits": "plenty"}},
        {"action": "status", "status": 200, "body": {"credits": None}},
        {"action": "status", "status": 200, "body": []},
    ],
    ids=lambda fault: str(fault.get("text") or fault.get("body") or fault["action"]),
)
def test_a_balance_that_cannot_be_read_is_a_warning_and_no_more(api, pairs, out, fault):
    api.faults([{"call": "credits", **fault}])
    end, warned = warnings_of(api, pairs(2), out, price=PRICE)
    assert end.exit_code == 0
    assert len(warned) == 1
    assert "The balance could not be read" in warned[0]


@pytest.mark.slow
def test_nothing_to_send_asks_for_no_balance(api, pairs, out):
    manifest = pairs(2)
    go(api, manifest, out)
    before = api.stats(jobs=False)["calls"]["credits"]
    go(api, manifest, out)
    assert api.stats(jobs=False)["calls"]["credits"] == before


def test_credits_that_run_out_let_what_is_in_flight_finish(pairs, out):
    """Slow jobs: all that were accepted are still at work when the first submit is refused."""
    with LocalApi(**support.QUICK, balance_usd=5 * 0.03) as api:
        api.settings(latency_s=0.8)
        manifest = pairs(12)
        end = go(api, manifest, out)
        assert (end.exit_code, statuses(out)) == (3, {"saved": 5, "pending": 7})
        assert "credits" in end.stopped
        assert {row["attempts"] for row in support.report(out) if row["status"] == "saved"} == {"1"}
        api.settings(balance_usd=5.0, latency_s=0.0)
        assert go(api, manifest, out).exit_code == 0
        stats = api.stats()
        assert (stats["accepted"], stats["billed_micro_usd"]) == (12, 12 * PRICE)


# -- the bill ---------------------------------------------------------------------------------------------------------


def test_every_attempt_has_its_line_with_whole_micro_dollars(pairs, out, waits):
    """Estimated at $0.025, billed at what the server named, which varies by a half."""
    waits(not_accepted=Backoff(0.02, 20.0))
    with LocalApi(**INSTANT, price_spread=0.5) as api:
        api.faults(
            [{"call": "submit", "action": "status", "text": "internal", "prompt": "oak 1", "first": 1}]
        )
        go(api, pairs(5), out, price=25_000)
        named = {job["prompt"]: job["cost_usd"] for job in api.stats()["jobs"]}
    connection = sqlite3.connect(out / "ledger.sqlite")
    lines = connection.execute(
        "SELECT r.id, e.attempt, e.event, e.estimate, e.cost, typeof(e.cost), e.at FROM events e "
        "JOIN rows r USING (job) ORDER BY e.seq"
    ).fetchall()
    connection.close()
    reserved = [(row, attempt, estimate) for row, attempt, event, estimate, *_ in lines if event == "reserve"]
    assert len(reserved) == 6
    assert ("row-1", 2, 25_000) in [
        (row, attempt, min(estimate, 25_000)) for row, attempt, estimate in reserved
    ]
    costs = {row: (cost, kind) for row, _, event, _, cost, kind, _ in lines if event == "complete"}
    assert costs == {f"row-{n}": (round(named[f"oak {n}"] * 1e6), "integer") for n in range(5)}
    assert [line[2] for line in lines if line[0] == "row-1"] == [
        "reserve", "bounce", "reserve", "accept", "complete", "keep",
    ]  # fmt: skip


def test_money_is_shown_in_plan_summary_status_and_last_line(hosted, command, pairs, out, one_try):
    """10 rows: 4 paid, 1 lost, 5 new; then the rest."""
    hosted.faults([{"call": "submit", "action": "reset_after", "prompt": "oak 4"}, NO_HISTORY])
    manifest = pairs(10)
    only = ",".join(f"row-{n}" for n in range(5))
    code, told, _ = command("run", manifest, "--out", out, "--only", only, "--price", "0.03")
    assert code == 4
    assert "$0.12 this run, $0.12 in all, $0.03 at risk" in told
    hosted.faults([NO_HISTORY])
    planned = command("plan", manifest, "--out", out)[1]
    lines = {
        line.split("  ")[1]: " ".join(line.split()) for line in planned.splitlines() if line.startswith("  ")
    }
    assert lines["new"].startswith("new 5 $ 0.15")
    assert lines["done"].startswith("done 4 $ 0.12")
    assert lines["unknown"].startswith("unknown 1 $ 0.03")
    assert "5 jobs to send, for about $0.15" in planned

    code, told, _ = command("run", manifest, "--out", out)
    assert (
        code,
        "$0.15 this run, $0.27 in all, $0.12 saved by not sending again, $0.03 at risk" in told,
    ) == (4, True)
    figures = summary(out)
    assert figures["run_spent_usd"] == 0.15
    assert (figures["spent_usd"], figures["at_risk_usd"], figures["saved_by_resume_usd"], figures["simulated"]) == (
        0.27, 0.03, 0.12, False,
    )  # fmt: skip
    assert f'"spent_usd": {figures["spent_usd"]}' in command("status", out, "--json")[1]


@pytest.mark.slow
def test_the_local_service_says_that_its_money_is_simulated(command, tmp_path, out):
    support.picture(tmp_path / "chair.png")
    support.picture(tmp_path / "oak.png", "brown")
    line = rows(1)[0] | {"image_1": "chair.png", "image_2": "oak.png"}
    manifest = write_csv(tmp_path / "pairs.csv", [line])
    code, told, _ = command("run", manifest, "--out", out, "--local")
    assert (code, "$0.03 this run, $0.03 in all (simulated)" in told) == (0, True)
    assert summary(out)["simulated"] is True
    assert '"simulated": true' in command("status", out, "--json")[1]
    write_csv(manifest, [line, line | {"id": "b", "seed": 99}])
    assert "(simulated)" in command("plan", manifest, "--out", out)[1]


@pytest.mark.parametrize("text", ["-1", "nan", "many", "1e12"])
def test_an_amount_that_is_none_is_bad_usage(command, pairs, out, text):
    code, _, warned = command("run", pairs(1), "--out", out, f"--max-cost={text}", "--price", "0.03")
    assert (code, "is not a valid amount" in warned) == (2, True)


def test_the_list_price_refuses_no_account_that_pays_otherwise(pairs, out):
    """An account without a balance may pay by invoice: the service decides, unless somebody said what a job costs."""
    with LocalApi(**INSTANT, balance_usd=0.02, price_usd=0.01) as api:
        end, warned = warnings_of(api, pairs(2), out)
        assert (end.exit_code, accepted(api)) == (0, 2)
        assert warned == [
            "The account has $0.02 left, one job costs $0.0300 by the list price of November 2026."
        ]
