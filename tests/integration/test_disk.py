"""The disk and the ledger in trouble: a clear error, nothing lost, nothing overwritten, no second POST afterwards."""

import contextlib
import errno
import functools
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
import support
from support import by_id, go, rows, statuses, submits, summary, write_csv

from batch import FolderError, FolderLocked, RunHooks, RunSettings, Service
from batch.client.client import Client
from batch.core.config import Backoff
from batch.ledger import connection as opening
from batch.ledger.ledger import Ledger
from batch.output.files import LocalImageStore
from batch.output.other_formats import OtherFormats
from batch.output.previous import PreviousVersions
from batch.server import LocalProcess

SET_UP = opening._set_up
"""As it is, before tests share what it makes."""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of eight megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=False, capture_output=True
    )
    if not done or done.returncode:
        pytest.skip("a file system can be mounted by root only")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def assert_finishes(api, manifest, out, count):
    """The same command goes on and ends: every row saved, each accepted once."""
    api.faults([])
    assert go(api, manifest, out, settle_s=0.3).exit_code == 0
    stats = api.stats()
    assert (statuses(out), stats["accepted"]) == ({"saved": count}, count)
    assert support.accepted_twice(stats) == []
    support.assert_pictures_belong(out, stats)
    support.assert_ledger_sound(out)
    assert not [name for name in support.files_in(out) if name.endswith(".part")]


def after(event, number, act):
    """Return a listener that acts once, at the nth event of this kind."""
    heard = []

    def hear(progress):
        if progress.message.startswith(event):
            heard.append(progress.message)
            if len(heard) == number:
                act()

    return RunHooks(progress=hear)


def sql(out, text, *values):
    connection = sqlite3.connect(out / "ledger.sqlite")
    try:
        with connection:
            return connection.execute(text, values).fetchall()
    finally:
        connection.close()


# -- no room ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_stops_the_run_and_the_same_command_finishes_it(api, pairs, small_disk):
    """The disk is filled to the last byte while rows are on their way; then room is made."""
    out, ballast = small_disk / "out", small_disk / "ballast"
    manifest = pairs(40)

    def fill():
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    with pytest.raises(FolderError, match=r"[Mm]ake room") as full:
        go(api, manifest, out, listener=after("job.saved", 5, fill), concurrency=4)
    assert full.value.exit_code == 3
    before = submits(api)
    assert before < 40
    ballast.unlink()
    assert_finishes(api, manifest, out, 40)


@pytest.mark.quick(1)
@pytest.mark.parametrize("moment", ["pictures", "report"])
def test_a_disk_that_fills_up_at_a_file_loses_nothing(api, pairs, out, monkeypatch, moment):
    manifest = pairs(12)
    fsync = os.fsync

    def no_room(descriptor):
        name = (
            Path(f"/proc/self/fd/{descriptor}").readlink().name if Path("/proc/self/fd").is_dir() else ".part"
        )
        folder = Path(f"/proc/self/fd/{descriptor}").readlink().parent.name
        if name.endswith(".part") and (folder == "images") == (moment == "pictures"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", no_room)
    with pytest.raises(FolderError, match=r"No space left.*Make room") as full:
        go(api, manifest, out)
    assert full.value.exit_code == 3
    assert not [name for name in support.files_in(out) if name.endswith(".part")]
    monkeypatch.undo()
    assert_finishes(api, manifest, out, 12)


def test_the_command_says_it_in_one_line_and_exits_with_3(hosted, command, pairs, out, monkeypatch):
    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("batch.output.files.atomic_write", no_room)
    code, _, told = command("run", pairs(2), "--out", out)
    assert code == 3
    assert "No space left on device" in told
    assert "Traceback" not in told


def test_a_ledger_without_room_for_an_acceptance_names_the_request(api, pairs, out, monkeypatch):
    """Paid and not on disk: the one thing a person must be told. The history finds it for the next run."""
    transition = Ledger.transition

    def no_room(ledger, job, event, **fields):
        if event == "accept":
            error = sqlite3.OperationalError("database or disk is full")
            raise error
        return transition(ledger, job, event, **fields)

    monkeypatch.setattr(Ledger, "transition", no_room)
    manifest = pairs(3)
    with pytest.raises(FolderError) as full:
        go(api, manifest, out)
    ids = {job["request_id"] for job in api.stats()["jobs"]}
    assert ids
    assert all(request_id in str(full.value) for request_id in ids), str(full.value)
    monkeypatch.undo()
    assert_finishes(api, manifest, out, 3)


@pytest.fixture
def read_only_images(out):
    """A folder whose images/ lies on a file system that cannot be written; gives how to make it writable."""
    (out / "images").mkdir(parents=True)
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "ro,size=8m", "tmpfs", out / "images"], check=False, capture_output=True
    )
    if not done or done.returncode:
        pytest.skip("a file system can be mounted by root only")
    yield lambda: subprocess.run(["mount", "-o", "remount,rw", out / "images"], check=True)
    subprocess.run(["umount", "-l", out / "images"], check=True)


