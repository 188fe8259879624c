"""Ending before the work does: signals in two breaths, limits, one run a folder. Real processes, real signals.

What a server has accepted is finished or found again by the next run, whatever the moment; times are measured
generously, and nothing waits for longer than it should.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import support
from support import by_id, go, rows, statuses, submits, summary, write_csv

from batch import RunHooks
from batch.server import LocalApi

SIGNALS = [
    pytest.param(signal.SIGHUP, 129, id="SIGHUP"),
    pytest.param(signal.SIGINT, 130, id="SIGINT"),
    pytest.param(signal.SIGTERM, 143, id="SIGTERM", marks=pytest.mark.slow),
]


@pytest.fixture
def server():
    with LocalApi(**support.QUICK) as api:
        yield api


@pytest.fixture
def start(server, tmp_path):
    """Start `run` in a process of its own, on a manifest of `count` rows where the test has written none."""
    begun = []

    def starter(count, *args, name="pairs.csv"):
        manifest = tmp_path / name
        if not manifest.exists():
            write_csv(manifest, rows(count))
        command = support.Command(
            "run", name, "--out", "out", "-v", "--settle", "1s", *args,
            env=support.environment(server), cwd=tmp_path,
        )  # fmt: skip
        begun.append(command)
        return command

    yield starter
    for command in begun:
        if command.running:
            command.signal(signal.SIGKILL)


@pytest.fixture
def goes_on(server, tmp_path, out):
    """Run the same manifest again to its end, in this process; return the server's record."""

    def finish():
        server.faults([])
        server.settings(latency_s=0.0)
        assert go(server, tmp_path / "pairs.csv", out, settle_s=0.5).exit_code == 0
        stats = server.stats()
        assert set(statuses(out)) == {"saved"}
        assert support.accepted_twice(stats) == []
        support.assert_pictures_belong(out, stats)
        return stats

    return finish


@contextmanager
def ends_within(seconds, at_least=0.0):
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert at_least <= took < seconds


def last_run(out):
    connection = sqlite3.connect(out / "ledger.sqlite")
    connection.row_factory = sqlite3.Row
    try:
        return dict(connection.execute("SELECT * FROM runs ORDER BY run DESC LIMIT 1").fetchone())
    finally:
        connection.close()


def assert_closed(out, code, rows_in_report):
    """The ledger is closed and every file of the folder is there."""
    run = last_run(out)
    assert (run["exit_code"], run["ended_at"] is not None) == (code, True)
    assert len(support.report(out)) == rows_in_report
    assert (out / "failures.csv").is_file()
    assert summary(out)["exit_code"] == code
    support.assert_ledger_sound(out)
    assert not [name for name in support.files_in(out) if name.endswith(".part")]


# -- the first signal -------------------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_the_first_signal_finishes_what_is_in_flight_and_sends_no_more(
    server, start, goes_on, out, number, code
):
    server.settings(latency_s=0.4)
    command = start(40, "--concurrency", "8")
    assert command.hears("job.accepted", 8), command.output
    assert command.signal(number) == code, command.output
    sent = submits(server)
    assert sent < 40
    assert statuses(out) == {"saved": sent, "pending": 40 - sent}
    assert f"{signal.Signals(number).name}: submitting nothing more" in command.output
    assert_closed(out, code, 40)

    assert goes_on()["accepted"] == 40


@pytest.mark.slow
def test_a_grace_shorter_than_the_job_leaves_it_accepted_for_the_next_run(server, start, goes_on, out):
    server.settings(latency_s=3.0)
    command = start(6, "--grace", "1s")
    assert command.hears("job.accepted", 6), command.output
    with ends_within(25):
        assert command.signal(signal.SIGTERM) == 143
    assert statuses(out) == {"pending": 6}
    assert all(row["request_id"] for row in support.report(out))
    assert_closed(out, 143, 6)
    assert goes_on()["calls"]["submit"] == 6


@pytest.mark.slow
def test_a_signal_does_not_wait_for_a_gate_that_is_closed(server, start, out):
    """Nothing is in flight, the service says: come back in ten minutes. There is nothing to wait for."""
    server.faults([{"call": "submit", "action": "status", "text": "rate_limit", "reset_in_s": 600}])
    command = start(20)
    assert command.hears("job.throttled"), command.output
    assert command.sees(lambda: submits(server) >= 8)
    with ends_within(25):
        assert command.signal(signal.SIGINT) == 130
    assert statuses(out) == {"pending": 20}
    assert_closed(out, 130, 20)


