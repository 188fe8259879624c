"""Several seeds a row: asked for with their price, paid once each, kept beside the row's own image."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
import support
from support import by_id, report, rows, statuses, submits

pytestmark = pytest.mark.usefixtures("quick_polls")

NO_HISTORY = {"call": "history", "action": "status", "text": "unavailable"}


def aside(out):
    """Return the names of what lies in images/.previous/."""
    return sorted(path.name for path in (out / "images" / ".previous").glob("*"))


def seeds_of(hosted, prompt):
    """Return the seeds with which a prompt was sent, in order."""
    return [job["body"]["seed"] for job in hosted.stats()["jobs"] if job["body"]["prompt"] == prompt]


def test_each_row_gets_so_many_seeds_and_its_own_image_is_the_first(hosted, command, pairs, out):
    code, told, errors = command("run", pairs(2), "--out", out, "--candidates", 3, "--yes")
    assert code == 0, errors
    assert (submits(hosted), support.accepted_twice(hosted.stats())) == (6, [])
    assert "2 saved, 0 failed, 4 candidates made; $0.18 this run, $0.18 in all; " in told
    first, *others = seeds_of(hosted, "oak 1")
    assert (first, len({first, *others})) == (1, 3)
    assert {row["id"]: int(row["seed"]) for row in report(out)} == {"row-0": 0, "row-1": 1}
    expected = [f"row-1.seed-{seed}.webp" for seed in others]
    expected += [f"row-0.seed-{seed}.webp" for seed in seeds_of(hosted, "oak 0")[1:]]
    assert aside(out) == sorted(expected)
    assert support.summary(out)["candidates"] == {"made": 4, "failed": 0}
    support.assert_pictures_belong(out, hosted.stats())
    support.assert_ledger_sound(out)


def test_without_a_yes_nothing_is_sent_and_the_price_is_named(hosted, command, manifest, out):
    assert command("run", manifest, "--out", out)[0] == 0
    before = support.files_in(out)
    code, _, told = command("run", manifest, "--out", out, "--candidates", 4)
    assert (code, submits(hosted)) == (2, 4)
    assert (
        "--candidates: 12 further images cost money, for about $0.36. Add --yes on the command line" in told
    )
    assert support.files_in(out) == before


def test_the_yes_of_a_job_file_does_not_pay_for_further_images(hosted, command, manifest, out, tmp_path):
    job = tmp_path / "nightly.yaml"
    job.write_text(json.dumps({"manifest": str(manifest), "out": str(out), "yes": True, "candidates": 2}))
    code, _, told = command("run", job)
    assert (code, submits(hosted)) == (2, 0)
    assert (
        "--candidates: 4 further images cost money, for about $0.12 (the list price of November 2026). Add --yes"
        in told
    )
    assert command("run", job, "--yes")[0] == 0
    assert submits(hosted) == 8


def test_the_plan_counts_them_and_writes_nothing(hosted, command, manifest, out):
    assert command("run", manifest, "--out", out)[0] == 0
    before = report(out)
    code, told, _ = command("plan", manifest, "--out", out, "--candidates", 4)
    assert code == 0
    assert "  candidates           12  $      0.36  more seeds a row\n" in told
    assert "12 jobs to send, for about $0.36" in told
    assert (report(out), submits(hosted)) == (before, 4)
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        assert ledger.execute("SELECT count(*) FROM jobs").fetchone() == (4,)


def test_the_same_number_again_sends_nothing_and_a_higher_one_the_difference(hosted, command, manifest, out):
    for number, sent in ((3, 12), (3, 12), (2, 12), (5, 20)):
        code, _, told = command("run", manifest, "--out", out, "--candidates", number, "--yes")
        assert (code, submits(hosted)) == (0, sent), told
    assert len(aside(out)) == 16
    assert support.accepted_twice(hosted.stats()) == []


@pytest.mark.slow
def test_only_named_rows_get_them(hosted, command, manifest, out):
    words = ("--only", "row-1", "--candidates", 3, "--yes")
    assert command("run", manifest, "--out", out, *words)[0] == 0
    assert (submits(hosted), len(aside(out))) == (3, 2)
    assert command("run", manifest, "--out", out)[0] == 0
    assert submits(hosted) == 6


@pytest.mark.slow
def test_rows_that_share_an_image_share_its_candidates(hosted, command, pairs, out):
    lines = [line | {"seed": 7, "prompt": "oak"} for line in rows(2)]
    assert command("run", pairs(lines), "--out", out, "--candidates", 3, "--yes")[0] == 0
    assert (submits(hosted), len(aside(out))) == (3, 2)
    assert all(name.startswith("row-0.seed-") for name in aside(out))


@pytest.mark.slow
def test_a_pilot_gets_candidates_for_its_rows_alone(hosted, command, manifest, out):
    words = ("--candidates", 3, "--yes")
    assert command("run", manifest, "--out", out, "--pilot", 2, *words)[0] == 7
    assert (submits(hosted), len(aside(out))) == (6, 4)
    assert command("run", manifest, "--out", out, *words)[0] == 0
    assert (submits(hosted), len(aside(out))) == (12, 8)


def test_a_cap_is_reached_by_the_further_images_last(hosted, command, manifest, out):
    words = ("--candidates", 3, "--yes", "--price", "0.03", "--concurrency", 1)
    code, _, told = command("run", manifest, "--out", out, *words, "--max-cost", "0.20")
    assert (code, submits(hosted), statuses(out)) == (8, 6, {"saved": 4}), told
    assert len(aside(out)) == 2
    # What was left over is not sent by a run that does not ask for it …
    assert command("run", manifest, "--out", out)[0] == 0
    assert submits(hosted) == 6
    # … and is asked for again, with its price, by one that does.
    code, _, told = command("run", manifest, "--out", out, "--candidates", 3)
    assert (code, submits(hosted)) == (2, 6)
    assert "6 further images cost money, for about $0.18" in told
    assert command("run", manifest, "--out", out, "--candidates", 3, "--yes")[0] == 0
    assert (submits(hosted), len(aside(out))) == (12, 8)


@pytest.mark.slow
def test_an_edited_row_begins_a_new_series(hosted, command, pairs, out):
    manifest = pairs(2)
    assert command("run", manifest, "--out", out, "--candidates", 2, "--yes")[0] == 0
    pairs([rows(2)[0], rows(2)[1] | {"prompt": "ash"}])
    assert command("run", manifest, "--out", out, "--candidates", 2, "--yes")[0] == 0
    assert submits(hosted) == 6
    assert len(seeds_of(hosted, "ash")) == 2


@pytest.mark.slow
def test_local_pictures_are_uploaded_once_for_all_seeds(hosted, command, pairs, tmp_path, out):
    support.picture(tmp_path / "chair.png")
    manifest = pairs([rows(1)[0] | {"image_1": "chair.png"}])
    assert command("run", manifest, "--out", out, "--candidates", 4, "--yes")[0] == 0
    assert submits(hosted) == 4
    assert list(hosted.stats(jobs=False)["uploaded"].values()) == [1]


@pytest.mark.parametrize("number", ["1", "21", "many"])
def test_a_number_out_of_range_is_refused(command, manifest, out, number):
    code, _, told = command("run", manifest, "--out", out, "--candidates", number)
    assert (code, out.exists()) == (2, False)
    assert "--candidates" in told


def test_a_retry_gives_named_rows_further_images_of_what_they_are(hosted, command, manifest, out):
    assert command("run", manifest, "--out", out)[0] == 0
    code, _, told = command("retry", out, "--only", "row-1", "--candidates", 3)
    assert (code, submits(hosted)) == (2, 4)
    assert "--candidates: 2 further images cost money" in told
    assert command("retry", out, "--only", "row-1", "--candidates", 3, "--yes")[0] == 0
    assert (submits(hosted), len(aside(out)), by_id(out)["row-1"]["seed"]) == (6, 2, "1")


def test_a_redo_with_a_seed_begins_a_new_series(hosted, command, manifest, out):
    assert command("run", manifest, "--out", out)[0] == 0
    words = ("--only", "row-1", "--seed", "+1", "--candidates", 3, "--yes")
    assert command("retry", out, *words)[0] == 0
    assert (submits(hosted), by_id(out)["row-1"]["seed"]) == (7, "2")
    assert len(aside(out)) == 3  # two candidates, and the image that was there before


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_candidate_that_fails_does_not_fail_its_row(hosted, command, pairs, out):
    """The run's exit code says it, and --retry-failed sends it once more."""
    manifest = pairs(1)
    assert command("run", manifest, "--out", out)[0] == 0
    hosted.faults([{"call": "submit", "action": "status", "status": 422, "body": {"error": "no"}}])
    code, told, _ = command("run", manifest, "--out", out, "--candidates", 3, "--yes")
    assert (code, statuses(out)) == (1, {"saved": 1})
    assert "1 saved, 0 failed, 0 candidates made, 2 failed;" in told
    hosted.faults([])
    assert command("run", manifest, "--out", out)[0] == 0
    assert submits(hosted) == 3
    code, told, _ = command("run", manifest, "--out", out, "--candidates", 3, "--yes", "--retry-failed")
    assert (code, submits(hosted)) == (0, 5)
    assert "2 candidates made;" in told


