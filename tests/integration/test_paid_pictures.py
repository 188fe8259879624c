"""Paid pictures long after their job: given up only when somebody said so, and found wherever they lie."""

import contextlib
import socket
import time

import pytest
import support
from support import by_id, go, rows, sql, statuses, submits

from batch import FolderError, RunHooks, RunSettings
from batch.client.http import HttpClient
from batch.core.config import Backoff
from batch.execution.runner import run
from batch.output.previous import PreviousVersions
from batch.server import LocalApi

pytestmark = pytest.mark.usefixtures("quick_polls", "hasty")

NOT_FOUND = {"action": "status", "text": "not_found"}
NO_PICTURE = {"call": "image", **NOT_FOUND}
NOT_LISTED = {"call": "history", **NOT_FOUND}
NO_RECORD = [{"call": "status", **NOT_FOUND}, {"call": "result", **NOT_FOUND}]
GONE = [NO_PICTURE, NOT_LISTED, *NO_RECORD]
"""What the service says of a job of long ago, when the file's seven days are over too."""


@pytest.fixture
def hasty(waits):
    """Let what is over an hour old be tried for a fraction of a second."""
    waits(
        retry=Backoff(0.03, 0.05, least=0.5),
        no_answer=Backoff(0.02, 0.05, least=0.5),
        image_s=0.1,
        history_tries=1,
    )


@pytest.fixture
def nowhere():
    """The address of a host that takes no connection."""
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


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


@pytest.mark.quick(1)
@pytest.mark.parametrize("faults", SETTLES_NOTHING)
def test_a_picture_that_nobody_denied_stays_paid_and_the_next_run_fetches_it(api, manifest, out, faults):
    go(api, manifest, out)
    killed_before_it_was_kept(out)
    api.faults(faults)
    for _ in range(2):
        end = go(api, manifest, out, retry_failed=True)
        assert (end.exit_code, statuses(out), end.summary["spent_usd"]) == (7, {"pending": 4}, 0.12)
    api.faults([])
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 4)


@pytest.mark.quick(1)
@pytest.mark.parametrize("faults", SETTLES)
def test_a_picture_that_its_host_and_the_history_deny_is_failed_with_its_cost(api, manifest, out, faults):
    go(api, manifest, out)
    killed_before_it_was_kept(out)
    api.faults([{**fault, "prompt": "oak 1"} if fault["call"] == "image" else fault for fault in faults])
    assert (go(api, manifest, out).exit_code, statuses(out)) == (1, {"saved": 3, "failed": 1})
    row = by_id(out)["row-1"]
    assert (row["error_class"], row["cost"], submits(api)) == ("unusable_picture", "0.030000", 4)


@pytest.mark.slow
def test_a_resume_without_a_network_loses_nothing(pairs, out, tmp_path):
    manifest = pairs(3)
    with LocalApi(**support.QUICK) as api:
        go(api, manifest, out)
        service = support.service_of(api)
    killed_before_it_was_kept(out)
    end = run(manifest, RunSettings(out, retry_failed=True), service)
    assert (end.exit_code, statuses(out), end.summary["spent_usd"]) == (7, {"pending": 3}, 0.09)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_picture_that_is_too_large_is_denied_by_its_size(api, pairs, out, monkeypatch):
    manifest = pairs(1)
    go(api, manifest, out)
    killed_before_it_was_kept(out)
    monkeypatch.setitem(HttpClient.download.__kwdefaults__, "limit", 100)
    assert (go(api, manifest, out).exit_code, statuses(out)) == (1, {"failed": 1})
    assert "the answer is over 100 bytes" in by_id(out)["row-0"]["error"]


@pytest.mark.slow
def test_a_person_is_told_what_to_do(hosted, command, manifest, out):
    assert command("run", manifest, "--out", out)[0] == 0
    killed_before_it_was_kept(out)
    hosted.faults([answers("image", "status", status=503)])
    code, _, told = command("run", manifest, "--out", out)
    assert code == 7
    assert "4 paid images were not fetched (the image's URL answers HTTP 503)." in told
    assert (
        "The next run fetches what is left, at no cost; the service keeps the files for seven days." in told
    )
    assert "to be fetched: run the same command again." in told
    hosted.faults([])
    code, _, told = command("run", manifest, "--out", out)
    assert (code, "not fetched" in told, submits(hosted)) == (0, False, 4)


@pytest.mark.slow
def test_within_its_hour_a_picture_is_left_to_the_next_run_whatever_is_said(api, manifest, out):
    api.faults(GONE[:2])
    assert (go(api, manifest, out, job_timeout_s=0.3).exit_code, statuses(out)) == (1, {"pending": 4})
    api.faults([])
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 4)