@pytest.mark.slow
def test_a_signal_does_not_wait_for_the_settling_of_lost_submits(server, start, goes_on, out):
    server.faults([{"call": "submit", "action": "reset_before", "prompt": "oak 1", "first": 1}])
    command = start(3, "--settle", "10m")
    assert command.sees(lambda: server.stats(jobs=False)["calls"]["history"] > 0), command.output
    with ends_within(25):
        assert command.signal(signal.SIGINT) == 130
    assert statuses(out) == {"saved": 2, "unknown": 1}
    assert_closed(out, 130, 3)
    assert goes_on()["accepted"] == 3


@pytest.mark.slow
def test_a_signal_does_not_wait_for_a_history_that_hangs(server, start, out):
    server.faults(
        [
            {"call": "submit", "action": "reset_after", "prompt": "oak 1", "first": 1},
            {"call": "history", "action": "no_answer"},
        ]
    )
    command = start(3)
    assert command.sees(lambda: server.stats(jobs=False)["calls"]["history"] > 0), command.output
    with ends_within(25):
        assert command.signal(signal.SIGTERM) == 143
    assert statuses(out) == {"saved": 2, "unknown": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", [pytest.param("credits", id="the balance"), pytest.param("upload", id="an upload")]
)
def test_a_signal_does_not_wait_for_what_hangs_before_the_first_submit(
    server, tmp_path, start, goes_on, out, call
):
    support.picture(tmp_path / "chair.png")
    write_csv(tmp_path / "pairs.csv", [line | {"image_1": "chair.png"} for line in rows(4)])
    server.faults([{"call": call, "action": "no_answer"}])
    command = start(4)
    assert command.sees(lambda: server.stats(jobs=False)["calls"][call] > 0), command.output
    with ends_within(25):
        assert command.signal(signal.SIGINT) == 130
    assert (submits(server), statuses(out)) == (0, {"pending": 4})
    assert goes_on()["accepted"] == 4


@pytest.mark.slow
def test_a_signal_does_not_wait_for_a_host_of_uploads_that_is_away(server, tmp_path, start, goes_on, out):
    """All wait together for it to come back, by then for two seconds and more at a time."""
    support.picture(tmp_path / "chair.png")
    write_csv(tmp_path / "pairs.csv", [line | {"image_1": "chair.png"} for line in rows(4)])
    server.faults([{"call": "upload", "action": "status", "text": "unavailable"}])
    command = start(4)
    assert command.sees(lambda: server.stats(jobs=False)["calls"]["upload"] >= 4), command.output
    with ends_within(25):
        assert command.signal(signal.SIGINT) == 130
    assert (submits(server), statuses(out)) == (0, {"pending": 4})
    assert goes_on()["accepted"] == 4


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_while_a_large_manifest_is_read_ends_at_once(
    server, tmp_path, start, goes_on, out, number, code
):
    """Nothing was sent and nothing is changed; the next run begins where this one did."""
    go(server, write_csv(tmp_path / "pairs.csv", rows(3)), out)
    before = support.report(out)
    write_csv(tmp_path / "large.csv", rows(40_000))
    command = start(0, name="large.csv")
    assert command.sees(lambda: _is_reading(command.pid, "large.csv")), command.output
    with ends_within(25):
        assert command.signal(number) == code, command.output
    assert "Run the same command to continue" in command.output
    assert (support.report(out), submits(server)) == (before, 3)
    assert goes_on()["accepted"] == 3