def test_a_candidate_whose_answer_was_lost_is_settled_like_a_row(hosted, command, pairs, out):
    manifest = pairs(1)
    assert command("run", manifest, "--out", out)[0] == 0
    hosted.faults([{"call": "submit", "action": "reset_after", "nth": 2}])
    words = ("--candidates", 2, "--yes", "--settle", "1s")
    code, told, errors = command("run", manifest, "--out", out, *words)
    assert (code, submits(hosted), len(aside(out))) == (0, 2, 1), errors
    assert "1 candidate made;" in told
    assert support.accepted_twice(hosted.stats()) == []


def test_an_unknown_candidate_is_listed_and_decided_by_its_row_and_seed(hosted, command, pairs, out):
    manifest = pairs(1)
    assert command("run", manifest, "--out", out)[0] == 0
    hosted.faults([{"call": "submit", "action": "reset_after"}, NO_HISTORY])
    words = ("--candidates", 2, "--yes", "--settle", "1s")
    code, told, errors = command("run", manifest, "--out", out, *words)
    assert (code, "0 candidates made, 1 unknown;" in told) == (4, True)
    hint = "1 candidate may have been accepted although no answer came: they are not sent again"
    assert hint in errors
    name = f"row-0 (seed {seeds_of(hosted, 'oak 0')[1]})"
    _, told, _ = command("resolve", out)
    assert told.startswith(f"{name}: sent ")
    assert "0 made, 0 failed, 1 unknown" in command("status", out)[1]
    code, _, errors = command("run", manifest, "--out", out, "--settle", "1s")
    assert (code, hint in errors, submits(hosted)) == (4, True, 2)
    assert support.summary(out)["candidates"] == {"made": 0, "failed": 0, "unknown": 1}
    hosted.faults([])
    assert command("run", manifest, "--out", out, *words)[0] == 0
    assert (submits(hosted), len(aside(out))) == (2, 1)


