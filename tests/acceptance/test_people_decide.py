"""People who decide at the same time, beside a run, and are cut off: real processes, and nothing is lost."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
import support

from batch.server import LocalProcess

pytestmark = pytest.mark.slow

PEOPLE = ("anna", "otto", "eva", "ida")


@pytest.fixture
def server():
    with LocalProcess(**support.QUICK | {"latency_s": 0.2, "workers": 4}) as process:
        yield process


@pytest.fixture
def texbatch(server, tmp_path):
    """Start the command in a process of its own, in the folder of the test."""

    def start(*args, **env):
        return support.Command(*args, env=support.environment(server, **env), cwd=tmp_path)

    return start


def decided(out):
    """Return (row, decision, by) of every decision, by the ledger."""
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        return set(ledger.execute("SELECT id, decision, by FROM decisions JOIN rows USING (row)").fetchall())


def shown(path):
    """Return the same, by report.csv or decisions.csv."""
    return {(row["id"], row["decision"], row["decided_by"]) for row in support.table(path) if row["decision"]}


def assert_all_agree(out, expected):
    support.assert_ledger_sound(out)
    assert decided(out) == shown(out / "report.csv") == shown(out / "decisions.csv") == expected


def test_two_people_and_a_run_at_once_lose_nothing(server, texbatch, tmp_path):
    out = tmp_path / "out"
    support.write_csv(tmp_path / "pairs.csv", support.rows(60))
    with texbatch("run", "pairs.csv", "--out", "out", "-v", "--concurrency", "4") as run:
        assert run.hears("job.saved", 4), run.output
        saved = [line.partition("id=")[2].split()[0] for line in run.lines if "job.saved" in line][:2]
        both = [
            texbatch("mark", "out", "--accept", saved[0], "--as", "anna"),
            texbatch("mark", "out", "--reject", saved[1], "--as", "otto"),
        ]
        assert [person.end() for person in both] == [0, 0]
        assert run.running
        assert all("A run holds this folder" in person.output for person in both)
        expected = {(saved[0], "accepted", "anna"), (saved[1], "rejected", "otto")}
        assert decided(out) == expected
        status = texbatch("status", "out", "--json")
        assert (status.end(), '"accepted": 1' in status.output) == (0, True)
        assert run.end() == 0
    assert_all_agree(out, expected)
    people = [texbatch("mark", "out", "--accept", f"row-{50 + n}", "--as", by) for n, by in enumerate(PEOPLE)]
    assert [person.end() for person in people] == [0] * 4
    expected |= {(f"row-{50 + n}", "accepted", by) for n, by in enumerate(PEOPLE)}
    assert_all_agree(out, expected)
    assert server.stats(jobs=False)["accepted"] == 60


CUT = """
import os, signal, sys
from importlib import import_module
module, name, after = sys.argv[1], sys.argv[2], sys.argv[3] == "after"
place = import_module(module)
original = getattr(place, name)

def cut(*args, **options):
    if after:
        original(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(place, name, cut)
sys.argv[1:] = sys.argv[4:]
from batch.cli import main
main()
"""


@pytest.mark.parametrize(
    ("module", "name", "when", "there"),
    [
        ("batch.ledger.decisions", "append", "before", 0),
        ("batch.ledger.decisions", "append", "after", 0),  # not committed
        ("batch.maintenance.mark", "write_current", "before", 20),
        ("batch.output.report", "write_decisions", "after", 20),
        ("batch.ledger.decisions", "note_file", "after", 20),
        ("batch.ledger.decisions", "note_shown", "before", 20),
        ("batch.ledger.connection", "close_clean", "before", 20),
    ],
)
def test_a_kill_at_each_step_leaves_the_decision_whole_or_not_there(
    server, texbatch, tmp_path, module, name, when, there
):
    out, ids = tmp_path / "out", ",".join(f"row-{n}" for n in range(20))
    support.write_csv(tmp_path / "pairs.csv", support.rows(21))
    assert texbatch("run", "pairs.csv", "--out", "out").end() == 0
    words = ["mark", "out", "--accept", ids, "--as", "anna"]
    killed = subprocess.run(
        [sys.executable, "-c", CUT, module, name, when, *words], cwd=tmp_path, env=os.environ, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    support.assert_ledger_sound(out)
    assert len(decided(out)) == there
    # The next one shows both, and takes nothing for an edit of a person.
    other = texbatch("mark", "out", "--reject", "row-20", "--as", "otto")
    assert (other.end(), "was edited" in other.output) == (0, False)
    expected = {(f"row-{n}", "accepted", "anna") for n in range(there)} | {("row-20", "rejected", "otto")}
    assert_all_agree(out, expected)


def test_kills_at_any_moment_leave_a_whole_ledger(server, texbatch, tmp_path):
    out, dice = tmp_path / "out", random.Random(13)
    support.write_csv(tmp_path / "pairs.csv", support.rows(30))
    assert texbatch("run", "pairs.csv", "--out", "out").end() == 0
    for number in range(12):
        person = texbatch("mark", "out", "--accept", f"row-{number},row-{number + 12}", "--as", "anna")
        time.sleep(dice.uniform(0.1, 1.2))
        person.signal(signal.SIGKILL)
        support.assert_ledger_sound(out)
        rows = {row for row, *_ in decided(out)}
        assert (f"row-{number}" in rows) == (f"row-{number + 12}" in rows)
    last = texbatch("mark", "out", "--accept", "row-29", "--as", "otto")
    assert (last.end(), "was edited" in last.output) == (0, False)
    assert_all_agree(out, decided(out))