def test_images_that_cannot_be_written_are_named_before_the_first_post(
    hosted, command, pairs, out, read_only_images
):
    manifest = pairs(5)
    for _ in range(2):
        code, _, told = command("run", manifest, "--out", out)
        assert (code, submits(hosted)) == (2, 0)
        assert f"{out / 'images'}: cannot be written (Read-only file system). Nothing was sent." in told
    code, told, _ = command("doctor", "--out", out)
    assert code == 3
    assert "fail  images" in told
    read_only_images()
    assert command("run", manifest, "--out", out)[0] == 0
    assert_finishes(hosted, manifest, out, 5)


@pytest.mark.slow
def test_images_without_room_for_one_byte_stop_the_run_before_the_first_post(
    hosted, command, pairs, small_disk
):
    out, manifest = small_disk / "out", pairs(2)
    assert command("run", manifest, "--out", out)[0] == 0
    (out / "images").rename(small_disk / "images")
    manifest = pairs(3)
    with contextlib.suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    code, _, told = command("run", manifest, "--out", out)
    assert (code in {2, 3}, submits(hosted)) == (True, 2)
    assert "ake room" in told
    (small_disk / "ballast").unlink()


@pytest.mark.quick(1)
@pytest.mark.parametrize("moment", ["batch.output.report.write_report", "batch.execution.runner.write_sheet"])
def test_a_run_whose_reports_find_no_room_stopped_early_and_says_what_it_paid(
    hosted, command, pairs, out, monkeypatch, moment
):
    def no_room(*_, **__):
        raise FolderError(f"{out}: cannot be written (No space left on device). Make room.")

    manifest = pairs(3)
    with monkeypatch.context() as full:
        full.setattr(moment, no_room)
        code, _, told = command("run", manifest, "--out", out)
    assert (code, "Make room" in told, submits(hosted)) == (3, True, 3)
    assert_finishes(hosted, manifest, out, 3)


@pytest.mark.slow
def test_without_a_temporary_folder_a_run_goes_on_in_memory_and_says_tmpdir(
    hosted, command, pairs, out, monkeypatch
):
    monkeypatch.setattr(opening, "can_spill", lambda: False)
    manifest = pairs(30)
    assert command("validate", manifest)[0] == 0
    code, _, told = command("run", manifest, "--out", out)
    assert (code, "Set TMPDIR to a folder that can be written" in told) == (0, True)
    code, told, _ = command("doctor", "--out", out)
    assert (code, "warn  temporary no temporary folder can be written. Set TMPDIR" in told) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["/proc", "/sys"])
