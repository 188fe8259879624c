"""A manifest that has not changed is not read again: the plan is the same, and any change is noticed."""

import os
import shutil
import time

import pytest
import support
from support import go, report, rows, statuses, write_csv

from batch.core.config import Reading, Redo, RunSettings
from batch.core.errors import ManifestError
from batch.ledger.ledger import Ledger
from batch.ledger.states import Event, State
from batch.output.folder import OutputFolder
from batch.planning import planner
from batch.planning.planner import make_plan, preview

WAYS = {
    State.PLANNED: [],
    State.FAILED: [(Event.RESERVE, {}), (Event.REFUSE, {"error": "no", "error_class": "refused"})],
    State.UNKNOWN: [(Event.RESERVE, {}), (Event.LOSE, {})],
    State.ACCEPTED: [(Event.RESERVE, {}), (Event.ACCEPT, {"request_id": "{}"})],
    State.EXPIRED: [(Event.RESERVE, {}), (Event.ACCEPT, {"request_id": "{}"}), (Event.EXPIRE, {"cost": 30_000})],
    State.ABANDONED: [(Event.RESERVE, {}), (Event.LOSE, {}), (Event.ABANDON, {})],
    State.SAVED: [(Event.RESERVE, {}), (Event.ACCEPT, {"request_id": "{}"}),
                  (Event.COMPLETE, {"output_url": "https://h/x", "cost": 30_000}), (Event.KEEP, {"sha256": "aa"})],
}  # fmt: skip


class Shop:
    """A manifest with local pictures, and its folder in every state there is."""

    def __init__(self, tmp_path):
        self.base = tmp_path
        self.out = tmp_path / "out"
        self.manifest = tmp_path / "pairs.csv"
        self.lines = [line | {"image_1": "chair.png", "image_2": "oak.png"} for line in rows(2 * len(WAYS))]
        self.lines.append(self.lines[-1] | {"id": "twin"})
        self.lines.append(self.lines[0] | {"id": "any", "seed": -1})
        for name in ("chair", "oak"):
            support.picture(tmp_path / f"{name}.png", "red" if name == "oak" else "tan")
        self.write()
        self.folder = OutputFolder(self.out)
        self.out.mkdir()
        self.run()
        with self.open() as ledger:
            for number, way in enumerate([*WAYS.values()] * 2):
                job = self.row(ledger, f"row-{number}")["job"]
                with ledger.atomic():
                    for event, facts in way:
                        ledger.transition(job, event, **{name: str(value).format(f"r{number}") if name == "request_id" else value
                                                   for name, value in facts.items()})  # fmt: skip
                if way is WAYS[State.SAVED]:
                    self.save(ledger, f"row-{number}")

    def write(self):
        write_csv(self.manifest, self.lines)

    def open(self):
        return Ledger.create_or_open(self.folder.ledger)

    def row(self, ledger, row_id):
        return ledger.connection.execute("SELECT * FROM rows WHERE id=?", (row_id,)).fetchone()

    def save(self, ledger, row_id):
        output = self.row(ledger, row_id)["output"]
        support.picture(self.folder.images / output)
        with ledger.atomic() as connection:
            connection.execute("UPDATE rows SET kept_job=job, kept_output=output WHERE id=?", (row_id,))

    def settings(self, **given):
        return RunSettings(self.out, price=30_000, **given)

    def run(self, **given):
        """Plan and adopt as a run does; return the plan, and the rows and jobs as they are then."""
        with self.open() as ledger:
            with ledger.atomic():
                ledger.recover()
            staged = make_plan(self.manifest, self.settings(**given), ledger, self.folder, merge=None)
            with ledger.atomic():
                staged.adopt()
            everything = [
                [tuple(line) for line in ledger.connection.execute(f"SELECT * FROM {table} ORDER BY 1")]
                for table in ("rows", "jobs", "looked")
            ]
            named = [(name, ledger.meta(name)) for name in ("columns", "name", "ignore_url_query", "imprint")]
            return staged.plan, staged.found, everything, named


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def reads(monkeypatch):
    """Count how often a manifest is read."""
    times = []
    read = planner.stage_manifest
    monkeypatch.setattr(
        planner, "stage_manifest", lambda *args, **more: times.append(1) or read(*args, **more)
    )
    return times


