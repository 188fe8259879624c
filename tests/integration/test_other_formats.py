"""Paid images in another format than asked: kept under their own suffix, once, and never over anything else."""

import hashlib
import io

import pytest
import support
from PIL import Image
from support import by_id, files_in, go, rows, statuses, submits

from batch.core.config import Backoff
from batch.server import placeholder_image

pytestmark = pytest.mark.usefixtures("quick_polls")

SUFFIX = {"jpeg": "jpg", "png": "png", "webp": "webp"}


@pytest.fixture
def gives(monkeypatch):
    """Let the service give every image in one format, whatever was asked for; or what a function of the body returns."""

    def give(what):
        made = what if callable(what) else lambda body: placeholder_image(body | {"image_format": what})
        monkeypatch.setattr("batch.server.engines.placeholder.placeholder_image", made)

    return give


def calls(api):
    return api.stats(jobs=False)["calls"]


def images(out):
    return files_in(out / "images")


def assert_a_night_changes_nothing(api, manifest, out, **settings):
    """The same command again asks for nothing, copies nothing and moves nothing."""
    before = calls(api), images(out), support.report(out)
    end = go(api, manifest, out, **settings)
    assert (end.exit_code, end.plan.done, end.plan.to_send) == (0, len(support.report(out)), 0)
    assert (calls(api), images(out), support.report(out)) == before


@pytest.mark.quick(1)
@pytest.mark.parametrize("base64_text", ["false", "true"])
@pytest.mark.parametrize(
    ("asked", "came"), [("jpeg", "webp"), ("jpeg", "png"), ("webp", "png"), ("png", "jpeg")]
)
def test_an_image_in_another_format_is_kept_under_its_own_suffix(
    api, pairs, out, gives, asked, came, base64_text
):
    gives(came)
    manifest = pairs(rows(3, image_format=asked, base64=base64_text))
    assert go(api, manifest, out).exit_code == 0
    assert images(out) == [f"row-{n}.{SUFFIX[came]}" for n in range(3)]
    row = by_id(out)["row-1"]
    assert (row["status"], row["error_class"]) == ("saved", "other_format")
    assert row["error"] == f"came as {came} although {asked} was asked for; kept under its own suffix"
    assert row["output_path"] == f"images/row-1.{SUFFIX[came]}"
    data = (out / row["output_path"]).read_bytes()
    assert (hashlib.sha256(data).hexdigest(), int(row["width"])) == (
        row["output_sha256"],
        Image.open(io.BytesIO(data)).width,
    )
    assert support.table(out / "failures.csv") == []
    assert (support.summary(out)["top_errors"], support.summary(out)["failed"]) == ([], 0)
    assert calls(api)["image"] == (0 if base64_text == "true" else 3)
    for _ in range(2):
        assert_a_night_changes_nothing(api, manifest, out)


def test_it_is_said_once_how_many_came_so(hosted, command, pairs, out, gives):
    gives("webp")
    manifest = pairs(rows(3, image_format="jpeg"))
    code, _, told = command("run", manifest, "--out", out)
    said = "3 images came as WEBP although jpeg was asked for; kept under their own suffix."
    assert (code, told.count(said)) == (0, 1)
    code, _, told = command("run", manifest, "--out", out)
    assert (code, "although" in told) == (0, False)


@pytest.mark.slow
def test_rows_of_one_job_each_get_it_under_their_own_name(api, pairs, out, gives):
    gives("webp")
    twins = [line | {"seed": 7, "prompt": "oak", "image_format": "jpeg"} for line in rows(3)]
    manifest = pairs(twins[:2])
    assert (go(api, manifest, out).exit_code, submits(api)) == (0, 1)
    assert images(out) == ["row-0.webp", "row-1.webp"]
    assert_a_night_changes_nothing(api, manifest, out)
    manifest = pairs(twins)  # one more row that wants the same work
    assert (go(api, manifest, out).exit_code, submits(api)) == (0, 1)
    assert images(out) == ["row-0.webp", "row-1.webp", "row-2.webp"]
    assert_a_night_changes_nothing(api, manifest, out)