def test_a_temporary_folder_in_which_nothing_can_be_made_is_found_out(place, api, pairs, out):
    """SQLite takes it for usable, since it is a folder and its owner may write there."""
    if not Path(place).is_dir():
        pytest.skip(f"this system has no {place}")
    env = support.environment(api, TMPDIR=place)
    done = support.texbatch("run", pairs(30), "--out", out, env=env)
    assert done.end() == 0, done.output
    assert submits(api) == 30


def test_a_full_temporary_folder_is_not_blamed_on_the_ledger_alone():
    full = sqlite3.OperationalError("database or disk is full")
    assert "the temporary folder (TMPDIR)" in str(opening.file_error(Path("out/ledger.sqlite"), full))


# -- the folder -------------------------------------------------------------------------------------------------------


def test_a_read_only_folder_is_refused_before_anything_is_sent(api, pairs, out, monkeypatch):
    out.mkdir()
    monkeypatch.setattr(
        "os.access", lambda *_: False
    )  # the tests may run as root, for whom nothing is read-only
    with pytest.raises(FolderError, match=r"is read-only\. Give another --out") as refused:
        go(api, pairs(1), out)
    assert (refused.value.exit_code, submits(api)) == (2, 0)


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"), reason="a file system is remounted by root only"
)
def test_a_read_only_file_system_is_refused_and_its_status_can_still_be_read(
    hosted, command, pairs, small_disk
):
    out = small_disk / "out"
    manifest = pairs(2)
    assert command("run", manifest, "--out", out)[0] == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, _, told = command("run", manifest, "--out", out)
    assert (code, "is read-only" in told) == (2, True)
    code, told, _ = command("status", out, "--json")
    assert (code, '"saved": 2' in told) == (0, True)


def test_a_place_that_is_a_file_is_refused(api, pairs, out):
    out.write_text("mine")
    with pytest.raises(FolderError, match="cannot be used as output folder"):
        go(api, pairs(1), out)
    assert out.read_text() == "mine"


def test_a_folder_of_pictures_that_cannot_be_read_is_named_before_anything_is_sent(
    hosted, command, pairs, out, monkeypatch
):
    """As lost+found is on a disk of its own: what lies there is not known, so nothing is paid for again."""
    closed = out / "images" / "lost+found"
    closed.mkdir(parents=True)
    scan = os.scandir

    def refuse(path):  # root may read everything
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scan(path)

    monkeypatch.setattr("os.scandir", refuse)
    code, _, warned = command("run", pairs(2), "--out", out)
    assert code == 2
    assert f"{closed}: cannot be read (Permission denied)" in warned
    assert hosted.stats(jobs=False)["accepted"] == 0


def test_an_output_folder_that_vanishes_ends_the_run_and_names_what_was_accepted(api, pairs, out):
    """The ledger goes with the folder, so every request that is paid for and was not saved is told."""
    manifest, saved = pairs(60), []

    def hear(progress):
        if progress.event is not None and progress.event.name == "job.saved":
            saved.append(progress.event.fields["request_id"])
            if len(saved) == 5:
                shutil.rmtree(out, ignore_errors=True)

    with pytest.raises(FolderError, match="has vanished while it was in use") as gone:
        go(api, manifest, out, listener=RunHooks(progress=hear), concurrency=4, price=30_000)
    assert gone.value.exit_code == 3
    accepted = {job["request_id"] for job in api.stats()["jobs"]}
    assert 5 <= len(accepted) < 60
    assert {request for request in accepted if request not in str(gone.value)} == set(saved)


@pytest.mark.slow
def test_an_output_folder_that_was_moved_away_and_back_is_gone_on_with(api, pairs, out, tmp_path):
    manifest = pairs(60)
    with pytest.raises(FolderError, match="has vanished"):
        go(
            api,
            manifest,
            out,
            listener=after("job.saved", 5, lambda: out.rename(tmp_path / "x")),
            concurrency=4,
        )
    if out.exists():  # a picture may have been on its way
        shutil.rmtree(out)
    (tmp_path / "x").rename(out)
    assert_finishes(api, manifest, out, 60)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_refused_with_6(api, pairs, out, monkeypatch, code):
    def no_lock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", no_lock)
    with pytest.raises(FolderLocked, match=r"this file system cannot lock .*Use a local disk") as refused:
        go(api, pairs(1), out)
    assert (refused.value.exit_code, submits(api)) == (6, 0)


