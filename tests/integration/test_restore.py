"""`texbatch restore`: saved images that left the folder, brought back; free where anybody has them, else after a yes."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
import support
from support import by_id, events, go, report, rows, submits

from batch import FolderError, RunSettings, UsageError, run
from batch.core.config import Backoff
from batch.maintenance.restore import RestoreHooks, Wanted, restore
from batch.server import LocalApi

pytestmark = pytest.mark.usefixtures("quick_polls", "hasty")

NOT_FOUND = {"action": "status", "text": "not_found"}
NO_PICTURE = {"call": "image", **NOT_FOUND}
NOT_LISTED = {"call": "history", **NOT_FOUND}
PRICE = 0.03


@pytest.fixture
def hasty(waits):
    """Wait a fraction of a second between tries."""
    waits(retry=Backoff(0.03, 0.05, least=0.5), history_tries=1)


class ParsedOptions(list):
    """A listener's answer to the one question: yes or no; what it was asked is kept."""

    def __init__(self, answer):
        super().__init__()
        self._answer = answer

    def __call__(self, gone):
        self.extend(gone)
        return self._answer


def no_key():
    raise UsageError("There is no API key.")


def bring(api, out, *only, asked=None, source=None, yes=False):
    service = no_key if api is None else lambda: support.service_of(api)
    listener = RestoreHooks() if asked is None else RestoreHooks(confirm=asked)
    return restore(out, Wanted(only, source, yes=yes), service, listener)


def brought(end):
    return (end.exit_code, end.from_folder, end.from_service, end.remade, sorted(end.left_out))


def states(out):
    return [(row["status"], row["output_state"]) for row in report(out)]


def sql(out, *texts):
    connection = sqlite3.connect(out / "ledger.sqlite")
    with contextlib.closing(connection), connection:
        for text in texts:
            connection.execute(text)


def grow_old(out):
    sql(out, "UPDATE jobs SET submitted_at = submitted_at - 7200")


def delete_images(out):
    for path in (out / "images").glob("*.webp"):
        path.unlink()


@pytest.fixture
def folder(api, pairs, out):
    """A folder of three saved rows, paid two hours ago."""
    go(api, pairs(3), out)
    grow_old(out)
    return out


def assert_as_before(api, out, submitted=3):
    assert states(out) == [("saved", "present")] * len(report(out))
    stats = api.stats()
    assert stats["calls"]["submit"] == submitted
    support.assert_pictures_belong(out, stats)
    support.assert_ledger_sound(out)


# -- from a folder ----------------------------------------------------------------------------------------------------


def test_a_folder_with_renamed_files_gives_the_images_back_and_keeps_its_own(api, folder, tmp_path):
    shop = tmp_path / "shop" / "deep"
    shop.mkdir(parents=True)
    for n, path in enumerate(sorted((folder / "images").glob("*.webp"))):
        path.rename(shop / f"Sessel {n}.WEBP")
    (shop / "broken link").symlink_to("nowhere")
    os.mkfifo(shop / "pipe")
    (shop / "notes.txt").write_text("no image")
    lying, before = support.files_in(tmp_path / "shop"), api.stats(jobs=False)["calls"]
    assert brought(bring(None, folder, source=tmp_path / "shop")) == (0, 3, 0, 0, [])
    assert support.files_in(tmp_path / "shop") == lying
    assert api.stats(jobs=False)["calls"] == before
    assert_as_before(api, folder)
    assert brought(bring(None, folder)) == (0, 0, 0, 0, [])


def renamed_inside(images):
    (images / "by hand").mkdir()
    (images / "row-1.webp").rename(images / "by hand" / "chair.webp")


def among_earlier_ones(images):
    (images / ".previous").mkdir()
    (images / "row-1.webp").rename(images / ".previous" / "row-1.20260101T000000Z.webp")


