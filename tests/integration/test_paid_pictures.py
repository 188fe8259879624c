"""Paid pictures long after their job: given up only when somebody said so, and found wherever they lie."""

import contextlib
import socket
import sqlite3

import pytest
import stamina
import support
from support import by_id, go, rows, statuses, submits

from batch import FolderError, RunSettings
from batch.local import LocalApi
from batch.remote.api import Api
from batch.results.aside import Aside
from batch.runner import run

pytestmark = pytest.mark.usefixtures("quick_polls", "hasty")

NOT_FOUND = {"action": "status", "text": "not_found"}
NO_PICTURE = {"call": "image", **NOT_FOUND}
NOT_LISTED = {"call": "history", **NOT_FOUND}
NO_RECORD = [{"call": "status", **NOT_FOUND}, {"call": "result", **NOT_FOUND}]
GONE = [NO_PICTURE, NOT_LISTED, *NO_RECORD]
"""What the service says of a job of long ago, when the file's seven days are over too."""


@pytest.fixture
def hasty(monkeypatch):
    """Let what is over an hour old be tried for a fraction of a second."""
    patient = stamina.retry_context
    short = {"wait_initial": 0.02, "wait_max": 0.05, "wait_jitter": 0.02}
    monkeypatch.setattr(stamina, "retry_context", lambda **asked: patient(**(asked | short)))
    monkeypatch.setattr("batch.arrival.LEAST_TRY_S", 0.1)
    monkeypatch.setattr("batch.remote.history.TRIES", 1)


@pytest.fixture
def nowhere():
    """The address of a host that takes no connection."""
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def sql(out, *texts):
    connection = sqlite3.connect(out / "ledger.sqlite")
    with contextlib.closing(connection), connection:
        for text in texts:
            connection.execute(text)


def grow_old(out):
    """Let every job be sent two hours ago."""
    sql(out, "UPDATE jobs SET submitted_at = submitted_at - 7200")


def killed_before_it_was_kept(out):
    """Let the folder be as a run leaves it that is killed when the jobs are completed, two hours ago."""
    grow_old(out)
    sql(
        out,
        "UPDATE jobs SET state='completed', sha256=NULL",
        "UPDATE rows SET kept_job=NULL, kept_output=NULL",
        "INSERT INTO events (job, attempt, event, state, at) SELECT job, 1, 'complete', 'completed', 1 FROM jobs",
    )
    for picture in (out / "images").iterdir():
        picture.unlink()


def deleted(out):
    """Let the saved pictures be gone from the folder, two hours after their jobs."""
    grow_old(out)
    for picture in (out / "images").iterdir():
        picture.unlink()


def calls(api):
    return api.stats(jobs=False)["calls"]


def assert_all_saved(api, out, count):
    """Each row has its own picture under its own name, and each was paid once."""
    stats = api.stats()
    assert (statuses(out), stats["accepted"]) == ({"saved": count}, count)
    support.assert_pictures_belong(out, stats)
    support.assert_ledger_sound(out)


# -- who has to answer before a paid picture is given up -----------------------------------------------------------------


def answers(call, action, **more):
    return {"call": call, "action": action, **more}


SETTLES_NOTHING = [
    pytest.param([NO_PICTURE, answers("history", "reset_before")], id="404, the history cuts"),
    pytest.param([NO_PICTURE, answers("history", "status", status=503)], id="404, the history 503"),
    pytest.param([NO_PICTURE, answers("history", "status", status=429)], id="404, the history 429"),
    pytest.param([NO_PICTURE, answers("history", "garbage")], id="404, the history HTML"),
    pytest.param([answers("image", "garbage"), answers("history", "status", status=500)], id="garbage, the history 500"),
    pytest.param([answers("image", "reset_before"), NOT_LISTED], id="RST, not listed"),
    pytest.param([answers("image", "truncated"), NOT_LISTED], id="cut, not listed"),
    pytest.param([answers("image", "status", status=503), NOT_LISTED], id="503, not listed"),
    pytest.param([answers("image", "status", status=500), NOT_LISTED], id="500, not listed"),
    pytest.param([answers("image", "status", status=429), NOT_LISTED], id="429, not listed"),
    pytest.param([answers("image", "status", status=503)], id="503, listed with the same URL"),
    pytest.param([answers("image", "fin_after"), answers("history", "fin_after")], id="both close"),
]  # fmt: skip
SETTLES = [
    pytest.param([NO_PICTURE, NOT_LISTED], id="404, not listed"),
    pytest.param([NO_PICTURE], id="404, listed with the same URL"),
    pytest.param([answers("image", "status", status=403), NOT_LISTED], id="403"),
    pytest.param([answers("image", "status", status=410), NOT_LISTED], id="410"),
    pytest.param([answers("image", "garbage"), NOT_LISTED], id="HTML"),
    pytest.param([answers("image", "empty"), NOT_LISTED], id="empty"),
]


