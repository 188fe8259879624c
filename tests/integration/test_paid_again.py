"""The same work is paid for once: a second time needs a person at a terminal, or --yes on the command line."""

import os
import re
import sqlite3
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest
import support
from support import by_id, go, rows, statuses, submits

from batch import ManifestError
from batch.planning.planner import preview

JOBS = Path(__file__).parents[2] / "jobs"
pytestmark = pytest.mark.usefixtures("quick_polls")


def sql(out, statement, *values):
    with closing(sqlite3.connect(out / "ledger.sqlite")) as connection, connection:
        return connection.execute(statement, values).fetchall()


def lose(out, row_id, state):
    """Let a saved row's job end as one that was paid for and gave no image: expired, or failed with its cost."""
    error = {"expired": "expired", "failed": "unusable_picture"}[state]
    sql(
        out,
        "UPDATE jobs SET state=?, error_class=?, error='gone' WHERE job = (SELECT job FROM rows WHERE id=?)",
        state, error, row_id,
    )  # fmt: skip
    sql(out, "UPDATE rows SET kept_job=NULL, kept_output=NULL WHERE id=?", row_id)
    (out / "images" / f"{row_id}.webp").unlink()


@pytest.fixture
def mixed(hosted, command, pairs, out):
    """Make a folder of five rows: saved, expired, paid and unusable, blocked by the service (unbilled), new."""
    hosted.settings(blocked_words=["oak 3"])
    lines = rows(5)
    assert go(hosted, pairs(lines[:4]), out).exit_code == 1
    lose(out, "row-1", "expired")
    lose(out, "row-2", "failed")
    hosted.settings(blocked_words=[], history_lag_s=1e9)  # a history that knew them would bring them back
    assert command("report", out)[0] == 0  # failures.csv names them
    return pairs(lines)


@pytest.fixture
def job(tmp_path):
    """Write a job file of that manifest and folder, with a yes in it."""

    def write(manifest, out, **options):
        lines = [
            f"{name}: {value}" for name, value in ({"yes": "true", "retry-failed": "true"} | options).items()
        ]
        path = tmp_path / "job.yaml"
        path.write_text("\n".join([f"manifest: {manifest}", f"out: {out}", *lines, ""]))
        return path

    return write


LEFT_OUT = "left out, would be paid again: row-1 (expired, paid), row-2 (failed, paid), for about $0.06; add --yes on"


# -- who may say yes --------------------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("way", ["nobody", "environment", "job file", "jobs/retry.yaml"])
def test_a_yes_that_was_written_down_covers_no_second_payment(
    hosted, command, mixed, out, job, monkeypatch, way
):
    if way == "environment":
        monkeypatch.setenv("TEXBATCH_YES", "1")
    if way == "job file":
        code, _, told = command("run", job(mixed, out))
    elif way == "jobs/retry.yaml":
        monkeypatch.setenv("CATALOG", str(mixed))
        monkeypatch.setenv("CATALOG_OUT", str(out))
        code, _, told = command("run", JOBS / "retry.yaml")
    else:
        code, _, told = command("run", mixed, "--out", out, "--retry-failed")
    assert (code, submits(hosted)) == (1, 4 + 2), told
    assert LEFT_OUT in told
    states = {row_id: row["status"] for row_id, row in by_id(out).items()}
    assert states == {
        "row-0": "saved",
        "row-1": "expired",
        "row-2": "failed",
        "row-3": "saved",
        "row-4": "saved",
    }


@pytest.mark.quick(1)
@pytest.mark.parametrize("where", ["run", "job file", "retry"])
def test_a_yes_that_is_typed_does(hosted, command, mixed, out, job, where):
    words = {"run": ["run", mixed, "--out", out, "--retry-failed"], "job file": ["run", job(mixed, out)],
             "retry": ["retry", out]}[where]  # fmt: skip
    assert command(*words, "--yes")[0] == 0
    assert submits(hosted) == 4 + 3 + (where != "retry")  # row-4 is not in the folder yet
    assert statuses(out)["saved"] == len(by_id(out))


@pytest.mark.slow
def test_a_retry_leaves_them_out_too(hosted, command, mixed, out):
    code, _, told = command("retry", out)
    assert (code, submits(hosted)) == (1, 4 + 1)
    assert LEFT_OUT in told
    assert command("retry", out, "--status", "expired")[0] == 1
    assert command("retry", out, "--only", "row-2")[0] == 1
    assert submits(hosted) == 4 + 1


