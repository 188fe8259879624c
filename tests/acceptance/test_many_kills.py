"""Two hundred kills at seeded moments, with answers lost in between: with a history to ask, every row is paid once.

What test_kill.py shows of runs without a history is shown here to the good end. Each folder is killed ten times, while
submits are on their way, while results are fetched, while lost ones are being settled, while a run starts; one submit
in ten loses its answer or never arrives. Then the command is left alone, and must end with exit 0.
"""

import itertools
import random

import pytest
import support
from test_kill import LATE, MOMENTS, kill_at_random

from batch.server import LocalProcess

KILLS = 50  # in each of four tests
KILLS_A_FOLDER = 10
ROWS = 60

UNRULY = [
    {"call": "submit", "action": "reset_after", "probability": 0.05},
    {"call": "submit", "action": "reset_before", "probability": 0.03},
    {"call": "submit", "action": "status", "text": "bad_gateway", "handled": True, "probability": 0.02},
    {"call": "history", "action": "status", "text": "unavailable", "probability": 0.1},
    LATE,
]


@pytest.fixture
def server():
    with LocalProcess(**support.QUICK) as process:
        process.faults(UNRULY)
        yield process


def killed_until_done(args, folder, server, dice):
    """Run the command with up to KILLS_A_FOLDER kills, then to its end; return the kills that struck."""
    env, kills, unsettled = support.environment(server), 0, 0
    while True:
        command = support.Command(*args, env=env, cwd=folder)
        struck = (
            kills < KILLS_A_FOLDER and kill_at_random(command, server, dice, (*MOMENTS, "history")) is None
        )
        if struck:
            kills += 1
        elif (code := command.end()) == 0:
            return kills
        else:  # the history did not answer this time
            unsettled += 1
            assert (code, unsettled < 10) == (4, True), command.output


def assert_every_row_is_paid_once(out, stats, first):
    numbers = range(first, first + ROWS)
    assert [stats["accepted_by_prompt"][f"oak {n}"] for n in numbers] == [1] * ROWS
    assert support.accepted_twice(stats) == []
    assert support.ids(support.report(out)) == [f"row-{n}" for n in numbers]
    assert support.statuses(out) == {"saved": ROWS}
    support.assert_pictures_belong(out, stats)
    support.assert_ledger_sound(out)
    summary = support.summary(out)
    assert (summary["spent_usd"], summary["at_risk_usd"]) == (pytest.approx(0.03 * ROWS), 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.proof) for seed in (2, 3, 4))])
def test_fifty_kills_and_lost_answers_and_every_row_is_paid_once(server, tmp_path, seed):
    dice = random.Random(seed)
    kills = found = absent = 0
    for number in itertools.count():
        if kills >= KILLS:
            break
        folder, first = tmp_path / f"run-{number}", number * ROWS
        folder.mkdir()
        support.write_csv(folder / "pairs.csv", support.rows(ROWS, first=first))
        args = ("run", "pairs.csv", "--out", "out", "-v", "--settle", "1s", "--progress", "log")
        kills += killed_until_done(args, folder, server, dice)
        assert_every_row_is_paid_once(folder / "out", server.stats(), first)
        found += sum(support.events(folder / "out", f"find_{how}") for how in ("running", "done"))
        absent += support.events(folder / "out", "absent")
    assert found > KILLS // 5  # else the kills and faults missed what this test is about
    assert absent > 0