@pytest.mark.quick(1)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_the_name_of_another_row_is_left_to_it(api, pairs, out, gives, order):
    """Three rows with one stem, one of them asks for WebP: all come as WebP."""
    gives("webp")
    lines = [line | {"image_format": f, "product": "sofa"} for line, f in zip(rows(3), SUFFIX, strict=True)]
    manifest = pairs([lines[n] for n in order])
    assert go(api, manifest, out, name="{product}.{ext}").exit_code == 0
    assert images(out) == ["sofa-2.webp", "sofa-3.webp", "sofa.webp"]
    stats = api.stats()
    bodies = {job["request_id"]: job["body"] for job in stats["jobs"]}
    for row in support.report(out):
        came = placeholder_image(bodies[row["request_id"]] | {"image_format": "webp"})
        assert (out / row["output_path"]).read_bytes() == came
    assert by_id(out)["row-2"]["output_path"] == "images/sofa.webp"
    for _ in range(2):
        assert_a_night_changes_nothing(api, manifest, out, name="{product}.{ext}")


@pytest.mark.slow
def test_two_rows_with_the_very_same_bytes_do_not_share_a_file(api, pairs, out, gives):
    gives(lambda _: placeholder_image({"image_format": "webp"}))
    lines = [line | {"image_format": f, "product": "sofa"} for line, f in zip(rows(2), SUFFIX, strict=False)]
    manifest = pairs(lines)
    assert go(api, manifest, out, name="{product}.{ext}").exit_code == 0
    assert images(out) == ["sofa-2.webp", "sofa.webp"]
    assert_a_night_changes_nothing(api, manifest, out, name="{product}.{ext}")


@pytest.mark.quick(1)
@pytest.mark.parametrize("taken", ["file", "link", "folder"])
def test_what_texbatch_did_not_write_is_never_written_over(api, pairs, out, gives, taken, tmp_path):
    gives("webp")
    manifest = pairs(rows(1, image_format="jpeg"))
    name = out / "images" / "row-0.webp"
    name.parent.mkdir(parents=True)
    match taken:
        case "link":
            name.symlink_to(tmp_path / "nowhere")
        case "folder":
            name.mkdir()
        case _:
            name.write_bytes(b"precious")
    assert go(api, manifest, out).exit_code == 0
    assert by_id(out)["row-0"]["output_path"] == "images/row-0-2.webp"
    assert (name.is_symlink(), name.is_dir()) == (taken == "link", taken == "folder")
    if name.is_file():
        assert name.read_bytes() == b"precious"
    assert_a_night_changes_nothing(api, manifest, out)


@pytest.mark.slow
def test_a_row_that_is_renamed_takes_its_image_along(api, pairs, out, gives):
    gives("webp")
    lines = rows(2, image_format="jpeg", product="x")
    manifest = pairs(lines)
    go(api, manifest, out)
    name = "{product}/{id}.{ext}"
    assert (go(api, manifest, out, name=name).exit_code, submits(api)) == (0, 2)
    assert [path for path in images(out) if ".previous" not in path] == ["x/row-0.webp", "x/row-1.webp"]
    assert_a_night_changes_nothing(api, manifest, out, name=name)


@pytest.mark.slow
def test_a_redo_that_comes_so_again_replaces_the_earlier_one(api, pairs, out, gives):
    gives("webp")
    lines = rows(1, image_format="jpeg")
    go(api, pairs(lines), out)
    first = (out / "images/row-0.webp").read_bytes()
    lines[0]["prompt"] = "walnut"
    manifest = pairs(lines)
    assert go(api, manifest, out, yes=True).exit_code == 0
    (earlier,) = [path for path in images(out) if path.startswith(".previous/")]
    assert (out / "images" / earlier).read_bytes() == first
    assert [path for path in images(out) if path != earlier] == ["row-0.webp"]
    assert_a_night_changes_nothing(api, manifest, out)


@pytest.mark.slow
def test_a_row_whose_format_came_right_later_has_its_own_name_again(api, pairs, out, gives):
    gives("webp")
    lines = rows(1, image_format="jpeg")
    go(api, pairs(lines), out)
    gives("jpeg")
    lines[0]["prompt"] = "walnut"
    manifest = pairs(lines)
    assert go(api, manifest, out, yes=True).exit_code == 0
    row = by_id(out)["row-0"]
    assert (row["output_path"], row["error_class"], row["error"]) == ("images/row-0.jpg", "", "")
    assert [path for path in images(out) if ".previous" not in path] == ["row-0.jpg"]
    assert_a_night_changes_nothing(api, manifest, out)