def _is_reading(pid, name):
    """Tell whether a process has a file open, by /proc; without one, take it for granted."""
    folder = f"/proc/{pid}/fd"
    if not os.path.isdir("/proc/self/fd"):  # noqa: PTH112
        time.sleep(1.5)
        return True
    try:
        return any(os.readlink(f"{folder}/{fd}").endswith(name) for fd in os.listdir(folder))  # noqa: PTH115, PTH208
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "ignored", "code"),
    [
        pytest.param(signal.SIGHUP, "HUP", 0, id="SIGHUP under nohup"),
        pytest.param(signal.SIGINT, "INT", 0, id="SIGINT of a background job"),
        pytest.param(signal.SIGTERM, "HUP INT", 143, id="SIGTERM beside them"),
    ],
)
def test_a_signal_that_was_ignored_before_stays_ignored(server, tmp_path, out, number, ignored, code):
    server.settings(latency_s=0.5)
    write_csv(tmp_path / "pairs.csv", rows(8))
    line = f"trap '' {ignored}; exec \"$@\""
    process = subprocess.Popen(
        ["bash", "-c", line, "x", sys.executable, "-m", "batch", "run", "pairs.csv", "--out", "out", "-v",
         "--concurrency", "4"],
        cwd=tmp_path, env=support.environment(server), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with process:
        told = []
        for text in process.stderr:
            told.append(text)
            if "job.accepted" in text and sum("job.accepted" in line for line in told) == 4:
                process.send_signal(number)
        assert process.wait(60) == code, "".join(told)
    assert statuses(out)["saved"] == (8 if code == 0 else submits(server))


@pytest.mark.slow
def test_a_terminal_that_goes_away_hangs_up_and_hurries_nothing(server, start, goes_on, out):
    """It sends more than one signal: what is in flight is still awaited."""
    server.settings(latency_s=1.0)
    command = start(12, "--concurrency", "4")
    assert command.hears("job.accepted", 4), command.output
    command.kick(signal.SIGHUP)
    assert command.hears("submitting nothing more"), command.output
    assert command.signal(signal.SIGHUP) == 129
    sent = submits(server)
    assert statuses(out) == {"saved": sent, "pending": 12 - sent}
    assert_closed(out, 129, 12)
    assert goes_on()["accepted"] == 12


@pytest.mark.slow
def test_a_terminal_that_is_closed_ends_the_run_in_order(server, tmp_path, goes_on, out):
    """As a dropped SSH line does it: a hang-up, and nowhere to write from then on, with a bar that still would."""
    server.settings(latency_s=0.7)
    write_csv(tmp_path / "pairs.csv", rows(12))
    args = ("run", "pairs.csv", "--out", "out", "--yes", "--concurrency", "4", "--progress", "bar")
    with support.on_a_terminal(*args, env=support.environment(server), cwd=tmp_path) as (process, terminal):
        support.seen_on(terminal, lambda _: submits(server) >= 4, patience_s=5.0)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, terminal)  # closes our end, under its number
        os.close(null)
        assert process.wait(30) == 129
    sent = submits(server)
    assert sent < 12
    assert statuses(out) == {"saved": sent, "pending": 12 - sent}
    assert_closed(out, 129, 12)
    assert goes_on()["accepted"] == 12


# -- the second signal ------------------------------------------------------------------------------------------------


def test_the_second_signal_ends_what_is_in_flight_at_once(server, start, out):
    server.settings(latency_s=300.0)
    command = start(6)
    assert command.hears("job.accepted", 6), command.output
    command.kick(signal.SIGINT)
    assert command.hears("submitting nothing more"), command.output
    with ends_within(120):
        assert command.signal(signal.SIGINT) == 130
    assert statuses(out) == {"pending": 6}
    assert_closed(out, 130, 6)
    server.settings(latency_s=0.0)


@pytest.mark.slow
def test_after_the_second_signal_a_post_that_left_has_five_seconds_then_it_is_unknown(
    server, start, goes_on, out
):
    server.faults(
        [
            {"call": "submit", "action": "no_answer", "prompt": "oak 1"},
            {"call": "submit", "action": "delay", "after_s": 3, "prompt": "oak 2"},
        ]
    )
    command = start(3)
    assert command.sees(lambda: server.stats(jobs=False)["accepted"] == 3), command.output
    command.kick(signal.SIGTERM)
    assert command.hears("submitting nothing more"), command.output
    with ends_within(25, at_least=4.5):
        assert command.signal(signal.SIGTERM) == 143
    found = by_id(out)
    assert (found["row-1"]["status"], found["row-1"]["error_class"]) == ("unknown", "interrupted")
    assert found["row-2"]["request_id"]  # it was answered in time
    assert_closed(out, 143, 3)
    assert goes_on()["accepted"] == 3


# -- limits -----------------------------------------------------------------------------------------------------------


def test_the_longest_duration_ends_the_submitting_and_exits_with_7(tmp_path, out):
    with LocalApi(**support.QUICK) as api:
        api.settings(latency_s=0.4)
        manifest = write_csv(tmp_path / "pairs.csv", rows(40))
        with ends_within(25):
            end = go(api, manifest, out, concurrency=4, max_duration_s=2.0)
        assert end.exit_code == 7
        assert "--max-duration" in end.stopped
        sent = api.stats(jobs=False)["accepted"]
        assert 0 < sent < 40
        assert statuses(out) == {"saved": sent, "pending": 40 - sent}
        assert_closed(out, 7, 40)