@pytest.fixture
def unknown(hosted, command, pairs, out):
    """A folder of two rows, the first with an unknown candidate, the second with two; gives their seeds, and the requests."""
    assert command("run", pairs(2), "--out", out)[0] == 0
    hosted.faults([{"call": "submit", "action": "reset_after"}, NO_HISTORY])
    for row_id, number in (("row-0", 2), ("row-1", 3)):
        words = ("--only", row_id, "--candidates", number, "--yes", "--settle", "0s")
        assert command("run", pairs(2), "--out", out, *words)[0] == 4
    hosted.faults([])
    sent = [job for job in hosted.stats()["jobs"] if job["body"]["seed"] not in (0, 1)]
    return {int(job["body"]["seed"]): job["request_id"] for job in sent}


@pytest.mark.slow
def test_an_unknown_candidate_goes_by_its_row_where_it_is_the_only_one(hosted, command, unknown, out):
    seed, *others = unknown
    assert command("resolve", out, "--abandon", "--id", "row-0")[0] == 0
    labels = sorted(f"'row-1 (seed {each})'" for each in others)
    code, _, told = command("resolve", out, "--resubmit", "--yes", "--id", "row-1")
    assert (code, "'row-1' has several unknown candidates: " in told) == (2, True)
    assert all(label in told for label in labels)
    code, _, told = command("resolve", out, "--abandon", "--id", "row-0")
    assert (code, "not unknown rows of this folder: row-0. Unknown are 'row-1 (seed " in told) == (2, True)
    with closing(sqlite3.connect(out / "ledger.sqlite")) as ledger:
        states = dict(ledger.execute("SELECT json_extract(parameters, '$.seed'), state FROM jobs"))
    assert (states[seed], {states[each] for each in others}) == ("abandoned", {"unknown"})


@pytest.mark.slow
def test_a_request_is_attached_to_the_only_unknown_candidate_of_a_row(hosted, command, pairs, unknown, out):
    seed = next(iter(unknown))
    words = ("--attach", f"row-0={unknown[seed]}", "--abandon", "--all")
    assert command("resolve", out, *words)[:2] == (0, "No unknown rows.\n")
    assert command("run", pairs(2), "--out", out)[0] == 0
    assert (submits(hosted), aside(out)) == (5, [f"row-0.seed-{seed}.webp"])
    code, _, told = command("resolve", out, "--attach", "row-0=r")
    assert (code, "not unknown rows of this folder: row-0. None is unknown." in told) == (2, True)


@pytest.mark.slow
def test_what_was_paid_for_is_fetched_by_any_later_run(hosted, command, pairs, out):
    manifest = pairs(1)
    hosted.faults([{"call": "image", "action": "status", "status": 503, "body": "later"}])
    words = ("--candidates", 2, "--yes", "--job-timeout", "1s")
    assert command("run", manifest, "--out", out, *words)[0] == 7
    hosted.faults([])
    assert command("run", manifest, "--out", out)[0] == 0
    assert (submits(hosted), len(aside(out)), statuses(out)) == (2, 1, {"saved": 1})