def wrong_url(api, **more):
    """Let the service's result name a file that is not there; the history has the right one."""
    url = f"{api.base_url}/files/outputs/gone.webp"
    return {"call": "result", "action": "status", "status": 200, **more,
            "body": {"status": "COMPLETED", "output": url, "metrics": {"cost": 0.03}}}  # fmt: skip


def test_a_denied_url_is_asked_for_in_the_history_at_once(api, manifest, out, waits):
    waits(no_answer=Backoff(600.0, 600.0, least=1.0))  # no second try
    api.faults([wrong_url(api)])
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 4)
    assert (calls(api)["image"], calls(api)["history"]) == (8, 4)


EARLY = {"404": NO_PICTURE, "403": answers("image", "status", status=403), "HTML": answers("image", "garbage"),
         "nothing": answers("image", "empty")}  # fmt: skip


@pytest.mark.quick(1)
@pytest.mark.parametrize("early", EARLY)
def test_an_image_that_is_not_there_yet_is_asked_for_until_it_is(api, manifest, out, early):
    api.faults([EARLY[early] | {"first": 10}])
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 4)
    assert calls(api)["image"] == 14


@pytest.mark.slow
def test_images_that_come_as_late_as_their_history_are_not_lost(api, manifest, out):
    """Neither their host nor the history has them at first; a row of the history can land late."""
    api.faults([NO_PICTURE | {"first": 12}, NOT_LISTED | {"first": 8}])
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 4)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("faults", "code", "error_class"),
    [
        pytest.param([NO_PICTURE], 1, "no_image", id="404"),
        pytest.param([NO_PICTURE, NOT_LISTED], 1, "no_image", id="404, not listed"),
        pytest.param([answers("image", "garbage")], 1, "no_image", id="HTML"),
        pytest.param([NO_PICTURE, answers("history", "status", status=503)], 7, "not_fetched", id="404, 503"),
        pytest.param([answers("image", "status", status=503)], 7, "not_fetched", id="503"),
    ],
)
def test_images_that_do_not_come_are_spoken_of_soon_and_stay_pending(
    hosted, command, manifest, out, waits, faults, code, error_class
):
    waits(image_late_s=0.1)
    hosted.faults(faults)
    ended, _, told = command("run", manifest, "--out", out, "--job-timeout", "1s")
    assert (ended, told.count("Finished images do not come: ")) == (code, 1)
    assert "Their host and the history are asked again until they do" in told
    assert statuses(out) == {"pending": 4}
    row = by_id(out)["row-1"]
    assert (row["error_class"], row["cost"]) == (error_class, "0.030000")
    hosted.faults([])
    assert command("run", manifest, "--out", out)[0] == 0
    assert_all_saved(hosted, out, 4)
    assert by_id(out)["row-1"]["error_class"] == ""


@pytest.mark.slow
def test_images_that_come_in_good_time_are_not_spoken_of(hosted, command, manifest, out):
    hosted.faults([NO_PICTURE | {"first": 6}])
    code, _, told = command("run", manifest, "--out", out)
    assert (code, "Finished images do not come" in told) == (0, False)


# -- when the record's hour is over --------------------------------------------------------------------------------------


SILENT = answers("status", "status", status=503)
"""Jobs are accepted and run, and nothing is heard of them."""

OUT_OF_REACH = {
    "503": answers("history", "status", status=503),
    "429": answers("history", "status", status=429),
    "401": answers("history", "status", text="wrong_key"),
    "RST": answers("history", "reset_before"),
    "HTML": answers("history", "garbage"),
    "cut": answers("history", "truncated"),
}


def in_flight_for_two_hours(api, manifest, out):
    """Let a run end while its jobs are at work, two hours ago; the service has forgotten their records since."""
    api.faults([SILENT])
    assert go(api, manifest, out, job_timeout_s=0.05, price=30_000).exit_code == 7
    grow_old(out)


@pytest.mark.quick(1)
@pytest.mark.parametrize("why", OUT_OF_REACH)
def test_a_history_out_of_reach_expires_nothing(api, manifest, out, why):
    in_flight_for_two_hours(api, manifest, out)
    api.faults([*NO_RECORD, OUT_OF_REACH[why]])
    for _ in range(2):
        end = go(api, manifest, out, job_timeout_s=0.3, retry_failed=True)
        assert (end.exit_code, statuses(out), end.summary["expired"]) == (7, {"pending": 4}, 0)
    api.faults(NO_RECORD)
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 4)


@pytest.mark.slow
def test_a_history_that_is_away_for_a_while_is_asked_until_it_answers(api, manifest, out):
    in_flight_for_two_hours(api, manifest, out)
    api.faults([*NO_RECORD, OUT_OF_REACH["503"] | {"first": 12}])
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 4)


