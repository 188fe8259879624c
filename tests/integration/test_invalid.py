"""Rows of a manifest that cannot be used: the others run, and these wait in failures.csv for a person."""

import os

import pytest
import support
from support import by_id, go, rows, statuses, submits, summary

from batch import RunHooks
from batch.core.errors import ManifestError
from batch.ledger.connection import MIGRATIONS

BAD = {"row-1": {"seed": "soon"}, "row-3": {"image_1": "gone.png"}}


def lines_with(bad, count=5):
    """Return rows of which some are invalid: `bad` has what is wrong in them, by id."""
    return [line | bad.get(line["id"], {}) for line in rows(count)]


def edit(path, changes):
    """Edit the rows of a file as a person does: {id: {column: text}}."""
    support.write_csv(path, [line | changes.get(line["id"], {}) for line in support.table(path)])


def order(out):
    return [(line["id"], line["status"]) for line in support.report(out)]


@pytest.fixture
def skipped(api, pairs, out):
    """A folder of five rows, two of them invalid; gives its manifest."""
    manifest = pairs(lines_with(BAD))
    assert go(api, manifest, out, invalid="skip").exit_code == 1
    return manifest


def test_the_good_rows_run_and_the_others_are_failed(hosted, pairs, out, command):
    code, said, warned = command("run", pairs(lines_with(BAD)), "--out", out, "--invalid", "skip")
    assert (code, submits(hosted)) == (1, 3)
    states = ("saved", "failed", "saved", "failed", "saved")
    assert order(out) == [(f"row-{n}", state) for n, state in enumerate(states)]
    assert support.ids(support.table(out / "failures.csv")) == ["row-1", "row-3"]
    seed, gone = (by_id(out)[row_id] for row_id in BAD)
    assert {name: seed[name] for name in ("error_class", "attempts", "cost", "payload_key", "seed")} == {
        "error_class": "invalid", "attempts": "0", "cost": "0.000000", "payload_key": "", "seed": "soon",
    }  # fmt: skip
    assert "pairs.csv:3:seed: 'soon' is not a whole number. Give a whole number" in seed["error"]
    assert (gone["seed"], gone["image_1"]) == ("3", "../gone.png")
    figures = summary(out)
    assert (figures["rows"], figures["saved"], figures["failed"], figures["spent_usd"]) == (5, 3, 2, 0.09)
    assert figures["top_errors"][0]["error_class"] == "invalid"
    assert "2 rows are invalid and left out, as failed." in warned
    assert f"texbatch retry {out}" in warned
    assert "3 saved, 2 failed" in said


def test_without_the_option_nothing_is_sent_and_everything_is_listed(hosted, pairs, out, command):
    code, _, warned = command("run", pairs(lines_with(BAD)), "--out", out)
    assert (code, submits(hosted), out.joinpath("report.csv").exists()) == (2, 0, False)
    assert ("pairs.csv:3:seed" in warned, "pairs.csv:5:image_1" in warned) == (True, True)


def test_a_fixed_row_is_taken_in_by_retry_and_stays_saved_at_night(api, skipped, out, tmp_path):
    edit(out / "failures.csv", {"row-1": {"seed": "7"}})
    assert go(api, out / "failures.csv", out, merge=True, retry_failed=True).exit_code == 1
    assert submits(api) == 4
    assert order(out)[1] == ("row-1", "saved")
    assert order(out)[3] == ("row-3", "failed")
    night = go(api, skipped, out, invalid="skip")
    assert (night.exit_code, submits(api), order(out)[1]) == (1, 4, ("row-1", "saved"))
    (kept,) = (problem for problem in night.warnings if problem.column == "seed")
    assert kept.warning
    support.picture(tmp_path / "gone.png")
    assert go(api, skipped, out, invalid="skip").exit_code == 0
    assert (submits(api), statuses(out)) == (5, {"saved": 5})
    support.assert_ledger_sound(out)


def test_the_same_night_again_sends_nothing_and_names_the_rows_again(api, skipped, out):
    before = order(out)
    assert go(api, skipped, out, invalid="skip").exit_code == 1
    assert (submits(api), order(out)) == (3, before)
    assert go(api, skipped, out, invalid="skip", only=("row-0",)).exit_code == 0
    assert go(api, skipped, out, invalid="skip", only=("row-3",)).exit_code == 1