def test_a_file_system_that_cannot_hold_a_write_ahead_log_is_refused_with_6(api, pairs, out, monkeypatch):
    connect = sqlite3.connect

    class NoWal(sqlite3.Connection):
        def execute(self, text, *values):
            return super().execute(text.replace("journal_mode=WAL", "journal_mode=DELETE"), *values)

    monkeypatch.setattr("sqlite3.connect", functools.partial(connect, factory=NoWal))
    with pytest.raises(FolderLocked, match="cannot hold a ledger") as refused:
        go(api, pairs(1), out)
    assert (refused.value.exit_code, submits(api)) == (6, 0)


# -- saved pictures ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "kept", [b"", b"half of", b"my own retouched picture"], ids=["empty", "torn", "retouched"]
)
def test_a_picture_its_person_changed_is_left_alone(api, pairs, out, kept):
    """It is theirs now: not fetched again, not overwritten, and set aside when the row itself changes."""
    manifest = pairs(3)
    go(api, manifest, out)
    picture = out / "images" / "row-1.webp"
    picture.write_bytes(kept)
    before = api.stats(jobs=False)["calls"]
    assert go(api, manifest, out).exit_code == 0
    assert (picture.read_bytes(), api.stats(jobs=False)["calls"]) == (kept, before)
    lines = rows(3)
    lines[1]["prompt"] = "walnut"
    assert go(api, write_csv(manifest, lines), out, yes=True).exit_code == 0
    assert kept in [path.read_bytes() for path in (out / "images" / ".previous").iterdir()]


# -- the ledger -------------------------------------------------------------------------------------------------------


def in_every_command(command, manifest, out):
    """Return (exit code, what was said) of each command on this folder."""
    told = {}
    for args in (("run", manifest, "--out", out), ("plan", manifest, "--out", out), ("status", out),
                 ("retry", out), ("resolve", out)):  # fmt: skip
        code, _, said = command(*args)
        told[args[0]] = (code, said)
    return told


def spoil_middle(path):
    data = bytearray(path.read_bytes())
    for page in range(4096, len(data), 4096):
        data[page : page + 600] = b"\xa5" * 600
    path.write_bytes(data)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: os.truncate(path, 5000), id="truncated"),
        pytest.param(spoil_middle, id="pages overwritten"),
        pytest.param(lambda path: path.write_bytes(b"\0" * 20_000), id="zeros"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:4096]), id="first page only"),
        pytest.param(lambda path: path.write_text("not mine"), id="text", marks=pytest.mark.slow),
    ],
)
def test_a_torn_ledger_is_refused_by_every_command_and_stays_as_it_is(hosted, command, pairs, out, spoil):
    manifest = pairs(30)
    go(hosted, manifest, out)
    path = out / "ledger.sqlite"
    spoil(path)
    torn, pictures = path.read_bytes(), support.files_in(out / "images")
    for name, (code, said) in in_every_command(command, manifest, out).items():
        assert code == 2, (name, said)
        assert "Restore it from a copy" in said or "restore its ledger from a copy" in said, (name, said)
        assert "ove it away" not in said, (name, said)
        assert "Traceback" not in said
    assert (path.read_bytes(), support.files_in(out / "images")) == (torn, pictures)
    assert submits(hosted) == 30