def test_an_image_that_was_written_before_a_kill_is_taken_for_what_it_is(api, pairs, out, gives):
    gives("webp")
    manifest = pairs(rows(2, image_format="jpeg"))
    go(api, manifest, out)
    support.sql(
        out,
        "UPDATE jobs SET state='completed', sha256=NULL, error_class=NULL, error=NULL",
        "UPDATE rows SET kept_job=NULL, kept_output=NULL, kept_for=NULL",
        "INSERT INTO events (job, attempt, event, state, at) SELECT job, 1, 'complete', 'completed', 1 FROM jobs",
    )
    assert (go(api, manifest, out).exit_code, statuses(out)) == (0, {"saved": 2})
    assert images(out) == ["row-0.webp", "row-1.webp"]
    assert_a_night_changes_nothing(api, manifest, out)


@pytest.mark.slow
def test_a_paid_image_that_no_row_wants_any_more_is_set_aside_under_its_own_suffix(api, pairs, out, gives):
    gives("webp")
    api.faults([{"call": "status", "action": "status", "status": 503}])
    assert go(api, pairs(rows(1, image_format="jpeg")), out, job_timeout_s=0.05).exit_code == 7
    api.faults([])
    assert go(api, pairs(rows(1, first=1, image_format="jpeg")), out, yes=True).exit_code == 0
    assert [path.rpartition(".")[2] for path in images(out)] == ["webp", "webp"]


# -- nothing that comes can be kept ------------------------------------------------------------------------------------

RUBBISH = {
    "HTML": b"<!doctype html><p>soon</p>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
}


@pytest.fixture
def hasty(waits):
    """Let an image be given up at once."""
    waits(image_s=0.05, no_answer=Backoff(0.04, 30.0, least=0.5))


@pytest.mark.quick(1)
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", RUBBISH)
def test_a_run_of_whose_first_images_none_can_be_kept_stops(api, pairs, out, gives, kind):
    """It says why, submits nothing more, and the next run takes up what is paid."""
    gives(lambda _: RUBBISH[kind])
    manifest = pairs(60)
    end = go(api, manifest, out, job_timeout_s=0.25, concurrency=4)
    assert (end.exit_code, statuses(out)) == (3, {"pending": 60})
    assert end.stopped.startswith(
        "None of the first 20 finished images could be kept: the result does not decode as an image"
    )
    assert 20 <= submits(api) <= 20 + 4
    assert by_id(out)["row-0"]["error_class"] == "no_image"


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_one_image_that_came_lets_the_run_go_on(api, pairs, out, gives):
    gives(lambda body: placeholder_image(body) if body["prompt"] == "oak 0" else b"soon")
    end = go(api, pairs(26), out, job_timeout_s=0.1, concurrency=4)
    assert (submits(api), end.stopped) == (26, None)
    assert end.exit_code in {1, 7}  # 7: on a busy machine one of them is still at work


@pytest.mark.slow
def test_images_in_another_format_do_not_stop_a_run(api, pairs, out, gives):
    gives("png")
    assert go(api, pairs(30), out).exit_code == 0
    assert (submits(api), calls(api)["image"], statuses(out)) == (30, 30, {"saved": 30})


# -- moved away --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("back", ["from a folder", "from the service"])
def test_an_image_that_was_moved_away_stays_so_and_comes_back_under_its_own_suffix(
    hosted, command, pairs, out, gives, tmp_path, back
):
    gives("webp")
    manifest = pairs(rows(3, image_format="jpeg"))
    assert command("run", manifest, "--out", out)[0] == 0
    shop, before = tmp_path / "shop", images(out)
    (out / "images").rename(shop)
    for _ in range(2):
        assert command("run", manifest, "--out", out)[0] == 0
        assert (statuses(out), submits(hosted), calls(hosted)["image"]) == ({"saved": 3}, 3, 3)
    found = ("--from", shop) if back == "from a folder" else ()
    assert command("restore", out, *found)[0] == 0
    assert images(out) == before
    assert by_id(out)["row-1"]["output_path"] == "images/row-1.webp"
    assert_a_night_changes_nothing(hosted, manifest, out)