def alike(shop, monkeypatch, **given):
    """Run a copy of the folder the slow way, then the folder itself as it comes; return (slow, as it comes)."""
    before = shop.base / "before"
    shutil.copytree(shop.out, before, symlinks=True)
    with monkeypatch.context() as patched:
        patched.setattr(planner, "is_unchanged", lambda *_: False)
        slow = shop.run(**given)
    shutil.rmtree(shop.out)
    before.rename(shop.out)
    return slow, shop.run(**given)


def nothing(_shop):
    pass


def delete_a_saved_picture(shop):
    next(shop.folder.images.glob("*.webp")).unlink()


def resolve_by_hand(shop):
    with shop.open() as ledger, ledger.atomic():
        for row in ledger.connection.execute("SELECT job FROM jobs WHERE state='unknown'").fetchall():
            ledger.transition(row["job"], Event.RESUBMIT)


def choose_some(shop):
    shop.run(only=("row-1",))


def leave_notes(shop):
    (shop.folder.images / "notes.txt").write_text("mine")
    (shop.folder.images / "mine").mkdir()


@pytest.mark.quick(1)
@pytest.mark.parametrize("again", [False, True], ids=["", "retry failed"])
@pytest.mark.parametrize(
    "between", [nothing, delete_a_saved_picture, resolve_by_hand, choose_some, leave_notes]
)
def test_the_quick_way_comes_to_the_same(shop, monkeypatch, reads, between, again):
    between(shop)
    reads.clear()
    slow, quick = alike(shop, monkeypatch, retry_failed=again)
    assert quick == slow
    assert len(reads) == 1  # the slow one


def test_a_preview_comes_to_the_same(shop, monkeypatch, reads):
    for again in (False, True):
        quick = preview(shop.manifest, shop.settings(retry_failed=again))
        with monkeypatch.context() as patched:
            patched.setattr(planner, "is_unchanged", lambda *_: False)
            assert quick == preview(shop.manifest, shop.settings(retry_failed=again))
    assert len(reads) == 2


def edit(shop):
    shop.lines[3]["prompt"] = "walnut"
    shop.write()


def edit_to_the_same_length_and_time(shop):
    times = shop.manifest.stat()
    shop.manifest.write_bytes(shop.manifest.read_bytes().replace(b"oak 3", b"elm 3"))
    os.utime(shop.manifest, ns=(times.st_atime_ns, times.st_mtime_ns))


def touch_a_texture(shop):
    os.utime(shop.base / "oak.png", ns=(1, 1))


def replace_a_texture(shop):
    """By another file of the same size and time."""
    old = (shop.base / "oak.png").stat()
    data = (shop.base / "oak.png").read_bytes()
    support.picture(shop.base / "other.png", "blue")
    (shop.base / "other.png").write_bytes(data)
    os.utime(shop.base / "other.png", ns=(old.st_atime_ns, old.st_mtime_ns))
    (shop.base / "other.png").replace(shop.base / "oak.png")


def run_another_manifest(shop):
    whole, shop.lines = shop.lines, shop.lines[:2]
    shop.write()
    shop.run()
    shop.lines = whole
    shop.write()


def merge(shop):
    edited = write_csv(shop.base / "edited.csv", [shop.lines[1]])
    with shop.open() as ledger:
        staged = make_plan(edited, shop.settings(), ledger, shop.folder, merge=True)
        with ledger.atomic():
            staged.adopt()


def put_a_file_in_the_way(shop):
    (shop.folder.images / "ROW-0.webp").write_text("not where case matters")