@pytest.fixture
def killed(tmp_path, api):
    """A folder whose run was killed with rows in flight: its last commits are in the write-ahead log only."""
    manifest = write_csv(tmp_path / "pairs.csv", rows(6))
    api.settings(latency_s=1.5)
    first = support.Command(
        "run", "pairs.csv", "--out", "out", "-v", env=support.environment(api), cwd=tmp_path
    )
    assert first.hears("job.accepted", 6), first.output
    first.signal(signal.SIGKILL)
    api.settings(latency_s=0)
    assert (tmp_path / "out" / "ledger.sqlite-wal").stat().st_size
    return manifest


@pytest.mark.slow
def test_a_write_ahead_log_of_garbage_is_not_dropped_in_silence(hosted, command, killed, out):
    """It held who was accepted; to go on without it would be to pay again."""
    wal = out / "ledger.sqlite-wal"
    whole = wal.read_bytes()
    wal.write_bytes(b"garbage!" * 1000)
    for name, (code, said) in in_every_command(command, killed, out).items():
        assert (code, "Restore it" in said) == (2, True), (name, said)
    assert wal.read_bytes() == b"garbage!" * 1000
    assert submits(hosted) == 6
    wal.write_bytes(whole)
    assert go(hosted, killed, out).exit_code == 0
    assert submits(hosted) == 6


@pytest.mark.slow
def test_the_torn_end_of_a_write_ahead_log_costs_only_what_was_not_promised(hosted, command, killed, out):
    """As a power cut leaves it: a last frame that was never synced is dropped, what came before it counts."""
    with (out / "ledger.sqlite-wal").open("ab") as wal:
        wal.write(os.urandom(3000))
    assert go(hosted, killed, out).exit_code == 0
    assert submits(hosted) == 6


@pytest.mark.slow
@pytest.mark.quick(1)
@pytest.mark.parametrize("step", ["empty file", "write-ahead log", "script", "bound"])
def test_a_ledger_killed_while_it_was_made_is_finished_by_the_next_run(api, pairs, out, step, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_, **__):
        raise Killed

    out.mkdir()
    monkeypatch.setattr(opening, "_set_up", SET_UP)  # no copy of a ledger that was made before
    at = {"empty file": ("sqlite3.connect", die), "write-ahead log": ("batch.ledger.connection._script", die),
          "script": ("batch.ledger.ledger.Ledger.set_meta", die), "bound": ("batch.execution.runner._plan", die)}  # fmt: skip
    monkeypatch.setattr(*at[step])
    with pytest.raises(Killed):
        go(api, pairs(2), out)
    monkeypatch.undo()
    assert (out / "ledger.sqlite").is_file()
    assert go(api, pairs(2), out).exit_code == 0
    support.assert_ledger_sound(out)


SECOND = "ALTER TABLE rows ADD COLUMN colour TEXT DEFAULT 'none'; CREATE TABLE added (x);"


@pytest.fixture
def upgraded(monkeypatch):
    """Be a later texbatch, whose schema has a second script; `applied` tells which ran."""
    script, applied = opening._script, []

    def read(name):
        applied.append(name)
        return SECOND if name == "second.sql" else script(name)

    monkeypatch.setattr(opening, "_script", read)
    monkeypatch.setattr(opening, "MIGRATIONS", (*opening.MIGRATIONS, "second.sql"))
    return applied


def test_an_old_ledger_is_brought_up_to_date_once(api, pairs, out, request):
    manifest = pairs(3)
    go(api, manifest, out)
    applied = request.getfixturevalue("upgraded")
    for _ in range(2):
        assert go(api, manifest, out).exit_code == 0
    assert applied.count("second.sql") == 1
    assert sql(out, "PRAGMA user_version") == [(len(opening.MIGRATIONS),)]
    assert sql(out, "SELECT DISTINCT colour FROM rows") == [("none",)]
    assert (submits(api), statuses(out)) == (3, {"saved": 3})