@pytest.mark.parametrize("left", [killed_before_it_was_kept, deleted])
@pytest.mark.parametrize("faults", SETTLES_NOTHING)
def test_a_picture_that_nobody_denied_stays_paid_and_the_next_run_fetches_it(
    api, manifest, out, left, faults
):
    go(api, manifest, out)
    left(out)
    api.faults(faults)
    for _ in range(2):
        end = go(api, manifest, out, retry_failed=True)
        assert (end.exit_code, statuses(out), end.summary["spent_usd"]) == (7, {"pending": 4}, 0.12)
    api.faults([])
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 4)


@pytest.mark.parametrize("left", [killed_before_it_was_kept, deleted])
@pytest.mark.parametrize("faults", SETTLES)
def test_a_picture_that_its_host_and_the_history_deny_is_failed_with_its_cost(
    api, manifest, out, left, faults
):
    go(api, manifest, out)
    left(out)
    api.faults([{**fault, "prompt": "oak 1"} if fault["call"] == "image" else fault for fault in faults])
    assert (go(api, manifest, out).exit_code, statuses(out)) == (1, {"saved": 3, "failed": 1})
    row = by_id(out)["row-1"]
    assert (row["error_class"], row["cost"], submits(api)) == ("unusable_picture", "0.030000", 4)


def test_a_resume_without_a_network_loses_nothing(pairs, out, tmp_path):
    manifest = pairs(3)
    with LocalApi(**support.QUICK) as api:
        go(api, manifest, out)
        service = support.service_of(api)
    killed_before_it_was_kept(out)
    end = run(manifest, RunSettings(out, retry_failed=True), service)
    assert (end.exit_code, statuses(out), end.summary["spent_usd"]) == (7, {"pending": 3}, 0.09)


def test_a_host_that_takes_no_connection_settles_nothing_but_the_history_may_know_a_better_one(
    api, manifest, out, nowhere
):
    go(api, manifest, out)
    killed_before_it_was_kept(out)
    sql(out, f"UPDATE jobs SET output_url = '{nowhere}/row.webp'")
    api.faults([NOT_LISTED])
    assert (go(api, manifest, out).exit_code, statuses(out)) == (7, {"pending": 4})
    api.faults([])
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 4)


def test_a_picture_that_is_too_large_is_denied_by_its_size(api, pairs, out, monkeypatch):
    manifest = pairs(1)
    go(api, manifest, out)
    killed_before_it_was_kept(out)
    monkeypatch.setitem(Api.download.__kwdefaults__, "limit", 100)
    assert (go(api, manifest, out).exit_code, statuses(out)) == (1, {"failed": 1})
    assert "the answer is over 100 bytes" in by_id(out)["row-0"]["error"]


def test_a_person_is_told_what_to_do(hosted, command, manifest, out):
    assert command("run", manifest, "--out", out)[0] == 0
    deleted(out)
    hosted.faults([answers("image", "status", status=503)])
    code, _, told = command("run", manifest, "--out", out)
    assert code == 7
    assert "4 paid pictures were not fetched (the picture's URL answers HTTP 503)." in told
    assert (
        "The next run fetches what is left, at no cost; the service keeps the files for seven days." in told
    )
    assert "to be fetched: run the same command again." in told
    hosted.faults([])
    code, _, told = command("run", manifest, "--out", out)
    assert (code, "not fetched" in told, submits(hosted)) == (0, False, 4)


def test_within_its_hour_a_picture_is_left_to_the_next_run_whatever_is_said(api, manifest, out):
    api.faults(GONE[:2])
    assert (go(api, manifest, out, job_timeout_s=0.3).exit_code, statuses(out)) == (7, {"pending": 4})
    api.faults([])
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 4)


# -- the picture in the result itself --------------------------------------------------------------------------------


def test_a_result_that_is_no_picture_is_read_once_and_asked_for_again_by_the_next_run(
    api, pairs, out, monkeypatch
):
    """The same text gives the same bytes: it holds no slot until the job's timeout."""
    from batch.results import keep  # noqa: PLC0415

    read, from_base64 = [], keep.from_base64
    monkeypatch.setattr(keep, "from_base64", lambda text: read.append(text) or from_base64(text))
    body = {"status": "COMPLETED", "output": "iVBOnotapicture", "metrics": {"cost": 0.03}}
    api.faults([answers("result", "status", status=200, body=body)])
    manifest = pairs(rows(1, base64="true"))
    assert (go(api, manifest, out, job_timeout_s=600).exit_code, statuses(out)) == (7, {"pending": 1})
    assert read == ["iVBOnotapicture"]
    api.faults([])
    assert go(api, manifest, out).exit_code == 0
    assert submits(api) == 1