@pytest.mark.slow
def test_the_longest_duration_gives_what_is_in_flight_its_grace_only(tmp_path, out):
    with LocalApi(**support.QUICK) as api:
        api.settings(latency_s=60.0)
        manifest = write_csv(tmp_path / "pairs.csv", rows(4))
        with ends_within(25):
            end = go(api, manifest, out, max_duration_s=0.5, grace_s=0.5)
        assert (end.exit_code, statuses(out)) == (7, {"pending": 4})
        api.settings(latency_s=0.0)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("limit", "least", "most"),
    [
        pytest.param({"max_failures": 3}, 3, 3 + 8, id="a number"),
        pytest.param({"max_failure_share": 0.5}, 20, 20 + 8, id="a share, judged from 20 rows on"),
    ],
)
def test_too_many_failures_stop_the_run(tmp_path, out, limit, least, most):
    with LocalApi(**support.QUICK) as api:
        api.faults([{"call": "submit", "action": "status", "text": "refused"}])
        manifest = write_csv(tmp_path / "pairs.csv", rows(100))
        end = go(api, manifest, out, concurrency=4, **limit)
        assert end.exit_code == 3
        assert "--max-failures" in end.stopped
        assert least <= statuses(out)["failed"] <= most
        assert statuses(out)["pending"] == 100 - statuses(out)["failed"]
        api.faults([])
        assert go(api, manifest, out, retry_failed=True).exit_code == 0


@pytest.mark.slow
def test_fewer_failures_than_the_share_do_not_stop_it(tmp_path, out):
    with LocalApi(**support.QUICK, blocked_words=["oak 3"]) as api:  # rows 3 and 30 … 39: 11 of 40
        manifest = write_csv(tmp_path / "pairs.csv", rows(40))
        end = go(api, manifest, out, max_failure_share=0.6)
        assert (end.exit_code, statuses(out)) == (1, {"saved": 29, "failed": 11})


def test_a_pilot_sends_rows_spread_over_the_manifest_and_the_full_run_goes_on(tmp_path, out):
    """5 of 50: every tenth. Its own rows are not paid for again."""
    with LocalApi(**support.QUICK) as api:
        manifest = write_csv(tmp_path / "pairs.csv", rows(50))
        heard = []
        end = go(api, manifest, out, pilot=5, listener=RunHooks(progress=lambda now: heard.append(now.total)))
        assert (end.exit_code, statuses(out)) == (7, {"saved": 5, "pending": 45})
        saved = [row["id"] for row in support.report(out) if row["status"] == "saved"]
        assert saved == ["row-0", "row-10", "row-20", "row-30", "row-40"]
        assert set(heard) == {5}
        assert go(api, manifest, out, pilot=2).exit_code == 7
        assert api.stats(jobs=False)["accepted"] == 7
        assert go(api, manifest, out).exit_code == 0
        stats = api.stats()
        assert (stats["accepted"], support.accepted_twice(stats)) == (50, [])


def test_a_pilot_of_all_rows_is_a_run(tmp_path, out):
    with LocalApi(**support.QUICK) as api:
        assert go(api, write_csv(tmp_path / "pairs.csv", rows(3)), out, pilot=9).exit_code == 0


# -- one run a folder -------------------------------------------------------------------------------------------------


def test_a_folder_in_use_says_by_whom_and_since_when(server, tmp_path, start, goes_on, command, monkeypatch):
    queued = {"status": "QUEUED"}
    server.faults([{"call": "status", "action": "status", "status": 200, "body": queued}])
    first = start(3)
    assert first.hears("job.accepted", 3), first.output
    env = support.environment(server)
    monkeypatch.chdir(tmp_path)
    for name in ("SEGMIND_BASE_URL", "SEGMIND_API_KEY"):
        monkeypatch.setenv(name, env[name])
    for args in (
        ("run", "pairs.csv", "--out", "out"),
        ("retry", "out"),
        ("resolve", "out"),
        ("resolve", "out", "--abandon", "--all"),
    ):
        code, _, told = command(*args)
        assert code == 6, (args, told)
        assert f"pid {first.pid}, started 20" in told
        assert "holds this folder. Wait for it to end" in told
    for args in (("status", "out"), ("plan", "pairs.csv", "--out", "out")):
        assert command(*args)[0] == 0
    assert first.signal(signal.SIGKILL) == -signal.SIGKILL  # the lock dies with its process
    assert command("resolve", "out")[:2] == (0, "No unknown rows.\n")
    assert goes_on()["calls"]["submit"] == 3
