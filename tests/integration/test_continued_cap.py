"""A cap over runs that did not come to an end of their own: what they spent counts against the next one's."""

import errno
import os
import signal
import sqlite3

import pytest
import support
from support import go, submits

from batch import FolderError, RunHooks
from batch.ledger import connection as opening

PRICE = 30_000
CAP = {"max_cost": 5 * PRICE, "price": PRICE}


class Killed(BaseException):
    """As if the process had died: nothing that follows is done."""


def die(*_, **__):
    raise Killed


MOMENTS = [
    "batch.output.report.write_report",
    "batch.output.report.atomic_write",
    "batch.execution.runner.write_sheet",
    "batch.execution.runner.exit_code",
]


@pytest.mark.quick(1)
@pytest.mark.parametrize("moment", MOMENTS)
def test_runs_that_are_killed_at_their_end_share_one_cap(api, pairs, out, monkeypatch, moment):
    """Four times, as a schedule would: $0.15, not $0.60."""
    manifest = pairs(30)
    with monkeypatch.context() as dying:
        dying.setattr(moment, die)
        for _ in range(4):
            with pytest.raises(Killed):
                go(api, manifest, out, **CAP)
    assert submits(api) == 5
    assert go(api, manifest, out, **CAP).exit_code == 8  # this one ends by itself …
    assert submits(api) == 5
    assert go(api, manifest, out, **CAP).exit_code == 8  # … and so the next has a cap of its own
    assert submits(api) == 10


@pytest.mark.slow
def test_a_run_that_is_killed_for_real_is_continued(api, pairs, out, tmp_path):
    """Killed with two in flight, then between its plan and its first submit, then stopped by a signal."""
    manifest = pairs(30)
    options = ("--max-cost", "0.15", "--price", "0.03", "--concurrency", "2", "-v")
    for number, wanted in ((signal.SIGKILL, 2), (signal.SIGTERM, 1)):
        api.settings(latency_s=0.5)
        command = support.Command(
            "run", manifest, "--out", out, *options, env=support.environment(api), cwd=tmp_path
        )
        assert command.hears("job.accepted", wanted), command.output
        command.signal(number)
        api.settings(latency_s=0)
    with pytest.raises(Killed):
        go(api, manifest, out, listener=RunHooks(planned=die), **CAP)
    assert go(api, manifest, out, **CAP).exit_code == 8
    assert submits(api) == 5
    assert api.stats(jobs=False)["billed_micro_usd"] == 5 * PRICE


@pytest.mark.slow
def test_a_run_whose_report_cannot_be_written_is_continued(api, pairs, out, monkeypatch):
    manifest = pairs(30)

    def no_room(*_, **__):
        raise FolderError(os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr("batch.output.report.write_report", no_room)
        for _ in range(2):
            with pytest.raises(FolderError) as stopped:
                go(api, manifest, out, **CAP)
            assert stopped.value.exit_code == 3
    assert submits(api) == 5
    assert go(api, manifest, out, **CAP).exit_code == 8
    assert submits(api) == 5


def test_an_internal_error_is_continued(api, pairs, out, monkeypatch):
    manifest = pairs(30)
    with monkeypatch.context() as broken:
        broken.setattr("batch.output.report.summary", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            go(api, manifest, out, **CAP)
    assert go(api, manifest, out, **CAP).exit_code == 8
    assert submits(api) == 5


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("next_cap", "more"), [(7, 2), (3, 0), (5, 0)], ids=["raised", "lowered", "the same"]
)
def test_the_next_runs_cap_counts_from_where_the_interrupted_one_began(
    api, pairs, out, monkeypatch, next_cap, more
):
    manifest = pairs(30)
    go(api, manifest, out, only=("row-29",), price=PRICE)  # ended by itself: not in any cap
    with monkeypatch.context() as dying:
        dying.setattr("batch.execution.runner.write_sheet", die)
        with pytest.raises(Killed):
            go(api, manifest, out, **CAP)
    assert go(api, manifest, out, max_cost=next_cap * PRICE).exit_code == 8
    assert submits(api) == 1 + 5 + more


@pytest.mark.slow
def test_a_retry_continues_the_cap_of_the_run_before(api, pairs, out, monkeypatch):
    manifest = pairs(30)
    api.settings(blocked_words=["oak 0"])
    with monkeypatch.context() as dying:
        dying.setattr("batch.execution.runner.write_sheet", die)
        with pytest.raises(Killed):
            go(api, manifest, out, **CAP)
    api.settings(blocked_words=[])
    billed = api.stats(jobs=False)["billed_micro_usd"]
    assert go(api, out / "failures.csv", out, retry_failed=True, **CAP).exit_code == 0
    assert go(api, manifest, out, **CAP).exit_code == 8
    assert (
        api.stats(jobs=False)["billed_micro_usd"] == billed + PRICE + 5 * PRICE
    )  # the retry ended by itself
    assert billed + PRICE <= 5 * PRICE


@pytest.mark.parametrize(
    ("code", "by_itself"),
    [*((code, 1) for code in (0, 1, 3, 4, 7, 8)), (130, 0), (143, 0), (None, 0)],
)
def test_a_run_of_a_folder_of_before_ended_by_itself_where_its_exit_code_says_so(code, by_itself):
    connection = sqlite3.connect(":memory:")
    connection.executescript(opening._script("schema.sql"))
    connection.execute("INSERT INTO runs (run_id, pid, started_at, exit_code) VALUES ('r', 1, 1, ?)", (code,))
    connection.executescript(opening._script("by_itself.sql"))
    assert connection.execute("SELECT by_itself FROM runs").fetchone() == (by_itself,)
    connection.close()