def test_a_migration_that_fails_leaves_the_old_ledger(api, pairs, out, monkeypatch, request):
    manifest = pairs(3)
    go(api, manifest, out)
    request.getfixturevalue("upgraded")
    read = opening._script
    monkeypatch.setattr(opening, "_script", lambda name: read(name) + " SELECT * FROM nowhere;")
    before = sql(out, "SELECT count(*), (SELECT group_concat(name) FROM sqlite_master) FROM events")
    with pytest.raises(FolderError, match="cannot be brought up to date"):
        go(api, manifest, out)
    assert sql(out, "SELECT count(*), (SELECT group_concat(name) FROM sqlite_master) FROM events") == before
    monkeypatch.setattr(opening, "_script", read)
    assert go(api, manifest, out).exit_code == 0
    assert submits(api) == 3


@pytest.mark.slow
def test_an_old_ledger_can_be_read_without_being_changed(hosted, command, pairs, out, request):
    manifest = pairs(3)
    go(hosted, manifest, out)
    before = (out / "ledger.sqlite").read_bytes()
    request.getfixturevalue("upgraded")
    with Ledger.read(out / "ledger.sqlite") as ledger:
        assert ledger.connection.execute("SELECT DISTINCT colour FROM rows").fetchone()[0] == "none"
        assert ledger.price() == 30_000
    assert command("status", out)[0] == 0
    assert (out / "ledger.sqlite").read_bytes() == before


def test_a_newer_ledger_is_refused_and_stays_as_it_is(hosted, command, pairs, out):
    manifest = pairs(2)
    go(hosted, manifest, out)
    sql(out, "PRAGMA user_version=99")
    before = (out / "ledger.sqlite").read_bytes()
    for name, (code, said) in in_every_command(command, manifest, out).items():
        assert (code, "newer texbatch (schema 99). Upgrade" in said) == (2, True), (name, said)
    assert (out / "ledger.sqlite").read_bytes() == before


def test_a_ledger_of_another_service_is_refused_and_stays_as_it_is(api, pairs, out):
    manifest = pairs(2)
    go(api, manifest, out)
    before = (out / "ledger.sqlite").read_bytes()
    stranger = Service("https://api.example", "https://api.example", "https://api.example", api_key="k")
    for service in (stranger, None):
        with pytest.raises(FolderError, match=r"belongs to 127\.0\.0\.1.*Use another --out") as refused:
            support.run(manifest, RunSettings(out), service)
        assert refused.value.exit_code == 2
    assert (out / "ledger.sqlite").read_bytes() == before


# -- clocks -----------------------------------------------------------------------------------------------------------


class Wall:
    """The wall clock, which a person or a time server may move."""

    def __init__(self):
        self.off = 0.0

    def __call__(self):
        return real_time() + self.off


real_time = time.time


@pytest.fixture
def wall(monkeypatch):
    clock = Wall()
    monkeypatch.setattr("time.time", clock)
    return clock


@pytest.fixture(scope="module")
def other_machine():
    """A service whose clock is its own."""
    with LocalProcess(**support.QUICK) as process:
        yield process


@pytest.fixture
def apart(other_machine):
    """That service, as new; its counters go on, so `accepted` tells what came since."""
    other_machine.faults([])
    other_machine.settings(latency_s=0.01, history_lag_s=0.0)
    before = other_machine.stats(jobs=False)["accepted"]
    return other_machine, lambda: other_machine.stats(jobs=False)["accepted"] - before


@pytest.mark.slow
@pytest.mark.parametrize("hours", [2, pytest.param(-2, marks=pytest.mark.slow)])
def test_a_clock_that_is_moved_while_jobs_are_in_flight_ends_none_of_them(apart, pairs, out, wall, hours):
    api, accepted = apart
    api.settings(latency_s=0.2)
    move = after("job.accepted", 3, lambda: setattr(wall, "off", hours * 3600))
    end = go(api, pairs(12), out, listener=move, concurrency=4, job_timeout_s=60)
    assert (end.exit_code, statuses(out)) == (0, {"saved": 12})
    assert 0 < summary(out)["seconds"] < 60
    assert accepted() == 12


