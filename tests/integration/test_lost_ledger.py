"""A ledger that has lost its end, or is gone: it is noticed, nothing is paid twice, and there is a way on."""

import shutil
import signal
import sqlite3
from pathlib import Path

import pytest
import support
from support import by_id, go, rows, statuses, submits, write_csv

from batch import FolderError
from batch.core.errors import LedgerLost
from batch.ledger.ledger import Ledger
from batch.ledger.mark import MARK_FILE, Mark

ROWS = 12


@pytest.fixture
def manifest(tmp_path):
    """A manifest with a picture of our own in some rows, which is uploaded."""
    support.picture(tmp_path / "chair.png")
    lines = [line | ({"image_1": "chair.png"} if n % 3 == 0 else {}) for n, line in enumerate(rows(ROWS))]
    return write_csv(tmp_path / "pairs.csv", lines)


@pytest.fixture
def kill(api, tmp_path):
    """Kill a run when `number` rows are accepted, before any picture is there; the service finishes them."""

    def strike(manifest, number=ROWS, *args):
        api.settings(latency_s=1.5)
        command = support.Command(
            "run", manifest, "--out", "out", "-v", *args, env=support.environment(api), cwd=tmp_path
        )
        assert command.hears("job.accepted", number), command.output
        command.signal(signal.SIGKILL)
        api.settings(latency_s=0)

    return strike


def wal(out):
    return out / "ledger.sqlite-wal"


def lose_log(out):
    wal(out).unlink()
    (out / "ledger.sqlite-shm").unlink()


def lose_log_alone(out):
    wal(out).unlink()


def empty_log(out):
    wal(out).write_bytes(b"")


def cut_log(out):
    """Keep the first commit of the log only."""
    wal(out).write_bytes(wal(out).read_bytes()[: 32 + 2 * (24 + 4096)])


LOSSES = [lose_log, lose_log_alone, empty_log, cut_log]


@pytest.mark.quick(1)
@pytest.mark.parametrize("lose", LOSSES)
def test_a_ledger_that_lost_its_log_sends_nothing_and_is_reconciled_with_the_history(
    hosted, command, manifest, kill, out, lose
):
    kill(manifest)
    before = submits(hosted)
    lose(out)
    assert command("plan", manifest, "--out", out)[0] == 4
    files = {path.name: path.read_bytes() for path in out.glob("ledger.sqlite")}
    code, _, told = command("run", manifest, "--out", out)
    assert (code, "has lost what was written last" in told) == (4, True), told
    assert "ove it away" not in told
    assert {path.name: path.read_bytes() for path in out.glob("ledger.sqlite")} == files
    assert command("resolve", out, "--reconcile", "--settle", "0s")[0] == 0
    assert command("run", manifest, "--out", out, "--settle", "0s")[0] == 0
    assert (submits(hosted), before, statuses(out)) == (ROWS, ROWS, {"saved": ROWS})
    support.assert_pictures_belong(out, hosted.stats())
    support.assert_ledger_sound(out)
    assert support.summary(out)["spent_usd"] == pytest.approx(0.03 * ROWS)


@pytest.mark.slow
def test_the_same_command_again_asks_the_history_and_sends_what_never_arrived(
    api, manifest, kill, out, tmp_path
):
    """Half of the rows were sent when the run was killed; the others are sent once it is proven that they were not."""
    kill(manifest, 6, "--concurrency", "6")
    sent = submits(api)
    assert sent < ROWS
    lose_log(out)
    with pytest.raises(LedgerLost):
        go(api, manifest, out)
    assert submits(api) == sent
    end = go(api, manifest, out, settle_s=0.2)
    assert (end.plan.to_send, end.plan.unknown) == (0, ROWS)
    assert (end.exit_code, submits(api), statuses(out)) == (0, ROWS, {"saved": ROWS})
    assert support.accepted_twice(api.stats()) == []
    support.assert_pictures_belong(out, api.stats())
    assert go(api, manifest, out).exit_code == 0
    assert submits(api) == ROWS


