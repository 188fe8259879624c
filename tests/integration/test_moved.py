"""Images that left images/: their rows stay saved, and no run fetches or sends anything for them."""

import contextlib
import json
import os
import shutil
import sqlite3

import pytest
import support
from support import by_id, events, go, made_by, report, rows, statuses, submits

from batch import RunSettings, run
from batch.planning.planner import preview

pytestmark = pytest.mark.usefixtures("quick_polls")

NOT_FOUND = {"action": "status", "text": "not_found"}
FORGOTTEN = [{"call": call, **NOT_FOUND} for call in ("image", "history", "status", "result")]
"""What the service says of a job of nine days ago."""


def states(out):
    return {row["id"]: (row["status"], row["output_state"]) for row in report(out)}


def all_are(state, count=3):
    return {f"row-{n}": ("saved", state) for n in range(count)}


def images(out):
    return sorted((out / "images").glob("*.webp"))


def move_away(out, to):
    to.mkdir(exist_ok=True)
    for path in images(out):
        path.rename(to / path.name)


def nine_days_later(out):
    connection = sqlite3.connect(out / "ledger.sqlite")
    with contextlib.closing(connection), connection:
        connection.execute("UPDATE jobs SET submitted_at = submitted_at - 9 * 86400")


@pytest.fixture
def at_home(tmp_path, pairs):
    """A manifest of three rows whose pictures are on this machine."""
    support.picture(tmp_path / "chair.png")
    support.picture(tmp_path / "oak.png", "brown")
    return pairs(rows(3, image_1="chair.png", image_2="oak.png"))


def night(api, manifest, out, **settings):
    """Plan and run; the plan says what the run does: nothing."""
    before = api.stats(jobs=False)["calls"]
    planned, _, _ = preview(manifest, RunSettings(out, **settings))
    end = go(api, manifest, out, **settings)
    assert (planned.to_send, end.plan.to_send, end.exit_code) == (0, 0, 0)
    assert api.stats(jobs=False)["calls"] == before
    return end.summary


# -- the story -----------------------------------------------------------------------------------------------------------


def test_images_moved_to_the_shop_are_neither_fetched_nor_sent_and_present_when_put_back(
    api, pairs, out, tmp_path
):
    manifest, shop = pairs(3), tmp_path / "shop"
    go(api, manifest, out)
    saved = {row["id"]: row["output_sha256"] for row in report(out)}
    move_away(out, shop)
    figures = night(api, manifest, out)
    assert (states(out), figures["moved"], figures["saved"]) == (all_are("moved"), 3, 3)
    nine_days_later(out)
    api.faults(FORGOTTEN)
    for settings in ({}, {"retry_failed": True, "yes": True}):
        assert night(api, manifest, out, **settings)["spent_usd"] == pytest.approx(0.09)
        assert states(out) == all_are("moved")
    for path in shop.iterdir():
        path.rename(out / "images" / path.name)
    assert night(api, manifest, out)["moved"] == 0
    assert states(out) == all_are("present")
    assert {row["id"]: row["output_sha256"] for row in report(out)} == saved


@pytest.mark.slow
def test_the_same_story_with_the_local_service(at_home, out, tmp_path):
    manifest, shop = at_home, tmp_path / "shop"
    assert run(manifest, RunSettings(out)).exit_code == 0
    spent = support.summary(out)["spent_usd"]
    move_away(out, shop)
    for settings in ({}, {"retry_failed": True, "yes": True}):
        planned, _, _ = preview(manifest, RunSettings(out, **settings))
        end = run(manifest, RunSettings(out, **settings))
        assert (planned.to_send, end.exit_code, end.summary["spent_usd"]) == (0, 0, spent)
        assert states(out) == all_are("moved")
    assert events(out, "reserve") == 3
    for path in shop.iterdir():
        path.rename(out / "images" / path.name)
    assert run(manifest, RunSettings(out)).exit_code == 0
    assert states(out) == all_are("present")


@pytest.mark.slow
def test_the_commands_say_so(hosted, command, pairs, out, tmp_path):
    manifest = pairs(3)
    command("run", manifest, "--out", out)
    move_away(out, tmp_path / "shop")
    code, told, _ = command("status", out, "--json")
    assert (code, json.loads(told)["moved"], json.loads(told)["changed"]) == (0, 3, 0)
    code, told, _ = command("plan", manifest, "--out", out)
    assert (code, "0 jobs to send" in told) == (0, True)
    code, told, _ = command("run", manifest, "--out", out)
    assert (
        code,
        told.startswith("Nothing to do: 3 of 3 saved already (3 moved away), $0.00 this run ($0.09 in all)."),
    ) == (0, True)
    assert command("report", out)[0] == 0
    assert (states(out), support.summary(out)["moved"]) == (all_are("moved"), 3)
    assert command("retry", out)[0] == 0
    assert submits(hosted) == 3


