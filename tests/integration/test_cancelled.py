"""A run that its caller cancels or interrupts: its threads end, its report is written, and only then its folder is free.

asyncio's own cancellation is meant here (`task.cancel()`, `wait_for`), and an interrupt where an event loop runs already.
"""

import asyncio
import operator
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import support
from anyio.lowlevel import checkpoint
from support import go, rows, service_of, write_csv

from batch import FolderError, FolderLocked, ManifestError, RunHooks, RunSettings, UsageError, arun
from batch.execution import runner
from batch.output import sheet
from batch.output.folder import OutputFolder
from batch.output.sheet import THUMBS_S, THUMBS_STOPPED_S

IN_A_THREAD = pytest.mark.parametrize(
    "step",
    [
        pytest.param("make_plan", id="the manifest is read"),
        pytest.param("begin", id="the run is begun"),
        pytest.param("report.write_report", id="the report is written"),
    ],
)

NOTEBOOK = """
import asyncio, os, signal, sys
from batch import RunHooks, RunSettings, Service, run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's children ignore it
url, key = sys.argv[1:]
heard = []

def hear(now):
    if now.message.startswith("job.accepted"):
        heard.append(now)
        if len(heard) == 4:
            os.kill(os.getpid(), signal.SIGINT)

async def cell():
    service = Service(url, url, url, api_key=key)
    try:
        run("pairs.csv", RunSettings("out", concurrency=4), service, listener=RunHooks(progress=hear))
    except KeyboardInterrupt:
        print("interrupted")

asyncio.new_event_loop().run_until_complete(cell())
"""


class Held:
    """A step that waits in its thread until it is released; then it does what it stands for."""

    def __init__(self, step):
        self._step = step
        self._loop = asyncio.get_running_loop()
        self.begun, self.release, self.ended = asyncio.Event(), threading.Event(), False

    def __call__(self, *args, **named):
        if not self.release.is_set():
            self._loop.call_soon_threadsafe(self.begun.set)
            self.release.wait(20)
        try:
            return self._step(*args, **named)
        finally:
            self.ended = True


@pytest.fixture
def hold(monkeypatch):
    """Hold a step of the runner's, by its name there."""

    def held(name):
        waiting = Held(operator.attrgetter(name)(runner))
        monkeypatch.setattr(f"batch.execution.runner.{name}", waiting)
        return waiting

    return held


@pytest.fixture
def in_flight():
    """A listener, and an event for when so many jobs are accepted."""

    def heard_of(count):
        heard, accepted = set(), asyncio.Event()

        def hear(now):
            if now.message.startswith("job.accepted"):
                heard.add(now.message)
            if len(heard) == count:
                accepted.set()

        return RunHooks(progress=hear), accepted

    return heard_of


def assert_goes_on(api, manifest, out, count):
    """The folder is free, and the same command pays for each row once."""
    assert not OutputFolder(out).is_held()
    support.assert_ledger_sound(out)
    api.settings(latency_s=0.0)
    end = go(api, manifest, out, settle_s=0.1)
    stats = api.stats()
    assert (end.exit_code, stats["accepted"], support.accepted_twice(stats)) == (0, count, [])


# -- asyncio's own cancellation ---------------------------------------------------------------------------------------


@pytest.mark.quick(1)
@pytest.mark.anyio
@IN_A_THREAD
async def test_a_cancelled_run_holds_its_folder_until_its_thread_has_ended(api, manifest, out, hold, step):
    """However often it is cancelled: the thread has the ledger open."""
    held = hold(step)
    run = asyncio.ensure_future(arun(manifest, RunSettings(out), service_of(api)))
    await held.begun.wait()
    for _ in range(3):
        run.cancel()
        for _ in range(20):
            await checkpoint()
        assert (run.done(), held.ended, OutputFolder(out).is_held()) == (False, False, True)
    held.release.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert held.ended
    assert_goes_on(api, manifest, out, 4)


@pytest.mark.quick(1)
@IN_A_THREAD
def test_a_loop_that_ends_before_its_run_waits_for_the_thread(api, manifest, out, hold, step):
    """It cancels every task, as a script's second Ctrl-C does: no task keeps a shield then."""

    async def script():
        held = hold(step)
        run = asyncio.ensure_future(arun(manifest, RunSettings(out), service_of(api)))
        await held.begun.wait()
        threading.Timer(0.2, held.release.set).start()
        return run, held

    run, held = asyncio.run(script())
    assert (run.cancelled(), held.ended) == (True, True)
    assert_goes_on(api, manifest, out, 4)


@pytest.mark.anyio
async def test_a_run_cancelled_in_flight_and_again_at_its_end_leaves_its_report(
    api, manifest, out, hold, in_flight
):
    api.settings(latency_s=1.0)
    held, (listener, accepted) = hold("report.write_report"), in_flight(4)
    run = asyncio.ensure_future(arun(manifest, RunSettings(out), service_of(api), listener=listener))
    await accepted.wait()
    run.cancel()
    await held.begun.wait()
    run.cancel()
    held.release.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert support.statuses(out) == {"pending": 4}
    assert all(row["request_id"] for row in support.report(out))
    assert support.summary(out)["pending"] == 4
    assert_goes_on(api, manifest, out, 4)


