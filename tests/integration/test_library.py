"""The package as a library: from a script, from a notebook, and the small client on its own."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import anyio
import pytest
import support
from support import go, rows, service_of, write_csv

import batch
from batch import Client, JobFailed, JobRunning, Result, RunHooks, RunSettings, RunStopped, Service, arun, run
from batch.client.responses import Accepted
from batch.server import placeholder_image

SCRIPT = """
from batch import RunSettings, run
finished = run("pairs.csv", RunSettings(out="out"))
print(finished.exit_code, finished.summary["saved"], finished.summary["simulated"])
"""


@pytest.fixture
def manifest(pairs):
    return pairs(6)


@pytest.fixture
async def client(api):
    async with Client(service_of(api)) as client:
        yield client


def body(**changes):
    return {"prompt": "oak", "image_1": support.PRODUCT, "image_2": support.TEXTURE, "seed": 7} | changes


@pytest.mark.slow
def test_a_plain_script_needs_no_key(tmp_path):
    """The example of the package's docstring, with its texts for paths."""
    support.picture(tmp_path / "chair.png", size=(64, 48))
    support.picture(tmp_path / "oak.png", "brown", (32, 32))
    write_csv(
        tmp_path / "pairs.csv", [line | {"image_1": "chair.png", "image_2": "oak.png"} for line in rows(2)]
    )
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.stdout, told.stderr) == ("0 2 True\n", "")


def test_a_run_prints_nothing_of_itself(api, manifest, tmp_path, capfd):
    go(api, manifest, tmp_path / "out")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
async def test_a_notebook_has_its_event_loop_already(api, manifest, tmp_path, anyio_backend):
    assert run(manifest, RunSettings(tmp_path / "out"), service_of(api)).exit_code == 0


@pytest.mark.anyio
async def test_async_code_awaits_a_run(api, manifest, tmp_path):
    end = await arun(manifest, RunSettings(tmp_path / "out"), service_of(api))
    assert (end.exit_code, end.plan.new, end.summary["saved"]) == (0, 6, 6)


@pytest.mark.anyio
async def test_a_cancelled_run_leaves_a_folder_that_goes_on(api, manifest, tmp_path):
    """Cancelled by its caller, it still writes its report; nothing that was accepted is lost."""
    api.settings(latency_s=5.0)
    out = tmp_path / "out"
    heard, accepted = [], anyio.Event()

    def hear(now):
        heard.extend([now] if now.message.startswith("job.accepted") else [])
        if len(heard) == 6:
            accepted.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            partial(arun, manifest, RunSettings(out), service_of(api), listener=RunHooks(progress=hear))
        )
        await accepted.wait()
        tasks.cancel_scope.cancel()
    assert support.statuses(out) == {"pending": 6}
    support.assert_ledger_sound(out)
    accepted = api.stats(jobs=False)["accepted"]
    assert accepted == 6
    assert sum(bool(row["request_id"]) for row in support.report(out)) == accepted


def test_a_listener_hears_every_step(api, manifest, tmp_path):
    api.settings(blocked_words=["oak 2"])
    plans, heard = [], []
    listener = RunHooks(
        planned=lambda plan, warnings: plans.append((plan.to_send, warnings)), progress=heard.append
    )
    go(api, manifest, tmp_path / "out", listener=listener)
    assert plans == [(6, ())]
    last = heard[-1]
    assert (last.total, last.ended, last.saved, last.failed, last.unknown, last.in_flight) == (
        6,
        6,
        5,
        1,
        0,
        0,
    )
    assert last.spent == 150_000
    assert max(now.in_flight for now in heard) == 6
    assert [now.ended for now in heard] == sorted(now.ended for now in heard)
    said = [now.message.split()[0] for now in heard if now.message]
    assert [said.count(f"job.{event}") for event in ("accepted", "completed", "saved", "failed")] == [
        6,
        5,
        5,
        1,
    ]