@pytest.mark.slow
def test_what_was_unbilled_is_retried_without_a_word(hosted, command, mixed, out):
    code, _, told = command("retry", out, "--only", "row-3")
    assert (code, submits(hosted), "left out" in told) == (0, 4 + 1, False)


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "code", "sent"), [("y\n", 0, 3), ("n\n", 1, 1)], ids=["yes", "no"])
def test_a_person_is_asked_for_the_same_work(hosted, mixed, out, answer, code, sent):
    with support.on_a_terminal("retry", out, "--progress", "none", env=support.environment(hosted)) as (
        process,
        terminal,
    ):
        told = support.seen_on(terminal, lambda text: "[y/N]" in text)
        assert "2 rows would be paid for again, for the same work. Pay, about $0.06?" in " ".join(
            told.split()
        )
        while process.poll() is None:
            os.write(terminal, answer.encode())
            told += support.seen_on(terminal, patience_s=1.0)
            with suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
    assert (process.returncode, submits(hosted)) == (code, 4 + sent), told


@pytest.mark.slow
def test_an_edited_row_whose_job_was_paid_is_changed_also_in_failures_csv(
    hosted, command, mixed, out, monkeypatch
):
    failures = out / "failures.csv"
    assert command("retry", out, "--only", "row-3")[0] == 0
    failures.write_text(failures.read_text().replace("oak 1", "walnut"))
    code, _, told = command("retry", out)
    assert (code, "row-1" in told, "has changed since" in told, submits(hosted)) == (2, True, True, 5)
    monkeypatch.setenv("TEXBATCH_YES", "1")  # a person edited row-1, nobody row-2
    code, _, told = command("retry", out)
    assert (code, submits(hosted)) == (1, 6)
    assert "left out, would be paid again: row-2 (failed, paid), for about $0.03" in told


@pytest.mark.slow
def test_a_redo_is_no_edit(hosted, command, pairs, out, monkeypatch):
    assert command("run", pairs(2), "--out", out)[0] == 0
    monkeypatch.setenv("TEXBATCH_YES", "1")
    assert command("retry", out, "--only", "row-0", "--seed", "+1")[0] == 2
    assert submits(hosted) == 2
    assert command("retry", out, "--only", "row-0", "--seed", "+1", "--yes")[0] == 0
    assert submits(hosted) == 3


@pytest.mark.slow
def test_a_row_edited_while_others_were_chosen_is_still_asked_for(hosted, command, pairs, out):
    """What --only leaves out keeps what was paid for: it must not slip in as new the next time."""
    lines = rows(3)
    assert command("run", pairs(lines), "--out", out)[0] == 0
    lines[0]["prompt"] = lines[1]["prompt"] = "walnut"
    assert command("run", pairs(lines), "--out", out, "--only", "row-1", "--yes")[0] == 0
    assert (submits(hosted), by_id(out)["row-0"]["prompt"]) == (4, "oak 0")
    code, _, told = command("run", pairs(lines), "--out", out)
    assert (code, "row-0 (row 2)" in told, submits(hosted)) == (2, True, 4)
    assert command("run", pairs(lines), "--out", out, "--yes")[0] == 0
    assert (submits(hosted), by_id(out)["row-0"]["prompt"]) == (5, "walnut")


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "options", [["--retry-failed"], ["--retry-failed", "--yes"], ["--only", "row-1,row-4"], []]
)
def test_the_plan_is_what_the_run_does(hosted, command, mixed, out, options):
    told = command("run", mixed, "--out", out, *options, "-n")[1]
    if "--yes" not in options:
        assert command("plan", mixed, "--out", out, *options)[1] == told
    before = submits(hosted)
    command("run", mixed, "--out", out, *options)
    assert re.search(r"(\d+) jobs? to send", told)[1] == str(submits(hosted) - before)


# -- inputs that have gone --------------------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path):
    """Write four rows of local images beside them, two without ids and one with any seed; gives the lines."""
    for name, colour in {"chair": "tan", "mug": "navy", "oak": "peru"}.items():
        support.picture(tmp_path / "in" / f"{name}.png", colour)
    lines = [line | {"image_1": "in/chair.png", "image_2": "in/oak.png"} for line in rows(4)]
    lines[1] |= {"id": "", "image_1": "in/mug.png"}
    lines[2] |= {"id": "", "seed": -1}
    return lines