@pytest.mark.quick(1)
@pytest.mark.parametrize("leave", [renamed_inside, among_earlier_ones])
def test_what_lies_elsewhere_in_the_folder_needs_neither_a_key_nor_the_service(api, folder, leave):
    leave(folder / "images")
    assert brought(bring(None, folder)) == (0, 1, 0, 0, [])
    assert_as_before(api, folder)


@pytest.mark.slow
def test_images_that_were_swapped_are_put_right_when_they_are_named(api, folder):
    images = folder / "images"
    (images / "row-1.webp").rename(images / "x")
    (images / "row-2.webp").rename(images / "row-1.webp")
    (images / "x").rename(images / "row-2.webp")
    end = bring(None, folder)
    assert (brought(end), end.changed) == ((0, 0, 0, 0, []), ["row-1", "row-2"])
    assert brought(bring(None, folder, "row-1", "row-2")) == (0, 2, 0, 0, [])
    assert_as_before(api, folder)


@pytest.mark.slow
def test_the_image_of_a_row_that_shares_its_job_is_copied(api, pairs, out):
    go(api, pairs([line | {"seed": 7, "prompt": "oak"} for line in rows(2)]), out)
    (out / "images" / "row-1.webp").unlink()
    assert brought(bring(None, out)) == (0, 1, 0, 0, [])
    assert_as_before(api, out, submitted=1)


@pytest.mark.slow
def test_a_row_with_a_new_name_is_brought_to_its_new_place(api, pairs, out, tmp_path):
    manifest = pairs(2)
    go(api, manifest, out)
    (out / "images").rename(tmp_path / "shop")
    go(api, manifest, out, name="new-{id}.{ext}")
    assert brought(bring(None, out, source=tmp_path / "shop")) == (0, 2, 0, 0, [])
    assert support.files_in(out / "images") == ["new-row-0.webp", "new-row-1.webp"]
    assert_as_before(api, out, submitted=2)


