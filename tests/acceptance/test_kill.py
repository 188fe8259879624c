"""Kill -9 at any moment, then the same command again: nothing is accepted twice, nothing paid is lost.

The server lives in a process of its own and answers each submit 150 ms after it accepted it, so that kills fall
between acceptance and record. Every claim is checked against the server's own record. Every other manifest is run while
the history is out of order: what was cut stays unknown then; with a history every row is saved.
"""

import random
import signal
import time

import pytest
import support

from batch.pacing.limiter import WIDEST
from batch.server import LocalProcess

ROWS = 100
KILLS_A_RUN = 5
LATE = {"call": "submit", "action": "delay", "after_s": 0.15}
NO_HISTORY = {"call": "history", "action": "status", "text": "unavailable"}
MOMENTS = ("submit", "submit", "accepted", "completed", "saved", "start")


@pytest.fixture
def server():
    with LocalProcess(**support.QUICK) as process:
        yield process


def kill_at_random(command, server, dice, moments=MOMENTS):
    """Kill the command at a moment drawn from `dice`; return its exit code when it ended before."""
    moment = dice.choice(moments)
    if moment == "submit":  # right at a POST: it has arrived, its answer has not left
        wanted = server.stats(jobs=False)["calls"]["submit"] + dice.randint(1, 10)
        reached = command.sees(lambda: server.stats(jobs=False)["calls"]["submit"] >= wanted)
    elif moment == "history":  # while lost submits are being settled
        read = server.stats(jobs=False)["calls"]["history"]
        reached = command.sees(lambda: server.stats(jobs=False)["calls"]["history"] > read)
    elif moment == "start":  # while the ledger is opened, recovered, planned
        reached = True
    else:
        reached = command.hears(f"job.{moment}", dice.randint(1, 10))
    if reached:
        time.sleep(dice.uniform(0, 0.6 if moment == "start" else 0.2))
    return None if command.signal(signal.SIGKILL) == -signal.SIGKILL else command.end()


def prepare(server, folder, first_seed, count):
    """Write a manifest of so many rows; return the command that runs it and its environment."""
    folder.mkdir()
    support.write_csv(folder / "pairs.csv", support.rows(count, first=first_seed))
    return ("run", "pairs.csv", "--out", "out", "-v", "--settle", "1s"), support.environment(server)


def run_with_kills(server, folder, first_seed, dice, wanted):
    """Run one manifest, killed so many times; return the number of kills that struck and the last exit code."""
    args, env = prepare(server, folder, first_seed, ROWS)
    with support.Command(*args, env=env, cwd=folder) as first:
        assert first.hears("job.accepted"), first.output
        assert first.signal(signal.SIGKILL) == -signal.SIGKILL
    kills = 1
    while kills < wanted:
        code = kill_at_random(support.Command(*args, env=env, cwd=folder), server, dice)
        if code is not None:
            return kills, code
        kills += 1
    last = support.Command(*args, env=env, cwd=folder)
    return kills, last.end()


def assert_nothing_paid_twice_or_lost(server, folder, first_seed, kills, code, *, history, count):
    """Compare what the run left with what the server says of this manifest's rows."""
    out = folder / "out"
    stats = server.stats()
    prompts = {f"oak {n}" for n in range(first_seed, first_seed + count)}
    jobs = [job for job in stats["jobs"] if job["prompt"] in prompts]
    rows = support.report(out)
    statuses = support.statuses(out)

    assert support.accepted_twice(stats) == []
    assert support.ids(rows) == [f"row-{n}" for n in range(first_seed, first_seed + count)]
    assert set(statuses) <= {"saved", "unknown"}
    assert code == (4 if statuses["unknown"] else 0)
    if history:
        assert (code, len(jobs)) == (0, count)

    accepted = {job["prompt"] for job in jobs}
    saved = {row["prompt"] for row in rows if row["status"] == "saved"}
    unknown = {row["prompt"] for row in rows if row["status"] == "unknown"}
    assert saved <= accepted
    never_arrived = prompts - accepted
    assert unknown == (accepted - saved) | never_arrived
    assert len(unknown) <= kills * WIDEST  # no more than were on their way
    assert {row["request_id"] for row in rows if row["status"] == "saved"} <= {
        job["request_id"] for job in jobs
    }

    support.assert_pictures_belong(out, stats)
    support.assert_ledger_sound(out)
    left = [name for name in support.files_in(out) if name.endswith(".part")]
    assert len(left) <= kills * 2  # a killed write leaves its temporary file, never half a picture
    assert support.summary(out)["saved"] == len(saved)
    assert support.table(out / "failures.csv") == []
    return accepted - saved


def prove(server, tmp_path, wanted_kills, seed, kills_a_run=KILLS_A_RUN):
    dice = random.Random(seed)
    kills = cut_after_acceptance = number = 0
    while kills < wanted_kills:
        history = number % 2 == 1
        server.faults([LATE] if history else [LATE, NO_HISTORY])
        folder, first_seed = tmp_path / f"run-{number}", number * ROWS
        struck, code = run_with_kills(server, folder, first_seed, dice, kills_a_run)
        lost = assert_nothing_paid_twice_or_lost(
            server, folder, first_seed, struck, code, history=history, count=ROWS
        )
        kills += struck
        cut_after_acceptance += len(lost)
        number += 1
    assert kills >= wanted_kills
    assert cut_after_acceptance > 0  # else the kills missed the moment this test is about


def test_a_kill_never_pays_a_row_twice(server, tmp_path, waits):
    """Struck when POSTs of the second eight have arrived and none of them is answered; there is no history to ask."""
    waits(**support.A_TENTH, history_tries=1)
    count, eight = 24, WIDEST
    late = LATE | {"after_s": 1.0, "nth": list(range(eight + 1, 2 * eight + 1))}
    server.faults([late, NO_HISTORY])
    args, env = prepare(server, tmp_path / "run", 0, count)
    with support.Command(*args, env=env, cwd=tmp_path / "run") as first:
        assert first.sees(lambda: server.stats(jobs=False)["accepted"] > eight), first.output
        assert first.signal(signal.SIGKILL) == -signal.SIGKILL
    again = support.go(server, tmp_path / "run" / "pairs.csv", tmp_path / "run" / "out", settle_s=0.1)
    assert_nothing_paid_twice_or_lost(
        server, tmp_path / "run", 0, 1, again.exit_code, history=False, count=count
    )
    assert support.statuses(tmp_path / "run" / "out")["unknown"] > 0


@pytest.mark.slow
def test_three_kills_never_pay_a_row_twice(server, tmp_path):
    prove(server, tmp_path, wanted_kills=3, seed=20, kills_a_run=3)


@pytest.mark.slow
def test_twenty_kills_never_pay_a_row_twice(server, tmp_path):
    prove(server, tmp_path, wanted_kills=20, seed=20)


@pytest.mark.proof
@pytest.mark.parametrize("seed", [1, 2])
def test_a_hundred_kills_never_pay_a_row_twice(server, tmp_path, seed):
    prove(server, tmp_path, wanted_kills=100, seed=seed)