def delete(folder):
    for name in ("chair", "mug", "oak"):
        (folder / f"{name}.png").unlink()


def unmount(folder):
    folder.rename(folder.with_name("elsewhere"))


def lock(folder):
    (folder / "oak.png").unlink()
    (folder / "oak.png").symlink_to("oak.png")  # a loop: no user, root included, can read it


def cut_the_link(folder):
    (folder / "oak.png").rename(folder / "real.png")
    (folder / "oak.png").symlink_to(folder / "nowhere.png")


@pytest.mark.quick(1)
@pytest.mark.parametrize("go_away", [delete, unmount, lock, cut_the_link])
def test_saved_rows_do_not_need_their_inputs(hosted, command, pairs, out, local, tmp_path, go_away):
    assert command("run", pairs(local), "--out", out)[0] == 0
    before = support.report(out)
    go_away(tmp_path / "in")
    for command_line in (["plan"], ["run"], ["run"]):
        code, _, warned = command(*command_line, pairs(local), "--out", out)
        assert (code, submits(hosted)) == (0, 4), warned
        assert warned.count("images that are gone or cannot be read") == 1
        assert "4 rows" in warned
    assert "0 jobs to send" in command("plan", pairs(local), "--out", out)[1]
    assert support.report(out) == before


def test_a_row_to_be_sent_needs_its_input(hosted, command, pairs, out, local, tmp_path):
    assert command("run", pairs(local[:2]), "--out", out)[0] == 0
    (tmp_path / "in" / "chair.png").unlink()
    code, _, told = command("run", pairs(local), "--out", out)
    assert (code, submits(hosted)) == (2, 2)
    assert told.count("in/chair.png does not exist") == 2  # rows 3 and 4; row 1 is saved
    local[0]["prompt"] = "walnut"  # edited: to be sent
    code, _, told = command("run", pairs(local[:1]), "--out", out, "--yes")
    assert (code, submits(hosted), "in/chair.png does not exist" in told) == (2, 2, True)


def test_a_replaced_input_is_changed_work(hosted, command, pairs, out, local, tmp_path):
    assert command("run", pairs(local), "--out", out)[0] == 0
    support.picture(tmp_path / "in" / "mug.png", "green")
    code, _, told = command("run", pairs(local), "--out", out)
    assert (code, "has changed since" in told, submits(hosted)) == (2, True, 4)


@pytest.mark.quick(1)
@pytest.mark.parametrize("yes", [[], ["--yes"]], ids=["", "yes"])
def test_an_expired_row_needs_its_input_only_to_be_sent_again(
    hosted, command, pairs, out, local, tmp_path, yes
):
    assert command("run", pairs(local), "--out", out)[0] == 0
    lose(out, "row-0", "expired")
    hosted.settings(history_lag_s=1e9)
    (tmp_path / "in" / "chair.png").unlink()
    assert command("run", pairs(local), "--out", out)[0] == 1
    code, _, told = command("run", pairs(local), "--out", out, "--retry-failed", *yes)
    assert (code, submits(hosted)) == ((2 if yes else 1), 4), told


@pytest.mark.slow
def test_a_file_that_had_two_contents_is_known_by_the_row(hosted, command, pairs, out, local, tmp_path):
    """row-0 was paid for with the first chair and stays; row-9 with the second: then the file goes."""
    assert command("run", pairs(local[:1]), "--out", out)[0] == 0
    support.picture(tmp_path / "in" / "chair.png", "green")
    both = [*local[:1], local[0] | {"id": "row-9"}]
    assert command("run", pairs(both), "--out", out, "--only", "row-9")[0] == 0
    (tmp_path / "in" / "chair.png").unlink()
    code, _, told = command("run", pairs(both), "--out", out)
    assert (code, submits(hosted)) == (0, 2), told
    assert statuses(out) == {"saved": 2}


def test_the_library_says_which_input_is_missing(api, pairs, out, local, tmp_path):
    go(api, pairs(local[:1]), out)
    (tmp_path / "in" / "chair.png").unlink()
    with pytest.raises(ManifestError, match=r"in/chair\.png does not exist"):
        go(api, pairs(local), out)
    plan, found, _ = preview(pairs(local[:1]), support.RunSettings(out))
    assert (plan.done, plan.to_send, len(found.warnings)) == (1, 0, 1)