@pytest.mark.slow
def test_a_clock_moved_on_does_not_shorten_the_time_a_lost_submit_is_given(apart, pairs, out, wall):
    """Two hours on by the wall, a second by the run: the history lists it late, and it is not sent again."""
    api, accepted = apart
    api.settings(history_lag_s=0.8)
    api.faults([{"call": "submit", "action": "reset_after", "prompt": "oak 1", "first": 1}])
    move = after("job.unknown", 1, lambda: setattr(wall, "off", 7200))
    end = go(api, pairs(3), out, listener=move, settle_s=2)
    assert (end.exit_code, statuses(out), accepted()) == (0, {"saved": 3}, 3)


@pytest.mark.slow
def test_a_clock_moved_back_between_runs_does_not_make_the_next_wait_for_hours(apart, pairs, out, wall):
    api, accepted = apart
    wall.off = 7200
    api.faults(
        [
            {"call": "submit", "action": "reset_after", "prompt": "oak 1", "first": 1},
            {"call": "history", "action": "status", "text": "unavailable"},
        ]
    )
    manifest = pairs(3)
    assert go(api, manifest, out).exit_code == 4
    wall.off = 0
    began = time.monotonic()
    api.faults([])
    assert go(api, manifest, out, settle_s=0.5).exit_code == 0
    assert time.monotonic() - began < 30
    assert accepted() == 3
    assert summary(out)["exit_code"] == 0  # the last run is the last one, whatever its clock said


@pytest.mark.slow
@pytest.mark.parametrize("hours", [2, pytest.param(-2, marks=pytest.mark.slow)])
def test_what_was_in_flight_is_fetched_after_the_clock_was_moved(apart, pairs, out, wall, hours):
    """By our clock its hour is over, or has not begun; the service decides."""
    api, accepted = apart
    api.settings(latency_s=0.8)
    manifest = pairs(3)
    assert go(api, manifest, out, job_timeout_s=0.1).exit_code == 7
    wall.off = hours * 3600
    assert go(api, manifest, out).exit_code == 0
    assert accepted() == 3


# -- the hour ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_least_time_left_is_polled_first(api, pairs, out):
    """Three jobs of an earlier run, the last row the oldest; nothing new is sent before they are asked for."""
    api.settings(latency_s=0.6)
    manifest = pairs(5)
    go(api, manifest, out, only=("row-0", "row-1", "row-2"), job_timeout_s=0.1)
    for age, name in ((3000, "row-2"), (2000, "row-0"), (1000, "row-1")):
        sql(out, "UPDATE jobs SET submitted_at = submitted_at - ? WHERE job = (SELECT job FROM rows WHERE id=?)",
            age, name)  # fmt: skip
    api.settings(latency_s=0.0)
    heard = []
    listener = RunHooks(progress=lambda now: heard.append(now.message))
    time.sleep(0.6)  # until the service has finished them: each is then done at its first poll
    assert go(api, manifest, out, concurrency=1, listener=listener).exit_code == 0
    told = [
        " ".join(message.split()[:2])
        for message in heard
        if message.startswith(("job.saved", "job.accepted"))
    ]
    assert told == [
        "job.saved id=row-2", "job.saved id=row-0", "job.saved id=row-1",
        "job.accepted id=row-3", "job.saved id=row-3", "job.accepted id=row-4", "job.saved id=row-4",
    ]  # fmt: skip