# -- ways to leave a folder ---------------------------------------------------------------------------------------------


def deleted(images):
    (images / "row-1.webp").unlink()


def renamed_as_a_whole(images):
    images.rename(images.with_name("old-images"))


def not_mounted(images):
    for path in images.iterdir():
        path.unlink()


def renamed_inside(images):
    (images / "row-1.webp").rename(images / "chair in oak.webp")


def moved_and_linked(images):
    (images / "row-1.webp").rename(images.parent / "shop.webp")
    (images / "row-1.webp").symlink_to("../shop.webp")


def linked_to_nothing(images):
    (images / "row-1.webp").unlink()
    (images / "row-1.webp").symlink_to("/not/mounted/row-1.webp")


def made_a_folder(images):
    (images / "row-1.webp").unlink()
    (images / "row-1.webp").mkdir()


def made_a_pipe(images):
    (images / "row-1.webp").unlink()
    os.mkfifo(images / "row-1.webp")


def edited(images):
    with (images / "row-1.webp").open("ab") as file:
        file.write(b"watermark")


def edited_at_the_same_size_and_time(images):
    """As far as its size goes; what is written now has another time."""
    path = images / "row-1.webp"
    path.write_bytes(bytes(len(path.read_bytes())))


def swapped(images):
    (images / "row-1.webp").rename(images / "x")
    (images / "row-2.webp").rename(images / "row-1.webp")
    (images / "x").rename(images / "row-2.webp")


def put_back_as_a_copy(images):
    shutil.copyfile(images / "row-1.webp", images.parent / "copy")
    (images / "row-1.webp").unlink()
    shutil.copyfile(images.parent / "copy", images / "row-1.webp")


def touched(images):
    os.utime(images / "row-1.webp", (1, 1))


LEAVINGS = [
    (deleted, {"row-1": "moved"}),
    (renamed_as_a_whole, {"row-0": "moved", "row-1": "moved", "row-2": "moved"}),
    (not_mounted, {"row-0": "moved", "row-1": "moved", "row-2": "moved"}),
    (renamed_inside, {"row-1": "moved"}),
    (moved_and_linked, {}),
    (linked_to_nothing, {"row-1": "moved"}),
    (made_a_folder, {"row-1": "changed"}),
    (made_a_pipe, {"row-1": "changed"}),
    (edited, {"row-1": "changed"}),
    (edited_at_the_same_size_and_time, {"row-1": "changed"}),
    (swapped, {"row-1": "changed", "row-2": "changed"}),
    (put_back_as_a_copy, {}),
    (touched, {}),
]


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("leave", "expected"), [pytest.param(*case, id=case[0].__name__) for case in LEAVINGS]
)
def test_however_an_image_leaves_nothing_is_done_and_the_report_says_which(api, pairs, out, leave, expected):
    manifest = pairs(3)
    go(api, manifest, out)
    leave(out / "images")
    lying = support.files_in(out / "images") if (out / "images").exists() else []
    for settings in ({}, {"retry_failed": True, "yes": True}):
        figures = night(api, manifest, out, **settings)
        assert states(out) == all_are("present") | {name: ("saved", now) for name, now in expected.items()}
        assert (figures["moved"], figures["changed"]) == tuple(
            list(expected.values()).count(state) for state in ("moved", "changed")
        )
    assert (support.files_in(out / "images") if (out / "images").exists() else []) == lying


def test_two_rows_that_share_a_job_lose_one_image(api, pairs, out):
    """Nothing is copied back unasked: whoever deletes a file wants it gone."""
    manifest = pairs([line | {"seed": 7, "prompt": "oak"} for line in rows(2)])
    go(api, manifest, out)
    (out / "images" / "row-1.webp").unlink()
    night(api, manifest, out)
    assert states(out) == {"row-0": ("saved", "present"), "row-1": ("saved", "moved")}