@pytest.mark.slow
@pytest.mark.anyio
async def test_wait_for_ends_a_run_with_its_own_error(api, manifest, out):
    api.settings(latency_s=1.0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(arun(manifest, RunSettings(out), service_of(api)), 1.0)
    assert_goes_on(api, manifest, out, 4)


@pytest.mark.anyio
async def test_what_a_cancelled_run_has_to_say_outranks_the_cancellation(
    api, manifest, out, hold, monkeypatch
):
    """An error may name a request that was accepted."""

    def broken(*_args, **_named):
        raise FolderError("the disk is full; the service accepted row-1")

    monkeypatch.setattr("batch.execution.runner.begin", broken)
    held = hold("begin")
    run = asyncio.ensure_future(arun(manifest, RunSettings(out), service_of(api)))
    await held.begun.wait()
    run.cancel()
    held.release.set()
    with pytest.raises(FolderError, match="accepted row-1"):
        await run


@pytest.mark.anyio
async def test_an_error_comes_out_as_itself(api, pairs, manifest, out):
    """In no group, whichever step it is from."""
    with pytest.raises(ManifestError, match="prompt"):
        await arun(pairs([rows(1)[0] | {"prompt": ""}], "bad.csv"), RunSettings(out), service_of(api))
    with pytest.raises(UsageError, match="Nothing was sent"):
        await arun(
            manifest, RunSettings(out), service_of(api), listener=RunHooks(confirm_price=lambda _: False)
        )
    with OutputFolder(out).hold(), pytest.raises(FolderLocked):
        await arun(manifest, RunSettings(out), service_of(api))
    assert (await arun(manifest, RunSettings(out), service_of(api))).exit_code == 0


# -- an interrupt where a loop runs already ---------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interrupt_in_a_notebook_ends_the_run(api, tmp_path, out):
    """Four are in flight and stay so; the eight behind them are not sent any more."""
    api.settings(latency_s=2.0)
    manifest = write_csv(tmp_path / "pairs.csv", rows(12))
    told = subprocess.run(
        [sys.executable, "-c", NOTEBOOK, api.base_url, api.api_key],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "interrupted\n", "")
    assert api.stats()["accepted"] == 4
    assert support.statuses(out) == {"pending": 12}
    assert sum(bool(row["request_id"]) for row in support.report(out)) == 4
    assert_goes_on(api, manifest, out, 12)


# -- the end of a run that did not end well ---------------------------------------------------------------------------


@pytest.fixture
def thumbs_s(monkeypatch):
    """What each contact sheet had for its thumbnails, in seconds."""
    seen = []
    write = sheet.write_sheet

    def noted(*args, thumbs_s):
        seen.append(thumbs_s)
        write(*args, thumbs_s=thumbs_s)

    monkeypatch.setattr("batch.execution.runner.write_sheet", noted)
    return seen


def breaks(_progress):
    raise ZeroDivisionError


def test_a_crash_is_told_even_if_no_report_can_be_written(api, manifest, out, monkeypatch):
    def no_report(*_args):
        raise MemoryError

    monkeypatch.setattr("batch.output.report.write_report", no_report)
    with pytest.raises(BaseException) as died:  # noqa: PT011  alone, or in a group
        go(api, manifest, out, listener=RunHooks(progress=breaks))
    assert "ZeroDivisionError" in repr(died.value)


@pytest.mark.slow
@pytest.mark.anyio
async def test_who_waits_for_the_end_of_a_broken_run_does_not_wait_for_thumbnails(
    api, manifest, out, thumbs_s, in_flight
):
    with pytest.raises(BaseException):  # noqa: PT011, B017  alone, or in a group
        await arun(manifest, RunSettings(out), service_of(api), listener=RunHooks(progress=breaks))
    api.settings(latency_s=1.0)
    listener, accepted = in_flight(4)
    run = asyncio.ensure_future(arun(manifest, RunSettings(out), service_of(api), listener=listener))
    await accepted.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    api.settings(latency_s=0.0)
    await arun(manifest, RunSettings(out), service_of(api))
    assert thumbs_s == [THUMBS_STOPPED_S, THUMBS_STOPPED_S, THUMBS_S]


def test_a_machine_that_gives_no_more_threads_ends_the_run(api, pairs, out, monkeypatch):
    """The sixth commit finds none: nobody waits for it for ever, and nothing is paid for twice."""

    class Scarce(ThreadPoolExecutor):
        taken = 0

        def submit(self, *args):
            Scarce.taken += 1
            if Scarce.taken == 6:
                raise RuntimeError("can't start new thread")
            return super().submit(*args)

    monkeypatch.setattr("batch.ledger.async_ledger.ThreadPoolExecutor", Scarce)
    manifest = pairs(30)
    with pytest.raises(FolderError, match=r"could not be written.*can't start new thread.*run again"):
        go(api, manifest, out)
    assert_goes_on(api, manifest, out, 30)