def test_while_the_history_is_out_of_reach_nothing_is_sent(api, manifest, kill, out, waits):
    waits(history_tries=1)
    kill(manifest)
    lose_log(out)
    api.faults([{"call": "history", "action": "status", "text": "unavailable"}])
    with pytest.raises(LedgerLost):
        go(api, manifest, out)
    for _ in range(2):
        assert go(api, manifest, out, settle_s=0).exit_code == 4
        assert (submits(api), statuses(out)) == (ROWS, {"unknown": ROWS})
    assert by_id(out)["row-0"]["error_class"] == "lost_ledger"


@pytest.mark.slow
def test_a_log_that_is_put_back_is_gone_on_with(api, manifest, kill, out, tmp_path):
    kill(manifest)
    wal(out).rename(tmp_path / "log")
    with pytest.raises(LedgerLost):
        go(api, manifest, out)
    (tmp_path / "log").rename(wal(out))
    assert go(api, manifest, out).exit_code == 0
    assert submits(api) == ROWS
    assert support.events(out, "lose") == 0


@pytest.mark.quick(1)
@pytest.mark.parametrize("seed", ["", "-1"], ids=["seeds of the manifest", "drawn seeds"])
def test_an_old_copy_of_the_ledger_pays_for_nothing_again(api, tmp_path, out, seed):
    """Rows that the copy does not know are as suspect as those that it shows as planned."""
    lines = rows(8)
    if seed:
        lines = [line | {"seed": seed} for line in lines]
    go(api, write_csv(tmp_path / "pairs.csv", lines[:3]), out)
    shutil.copy(out / "ledger.sqlite", tmp_path / "copy")
    manifest = write_csv(tmp_path / "pairs.csv", lines)
    go(api, manifest, out)
    shutil.copy(tmp_path / "copy", out / "ledger.sqlite")
    with pytest.raises(LedgerLost):
        go(api, manifest, out)
    end = go(api, manifest, out, settle_s=0.1)
    assert submits(api) == 8
    if seed:  # which seed was drawn nobody knows any more
        assert (end.exit_code, statuses(out)) == (4, {"saved": 3, "unknown": 5})
    else:
        assert (end.exit_code, statuses(out)) == (0, {"saved": 8})
        support.assert_pictures_belong(out, api.stats())
    assert not list((out / "images").rglob("*.part"))


@pytest.mark.slow
def test_a_failed_row_that_the_lost_run_may_have_retried_is_not_sent_again_unproven(
    api, pairs, out, tmp_path
):
    manifest = pairs(3)
    api.settings(blocked_words=["oak 1"])
    assert go(api, manifest, out).exit_code == 1
    api.settings(blocked_words=[])
    shutil.copy(out / "ledger.sqlite", tmp_path / "copy")
    assert go(api, manifest, out, retry_failed=True).exit_code == 0
    shutil.copy(tmp_path / "copy", out / "ledger.sqlite")
    with pytest.raises(LedgerLost):
        go(api, manifest, out)
    assert go(api, manifest, out, settle_s=0).exit_code == 1  # it has failed, as far as this ledger knows
    assert go(api, manifest, out, retry_failed=True, settle_s=0).exit_code == 0
    assert submits(api) == 4


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("other", ["the lost run's", "a new one"])
def test_rows_of_another_manifest_are_suspect_as_long_as_they_are_not_proven_new(
    api, pairs, out, tmp_path, other
):
    """A copy of the ledger knows neither the second manifest nor the third; only one of them was ever sent."""
    first = pairs(2)
    go(api, first, out)
    shutil.copy(out / "ledger.sqlite", tmp_path / "copy")
    second = pairs(rows(2, first=10), name="second.csv")
    go(api, second, out)
    shutil.copy(tmp_path / "copy", out / "ledger.sqlite")
    with pytest.raises(LedgerLost):
        go(api, first, out)
    assert go(api, first, out, settle_s=0).exit_code == 0
    later = second if other == "the lost run's" else pairs(rows(2, first=20), name="third.csv")
    assert go(api, later, out, settle_s=0).exit_code == 0
    assert submits(api) == (4 if later == second else 6)
    assert support.accepted_twice(api.stats()) == []


@pytest.mark.slow
def test_rows_that_come_later_are_new_where_only_the_log_was_lost(api, manifest, kill, out, pairs):
    kill(manifest)
    lose_log(out)
    with pytest.raises(LedgerLost):
        go(api, manifest, out)
    assert go(api, manifest, out, settle_s=0).exit_code == 0
    api.faults([{"call": "history", "action": "status", "text": "unavailable"}])
    assert go(api, pairs(rows(2, first=50), name="later.csv"), out).exit_code == 0
    assert submits(api) == ROWS + 2