@pytest.mark.slow
def test_a_failed_row_beside_moved_ones_is_still_retried(api, pairs, out, tmp_path):
    api.settings(blocked_words=["oak 1"])
    manifest = pairs(3)
    go(api, manifest, out)
    move_away(out, tmp_path / "shop")
    api.settings(blocked_words=[])
    assert go(api, manifest, out, retry_failed=True).exit_code == 0
    assert submits(api) == 4
    assert {row["id"] for row in report(out) if row["output_state"] == "present"} == {"row-1"}


# -- what is read, and what is remembered ---------------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch):
    """The files that are read to learn whether they have changed."""
    from batch.output import images  # noqa: PLC0415

    read, digest = [], images.sha256_of
    monkeypatch.setattr(images, "sha256_of", lambda path: read.append(path.name) or digest(path))
    return read


def test_a_file_is_read_only_when_its_size_or_time_differs_and_only_once(api, pairs, out, hashed):
    manifest = pairs(3)
    go(api, manifest, out)
    night(api, manifest, out)
    assert hashed == []
    touched(out / "images")
    with (out / "images" / "row-2.webp").open("ab") as file:
        file.write(b"x")
    night(api, manifest, out)
    night(api, manifest, out)
    assert hashed == ["row-1.webp", "row-2.webp"]
    assert by_id(out)["row-2"]["output_state"] == "changed"


def test_a_changed_image_that_is_put_back_is_present(api, pairs, out):
    manifest = pairs(1)
    go(api, manifest, out)
    path = out / "images" / "row-0.webp"
    saved = path.read_bytes()
    path.write_bytes(b"other")
    night(api, manifest, out)
    path.write_bytes(saved)
    night(api, manifest, out)
    assert states(out) == all_are("present", 1)


# -- rows that want another place -------------------------------------------------------------------------------------------


def test_a_renamed_row_whose_image_is_nowhere_is_looked_for_once(api, pairs, out, tmp_path, monkeypatch):
    from batch.output.previous import PreviousVersions  # noqa: PLC0415

    seen, search = [], PreviousVersions.index
    monkeypatch.setattr(
        PreviousVersions, "index", lambda *args, **more: seen.append(1) or search(*args, **more)
    )
    manifest = pairs(2)
    go(api, manifest, out)
    move_away(out, tmp_path / "shop")
    before = api.stats(jobs=False)["calls"]
    for _ in range(3):
        assert go(api, manifest, out, name="new-{id}.{ext}").exit_code == 0
        assert states(out) == all_are("moved", 2)
    assert (len(seen), api.stats(jobs=False)["calls"]) == (1, before)
    assert by_id(out)["row-0"]["output_path"] == "images/new-row-0.webp"
    (tmp_path / "shop" / "row-0.webp").rename(out / "images" / "row-0.webp")
    assert go(api, manifest, out, name="new-{id}.{ext}").exit_code == 0
    assert states(out) == {"row-0": ("saved", "present"), "row-1": ("saved", "moved")}
    assert (len(seen), api.stats(jobs=False)["calls"]) == (2, before)


@pytest.mark.slow
def test_a_new_row_that_shares_a_paid_job_whose_image_is_nowhere_costs_nothing(api, pairs, out, tmp_path):
    (line,) = rows(1)
    go(api, pairs([line]), out)
    move_away(out, tmp_path / "shop")
    heard = []
    listener = support_listener(heard)
    end = go(api, pairs([line, line | {"id": "twin"}]), out, listener=listener)
    assert (end.exit_code, submits(api)) == (0, 1)
    assert states(out) == {"row-0": ("saved", "moved"), "twin": ("saved", "moved")}
    assert any(
        "1 saved image is nowhere in the folder" in text and "texbatch restore" in text for text in heard
    )


def support_listener(heard):
    from batch import RunHooks  # noqa: PLC0415

    return RunHooks(warn=heard.append)


@pytest.mark.slow
def test_a_row_back_at_earlier_work_whose_image_is_nowhere_sets_the_later_one_aside(api, pairs, out):
    (line,) = rows(1)
    go(api, pairs([line]), out)
    go(api, pairs([line | {"prompt": "walnut"}]), out, yes=True)
    later = (out / "images" / "row-0.webp").read_bytes()
    shutil.rmtree(out / "images" / ".previous")
    assert go(api, pairs([line]), out).exit_code == 0
    assert (states(out), submits(api)) == (all_are("moved", 1), 2)
    (aside,) = (out / "images" / ".previous").iterdir()
    assert aside.read_bytes() == later
    assert go(api, pairs([line | {"prompt": "walnut"}]), out).exit_code == 0
    assert (out / "images" / "row-0.webp").read_bytes() == later
    assert submits(api) == 2