def test_a_history_that_answers_and_does_not_list_a_job_expires_it_at_its_estimate(api, manifest, out):
    in_flight_for_two_hours(api, manifest, out)
    api.faults([*NO_RECORD, NOT_LISTED])
    end = go(api, manifest, out)
    assert (end.exit_code, statuses(out), end.summary["spent_usd"]) == (1, {"expired": 4}, 0.12)


# -- what is paid comes first --------------------------------------------------------------------------------------------


def left_behind(api, pairs, out, state):
    """Let five rows be paid for and not on disk: still accepted, or completed."""
    api.faults([SILENT if state == "accepted" else answers("image", "status", status=503)])
    assert (go(api, pairs(5), out, job_timeout_s=0.2).exit_code, statuses(out)) == (7, {"pending": 5})
    api.faults([])


def saved_at_each_submit(api, manifest, out, **settings):
    """Run; return how many images were on disk whenever a job was accepted."""
    seen = []

    def hear(progress):
        if progress.event and progress.event.name == "job.accepted":
            seen.append(progress.saved)

    assert go(api, manifest, out, listener=RunHooks(progress=hear), **settings).exit_code in {0, 7}
    return seen


@pytest.mark.quick(1)
@pytest.mark.parametrize("concurrency", [3, 16])
@pytest.mark.parametrize("state", ["accepted", "completed"])
def test_what_an_earlier_run_paid_for_is_on_disk_before_anything_new_is_sent(
    api, pairs, out, state, concurrency
):
    left_behind(api, pairs, out, state)
    api.faults([answers("image", "delay", after_s=0.2, first=5)])
    seen = saved_at_each_submit(api, pairs(20), out, concurrency=concurrency)
    assert (len(seen), min(seen) >= 5) == (15, True)


@pytest.mark.slow
def test_a_job_that_is_still_at_work_keeps_no_new_one_waiting(api, pairs, out):
    api.settings(latency_s=600.0)
    assert go(api, pairs(5), out, job_timeout_s=0.2).exit_code == 7
    api.settings(latency_s=0.0)
    began = time.monotonic()
    seen = saved_at_each_submit(api, pairs(10), out, job_timeout_s=1.0)
    assert (len(seen), min(seen)) == (5, 0)
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_images_out_of_reach_keep_new_work_waiting_for_a_while_only(api, pairs, out, waits):
    waits(head_start_s=0.3)
    left_behind(api, pairs, out, "completed")
    api.faults([answers("image", "status", status=503, prompt="oak 0")])
    seen = saved_at_each_submit(api, pairs(10), out, job_timeout_s=1.0)
    assert (len(seen), statuses(out)) == (5, {"saved": 9, "pending": 1})


@pytest.mark.slow
def test_a_signal_ends_the_waiting_for_what_was_paid_before(api, pairs, out, monkeypatch):
    left_behind(api, pairs, out, "completed")
    api.faults([answers("image", "status", status=503)])
    before = submits(api)
    end = go(api, pairs(10), out, max_duration_s=0.3, grace_s=0.1)
    assert (end.exit_code, submits(api)) == (7, before)


# -- uploads that the service has lost -----------------------------------------------------------------------------------


@pytest.fixture
def with_a_file(pairs, tmp_path):
    """Write a manifest whose rows have a local product of the given colour."""

    def write(*colours):
        lines = rows(len(colours))
        for line, colour in zip(lines, colours, strict=True):
            line["image_1"] = support.picture(tmp_path / f"{colour}.png", colour).name
        return pairs(lines)

    return write


def lose_uploads(api, out):
    """Let the service have none of the uploaded files any more."""
    sql(out, f"UPDATE uploads SET url = '{api.base_url}/files/assets/gone.png'")


def test_an_upload_that_the_service_lost_is_made_again_after_the_failure(api, with_a_file, out):
    assert go(api, with_a_file("red"), out).exit_code == 0
    lose_uploads(api, out)
    manifest = with_a_file("red", "red")
    end = go(api, manifest, out, yes=True)
    assert (end.exit_code, statuses(out)) == (1, {"saved": 1, "failed": 1})
    assert go(api, manifest, out, retry_failed=True).exit_code == 0
    assert calls(api)["upload"] == 2


@pytest.mark.slow
def test_an_upload_is_made_again_after_a_refusal_of_the_submit(api, with_a_file, out):
    manifest = with_a_file("red", "blue")
    api.faults([answers("submit", "status", text="parameter", prompt="oak 0")])
    assert (go(api, manifest, out).exit_code, calls(api)["upload"]) == (1, 2)
    api.faults([])
    assert go(api, manifest, out, retry_failed=True).exit_code == 0
    assert calls(api)["upload"] == 3  # the other row's is not forgotten


@pytest.mark.slow
def test_an_upload_that_did_its_work_is_used_again(api, with_a_file, out):
    assert go(api, with_a_file("red"), out).exit_code == 0
    assert go(api, with_a_file("red", "red"), out).exit_code == 0
    assert calls(api)["upload"] == 1