def test_a_saved_row_that_is_invalid_now_stays_saved(api, pairs, out):
    go(api, pairs(5), out)
    night = go(api, pairs(lines_with(BAD)), out, invalid="skip")
    assert (night.exit_code, submits(api), statuses(out)) == (0, 5, {"saved": 5})
    assert [problem.row for problem in night.warnings] == [3, 5]
    assert night.plan.kept_invalid == ("row-1", "row-3")
    line = by_id(out)["row-1"]
    assert "pairs.csv:3:seed: 'soon' is not a whole number. Give a whole number" in line["error"]
    assert (line["error_class"], line["seed"], by_id(out)["row-0"]["error"]) == ("", "1", "")
    assert (support.table(out / "failures.csv"), summary(out)["top_errors"]) == ([], [])


@pytest.mark.slow
def test_a_quiet_night_a_plan_and_the_doctor_name_the_rows_that_keep_their_images(
    hosted, pairs, out, command
):
    command("run", pairs(5), "--out", out)
    assert command("retry", out, "--only", "row-3", "--seed", "+1", "--yes")[0] == 0
    night = ("run", pairs(lines_with(BAD)), "--out", out, "--invalid", "skip")
    names = "2 rows of the manifest cannot be used as they are now, and keep their images: row-1, row-3."
    code, said, told = command(*night, "--quiet")
    assert (code, said, told.strip()) == (0, "", f"{names} Column `error` of report.csv says why.")
    told = command("plan", *night[1:])[2]
    assert f"{names} See above." in told
    assert "since the manifest was written" not in told
    job = out.parent / "job.yaml"
    job.write_text("manifest: pairs.csv\nout: out\ninvalid: skip\n", encoding="utf-8")
    assert "2 rows invalid now, with an image: row-1, row-3." in command("doctor", job)[1]
    pairs(5)
    assert command(*night, "--quiet")[::2] == (0, "")
    assert submits(hosted) == 6
    assert {line["error"] for line in support.report(out)} == {""}


@pytest.mark.slow
def test_a_row_fixed_beside_the_manifest_is_named_no_more_until_its_line_is_edited(api, skipped, out):
    image = support.TEXTURE
    for fix in ({"row-1": {"seed": "later"}, "row-3": {"image_1": image}}, {"row-1": {"seed": "7"}}):
        edit(out / "failures.csv", fix)
        go(api, out / "failures.csv", out, merge=True, retry_failed=True, invalid="skip")
    for _ in range(2):
        night = go(api, skipped, out, invalid="skip")
        assert (night.plan.kept_invalid, by_id(out)["row-1"]["error"]) == ((), "")
    edit(skipped, {"row-1": {"seed": "never"}})
    assert go(api, skipped, out, invalid="skip").plan.kept_invalid == ("row-1",)
    assert "'never' is not a whole number" in by_id(out)["row-1"]["error"]
    go(api, out / "report.csv", out, merge=True)  # nothing is edited there
    assert "'never' is not a whole number" in by_id(out)["row-1"]["error"]
    edit(out / "report.csv", {"row-1": {"seed": "8"}})
    go(api, out / "report.csv", out, merge=True, yes=True)
    assert by_id(out)["row-1"]["error"] == ""
    assert go(api, skipped, out, invalid="skip").plan.kept_invalid == ()
    assert submits(api) == 6


@pytest.mark.slow
def test_the_example_of_invalid_rows_is_the_first_of_them(api, pairs, out):
    lines = [{"seed": "z"}, {}, {"seed": "a"}]
    bad = {f"row-{n}": line for n, line in enumerate(lines)}
    go(api, pairs(lines_with(bad, 12)), out, invalid="skip")
    assert "pairs.csv:2:seed: 'z' is" in summary(out)["top_errors"][0]["example"]