# -- pictures that lie elsewhere ----------------------------------------------------------------------------------------


@pytest.fixture
def searches(monkeypatch):
    """Count how often images/.previous/ is read."""
    seen, search = [], Aside.search
    monkeypatch.setattr(Aside, "search", lambda *args, **more: seen.append(1) or search(*args, **more))
    return seen


def rotated(lines, by):
    """Return the rows with their ids handed on: row n gets the id of row n - by."""
    ids = support.ids(lines)
    return [line | {"id": ids[(n - by) % len(ids)]} for n, line in enumerate(lines)]


@pytest.mark.parametrize("concurrency", [None, 1, 3])
@pytest.mark.parametrize("by", [1, -1, 5])
def test_rows_that_exchange_their_ids_keep_their_pictures_at_no_cost(
    api, pairs, out, searches, by, concurrency
):
    """Each takes another's name, whichever is first; the service has long forgotten them all."""
    lines = rows(12)
    settings = {} if concurrency is None else {"concurrency": concurrency}
    go(api, pairs(lines), out)
    grow_old(out)
    api.faults(GONE)
    before = calls(api)
    for turn in range(1, 4):
        searches.clear()
        end = go(api, pairs(rotated(lines, by * turn)), out, **settings)
        assert (end.exit_code, end.plan.done, end.plan.to_send) == (0, 12, 0)
        assert_all_saved(api, out, 12)
        assert len(searches) <= 1
    assert calls(api) == before


def test_two_rows_that_swap_their_ids_keep_their_pictures(api, pairs, out):
    lines = rows(2)
    go(api, pairs(lines), out)
    grow_old(out)
    api.faults(GONE)
    for turn in (1, 0):
        assert go(api, pairs(rotated(lines, turn)), out).exit_code == 0
        assert_all_saved(api, out, 2)


def test_a_row_at_the_top_of_numbered_rows_costs_itself_alone(api, pairs, out):
    lines = rows(12)
    go(api, pairs(lines), out)
    grow_old(out)
    api.faults([{**NO_PICTURE, "prompt": "oak"}])
    (new,) = rows(1, first=12, prompt="walnut")
    shifted = [line | {"id": f"row-{n}"} for n, line in enumerate([new, *lines])]
    end = go(api, pairs(shifted), out, yes=True)
    assert (end.exit_code, end.plan.to_send) == (0, 1)
    assert_all_saved(api, out, 13)


@pytest.mark.parametrize("by", [1, -1])
def test_an_exchange_that_is_cut_short_is_finished_by_the_next_run(api, pairs, out, monkeypatch, by):
    """The disk is full at the fifth picture: what was moved aside by then is found by its hash."""
    from batch.results import keep  # noqa: PLC0415

    lines, written, write_whole = rows(12), [], keep.write_whole

    def no_room(path, *args):
        if path.suffix == ".webp":
            written.append(path)
            if len(written) > 4:
                raise OSError(28, "No space left on device")
        write_whole(path, *args)

    go(api, pairs(lines), out)
    grow_old(out)
    api.faults(GONE)
    manifest = pairs(rotated(lines, by))
    with monkeypatch.context() as patch:
        patch.setattr(keep, "write_whole", no_room)
        with pytest.raises(FolderError, match="No space left"):
            go(api, manifest, out)
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 12)


def test_a_run_that_misses_nothing_searches_nothing(api, pairs, out, searches):
    lines = rows(4)
    go(api, pairs(lines), out)
    go(api, pairs(lines), out)
    lines[1]["prompt"] = "walnut"
    assert go(api, pairs(lines), out, yes=True).exit_code == 0
    lines[1]["prompt"] = "oak 1"
    assert go(api, pairs(lines), out).exit_code == 0
    assert (searches, submits(api)) == ([], 5)


@pytest.mark.parametrize("by", [0, 1, -1], ids=["the same ids", "ids handed on", "ids handed back"])
def test_pictures_that_were_not_mounted_are_found_when_they_are(api, pairs, out, by):
    """One run saw no images/ and no network; the next sees both, but the service has the files no longer."""
    lines = rows(6)
    go(api, pairs(lines), out)
    grow_old(out)
    (out / "images").rename(out / "elsewhere")
    api.faults([answers("image", "reset_before"), answers("history", "reset_before")])
    manifest = pairs(rotated(lines, by))
    assert (go(api, manifest, out).exit_code, statuses(out)) == (7, {"pending": 6})
    (out / "elsewhere").rename(out / "images")
    api.faults(GONE)
    before = calls(api)
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 6)
    assert calls(api) == before