@pytest.mark.quick(1)
@pytest.mark.parametrize("left", ["report.csv", MARK_FILE, "ledger.sqlite-wal"])
def test_a_ledger_that_is_gone_is_not_made_anew(hosted, command, manifest, out, kill, left):
    if left == "ledger.sqlite-wal":
        kill(manifest)
    else:
        go(hosted, manifest, out)
    before = submits(hosted)
    for name in {"report.csv", "failures.csv", MARK_FILE} - {left}:
        (out / name).unlink(missing_ok=True)
    (out / "ledger.sqlite").unlink()
    for args in (("run", manifest, "--out", out), ("plan", manifest, "--out", out)):
        code, _, told = command(*args)
        assert (code, f"{left} shows that rows were sent" in told, "ove it away" in told) == (2, True, False)
    assert submits(hosted) == before
    assert not (out / "ledger.sqlite").exists()


@pytest.mark.slow
def test_pictures_alone_are_not_advised_to_be_moved_away(hosted, command, pairs, out):
    """Neither a mark nor a report is left: whose pictures these are is not known."""
    manifest = pairs(2)
    go(hosted, manifest, out)
    for name in ("ledger.sqlite", MARK_FILE, "report.csv", "failures.csv"):
        (out / name).unlink()
    code, _, told = command("run", manifest, "--out", out)
    assert (code, submits(hosted)) == (2, 2)
    assert "restore the ledger, or the row is paid for again" in told


@pytest.mark.slow
def test_a_kill_alone_is_no_loss_whatever_else_opens_the_ledger(api, manifest, kill, out):
    """Also where another program has put the log into the file, as any reader of SQLite does at its end."""
    kill(manifest)
    other = sqlite3.connect(out / "ledger.sqlite")
    other.execute("SELECT count(*) FROM jobs").fetchone()
    other.close()
    assert not wal(out).exists()
    assert go(api, manifest, out).exit_code == 0
    assert submits(api) == ROWS


@pytest.mark.slow
def test_a_folder_of_before_has_no_mark_and_gets_one(api, pairs, out):
    go(api, pairs(2), out)
    (out / MARK_FILE).unlink()
    assert go(api, pairs(3), out).exit_code == 0
    with Ledger.read(out / "ledger.sqlite") as ledger:
        last = ledger.connection.execute("SELECT max(seq) FROM events").fetchone()[0]
    assert Mark.read(out / "ledger.sqlite").seq == last
    assert submits(api) == 3


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("text", [b"", b"\0" * 48, b"garbage", b"\xff" * 60])
def test_a_mark_that_cannot_be_read_is_made_anew(api, pairs, out, text):
    go(api, pairs(2), out)
    (out / MARK_FILE).write_bytes(text)
    assert go(api, pairs(3), out).exit_code == 0
    assert Mark.read(out / "ledger.sqlite").seq > 8


@pytest.mark.slow
def test_a_mark_that_is_a_link_is_named(api, pairs, out, tmp_path):
    go(api, pairs(2), out)
    (out / MARK_FILE).unlink()
    (out / MARK_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match=MARK_FILE):
        go(api, pairs(3), out)
    assert (submits(api), Path(tmp_path / "elsewhere").exists()) == (2, False)


@pytest.mark.slow
def test_a_local_folder_loses_nothing_that_was_paid(tmp_path, out):
    support.picture(tmp_path / "chair.png", size=(64, 48))
    lines = [line | {"image_1": "chair.png", "image_2": "chair.png"} for line in rows(3)]
    manifest = write_csv(tmp_path / "pairs.csv", lines[:1])
    from batch import RunSettings, run  # noqa: PLC0415

    settings = RunSettings(out)
    assert run(manifest, settings).exit_code == 0
    shutil.copy(out / "ledger.sqlite", tmp_path / "copy")
    write_csv(manifest, lines)
    assert run(manifest, settings).exit_code == 0
    shutil.copy(tmp_path / "copy", out / "ledger.sqlite")
    for name in ("row-1.webp", "row-2.webp"):
        (out / "images" / name).unlink()
    assert run(manifest, settings).exit_code == 0