def test_rows_that_nobody_edited_do_not_stop_a_retry(api, skipped, out, tmp_path):
    retried = go(api, out / "failures.csv", out, merge=True, retry_failed=True)
    assert (retried.exit_code, submits(api)) == (1, 3)
    (left,) = retried.warnings
    assert "left out, 2 rows that are still invalid: row-1 (row 2), row-3 (row 3)." in left.reason
    edit(out / "failures.csv", {"row-1": {"seed": "later"}})
    with pytest.raises(ManifestError, match="'later' is not a whole number"):
        go(api, out / "failures.csv", out, merge=True, retry_failed=True)
    support.picture(tmp_path / "gone.png")
    assert go(api, out / "failures.csv", out, merge=True, retry_failed=True, invalid="skip").exit_code == 1
    assert (submits(api), order(out)[3]) == (4, ("row-3", "saved"))
    assert by_id(out)["row-1"]["seed"] == "later"
    assert "'later' is not a whole number" in by_id(out)["row-1"]["error"]


@pytest.mark.slow
def test_retry_by_name_takes_the_edit_of_an_invalid_row(hosted, pairs, out, command):
    command("run", pairs(lines_with(BAD)), "--out", out, "--invalid", "skip")
    assert command("retry", out, "--only", "row-1")[0] == 1
    edit(out / "failures.csv", {"row-1": {"seed": "7"}})
    code, _, warned = command("retry", out, "--only", "row-1")
    assert (code, submits(hosted), order(out)[1]) == (0, 4, ("row-1", "saved")), warned
    assert command("mark", out, "--reject", "row-3", "--reason", "shape")[0] == 2


def test_an_invalid_row_is_no_failure_of_the_run_and_no_part_of_a_pilot(api, pairs, out):
    manifest = pairs(lines_with(BAD))
    assert go(api, manifest, out, invalid="skip", pilot=1, max_failures=1).exit_code == 7
    assert submits(api) == 1
    assert go(api, manifest, out, invalid="skip", max_failures=1).exit_code == 1
    assert submits(api) == 3


def test_good_rows_of_one_id_stop_the_run_and_an_invalid_one_does_not(api, pairs, out):
    twice = [*lines_with(BAD), *rows(2)]
    with pytest.raises(ManifestError, match="'row-0' is already the id of row 2"):
        go(api, pairs(twice), out, invalid="skip")
    again = [*lines_with(BAD), rows(1)[0] | {"seed": "x"}]
    assert go(api, pairs(again), out, invalid="skip").exit_code == 1
    assert order(out)[5] == ("row-0 (row 7)", "failed")
    assert "'row-0' is already the id of row 2." in by_id(out)["row-0 (row 7)"]["error"]


@pytest.mark.parametrize("setting", ["stop", "skip"])
def test_what_concerns_the_whole_manifest_stops_it(api, pairs, out, setting):
    lines = lines_with(BAD)
    for line in lines:
        del line["image_2"]
    with pytest.raises(ManifestError, match="there is no such column") as stopped:
        go(api, pairs(lines), out, invalid=setting)
    assert "'soon' is not a whole number" in str(stopped.value)
    with pytest.raises(ManifestError, match="soon"):
        go(api, pairs([rows(1)[0] | {"seed": "soon"}]), out, invalid=setting)
    assert submits(api) == 0


def test_who_calls_the_package_is_asked(api, pairs, out):
    manifest, plans = pairs(lines_with(BAD)), []
    with pytest.raises(ManifestError, match="soon"):
        go(api, manifest, out, invalid=None)
    hooks = RunHooks(confirm_invalid=lambda plan: plans.append(plan) or True)
    assert go(api, manifest, out, invalid=None, listener=hooks).exit_code == 1
    assert [(plan.rows, plan.invalid) for plan in plans] == [(3, 2)]


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "code", "sent"), [("y\ny\n", 1, 3), ("n\n", 2, 0)])
def test_a_person_at_a_terminal_is_asked(api, pairs, tmp_path, out, answer, code, sent):
    pairs(lines_with(BAD))
    args = ("run", "pairs.csv", "--out", "out", "--progress", "none")
    with support.on_a_terminal(*args, env=support.environment(api), cwd=tmp_path) as (process, terminal):
        told = support.seen_on(terminal, lambda text: "[y/N]" in text)
        assert "2 of 5 rows are invalid (listed above). Run the other 3?" in told
        assert told.index("'soon' is not a whole number") < told.index("Run the other")
        os.write(terminal, answer.encode())  # a second yes is to the price
        told += support.seen_on(terminal)
        process.wait(20.0)
    assert (process.returncode, submits(api)) == (code, sent), told