def link(shop):
    (shop.folder.images / "link").symlink_to(shop.folder.images)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "between",
    [edit, edit_to_the_same_length_and_time, touch_a_texture, replace_a_texture, run_another_manifest, merge,
     put_a_file_in_the_way, link],
)  # fmt: skip
def test_whatever_has_changed_the_manifest_is_read_again(shop, monkeypatch, reads, between):
    between(shop)
    reads.clear()
    slow, now = alike(shop, monkeypatch)
    assert now == slow
    assert len(reads) == 2


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    "given",
    [{"reading": Reading({"seed": "9"})}, {"reading": Reading(name="x-{id}.{ext}")}, {"reading": Reading(encoding="utf-8")},
     {"reading": Reading(ignore_url_query=True)}, {"only": ("row-1",)}],
)  # fmt: skip
def test_another_way_of_reading_is_another_manifest(shop, reads, given):
    reads.clear()
    shop.run(**given)
    assert len(reads) == 1


def test_a_missing_texture_is_told_as_ever(shop):
    (shop.base / "oak.png").unlink()
    with pytest.raises(ManifestError, match=r"oak\.png does not exist"):
        shop.run()


def test_a_file_in_the_way_is_told_as_ever(shop):
    (shop.folder.images / "row-0.webp").write_text("mine")
    with pytest.raises(ManifestError, match="which texbatch did not write"):
        shop.run()


def test_a_manifest_with_warnings_warns_every_time(shop, reads):
    for line in shop.lines:
        line["sed"] = ""  # like seed, which is there too
    for line in shop.lines:
        line.setdefault("seed", "")
    shop.write()
    told = [[str(problem) for problem in shop.run()[1].warnings] for _ in range(2)]
    assert told[0] == told[1] != []
    assert len(reads) == 2


def test_a_manifest_written_to_while_it_is_read_is_not_taken_for_read(shop, monkeypatch, reads):
    edit(shop)
    read = planner.stage_manifest

    def disturbed(*args, **more):
        staged = read(*args, **more)
        os.utime(shop.manifest, ns=(1, time.time_ns()))
        return staged

    monkeypatch.setattr(planner, "stage_manifest", disturbed)
    shop.run()
    monkeypatch.setattr(planner, "stage_manifest", read)
    with shop.open() as ledger:
        assert ledger.meta("imprint") is None


def test_a_redo_is_never_taken_for_unchanged(shop, reads):
    reads.clear()
    with shop.open() as ledger:
        redo = Redo(statuses=("saved",), seed="+1")
        staged = make_plan(shop.folder.report, shop.settings(redo=redo), ledger, shop.folder, merge=True)
        with ledger.atomic():
            staged.adopt()
        assert ledger.meta("imprint") is None
    assert len(reads) == 1


def test_yaml_is_always_read_since_its_globs_see_more_than_its_bytes(shop, reads):
    shop.manifest = shop.base / "pairs.yaml"
    shop.manifest.write_text(
        "matrix: {product: 'ch*.png', texture: ['oak'], image_2: ['oak.png']}\ndefaults: {prompt: x}\n"
    )
    shop.run()
    reads.clear()
    shop.run()
    assert len(reads) == 1


def test_a_run_with_nothing_to_do_reads_no_manifest_and_reports_as_before(api, tmp_path, reads):
    manifest, out = write_csv(tmp_path / "pairs.csv", rows(5)), tmp_path / "out"
    assert go(api, manifest, out).exit_code == 0
    before, calls = report(out), api.stats(jobs=False)["calls"]
    again = go(api, manifest, out)
    assert (again.exit_code, again.plan.done, len(reads)) == (0, 5, 1)
    assert (report(out), api.stats(jobs=False)["calls"]) == (before, calls)
    (out / "images" / "row-2.webp").unlink()
    assert go(api, manifest, out).exit_code == 0
    assert (len(reads), statuses(out), len(support.files_in(out / "images"))) == (1, {"saved": 5}, 4)
    assert api.stats(jobs=False)["calls"] == calls