# -- the picture in the result itself --------------------------------------------------------------------------------


def test_a_result_that_is_no_picture_is_read_once_and_asked_for_again_by_the_next_run(
    api, pairs, out, monkeypatch
):
    """The same text gives the same bytes: it holds no slot until the job's timeout."""
    from batch.output import images  # noqa: PLC0415

    read, from_base64 = [], images.from_base64
    monkeypatch.setattr(images, "from_base64", lambda text: read.append(text) or from_base64(text))
    body = {"status": "COMPLETED", "output": "iVBOnotapicture", "metrics": {"cost": 0.03}}
    api.faults([answers("result", "status", status=200, body=body), NOT_LISTED])
    manifest = pairs(rows(1, base64="true"))
    assert (go(api, manifest, out, job_timeout_s=600).exit_code, statuses(out)) == (1, {"pending": 1})
    assert read == ["iVBOnotapicture"]
    api.faults([])
    assert go(api, manifest, out).exit_code == 0
    assert submits(api) == 1


# -- pictures that lie elsewhere ----------------------------------------------------------------------------------------


@pytest.fixture
def searches(monkeypatch):
    """Count how often images/.previous/ is read."""
    seen, search = [], PreviousVersions.index
    monkeypatch.setattr(
        PreviousVersions, "index", lambda *args, **more: seen.append(1) or search(*args, **more)
    )
    return seen


def rotated(lines, by):
    """Return the rows with their ids handed on: row n gets the id of row n - by."""
    ids = support.ids(lines)
    return [line | {"id": ids[(n - by) % len(ids)]} for n, line in enumerate(lines)]


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [None, 1, 3])
@pytest.mark.parametrize("by", [1, -1, 5])
def test_rows_that_exchange_their_ids_keep_their_pictures_at_no_cost(
    api, pairs, out, searches, by, concurrency
):
    """Each takes another's name, whichever is first; the service has long forgotten them all."""
    lines = rows(6)
    settings = {} if concurrency is None else {"concurrency": concurrency}
    go(api, pairs(lines), out)
    grow_old(out)
    api.faults(GONE)
    before = calls(api)
    for turn in range(1, 4):
        searches.clear()
        end = go(api, pairs(rotated(lines, by * turn)), out, **settings)
        assert (end.exit_code, end.plan.done, end.plan.to_send) == (0, 6, 0)
        assert_all_saved(api, out, 6)
        assert len(searches) <= 1
    assert calls(api) == before


@pytest.mark.slow
def test_two_rows_that_swap_their_ids_keep_their_pictures(api, pairs, out):
    lines = rows(2)
    go(api, pairs(lines), out)
    grow_old(out)
    api.faults(GONE)
    for turn in (1, 0):
        assert go(api, pairs(rotated(lines, turn)), out).exit_code == 0
        assert_all_saved(api, out, 2)


@pytest.mark.slow
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


@pytest.mark.quick(1)
@pytest.mark.parametrize("by", [1, -1])
def test_an_exchange_that_is_cut_short_is_finished_by_the_next_run(api, pairs, out, monkeypatch, by):
    """The disk is full at the fifth picture: what was moved aside by then is found by its hash."""
    from batch.output import files  # noqa: PLC0415

    lines, written, atomic_write = rows(12), [], files.atomic_write

    def no_room(path, *args):
        if path.suffix == ".webp":
            written.append(path)
            if len(written) > 4:
                raise OSError(28, "No space left on device")
        atomic_write(path, *args)

    go(api, pairs(lines), out)
    grow_old(out)
    api.faults(GONE)
    manifest = pairs(rotated(lines, by))
    with monkeypatch.context() as patch:
        patch.setattr(files, "atomic_write", no_room)
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


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("by", [0, 1, -1], ids=["the same ids", "ids handed on", "ids handed back"])
def test_pictures_that_were_not_mounted_are_found_when_they_are(api, pairs, out, by):
    """One run saw no images/ and no network: all was moved away. The next sees both, without the service's help."""
    lines = rows(6)
    go(api, pairs(lines), out)
    grow_old(out)
    (out / "images").rename(out / "elsewhere")
    api.faults([answers("image", "reset_before"), answers("history", "reset_before")])
    manifest = pairs(rotated(lines, by))
    before = calls(api)
    assert (go(api, manifest, out).exit_code, statuses(out)) == (0, {"saved": 6})
    assert {row["output_state"] for row in support.report(out)} == {"moved"}
    (out / "elsewhere").rename(out / "images")
    assert go(api, manifest, out).exit_code == 0
    assert_all_saved(api, out, 6)
    assert {row["output_state"] for row in support.report(out)} == {"present"}
    assert calls(api) == before