@pytest.mark.quick(1)
@pytest.mark.parametrize("bad_first", [True, False])
def test_an_invalid_row_with_the_id_of_a_good_one_stops_no_night(hosted, command, pairs, out, bad_first):
    good, other = rows(2)
    bad = good | {"image_1": "gone.png"}
    manifest = pairs([bad, good, other] if bad_first else [good, bad, other])
    for night in range(3):
        code, _, told = command("run", manifest, "--out", out, "--invalid", "skip", "--yes")
        assert (code, submits(hosted)) == (1, 2), (night, told)
        assert sorted(order(out)) == [
            ("row-0", "saved"), (f"row-0 (row {2 if bad_first else 3})", "failed"), ("row-1", "saved"),
        ]  # fmt: skip


@pytest.mark.slow
def test_of_two_invalid_rows_of_a_saved_id_the_first_keeps_its_image(hosted, command, pairs, out):
    manifest = pairs(2)
    assert command("run", manifest, "--out", out, "--yes")[0] == 0
    bad = rows(1)[0] | {"image_1": "gone.png"}
    for _ in range(2):
        code, _, told = command(
            "run", pairs([bad, bad, rows(2)[1]]), "--out", out, "--invalid", "skip", "--yes"
        )
        assert (code, submits(hosted)) == (1, 2), told
        assert sorted(order(out)) == [("row-0", "saved"), ("row-0 (row 3)", "failed"), ("row-1", "saved")]


def test_a_folder_of_the_version_before_goes_on(api, pairs, out):
    """Its ledger has no table of invalid rows."""
    go(api, pairs(2), out)
    support.sql(
        out,
        "DROP TABLE invalid",
        "DROP TABLE kept_invalid",
        f"PRAGMA user_version={MIGRATIONS.index('invalid.sql')}",
    )
    bad = {"row-1": {"seed": "soon"}, "row-2": {"seed": "soon"}}
    assert go(api, pairs(lines_with(bad, 4)), out, invalid="skip").exit_code == 1
    assert order(out) == [("row-0", "saved"), ("row-1", "saved"), ("row-2", "failed"), ("row-3", "saved")]
    assert submits(api) == 3


def test_a_row_is_fixed_under_the_users_own_headings(hosted, tmp_path, out, command):
    """The path in failures.csv starts at the folder, its text is as the sheet has it."""
    support.picture(tmp_path / "in" / "chair.png")
    lines = [
        {
            "SKU": f"00{n}",
            "Bild 1": image,
            "Image 2": support.TEXTURE,
            "Prompt": "oak {{x}} {Farbe}",
            "Farbe": "rot",
        }
        for n, image in enumerate(("chair.png", "chiar.png"))
    ]
    manifest = support.write_csv(tmp_path / "in" / "sheet.csv", lines)
    columns = ("--column", "id=SKU", "--column", "image_1=Bild 1")
    assert command("run", manifest, "--out", out, "--invalid", "skip", *columns)[0] == 1
    (failed,) = support.table(out / "failures.csv")
    assert {name: failed[name] for name in lines[0]} == {
        "SKU": "001", "Bild 1": "../in/chiar.png", "Image 2": support.TEXTURE, "Prompt": "oak {{x}} rot", "Farbe": "rot",
    }  # fmt: skip
    assert "sheet.csv:3:Bild 1: chiar.png does not exist. Did you mean chair.png?" in failed["error"]
    support.write_csv(out / "failures.csv", [failed | {"Bild 1": "../in/chair.png"}])
    assert command("retry", out)[0] == 0
    assert [(line["SKU"], line["status"]) for line in support.report(out)] == [
        ("000", "saved"),
        ("001", "saved"),
    ]
    assert submits(hosted) == 1  # the very same work: paid once