def test_an_expired_row_is_told_with_its_price_and_stays_on_the_bill_until_the_history_lists_it(
    api, pairs, out
):
    """Accepted at an estimate of $0.03, its record and its history gone: paid, as far as anybody knows.

    Once the history lists it, a retry fetches what was paid for and sends nothing.
    """
    api.settings(latency_s=0.4)
    manifest = pairs(3)
    go(api, manifest, out, only=("row-1",), price=30_000, job_timeout_s=0.1)
    sql(out, "UPDATE jobs SET submitted_at = submitted_at - 4000 WHERE request_id IS NOT NULL")
    not_found = {"action": "status", "text": "not_found"}
    api.faults([{"call": "status", "prompt": "oak 1", **not_found}, {"call": "history", **not_found}])
    end = go(api, manifest, out)
    assert (end.exit_code, statuses(out)) == (1, {"saved": 2, "expired": 1})
    row = by_id(out)["row-1"]
    assert (row["error_class"], row["cost"], row["http_status"]) == ("expired", "0.030000", "404")
    assert [row["id"] for row in support.table(out / "failures.csv")] == ["row-1"]
    assert (summary(out)["spent_usd"], summary(out)["at_risk_usd"]) == (0.09, 0)
    api.faults([])
    assert go(api, manifest, out, retry_failed=True).exit_code == 0
    assert (summary(out)["spent_usd"], submits(api)) == (0.09, 3)


@pytest.mark.slow
def test_an_expired_record_whose_picture_the_history_knows_is_fetched(api, pairs, out):
    api.settings(latency_s=0.4)
    manifest = pairs(2)
    go(api, manifest, out, job_timeout_s=0.1)
    sql(out, "UPDATE jobs SET submitted_at = submitted_at - 4000")
    api.settings(record_lifetime_s=0)
    time.sleep(0.4)  # until the jobs are done
    assert go(api, manifest, out).exit_code == 0
    assert (submits(api), statuses(out)) == (2, {"saved": 2})
    assert summary(out)["spent_usd"] == 0.06


@pytest.mark.slow
@pytest.mark.anyio
async def test_paid_pictures_that_wait_to_be_fetched_slow_the_submitting(api, pairs, out, monkeypatch, waits):
    """Nothing under a minute; from then on a second for each minute of age, ten at the most; it ends with the fetch."""
    from batch.core.errors import NoResponse  # noqa: PLC0415
    from batch.execution.fetch import ImageFetcher  # noqa: PLC0415

    async def fails(_):
        raise NoResponse("the picture's URL answers HTTP 502")

    async def not_listed(*_):
        return None

    waits(no_answer=Backoff(0.0, 0.0))
    now = real_time()
    ages, drags = iter([0, 59, 60, 90, 300, 6000]), []
    manifest = pairs(1)
    await _in_thread(go, api, manifest, out)
    with Ledger.read(out / "ledger.sqlite") as ledger:
        job = ledger.tasks([1])[0]
    client = Client(support.service_of(api), clock=lambda: now)
    image_store = LocalImageStore(out / "images")
    fetcher = ImageFetcher(client, None, PreviousVersions(image_store), OtherFormats(image_store), None)

    async def look(url):
        nonlocal now
        now = began + next(ages)
        drags.append(fetcher.backpressure_s())
        if len(drags) == 6:
            return (out / "images" / "row-0.webp").read_bytes()
        return await fails(url)

    began = now
    monkeypatch.setattr(client, "download", look)
    monkeypatch.setattr("batch.client.history.look_up", not_listed)
    await fetcher.fetch(job, "https://pictures.example/x.webp", now + 900)
    assert drags == [0.0, 0.0, 1.0, 1.5, 5.0, 10.0]
    assert fetcher.backpressure_s() == 0.0


async def _in_thread(work, *args):
    import anyio  # noqa: PLC0415

    return await anyio.to_thread.run_sync(work, *args)


def test_what_a_killed_run_was_writing_is_cleared_away(api, pairs, out):
    manifest = pairs(3)
    assert go(api, manifest, out).exit_code == 0
    left = out / "images" / ".texbatch-0123456789abcdef.part"
    left.write_bytes(b"half a picture")
    assert go(api, manifest, out).exit_code == 0
    assert not left.exists()