def test_the_place_of_a_changed_or_moved_image_stays_its_rows(api, pairs, out):
    """No "would overwrite … which texbatch did not write", also when the manifest is read anew; and an edit is not lost."""
    manifest = pairs(2)
    go(api, manifest, out)
    (out / "images" / "row-0.webp").write_bytes(b"mine")
    (out / "images" / "row-1.webp").unlink()
    lines = [line | {"note": "read anew"} for line in rows(2)]
    night(api, pairs(lines), out)
    assert [now for _, now in states(out).values()] == ["changed", "moved"]
    assert go(api, pairs([line | {"prompt": "walnut"} for line in lines]), out, yes=True).exit_code == 0
    assert states(out) == all_are("present", 2)
    (aside,) = (out / "images" / ".previous").iterdir()
    assert aside.read_bytes() == b"mine"


# -- folders of the version before -----------------------------------------------------------------------------------------


def of_the_version_before(out, service, *texts):
    """Let the ledger be one of the version before, as it leaves it with these statements."""
    made_by(out, 1, service=service)
    with contextlib.closing(sqlite3.connect(out / "ledger.sqlite", isolation_level=None)) as connection:
        for text in texts:
            connection.execute(text)


def hosted_by(api):
    """Return how the version before named the account of a server."""
    account = support.service_of(api).account
    return f"{account.host} with key {account.key}"


CLEARED = "UPDATE rows SET kept_job=NULL, kept_output=NULL"
HAPPENED = "INSERT INTO events (job, attempt, event, state, at) SELECT job, 1, '{}', '{}', 1 FROM jobs"
BEFORE = [
    pytest.param([], id="never looked at"),
    pytest.param([CLEARED], id="cleared"),
    pytest.param([CLEARED, "UPDATE jobs SET state='completed'", HAPPENED.format("refetch", "completed")],
                 id="to be fetched again"),
    pytest.param([CLEARED, "UPDATE jobs SET state='failed', error_class='unusable_picture', error='gone'",
                  HAPPENED.format("unusable", "failed")], id="failed after nine days"),
    pytest.param([CLEARED, "UPDATE jobs SET state='expired', error_class='expired', error='gone'",
                  HAPPENED.format("expire", "expired")], id="expired"),
]  # fmt: skip


@pytest.mark.quick(1)
@pytest.mark.parametrize("put_back", [False, True], ids=["away", "put back"])
@pytest.mark.parametrize("left_as", BEFORE)
def test_an_upgrade_fetches_and_sends_nothing_for_images_that_were_moved_away(
    api, pairs, out, tmp_path, left_as, put_back
):
    manifest, shop = pairs(3), tmp_path / "shop"
    go(api, manifest, out)
    nine_days_later(out)
    move_away(out, shop)
    of_the_version_before(out, hosted_by(api), *left_as)
    if put_back:
        for path in shop.iterdir():
            path.rename(out / "images" / path.name)
    api.faults(FORGOTTEN)
    for settings in ({}, {"retry_failed": True, "yes": True}):
        figures = night(api, manifest, out, **settings)
        assert (states(out), figures["spent_usd"]) == (all_are("present" if put_back else "moved"), 0.09)
    assert all(row["error"] == row["error_class"] == "" for row in report(out))
    support.assert_ledger_sound(out)


@pytest.mark.slow
def test_an_upgrade_makes_nothing_again_with_the_local_service(at_home, out, tmp_path):
    """Killed while it made again what had been moved away: the ledger says so in its events alone."""
    manifest = at_home
    assert run(manifest, RunSettings(out)).exit_code == 0
    spent = support.summary(out)["spent_usd"]
    move_away(out, tmp_path / "shop")
    of_the_version_before(
        out, "local", CLEARED, "UPDATE jobs SET state='planned', sha256=NULL, cost=NULL, request_id=NULL",
        HAPPENED.format("restart", "planned"),
    )  # fmt: skip
    for _ in range(2):
        planned, _, _ = preview(manifest, RunSettings(out))
        end = run(manifest, RunSettings(out))
        assert (planned.to_send, end.exit_code, end.summary["spent_usd"]) == (0, 0, spent)
        assert states(out) == all_are("moved")
    assert statuses(out) == {"saved": 3}
    support.assert_ledger_sound(out)