def test_the_named_folder_must_be_one(folder, tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        bring(None, folder, source=tmp_path / "nowhere")


# -- changed images ---------------------------------------------------------------------------------------------------


def test_a_changed_image_is_left_unless_it_is_named_and_then_set_aside(api, folder):
    path = folder / "images" / "row-1.webp"
    path.write_bytes(b"retouched")
    end = bring(None, folder)
    assert (brought(end), end.changed, path.read_bytes()) == ((0, 0, 0, 0, []), ["row-1"], b"retouched")
    assert brought(bring(api, folder, "row-1")) == (0, 0, 1, 0, [])
    (aside,) = (folder / "images" / ".previous").iterdir()
    assert aside.read_bytes() == b"retouched"
    assert_as_before(api, folder)


@pytest.mark.slow
def test_a_folder_in_an_images_place_is_left_unless_it_is_named(api, folder):
    path = folder / "images" / "row-1.webp"
    path.unlink()
    path.mkdir()
    (path / "mine.txt").write_text("mine")
    assert brought(bring(None, folder)) == (0, 0, 0, 0, [])
    assert brought(bring(api, folder, "row-1")) == (0, 0, 1, 0, [])
    assert [found.read_text() for found in (folder / "images" / ".previous").rglob("mine.txt")] == ["mine"]
    assert_as_before(api, folder)


# -- which rows -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_only_the_named_rows_are_brought_back(api, folder):
    delete_images(folder)
    assert brought(bring(api, folder, "row-1")) == (0, 0, 1, 0, [])
    assert [state for _, state in states(folder)] == ["moved", "present", "moved"]


@pytest.mark.slow
def test_a_name_that_no_row_has_is_wrong_usage(folder):
    with pytest.raises(UsageError, match=r"no row of .* has the id 'row-9'"):
        bring(None, folder, "row-9")


def test_a_named_row_that_is_not_saved_is_said_so(api, pairs, out):
    api.settings(blocked_words=["oak 1"])
    go(api, pairs(2), out)
    end = bring(None, out, "row-0", "row-1")
    assert brought(end) == (1, 0, 0, 0, ["row-1"])
    assert "is failed: there is no saved image" in end.left_out["row-1"]
    assert [status for status, _ in states(out)] == ["saved", "failed"]
    assert brought(bring(None, out)) == (0, 0, 0, 0, [])


def test_a_folder_without_a_ledger_is_not_made(tmp_path):
    with pytest.raises(FolderError):
        bring(None, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


# -- from the service -------------------------------------------------------------------------------------------------


def test_the_service_gives_back_what_it_has_at_no_cost(api, folder):
    delete_images(folder)
    end = bring(api, folder)
    assert (brought(end), end.summary["spent_usd"]) == ((0, 0, 3, 0, []), pytest.approx(3 * PRICE))
    assert_as_before(api, folder)
    before = api.stats(jobs=False)["calls"]
    assert brought(bring(api, folder)) == (0, 0, 0, 0, [])
    assert api.stats(jobs=False)["calls"] == before


def test_the_history_knows_a_url_when_the_old_one_is_gone(api, folder):
    delete_images(folder)
    sql(folder, "UPDATE jobs SET output_url = output_url || '-old'")
    assert brought(bring(api, folder)) == (0, 0, 3, 0, [])
    assert_as_before(api, folder)


@pytest.mark.quick(1)
@pytest.mark.parametrize("old", [False, True], ids=["within its hour: the result", "later: the history"])
def test_a_base64_result_has_no_url(api, pairs, out, old):
    go(api, pairs(2, base64="true"), out)
    if old:
        grow_old(out)
        api.settings(record_lifetime_s=0)
    delete_images(out)
    assert brought(bring(api, out)) == (0, 0, 2, 0, [])
    assert_as_before(api, out, submitted=2)


def test_other_bytes_of_the_same_job_are_kept_with_their_new_hash(api, folder):
    """The service encoded it anew: it is what was paid for."""
    delete_images(folder)
    sql(folder, "UPDATE jobs SET sha256 = 'ff', width = 1 WHERE request_id IS NOT NULL")
    assert brought(bring(api, folder)) == (0, 0, 3, 0, [])
    assert_as_before(api, folder)
    assert {row["output_sha256"] for row in report(folder)}.isdisjoint({"ff"})


def answers(call, action, **more):
    return {"call": call, "action": action, **more}


OUT_OF_REACH = [
    pytest.param([NO_PICTURE, answers("history", "reset_before")], id="404, the history cuts"),
    pytest.param([NO_PICTURE, answers("history", "status", status=503)], id="404, the history 503"),
    pytest.param([NO_PICTURE, answers("history", "garbage")], id="404, the history HTML"),
    pytest.param([answers("image", "reset_before"), NOT_LISTED], id="RST, not listed"),
    pytest.param([answers("image", "status", status=503), NOT_LISTED], id="503, not listed"),
    pytest.param([answers("image", "status", status=429), NOT_LISTED], id="429, not listed"),
]  # fmt: skip
GONE = [
    pytest.param([NO_PICTURE, NOT_LISTED], id="404, not listed"),
    pytest.param([NO_PICTURE], id="404, listed with the same URL"),
    pytest.param([answers("image", "garbage"), NOT_LISTED], id="HTML"),
]


@pytest.mark.quick(1)
@pytest.mark.parametrize("yes", [False, True])
@pytest.mark.parametrize("faults", OUT_OF_REACH)
def test_what_the_service_may_still_have_is_never_offered_for_money(api, folder, faults, yes):
    delete_images(folder)
    api.faults(faults)
    asked = ParsedOptions(answer=True)
    end = bring(api, folder, asked=asked, yes=yes)
    assert brought(end) == (1, 0, 0, 0, ["row-0", "row-1", "row-2"])
    assert (asked, submits(api)) == ([], 3)
    assert "could not be fetched" in end.left_out["row-0"]
    api.faults([])
    assert brought(bring(api, folder)) == (0, 0, 3, 0, [])


def test_a_service_that_is_gone_as_a_whole_settles_nothing(pairs, out):
    with LocalApi(**support.QUICK) as api:
        go(api, pairs(2), out)
        service = support.service_of(api)
    grow_old(out)
    delete_images(out)
    end = restore(out, Wanted(yes=True), lambda: service)
    assert brought(end) == (1, 0, 0, 0, ["row-0", "row-1"])
    assert states(out) == [("saved", "moved")] * 2


def test_within_its_hour_an_image_that_is_denied_is_not_offered_for_money(api, pairs, out):
    go(api, pairs(1), out)
    delete_images(out)
    api.faults([NO_PICTURE, NOT_LISTED])
    asked = ParsedOptions(answer=True)
    assert brought(bring(api, out, asked=asked)) == (1, 0, 0, 0, ["row-0"])
    assert (asked, submits(api)) == ([], 1)


@pytest.mark.slow
def test_without_a_key_what_lies_on_disk_is_back_all_the_same(folder, tmp_path):
    (folder / "images" / "row-1.webp").rename(tmp_path / "x")
    (folder / "images" / "row-2.webp").unlink()
    with pytest.raises(UsageError, match="no API key"):
        bring(None, folder, source=tmp_path)
    assert [state for _, state in states(folder)] == ["present", "present", "moved"]


def test_the_key_of_another_account_is_refused(api, folder):
    delete_images(folder)
    with LocalApi(**support.QUICK) as other, pytest.raises(FolderError, match="belongs to"):
        bring(other, folder)
    assert states(folder) == [("saved", "moved")] * 3


# -- made again -------------------------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.parametrize("faults", GONE)
def test_what_nobody_has_is_asked_for_with_its_price_and_left_out_without_a_yes(api, folder, faults):
    delete_images(folder)
    api.faults(faults)
    asked = ParsedOptions(answer=False)
    end = bring(api, folder, asked=asked)
    assert brought(end) == (1, 0, 0, 0, ["row-0", "row-1", "row-2"])
    assert [(image.ids, image.price) for image in asked] == [((f"row-{n}",), 30_000) for n in range(3)]
    assert "about $0.03" in end.left_out["row-0"]
    assert (submits(api), states(folder)) == (3, [("saved", "moved")] * 3)


@pytest.mark.quick(1)
@pytest.mark.parametrize("way", ["yes", "asked"])
def test_with_a_yes_it_is_paid_for_once_and_saved(api, folder, way):
    delete_images(folder)
    api.faults([{**NO_PICTURE, "first": 2, "prompt": "oak 1"}, NOT_LISTED])
    end = bring(api, folder, asked=ParsedOptions(way == "asked"), yes=way == "yes")
    assert brought(end) == (0, 0, 2, 1, [])
    assert end.summary["spent_usd"] == pytest.approx(4 * PRICE)
    assert_as_before(api, folder, submitted=4)
    assert events(folder, "remake") == 1
    before = api.stats(jobs=False)["calls"]
    assert brought(bring(api, folder, yes=True)) == (0, 0, 0, 0, [])
    assert api.stats(jobs=False)["calls"] == before


REFUSED = answers("submit", "status", status=422, body={"error": "not this prompt"})
FAILING = [
    pytest.param([REFUSED], "not this prompt", id="refused"),
    pytest.param([answers("submit", "status", text="internal")], "", id="500 in the service's words"),
    pytest.param([answers("status", "status", status=422, body={"status": "FAILED", "error": "blocked"})], "blocked",
                 id="failed"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize(("faults", "why"), FAILING)
def test_a_remake_that_fails_leaves_the_row_saved_with_its_earlier_facts(
    api, pairs, folder, waits, faults, why
):
    waits(not_accepted=Backoff(0.002, 20.0))
    before = {row["id"]: row for row in report(folder)}
    delete_images(folder)
    api.faults([NO_PICTURE, NOT_LISTED, *faults])
    end = bring(api, folder, "row-1", yes=True)
    assert brought(end) == (1, 0, 0, 0, ["row-1"])
    assert why in end.left_out["row-1"]
    row = by_id(folder)["row-1"]
    told_otherwise = {"attempts", "run_id", "output_state", "submitted_at"}
    assert {name: cell for name, cell in row.items() if name not in told_otherwise} == {
        name: cell for name, cell in before["row-1"].items() if name not in told_otherwise
    }
    assert row["output_state"] == "moved"
    assert row["submitted_at"] < before["row-1"]["submitted_at"]  # still two hours ago
    support.assert_ledger_sound(folder)
    sent = submits(api)
    assert go(api, pairs(3), folder, retry_failed=True, yes=True).exit_code == 0
    assert submits(api) == sent


def test_a_remake_whose_answer_is_lost_is_unknown_and_never_sent_again_by_a_run(api, pairs, folder):
    delete_images(folder)
    sql(folder, "UPDATE jobs SET output_url = NULL")
    api.faults([NOT_LISTED])
    end = bring(api, folder, "row-1", asked=_from_then_on_out_of_reach(api))
    assert (end.exit_code, by_id(folder)["row-1"]["status"], submits(api)) == (4, "unknown", 4)
    api.faults([answers("history", "status", status=503)])
    assert go(api, pairs(3), folder, retry_failed=True, yes=True).exit_code == 4
    assert submits(api) == 4
    api.faults([])
    assert go(api, pairs(3), folder).exit_code == 0
    row = by_id(folder)["row-1"]
    assert (row["status"], row["output_state"], submits(api)) == ("saved", "present", 4)


def _from_then_on_out_of_reach(api):
    def asked(_gone):
        api.faults([answers("submit", "reset_after"), answers("history", "status", status=503)])
        return True

    return asked


@pytest.mark.slow
def test_the_local_service_makes_again_what_is_asked_for_only(tmp_path, pairs, out):
    support.picture(tmp_path / "chair.png")
    support.picture(tmp_path / "oak.png", "brown")
    manifest = pairs(rows(2, image_1="chair.png", image_2="oak.png"))
    assert run(manifest, RunSettings(out)).exit_code == 0
    (out / "images" / "row-1.webp").unlink()
    asked = ParsedOptions(answer=False)
    assert brought(bring(None, out, asked=asked)) == (1, 0, 0, 0, ["row-1"])
    assert ([image.ids for image in asked], states(out)) == (
        [("row-1",)],
        [("saved", "present"), ("saved", "moved")],
    )
    end = bring(None, out, yes=True)
    assert (brought(end), end.summary["simulated"]) == ((0, 0, 0, 1, []), True)
    assert states(out) == [("saved", "present")] * 2
    assert events(out, "remake") == 1


def test_an_input_that_has_gone_leaves_the_row_saved(tmp_path, pairs, out):
    support.picture(tmp_path / "chair.png")
    support.picture(tmp_path / "oak.png", "brown")
    assert run(pairs(rows(1, image_1="chair.png", image_2="oak.png")), RunSettings(out)).exit_code == 0
    (out / "images" / "row-0.webp").unlink()
    (tmp_path / "oak.png").unlink()
    end = bring(None, out, yes=True)
    assert brought(end) == (1, 0, 0, 0, ["row-0"])
    assert "oak.png" in end.left_out["row-0"]
    assert states(out) == [("saved", "moved")]
    assert by_id(out)["row-0"]["error"] == ""


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_lists_what_would_be_paid_and_takes_no_yes_from_the_environment(
    hosted, command, pairs, out, monkeypatch
):
    monkeypatch.setenv("TEXBATCH_YES", "1")
    command("run", pairs(3), "--out", out)
    grow_old(out)
    delete_images(out)
    hosted.faults([NO_PICTURE, NOT_LISTED])
    code, told, said = command("restore", out, "--only", "row-0,row-2")
    assert (code, submits(hosted)) == (1, 3)
    assert "to be made again: row-0, about $0.0300" in said
    assert "left out: row-2: nobody has it any more" in said
    assert told == "0 images brought back, 2 left out.\n"
    hosted.faults([NOT_LISTED, {**NO_PICTURE, "first": 2}])
    code, told, _ = command("restore", out, "--only", "row-0", "--yes")
    assert (code, told, submits(hosted)) == (0, "1 image brought back (1 made again), 0 left out.\n", 4)


@pytest.mark.slow
def test_the_command_needs_no_key_for_what_lies_on_disk(hosted, command, pairs, out, tmp_path, monkeypatch):
    command("run", pairs(3), "--out", out)
    (out / "images").rename(tmp_path / "shop")
    monkeypatch.delenv("SEGMIND_API_KEY")
    code, _, said = command("restore", out)
    assert (code, "There is no API key" in said) == (2, True)
    code, told, _ = command("restore", out, "--from", tmp_path / "shop")
    assert (code, told) == (0, "3 images brought back (3 from a folder), 0 left out.\n")
    assert command("restore", out)[:2] == (0, "Nothing to bring back.\n")
    assert command("restore", out, "-q")[:2] == (0, "")
    assert command("restore", out, "--only", " , ")[0] == 2
    assert submits(hosted) == 3


# -- kills ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_while_it_pays_again_the_next_run_fetches_what_was_paid_and_sends_nothing(api, pairs, folder):
    manifest = pairs(3)
    delete_images(folder)
    sql(folder, "UPDATE jobs SET output_url = NULL")
    api.faults([NOT_LISTED, answers("status", "no_answer")])
    env = support.environment(api)
    with support.Command("restore", folder, "--yes", env=env) as command:
        assert command.sees(lambda: submits(api) == 6)
        command.signal(9)
    api.faults([])
    sent = submits(api)
    before = {row["status"] for row in _states_in_ledger(folder)}
    assert before <= {"accepted", "sending", "saved"}
    assert go(api, manifest, folder, settle_s=0.1).exit_code == 0
    assert_as_before(api, folder, submitted=sent)


def _states_in_ledger(out):
    connection = sqlite3.connect(out / "ledger.sqlite")
    with contextlib.closing(connection):
        connection.row_factory = sqlite3.Row
        return connection.execute("SELECT state AS status FROM jobs").fetchall()


@pytest.mark.slow
def test_a_signal_while_it_pays_again_ends_in_order(api, folder):
    delete_images(folder)
    sql(folder, "UPDATE jobs SET output_url = NULL")
    api.faults([NOT_LISTED, answers("submit", "delay", after_s=0.2)])
    with support.Command("restore", folder, "--yes", env=support.environment(api)) as command:
        assert command.sees(lambda: submits(api) >= 4)
        assert command.signal(15) == 143
    assert {status for status, _ in states(folder)} <= {"saved", "pending"}
    support.assert_ledger_sound(folder)


@pytest.mark.slow
def test_a_restore_while_a_run_holds_the_folder_waits_for_nothing(folder):
    from batch.core.errors import FolderLocked  # noqa: PLC0415
    from batch.output.folder import OutputFolder  # noqa: PLC0415

    with OutputFolder(Path(folder)).hold(), pytest.raises(FolderLocked):
        bring(None, folder)


@pytest.mark.slow
def test_the_disk_fills_up_while_it_copies_and_the_next_restore_goes_on(api, folder, tmp_path, monkeypatch):
    from batch.output import files  # noqa: PLC0415

    shutil.move(folder / "images", tmp_path / "shop")
    written, atomic_write = [], files.atomic_write

    def no_room(path, *args):
        written.append(path)
        if path.suffix == ".webp" and len(written) > 1:
            raise OSError(28, "No space left on device")
        atomic_write(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(files, "atomic_write", no_room)
        with pytest.raises(FolderError, match="No space left"):
            bring(None, folder, source=tmp_path / "shop")
        with pytest.raises(FolderError, match="No space left"):  # nor is there room for what the service has
            bring(api, folder)
    assert brought(bring(None, folder, source=tmp_path / "shop")) == (0, 2, 0, 0, [])
    assert_as_before(api, folder)