def test_a_listener_that_raises_ends_the_run_and_loses_nothing(api, manifest, tmp_path):
    def broken(progress):
        if progress.saved == 2:
            raise ZeroDivisionError

    with pytest.raises(BaseException) as died:  # noqa: PT011  alone, or in a group
        go(api, manifest, tmp_path / "out", listener=RunHooks(progress=broken))
    assert "ZeroDivisionError" in repr(died.value)
    assert go(api, manifest, tmp_path / "out").exit_code == 0
    stats = api.stats()
    assert (stats["accepted"], support.accepted_twice(stats)) == (6, [])


def test_no_setting_shows_the_key():
    service = Service(api_key="SG_secret")
    assert "SG_secret" not in repr(service)
    assert "SG_secret" not in repr(Client(service))
    assert "SG_secret" not in str(service.account)


def test_the_command_line_starts_without_the_heavy_libraries():
    """`texbatch --help` loads no pandas, numpy or httpx."""
    code = (
        "import sys; import batch.cli\n"
        "try: sys.argv = ['texbatch', 'run', '--help']; batch.cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'pandas', 'numpy', 'httpx', 'aiohttp', 'pydantic', 'PIL'} & set(sys.modules)), file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stderr == "[]\n"


# -- the client ---------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_client_submits_waits_and_fetches(client):
    submission = await client.submit(body())
    assert isinstance(submission, Accepted)
    result = await client.wait(submission.request_id, deadline_s=10)
    assert result.cost == 30_000
    assert await client.download(result.output) == placeholder_image(body())
    look = await client.status(submission.request_id)
    assert type(look.verdict).__name__ == "Completed"
    assert look.total_s > 0
    again = await client.result(submission.request_id)
    assert isinstance(again, Result)
    assert again.output == result.output


@pytest.mark.anyio
async def test_waiting_for_a_failed_job_says_why(client, api):
    api.settings(blocked_words=["oak"])
    submission = await client.submit(body())
    with pytest.raises(JobFailed, match="blocked") as failed:
        await client.wait(submission.request_id, deadline_s=10)
    assert failed.value.request_id == submission.request_id


@pytest.mark.anyio
async def test_waiting_too_short_gives_the_request_id_to_go_on_with(client, api):
    at_work = {"call": "status", "action": "status", "status": 200, "body": {"status": "PROCESSING"}}
    api.faults([at_work])
    submission = await client.submit(body())
    with pytest.raises(JobRunning) as running:
        await client.wait(submission.request_id, deadline_s=0.2)
    assert running.value.request_id == submission.request_id
    assert submission.request_id in str(running.value)
    assert 0.2 <= running.value.waited_s < 60
    api.faults([])
    result = await client.wait(running.value.request_id, deadline_s=60)
    assert result.cost == 30_000
    assert api.stats(jobs=False)["accepted"] == 1


@pytest.mark.slow
@pytest.mark.anyio
async def test_waiting_with_a_refused_key_says_so(api):
    async with Client(service_of(api)) as good:
        submission = await good.submit(body())
    wrong = Service(api.base_url, api.base_url, api.base_url, api_key="wrong")
    async with Client(wrong) as client:
        with pytest.raises(RunStopped, match="SEGMIND_API_KEY"):
            await client.wait(submission.request_id, deadline_s=0.5)


@pytest.mark.anyio
async def test_the_client_uploads_and_reads_the_balance(client, api):
    api.settings(balance_usd=12.5)
    urls = await client.upload(["data:image/png;base64,iVBORw0KGgo=", "data:image/png;base64,iVBORw0KGgoA"])
    assert len(set(urls)) == 2
    balance = await client.credits()
    assert (balance.paid, balance.free) == (12_500_000, 0)


@pytest.mark.anyio
async def test_a_throttled_client_waits_its_turn(client, api):
    """Used on its own, without a run, the client still keeps to the announced window."""
    api.settings(rate_limit=3, rate_window_s=0.6, rate_counts="all")
    submission = await client.submit(body())
    with anyio.fail_after(60):
        result = await client.wait(submission.request_id, deadline_s=60)
        for _ in range(4):
            await client.status(submission.request_id)
    assert result.cost == 30_000
    assert api.stats(jobs=False)["http_429"] >= 1


def test_the_package_is_typed():
    assert (Path(batch.__file__).parent / "py.typed").is_file()
