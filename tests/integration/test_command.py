"""The real command in a process of its own: signals, terminals, streams, two at once."""

import json
import os
import resource
import signal
import subprocess
import sysconfig
from pathlib import Path

import pytest
import support
from support import Command, environment, rows, statuses, submits, texbatch, write_csv

from batch.server import LocalApi


@pytest.fixture
def manifest(pairs):
    return pairs(20)


def processor_s():
    """Return the processor seconds of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_the_same_command_again_is_quick_and_sends_nothing(api, manifest, out):
    first = texbatch("run", manifest, "--out", out, env=environment(api))
    assert first.end() == 0, first.output
    before = api.stats(jobs=False)["calls"]
    began = processor_s()
    again = texbatch("run", manifest, "--out", out, env=environment(api))
    assert again.end() == 0, again.output
    assert processor_s() - began < 3  # not by the wall: this machine may be busy with something else
    assert support.summary(out)["seconds"] < 30
    assert api.stats(jobs=False)["calls"] == before  # and so there was nothing to wait for
    assert submits(api) == 20
    assert "Nothing to do: 20 of 20 saved already, $0.00 this run ($0.60 in all)." in again.output


def test_python_m_batch_is_texbatch(api, manifest, out):
    script = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "texbatch", "run", "--help"],
        env=environment(api), capture_output=True, text=True, check=True,
    )  # fmt: skip
    module = texbatch("run", "--help", env=environment(api))
    assert module.output == script.stdout


@pytest.mark.slow
@pytest.mark.parametrize("options", [("-v",), ("--progress", "log")], ids=" ".join)
def test_a_log_has_no_control_characters(api, manifest, out, options):
    api.settings(blocked_words=["oak 3"])
    command = texbatch("run", manifest, "--out", out, *options, env=environment(api))
    assert command.end() == 1
    assert support.without_controls(command.output), repr(command.output)


def test_verbose_says_what_happens_to_each_job(hosted, command, pairs, out):
    _, _, told = command("run", pairs(4), "--out", out, "-v")
    for event in ("accepted", "completed", "saved"):
        assert sum(f"job.{event} id=row-" in line for line in told.splitlines()) == 4


@pytest.mark.parametrize("options", [("-q",), ("--quiet", "-v", "--progress", "bar")], ids=" ".join)
def test_quiet_says_nothing(hosted, command, pairs, out, options):
    assert command("run", pairs(2), "--out", out, *options) == (0, "", "")


def test_quiet_still_tells_errors(hosted, command, out):
    code, _, told = command("run", "missing.csv", "--out", out, "-q")
    assert code == 2
    assert "missing.csv" in told


@pytest.mark.slow
@pytest.mark.parametrize("options", [("-q",), ("--quiet", "-v", "--progress", "bar")], ids=" ".join)
def test_a_quiet_process_says_nothing(api, manifest, out, options):
    command = texbatch("run", manifest, "--out", out, *options, env=environment(api))
    assert (command.end(), command.output) == (0, "")


@pytest.mark.slow
def test_a_terminal_gets_a_bar(api, manifest, out):
    shown = in_a_terminal(["run", str(manifest), "--out", str(out)], environment(api), answer=b"y\n")
    assert "Send 20 jobs at $0.03 each (the list price of November 2026), $0.60 in all? [y/N]" in shown
    assert "\r" in shown
    assert "100%" in shown
    assert "0 failed" in shown
    assert "spent $0.60" in shown
    assert "20 saved, 0 failed" in shown


@pytest.mark.slow
def test_a_terminal_is_asked_before_changed_rows_are_paid_for(api, tmp_path, out):
    lines = rows(2)
    texbatch("run", write_csv(tmp_path / "pairs.csv", lines), "--out", out, env=environment(api))
    lines[0]["seed"] = 99
    changed = write_csv(tmp_path / "pairs.csv", lines)
    args = ["run", str(changed), "--out", str(out)]
    refused = in_a_terminal(args, environment(api), answer=b"n\n")
    assert "changed: row-0 (row 2)" in refused
    assert "Pay for them again, about $0.03? [y/N]" in refused
    assert submits(api) == 2
    in_a_terminal(args, environment(api), answer=b"y\n")
    assert submits(api) == 3


def in_a_terminal(args, env, answer=b""):
    """Run the command on a pseudo-terminal; return all it showed. The answer is typed ahead."""
    with support.on_a_terminal(*args, env=env) as (process, terminal):
        os.write(terminal, answer)
        shown = support.seen_on(terminal)
        assert process.wait(30) in {0, 2}, shown
    return shown


@pytest.mark.slow
def test_a_second_run_of_one_folder_is_told_who_holds_it(api, manifest, out):
    api.settings(latency_s=600.0)
    with Command("run", manifest, "--out", out, "-v", "--concurrency", "20", env=environment(api)) as first:
        assert first.hears("job.accepted", 20), first.output
        second = texbatch("run", manifest, "--out", out, env=environment(api))
        assert second.end() == 6, second.output
        assert f"pid {first.pid}" in second.output
    assert submits(api) == 20


@pytest.mark.slow
def test_a_run_can_be_looked_at_while_it_goes_on(api, manifest, out):
    """`status` takes no lock, writes nothing, and tells the figures of that moment."""
    api.settings(latency_s=600.0)
    with Command("run", manifest, "--out", out, "-v", "--concurrency", "20", env=environment(api)) as run:
        assert run.hears("job.accepted", 20), run.output
        status = texbatch("status", out, "--json", env=environment(api))
        assert status.end() == 0, status.output
        assert run.running
    told = json.loads(status.output)
    assert (told["rows"], told["pending"], told["spent_usd"]) == (20, 20, 0)
    assert (told["ended_at"], told["exit_code"]) == (None, None)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_the_next_one_goes_on(api, manifest, out, signum, code):
    """What is in flight is awaited, nothing more is sent, the report is written."""
    api.settings(latency_s=0.4)
    with Command("run", manifest, "--out", out, "-v", "--concurrency", "4", env=environment(api)) as run:
        assert run.hears("job.accepted", 4), run.output
        assert run.signal(signum) == code, run.output
    support.assert_ledger_sound(out)
    sent = submits(api)
    assert 4 <= sent < 20
    assert statuses(out) == {"saved": sent, "pending": 20 - sent}
    assert support.summary(out)["exit_code"] == code
    assert texbatch("run", manifest, "--out", out, env=environment(api)).end() == 0
    stats = api.stats()
    assert (stats["accepted"], support.accepted_twice(stats)) == (20, [])


@pytest.mark.slow
def test_a_local_folder_starts_over_what_a_dead_run_left(tmp_path, out):
    """The local service was killed with the run and nothing was paid: every row is simply done."""
    support.picture(tmp_path / "chair.png", size=(64, 48))
    support.picture(tmp_path / "oak.png", "brown", (32, 32))
    lines = [line | {"image_1": "chair.png", "image_2": "oak.png"} for line in rows(6)]
    manifest = write_csv(tmp_path / "pairs.csv", lines)
    env = {name: value for name, value in os.environ.items() if not name.startswith("SEGMIND_")}
    with Command("run", manifest, "--out", out, "--local", "-v", env=env) as run:
        assert run.hears("job.accepted", 2), run.output
        assert run.signal(signal.SIGKILL) == -signal.SIGKILL
    again = texbatch("run", manifest, "--out", out, "--local", env=env)
    assert again.end() == 0, again.output
    assert statuses(out) == {"saved": 6}
    assert "simulated" in again.output
    assert support.summary(out)["simulated"] is True
    support.assert_ledger_sound(out)


@pytest.mark.slow
def test_the_key_is_in_nothing_that_is_written(tmp_path, out):
    """Not in the output, not in a log, not in any file of the folder, not in a traceback."""
    key = "SG_5ec2e7ab1ef00d42"
    with LocalApi(**support.QUICK, api_key=key) as api:
        api.settings(blocked_words=["oak 3"])
        api.faults([
            {"call": "submit", "action": "status", "text": "wrong_key", "nth": 9},
            {"call": "status", "action": "reset_after", "nth": 2},
            {"call": "submit", "action": "reset_after", "nth": 4},
        ])  # fmt: skip
        support.picture(tmp_path / "chair.png")
        lines = [line | {"image_1": "chair.png"} for line in rows(12)]
        manifest = write_csv(tmp_path / "pairs.csv", lines)
        env = environment(api, PYTHONDEVMODE="")
        said = [
            texbatch(*args, env=env).output
            for args in [
                ("run", manifest, "--out", out, "-v", "--settle", "0s"),
                ("run", manifest, "--out", out, "-v", "--settle", "0s"),
                ("status", out, "--json"),
                ("plan", manifest, "--out", out),
                ("run", manifest, "--out", out, "--local"),
            ]
        ]
    assert all(said)
    assert not [text for text in said if key in text]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if key.encode() in path.read_bytes()]
